//! The judgement about one other node, from what was heard of it and when.
//!
//! * *Alive* means heard both ways: a ping of ours was answered within [`DEAD_AFTER`], and within
//!   the same time the other side had an answer from us, as its pings and answers say. So when one
//!   direction is lost, both sides end with "not alive".
//! * Whoever is silent is dead after [`DEAD_AFTER`]; at once if it says goodbye, if it comes back
//!   as another incarnation, or if its port refuses connections and it has none to us.
//! * A *lease* is the promise that the other side does not hold us for dead. It counts from the
//!   sending of a ping that was answered, less the age of what the other side judges us by, because
//!   its time began to run back then. [`LEASE`] is shorter than [`DEAD_AFTER`]; the difference is
//!   what the clocks of two nodes may drift apart in that time.

use std::time::Duration;

/// Between two pings to a node. They are what an idle broker works for, and six of them have to be
/// lost before a lease ends.
pub(super) const PING_INTERVAL: Duration = Duration::from_millis(200);
/// After this time of silence a node is held for dead.
pub(super) const DEAD_AFTER: Duration = Duration::from_millis(1500);
/// How long an answered ping is good for.
pub(super) const LEASE: Duration = Duration::from_millis(1200);
const _: () = assert!(LEASE.as_millis() < DEAD_AFTER.as_millis());
/// Judged later than planned by this time, the process stood still.
const STOOD_STILL: Duration = Duration::from_millis(200);
/// The latency is a mean in which each ping weighs one part in so many.
const LATENCY_WEIGHT: u32 = 8;

/// A moment, as the time since this process began to judge.
pub(super) type Moment = Duration;

/// How long ago a node last had an answer from the other; `None` if it never had one.
pub(super) type Age = Option<Duration>;

/// What is known of a node.
#[derive(Debug, Default)]
pub(super) struct Judge {
    incarnation: Option<u64>,
    /// When it was judged last.
    judged: Option<Moment>,
    /// When the last answer to a ping of ours came.
    answered: Option<Moment>,
    /// Until when the other side is known to have had answers from here.
    heard: Option<Moment>,
    lease_until: Option<Moment>,
    latency: Option<Duration>,
    /// Whether it has a connection to us.
    incoming: bool,
    /// Whether its port refused the last connection.
    refused: bool,
    /// It said that it stops.
    gone: bool,
    /// It said that it is about to stop.
    leaving: bool,
    alive: bool,
    was_alive: bool,
}

/// A ping of ours that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub sent: Moment,
    pub now: Moment,
    /// What the ping said.
    pub own_age: Age,
    /// What the answer said.
    pub age: Age,
}

impl Judge {
    pub(super) fn is_alive(&self) -> bool {
        self.alive
    }

    /// It is alive and means to remain so.
    pub(super) fn is_staying(&self) -> bool {
        self.alive && !self.leaving
    }

    /// Until when the other side will not hold us for dead.
    pub(super) fn lease_until(&self) -> Option<Moment> {
        self.lease_until
    }

    pub(super) fn incarnation(&self) -> Option<u64> {
        self.incarnation
    }

    /// The process that is or was alive here.
    pub(super) fn heard_of(&self) -> Option<u64> {
        self.incarnation.filter(|_| self.was_alive)
    }

    pub(super) fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// When it will be dead if nothing more is heard.
    pub(super) fn dies_at(&self) -> Option<Moment> {
        Some(self.answered.min(self.heard)? + DEAD_AFTER)
    }

    /// How long it has not answered, counted from `since` at the earliest.
    pub(super) fn silence(&self, since: Moment, now: Moment) -> Duration {
        now.saturating_sub(self.answered.map_or(since, |at| at.max(since)))
    }

    /// What a ping or an answer says that goes out now.
    pub(super) fn own_age(&self, now: Moment) -> Age {
        self.answered.map(|at| now.saturating_sub(at))
    }

    /// A connection came about, in whichever direction. Another incarnation is another node:
    /// nothing that was known holds for it.
    pub(super) fn meet(&mut self, incarnation: u64) {
        if self.incarnation != Some(incarnation) {
            *self = Self { incarnation: Some(incarnation), ..Self::default() };
        }
    }

    /// We have a connection to it.
    pub(super) fn outgoing_opened(&mut self) {
        self.refused = false;
    }

    /// Our connection to it broke. The process that promised the lease may be no more.
    pub(super) fn outgoing_closed(&mut self) {
        self.lease_until = None;
    }

    /// It has a connection to us.
    pub(super) fn incoming_opened(&mut self, incarnation: u64) {
        self.incoming |= self.incarnation == Some(incarnation);
    }

    pub(super) fn incoming_closed(&mut self, incarnation: u64) {
        self.incoming &= self.incarnation != Some(incarnation);
        self.forget_refused();
    }

    /// Its port refuses connections.
    pub(super) fn refused(&mut self) {
        self.refused = true;
        self.forget_refused();
    }

    /// It stops.
    pub(super) fn goodbye(&mut self, incarnation: u64) {
        if self.incarnation == Some(incarnation) {
            self.gone = true;
            self.forget();
        }
    }

    /// It is about to stop.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
    }

    pub(super) fn ping_answered(&mut self, incarnation: u64, ping: Answered) {
        if self.incarnation != Some(incarnation) || self.gone {
            return;
        }
        self.pass(ping.now);
        self.answered = self.answered.max(Some(ping.now));
        self.hear(ping.age, ping.now);
        if let Some(age) = ping.own_age.zip(ping.age).map(|(own, far)| own.max(far)) {
            let until = (ping.sent + LEASE).checked_sub(age);
            self.lease_until = self.lease_until.max(until);
        }
        let took = ping.now.saturating_sub(ping.sent);
        self.latency = Some(
            self.latency.map_or(took, |mean| (mean * (LATENCY_WEIGHT - 1) + took) / LATENCY_WEIGHT),
        );
        self.judge(ping.now);
    }

    /// A ping came in; the answer says our age.
    pub(super) fn ping_received(&mut self, incarnation: u64, age: Age, now: Moment) -> Age {
        if *self.incarnation.get_or_insert(incarnation) == incarnation && !self.gone {
            // Its connection may be older than what is known of the node here.
            self.incoming = true;
            self.pass(now);
            self.hear(age, now);
            self.judge(now);
        }
        self.own_age(now)
    }

    /// Time has passed. To be called at least once in [`PING_INTERVAL`]: what is much longer is
    /// time in which this process itself stood still, and that was not the other's silence. Leases
    /// are not prolonged by it, for the other's time went on.
    pub(super) fn judge(&mut self, now: Moment) {
        self.pass(now);
        self.alive = self.dies_at().is_some_and(|at| now < at);
        self.was_alive |= self.alive;
    }

    fn pass(&mut self, now: Moment) {
        let missed = now.saturating_sub(self.judged.unwrap_or(now) + PING_INTERVAL);
        self.judged = self.judged.max(Some(now));
        if missed >= STOOD_STILL {
            for moment in [&mut self.answered, &mut self.heard].into_iter().flatten() {
                *moment += missed;
            }
        }
    }

    fn hear(&mut self, age: Age, now: Moment) {
        self.heard = self.heard.max(age.and_then(|age| now.checked_sub(age)));
    }

    /// A port that refuses is closed; but a firewall can refuse as well, and then the connections
    /// that stand go on.
    fn forget_refused(&mut self) {
        if self.refused && !self.incoming {
            self.forget();
        }
    }

    fn forget(&mut self) {
        (self.answered, self.heard, self.lease_until) = (None, None, None);
        self.alive = false;
    }
}

#[cfg(test)]
mod tests;

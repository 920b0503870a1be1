//! Who is alive, for everyone to ask: the judgements about all nodes, fed by pings and connections.
//! Asking takes no lock that is held for longer than a look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::base::ids::NodeId;
use crate::peer::judge::{Age, Answered, Judge, Moment};

/// The judgement of this node about the others.
#[derive(Debug)]
pub struct Liveness {
    begun: Instant,
    /// This node and its incarnation.
    own: OnceLock<(NodeId, u64)>,
    watched: RwLock<BTreeMap<NodeId, Arc<Watched>>>,
    changes: watch::Sender<u64>,
}

/// What is known of a node, and the result where it can be read at once.
#[derive(Debug, Default)]
struct Watched {
    judge: Mutex<Judge>,
    alive: AtomicBool,
    /// In microseconds since `begun`; 0 is none.
    lease_until: AtomicU64,
    /// Counts the leases: another number means that there was a time without one.
    lease_number: AtomicU64,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            own: OnceLock::new(),
            watched: RwLock::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Liveness {
    /// Whether the node hears us and we hear it. This node always is.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.is_own(node) || self.look(node, |w| w.alive.load(Ordering::Acquire)) == Some(true)
    }

    /// Whether the node is alive and has not said that it is about to stop. This node is not asked.
    pub fn is_staying(&self, node: NodeId) -> bool {
        self.look(node, |watched| watched.lock().is_staying()) == Some(true)
    }

    /// The node says that it is about to stop.
    pub fn leaves(&self, node: NodeId) {
        self.update(node, Judge::leave);
        self.changed();
    }

    /// Whether the node will surely not hold this one for dead yet. This node never does.
    pub fn has_lease(&self, node: NodeId) -> bool {
        let now = micros(self.now());
        let until = self.look(node, |w| w.lease_until.load(Ordering::Acquire));
        self.is_own(node) || until.is_some_and(|until| now < until)
    }

    /// The number of the present lease, which is another one if there was a time without a lease.
    pub fn lease(&self, node: NodeId) -> Option<u64> {
        if self.is_own(node) {
            return Some(0);
        }
        let now = micros(self.now());
        // The number is read last: of a lease that has just begun, or of the one before it.
        self.look(node, |watched| {
            let until = watched.lease_until.load(Ordering::Acquire);
            (now < until).then(|| watched.lease_number.load(Ordering::Acquire))
        })?
    }

    /// Of the process that was last heard of.
    pub fn incarnation(&self, node: NodeId) -> Option<u64> {
        match self.own.get() {
            Some((own, incarnation)) if *own == node => Some(*incarnation),
            _ => self.look(node, |watched| watched.lock().incarnation())?,
        }
    }

    /// The process that is alive, or was until it went down.
    pub fn heard_of(&self, node: NodeId) -> Option<u64> {
        self.look(node, |watched| watched.lock().heard_of())?
    }

    /// Time of a ping and its answer, as a mean of the latest.
    pub fn latency(&self, node: NodeId) -> Option<Duration> {
        self.look(node, |watched| watched.lock().latency())?
    }

    /// The other nodes that are watched.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.watched.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Changes whenever a node comes up (also with another incarnation) or goes down.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn now(&self) -> Moment {
        self.begun.elapsed()
    }

    /// The first one is kept.
    pub(super) fn set_own(&self, node: NodeId, incarnation: u64) {
        let _ = self.own.set((node, incarnation));
    }

    pub(super) fn set_nodes(&self, nodes: &BTreeSet<NodeId>) {
        let mut watched = self.watched.write().unwrap_or_else(PoisonError::into_inner);
        let before = watched.len();
        watched.retain(|node, _| nodes.contains(node));
        let removed = watched.len() < before;
        for node in nodes {
            watched.entry(*node).or_default();
        }
        drop(watched);
        if removed {
            self.changed();
        }
    }

    pub(super) fn refused(&self, node: NodeId) {
        self.update(node, Judge::refused);
    }

    pub(super) fn outgoing_opened(&self, node: NodeId, incarnation: u64) {
        self.meet(node, incarnation);
        self.update(node, Judge::outgoing_opened);
    }

    pub(super) fn outgoing_closed(&self, node: NodeId) {
        self.update(node, Judge::outgoing_closed);
    }

    pub(super) fn goodbye(&self, node: NodeId, incarnation: u64) {
        self.update(node, |judge| judge.goodbye(incarnation));
    }

    pub(super) fn incoming_opened(&self, node: NodeId, incarnation: u64) {
        self.meet(node, incarnation);
        self.update(node, |judge| judge.incoming_opened(incarnation));
    }

    pub(super) fn incoming_closed(&self, node: NodeId, incarnation: u64) {
        self.update(node, |judge| judge.incoming_closed(incarnation));
    }

    /// Returns what the answer says.
    pub(super) fn ping_received(&self, node: NodeId, incarnation: u64, ping: &Bytes) -> Bytes {
        let (age, now) = (decode_age(ping), self.now());
        let own = self.update(node, |judge| judge.ping_received(incarnation, age, now));
        encode_age(own.flatten())
    }

    /// What a ping says that goes out now.
    pub(super) fn own_age(&self, node: NodeId, now: Moment) -> Age {
        self.look(node, |watched| watched.lock().own_age(now))?
    }

    pub(super) fn ping_answered(&self, node: NodeId, incarnation: u64, answered: Answered) {
        self.update(node, |judge| judge.ping_answered(incarnation, answered));
    }

    /// Time has passed. Returns when the node dies if nothing more is heard, and how long it has
    /// been silent since `since`.
    pub(super) fn judge(&self, node: NodeId, since: Moment) -> (Option<Moment>, Duration) {
        let now = self.now();
        let judged = self.update(node, |judge| {
            judge.judge(now);
            let dies_at = judge.dies_at().filter(|_| judge.is_alive());
            (dies_at, judge.silence(since, now))
        });
        judged.unwrap_or_default()
    }

    fn meet(&self, node: NodeId, incarnation: u64) {
        // The old process goes down here; the new one comes up when it has been heard.
        self.update(node, |judge| judge.meet(incarnation));
    }

    fn is_own(&self, node: NodeId) -> bool {
        self.own.get().is_some_and(|(own, _)| *own == node)
    }

    fn look<R>(&self, node: NodeId, look: impl FnOnce(&Watched) -> R) -> Option<R> {
        let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        watched.get(&node).map(|watched| look(watched))
    }

    /// Changes a judgement and publishes the result.
    fn update<R>(&self, node: NodeId, change: impl FnOnce(&mut Judge) -> R) -> Option<R> {
        let watched = self.look_up(node)?;
        let mut judge = watched.lock();
        let result = change(&mut judge);
        let lease_until = judge.lease_until().map_or(0, micros);
        let now = micros(self.now());
        let was_until = watched.lease_until.load(Ordering::Acquire);
        let is_new = lease_until > now && was_until <= now;
        if is_new {
            // Before the lease itself, so that nobody sees the new one under the old number.
            watched.lease_number.fetch_add(1, Ordering::AcqRel);
        }
        watched.lease_until.store(lease_until, Ordering::Release);
        let (alive, incarnation) = (judge.is_alive(), judge.incarnation());
        let changed = watched.alive.swap(alive, Ordering::AcqRel) != alive;
        drop(judge);
        if changed {
            tracing::info!(%node, alive, ?incarnation, "a node comes up or goes down");
        }
        if changed || is_new {
            self.changed();
        }
        Some(result)
    }

    fn look_up(&self, node: NodeId) -> Option<Arc<Watched>> {
        let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        watched.get(&node).cloned()
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl Watched {
    fn lock(&self) -> std::sync::MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(moment: Duration) -> u64 {
    u64::try_from(moment.as_micros()).unwrap_or(u64::MAX)
}

const NEVER: u64 = u64::MAX;

/// What pings and their answers carry.
pub(super) fn encode_age(age: Age) -> Bytes {
    // Rounded up, for a lease must not be too long.
    let age = age.map_or(NEVER, |age| micros(age).saturating_add(1));
    Bytes::copy_from_slice(&age.to_be_bytes())
}

pub(super) fn decode_age(body: &Bytes) -> Age {
    let age = body.as_ref().try_get_u64().ok().filter(|age| *age != NEVER);
    age.map(Duration::from_micros)
}

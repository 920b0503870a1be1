//! Two nodes judge each other over a network of their own, in steps of time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const INCARNATION: u64 = 5;
/// The step of the simulated time.
const STEP: Duration = ms(10);
/// What judging may be late: a step of each side, a ping's interval, and the way there and back.
const SLACK: Duration = ms(300);

/// On its way.
#[derive(Debug, Clone, Copy)]
enum Message {
    Ping { sent: Moment, age: Age },
    Answer { sent: Moment, own_age: Age, age: Age },
}

#[derive(Debug, Default)]
struct Side {
    judge: Judge,
    next_ping: Moment,
    /// Messages to this side, with the moments of their arrival.
    inbox: VecDeque<(Moment, Message)>,
}

/// Two nodes and what lies between.
#[derive(Debug)]
struct Pair {
    sides: [Side; 2],
    now: Moment,
    /// Whether what the side sends is lost.
    lost: [bool; 2],
    /// Whether the side's pings find no way, while its answers do.
    mute: [bool; 2],
    /// How long a message takes.
    delay: Duration,
}

impl Pair {
    fn new(delay: Duration) -> Self {
        let mut sides = <[Side; 2]>::default();
        for side in &mut sides {
            side.judge.meet(INCARNATION);
            side.judge.outgoing_opened();
            side.judge.incoming_opened(INCARNATION);
        }
        // The second one pings between the first one's pings.
        sides[1].next_ping = PING_INTERVAL / 3;
        Self { sides, now: ms(0), lost: [false; 2], mute: [false; 2], delay }
    }

    fn send(&mut self, from: usize, message: Message) {
        if !self.lost[from] {
            self.sides[1 - from].inbox.push_back((self.now + self.delay, message));
        }
    }

    fn receive(&mut self, at: usize, message: Message) {
        let now = self.now;
        match message {
            Message::Ping { sent, age } => {
                let own_age = self.sides[at].judge.ping_received(INCARNATION, age, now);
                self.send(at, Message::Answer { sent, own_age: age, age: own_age });
            }
            Message::Answer { sent, own_age, age } => {
                let answered = Answered { sent, now, own_age, age };
                self.sides[at].judge.ping_answered(INCARNATION, answered);
            }
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        for at in 0..2 {
            while self.sides[at].inbox.front().is_some_and(|(due, _)| *due <= self.now) {
                let (_, message) = self.sides[at].inbox.pop_front().unwrap();
                self.receive(at, message);
            }
            let side = &mut self.sides[at];
            side.judge.judge(self.now);
            if side.next_ping <= self.now {
                side.next_ping = self.now + PING_INTERVAL;
                let (sent, age) = (self.now, side.judge.own_age(self.now));
                if !self.mute[at] {
                    self.send(at, Message::Ping { sent, age });
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn alive(&self) -> [bool; 2] {
        [0, 1].map(|at| self.sides[at].judge.is_alive())
    }

    fn has_lease(&self, at: usize) -> bool {
        self.sides[at].judge.lease_until().is_some_and(|until| self.now < until)
    }
}

#[test]
fn nobody_is_alive_before_it_was_heard() {
    let mut pair = Pair::new(ms(1));
    pair.lost = [true, true];
    pair.run(ms(3000));
    assert_eq!(pair.alive(), [false, false]);
    assert!(!pair.has_lease(0) && !pair.has_lease(1));
}

#[test]
fn pings_bring_both_up_and_keep_them_up() {
    let mut pair = Pair::new(ms(20));
    pair.run(ms(400));
    for _ in 0..1000 {
        pair.step();
        assert_eq!(pair.alive(), [true, true]);
        assert!(pair.has_lease(0) && pair.has_lease(1));
    }
    assert_eq!(pair.sides[0].judge.latency(), Some(ms(40)));
}

#[test]
fn what_is_lost_in_one_direction_ends_both() {
    for side in 0..2 {
        let mut pair = Pair::new(ms(5));
        pair.run(ms(500));
        pair.lost[side] = true;
        pair.run(DEAD_AFTER - 2 * PING_INTERVAL);
        assert_eq!(pair.alive(), [true, true]);
        pair.run(3 * PING_INTERVAL);
        assert_eq!(pair.alive(), [false, false]);
        pair.lost[side] = false;
        pair.run(ms(400));
        assert_eq!(pair.alive(), [true, true]);
    }
}

/// The pings of one side find no way, but those of the other are answered.
#[test]
fn a_side_whose_pings_get_lost_is_known_to_hear_nothing() {
    let mut pair = Pair::new(ms(5));
    pair.run(ms(500));
    pair.mute[0] = true;
    pair.run(DEAD_AFTER + SLACK);
    assert_eq!(pair.alive(), [false, false]);
    assert!(!pair.has_lease(0) && !pair.has_lease(1));
}

#[test]
fn a_goodbye_ends_it_until_another_incarnation_comes() {
    let mut pair = Pair::new(ms(5));
    pair.run(ms(500));
    pair.sides[0].judge.goodbye(INCARNATION + 1);
    assert!(pair.sides[0].judge.is_alive());
    pair.sides[0].judge.goodbye(INCARNATION);
    assert!(!pair.sides[0].judge.is_alive() && !pair.has_lease(0));
    pair.run(ms(500));
    assert!(!pair.sides[0].judge.is_alive());
    let judge = &mut pair.sides[0].judge;
    assert_eq!(judge.heard_of(), Some(INCARNATION));
    judge.meet(INCARNATION + 1);
    assert_eq!((judge.is_alive(), judge.incarnation()), (false, Some(INCARNATION + 1)));
    assert_eq!(judge.heard_of(), None);
    let now = pair.now;
    let (own_age, age) = (None, Some(ms(0)));
    judge.ping_answered(INCARNATION, Answered { sent: now, now, own_age, age });
    assert!(!judge.is_alive());
    judge.ping_answered(INCARNATION + 1, Answered { sent: now, now, own_age, age });
    assert!(judge.is_alive());
}

#[test]
fn who_is_leaving_is_alive_but_does_not_stay_until_another_incarnation_comes() {
    let mut pair = Pair::new(ms(5));
    pair.run(ms(500));
    assert!(pair.sides[0].judge.is_staying());
    pair.sides[0].judge.leave();
    pair.run(ms(500));
    let judge = &mut pair.sides[0].judge;
    assert!(judge.is_alive() && !judge.is_staying());
    judge.meet(INCARNATION + 1);
    let (now, own_age, age) = (pair.now, None, Some(ms(0)));
    judge.ping_answered(INCARNATION + 1, Answered { sent: now, now, own_age, age });
    assert!(judge.is_staying());
}

#[test]
fn a_closed_port_ends_it_once_no_connection_is_left() {
    let mut pair = Pair::new(ms(5));
    pair.run(ms(500));
    let judge = &mut pair.sides[0].judge;
    judge.outgoing_closed();
    assert!(judge.is_alive() && judge.lease_until().is_none());
    judge.refused();
    assert!(judge.is_alive());
    judge.incoming_closed(INCARNATION + 1);
    assert!(judge.is_alive());
    judge.incoming_closed(INCARNATION);
    assert!(!judge.is_alive());

    let mut pair = Pair::new(ms(5));
    pair.run(ms(500));
    let judge = &mut pair.sides[0].judge;
    judge.incoming_closed(INCARNATION);
    assert!(judge.is_alive());
    judge.refused();
    assert!(!judge.is_alive());
}

#[test]
fn another_incarnation_ends_the_former_one() {
    let mut pair = Pair::new(ms(5));
    pair.run(ms(500));
    let judge = &mut pair.sides[0].judge;
    judge.meet(INCARNATION);
    assert!(judge.is_alive());
    judge.meet(INCARNATION + 1);
    assert!(!judge.is_alive() && judge.lease_until().is_none());
}

#[test]
fn own_standstill_is_not_the_others_silence() {
    let mut pair = Pair::new(ms(5));
    pair.run(ms(500));
    let judge = &mut pair.sides[0].judge;
    let later = pair.now + ms(10_000);
    judge.judge(later);
    assert!(judge.is_alive() && judge.lease_until().unwrap() < later);
    for step in 1..=20 {
        judge.judge(later + step * PING_INTERVAL);
    }
    assert!(!judge.is_alive());
}

/// What happens to a pair for a while.
#[derive(Debug, Clone, Copy)]
struct Phase {
    lost: [bool; 2],
    mute: [bool; 2],
    delay: Duration,
    time: Duration,
}

fn phases() -> impl Strategy<Value = Vec<Phase>> {
    let sides = any::<([bool; 2], [bool; 2])>();
    let phase = (sides, 0..120_u64, 0..4000_u64).prop_map(|((lost, mute), delay, time)| {
        let (delay, time) = (ms(delay), ms(time));
        Phase { lost, mute, delay, time }
    });
    prop::collection::vec(phase, 1..8)
}

proptest! {
    /// A lease ends before the other side holds its holder for dead, whatever the network does; and
    /// both sides come to the same judgement soon after it has settled.
    #[test]
    fn leases_hold(phases in phases()) {
        let mut pair = Pair::new(ms(1));
        for phase in phases {
            (pair.lost, pair.mute, pair.delay) = (phase.lost, phase.mute, phase.delay);
            let end = pair.now + phase.time;
            while pair.now < end {
                pair.step();
                for at in 0..2 {
                    prop_assert!(!pair.has_lease(at) || pair.sides[1 - at].judge.is_alive());
                }
            }
            if phase.time >= DEAD_AFTER + SLACK {
                let whole = phase.lost == [false, false] && phase.mute == [false, false];
                prop_assert_eq!(pair.alive(), [whole, whole]);
            }
        }
    }
}

//! What is due when. A timer is set and cancelled by its key; setting it again moves it.

use std::collections::{BTreeMap, BTreeSet};

/// Whose timer it is, and what for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerKey {
    pub group: String,
    pub kind: TimerKind,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// A member was silent for its session timeout.
    Session {
        member: String,
    },
    /// A member that was given an id has not joined with it (KIP-394).
    Pending {
        member: String,
    },
    /// A classic group's rebalance: members had their time to join, or to sync.
    Join,
    Sync,
    /// A member has not given up its partitions in time (KIP-848), or a classic member in a
    /// consumer group has not joined or synced again.
    Rebalance {
        member: String,
    },
    ClassicJoin {
        member: String,
    },
    ClassicSync {
        member: String,
    },
}

/// The timers of a partition's groups, in monotonic milliseconds.
#[derive(Debug, Default)]
pub struct Timers {
    at: BTreeMap<TimerKey, i64>,
    due: BTreeSet<(i64, TimerKey)>,
}

impl Timers {
    pub fn set(&mut self, key: TimerKey, at_ms: i64) {
        self.cancel(&key);
        self.due.insert((at_ms, key.clone()));
        self.at.insert(key, at_ms);
    }

    pub fn cancel(&mut self, key: &TimerKey) {
        if let Some(at_ms) = self.at.remove(key) {
            self.due.remove(&(at_ms, key.clone()));
        }
    }

    pub fn cancel_group(&mut self, group: &str) {
        let of_group = |key: &&TimerKey| key.group == group;
        let first = TimerKey {
            group: group.to_owned(),
            kind: TimerKind::Session { member: String::new() },
        };
        let keys: Vec<TimerKey> =
            self.at.range(first..).map(|(key, _)| key).take_while(of_group).cloned().collect();
        keys.iter().for_each(|key| self.cancel(key));
    }

    pub fn is_set(&self, key: &TimerKey) -> bool {
        self.at.contains_key(key)
    }

    pub fn next_ms(&self) -> Option<i64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes the first timer that is due.
    pub fn pop_due(&mut self, now_ms: i64) -> Option<TimerKey> {
        if self.next_ms()? > now_ms {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: &str, member: &str) -> TimerKey {
        let kind = TimerKind::Session { member: member.to_owned() };
        TimerKey { group: group.to_owned(), kind }
    }

    #[test]
    fn timers_come_in_order_and_can_be_moved_and_cancelled() {
        let mut timers = Timers::default();
        timers.set(key("g", "a"), 30);
        timers.set(key("g", "b"), 20);
        timers.set(key("h", "c"), 10);
        timers.set(key("h", "c"), 25);
        assert_eq!(timers.next_ms(), Some(20));
        assert_eq!(timers.pop_due(19), None);
        assert_eq!(timers.pop_due(100), Some(key("g", "b")));
        timers.set(TimerKey { group: "g".to_owned(), kind: TimerKind::Sync }, 1);
        timers.cancel_group("g");
        assert!(!timers.is_set(&key("g", "a")));
        assert_eq!(timers.pop_due(100), Some(key("h", "c")));
        assert_eq!(timers.pop_due(100), None);
        assert_eq!(timers.next_ms(), None);
    }
}

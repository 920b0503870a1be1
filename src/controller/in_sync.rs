//! Which followers are in sync: alive, and at some moment of the last `replica.lag.time.max.ms`
//! they had all that the leader had (Kafka's `Partition.isFollowerCaughtUp`).

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{LeaderEpoch, NodeId};

/// A follower at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    pub node: NodeId,
    /// Index of the last entry that it has.
    pub matched: Option<u64>,
    pub is_alive: bool,
}

/// A led partition at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub epoch: LeaderEpoch,
    /// Index of the leader's last entry.
    pub last_index: Option<u64>,
    pub followers: Vec<Follower>,
    pub now_ms: i64,
}

/// What is remembered of a led partition's followers.
#[derive(Debug, Clone, Default)]
pub struct InSync {
    epoch: Option<LeaderEpoch>,
    last_index: Option<u64>,
    seen_ms: i64,
    /// When each follower last had everything.
    caught_up_ms: BTreeMap<NodeId, i64>,
}

impl InSync {
    /// The followers that are in sync now. Under a new leader those that were before count as
    /// caught up until they fall behind.
    pub fn observe(
        &mut self,
        observed: &Observed,
        before: &[NodeId],
        lag_max_ms: i64,
    ) -> BTreeSet<NodeId> {
        let now_ms = observed.now_ms;
        if self.epoch != Some(observed.epoch) {
            let known = before.iter().map(|node| (*node, now_ms)).collect();
            *self = Self {
                epoch: Some(observed.epoch),
                last_index: observed.last_index,
                seen_ms: now_ms,
                caught_up_ms: known,
            };
        }
        let mut in_sync = BTreeSet::new();
        for follower in &observed.followers {
            if follower.matched >= observed.last_index {
                self.caught_up_ms.insert(follower.node, now_ms);
            } else if follower.matched >= self.last_index && follower.matched.is_some() {
                let at = self.caught_up_ms.entry(follower.node).or_insert(self.seen_ms);
                *at = self.seen_ms.max(*at);
            }
            let caught_up_ms = self.caught_up_ms.get(&follower.node);
            let is_near = caught_up_ms.is_some_and(|at| now_ms - at <= lag_max_ms);
            if follower.is_alive && is_near {
                in_sync.insert(follower.node);
            }
        }
        (self.last_index, self.seen_ms) = (observed.last_index, now_ms);
        in_sync
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG_MAX_MS: i64 = 1000;

    fn at(now_ms: i64, last: u64, matched: u64, is_alive: bool) -> Observed {
        let follower = Follower { node: NodeId(2), matched: Some(matched), is_alive };
        Observed { epoch: 1, last_index: Some(last), followers: vec![follower], now_ms }
    }

    fn observe(state: &mut InSync, observed: &Observed) -> bool {
        state.observe(observed, &[], LAG_MAX_MS).contains(&NodeId(2))
    }

    #[test]
    fn who_follows_a_busy_leader_closely_is_in_sync() {
        let mut state = InSync::default();
        assert!(observe(&mut state, &at(0, 10, 10, true)));
        // It never has the last entry, but always what was the last one before.
        for step in 1..20 {
            let last = 10 + u64::try_from(step).unwrap() * 10;
            assert!(observe(&mut state, &at(step * 500, last, last - 10, true)));
        }
    }

    #[test]
    fn who_falls_behind_leaves_and_who_catches_up_comes_back() {
        let mut state = InSync::default();
        assert!(observe(&mut state, &at(0, 10, 10, true)));
        assert!(observe(&mut state, &at(900, 20, 10, true)));
        assert!(!observe(&mut state, &at(2000, 30, 11, true)));
        assert!(!observe(&mut state, &at(2500, 40, 29, true)));
        assert!(observe(&mut state, &at(3000, 50, 40, true)));
        assert!(!observe(&mut state, &at(3100, 50, 50, false)));
    }

    #[test]
    fn a_new_leader_gives_the_old_followers_their_time() {
        let mut state = InSync::default();
        let none = Follower { node: NodeId(2), matched: None, is_alive: true };
        let mut observed = at(5000, 10, 0, true);
        observed.followers = vec![none, Follower { node: NodeId(3), ..none }];
        let in_sync = state.observe(&observed, &[NodeId(1), NodeId(2)], LAG_MAX_MS);
        assert_eq!(in_sync, BTreeSet::from([NodeId(2)]));
        observed.now_ms += LAG_MAX_MS + 1;
        assert!(state.observe(&observed, &[NodeId(2)], LAG_MAX_MS).is_empty());
    }
}

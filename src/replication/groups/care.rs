//! The one task that sees to it that each group has a leader, and that each leader is confirmed.
//!
//! It looks at groups that have changed, and at all of them when nodes come or go and now and then:
//! an election of a thousand groups is ten thousand changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::base::ids::{NodeId, TopicPartition};
use crate::replication::groups::Groups;
use crate::replication::groups::campaign::Campaigns;
use crate::replication::member::{Group, Status};

/// Changes of many groups that come together are looked at together.
const GATHER: Duration = Duration::from_millis(2);
/// All groups are looked at this often even if nothing seems to happen.
pub(super) const SWEEP: Duration = Duration::from_secs(5);
/// Followers of a leader that is not confirmed by a majority are asked again after this time.
const CONFIRM_AGAIN: Duration = Duration::from_millis(200);

/// A node's start, and the lease that it gives.
type Contact = (u64, Option<u64>);

pub(super) struct Care {
    groups: Groups,
    campaigns: Campaigns,
    known: BTreeMap<NodeId, Option<Contact>>,
    /// Groups that this node leads and may not serve, and when their followers are asked next.
    silent: BTreeMap<TopicPartition, Instant>,
}

impl Care {
    pub(super) fn new(groups: Groups) -> Self {
        let campaigns = Campaigns::new(groups.node());
        Self { groups, campaigns, known: BTreeMap::new(), silent: BTreeMap::new() }
    }

    pub(super) async fn run(mut self) {
        let mut nodes = self.groups.peers().liveness().subscribe();
        let mut sweep = Instant::now();
        loop {
            let looked_at = if Instant::now() >= sweep {
                sweep = Instant::now() + SWEEP;
                self.groups.shared.take_to_look_at();
                let all = self.groups.shared.all();
                self.greet_who_came(&all).await;
                all
            } else {
                self.due()
            };
            self.confirm(&looked_at).await;
            self.resign_failed(&looked_at);
            let next = self.campaigns.round(&self.groups, looked_at).await;
            let next = self.silent.values().copied().chain([next, sweep]).min();
            tokio::select! {
                _ = nodes.changed() => sweep = Instant::now(),
                () = self.groups.shared.wake.notified() => {}
                () = tokio::time::sleep_until(next.unwrap_or(sweep)) => {}
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Groups that have changed, and those for which it is time.
    fn due(&mut self) -> Vec<Arc<dyn Group>> {
        let now = Instant::now();
        let mut ids = self.groups.shared.take_to_look_at();
        ids.extend(self.campaigns.due(now));
        ids.extend(self.silent.iter().filter(|(_, next)| **next <= now).map(|(id, _)| *id));
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            match self.groups.shared.get(id) {
                Some(group) => found.push(group),
                None => {
                    self.campaigns.forget(id);
                    self.silent.remove(&id);
                }
            }
        }
        found
    }

    /// Tells nodes that have come up, or were cut off for a while, which groups this node leads:
    /// they have to confirm it.
    async fn greet_who_came(&mut self, all: &[Arc<dyn Group>]) {
        let liveness = self.groups.peers().liveness();
        let mut came = Vec::new();
        for node in liveness.nodes() {
            let incarnation = liveness.incarnation(node).filter(|_| liveness.is_alive(node));
            let contact = incarnation.map(|incarnation| (incarnation, liveness.lease(node)));
            let before = self.known.insert(node, contact).flatten();
            if contact.is_some() && contact != before {
                came.push(node);
            }
        }
        if came.is_empty() {
            return;
        }
        let led = all.iter().map(|group| (group.status(), group));
        let led: Vec<_> = led.filter(|(status, _)| status.leads).collect();
        for node in came {
            let has =
                |status: &Status| status.voters.contains(&node) || status.learners.contains(&node);
            let to_greet = led.iter().filter(|(status, _)| has(status));
            join_all(to_greet.map(|(_, group)| group.greet(node))).await;
        }
    }

    /// Asks the followers of leaders that are not confirmed by a majority, unless they have only
    /// just been elected.
    async fn confirm(&mut self, groups: &[Arc<dyn Group>]) {
        let now = Instant::now();
        let mut asked = Vec::new();
        for group in groups {
            if !group.status().leads || group.is_serving() {
                self.silent.remove(&group.id());
                continue;
            }
            let next = self.silent.entry(group.id()).or_insert(now + CONFIRM_AGAIN);
            if *next <= now {
                *next = now + CONFIRM_AGAIN;
                asked.push(group.greet(self.groups.node()));
            }
        }
        join_all(asked).await;
    }

    /// A group that has stopped here leaves its leadership to others.
    fn resign_failed(&self, groups: &[Arc<dyn Group>]) {
        for group in groups.iter().filter(|group| !group.is_running()) {
            let id = group.id();
            self.groups.remove(id);
            tracing::warn!(group = %id, "a group has stopped here");
            group.lay_down();
        }
    }
}

//! Who counts as reachable: what the metadata leader writes of it, from what it hears.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::ids::NodeId;
use crate::metadata::image::Image;
use crate::metadata::records::Record;

/// How long a node that was never heard has, counted from its registration or from when this node
/// became the leader.
pub const GRACE: Duration = Duration::from_secs(4);

/// What the metadata leader knows of the others at one moment.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub own: NodeId,
    /// The start of a node that is alive.
    pub alive: &'a (dyn Fn(NodeId) -> Option<u64> + Sync),
    /// The start of a node that is alive or was, also before this node led.
    pub heard: &'a (dyn Fn(NodeId) -> Option<u64> + Sync),
    /// Since the leader began to look.
    pub now: Duration,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("now", &self.now).finish_non_exhaustive()
    }
}

/// The metadata leader's memory: it begins empty whenever another node becomes the leader.
#[derive(Debug, Default)]
pub struct Fencing {
    seen: BTreeMap<NodeId, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    incarnation: u64,
    since: Duration,
    was_heard: bool,
}

impl Fencing {
    /// Takes note of who is registered and who is heard.
    pub fn observe(&mut self, image: &Image, view: &View<'_>) {
        self.seen.retain(|node, _| image.brokers.contains_key(node));
        for (node, broker) in &image.brokers {
            let incarnation = broker.incarnation;
            let fresh = Seen { incarnation, since: view.now, was_heard: false };
            let seen = self.seen.entry(*node).or_insert(fresh);
            if seen.incarnation != incarnation {
                *seen = fresh;
            }
            seen.was_heard |= is_up(*node, incarnation, view);
            seen.was_heard |= (view.heard)(*node) == Some(incarnation);
        }
    }

    /// What is to be written.
    pub fn records(&self, image: &Image, view: &View<'_>) -> Vec<Record> {
        let changed = image.brokers.keys().filter_map(|node| {
            let fenced = self.is_to_be_fenced(image, *node, view)?;
            let draining = image.draining.contains(node);
            let is_change = fenced != image.fenced.contains(node);
            is_change.then_some(Record::BrokerState { node: *node, fenced, draining })
        });
        changed.collect()
    }

    /// `None`: it is too early to say.
    fn is_to_be_fenced(&self, image: &Image, node: NodeId, view: &View<'_>) -> Option<bool> {
        let broker = image.brokers.get(&node)?;
        if is_up(node, broker.incarnation, view) {
            return Some(false);
        }
        let seen = self.seen.get(&node).filter(|seen| seen.incarnation == broker.incarnation)?;
        let is_known = seen.was_heard || view.now >= seen.since + GRACE;
        is_known.then_some(true)
    }

    /// When somebody's grace ends who is not heard.
    pub fn next_look(&self, image: &Image, view: &View<'_>) -> Option<Duration> {
        let waiting = self.seen.iter().filter(|(node, seen)| {
            let is_up = is_up(**node, seen.incarnation, view);
            !seen.was_heard && !is_up && !image.fenced.contains(node)
        });
        waiting.map(|(_, seen)| seen.since + GRACE).filter(|end| *end > view.now).min()
    }
}

fn is_up(node: NodeId, incarnation: u64, view: &View<'_>) -> bool {
    node == view.own || (view.alive)(node) == Some(incarnation)
}

#[cfg(test)]
mod tests;

//! Partitions that go on without a majority by themselves, because the topic's
//! `unclean.leader.election.enable` says so: when it is time, and with which replica.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::ids::{NodeId, TopicPartition};
use crate::metadata::image::{Image, Partition};
use crate::metadata::records::Record;

/// How long a majority may be away before a partition goes on without it. A restart is shorter.
const PATIENCE: Duration = Duration::from_secs(10);

/// Since when partitions have been without a majority, as one of their replicas sees it.
#[derive(Debug, Default)]
pub struct Lost {
    since: BTreeMap<TopicPartition, Duration>,
}

impl Lost {
    /// Notes how a partition is; returns whether it has been without a majority for long.
    pub fn observe(&mut self, id: TopicPartition, is_lost: bool, now: Duration) -> bool {
        if !is_lost {
            self.since.remove(&id);
            return false;
        }
        let since = *self.since.entry(id).or_insert(now);
        let is_due = now.saturating_sub(since) >= PATIENCE;
        if is_due {
            // If nothing comes of it, not at once again.
            self.since.insert(id, now);
        }
        is_due
    }

    /// Whether all have a majority.
    pub fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    /// Forgets partitions that are not here any more.
    pub fn retain(&mut self, is_here: impl Fn(TopicPartition) -> bool) {
        self.since.retain(|id, _| is_here(*id));
    }
}

/// Whether so few of these nodes live that they elect nobody.
pub fn is_lost(
    voters: impl IntoIterator<Item = NodeId>,
    is_alive: impl Fn(NodeId) -> bool,
) -> bool {
    let (mut all, mut alive) = (0_usize, 0_usize);
    for node in voters {
        all += 1;
        alive += usize::from(is_alive(node));
    }
    alive * 2 <= all
}

/// The replica that has the most, as far as the metadata knows: the leader, if it lives and only
/// lacks the others, else one that was in sync, else any.
pub fn heir(image: &Image, place: &Partition) -> Option<NodeId> {
    let in_sync = place.leader.iter().chain(&place.in_sync);
    // After one went on alone the others have begun again, and may have next to nothing yet.
    let others: &[NodeId] = if place.lineage == 0 { &place.replicas } else { &[] };
    in_sync.chain(others).copied().find(|node| is_fit(image, place, *node))
}

/// Whether a node may go on with the partition: it lives, and is not still to get the data.
pub fn is_fit(image: &Image, place: &Partition, node: NodeId) -> bool {
    image.is_alive(node) && place.members().any(|member| member == node)
}

/// Whether so few of the partition's replicas live, as the metadata knows, that they elect nobody.
pub fn has_lost_majority(image: &Image, place: &Partition) -> bool {
    is_lost(place.members(), |node| image.is_alive(node))
}

/// The record by which a partition goes on with the replica `node`, if that is still needed.
pub fn record(image: &Image, id: TopicPartition, node: NodeId) -> Option<Record> {
    let place = image.partition(id)?;
    let is_needed = has_lost_majority(image, place) && heir(image, place) == Some(node);
    is_needed.then_some(Record::Recovery {
        topic_id: id.topic_id,
        partition: id.partition,
        replica: node,
        lineage: place.lineage.saturating_add(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::TopicId;
    use crate::controller::moves::tests::{image_of, nodes};
    use crate::controller::placement::tests::set_state;

    const ID: TopicPartition = TopicPartition { topic_id: TopicId([1; 16]), partition: 0 };

    fn fence(image: &mut Image, ids: &[i32]) {
        ids.iter().for_each(|id| set_state(image, *id, (true, false)));
    }

    fn led(image: &mut Image, leader: i32, in_sync: &[i32]) {
        image.replay(&Record::Leader {
            topic_id: ID.topic_id,
            partition: ID.partition,
            leader: Some(NodeId(leader)),
            epoch: 3,
            in_sync: nodes(in_sync),
        });
    }

    fn goes_on(image: &Image, node: i32) -> Option<u32> {
        match record(image, ID, NodeId(node)) {
            Some(Record::Recovery { replica, lineage, .. }) if replica == NodeId(node) => {
                Some(lineage)
            }
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_who_has_most_goes_on_and_only_without_a_majority() {
        let mut image = image_of(4, &[&[1, 2, 3]]);
        led(&mut image, 1, &[1, 3]);
        fence(&mut image, &[1]);
        assert_eq!([1, 2, 3, 4].map(|node| goes_on(&image, node)), [None; 4]);
        fence(&mut image, &[2]);
        assert_eq!([1, 2, 3, 4].map(|node| goes_on(&image, node)), [None, None, Some(1), None]);
        // Nobody who was in sync is left.
        set_state(&mut image, 2, (false, false));
        fence(&mut image, &[3]);
        assert_eq!([1, 2, 3, 4].map(|node| goes_on(&image, node)), [None, Some(1), None, None]);
        fence(&mut image, &[2]);
        assert_eq!([1, 2, 3, 4].map(|node| goes_on(&image, node)), [None; 4]);
    }

    #[test]
    fn a_leader_without_the_others_goes_on_itself() {
        let mut image = image_of(2, &[&[1, 2]]);
        led(&mut image, 2, &[1, 2]);
        fence(&mut image, &[1]);
        assert_eq!([1, 2].map(|node| goes_on(&image, node)), [None, Some(1)]);
    }

    #[test]
    fn a_restart_is_waited_for() {
        let (mut lost, second) = (Lost::default(), Duration::from_secs(1));
        assert!(!lost.observe(ID, true, second));
        assert!(!lost.observe(ID, true, PATIENCE));
        assert!(!lost.observe(ID, false, PATIENCE + second));
        assert!(!lost.observe(ID, true, PATIENCE + second * 2));
        assert!(lost.observe(ID, true, PATIENCE * 2 + second * 2));
        assert!(!lost.observe(ID, true, PATIENCE * 2 + second * 3));
        lost.retain(|_| false);
        assert!(!lost.observe(ID, true, PATIENCE * 9));
    }
}

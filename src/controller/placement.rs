//! Which brokers get a partition's replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::ids::{NodeId, PartitionIndex, TopicId};
use crate::controller::refusal::{Reason, Refusal};
use crate::metadata::image::Image;
use crate::metadata::records::BrokerRecord;

/// Places partitions of one topic. Neighbours in the order stand in different racks as far as
/// possible; partitions begin one place further each, and topics at different places, so that first
/// replicas, which lead, are spread.
///
/// Nodes that can not be reached now get replicas only when there are too few others, and so few
/// that the partition can be led without them; nodes that are to be emptied get none.
#[derive(Debug)]
pub(super) struct Placer {
    order: Vec<NodeId>,
    /// Taken when `order` is not enough.
    reserve: Vec<NodeId>,
    start: usize,
    replication_factor: usize,
}

impl Placer {
    /// Refuses a replication factor that the cluster has too few brokers for.
    pub(super) fn new(image: &Image, id: TopicId, factor: usize) -> Result<Self, Refusal> {
        let order = alternate_racks(image, |node| image.is_usable(node));
        let reserve = alternate_racks(image, |node| {
            image.fenced.contains(&node) && !image.draining.contains(&node)
        });
        let refuse = |why: String| {
            let message = format!("Unable to replicate the partition {factor} time(s): {why}");
            Err(Refusal::new(Reason::InvalidReplicationFactor, message))
        };
        let registered = order.len() + reserve.len();
        if factor > registered {
            return refuse(format!(
                "The target replication factor of {factor} cannot be reached because only \
                 {registered} broker(s) are registered."
            ));
        }
        if order.is_empty() {
            return refuse("All brokers are currently fenced.".to_owned());
        }
        if order.len() <= factor / 2 {
            return refuse(format!(
                "Only {} broker(s) are not fenced, which is no majority of the replicas.",
                order.len()
            ));
        }
        let start = id.0.iter().fold(0usize, |sum, byte| sum + usize::from(*byte));
        Ok(Self { order, reserve, start, replication_factor: factor })
    }

    pub(super) fn place(&self, partition: PartitionIndex) -> Vec<NodeId> {
        let first = self.start + partition.unsigned_abs() as usize;
        let turned = |nodes: &[NodeId], count: usize| -> Vec<NodeId> {
            let places = (first..first + count).map(|place| place % nodes.len().max(1));
            places.filter_map(|place| nodes.get(place).copied()).collect()
        };
        let count = self.replication_factor.min(self.order.len());
        let mut replicas = turned(&self.order, count);
        replicas.extend(turned(&self.reserve, self.replication_factor - count));
        replicas
    }
}

/// One broker of each rack, then the next one of each, and so on.
pub(super) fn alternate_racks(image: &Image, is_wanted: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
    let mut racks: BTreeMap<Option<&str>, Vec<NodeId>> = BTreeMap::new();
    let is_broker = |broker: &&Arc<BrokerRecord>| !broker.endpoints.is_empty();
    let wanted = image.brokers.values().filter(is_broker).filter(|broker| is_wanted(broker.node));
    for broker in wanted {
        racks.entry(broker.rack.as_deref()).or_default().push(broker.node);
    }
    let depth = racks.values().map(Vec::len).max().unwrap_or(0);
    let rows = (0..depth).flat_map(|at| racks.values().filter_map(move |rack| rack.get(at)));
    rows.copied().collect()
}

/// Refuses chosen replicas of a new partition that nobody could lead now.
pub(super) fn check_alive(
    image: &Image,
    partition: PartitionIndex,
    replicas: &[NodeId],
) -> Result<(), Refusal> {
    if replicas.iter().any(|node| image.is_alive(*node)) {
        return Ok(());
    }
    let message = format!(
        "All brokers specified in the manual partition assignment for partition {partition} are \
         fenced or in controlled shutdown."
    );
    Err(Refusal::new(Reason::InvalidReplicaAssignment, message))
}

/// Checks replicas that a client has chosen. All partitions of a topic have equally many.
pub(super) fn check_manual(
    image: &Image,
    replicas: &[NodeId],
    replication_factor: Option<usize>,
) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(Reason::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        let message = "The manual partition assignment includes an empty replica list.";
        return refuse(message.to_owned());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    let mut seen = BTreeSet::new();
    for node in sorted {
        if !image.brokers.contains_key(&node) {
            return refuse(format!(
                "The manual partition assignment includes broker {node}, but no such broker is \
                 registered."
            ));
        }
        if !seen.insert(node) {
            return refuse(format!(
                "The manual partition assignment includes the broker {node} more than once."
            ));
        }
    }
    match replication_factor {
        Some(factor) if factor != replicas.len() => refuse(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is \
             not consistent with previous partitions, which have {factor} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metadata::records::{Endpoint, Record};

    /// An image with brokers 1, 2, … in these racks.
    pub(in crate::controller) fn image_with(racks: &[Option<&str>]) -> Image {
        let mut image = Image::default();
        for (node, rack) in (1..).zip(racks) {
            let rack = rack.map(str::to_owned);
            let listener = "PLAINTEXT".to_owned();
            let endpoints = vec![Endpoint { listener, host: "h".to_owned(), port: 9092 }];
            let broker = BrokerRecord { rack, endpoints, ..BrokerRecord::new(NodeId(node)) };
            image.replay(&Record::Broker(broker));
        }
        image
    }

    #[test]
    fn racks_alternate() {
        let image = image_with(&[Some("a"), Some("a"), Some("b"), Some("b"), Some("c")]);
        assert_eq!(alternate_racks(&image, |_| true), [1, 3, 5, 2, 4].map(NodeId));
    }

    #[test]
    fn too_few_brokers_are_refused_in_kafkas_words() {
        let refusal = Placer::new(&image_with(&[None]), TopicId::ZERO, 2).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidReplicationFactor);
        assert_eq!(
            refusal.message.unwrap(),
            "Unable to replicate the partition 2 time(s): The target replication factor of 2 \
             cannot be reached because only 1 broker(s) are registered."
        );
    }

    pub(in crate::controller) fn set_state(image: &mut Image, node: i32, state: (bool, bool)) {
        let (fenced, draining) = state;
        image.replay(&Record::BrokerState { node: NodeId(node), fenced, draining });
    }

    #[test]
    fn nodes_that_are_away_come_last_and_draining_ones_never() {
        let mut image = image_with(&[None; 4]);
        set_state(&mut image, 1, (true, false));
        set_state(&mut image, 2, (false, true));
        for start in 0..9 {
            let placer = Placer::new(&image, TopicId([start; 16]), 3).unwrap();
            let replicas = placer.place(0);
            assert_eq!(replicas[2], NodeId(1));
            assert!(!replicas.contains(&NodeId(2)));
            assert!(
                !Placer::new(&image, TopicId([start; 16]), 2)
                    .unwrap()
                    .place(0)
                    .contains(&NodeId(1))
            );
        }
        assert!(Placer::new(&image, TopicId::ZERO, 4).is_err());
        set_state(&mut image, 3, (true, false));
        let refusal = Placer::new(&image, TopicId::ZERO, 3).unwrap_err();
        assert!(refusal.message.unwrap().ends_with("no majority of the replicas."));
        set_state(&mut image, 4, (true, false));
        let refusal = Placer::new(&image, TopicId::ZERO, 1).unwrap_err();
        assert!(refusal.message.unwrap().ends_with("All brokers are currently fenced."));
        let refusal = check_alive(&image, 7, &[NodeId(3), NodeId(4)]).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidReplicaAssignment);
    }

    proptest! {
        #[test]
        fn replicas_are_different_and_leaders_are_spread(
            brokers in 1usize..8, factor in 1usize..8, id in any::<[u8; 16]>(),
        ) {
            let image = image_with(&vec![None; brokers]);
            let Ok(placer) = Placer::new(&image, TopicId(id), factor) else {
                prop_assert!(factor > brokers);
                return Ok(());
            };
            let mut leaders = BTreeMap::new();
            for partition in 0..i32::try_from(brokers * 3).unwrap() {
                let replicas = placer.place(partition);
                prop_assert_eq!(check_manual(&image, &replicas, Some(factor)), Ok(()));
                *leaders.entry(replicas[0]).or_insert(0) += 1;
            }
            prop_assert!(leaders.values().all(|count| *count == 3));
        }
    }
}

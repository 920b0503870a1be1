//! Which brokers get a partition's replicas.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{NodeId, PartitionIndex, TopicId};
use crate::controller::refusal::{Reason, Refusal};
use crate::metadata::image::Image;

/// Places partitions of one topic. Neighbours in the order stand in different racks as far as
/// possible; partitions begin one place further each, and topics at different places, so that first
/// replicas, which lead, are spread.
#[derive(Debug)]
pub(super) struct Placer {
    order: Vec<NodeId>,
    start: usize,
    replication_factor: usize,
}

impl Placer {
    /// Refuses a replication factor that the cluster has too few brokers for.
    pub(super) fn new(image: &Image, id: TopicId, factor: usize) -> Result<Self, Refusal> {
        let order = alternate_racks(image);
        if factor > order.len() {
            let message = format!(
                "Unable to replicate the partition {factor} time(s): The target replication factor \
                 of {factor} cannot be reached because only {} broker(s) are registered.",
                order.len()
            );
            return Err(Refusal::new(Reason::InvalidReplicationFactor, message));
        }
        let start = id.0.iter().fold(0usize, |sum, byte| sum + usize::from(*byte));
        Ok(Self { order, start, replication_factor: factor })
    }

    pub(super) fn place(&self, partition: PartitionIndex) -> Vec<NodeId> {
        let first = self.start + partition.unsigned_abs() as usize;
        let count = self.order.len().max(1);
        let places = (first..first + self.replication_factor).map(|place| place % count);
        places.filter_map(|place| self.order.get(place).copied()).collect()
    }
}

/// One broker of each rack, then the next one of each, and so on.
fn alternate_racks(image: &Image) -> Vec<NodeId> {
    let mut racks: BTreeMap<Option<&str>, Vec<NodeId>> = BTreeMap::new();
    let usable = image.brokers.values().filter(|broker| image.is_usable(broker.node));
    for broker in usable {
        racks.entry(broker.rack.as_deref()).or_default().push(broker.node);
    }
    let depth = racks.values().map(Vec::len).max().unwrap_or(0);
    let rows = (0..depth).flat_map(|at| racks.values().filter_map(move |rack| rack.get(at)));
    rows.copied().collect()
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
    use crate::metadata::records::{BrokerRecord, Endpoint, Record};

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
        assert_eq!(alternate_racks(&image), [1, 3, 5, 2, 4].map(NodeId));
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

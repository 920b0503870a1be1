//! Who leads a partition, as brokers and clients are told: the metadata's word, which is the same
//! on every broker, and over it what the leader knows of itself before the metadata has it.

use crate::api::errors::Code;
use crate::base::ids::{LeaderEpoch, NodeId};
use crate::controller::unclean;
use crate::metadata::image::{Image, Partition};

/// What this broker knows of its own replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// With the epoch if it leads.
    Open(Option<LeaderEpoch>),
    /// Its log failed or is damaged.
    Failed,
}

/// How a partition looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// The leader, if it is alive.
    pub leader: Option<NodeId>,
    /// -1 before the first leader.
    pub leader_epoch: LeaderEpoch,
    pub replicas: Vec<NodeId>,
    pub in_sync: Vec<NodeId>,
    /// Replicas that can not be reached, or whose log failed.
    pub offline: Vec<NodeId>,
}

/// How a partition looks to the clients of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallersView {
    /// The leader, or why there is none for these clients.
    pub leader: Result<NodeId, Code>,
    pub leader_epoch: LeaderEpoch,
    pub replicas: Vec<NodeId>,
    pub in_sync: Vec<NodeId>,
    pub offline: Vec<NodeId>,
}

/// Whether so many replicas live, as the metadata knows, that they can elect a leader.
pub(super) fn has_majority(image: &Image, place: &Partition) -> bool {
    !unclean::is_lost(place.replicas.iter().copied(), |replica| image.is_alive(replica))
}

impl PartitionView {
    /// A partition that is not there.
    pub fn nowhere() -> Self {
        Self {
            leader: None,
            leader_epoch: -1,
            replicas: Vec::new(),
            in_sync: Vec::new(),
            offline: Vec::new(),
        }
    }

    /// The metadata's word, and this node's own where it leads a newer epoch.
    pub fn new(image: &Image, place: &Partition, node: NodeId, own: Own) -> Self {
        let is_offline = |replica: &NodeId| {
            !image.is_alive(*replica) || (*replica == node && own == Own::Failed)
        };
        let replicas = place.replicas.clone();
        let offline: Vec<NodeId> = replicas.iter().copied().filter(is_offline).collect();
        let mut in_sync: Vec<NodeId> =
            place.in_sync.iter().copied().filter(|replica| !offline.contains(replica)).collect();
        if in_sync.is_empty() {
            // As in Kafka, the last ones stay: one of them has everything.
            in_sync.clone_from(&place.in_sync);
        }
        let own_epoch = match own {
            Own::Open(Some(epoch)) if epoch >= place.leader_epoch => Some(epoch),
            Own::Open(_) | Own::Failed => None,
        };
        // If it is to be this node and it does not serve, it may be cut off: then others lead by
        // now, and know it. Without a majority nobody else does, and all brokers name the same.
        let is_elsewhere = |leader: &NodeId| *leader != node || !has_majority(image, place);
        let is_there = |leader: &NodeId| !offline.contains(leader) && is_elsewhere(leader);
        let known = place.leader.filter(is_there);
        let leader = own_epoch.map(|_| node).or(known);
        if let Some(leader) = leader
            && !in_sync.contains(&leader)
        {
            in_sync.push(leader);
        }
        Self {
            leader,
            leader_epoch: own_epoch.unwrap_or(place.leader_epoch),
            replicas,
            in_sync,
            offline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::records::{BrokerRecord, Record};

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);
    const THREE: NodeId = NodeId(3);
    const NODES: [NodeId; 3] = [ONE, TWO, THREE];

    fn image(fenced: &[NodeId]) -> Image {
        let mut image = Image::default();
        for node in NODES {
            image.replay(&Record::Broker(BrokerRecord::new(node)));
        }
        for node in fenced {
            let (node, draining) = (*node, false);
            image.replay(&Record::BrokerState { node, fenced: true, draining });
        }
        image
    }

    fn place() -> Partition {
        Partition { leader: Some(TWO), leader_epoch: 5, ..Partition::new(NODES.to_vec()) }
    }

    #[test]
    fn every_broker_tells_the_metadatas_leader() {
        for node in NODES {
            for own in [None, Some(4)].into_iter().filter(|_| node != TWO) {
                let view = PartitionView::new(&image(&[]), &place(), node, Own::Open(own));
                assert_eq!((view.leader, view.leader_epoch), (Some(TWO), 5));
                assert_eq!((view.in_sync, view.offline), (NODES.to_vec(), Vec::new()));
            }
        }
    }

    #[test]
    fn a_leader_knows_itself_first() {
        let view = PartitionView::new(&image(&[]), &place(), THREE, Own::Open(Some(6)));
        assert_eq!((view.leader, view.leader_epoch), (Some(THREE), 6));
    }

    #[test]
    fn a_leader_that_can_not_be_reached_is_none() {
        let view = PartitionView::new(&image(&[TWO]), &place(), ONE, Own::Open(None));
        assert_eq!((view.leader, view.leader_epoch), (None, 5));
        assert_eq!((view.in_sync, view.offline), (vec![ONE, THREE], vec![TWO]));
    }

    #[test]
    fn a_leader_that_does_not_serve_names_nobody() {
        let view = PartitionView::new(&image(&[]), &place(), TWO, Own::Open(None));
        assert_eq!((view.leader, view.leader_epoch), (None, 5));
        assert_eq!((view.in_sync, view.offline), (NODES.to_vec(), Vec::new()));
    }

    #[test]
    fn without_a_majority_all_brokers_name_who_led_last() {
        for node in [ONE, TWO] {
            let view = PartitionView::new(&image(&[ONE, THREE]), &place(), node, Own::Open(None));
            assert_eq!((view.leader, view.leader_epoch), (Some(TWO), 5));
        }
    }

    #[test]
    fn a_failed_log_is_offline_and_the_last_in_sync_replicas_stay() {
        let view = PartitionView::new(&image(&[]), &place(), ONE, Own::Failed);
        assert_eq!((view.in_sync, view.offline), (vec![TWO, THREE], vec![ONE]));
        let view = PartitionView::new(&image(&NODES), &place(), ONE, Own::Open(None));
        assert_eq!((view.leader, view.in_sync), (None, NODES.to_vec()));
    }
}

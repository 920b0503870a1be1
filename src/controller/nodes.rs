//! Nodes that leave for good, and the nodes that vote on metadata.

use crate::base::ids::{DirectoryId, NodeId};
use crate::controller::moves;
use crate::controller::refusal::{Reason, Refusal};
use crate::controller::service::Decision;
use crate::metadata::image::Image;
use crate::metadata::records::Record;

/// Takes a node out of the cluster. Replicas that it has stay assigned to it, as in Kafka, until
/// they are moved; those that were on their way to it stay where they are, for they would never
/// arrive. The last voter stays.
pub fn forget(image: &Image, node: NodeId) -> Decision<Result<(), Refusal>> {
    let refuse = |reason, message: String| Decision {
        records: Vec::new(),
        answer: Err(Refusal::new(reason, message)),
    };
    if !image.brokers.contains_key(&node) {
        let message = format!("Broker ID {node} is not currently registered");
        return refuse(Reason::UnknownBroker, message);
    }
    let others = image.voters.iter().copied().filter(|voter| *voter != node);
    let others: Vec<NodeId> = others.collect();
    let mut records = Vec::new();
    if image.voters.contains(&node) {
        if others.is_empty() {
            let message = format!("Node {node} is the only one that votes on metadata.");
            return refuse(Reason::InvalidRequest, message);
        }
        records.push(Record::Voters { nodes: others });
    }
    records.extend(stay(image, node));
    records.push(Record::RemoveBroker { node });
    Decision { records, answer: Ok(()) }
}

/// Takes back the moves to a node.
fn stay(image: &Image, node: NodeId) -> impl Iterator<Item = Record> {
    let partitions = image.topics().flat_map(|topic| {
        topic.partitions.iter().map(|(partition, place)| (topic.id, *partition, place))
    });
    let moving = partitions.filter(move |(_, _, place)| place.adding.contains(&node));
    moving.filter_map(|(topic_id, partition, place)| {
        let settled: Vec<NodeId> = place.members().collect();
        let has_any = !settled.is_empty();
        moves::begin(topic_id, partition, place, &settled).filter(|_| has_any)
    })
}

/// A node as voter requests name it: by id and directory; the zero directory is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoterKey {
    pub node: NodeId,
    pub directory: DirectoryId,
}

impl VoterKey {
    fn names(&self, image: &Image) -> bool {
        let known = image.brokers.get(&self.node).map(|broker| broker.directory);
        known.is_some_and(|known| [known, DirectoryId::ZERO].contains(&self.directory))
    }
}

/// Lets a node vote on metadata. It must have joined, and it must be one that may.
pub fn add_voter(image: &Image, key: VoterKey) -> Decision<Result<(), Refusal>> {
    let node = key.node;
    let refuse = |reason, message: String| Decision {
        records: Vec::new(),
        answer: Err(Refusal::new(reason, message)),
    };
    if image.voters.contains(&node) {
        let message = format!("The voter id for {node} is already part of the set of voters.");
        return refuse(Reason::DuplicateVoter, message);
    }
    let may_vote = image.brokers.get(&node).is_some_and(|broker| broker.is_controller);
    if !key.names(image) || !may_vote || !image.is_alive(node) {
        let message = format!("Node {node} can not vote: it is not here, or not a controller.");
        return refuse(Reason::InvalidRequest, message);
    }
    let mut nodes = image.voters.clone();
    nodes.push(node);
    nodes.sort_unstable();
    Decision { records: vec![Record::Voters { nodes }], answer: Ok(()) }
}

/// Ends a node's vote.
pub fn remove_voter(image: &Image, key: VoterKey) -> Decision<Result<(), Refusal>> {
    let node = key.node;
    let refuse = |reason, message: String| Decision {
        records: Vec::new(),
        answer: Err(Refusal::new(reason, message)),
    };
    if !image.voters.contains(&node) || !key.names(image) {
        let message = format!("Cannot remove voter {node}: it is not in the set of voters.");
        return refuse(Reason::UnknownVoter, message);
    }
    let nodes: Vec<NodeId> = image.voters.iter().copied().filter(|voter| *voter != node).collect();
    if nodes.is_empty() {
        let message = format!("Cannot remove voter {node}: it is the only one.");
        return refuse(Reason::InvalidRequest, message);
    }
    Decision { records: vec![Record::Voters { nodes }], answer: Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::moves::tests::{image_of, nodes};
    use crate::controller::placement::tests::{image_with, set_state};

    fn image(voters: &[i32]) -> Image {
        let mut image = image_with(&[None; 4]);
        let nodes = voters.iter().copied().map(NodeId).collect();
        image.replay(&Record::Voters { nodes });
        image
    }

    fn key(node: i32) -> VoterKey {
        VoterKey { node: NodeId(node), directory: DirectoryId::ZERO }
    }

    fn outcome(
        mut image: Image,
        decision: Decision<Result<(), Refusal>>,
    ) -> Result<Vec<i32>, Reason> {
        decision.records.iter().for_each(|record| image.replay(record));
        decision.answer.map_err(|refusal| refusal.reason)?;
        Ok(image.voters.iter().map(|node| node.0).collect())
    }

    #[test]
    fn voters_come_and_go_one_by_one() {
        let add = |image: Image, node| {
            let decision = add_voter(&image, key(node));
            outcome(image, decision)
        };
        let remove = |image: Image, node| {
            let decision = remove_voter(&image, key(node));
            outcome(image, decision)
        };
        assert_eq!(add(image(&[1, 3]), 2), Ok(vec![1, 2, 3]));
        assert_eq!(add(image(&[1, 3]), 3), Err(Reason::DuplicateVoter));
        assert_eq!(add(image(&[1, 3]), 9), Err(Reason::InvalidRequest));
        let mut away = image(&[1]);
        set_state(&mut away, 2, (true, false));
        assert_eq!(add(away, 2), Err(Reason::InvalidRequest));
        let other = VoterKey { directory: DirectoryId([7; 16]), ..key(2) };
        assert!(add_voter(&image(&[1]), other).answer.is_err());
        assert_eq!(remove(image(&[1, 2, 3]), 2), Ok(vec![1, 3]));
        assert_eq!(remove(image(&[1]), 1), Err(Reason::InvalidRequest));
        assert_eq!(remove(image(&[1]), 2), Err(Reason::UnknownVoter));
    }

    #[test]
    fn nothing_is_on_its_way_to_a_node_that_was_forgotten() {
        let mut image = image_of(4, &[&[3, 2, 4], &[1, 2, 3]]);
        let topic = image.topics().next().unwrap().id;
        let place = |image: &Image, partition| {
            image.topic_by_id(topic).unwrap().partitions[&partition].clone()
        };
        let begun = moves::begin(topic, 0, &place(&image, 0), &nodes(&[3, 2, 1])).unwrap();
        image.replay(&begun);
        forget(&image, NodeId(1)).records.iter().for_each(|record| image.replay(record));
        let (moved, left) = (place(&image, 0), place(&image, 1));
        assert_eq!(moved.target().collect::<Vec<_>>(), nodes(&[3, 2, 4]));
        assert_eq!((left.replicas, left.adding), (nodes(&[1, 2, 3]), Vec::new()));
    }

    #[test]
    fn a_node_that_leaves_does_not_vote() {
        let after = |image: Image, node| {
            let decision = forget(&image, NodeId(node));
            outcome(image, decision)
        };
        assert_eq!(after(image(&[1, 2, 3]), 2), Ok(vec![1, 3]));
        assert_eq!(after(image(&[1]), 2), Ok(vec![1]));
        assert_eq!(after(image(&[1]), 1), Err(Reason::InvalidRequest));
        assert_eq!(after(image(&[1]), 9), Err(Reason::UnknownBroker));
        let image = image(&[1]);
        let refusal = forget(&image, NodeId(9)).answer.unwrap_err();
        assert_eq!(refusal.message.unwrap(), "Broker ID 9 is not currently registered");
    }
}

//! Who may be which node: decides on a node that joins, or registers itself when it starts.

use crate::base::ids::{DirectoryId, NodeId};
use crate::cluster::card::Card;
use crate::controller::service::Decision;
use crate::metadata::features;
use crate::metadata::image::Image;
use crate::metadata::records::{BrokerRecord, Record};

/// The first id that is given to a node that wants none in particular.
const FIRST_NODE_ID: NodeId = NodeId(1);

/// What is decided: the node's id, or why it is refused.
pub type Judgement = Result<NodeId, String>;

/// The id of a node that begins a cluster.
pub fn first_node(wanted: Option<NodeId>) -> NodeId {
    wanted.unwrap_or(FIRST_NODE_ID)
}

/// The first records of a cluster, by the node that founds it. `voters` are to vote on metadata.
pub fn found(image: &Image, card: &Card, voters: &[NodeId]) -> Decision<Judgement> {
    let Some(cluster_id) = card.cluster_id.as_ref().filter(|_| image.cluster_id.is_empty()) else {
        return admit(image, card);
    };
    let own = card.broker.node;
    let voters = if voters.contains(&own) { voters.to_vec() } else { vec![own] };
    let mut records = vec![
        Record::Cluster { cluster_id: cluster_id.clone() },
        Record::Voters { nodes: voters },
        Record::Broker(card.broker.clone()),
    ];
    records.extend(features::newest());
    Decision { records, answer: Ok(own) }
}

/// Lets a node in, or renews its registration.
pub fn admit(image: &Image, card: &Card) -> Decision<Judgement> {
    match judge(image, card) {
        Err(reason) => Decision { records: Vec::new(), answer: Err(reason) },
        Ok(node) => {
            let broker = BrokerRecord { node, ..card.broker.clone() };
            let is_new = image.brokers.get(&node).is_none_or(|known| **known != broker);
            let records = is_new.then_some(Record::Broker(broker)).into_iter().collect();
            Decision { records, answer: Ok(node) }
        }
    }
}

fn judge(image: &Image, card: &Card) -> Judgement {
    let own_cluster = &image.cluster_id;
    if let Some(other) = card.cluster_id.as_ref().filter(|id| *id != own_cluster) {
        return Err(format!("the node belongs to cluster {other}, this is cluster {own_cluster}"));
    }
    let is_member = card.cluster_id.is_some();
    let directory = card.broker.directory;
    let known = image.brokers.values().find(|broker| broker.directory == directory);
    match (known.map(|broker| broker.node), card.node()) {
        (Some(known), Some(wanted)) if known != wanted => Err(format!(
            "node.id is {wanted}, but the node's log dirs belong to node {known} of this cluster"
        )),
        (Some(known), _) => Ok(known),
        (None, Some(wanted)) => match image.brokers.get(&wanted) {
            Some(holder) if holder.directory == DirectoryId::ZERO && is_member => Ok(wanted),
            Some(holder) => Err(format!(
                "node.id {wanted} belongs to a node with other data (directory {}); a node that \
                 lost its data joins with a new id, or unregister node {wanted} first",
                holder.directory
            )),
            None if is_member => Err(format!(
                "node {wanted} was removed from the cluster; it can join again with empty log dirs"
            )),
            None => Ok(wanted),
        },
        (None, None) => Ok(free_id(image)),
    }
}

/// An id that no node has had, and that no voter is still to come with.
fn free_id(image: &Image) -> NodeId {
    let first = image.next_node_id.max(FIRST_NODE_ID.0);
    let mut free = (first..i32::MAX).map(NodeId).filter(|node| !image.voters.contains(node));
    free.next().unwrap_or(NodeId(i32::MAX))
}

#[cfg(test)]
mod tests;

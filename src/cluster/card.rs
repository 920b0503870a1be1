//! What nodes tell each other of themselves before they talk as members: in the form of metadata
//! records, so that there is one encoding.

use bytes::Bytes;

use crate::base::ids::NodeId;
use crate::metadata::records::{self, BrokerRecord, DecodeError, Record};

/// The node of a card whose holder has no id and wants none in particular.
pub const NO_NODE: NodeId = NodeId(-1);

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// `None` while it belongs to no cluster; the id is then the one that it wants.
    pub cluster_id: Option<String>,
    pub broker: BrokerRecord,
}

impl Card {
    /// The id that the node has or wants.
    pub fn node(&self) -> Option<NodeId> {
        Some(self.broker.node).filter(|node| *node != NO_NODE)
    }

    pub fn encode(&self) -> Bytes {
        encode(self.cluster_id.as_deref(), [&self.broker])
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (cluster_id, mut brokers) = decode(bytes)?;
        match (brokers.pop(), brokers.pop()) {
            (Some(broker), None) => Ok(Self { cluster_id, broker }),
            _ => Err(DecodeError),
        }
    }
}

/// What a node is told that asked to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Admitted(Admission),
    /// Trying again is of no use; the reason.
    Denied(String),
}

/// The way into a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub cluster_id: String,
    pub node: NodeId,
    /// All nodes of the cluster, the new one among them.
    pub nodes: Vec<BrokerRecord>,
}

const ADMITTED: u8 = 0;
const DENIED: u8 = 1;

impl Reply {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Admitted(admission) => {
                out.push(ADMITTED);
                out.extend_from_slice(&admission.node.0.to_be_bytes());
                let nodes = admission.nodes.iter();
                out.extend_from_slice(&encode(Some(&admission.cluster_id), nodes));
            }
            Self::Denied(reason) => {
                out.push(DENIED);
                out.extend_from_slice(reason.as_bytes());
            }
        }
        out.into()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.split_first().ok_or(DecodeError)? {
            (&ADMITTED, rest) => {
                let (node, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError)?;
                let (cluster_id, nodes) = decode(rest)?;
                let node = NodeId(i32::from_be_bytes(*node));
                let cluster_id = cluster_id.ok_or(DecodeError)?;
                Ok(Self::Admitted(Admission { cluster_id, node, nodes }))
            }
            (&DENIED, reason) => Ok(Self::Denied(String::from_utf8_lossy(reason).into_owned())),
            _ => Err(DecodeError),
        }
    }
}

fn encode<'a>(
    cluster_id: Option<&str>,
    brokers: impl IntoIterator<Item = &'a BrokerRecord>,
) -> Bytes {
    let cluster = cluster_id.map(|id| Record::Cluster { cluster_id: id.to_owned() });
    let brokers = brokers.into_iter().map(|broker| Record::Broker(broker.clone()));
    let all: Vec<Record> = cluster.into_iter().chain(brokers).collect();
    records::encode(&all)
}

fn decode(bytes: &[u8]) -> Result<(Option<String>, Vec<BrokerRecord>), DecodeError> {
    let (mut cluster, mut brokers) = (None, Vec::new());
    for record in records::decode(bytes)? {
        match record {
            Record::Cluster { cluster_id } if cluster.is_none() => cluster = Some(cluster_id),
            Record::Broker(broker) => brokers.push(broker),
            _ => return Err(DecodeError),
        }
    }
    Ok((cluster, brokers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn card(cluster_id: Option<&str>) -> Card {
        let cluster_id = cluster_id.map(str::to_owned);
        Card { cluster_id, broker: BrokerRecord::new(NodeId(3)) }
    }

    #[test]
    fn cards_and_replies_round_trip() {
        for cluster_id in [None, Some("c")] {
            let card = card(cluster_id);
            assert_eq!(Card::decode(&card.encode()), Ok(card));
        }
        let nodes = vec![BrokerRecord::new(NodeId(3)), BrokerRecord::new(NodeId(4))];
        let admission = Admission { cluster_id: "c".to_owned(), node: NodeId(4), nodes };
        for reply in [Reply::Admitted(admission), Reply::Denied("why".to_owned())] {
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
        assert_eq!(card(None).node(), Some(NodeId(3)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Card::decode(&bytes);
            let _ = Reply::decode(&bytes);
        }
    }
}

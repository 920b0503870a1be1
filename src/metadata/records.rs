//! Metadata records and their bytes. A record is a type (2 bytes), a version (1), the length of
//! what follows (4), and its fields, big-endian; strings and lists have 4-byte counts. A record of
//! an unknown type or version stops the replay: skipping it would let replicas differ.

use bytes::{Buf, BufMut, Bytes};

pub use crate::base::ids::Endpoint;
use crate::base::ids::{DirectoryId, LeaderEpoch, NodeId, PartitionIndex, TopicId};

/// One change of the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The first record of a cluster.
    Cluster {
        cluster_id: String,
    },
    /// A node came up: it is alive, and its brokers' listeners are these.
    Broker(BrokerRecord),
    /// What has become of a registered node.
    BrokerState {
        node: NodeId,
        /// It cannot be reached: nothing is placed on it and nobody is sent to it.
        fenced: bool,
        /// It is to be emptied: nothing new is placed on it.
        draining: bool,
    },
    /// A node that does not come back; its id is not given again.
    RemoveBroker {
        node: NodeId,
    },
    /// All node ids below this one have been given.
    NodeIds {
        next: i32,
    },
    /// The nodes that vote on metadata, as they are wanted.
    Voters {
        nodes: Vec<NodeId>,
    },
    /// A feature's finalized level (KIP-584); 0 takes it away.
    Feature {
        name: String,
        level: i16,
    },
    Topic {
        topic_id: TopicId,
        name: String,
    },
    RemoveTopic {
        topic_id: TopicId,
    },
    /// Where a partition is; a reassignment that was under way is over.
    Partition {
        topic_id: TopicId,
        partition: PartitionIndex,
        replicas: Vec<NodeId>,
    },
    /// A partition moves: `adding` of its replicas are to get the data, `removing` are to go.
    Reassignment {
        topic_id: TopicId,
        partition: PartitionIndex,
        replicas: Vec<NodeId>,
        adding: Vec<NodeId>,
        removing: Vec<NodeId>,
    },
    /// Who leads a partition, and which replicas follow closely.
    Leader {
        topic_id: TopicId,
        partition: PartitionIndex,
        leader: Option<NodeId>,
        epoch: LeaderEpoch,
        in_sync: Vec<NodeId>,
    },
    /// A majority of the replicas is lost: one that may lack records goes on alone, and the others
    /// begin again from it. The lineage counts how often that has happened.
    Recovery {
        topic_id: TopicId,
        partition: PartitionIndex,
        replica: NodeId,
        lineage: u32,
    },
    /// A config override, or its end (`None`).
    Config {
        resource: Resource,
        key: String,
        value: Option<String>,
    },
    /// All producer ids below this one have been handed out.
    ProducerIds {
        next: i64,
    },
}

/// A broker's registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRecord {
    pub node: NodeId,
    /// The identity of its data: a node that comes back without it is another one.
    pub directory: DirectoryId,
    /// Differs with every start.
    pub incarnation: u64,
    /// Whether it may vote on metadata (`process.roles`).
    pub is_controller: bool,
    pub rack: Option<String>,
    /// Where clients reach it; none if it is no broker.
    pub endpoints: Vec<Endpoint>,
    /// Where other nodes reach it; none if it is alone.
    pub peer: Option<Endpoint>,
}

impl BrokerRecord {
    /// A node that nobody can reach yet.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            directory: DirectoryId::ZERO,
            incarnation: 0,
            is_controller: true,
            rack: None,
            endpoints: Vec::new(),
            peer: None,
        }
    }
}

/// What has configs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Topic(String),
    /// A broker by id; the empty name is all brokers' default, as in Kafka.
    Broker(String),
    /// A group, whether it has members or not.
    Group(String),
}

/// Bytes that are no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError;

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unknown or damaged metadata record")
    }
}

impl std::error::Error for DecodeError {}

impl From<bytes::TryGetError> for DecodeError {
    fn from(_: bytes::TryGetError) -> Self {
        Self
    }
}

const VERSION: u8 = 0;

impl Record {
    fn kind(&self) -> u16 {
        match self {
            Self::Cluster { .. } => 1,
            Self::Broker(_) => 2,
            Self::Topic { .. } => 3,
            Self::RemoveTopic { .. } => 4,
            Self::Partition { .. } => 5,
            Self::Config { .. } => 6,
            Self::ProducerIds { .. } => 7,
            Self::BrokerState { .. } => 8,
            Self::RemoveBroker { .. } => 9,
            Self::NodeIds { .. } => 10,
            Self::Voters { .. } => 11,
            Self::Feature { .. } => 12,
            Self::Reassignment { .. } => 13,
            Self::Leader { .. } => 14,
            Self::Recovery { .. } => 15,
        }
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        match self {
            Self::Cluster { cluster_id } => put_str(out, cluster_id),
            Self::Broker(broker) => {
                out.put_i32(broker.node.0);
                out.put_slice(&broker.directory.0);
                out.put_u64(broker.incarnation);
                out.put_u8(u8::from(broker.is_controller));
                put_option(out, broker.rack.as_deref());
                put_endpoints(out, &broker.endpoints);
                put_endpoints(out, broker.peer.as_slice());
            }
            Self::BrokerState { node, fenced, draining } => {
                out.put_i32(node.0);
                out.put_u8(u8::from(*fenced));
                out.put_u8(u8::from(*draining));
            }
            Self::RemoveBroker { node } => out.put_i32(node.0),
            Self::NodeIds { next } => out.put_i32(*next),
            Self::Voters { nodes } => put_nodes(out, nodes),
            Self::Feature { name, level } => {
                put_str(out, name);
                out.put_i16(*level);
            }
            Self::Topic { topic_id, name } => {
                out.put_slice(&topic_id.0);
                put_str(out, name);
            }
            Self::RemoveTopic { topic_id } => out.put_slice(&topic_id.0),
            Self::Partition { topic_id, partition, replicas } => {
                out.put_slice(&topic_id.0);
                out.put_i32(*partition);
                put_nodes(out, replicas);
            }
            Self::Reassignment { topic_id, partition, replicas, adding, removing } => {
                out.put_slice(&topic_id.0);
                out.put_i32(*partition);
                put_nodes(out, replicas);
                put_nodes(out, adding);
                put_nodes(out, removing);
            }
            Self::Recovery { topic_id, partition, replica, lineage } => {
                out.put_slice(&topic_id.0);
                out.put_i32(*partition);
                out.put_i32(replica.0);
                out.put_u32(*lineage);
            }
            Self::Leader { topic_id, partition, leader, epoch, in_sync } => {
                out.put_slice(&topic_id.0);
                out.put_i32(*partition);
                put_nodes(out, leader.as_slice());
                out.put_i32(*epoch);
                put_nodes(out, in_sync);
            }
            Self::Config { resource, key, value } => {
                let (kind, name) = match resource {
                    Resource::Topic(name) => (2, name),
                    Resource::Broker(name) => (4, name),
                    Resource::Group(name) => (32, name),
                };
                out.put_u8(kind);
                put_str(out, name);
                put_str(out, key);
                put_option(out, value.as_deref());
            }
            Self::ProducerIds { next } => out.put_i64(*next),
        }
    }

    fn get_fields(kind: u16, fields: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::Cluster { cluster_id: get_str(fields)? },
            2 => Self::Broker(get_broker(fields)?),
            3 => Self::Topic { topic_id: get_topic_id(fields)?, name: get_str(fields)? },
            4 => Self::RemoveTopic { topic_id: get_topic_id(fields)? },
            5 => {
                let (topic_id, partition) = (get_topic_id(fields)?, fields.try_get_i32()?);
                Self::Partition { topic_id, partition, replicas: get_nodes(fields)? }
            }
            6 => {
                let (kind, name) = (fields.try_get_u8()?, get_str(fields)?);
                let resource = match kind {
                    2 => Resource::Topic(name),
                    4 => Resource::Broker(name),
                    32 => Resource::Group(name),
                    _ => return Err(DecodeError),
                };
                Self::Config { resource, key: get_str(fields)?, value: get_option(fields)? }
            }
            7 => Self::ProducerIds { next: fields.try_get_i64()? },
            8 => Self::BrokerState {
                node: NodeId(fields.try_get_i32()?),
                fenced: fields.try_get_u8()? == 1,
                draining: fields.try_get_u8()? == 1,
            },
            9 => Self::RemoveBroker { node: NodeId(fields.try_get_i32()?) },
            10 => Self::NodeIds { next: fields.try_get_i32()? },
            11 => Self::Voters { nodes: get_nodes(fields)? },
            12 => Self::Feature { name: get_str(fields)?, level: fields.try_get_i16()? },
            13 => Self::Reassignment {
                topic_id: get_topic_id(fields)?,
                partition: fields.try_get_i32()?,
                replicas: get_nodes(fields)?,
                adding: get_nodes(fields)?,
                removing: get_nodes(fields)?,
            },
            14 => Self::Leader {
                topic_id: get_topic_id(fields)?,
                partition: fields.try_get_i32()?,
                leader: get_nodes(fields)?.pop(),
                epoch: fields.try_get_i32()?,
                in_sync: get_nodes(fields)?,
            },
            15 => Self::Recovery {
                topic_id: get_topic_id(fields)?,
                partition: fields.try_get_i32()?,
                replica: NodeId(fields.try_get_i32()?),
                lineage: fields.try_get_u32()?,
            },
            _ => return Err(DecodeError),
        })
    }
}

fn get_broker(fields: &mut &[u8]) -> Result<BrokerRecord, DecodeError> {
    let node = NodeId(fields.try_get_i32()?);
    let directory = fields.split_off(..16).ok_or(DecodeError)?;
    Ok(BrokerRecord {
        node,
        directory: directory.try_into().map(DirectoryId).map_err(|_| DecodeError)?,
        incarnation: fields.try_get_u64()?,
        is_controller: fields.try_get_u8()? == 1,
        rack: get_option(fields)?,
        endpoints: get_endpoints(fields)?,
        peer: get_endpoints(fields)?.pop(),
    })
}

fn put_endpoints(out: &mut Vec<u8>, endpoints: &[Endpoint]) {
    put_count(out, endpoints.len());
    for endpoint in endpoints {
        put_str(out, &endpoint.listener);
        put_str(out, &endpoint.host);
        out.put_u16(endpoint.port);
    }
}

fn get_endpoints(fields: &mut &[u8]) -> Result<Vec<Endpoint>, DecodeError> {
    let count = fields.try_get_u32()?;
    let endpoints = (0..count).map(|_| {
        let (listener, host) = (get_str(fields)?, get_str(fields)?);
        Ok(Endpoint { listener, host, port: fields.try_get_u16()? })
    });
    endpoints.collect()
}

fn put_nodes(out: &mut Vec<u8>, nodes: &[NodeId]) {
    put_count(out, nodes.len());
    nodes.iter().for_each(|node| out.put_i32(node.0));
}

fn get_nodes(fields: &mut &[u8]) -> Result<Vec<NodeId>, DecodeError> {
    let count = fields.try_get_u32()?;
    (0..count).map(|_| Ok(NodeId(fields.try_get_i32()?))).collect()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.put_slice(text.as_bytes());
}

fn put_option(out: &mut Vec<u8>, text: Option<&str>) {
    out.put_u8(u8::from(text.is_some()));
    put_str(out, text.unwrap_or_default());
}

fn get_str(fields: &mut &[u8]) -> Result<String, DecodeError> {
    let size = fields.try_get_u32()? as usize;
    let bytes = fields.split_off(..size).ok_or(DecodeError)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError)
}

fn get_option(fields: &mut &[u8]) -> Result<Option<String>, DecodeError> {
    let present = fields.try_get_u8()? == 1;
    let text = get_str(fields)?;
    Ok(present.then_some(text))
}

fn get_topic_id(fields: &mut &[u8]) -> Result<TopicId, DecodeError> {
    let id = fields.split_off(..16).ok_or(DecodeError)?;
    id.try_into().map(TopicId).map_err(|_| DecodeError)
}

/// Several records that take effect together.
pub fn encode(records: &[Record]) -> Bytes {
    let mut out = Vec::new();
    for record in records {
        out.put_u16(record.kind());
        out.put_u8(VERSION);
        let mut fields = Vec::new();
        record.put_fields(&mut fields);
        put_count(&mut out, fields.len());
        out.put_slice(&fields);
    }
    out.into()
}

/// The inverse of [`encode`].
pub fn decode(mut bytes: &[u8]) -> Result<Vec<Record>, DecodeError> {
    let mut records = Vec::new();
    while bytes.has_remaining() {
        let (kind, version) = (bytes.try_get_u16()?, bytes.try_get_u8()?);
        let size = bytes.try_get_u32()? as usize;
        let mut fields = bytes.split_off(..size).ok_or(DecodeError)?;
        if version != VERSION {
            return Err(DecodeError);
        }
        records.push(Record::get_fields(kind, &mut fields)?);
        if fields.has_remaining() {
            return Err(DecodeError);
        }
    }
    Ok(records)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// No two topics have the same name.
    fn topic(topic_id: TopicId) -> Record {
        Record::Topic { topic_id, name: format!("t{}", topic_id.0[0]) }
    }

    pub(crate) fn any_record() -> impl Strategy<Value = Record> {
        // Few of each, so that records are about the same things.
        let topic_id = (0u8..3).prop_map(|number| TopicId([number; 16]));
        let partition = 0i32..3;
        let name = "[a-z]{0,6}";
        let endpoint = (name, name, any::<u16>()).prop_map(|(listener, host, port)| Endpoint {
            listener,
            host,
            port,
        });
        let peer = proptest::option::of(endpoint.clone());
        let endpoints = prop::collection::vec(endpoint, 0..3);
        let rack = proptest::option::of(name);
        let broker = (any::<(i32, [u8; 16], u64, bool)>(), rack, endpoints, peer).prop_map(
            |((node, directory, incarnation, is_controller), rack, endpoints, peer)| BrokerRecord {
                node: NodeId(node),
                directory: DirectoryId(directory),
                incarnation,
                is_controller,
                rack,
                endpoints,
                peer,
            },
        );
        let resource = prop_oneof![
            name.prop_map(Resource::Topic),
            name.prop_map(Resource::Broker),
            name.prop_map(Resource::Group)
        ];
        let replicas = prop::collection::vec((0i32..5).prop_map(NodeId), 0..4);
        let leader = proptest::option::of((0i32..5).prop_map(NodeId));
        let place = (topic_id.clone(), partition.clone(), replicas.clone());
        let lists = (replicas.clone(), replicas.clone());
        let nodes = prop_oneof![
            any::<(i32, bool, bool)>().prop_map(|(node, fenced, draining)| {
                Record::BrokerState { node: NodeId(node), fenced, draining }
            }),
            any::<i32>().prop_map(|node| Record::RemoveBroker { node: NodeId(node) }),
            any::<i32>().prop_map(|next| Record::NodeIds { next }),
            replicas.clone().prop_map(|nodes| Record::Voters { nodes }),
            (name, any::<i16>()).prop_map(|(name, level)| Record::Feature { name, level }),
            (place.clone(), lists).prop_map(
                |((topic_id, partition, replicas), (adding, removing))| {
                    Record::Reassignment { topic_id, partition, replicas, adding, removing }
                }
            ),
            (topic_id.clone(), partition, 0i32..5, 1u32..4).prop_map(
                |(topic_id, partition, replica, lineage)| {
                    let replica = NodeId(replica);
                    Record::Recovery { topic_id, partition, replica, lineage }
                }
            ),
            (place, leader, any::<i32>()).prop_map(
                |((topic_id, partition, in_sync), leader, epoch)| {
                    Record::Leader { topic_id, partition, leader, epoch, in_sync }
                }
            ),
        ];
        prop_oneof![
            nodes,
            name.prop_map(|cluster_id| Record::Cluster { cluster_id }),
            broker.prop_map(Record::Broker),
            topic_id.clone().prop_map(topic),
            topic_id.clone().prop_map(|topic_id| Record::RemoveTopic { topic_id }),
            (topic_id, any::<i32>(), replicas).prop_map(|(topic_id, partition, replicas)| {
                Record::Partition { topic_id, partition, replicas }
            }),
            (resource, name, proptest::option::of(name))
                .prop_map(|(resource, key, value)| Record::Config { resource, key, value }),
            any::<i64>().prop_map(|next| Record::ProducerIds { next }),
        ]
    }

    proptest! {
        #[test]
        fn records_round_trip(records in prop::collection::vec(any_record(), 0..6)) {
            prop_assert_eq!(decode(&encode(&records)), Ok(records));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}

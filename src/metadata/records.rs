//! Metadata records and their bytes. A record is a type (2 bytes), a version (1), the length of
//! what follows (4), and its fields, big-endian; strings and lists have 4-byte counts. A record of
//! an unknown type or version stops the replay: skipping it would let replicas differ.

use bytes::{Buf, BufMut, Bytes};

use crate::base::ids::{NodeId, PartitionIndex, TopicId};

/// One change of the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The first record of a cluster.
    Cluster {
        cluster_id: String,
    },
    /// A broker came up with these endpoints.
    Broker(BrokerRecord),
    Topic {
        topic_id: TopicId,
        name: String,
    },
    RemoveTopic {
        topic_id: TopicId,
    },
    Partition {
        topic_id: TopicId,
        partition: PartitionIndex,
        replicas: Vec<NodeId>,
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
    pub rack: Option<String>,
    pub endpoints: Vec<Endpoint>,
}

/// Where a broker is reached, on one of its listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
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
        }
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        match self {
            Self::Cluster { cluster_id } => put_str(out, cluster_id),
            Self::Broker(broker) => {
                out.put_i32(broker.node.0);
                put_option(out, broker.rack.as_deref());
                put_count(out, broker.endpoints.len());
                for endpoint in &broker.endpoints {
                    put_str(out, &endpoint.listener);
                    put_str(out, &endpoint.host);
                    out.put_u16(endpoint.port);
                }
            }
            Self::Topic { topic_id, name } => {
                out.put_slice(&topic_id.0);
                put_str(out, name);
            }
            Self::RemoveTopic { topic_id } => out.put_slice(&topic_id.0),
            Self::Partition { topic_id, partition, replicas } => {
                out.put_slice(&topic_id.0);
                out.put_i32(*partition);
                put_count(out, replicas.len());
                replicas.iter().for_each(|replica| out.put_i32(replica.0));
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
                let count = fields.try_get_u32()?;
                let replicas = (0..count).map(|_| Ok(NodeId(fields.try_get_i32()?)));
                let replicas = replicas.collect::<Result<_, DecodeError>>()?;
                Self::Partition { topic_id, partition, replicas }
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
            _ => return Err(DecodeError),
        })
    }
}

fn get_broker(fields: &mut &[u8]) -> Result<BrokerRecord, DecodeError> {
    let (node, rack) = (NodeId(fields.try_get_i32()?), get_option(fields)?);
    let count = fields.try_get_u32()?;
    let endpoints = (0..count).map(|_| {
        let (listener, host) = (get_str(fields)?, get_str(fields)?);
        Ok(Endpoint { listener, host, port: fields.try_get_u16()? })
    });
    Ok(BrokerRecord { node, rack, endpoints: endpoints.collect::<Result<_, DecodeError>>()? })
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

    pub(crate) fn any_record() -> impl Strategy<Value = Record> {
        let topic_id = any::<[u8; 16]>().prop_map(TopicId);
        let name = "[a-z]{0,6}";
        let endpoint = (name, name, any::<u16>()).prop_map(|(listener, host, port)| Endpoint {
            listener,
            host,
            port,
        });
        let broker =
            (any::<i32>(), proptest::option::of(name), prop::collection::vec(endpoint, 0..3))
                .prop_map(|(node, rack, endpoints)| BrokerRecord {
                    node: NodeId(node),
                    rack,
                    endpoints,
                });
        let resource = prop_oneof![
            name.prop_map(Resource::Topic),
            name.prop_map(Resource::Broker),
            name.prop_map(Resource::Group)
        ];
        let replicas = prop::collection::vec(any::<i32>().prop_map(NodeId), 0..4);
        prop_oneof![
            name.prop_map(|cluster_id| Record::Cluster { cluster_id }),
            broker.prop_map(Record::Broker),
            (topic_id.clone(), name).prop_map(|(topic_id, name)| Record::Topic { topic_id, name }),
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

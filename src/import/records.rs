//! The records of Apache Kafka's `__cluster_metadata` that an import needs, and what they make when
//! they are replayed. A record's value is a frame version, its kind and its version as varints, and
//! then its fields, encoded as flexible messages are (`TopicRecord.json` and the others).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::base::ids::{LeaderEpoch, PartitionIndex, TopicId};
use crate::base::primitives::Reader;

/// What has configs, as Kafka numbers it (`ConfigResource.Type`).
pub(super) const TOPIC: i8 = 2;
pub(super) const GROUP: i8 = 32;

const FRAME_VERSION: u32 = 1;
/// The newest version of `PartitionRecord` and `PartitionChangeRecord` that is known here.
const PARTITION_VERSION_MAX: u32 = 2;
/// "Did not change", of a leader.
const NO_LEADER_CHANGE: i32 = -2;

mod kind {
    pub(super) const TOPIC: u32 = 2;
    pub(super) const PARTITION: u32 = 3;
    pub(super) const CONFIG: u32 = 4;
    pub(super) const PARTITION_CHANGE: u32 = 5;
    pub(super) const REMOVE_TOPIC: u32 = 9;
    pub(super) const DELEGATION_TOKEN: u32 = 10;
    pub(super) const SCRAM: u32 = 11;
    pub(super) const CLIENT_QUOTA: u32 = 14;
    pub(super) const PRODUCER_IDS: u32 = 15;
    pub(super) const ACCESS_CONTROL: u32 = 18;
    pub(super) const BEGIN: u32 = 23;
    pub(super) const END: u32 = 24;
    pub(super) const ABORT: u32 = 25;
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Topic {
        name: String,
        id: TopicId,
    },
    Partition {
        topic: TopicId,
        partition: PartitionIndex,
        replicas: Vec<i32>,
        epoch: LeaderEpoch,
    },
    PartitionChange {
        topic: TopicId,
        partition: PartitionIndex,
        replicas: Option<Vec<i32>>,
        /// Which is a new leader epoch.
        has_other_leader: bool,
    },
    RemoveTopic {
        id: TopicId,
    },
    Config {
        resource: (i8, String),
        key: String,
        value: Option<String>,
    },
    ProducerIds {
        next: i64,
    },
    /// The records up to the next end take effect together, or not at all.
    Begin,
    End,
    Abort,
    /// Something that Ottla does not have.
    Foreign(&'static str),
    /// Something that an import does not need.
    Other,
}

/// Why a value is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeError {
    Damaged,
    /// A version that is newer than this code.
    Version {
        kind: u32,
        version: u32,
    },
}

impl Record {
    pub(super) fn decode(value: Bytes) -> Result<Self, DecodeError> {
        let mut read = Reader::new(value, true);
        let head = (read.uvarint(), read.uvarint(), read.uvarint());
        let (Some(FRAME_VERSION), Some(kind), Some(version)) = head else {
            return Err(DecodeError::Damaged);
        };
        let version_max = match kind {
            kind::PARTITION | kind::PARTITION_CHANGE => PARTITION_VERSION_MAX,
            kind::TOPIC | kind::CONFIG | kind::REMOVE_TOPIC | kind::PRODUCER_IDS => 0,
            _ => u32::MAX,
        };
        if version > version_max {
            return Err(DecodeError::Version { kind, version });
        }
        Self::decode_fields(kind, &mut read).ok_or(DecodeError::Damaged)
    }

    fn decode_fields(kind: u32, read: &mut Reader) -> Option<Self> {
        Some(match kind {
            kind::TOPIC => Self::Topic { name: read.string()?, id: TopicId(read.uuid()?) },
            kind::PARTITION => decode_partition(read)?,
            kind::PARTITION_CHANGE => decode_change(read)?,
            kind::REMOVE_TOPIC => Self::RemoveTopic { id: TopicId(read.uuid()?) },
            kind::CONFIG => Self::Config {
                resource: (read.i8()?, read.string()?),
                key: read.string()?,
                value: read.nullable_string()?,
            },
            kind::PRODUCER_IDS => {
                let (_broker, _epoch) = (read.i32()?, read.i64()?);
                Self::ProducerIds { next: read.i64()? }
            }
            kind::BEGIN => Self::Begin,
            kind::END => Self::End,
            kind::ABORT => Self::Abort,
            kind::DELEGATION_TOKEN => Self::Foreign("delegation tokens"),
            kind::SCRAM => Self::Foreign("SCRAM credentials"),
            kind::CLIENT_QUOTA => Self::Foreign("client quotas"),
            kind::ACCESS_CONTROL => Self::Foreign("ACLs"),
            _ => Self::Other,
        })
    }
}

fn decode_partition(read: &mut Reader) -> Option<Record> {
    let (partition, topic) = (read.i32()?, TopicId(read.uuid()?));
    let replicas = nodes(read)?;
    let (_in_sync, _removing, _adding, _leader) =
        (nodes(read)?, nodes(read)?, nodes(read)?, read.i32()?);
    Some(Record::Partition { topic, partition, replicas, epoch: read.i32()? })
}

fn decode_change(read: &mut Reader) -> Option<Record> {
    let (partition, topic) = (read.i32()?, TopicId(read.uuid()?));
    let (mut replicas, mut leader) = (Some(None), Some(NO_LEADER_CHANGE));
    read.tagged(|tag, value| {
        let mut field = Reader::new(value, true);
        match tag {
            1 => leader = field.i32(),
            2 => replicas = field.nullable_array(4, Reader::i32),
            _ => {}
        }
    })?;
    let has_other_leader = leader? != NO_LEADER_CHANGE;
    Some(Record::PartitionChange { topic, partition, replicas: replicas?, has_other_leader })
}

fn nodes(read: &mut Reader) -> Option<Vec<i32>> {
    read.array(4, Reader::i32)
}

/// A topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) partitions: BTreeMap<PartitionIndex, Partition>,
}

/// A partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) replicas: Vec<i32>,
    pub(super) epoch: LeaderEpoch,
}

/// A cluster's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) topics: BTreeMap<TopicId, Topic>,
    /// By kind and name of what they are set for.
    pub(super) configs: BTreeMap<(i8, String), BTreeMap<String, String>>,
    pub(super) next_producer_id: i64,
    /// What there is that Ottla does not have.
    pub(super) foreign: BTreeSet<&'static str>,
    /// Records of a metadata transaction that has not ended.
    waiting: Option<Vec<Record>>,
}

impl Metadata {
    pub(super) fn replay(&mut self, record: Record) {
        match (record, &mut self.waiting) {
            (Record::Begin, _) => self.waiting = Some(Vec::new()),
            (Record::Abort, _) => self.waiting = None,
            (Record::End, _) => {
                let records = self.waiting.take().unwrap_or_default();
                records.into_iter().for_each(|record| self.apply(record));
            }
            (record, Some(waiting)) => waiting.push(record),
            (record, None) => self.apply(record),
        }
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Topic { name, id } => {
                self.topics.insert(id, Topic { name, partitions: BTreeMap::new() });
            }
            Record::Partition { topic, partition, replicas, epoch } => {
                if let Some(topic) = self.topics.get_mut(&topic) {
                    topic.partitions.insert(partition, Partition { replicas, epoch });
                }
            }
            Record::PartitionChange { topic, partition, replicas, has_other_leader } => {
                let topic = self.topics.get_mut(&topic);
                let place = topic.and_then(|topic| topic.partitions.get_mut(&partition));
                let Some(place) = place else { return };
                place.epoch = place.epoch.saturating_add(i32::from(has_other_leader));
                place.replicas = replicas.unwrap_or_else(|| std::mem::take(&mut place.replicas));
            }
            Record::RemoveTopic { id } => {
                if let Some(topic) = self.topics.remove(&id) {
                    self.configs.remove(&(TOPIC, topic.name));
                }
            }
            Record::Config { resource, key, value } => {
                let configs = self.configs.entry(resource).or_default();
                match value {
                    Some(value) => configs.insert(key, value),
                    None => configs.remove(&key),
                };
            }
            Record::ProducerIds { next } => {
                self.next_producer_id = self.next_producer_id.max(next);
            }
            Record::Foreign(what) => {
                self.foreign.insert(what);
            }
            Record::Begin | Record::End | Record::Abort | Record::Other => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests;

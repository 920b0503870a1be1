//! Consumer groups (KIP-848).

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::ids::TopicId;
use crate::base::primitives::{Reader, Writer};
use crate::coordinator::records::{EpochedPartitions, Partitions, writer};

/// A consumer group (KIP-848).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupValue {
    pub epoch: i32,
    /// Of the topics that the group is subscribed to; 0 is none.
    pub metadata_hash: i64,
}

/// A member of a consumer group: what it said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberValue {
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topic_names: BTreeSet<String>,
    pub topic_regex: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<String>,
    /// Set for a member that speaks the classic protocol.
    pub classic: Option<ClassicMetadata>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicMetadata {
    pub session_timeout_ms: i32,
    /// Assignors with their metadata, the preferred one first.
    pub protocols: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetEpochValue {
    pub epoch: i32,
    /// When it was computed; 0 is unknown.
    pub timestamp_ms: i64,
}

/// Where a member is on its way to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentValue {
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    /// 0 stable, 1 has partitions to revoke, 2 waits for partitions of others (`MemberState`).
    pub state: i8,
    pub assigned: EpochedPartitions,
    pub pending_revocation: EpochedPartitions,
}

/// The topics that a regular expression stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegexValue {
    pub topics: BTreeSet<String>,
    /// Of the metadata that it was resolved against.
    pub version: i64,
    pub timestamp_ms: i64,
}

impl GroupValue {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = writer(0, true);
        out.out.put_i32(self.epoch);
        match self.metadata_hash {
            0 => out.no_tagged(),
            hash => out.tagged(&[(0, &hash.to_be_bytes())]),
        }
        out.out.freeze()
    }

    pub(super) fn decode(bytes: Bytes, _version: i16) -> Option<Self> {
        let mut read = Reader::new(bytes, true);
        let epoch = read.i32()?;
        Some(Self { epoch, metadata_hash: tagged_i64(&mut read)? })
    }
}

/// The number under tag 0; 0 if it is not there.
fn tagged_i64(read: &mut Reader) -> Option<i64> {
    let mut number = 0;
    read.tagged(|tag, value| {
        if let (0, Ok(bytes)) = (tag, <[u8; 8]>::try_from(&value[..])) {
            number = i64::from_be_bytes(bytes);
        }
    })?;
    Some(number)
}

impl MemberValue {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = writer(0, true);
        out.nullable_string(self.instance_id.as_deref());
        out.nullable_string(self.rack_id.as_deref());
        out.string(&self.client_id);
        out.string(&self.client_host);
        out.array(self.topic_names.iter(), |out, name| out.string(name));
        out.nullable_string(self.topic_regex.as_deref());
        out.out.put_i32(self.rebalance_timeout_ms);
        out.nullable_string(self.assignor.as_deref());
        match &self.classic {
            Some(classic) => out.tagged(&[(0, &classic.encode())]),
            None => out.no_tagged(),
        }
        out.out.freeze()
    }

    pub(super) fn decode(bytes: Bytes, _version: i16) -> Option<Self> {
        let mut read = Reader::new(bytes, true);
        let mut value = Self {
            instance_id: read.nullable_string()?,
            rack_id: read.nullable_string()?,
            client_id: read.string()?,
            client_host: read.string()?,
            topic_names: read.array(1, Reader::string)?.into_iter().collect(),
            topic_regex: read.nullable_string()?,
            rebalance_timeout_ms: read.i32()?,
            assignor: read.nullable_string()?,
            classic: None,
        };
        let mut classic = None;
        read.tagged(|tag, bytes| {
            if tag == 0 {
                classic = Some(ClassicMetadata::decode(bytes));
            }
        })?;
        if let Some(classic) = classic {
            value.classic = classic?;
        }
        Some(value)
    }
}

/// A nullable structure begins with a byte: 1, or -1 for null.
const PRESENT: i8 = 1;

impl ClassicMetadata {
    fn encode(&self) -> Bytes {
        let mut out = Writer::new(BytesMut::new(), true);
        out.out.put_i8(PRESENT);
        out.out.put_i32(self.session_timeout_ms);
        out.array(self.protocols.iter(), |out, (name, metadata)| {
            out.string(name);
            out.bytes(metadata);
            out.no_tagged();
        });
        out.no_tagged();
        out.out.freeze()
    }

    /// The outer `None` is an error, the inner one null.
    fn decode(bytes: Bytes) -> Option<Option<Self>> {
        let mut read = Reader::new(bytes, true);
        if read.i8()? != PRESENT {
            return Some(None);
        }
        let session_timeout_ms = read.i32()?;
        let protocols = read.array(1, |read| {
            let protocol = (read.string()?, read.nullable_bytes()?.unwrap_or_default());
            read.skip_tagged()?;
            Some(protocol)
        })?;
        read.skip_tagged()?;
        Some(Some(Self { session_timeout_ms, protocols }))
    }
}

impl TargetEpochValue {
    pub(super) fn encode(self) -> Bytes {
        let mut out = writer(0, true);
        out.out.put_i32(self.epoch);
        match self.timestamp_ms {
            0 => out.no_tagged(),
            timestamp_ms => out.tagged(&[(0, &timestamp_ms.to_be_bytes())]),
        }
        out.out.freeze()
    }

    pub(super) fn decode(bytes: Bytes, _version: i16) -> Option<Self> {
        let mut read = Reader::new(bytes, true);
        let epoch = read.i32()?;
        Some(Self { epoch, timestamp_ms: tagged_i64(&mut read)? })
    }
}

pub(super) fn encode_target(target: &Partitions) -> Bytes {
    let mut out = writer(0, true);
    out.array(target.iter(), |out, (topic, partitions)| {
        out.out.put_slice(&topic.0);
        out.array(partitions.iter(), |out, partition| out.out.put_i32(*partition));
        out.no_tagged();
    });
    out.no_tagged();
    out.out.freeze()
}

/// A topic's id and one partition count at least.
const TOPIC_PARTITIONS_BYTES_MIN: usize = 18;

pub(super) fn decode_target(bytes: Bytes, _version: i16) -> Option<Partitions> {
    let mut read = Reader::new(bytes, true);
    let topics = read.array(TOPIC_PARTITIONS_BYTES_MIN, |read| {
        let topic = TopicId(read.uuid()?);
        let partitions = read.array(4, Reader::i32)?;
        read.skip_tagged()?;
        Some((topic, partitions.into_iter().collect()))
    })?;
    read.skip_tagged()?;
    Some(topics.into_iter().collect())
}

impl CurrentValue {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = writer(0, true);
        out.out.put_i32(self.member_epoch);
        out.out.put_i32(self.previous_member_epoch);
        out.out.put_i8(self.state);
        for topics in [&self.assigned, &self.pending_revocation] {
            out.array(topics.iter(), |out, (topic, partitions)| {
                out.out.put_slice(&topic.0);
                out.array(partitions.keys(), |out, partition| out.out.put_i32(*partition));
                let mut epochs = Writer::new(BytesMut::new(), true);
                epochs.array(partitions.values(), |out, epoch| out.out.put_i32(*epoch));
                out.tagged(&[(0, &epochs.out)]);
            });
        }
        out.no_tagged();
        out.out.freeze()
    }

    pub(super) fn decode(bytes: Bytes, _version: i16) -> Option<Self> {
        let mut read = Reader::new(bytes, true);
        let member_epoch = read.i32()?;
        let previous_member_epoch = read.i32()?;
        let state = read.i8()?;
        let assigned = Self::decode_partitions(&mut read, member_epoch)?;
        let pending_revocation = Self::decode_partitions(&mut read, member_epoch)?;
        read.skip_tagged()?;
        Some(Self { member_epoch, previous_member_epoch, state, assigned, pending_revocation })
    }

    /// Without epochs of their own, partitions were assigned at the member's.
    fn decode_partitions(read: &mut Reader, member_epoch: i32) -> Option<EpochedPartitions> {
        let topics = read.array(TOPIC_PARTITIONS_BYTES_MIN, |read| {
            let topic = TopicId(read.uuid()?);
            let partitions = read.array(4, Reader::i32)?;
            let mut epochs = Vec::new();
            read.tagged(|tag, bytes| {
                if tag == 0 {
                    epochs = Reader::new(bytes, true).array(4, Reader::i32).unwrap_or_default();
                }
            })?;
            let epochs = epochs.into_iter().chain(std::iter::repeat(member_epoch));
            Some((topic, partitions.into_iter().zip(epochs).collect()))
        })?;
        Some(topics.into_iter().collect())
    }
}

impl RegexValue {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = writer(0, true);
        out.array(self.topics.iter(), |out, topic| out.string(topic));
        out.out.put_i64(self.version);
        out.out.put_i64(self.timestamp_ms);
        out.no_tagged();
        out.out.freeze()
    }

    pub(super) fn decode(bytes: Bytes, _version: i16) -> Option<Self> {
        let mut read = Reader::new(bytes, true);
        let topics = read.array(1, Reader::string)?.into_iter().collect();
        Some(Self { topics, version: read.i64()?, timestamp_ms: read.i64()? })
    }
}

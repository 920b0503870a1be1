//! The records of `__consumer_offsets`, in Kafka's own format: what a group's state is made of.
//!
//! A key begins with its kind, a value with its version, two bytes each; what follows is encoded as
//! messages are (`OffsetCommitValue.json` and the others of the group coordinator). We write the
//! versions that Kafka 4.3 writes and read all.

mod classic;
mod consumer;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::ids::{PartitionIndex, TopicId};
use crate::base::primitives::{Reader, Writer};
pub use crate::coordinator::records::classic::{
    ClassicGroupValue, ClassicMemberValue, OffsetValue,
};
pub use crate::coordinator::records::consumer::{
    ClassicMetadata, CurrentValue, GroupValue, MemberValue, RegexValue, TargetEpochValue,
};
use crate::coordinator::records::consumer::{decode_target, encode_target};
use crate::log::records::build::NewRecord;

/// Partitions by topic.
pub type Partitions = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;
/// Partitions by topic, each with the member epoch at which it was assigned.
pub type EpochedPartitions = BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>;

/// One record. A `value` of `None` is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Offset {
        key: OffsetKey,
        value: Option<OffsetValue>,
    },
    ClassicGroup {
        group: String,
        value: Option<ClassicGroupValue>,
    },
    Group {
        group: String,
        value: Option<GroupValue>,
    },
    Member {
        group: String,
        member: String,
        value: Option<MemberValue>,
    },
    TargetEpoch {
        group: String,
        value: Option<TargetEpochValue>,
    },
    TargetMember {
        group: String,
        member: String,
        value: Option<Partitions>,
    },
    Current {
        group: String,
        member: String,
        value: Option<CurrentValue>,
    },
    Regex {
        group: String,
        regex: String,
        value: Option<RegexValue>,
    },
    /// The topics of a group, as Kafka kept them before 4.1. We only ever write tombstones of it.
    Metadata {
        group: String,
    },
}

/// What an offset is committed for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    pub group: String,
    pub topic: String,
    pub partition: PartitionIndex,
}

/// Bytes that are no record of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// A kind that another version of the software knows; it is left alone.
    UnknownKind(i16),
    Damaged,
}

mod kind {
    pub(super) const LEGACY_OFFSET: i16 = 0;
    pub(super) const OFFSET: i16 = 1;
    pub(super) const CLASSIC_GROUP: i16 = 2;
    pub(super) const GROUP: i16 = 3;
    pub(super) const METADATA: i16 = 4;
    pub(super) const MEMBER: i16 = 5;
    pub(super) const TARGET_EPOCH: i16 = 6;
    pub(super) const TARGET_MEMBER: i16 = 7;
    pub(super) const CURRENT: i16 = 8;
    pub(super) const REGEX: i16 = 16;
}

impl Record {
    /// The group that it is about.
    pub fn group(&self) -> &str {
        match self {
            Self::Offset { key, .. } => &key.group,
            Self::ClassicGroup { group, .. }
            | Self::Group { group, .. }
            | Self::Member { group, .. }
            | Self::TargetEpoch { group, .. }
            | Self::TargetMember { group, .. }
            | Self::Current { group, .. }
            | Self::Regex { group, .. }
            | Self::Metadata { group } => group,
        }
    }

    /// The record's bytes.
    pub fn encode(&self) -> NewRecord {
        NewRecord { key: self.key(), value: self.value() }
    }

    fn key(&self) -> Bytes {
        let (kind, texts): (i16, [&str; 2]) = match self {
            Self::Offset { key, .. } => (kind::OFFSET, [&key.group, &key.topic]),
            Self::ClassicGroup { group, .. } => (kind::CLASSIC_GROUP, [group, ""]),
            Self::Group { group, .. } => (kind::GROUP, [group, ""]),
            Self::Metadata { group } => (kind::METADATA, [group, ""]),
            Self::Member { group, member, .. } => (kind::MEMBER, [group, member]),
            Self::TargetEpoch { group, .. } => (kind::TARGET_EPOCH, [group, ""]),
            Self::TargetMember { group, member, .. } => (kind::TARGET_MEMBER, [group, member]),
            Self::Current { group, member, .. } => (kind::CURRENT, [group, member]),
            Self::Regex { group, regex, .. } => (kind::REGEX, [group, regex]),
        };
        let mut out = Writer::new(BytesMut::new(), false);
        out.out.put_i16(kind);
        out.string(texts[0]);
        if has_second_text(kind) {
            out.string(texts[1]);
        }
        if let Self::Offset { key, .. } = self {
            out.out.put_i32(key.partition);
        }
        out.out.freeze()
    }

    fn value(&self) -> Option<Bytes> {
        Some(match self {
            Self::Offset { value, .. } => value.as_ref()?.encode(),
            Self::ClassicGroup { value, .. } => value.as_ref()?.encode(),
            Self::Group { value, .. } => value.as_ref()?.encode(),
            Self::Member { value, .. } => value.as_ref()?.encode(),
            Self::TargetEpoch { value, .. } => value.as_ref()?.encode(),
            Self::TargetMember { value, .. } => encode_target(value.as_ref()?),
            Self::Current { value, .. } => value.as_ref()?.encode(),
            Self::Regex { value, .. } => value.as_ref()?.encode(),
            Self::Metadata { .. } => return None,
        })
    }

    /// Reads a record.
    pub fn decode(mut key: Bytes, value: Option<Bytes>) -> Result<Self, DecodeError> {
        let kind = key.try_get_i16().map_err(|_| DecodeError::Damaged)?;
        let known = matches!(kind, kind::LEGACY_OFFSET..=kind::CURRENT | kind::REGEX);
        if !known {
            return Err(DecodeError::UnknownKind(kind));
        }
        Self::decode_known(kind, key, value).ok_or(DecodeError::Damaged)
    }

    fn decode_known(kind: i16, key: Bytes, value: Option<Bytes>) -> Option<Self> {
        let mut key = Reader::new(key, false);
        let group = key.string()?;
        let second = if has_second_text(kind) { key.string()? } else { String::new() };
        Some(match kind {
            kind::LEGACY_OFFSET | kind::OFFSET => {
                let key = OffsetKey { group, topic: second, partition: key.i32()? };
                Self::Offset { key, value: optional(value, OffsetValue::decode)? }
            }
            kind::CLASSIC_GROUP => {
                Self::ClassicGroup { group, value: optional(value, ClassicGroupValue::decode)? }
            }
            kind::GROUP => Self::Group { group, value: optional(value, GroupValue::decode)? },
            kind::METADATA => Self::Metadata { group },
            kind::MEMBER => {
                let value = optional(value, MemberValue::decode)?;
                Self::Member { group, member: second, value }
            }
            kind::TARGET_EPOCH => {
                Self::TargetEpoch { group, value: optional(value, TargetEpochValue::decode)? }
            }
            kind::TARGET_MEMBER => {
                let value = optional(value, decode_target)?;
                Self::TargetMember { group, member: second, value }
            }
            kind::CURRENT => {
                let value = optional(value, CurrentValue::decode)?;
                Self::Current { group, member: second, value }
            }
            _ => {
                let value = optional(value, RegexValue::decode)?;
                Self::Regex { group, regex: second, value }
            }
        })
    }
}

fn has_second_text(kind: i16) -> bool {
    matches!(
        kind,
        kind::LEGACY_OFFSET
            | kind::OFFSET
            | kind::MEMBER
            | kind::TARGET_MEMBER
            | kind::CURRENT
            | kind::REGEX
    )
}

/// A value that may be a tombstone; the outer `None` is an error.
fn optional<T>(
    value: Option<Bytes>,
    decode: impl FnOnce(Bytes, i16) -> Option<T>,
) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(mut value) => {
            let version = value.try_get_i16().ok()?;
            decode(value, version).map(Some)
        }
    }
}

fn writer(version: i16, flexible: bool) -> Writer {
    let mut out = Writer::new(BytesMut::new(), flexible);
    out.out.put_i16(version);
    out
}

#[cfg(test)]
mod tests;

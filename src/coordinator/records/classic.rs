//! Committed offsets and classic groups.

use bytes::{BufMut, Bytes};

use crate::base::ids::{LeaderEpoch, Offset, TopicId};
use crate::base::primitives::Reader;
use crate::coordinator::records::writer;

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetValue {
    pub offset: Offset,
    /// -1: not told.
    pub leader_epoch: LeaderEpoch,
    pub metadata: String,
    pub commit_timestamp_ms: i64,
    /// Only old clients set it; -1 is none.
    pub expire_timestamp_ms: i64,
    /// All zeroes: not known.
    pub topic_id: TopicId,
}

/// A classic group at its last stable generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicGroupValue {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// When its state changed last; -1 is unknown.
    pub state_timestamp_ms: i64,
    pub members: Vec<ClassicMemberValue>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicMemberValue {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

const OFFSET_VERSION: i16 = 3;
/// The version with the time of expiry, and the first with the topic id.
const OFFSET_VERSION_EXPIRING: i16 = 1;
const OFFSET_VERSION_TOPIC_ID: i16 = 4;
pub(super) const CLASSIC_GROUP_VERSION: i16 = 3;
/// The first version with compact lengths, of both.
const FLEXIBLE_VERSION: i16 = 4;

impl OffsetValue {
    pub(super) fn encode(&self) -> Bytes {
        // Kafka writes the version that keeps what there is and is the oldest.
        let version = match self {
            Self { expire_timestamp_ms: 0.., .. } => OFFSET_VERSION_EXPIRING,
            Self { topic_id: TopicId::ZERO, .. } => OFFSET_VERSION,
            _ => OFFSET_VERSION_TOPIC_ID,
        };
        let mut out = writer(version, version >= FLEXIBLE_VERSION);
        out.out.put_i64(self.offset);
        if version >= OFFSET_VERSION {
            out.out.put_i32(self.leader_epoch);
        }
        out.string(&self.metadata);
        out.out.put_i64(self.commit_timestamp_ms);
        if version == OFFSET_VERSION_EXPIRING {
            out.out.put_i64(self.expire_timestamp_ms);
        }
        out.tagged(&[(0, &self.topic_id.0)]);
        out.out.freeze()
    }

    pub(super) fn decode(bytes: Bytes, version: i16) -> Option<Self> {
        let mut read = Reader::new(bytes, version >= FLEXIBLE_VERSION);
        let offset = read.i64()?;
        let leader_epoch = if version >= OFFSET_VERSION { read.i32()? } else { -1 };
        let metadata = read.string()?;
        let commit_timestamp_ms = read.i64()?;
        let expires = version == OFFSET_VERSION_EXPIRING;
        let expire_timestamp_ms = if expires { read.i64()? } else { -1 };
        let mut topic_id = TopicId::ZERO;
        read.tagged(|tag, value| {
            if let (0, Ok(id)) = (tag, <[u8; 16]>::try_from(&value[..])) {
                topic_id = TopicId(id);
            }
        })?;
        Some(Self {
            offset,
            leader_epoch,
            metadata,
            commit_timestamp_ms,
            expire_timestamp_ms,
            topic_id,
        })
    }
}

impl ClassicGroupValue {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = writer(CLASSIC_GROUP_VERSION, false);
        out.string(&self.protocol_type);
        out.out.put_i32(self.generation);
        out.nullable_string(self.protocol.as_deref());
        out.nullable_string(self.leader.as_deref());
        out.out.put_i64(self.state_timestamp_ms);
        out.array(self.members.iter(), |out, member| {
            out.string(&member.member_id);
            out.nullable_string(member.instance_id.as_deref());
            out.string(&member.client_id);
            out.string(&member.client_host);
            out.out.put_i32(member.rebalance_timeout_ms);
            out.out.put_i32(member.session_timeout_ms);
            out.bytes(&member.subscription);
            out.bytes(&member.assignment);
        });
        out.out.freeze()
    }

    pub(super) fn decode(bytes: Bytes, version: i16) -> Option<Self> {
        let mut read = Reader::new(bytes, version >= FLEXIBLE_VERSION);
        let protocol_type = read.string()?;
        let generation = read.i32()?;
        let protocol = read.nullable_string()?;
        let leader = read.nullable_string()?;
        let state_timestamp_ms = if version >= 2 { read.i64()? } else { -1 };
        let members = read.array(1, |read| {
            let member_id = read.string()?;
            let instance_id = if version >= 3 { read.nullable_string()? } else { None };
            let (client_id, client_host) = (read.string()?, read.string()?);
            let rebalance = if version >= 1 { Some(read.i32()?) } else { None };
            let session_timeout_ms = read.i32()?;
            let subscription = read.nullable_bytes()?.unwrap_or_default();
            let assignment = read.nullable_bytes()?.unwrap_or_default();
            read.skip_tagged()?;
            Some(ClassicMemberValue {
                member_id,
                instance_id,
                client_id,
                client_host,
                // Version 0 has none: the session's is taken (`ClassicGroup` on load).
                rebalance_timeout_ms: rebalance.unwrap_or(session_timeout_ms),
                session_timeout_ms,
                subscription,
                assignment,
            })
        })?;
        read.skip_tagged()?;
        Some(Self { protocol_type, generation, protocol, leader, state_timestamp_ms, members })
    }
}

//! What consumers of the classic protocol say and are told inside of it: subscription and
//! assignment (`ConsumerProtocolSubscription.json`, `ConsumerProtocolAssignment.json`).

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::ids::PartitionIndex;
use crate::base::primitives::{Reader, Writer};
use crate::coordinator::records::Partitions;
use crate::metadata::image::Image;

/// The highest version; what newer ones add is left alone.
const VERSION_MAX: i16 = 3;
const FIRST_OWNED: i16 = 1;
const FIRST_RACK: i16 = 3;

type NamedPartitions = Vec<(String, Vec<PartitionIndex>)>;

/// What a member subscribes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) version: i16,
    pub(super) topics: Vec<String>,
    pub(super) owned: NamedPartitions,
    pub(super) rack_id: Option<String>,
}

/// What a member got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) partitions: NamedPartitions,
    /// Something that only its assignor understands.
    pub(super) has_user_data: bool,
}

fn version(read: &mut Reader) -> Option<i16> {
    read.i16().filter(|version| *version >= 0).map(|version| version.min(VERSION_MAX))
}

fn partitions(read: &mut Reader) -> Option<NamedPartitions> {
    read.array(6, |read| Some((read.string()?, read.array(4, Reader::i32)?)))
}

impl Subscription {
    pub(super) fn decode(bytes: Bytes) -> Option<Self> {
        let mut read = Reader::new(bytes, false);
        let version = version(&mut read)?;
        let topics = read.array(2, Reader::string)?;
        let _user_data = read.nullable_bytes()?;
        let owned = if version >= FIRST_OWNED { partitions(&mut read)? } else { Vec::new() };
        let rack_id = if version >= FIRST_RACK {
            let _generation = read.i32()?;
            read.nullable_string()?
        } else {
            None
        };
        Some(Self { version, topics, owned, rack_id })
    }
}

impl Assigned {
    pub(super) fn decode(bytes: Bytes) -> Option<Self> {
        let mut read = Reader::new(bytes, false);
        version(&mut read)?;
        let partitions = partitions(&mut read)?;
        let user_data = read.nullable_bytes()?;
        Some(Self { partitions, has_user_data: user_data.is_some_and(|data| !data.is_empty()) })
    }
}

/// By topic id, without topics that are not there.
pub(super) fn by_id(partitions: &NamedPartitions, image: &Image) -> Partitions {
    let mut found = Partitions::new();
    for (name, indexes) in partitions {
        if let Some(topic) = image.topic(name) {
            found.entry(topic.id).or_default().extend(indexes);
        }
    }
    found
}

/// An assignment in bytes, for a member with subscriptions of that version.
pub(super) fn encode_assignment(version: i16, assigned: &Partitions, image: &Image) -> Bytes {
    let named = assigned.iter().filter_map(|(topic, partitions)| {
        Some((image.topic_by_id(*topic)?.name.as_str(), partitions))
    });
    let named: Vec<_> = named.collect();
    let mut out = Writer::new(BytesMut::new(), false);
    out.out.put_i16(version);
    out.array(named.iter(), |out, (name, partitions)| {
        out.string(name);
        out.array(partitions.iter(), |out, partition| out.out.put_i32(*partition));
    });
    out.nullable_bytes(None);
    out.out.freeze()
}

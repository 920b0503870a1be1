//! Committed offsets: what a group has consumed, by topic and partition.
//!
//! There may be millions, so an offset is one entry of 48 bytes in a list that is sorted by
//! partition; the names of its group and topic are kept once for all of them. An offset belongs to
//! the topic that had its name when it was committed: it says nothing about a later one.
//!
//! Records alone do not make a group: a replay may read offsets before the group that they belong
//! to. Groups that have nothing but offsets are added when all has been read.

mod commit;
mod delete;
mod fetch;
mod upkeep;

pub use commit::commit_refused;
pub use fetch::fetch_refused;

use std::collections::BTreeMap;

use crate::base::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use crate::coordinator::group::offsets::upkeep::Upkeep;
use crate::coordinator::group::{Group, Groups};
use crate::coordinator::records::{OffsetKey, OffsetValue};
use crate::metadata::image::Image;

/// The committed offsets of a partition's groups.
#[derive(Debug, Default)]
pub struct Offsets {
    by_group: BTreeMap<String, GroupOffsets>,
    /// The topics that there are offsets of, by identity.
    topics: BTreeMap<TopicId, OfTopic>,
    upkeep: Upkeep,
}

/// The offsets of a group by topic. Lists are sorted by partition and never empty.
pub type GroupOffsets = BTreeMap<String, Vec<Committed>>;

/// One committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub offset: Offset,
    /// Of the topic that had the name then; all zeroes if it is not known (records of old brokers).
    pub topic_id: TopicId,
    commit_timestamp_ms: i64,
    /// Most offsets have none.
    extra: Option<Box<Extra>>,
    pub partition: PartitionIndex,
    leader_epoch: LeaderEpoch,
}

const _: () = assert!(size_of::<Committed>() <= 48);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Extra {
    metadata: Box<str>,
    /// Negative: none.
    expire_timestamp_ms: i64,
}

/// How many offsets of a topic there are.
#[derive(Debug, PartialEq, Eq)]
struct OfTopic {
    name: String,
    offset_count: usize,
}

impl Committed {
    fn new(partition: PartitionIndex, value: OffsetValue) -> Self {
        let plain = value.metadata.is_empty() && value.expire_timestamp_ms < 0;
        let extra = (!plain).then(|| Extra {
            metadata: value.metadata.into_boxed_str(),
            expire_timestamp_ms: value.expire_timestamp_ms,
        });
        Self {
            offset: value.offset,
            topic_id: value.topic_id,
            commit_timestamp_ms: value.commit_timestamp_ms,
            extra: extra.map(Box::new),
            partition,
            leader_epoch: value.leader_epoch,
        }
    }

    fn metadata(&self) -> &str {
        self.extra.as_ref().map_or("", |extra| &extra.metadata)
    }

    /// When it is forgotten whatever the group does, if a client asked for that.
    fn expires_at_ms(&self) -> Option<i64> {
        self.extra.as_ref().map(|extra| extra.expire_timestamp_ms).filter(|at_ms| *at_ms >= 0)
    }

    /// Whether the offset says something about the topic of this identity. One that is unknown, on
    /// either side, differs from none.
    fn is_of(&self, topic: TopicId) -> bool {
        self.topic_id == TopicId::ZERO || topic == TopicId::ZERO || self.topic_id == topic
    }
}

impl Offsets {
    /// The offsets of a group by topic.
    pub(crate) fn of_group(&self, group: &str) -> Option<&GroupOffsets> {
        self.by_group.get(group)
    }

    fn get(&self, group: &str, topic: &str, partition: PartitionIndex) -> Option<&Committed> {
        let list = self.by_group.get(group)?.get(topic)?;
        let at = list.binary_search_by_key(&partition, |committed| committed.partition).ok()?;
        list.get(at)
    }

    fn put(&mut self, key: OffsetKey, value: OffsetValue) {
        let (new, name) = (Committed::new(key.partition, value), key.topic);
        if new.topic_id != TopicId::ZERO {
            let add = || OfTopic { name: name.clone(), offset_count: 0 };
            self.topics.entry(new.topic_id).or_insert_with(add).offset_count += 1;
        }
        let list = self.by_group.entry(key.group).or_default().entry(name).or_default();
        let found = list.binary_search_by_key(&new.partition, |committed| committed.partition);
        let old = match found {
            Ok(at) => list.get_mut(at).map(|old| std::mem::replace(old, new)),
            Err(at) => {
                list.insert(at, new);
                None
            }
        };
        if let Some(old) = old {
            self.uncount(old.topic_id);
        }
    }

    fn remove(&mut self, key: &OffsetKey) {
        let Some(topics) = self.by_group.get_mut(&key.group) else { return };
        let Some(list) = topics.get_mut(&key.topic) else { return };
        let found = list.binary_search_by_key(&key.partition, |committed| committed.partition);
        let Ok(at) = found else { return };
        let old = list.remove(at);
        if list.is_empty() {
            topics.remove(&key.topic);
        }
        if topics.is_empty() {
            self.by_group.remove(&key.group);
        }
        self.uncount(old.topic_id);
    }

    fn uncount(&mut self, topic: TopicId) {
        if let Some(of_topic) = self.topics.get_mut(&topic) {
            of_topic.offset_count -= 1;
            if of_topic.offset_count == 0 {
                self.topics.remove(&topic);
            }
        }
    }
}

impl Groups {
    pub(crate) fn apply_offset(&mut self, key: OffsetKey, value: Option<OffsetValue>) {
        match value {
            Some(value) => self.offsets.put(key, value),
            None => self.offsets.remove(&key),
        }
    }

    pub(crate) fn offsets_loaded(&mut self) {
        let alone = self.offsets.by_group.keys().filter(|name| !self.groups.contains_key(*name));
        for name in alone.cloned().collect::<Vec<String>>() {
            self.groups.insert(name, Group::simple());
        }
    }
}

/// The identity of the topic that has this name now; all zeroes if there is none.
fn id_of(image: &Image, topic: &str) -> TopicId {
    image.topic(topic).map_or(TopicId::ZERO, |topic| topic.id)
}

#[cfg(test)]
mod tests;

//! Forgetting offsets that nobody can want any more: of deleted topics, at once, and of groups that
//! have not been used for `offsets.retention.minutes`, by a check every
//! `offsets.retention.check.interval.ms`. A group without members and offsets goes with them.
//!
//! Work is done in pieces, so that requests find their turn in between.

use std::ops::Bound;
use std::sync::Arc;

use crate::base::ids::TopicId;
use crate::coordinator::group::offsets::Committed;
use crate::coordinator::group::{ExpiryBase, Groups};
use crate::coordinator::records::{OffsetKey, Record};
use crate::coordinator::step::{Now, Step};
use crate::metadata::image::Image;

/// Tombstones that are made before requests get their turn.
const TOMBSTONES_AT_ONCE_COUNT: usize = 5_000;
/// Groups that are checked before requests get their turn.
const GROUPS_AT_ONCE_COUNT: usize = 5_000;

const MINUTE_MS: i64 = 60_000;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// The metadata that offsets were held against last.
    seen: Arc<Image>,
    /// Deleted topics that there may be offsets of, by name and identity.
    gone: Vec<(String, TopicId)>,
    /// When the next check is due, in monotonic milliseconds; `None`: not reckoned yet.
    next_check_ms: Option<i64>,
    /// A check is under way: the last group that it is done with.
    checked: Option<Option<String>>,
}

impl Groups {
    /// Does a piece of what is due.
    pub(crate) fn expire_offsets(&mut self, step: &mut Step) {
        self.note_deleted_topics(&step.image);
        let interval_ms = self.settings.config.offsets_retention_check_interval_ms;
        let next_ms = step.now.monotonic_ms.saturating_add(interval_ms);
        let due_ms = *self.offsets.upkeep.next_check_ms.get_or_insert(next_ms);
        if !self.offsets.upkeep.gone.is_empty() {
            self.forget_deleted_topics(step);
        } else if self.offsets.upkeep.checked.is_some() {
            self.check_groups(step);
        } else if step.now.monotonic_ms >= due_ms {
            self.offsets.upkeep.next_check_ms = Some(next_ms);
            self.check_groups(step);
        }
    }

    /// When offsets are looked at next, in monotonic milliseconds.
    pub(crate) fn next_expiry_ms(&self) -> Option<i64> {
        let upkeep = &self.offsets.upkeep;
        if !upkeep.gone.is_empty() || upkeep.checked.is_some() {
            return Some(0);
        }
        (!self.groups.is_empty()).then(|| upkeep.next_check_ms.unwrap_or(0))
    }

    /// A topic counts as deleted when it was in the metadata before and is not now. What is merely
    /// not there may be newer than the metadata.
    fn note_deleted_topics(&mut self, image: &Arc<Image>) {
        let upkeep = &mut self.offsets.upkeep;
        if Arc::ptr_eq(&upkeep.seen, image) {
            return;
        }
        let seen = std::mem::replace(&mut upkeep.seen, Arc::clone(image));
        let gone = self.offsets.topics.iter().filter(|(id, _)| {
            seen.topic_by_id(**id).is_some() && image.topic_by_id(**id).is_none()
        });
        upkeep.gone.extend(gone.map(|(id, topic)| (topic.name.clone(), *id)));
    }

    fn forget_deleted_topics(&mut self, step: &mut Step) {
        let mut left = TOMBSTONES_AT_ONCE_COUNT;
        while let Some((topic, id)) = self.offsets.upkeep.gone.pop() {
            let of_topic = self
                .offsets
                .by_group
                .iter()
                .filter_map(|(group, topics)| topics.get(&topic).map(|list| (group, list)));
            let keys = of_topic.flat_map(|(group, list)| {
                // Offsets without an identity are from before there were any.
                let dead = |committed: &&Committed| {
                    committed.topic_id == id || committed.topic_id == TopicId::ZERO
                };
                list.iter().filter(dead).map(|committed| OffsetKey {
                    group: group.clone(),
                    topic: topic.clone(),
                    partition: committed.partition,
                })
            });
            let keys: Vec<OffsetKey> = keys.take(left).collect();
            left -= keys.len();
            self.forget(step, keys);
            if left == 0 {
                // There may be more of this one.
                self.offsets.upkeep.gone.push((topic, id));
                return;
            }
        }
    }

    pub(super) fn forget(&mut self, step: &mut Step, keys: Vec<OffsetKey>) {
        for key in keys {
            self.emit(step, Record::Offset { key, value: None });
        }
    }

    /// Checks some groups, from the one on where the last call ended.
    fn check_groups(&mut self, step: &mut Step) {
        let after = self.offsets.upkeep.checked.take().flatten();
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.groups.range::<str, _>((from, Bound::Unbounded)).map(|(name, _)| name);
        let names: Vec<String> = names.take(GROUPS_AT_ONCE_COUNT).cloned().collect();
        let mut left = TOMBSTONES_AT_ONCE_COUNT;
        let mut done = after;
        let full = names.len() == GROUPS_AT_ONCE_COUNT;
        for name in names {
            let keys = self.expired(step, &name, left);
            left -= keys.len();
            self.forget(step, keys);
            if left == 0 {
                // There may be more of this group: the next call begins with it again.
                self.offsets.upkeep.checked = Some(done);
                return;
            }
            let group = self.groups.get(&name);
            if self.offsets.of_group(&name).is_none() && group.is_some_and(|group| group.is_empty())
            {
                self.bury_group(step, &name);
            }
            done = Some(name);
        }
        self.offsets.upkeep.checked = full.then_some(done);
    }

    /// Up to `count_max` offsets of a group that have expired (`OffsetMetadataManager`'s
    /// `cleanupExpiredOffsets`).
    fn expired(&self, step: &Step, name: &str, count_max: usize) -> Vec<OffsetKey> {
        let offsets = self.offsets.of_group(name).into_iter().flatten();
        let Some(group) = self.groups.get(name) else { return Vec::new() };
        let base = group.offset_expiry();
        let config = &self.settings.config;
        let retention_ms = config.offsets_retention_minutes.saturating_mul(MINUTE_MS);
        let interval_ms = config.offsets_retention_check_interval_ms;
        let keys = offsets.flat_map(|(topic, list)| {
            let (used, image) = (group.is_subscribed_to(topic), &step.image);
            let expired = list.iter().filter(move |committed| {
                // Deleted while nobody looked: the broker was killed right then.
                let orphaned = committed.topic_id != TopicId::ZERO
                    && image.topic_by_id(committed.topic_id).is_none()
                    && is_past(step.now, committed.commit_timestamp_ms, interval_ms);
                orphaned || (!used && is_expired(step.now, committed, base, retention_ms))
            });
            expired.map(|committed| OffsetKey {
                group: name.to_owned(),
                topic: topic.clone(),
                partition: committed.partition,
            })
        });
        keys.take(count_max).collect()
    }
}

fn is_past(now: Now, since_ms: i64, interval_ms: i64) -> bool {
    now.wall_ms.saturating_sub(since_ms) >= interval_ms
}

fn is_expired(
    now: Now,
    committed: &Committed,
    base: Option<ExpiryBase>,
    retention_ms: i64,
) -> bool {
    let since_ms = match base {
        None => return false,
        Some(ExpiryBase::Commit) => committed.commit_timestamp_ms,
        Some(ExpiryBase::At(since_ms)) => since_ms,
    };
    match committed.expires_at_ms() {
        Some(at_ms) => now.wall_ms >= at_ms,
        None => is_past(now, since_ms, retention_ms),
    }
}

//! Consumer groups and their lag, reckoned by the broker from what is committed: also while no
//! consumer runs, and right after a start.
//!
//! The lag in seconds is the age of the first record that is not consumed yet. Its timestamp is
//! read from the log, or asked of the leader elsewhere, once for each committed offset, so a scrape
//! after which nothing has happened reads nothing. What is read and remembered is bounded: beyond that an age is missing, not wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::base::ids::{NodeId, Offset, PartitionIndex, TopicPartition};
use crate::coordinator::group::admin::{GroupView, OffsetView};
use crate::metrics::names;
use crate::server::scrape::places::{Place, Question};
use crate::server::scrape::{head, line, single};

/// Timestamps that one scrape reads from the log.
const READS_COUNT_MAX: usize = 10_000;
/// Timestamps that are remembered.
const TIMESTAMPS_COUNT_MAX: usize = 200_000;

/// What is remembered from scrape to scrape.
#[derive(Debug, Default)]
pub(super) struct Lags {
    timestamps: Mutex<Timestamps>,
}

/// When the first record from an offset on was made.
#[derive(Debug, Default)]
struct Timestamps {
    /// Asked for by this scrape …
    used: HashMap<(TopicPartition, Offset), i64>,
    /// … and by the one before.
    known: HashMap<(TopicPartition, Offset), i64>,
    reads_left: usize,
}

/// Everything that is told of groups.
#[derive(Debug, Default)]
pub(super) struct Table<'a> {
    groups: Vec<GroupRow<'a>>,
    /// Partitions that are in the totals only.
    left_out_count: usize,
}

#[derive(Debug)]
struct GroupRow<'a> {
    name: &'a str,
    member_count: usize,
    lag: i128,
    age_ms_max: i64,
    /// None, if there are too many.
    topics: Vec<TopicRow<'a>>,
}

#[derive(Debug)]
struct TopicRow<'a> {
    name: &'a str,
    partitions: Vec<PartitionRow>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct PartitionRow {
    partition: PartitionIndex,
    offset: Offset,
    lag: i64,
    age_ms: Option<i64>,
}

impl Lags {
    /// What leaders elsewhere have to be asked for these groups. `leader` is where a partition is
    /// led, if that is not here.
    pub(super) fn questions(
        &self,
        groups: &[GroupView],
        leader: impl Fn(TopicPartition) -> Option<NodeId>,
    ) -> BTreeMap<NodeId, Vec<Question>> {
        let timestamps = self.timestamps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked: BTreeMap<TopicPartition, BTreeSet<Offset>> = BTreeMap::new();
        let mut reads_left = READS_COUNT_MAX;
        let topics = groups.iter().flat_map(|group| &group.topics);
        for committed in topics.flat_map(|topic| &topic.offsets) {
            let (topic_id, partition) = (committed.topic_id, committed.partition);
            let id = TopicPartition { topic_id, partition };
            let offsets = asked.entry(id).or_default();
            let is_known = timestamps.used.contains_key(&(id, committed.offset));
            if !is_known && reads_left > 0 && offsets.insert(committed.offset) {
                reads_left -= 1;
            }
        }
        let mut questions: BTreeMap<NodeId, Vec<Question>> = BTreeMap::new();
        for (id, offsets) in asked {
            if let Some(node) = leader(id) {
                let question = Question { id, offsets: offsets.into_iter().collect() };
                questions.entry(node).or_default().push(question);
            }
        }
        questions
    }

    /// Reckons the lag of all groups. They get rows for their partitions as long as there are no
    /// more than `partitions_max`. Blocks.
    pub(super) fn table<'a>(
        &self,
        groups: &'a [GroupView],
        places: &HashMap<TopicPartition, Place>,
        now_ms: i64,
        partitions_max: usize,
    ) -> Table<'a> {
        let mut timestamps = self.timestamps.lock().unwrap_or_else(PoisonError::into_inner);
        timestamps.begin();
        let mut table = Table::default();
        let mut left = partitions_max;
        for group in groups {
            let topics = group.topics.iter().map(|topic| {
                // Offsets of a topic that has been deleted have no place.
                let partitions = topic.offsets.iter().filter_map(|committed| {
                    let (topic_id, partition) = (committed.topic_id, committed.partition);
                    let id = TopicPartition { topic_id, partition };
                    let place = places.get(&id)?;
                    Some(row(committed, place, now_ms, |from| {
                        timestamps.get((id, from), || place.timestamp_at(from))
                    }))
                });
                TopicRow { name: &topic.name, partitions: partitions.collect() }
            });
            let topics = topics.filter(|topic| !topic.partitions.is_empty()).collect();
            table.add(group, topics, &mut left);
        }
        table
    }
}

fn row(
    committed: &OffsetView,
    place: &Place,
    now_ms: i64,
    timestamp: impl FnOnce(Offset) -> Option<i64>,
) -> PartitionRow {
    let OffsetView { partition, offset, .. } = *committed;
    let lag = place.end.saturating_sub(offset.max(0)).max(0);
    // What retention has taken is not consumed any more.
    let from = offset.max(place.log_start);
    let age_ms = match lag > 0 && from < place.end {
        true => timestamp(from).map(|time_ms| now_ms.saturating_sub(time_ms).max(0)),
        false => Some(0),
    };
    PartitionRow { partition, offset, lag, age_ms }
}

impl Timestamps {
    /// What the last scrape did not ask for is forgotten.
    fn begin(&mut self) {
        self.known = std::mem::take(&mut self.used);
        self.reads_left = READS_COUNT_MAX;
    }

    fn get(
        &mut self,
        key: (TopicPartition, Offset),
        read: impl FnOnce() -> Option<i64>,
    ) -> Option<i64> {
        if let Some(time_ms) = self.used.get(&key) {
            return Some(*time_ms);
        }
        if self.used.len() >= TIMESTAMPS_COUNT_MAX {
            return None;
        }
        let time_ms = match self.known.get(&key) {
            Some(time_ms) => *time_ms,
            None => {
                self.reads_left = self.reads_left.checked_sub(1)?;
                read()?
            }
        };
        self.used.insert(key, time_ms);
        Some(time_ms)
    }
}

impl<'a> Table<'a> {
    /// `left` is how many partitions may still have rows.
    fn add(&mut self, group: &'a GroupView, mut topics: Vec<TopicRow<'a>>, left: &mut usize) {
        let rows = || topics.iter().flat_map(|topic| &topic.partitions);
        let lag = rows().map(|row| i128::from(row.lag)).sum();
        let age_ms_max = rows().filter_map(|row| row.age_ms).max().unwrap_or(0);
        let partition_count = rows().count();
        match left.checked_sub(partition_count) {
            Some(rest) => *left = rest,
            None => {
                self.left_out_count += partition_count;
                topics = Vec::new();
            }
        }
        let (name, member_count) = (&group.name, group.member_count);
        self.groups.push(GroupRow { name, member_count, lag, age_ms_max, topics });
    }

    pub(super) fn write(&self, text: &mut String) {
        self.write_totals(text);
        single(text, names::GROUP_PARTITIONS_LEFT_OUT, self.left_out_count);
        self.write_partitions(text);
        for (name, value) in [
            (names::KAFKA_GROUP_OFFSET_SUM, (|row| row.offset) as fn(&PartitionRow) -> i64),
            (names::KAFKA_GROUP_LAG_SUM, |row| row.lag),
        ] {
            head(text, name);
            for group in &self.groups {
                for topic in &group.topics {
                    let sum: i128 = topic.partitions.iter().map(value).map(i128::from).sum();
                    line(text, name, &[("consumergroup", group.name), ("topic", topic.name)], sum);
                }
            }
        }
    }

    fn write_totals(&self, text: &mut String) {
        head(text, names::KAFKA_GROUP_MEMBERS);
        for group in &self.groups {
            let labels = [("consumergroup", group.name)];
            line(text, names::KAFKA_GROUP_MEMBERS, &labels, group.member_count);
        }
        head(text, names::GROUP_LAG_RECORDS);
        for group in &self.groups {
            line(text, names::GROUP_LAG_RECORDS, &[("consumergroup", group.name)], group.lag);
        }
        head(text, names::GROUP_LAG_SECONDS_MAX);
        for group in &self.groups {
            let labels = [("consumergroup", group.name)];
            line(text, names::GROUP_LAG_SECONDS_MAX, &labels, seconds(group.age_ms_max));
        }
    }

    fn write_partitions(&self, text: &mut String) {
        type Value = fn(&PartitionRow) -> Option<String>;
        let values: [(&str, Value); 3] = [
            (names::KAFKA_GROUP_OFFSET, |row| Some(row.offset.to_string())),
            (names::KAFKA_GROUP_LAG, |row| Some(row.lag.to_string())),
            (names::GROUP_LAG_SECONDS, |row| row.age_ms.map(seconds)),
        ];
        for (name, value) in values {
            head(text, name);
            for group in &self.groups {
                for topic in &group.topics {
                    for row in &topic.partitions {
                        let Some(value) = value(row) else { continue };
                        let partition = row.partition.to_string();
                        let labels = [
                            ("consumergroup", group.name),
                            ("topic", topic.name),
                            ("partition", &partition),
                        ];
                        line(text, name, &labels, value);
                    }
                }
            }
        }
    }
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests;

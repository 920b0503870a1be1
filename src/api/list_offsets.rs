//! ListOffsets (key 2), versions 1 to 11: offsets by timestamp.
//!
//! Behaviour
//! * The latest offset is the high watermark, for readers of committed transactions the last stable
//!   offset. What a timestamp finds beyond that is not told.
//! * There is no tiered storage: the earliest local offset is the log start, the latest tiered one
//!   and the earliest one to be uploaded do not exist (-1).
//! * A partition that stands twice in a request is refused.
//!
//! Versions: 2 isolation level, 4 leader epochs, 6 flexible, 7 largest timestamp (-3), 8 earliest
//! local offset (-4), 9 latest tiered offset (-5), 10 timeout for tiered storage, 11 earliest
//! offset to be uploaded (-6).

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use crate::api::context::{Caller, Context};
use crate::api::errors::{Code, NONE};
use crate::base::ids::{LeaderEpoch, Offset};
use crate::base::task;
use crate::metadata::image::Image;
use crate::partition::Partition;

/// The first version whose answer has a leader epoch.
const FIRST_LEADER_EPOCH: i16 = 4;

/// The isolation level of readers of committed transactions (`IsolationLevel`).
const READ_COMMITTED: i8 = 1;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// What a partition is answered with. -1 stands for "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    timestamp_ms: i64,
    offset: Offset,
    leader_epoch: LeaderEpoch,
}

const NOT_FOUND: Found = Found { timestamp_ms: -1, offset: -1, leader_epoch: -1 };

pub(super) async fn handle(
    caller: &Caller,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let context = &caller.context;
    let image = context.image();
    let repeated = repeated(&request.topics);
    let read_committed = request.isolation_level == READ_COMMITTED;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let is_repeated = repeated.contains(&(topic.name.as_str(), asked.partition_index));
            let found = match asked.timestamp {
                _ if is_repeated => Err(Code::InvalidRequest),
                timestamp if timestamp < lowest(version) => Err(Code::UnsupportedVersion),
                _ => find(context, &image, (&topic.name, asked), read_committed).await,
            };
            partitions.push(answer(asked.partition_index, found, version));
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// The codes in a response.
pub(super) fn errors(response: &ListOffsetsResponse) -> impl Iterator<Item = i16> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code)
}

/// The lowest number that has a meaning in a version.
fn lowest(version: i16) -> i64 {
    match version {
        ..=6 => EARLIEST,
        7 => MAX_TIMESTAMP,
        8 => EARLIEST_LOCAL,
        9..=10 => LATEST_TIERED,
        _ => EARLIEST_PENDING_UPLOAD,
    }
}

fn repeated(topics: &[ListOffsetsTopic]) -> BTreeSet<(&str, i32)> {
    let mut seen = BTreeSet::new();
    let all = topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| (topic.name.as_str(), partition.partition_index))
    });
    all.filter(|one| !seen.insert(*one)).collect()
}

async fn find(
    context: &Context,
    image: &Image,
    (topic, asked): (&str, &ListOffsetsPartition),
    read_committed: bool,
) -> Result<Found, Code> {
    let topic = image.topic(topic).ok_or(Code::UnknownTopicOrPartition)?;
    let partition = context.led(topic, asked.partition_index, asked.current_leader_epoch)?;
    let current_epoch = partition.leader_epoch().ok_or(Code::NotLeaderOrFollower)?;
    let offsets = partition.offsets();
    let end = if read_committed { offsets.last_stable } else { offsets.high_watermark };
    match asked.timestamp {
        LATEST => Ok(Found { offset: end, leader_epoch: current_epoch, ..NOT_FOUND }),
        EARLIEST | EARLIEST_LOCAL => {
            // An empty log has no epoch of its own.
            let leader_epoch = match partition.epoch_of(offsets.log_start) {
                ..0 => current_epoch,
                epoch => epoch,
            };
            Ok(Found { offset: offsets.log_start, leader_epoch, ..NOT_FOUND })
        }
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(NOT_FOUND),
        timestamp => {
            let found = search(context, partition, timestamp).await?;
            Ok(if read_committed && found.offset >= end { NOT_FOUND } else { found })
        }
    }
}

/// Looks into the log. The first record at or after a timestamp, or the one with the largest.
async fn search(
    context: &Context,
    partition: Arc<Partition>,
    timestamp: i64,
) -> Result<Found, Code> {
    let searched = Arc::clone(&partition);
    let search = move || match timestamp {
        MAX_TIMESTAMP => searched.max_timestamp(),
        _ => searched.offset_for_timestamp(timestamp),
    };
    let found: io::Result<_> = task::blocking(context.env.threads, search).await;
    match found {
        Ok(None) => Ok(NOT_FOUND),
        Ok(Some((timestamp_ms, offset))) => {
            Ok(Found { timestamp_ms, offset, leader_epoch: partition.epoch_of(offset) })
        }
        Err(error) => {
            let topic = partition.topic.as_str();
            tracing::error!(%error, topic, "a timestamp could not be searched for");
            Err(Code::KafkaStorageError)
        }
    }
}

fn answer(
    partition: i32,
    found: Result<Found, Code>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let Found { timestamp_ms, offset, leader_epoch } = found.unwrap_or(NOT_FOUND);
    ListOffsetsPartitionResponse::default()
        .with_partition_index(partition)
        .with_error_code(found.map_or_else(|code| code.code(), |_| NONE))
        .with_timestamp(timestamp_ms)
        .with_offset(offset)
        .with_leader_epoch(if version < FIRST_LEADER_EPOCH { -1 } else { leader_epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_knows_its_timestamps() {
        // As Apache Kafka 4.3 answers UNSUPPORTED_VERSION.
        let lowest = (1..=11).map(lowest);
        assert!(lowest.eq([-2, -2, -2, -2, -2, -2, -3, -4, -5, -5, -6]));
    }
}

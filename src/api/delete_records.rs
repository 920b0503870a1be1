//! DeleteRecords (key 21), versions 0 to 2: raise the log start of partitions.
//!
//! Behaviour
//! * Offset -1 stands for the high watermark.
//! * A partition is answered with its new log start when that is durable.
//! * Topics that are compacted only are refused with POLICY_VIOLATION, the broker's own topics with
//!   INVALID_TOPIC_EXCEPTION.
//! * When a partition stands more than once in a request, the last offset counts.
//!
//! Versions: 2 flexible.

use std::collections::BTreeMap;

use kafka_protocol::messages::delete_records_request::DeleteRecordsTopic;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, TopicName};

use crate::api::context::{Caller, Context, Deadline, do_all};
use crate::api::errors::{self, Code, NONE};
use crate::api::metadata::is_internal;
use crate::base::ids::{Offset, PartitionIndex};
use crate::metadata::image::Image;

/// "No low watermark".
const INVALID_LOW_WATERMARK: i64 = -1;

/// What is asked for, by topic and partition.
type Wanted = BTreeMap<TopicName, BTreeMap<PartitionIndex, Offset>>;

pub(super) async fn handle(
    caller: &Caller,
    request: DeleteRecordsRequest,
    _version: i16,
) -> DeleteRecordsResponse {
    let context = &caller.context;
    let image = context.image();
    let deadline = Deadline::after_ms(request.timeout_ms);
    let mut topics = Vec::with_capacity(request.topics.len());
    for (name, partitions) in gather(request.topics) {
        let work = partitions.into_iter().map(|(partition, before)| {
            let deleting = delete(context, &image, &name, partition, before);
            async move { answer(partition, deadline.bound(deleting).await.flatten()) }
        });
        let partitions = do_all(work).await;
        topics.push(
            DeleteRecordsTopicResult::default().with_name(name.clone()).with_partitions(partitions),
        );
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// The codes in a response.
pub(super) fn errors(response: &DeleteRecordsResponse) -> impl Iterator<Item = i16> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code)
}

fn gather(topics: Vec<DeleteRecordsTopic>) -> Wanted {
    let mut wanted = Wanted::new();
    for topic in topics {
        let offsets = topic.partitions.iter().map(|one| (one.partition_index, one.offset));
        wanted.entry(topic.name).or_default().extend(offsets);
    }
    wanted
}

async fn delete(
    context: &Context,
    image: &Image,
    name: &str,
    partition: PartitionIndex,
    before: Offset,
) -> Result<Offset, Code> {
    let topic = image.topic(name).ok_or(Code::UnknownTopicOrPartition)?;
    if is_internal(name) && topic.partitions.contains_key(&partition) {
        return Err(Code::InvalidTopicException);
    }
    let partition = context.led(topic, partition, -1)?;
    let policy = partition.config().cleanup_policy;
    if policy.compact && !policy.delete {
        return Err(Code::PolicyViolation);
    }
    let log_start = partition.delete_records(before).await.map_err(errors::of_append)?;
    log_start.ok_or(Code::OffsetOutOfRange)
}

fn answer(
    partition: PartitionIndex,
    log_start: Result<Offset, Code>,
) -> DeleteRecordsPartitionResult {
    DeleteRecordsPartitionResult::default()
        .with_partition_index(partition)
        .with_low_watermark(log_start.unwrap_or(INVALID_LOW_WATERMARK))
        .with_error_code(log_start.map_or_else(|code| code.code(), |_| NONE))
}

//! Fetch (key 1), versions 4 to 18: committed batches as they lie on disk.
//!
//! Behaviour
//! * A fetch that finds less than `min_bytes` parks on the partitions' watermarks until they move
//!   or `max_wait_ms` is over; it costs nothing meanwhile.
//! * Whole batches only, but the first batch of the first partition that has one is given even
//!   beyond the limits (KIP-74).
//! * `replica_id` of a broker is refused: brokers replicate over their own port.
//!
//! Versions: 4 isolation level, 5 log start offset, 7 sessions (KIP-227), 9 current leader epoch,
//! 11 rack, 12 flexible and last fetched epoch, 13 topic ids, 15 replica state as a tagged field,
//! 17 directory ids, 18 high watermark of followers.

mod frame;
pub mod sessions;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::context::{Caller, Context};
use crate::api::errors::{self, Code, NONE};
use crate::api::fetch::sessions::Wanted;
use crate::api::{Outcome, Pending, RawRequest};
use crate::metadata::image::Image;
use crate::partition::Partition;
use crate::partition::registry::Status;
use frame::{FetchRequest, PartitionData, PartitionFetch, TopicRef};

/// A partition to read, or why not.
struct Source {
    topic: TopicRef,
    fetch: PartitionFetch,
    partition: Result<Arc<Partition>, Code>,
}

/// The first stage only decodes; the fetch itself may park.
pub(super) async fn start(caller: Arc<Caller>, raw: RawRequest) -> Pending {
    let Some(request) = FetchRequest::decode(raw.body.clone(), raw.version) else {
        let close = Outcome::Close("fetch request could not be decoded");
        return futures_util::future::ready(close).boxed();
    };
    run(caller, raw, request).boxed()
}

async fn run(caller: Arc<Caller>, raw: RawRequest, request: FetchRequest) -> Outcome {
    let context = &caller.context;
    let by_id = raw.version >= frame::FIRST_TOPIC_IDS;
    let wanted = match context.sessions.enter(&request, by_id, context.now_ms()) {
        Ok(wanted) => wanted,
        Err(code) => return respond(&raw, code.code(), 0, Vec::new()),
    };
    let sources = find_sources(context, &request, &wanted);
    let answers = read_or_wait(context, &request, &sources).await;
    let answers = context.sessions.leave(&wanted, answers);
    respond(&raw, NONE, wanted.session_id, answers)
}

fn respond(
    raw: &RawRequest,
    error: i16,
    session_id: i32,
    answers: Vec<(TopicRef, PartitionData)>,
) -> Outcome {
    let mut topics: Vec<(TopicRef, Vec<PartitionData>)> = Vec::new();
    for (topic, data) in answers {
        match topics.last_mut() {
            Some((last, partitions)) if *last == topic => partitions.push(data),
            _ => topics.push((topic, vec![data])),
        }
    }
    let frame = frame::encode_response(raw.correlation_id, raw.version, error, session_id, &topics);
    let partitions = topics.iter().flat_map(|(_, partitions)| partitions);
    let errors = std::iter::once(error).chain(partitions.map(|partition| partition.error));
    Outcome::Answer(frame.with_errors(errors))
}

fn find_sources(context: &Context, request: &FetchRequest, wanted: &Wanted) -> Vec<Source> {
    let image = context.image();
    let sources = wanted.partitions.iter().map(|(topic, fetch)| {
        let partition = match request.replica_id {
            ..0 => find(context, &image, topic, fetch),
            _ => Err(Code::NotLeaderOrFollower),
        };
        Source { topic: topic.clone(), fetch: *fetch, partition }
    });
    sources.collect()
}

fn find(
    context: &Context,
    image: &Image,
    topic: &TopicRef,
    fetch: &PartitionFetch,
) -> Result<Arc<Partition>, Code> {
    let topic = match topic {
        TopicRef::Name(name) => image.topic(name).ok_or(Code::UnknownTopicOrPartition)?,
        TopicRef::Id(id) => image.topic_by_id(*id).ok_or(Code::UnknownTopicId)?,
    };
    let partition = match context.partition(topic.id, fetch.index) {
        Status::Open(partition) => partition,
        Status::Failed => return Err(Code::KafkaStorageError),
        Status::Absent if topic.partitions.contains_key(&fetch.index) => {
            return Err(Code::NotLeaderOrFollower);
        }
        Status::Absent => return Err(Code::UnknownTopicOrPartition),
    };
    let epoch = partition.leader_epoch().ok_or(Code::NotLeaderOrFollower)?;
    match fetch.leader_epoch {
        ..0 => Ok(partition),
        known if known < epoch => Err(Code::FencedLeaderEpoch),
        known if known > epoch => Err(Code::UnknownLeaderEpoch),
        _ => Ok(partition),
    }
}

/// Takes back its places at the partitions when the fetch ends, however it ends.
struct Parked<'a> {
    waiter: Arc<Notify>,
    sources: &'a [Source],
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        for partition in self.sources.iter().filter_map(|source| source.partition.as_ref().ok()) {
            partition.forget_waiter(&self.waiter);
        }
    }
}

async fn read_or_wait(
    context: &Context,
    request: &FetchRequest,
    sources: &[Source],
) -> Vec<(TopicRef, PartitionData)> {
    let size_max = context.settings.config.fetch_max_bytes;
    let size_max = u32::try_from(request.max_bytes).unwrap_or(0).min(size_max);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let size_min = u64::try_from(request.min_bytes).unwrap_or(0);
    let (mut answers, mut size, mut must_answer) = read(sources, size_max);
    if must_answer || size >= size_min || wait.is_zero() || sources.is_empty() {
        return answers;
    }
    let deadline = Instant::now() + wait;
    let parked = Parked { waiter: Arc::new(Notify::new()), sources };
    loop {
        // First ask to be woken, then look: nothing can come between unseen.
        for partition in sources.iter().filter_map(|source| source.partition.as_ref().ok()) {
            partition.wake_on_progress(&parked.waiter);
        }
        (answers, size, must_answer) = read(sources, size_max);
        if must_answer || size >= size_min {
            return answers;
        }
        if tokio::time::timeout_at(deadline, parked.waiter.notified()).await.is_err() {
            return answers;
        }
    }
}

/// What there is now; how many bytes; whether something must be told at once.
fn read(sources: &[Source], size_max: u32) -> (Vec<(TopicRef, PartitionData)>, u64, bool) {
    let mut answers = Vec::with_capacity(sources.len());
    let (mut size, mut must_answer) = (0, false);
    for source in sources {
        let data = match &source.partition {
            Err(code) => error_data(source.fetch.index, *code),
            Ok(partition) => {
                let left = u64::from(size_max).saturating_sub(size);
                read_partition(partition, &source.fetch, left, size == 0)
            }
        };
        size += data.records.as_ref().map_or(0, |slice| u64::from(slice.size));
        must_answer |= data.error != NONE || data.diverging.is_some();
        answers.push((source.topic.clone(), data));
    }
    (answers, size, must_answer)
}

fn error_data(index: i32, code: Code) -> PartitionData {
    PartitionData {
        index,
        error: code.code(),
        high_watermark: -1,
        log_start: -1,
        diverging: None,
        records: None,
    }
}

fn read_partition(
    partition: &Partition,
    fetch: &PartitionFetch,
    size_left: u64,
    is_first: bool,
) -> PartitionData {
    let size_max = u64::from(u32::try_from(fetch.max_bytes).unwrap_or(0)).min(size_left);
    let size_max = u32::try_from(size_max).unwrap_or(u32::MAX);
    let diverging = diverging(partition, fetch);
    let records = match diverging {
        Some(_) => Ok(None),
        None => partition.slice(fetch.offset, size_max, is_first),
    };
    let offsets = partition.offsets();
    match records {
        Ok(records) => PartitionData {
            index: fetch.index,
            error: NONE,
            high_watermark: offsets.high_watermark,
            log_start: offsets.log_start,
            diverging,
            records,
        },
        Err(error) => {
            let code = errors::of_read(&error);
            if code == Code::KafkaStorageError {
                tracing::error!(?error, topic = partition.topic, "fetch could not read the log");
            }
            PartitionData { log_start: offsets.log_start, ..error_data(fetch.index, code) }
        }
    }
}

/// Where the client's log leaves ours (KIP-595), if it told the epoch that it fetched last.
fn diverging(partition: &Partition, fetch: &PartitionFetch) -> Option<(i32, i64)> {
    if fetch.last_fetched_epoch < 0 {
        return None;
    }
    let (epoch, end) = partition.end_of_epoch(fetch.last_fetched_epoch)?;
    (epoch < fetch.last_fetched_epoch || end < fetch.offset).then_some((epoch, end))
}

//! Fetch (key 1), versions 4 to 18: committed batches as they lie on disk.
//!
//! Behaviour
//! * A fetch that finds less than `min_bytes` parks on the partitions' watermarks until they move
//!   or `max_wait_ms` is over; it costs nothing meanwhile.
//! * Whole batches only, but the first batch of the first partition that has one is given even
//!   beyond the limits (KIP-74).
//! * Readers of committed transactions get what lies below the last stable offset, and the aborted
//!   transactions in it.
//! * `replica_id` of a broker is refused: brokers replicate over their own port.
//! * From version 11 on followers answer too, with what they know to be committed. With
//!   `replica.selector.class` a leader sends clients to an in-sync follower in their rack
//!   (KIP-392).
//! * A client that asks the wrong broker is told who leads (KIP-951).
//!
//! Versions: 4 isolation level, 5 log start offset, 7 sessions (KIP-227), 9 current leader epoch,
//! 11 rack and preferred replica, 12 flexible and last fetched epoch, 13 topic ids, 15 replica
//! state as a tagged field, 16 current leaders, 17 directory ids, 18 high watermark of followers.

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
use crate::api::leader_hint::{self, LeaderHint, NodeEndpoint};
use crate::api::{Outcome, Pending, RawRequest};
use crate::base::ids::{NodeId, PartitionIndex};
use crate::log::partition_log::ReadError;
use crate::metadata::image::{Image, Topic};
use crate::partition::Partition;
use crate::partition::registry::Status;
use frame::{FetchRequest, Frame, PartitionData, PartitionFetch, TopicRef};

/// A partition to read, or why not.
struct Source {
    topic: TopicRef,
    fetch: PartitionFetch,
    partition: Result<Arc<Partition>, Code>,
    /// A follower that the client is to read from.
    preferred: Option<NodeId>,
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
    let head = Frame {
        correlation_id: raw.correlation_id,
        version: raw.version,
        error: NONE,
        session_id: 0,
        nodes: &[],
    };
    let wanted = match context.sessions.enter(&request, by_id, context.now_ms()) {
        Ok(wanted) => wanted,
        Err(code) => return respond(&Frame { error: code.code(), ..head }, Vec::new()),
    };
    let sources = find_sources(&caller, &request, raw.version, &wanted);
    let mut answers = read_or_wait(context, &request, &sources).await;
    let nodes = match raw.version {
        ..frame::FIRST_LEADER => Vec::new(),
        _ => name_leaders(&caller, &mut answers),
    };
    let answers = context.sessions.leave(&wanted, answers);
    respond(&Frame { session_id: wanted.session_id, nodes: &nodes, ..head }, answers)
}

fn respond(head: &Frame<'_>, answers: Vec<(TopicRef, PartitionData)>) -> Outcome {
    let mut topics: Vec<(TopicRef, Vec<PartitionData>)> = Vec::new();
    for (topic, data) in answers {
        match topics.last_mut() {
            Some((last, partitions)) if *last == topic => partitions.push(data),
            _ => topics.push((topic, vec![data])),
        }
    }
    let frame = frame::encode_response(head, &topics);
    let partitions = topics.iter().flat_map(|(_, partitions)| partitions);
    let errors = std::iter::once(head.error).chain(partitions.map(|partition| partition.error));
    Outcome::Answer(frame.with_errors(errors))
}

/// Tells who leads where the client asks the wrong broker, or with an old epoch; where they are.
fn name_leaders(caller: &Caller, answers: &mut [(TopicRef, PartitionData)]) -> Vec<NodeEndpoint> {
    let moved = [Code::NotLeaderOrFollower.code(), Code::FencedLeaderEpoch.code()];
    let image = caller.context.image();
    let mut hints = Vec::new();
    for (topic, data) in answers.iter_mut().filter(|(_, data)| moved.contains(&data.error)) {
        if let Ok(topic) = find_topic(&image, topic) {
            let hint = LeaderHint::of(caller, &image, topic, data.index);
            data.leader = Some(hint);
            hints.push(hint);
        }
    }
    leader_hint::nodes(caller, &image, hints.into_iter())
}

fn find_sources(
    caller: &Caller,
    request: &FetchRequest,
    version: i16,
    wanted: &Wanted,
) -> Vec<Source> {
    let context = &caller.context;
    let image = context.image();
    let may_follow = version >= frame::FIRST_RACK;
    let sources = wanted.partitions.iter().map(|(topic, fetch)| {
        let found = match request.replica_id {
            ..0 => find(context, &image, topic, fetch, may_follow),
            _ => Err(Code::NotLeaderOrFollower),
        };
        let preferred = match &found {
            Ok((topic, partition)) if may_follow && partition.leader_epoch().is_some() => {
                preferred(caller, &image, topic, fetch.index, &request.rack)
            }
            _ => None,
        };
        let partition = found.map(|(_, partition)| partition);
        Source { topic: topic.clone(), fetch: *fetch, partition, preferred }
    });
    sources.collect()
}

fn find_topic<'a>(image: &'a Image, topic: &TopicRef) -> Result<&'a Arc<Topic>, Code> {
    match topic {
        TopicRef::Name(name) => image.topic(name).ok_or(Code::UnknownTopicOrPartition),
        TopicRef::Id(id) => image.topic_by_id(*id).ok_or(Code::UnknownTopicId),
    }
}

fn find<'a>(
    context: &Context,
    image: &'a Image,
    topic: &TopicRef,
    fetch: &PartitionFetch,
    may_follow: bool,
) -> Result<(&'a Topic, Arc<Partition>), Code> {
    let topic = find_topic(image, topic)?;
    let partition = match context.partition(topic.id, fetch.index) {
        Status::Open(partition) => partition,
        Status::Failed => return Err(Code::KafkaStorageError),
        Status::Absent if topic.partitions.contains_key(&fetch.index) => {
            return Err(Code::NotLeaderOrFollower);
        }
        Status::Absent => return Err(Code::UnknownTopicOrPartition),
    };
    // Who asks this broker as the leader must not take what it has for all there is.
    let own = Some(context.node);
    let place = topic.partitions.get(&fetch.index).filter(|place| place.leader != own);
    let epoch = match partition.leader_epoch() {
        Some(epoch) => epoch,
        None if may_follow => place.ok_or(Code::NotLeaderOrFollower)?.leader_epoch,
        None => return Err(Code::NotLeaderOrFollower),
    };
    match fetch.leader_epoch {
        ..0 => Ok((topic, partition)),
        known if known < epoch => Err(Code::FencedLeaderEpoch),
        known if known > epoch => Err(Code::UnknownLeaderEpoch),
        _ => Ok((topic, partition)),
    }
}

/// The in-sync follower that a client of this rack is to read from; `None` is the leader, this
/// broker.
fn preferred(
    caller: &Caller,
    image: &Image,
    topic: &Topic,
    index: PartitionIndex,
    rack: &str,
) -> Option<NodeId> {
    if caller.context.settings.config.replica_selector_class.is_none() || rack.is_empty() {
        return None;
    }
    let view = caller.context.view(image, topic, index);
    let is_near = |node: &NodeId| {
        let broker = caller.endpoint(image, *node);
        broker.is_some_and(|broker| broker.rack == Some(rack))
    };
    let own = caller.context.node;
    let mut near: Vec<NodeId> = view.in_sync.into_iter().filter(is_near).collect();
    if near.contains(&own) {
        return None;
    }
    near.retain(|node| image.is_alive(*node));
    // Where a rack has several replicas, partitions are spread over them.
    near.sort_unstable();
    let place = index.unsigned_abs() as usize % near.len().max(1);
    near.get(place).copied()
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

/// What there is by the deadline, or earlier if it is enough; only what is as it was written.
async fn read_or_wait(
    context: &Context,
    request: &FetchRequest,
    sources: &[Source],
) -> Vec<(TopicRef, PartitionData)> {
    let mut answers = wait_for_data(context, request, sources).await;
    for (source, (_, data)) in sources.iter().zip(&mut answers) {
        if let (Ok(partition), Some(slice)) = (&source.partition, data.records.take()) {
            match partition.checked(slice) {
                Ok(slice) => data.records = Some(slice),
                Err(error) => *data = unreadable(partition, &source.fetch, &error),
            }
        }
    }
    answers
}

async fn wait_for_data(
    context: &Context,
    request: &FetchRequest,
    sources: &[Source],
) -> Vec<(TopicRef, PartitionData)> {
    let size_max = context.settings.config.fetch_max_bytes;
    let size_max = u32::try_from(request.max_bytes).unwrap_or(0).min(size_max);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let size_min = u64::try_from(request.min_bytes).unwrap_or(0);
    let committed = request.read_committed;
    let (mut answers, mut size, mut must_answer) = read(sources, size_max, committed);
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
        (answers, size, must_answer) = read(sources, size_max, committed);
        if must_answer || size >= size_min {
            return answers;
        }
        if tokio::time::timeout_at(deadline, parked.waiter.notified()).await.is_err() {
            return answers;
        }
    }
}

/// What there is now; how many bytes; whether something must be told at once.
fn read(
    sources: &[Source],
    size_max: u32,
    read_committed: bool,
) -> (Vec<(TopicRef, PartitionData)>, u64, bool) {
    let mut answers = Vec::with_capacity(sources.len());
    let (mut size, mut must_answer) = (0, false);
    for source in sources {
        let data = match &source.partition {
            Err(code) => PartitionData::error(source.fetch.index, code.code()),
            Ok(partition) if source.preferred.is_some() => {
                let offsets = partition.offsets();
                PartitionData {
                    high_watermark: offsets.high_watermark,
                    last_stable: offsets.last_stable,
                    log_start: offsets.log_start,
                    preferred: source.preferred,
                    ..PartitionData::error(source.fetch.index, NONE)
                }
            }
            Ok(partition) => {
                let left = u64::from(size_max).saturating_sub(size);
                let limit = Limit { bytes: left, first_whole: size == 0, read_committed };
                read_partition(partition, &source.fetch, limit)
            }
        };
        size += data.records.as_ref().map_or(0, |slice| u64::from(slice.size));
        let is_elsewhere = data.diverging.is_some() || data.preferred.is_some();
        must_answer |= data.error != NONE || is_elsewhere;
        answers.push((source.topic.clone(), data));
    }
    (answers, size, must_answer)
}

/// What may be read of a partition.
#[derive(Debug, Clone, Copy)]
struct Limit {
    bytes: u64,
    /// The first batch also if it is larger.
    first_whole: bool,
    read_committed: bool,
}

fn read_partition(partition: &Partition, fetch: &PartitionFetch, limit: Limit) -> PartitionData {
    let size_max = u64::from(u32::try_from(fetch.max_bytes).unwrap_or(0)).min(limit.bytes);
    let size_max = u32::try_from(size_max).unwrap_or(u32::MAX);
    let diverging = diverging(partition, fetch);
    let (offset, first_whole) = (fetch.offset, limit.first_whole);
    let mut aborted = limit.read_committed.then(Vec::new);
    let records = match (diverging, &mut aborted) {
        (Some(_), _) => Ok(None),
        (None, None) => partition.slice(offset, size_max, first_whole),
        (None, Some(aborted)) => {
            let found = partition.stable_slice(offset, size_max, first_whole);
            found.map(|found| {
                found.map(|found| {
                    *aborted = found.aborted;
                    found.slice
                })
            })
        }
    };
    let offsets = partition.offsets();
    match records {
        Ok(records) => PartitionData {
            high_watermark: offsets.high_watermark,
            last_stable: offsets.last_stable,
            log_start: offsets.log_start,
            aborted,
            diverging,
            records,
            ..PartitionData::error(fetch.index, NONE)
        },
        Err(error) => unreadable(partition, fetch, &error),
    }
}

fn unreadable(partition: &Partition, fetch: &PartitionFetch, error: &ReadError) -> PartitionData {
    if let ReadError::Io(error) = error {
        tracing::error!(%error, topic = partition.topic, "fetch could not read the log");
    }
    let failed = PartitionData::error(fetch.index, errors::of_read(error).code());
    PartitionData { log_start: partition.offsets().log_start, ..failed }
}

/// Where the client's log leaves ours (KIP-595), if it told the epoch that it fetched last.
fn diverging(partition: &Partition, fetch: &PartitionFetch) -> Option<(i32, i64)> {
    if fetch.last_fetched_epoch < 0 {
        return None;
    }
    let (epoch, end) = partition.end_of_epoch(fetch.last_fetched_epoch)?;
    (epoch < fetch.last_fetched_epoch || end < fetch.offset).then_some((epoch, end))
}

//! Drives state machines over the partitions of one internal topic: *decide → records → append →
//! answer*, timers, load and unload.
//!
//! Each partition that this broker leads has a shard: a task that owns the state. It takes all jobs
//! that wait, lets the state machine decide on each, appends what they made as few batches, and
//! gives the answers when those are committed; meanwhile the next jobs gather. So an answer never
//! tells of a state that could be lost, and reads are as late as the writes before them. When an
//! append fails, the shard forgets its state and is loaded again: nothing is undone.

mod shard;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::base::env::Env;
use crate::base::ids::{Offset, PartitionIndex, TopicId, TopicPartition};
use crate::base::kv::{KeyValue, KvWriter};
use crate::base::task::{self, Fault, Stopping};
use crate::coordinator::partition_for;
use crate::coordinator::reply::Reply;
use crate::coordinator::runtime::shard::Shard;
use crate::coordinator::step::Step;
use crate::coordinator::store::Materialised;
use crate::coordinator::transactions::Undecided;
use crate::log::batch::{Batch, BatchHeader};
use crate::log::partition_log::ReadError;
use crate::log::records;
use crate::log::records::marker::Marker;
use crate::metadata::image::Topic;
use crate::metadata::publisher::Images;
use crate::partition::Partition;
use crate::partition::registry::{Registry, Status};

/// Jobs that wait for a shard.
const JOBS_WAITING_COUNT_MAX: usize = 1024;
/// What is read of a partition at once when it is loaded.
const LOAD_READ_BYTES: u32 = 4 * 1024 * 1024;
/// A partition that is not led here is looked at again after this time even if nothing is heard.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long it takes before a shard is loaded again that could not be loaded or failed.
const RELOAD_AFTER: Duration = Duration::from_millis(100);

/// A state machine over one partition of an internal topic.
pub trait Machine: Send + 'static {
    /// Applies a committed record; no value is a tombstone.
    fn replay(&mut self, key: Bytes, value: Option<Bytes>);
    /// All records have been replayed: it serves from now on.
    fn loaded(&mut self, step: &mut Step);
    /// Does what is due.
    fn tick(&mut self, step: &mut Step);
    /// When something is due next, in monotonic milliseconds.
    fn next_deadline_ms(&self) -> Option<i64>;
}

/// Why there was no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The topic is not there yet.
    NoTopic,
    /// Another broker leads the partition, or this one has just stopped leading it.
    NotCoordinator,
    /// The partition is being loaded.
    Loading,
}

type Job<M> = Box<dyn FnOnce(&mut M, &mut Step) + Send>;

/// What shards are made of and reach.
#[derive(Debug, Clone)]
pub struct Parts {
    pub env: Env,
    pub images: Images,
    pub registry: Arc<Registry>,
    pub kv: Arc<dyn KeyValue>,
    pub kv_writer: KvWriter,
}

/// The coordinator of one kind of state.
pub struct Coordinator<M> {
    topic: &'static str,
    parts: Parts,
    make: Box<dyn Fn(PartitionIndex) -> M + Send + Sync>,
    started: Instant,
    shards: RwLock<Shards<M>>,
    /// Counts changes of `shards`.
    changes: watch::Sender<u64>,
}

struct Shards<M> {
    topic_id: TopicId,
    by_partition: BTreeMap<PartitionIndex, Slot<M>>,
}

struct Slot<M> {
    /// `None` while it is being loaded.
    jobs: Option<mpsc::Sender<Job<M>>>,
}

impl<M> std::fmt::Debug for Coordinator<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl<M: Machine> Coordinator<M> {
    /// `make` gives the empty state of a partition.
    pub fn new(
        topic: &'static str,
        parts: Parts,
        make: impl Fn(PartitionIndex) -> M + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            topic,
            parts,
            make: Box::new(make),
            started: Instant::now(),
            shards: RwLock::new(Shards { topic_id: TopicId::ZERO, by_partition: BTreeMap::new() }),
            changes: watch::Sender::new(0),
        })
    }

    /// Decides something about a key, and waits until it is committed. Cancelling the wait does not
    /// take the decision back.
    pub async fn run<T: Send + 'static>(
        &self,
        key: &str,
        decide: impl FnOnce(&mut M, &mut Step) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.run_on(self.partition_of(key)?, at_once(decide)).await
    }

    /// The same, where the state machine may keep the answer back.
    pub async fn run_later<T: Send + 'static>(
        &self,
        key: &str,
        decide: impl FnOnce(&mut M, &mut Step, Reply<T>) + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.run_on(self.partition_of(key)?, decide).await
    }

    /// Decides something on every partition that is led here; one that waits for the disk for
    /// longer than `patience` counts as being loaded.
    pub async fn run_everywhere<T: Send + 'static>(
        &self,
        patience: Duration,
        decide: impl Fn(&mut M, &mut Step) -> T + Clone + Send + 'static,
    ) -> Vec<Result<T, Unavailable>> {
        let partitions: Vec<PartitionIndex> =
            self.lock_read().by_partition.keys().copied().collect();
        let each = partitions.into_iter();
        let each = each.map(|partition| {
            tokio::time::timeout(patience, self.run_on(partition, at_once(decide.clone())))
        });
        let all = futures_util::future::join_all(each).await.into_iter();
        all.map(|decided| decided.unwrap_or(Err(Unavailable::Loading))).collect()
    }

    async fn run_on<T: Send + 'static>(
        &self,
        partition: PartitionIndex,
        decide: impl FnOnce(&mut M, &mut Step, Reply<T>) + Send + 'static,
    ) -> Result<T, Unavailable> {
        let jobs = self.jobs(partition)?;
        let (reply, waiting) = Reply::channel();
        let job: Job<M> = Box::new(|machine, step| decide(machine, step, reply));
        jobs.send(job).await.map_err(|_| Unavailable::NotCoordinator)?;
        waiting.await.map_err(|_| Unavailable::NotCoordinator)
    }

    fn partition_of(&self, key: &str) -> Result<PartitionIndex, Unavailable> {
        let image = self.parts.images.current();
        let topic = image.topic(self.topic).ok_or(Unavailable::NoTopic)?;
        Ok(partition_for(key, topic.partitions.len()))
    }

    fn jobs(&self, partition: PartitionIndex) -> Result<mpsc::Sender<Job<M>>, Unavailable> {
        match self.lock_read().by_partition.get(&partition) {
            Some(Slot { jobs: Some(jobs) }) => Ok(jobs.clone()),
            Some(Slot { jobs: None }) => Err(Unavailable::Loading),
            None => Err(Unavailable::NotCoordinator),
        }
    }

    /// Waits until a partition serves here. Cancel safe.
    pub async fn serving(&self, partition: PartitionIndex) {
        let mut changes = self.changes.subscribe();
        while self.jobs(partition).is_err() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock_read(&self) -> std::sync::RwLockReadGuard<'_, Shards<M>> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, id: TopicPartition, shard: Option<Slot<M>>) {
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        if shards.topic_id == id.topic_id {
            match shard {
                Some(shard) => shards.by_partition.insert(id.partition, shard),
                None => shards.by_partition.remove(&id.partition),
            };
        }
        drop(shards);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Follows the metadata until the broker stops; resolves when all shards have stopped.
    pub fn start(self: &Arc<Self>, mut stopping: Stopping) -> task::Handle {
        let coordinator = Arc::clone(self);
        task::spawn("coordinator", Fault::Process, async move {
            let mut images = coordinator.parts.images.clone();
            let mut image = images.current();
            let mut running = FuturesUnordered::new();
            loop {
                if let Some(topic) = image.topic(coordinator.topic) {
                    running.extend(coordinator.add_shards(topic, &stopping));
                }
                tokio::select! {
                    () = stopping.wait() => break,
                    Some(_) = running.next() => {}
                    next = images.changed() => match next {
                        Some(next) => image = next,
                        None => break,
                    },
                }
            }
            while running.next().await.is_some() {}
        })
    }

    /// Starts the shards that the topic should have and has not.
    fn add_shards(self: &Arc<Self>, topic: &Topic, stopping: &Stopping) -> Vec<task::Handle> {
        let new: Vec<PartitionIndex> = {
            let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
            if shards.topic_id != topic.id {
                // Shards of a topic that was deleted end by themselves.
                *shards = Shards { topic_id: topic.id, by_partition: BTreeMap::new() };
            }
            let known = &mut shards.by_partition;
            let new = topic.partitions.keys().filter(|partition| !known.contains_key(partition));
            let new: Vec<PartitionIndex> = new.copied().collect();
            known.extend(new.iter().map(|partition| (*partition, Slot { jobs: None })));
            new
        };
        let spawn = |partition| {
            let id = TopicPartition { topic_id: topic.id, partition };
            let (coordinator, stopping) = (Arc::clone(self), stopping.clone());
            task::spawn("coordinator shard", Fault::Process, async move {
                coordinator.keep(id, stopping).await;
                coordinator.set(id, None);
                if !coordinator.is_current(id) {
                    coordinator.forget(id).await;
                }
            })
        };
        new.into_iter().map(spawn).collect()
    }

    fn is_current(&self, id: TopicPartition) -> bool {
        self.lock_read().topic_id == id.topic_id
    }

    /// Loads a partition and serves it, again and again, until the broker stops or the topic goes.
    async fn keep(self: &Arc<Self>, id: TopicPartition, mut stopping: Stopping) {
        while !stopping.is_stopping() && self.is_current(id) {
            tokio::select! {
                () = stopping.wait() => return,
                () = self.parts.registry.settled(std::slice::from_ref(&id)) => {}
            }
            let mut changes = self.parts.registry.groups().watch(id);
            let led = match self.parts.registry.status(id) {
                Status::Open(partition) => partition.leader_epoch().map(|epoch| (partition, epoch)),
                Status::Failed | Status::Absent => None,
            };
            let Some((partition, epoch)) = led else {
                tokio::select! {
                    () = stopping.wait() => {}
                    _ = changed(&mut changes) => {}
                    () = tokio::time::sleep(LOOK_AGAIN_AFTER) => {}
                }
                continue;
            };
            match self.load(&partition).await {
                Ok(loaded) => {
                    let shard = Shard::new(self, partition, epoch, loaded);
                    self.serve(id, shard, &mut stopping).await;
                }
                Err(error) => {
                    let partition = id.partition;
                    tracing::error!(topic = self.topic, partition, %error, "not loaded");
                }
            }
            self.set(id, Some(Slot { jobs: None }));
            tokio::select! {
                () = stopping.wait() => {}
                () = tokio::time::sleep(RELOAD_AFTER) => {}
            }
        }
    }

    /// Deletes what was materialised of a partition whose topic is gone.
    async fn forget(&self, id: TopicPartition) {
        let changes = vec![Materialised::new(id).clear()];
        if let Err(error) = self.parts.kv_writer.write(changes).await {
            tracing::warn!(topic = self.topic, %error, "state of a deleted topic not deleted");
        }
    }

    async fn serve(&self, id: TopicPartition, mut shard: Shard<M>, stopping: &mut Stopping) {
        let (jobs, mut queue) = mpsc::channel(JOBS_WAITING_COUNT_MAX);
        if shard.begin().await.is_err() {
            return;
        }
        self.set(id, Some(Slot { jobs: Some(jobs) }));
        tracing::debug!(topic = self.topic, partition = id.partition, "loaded");
        let ended = shard.run(&mut queue, stopping).await;
        if let Err(error) = ended {
            let partition = id.partition;
            tracing::warn!(topic = self.topic, partition, ?error, "coordinator unloaded");
        }
    }

    async fn load(&self, partition: &Arc<Partition>) -> io::Result<(M, Materialised)> {
        let mut machine = (self.make)(partition.id.partition);
        let (kv, partition) = (Arc::clone(&self.parts.kv), Arc::clone(partition));
        let load = move || {
            let mut materialised = Materialised::new(partition.id);
            let offsets = partition.offsets();
            let bounds = (offsets.log_start, offsets.high_watermark);
            let from = materialised.load(&kv, bounds, |k, v| machine.replay(k, Some(v)))?;
            let undecided = replay_log(&partition, from, |key, value, next| {
                materialised.note(key.clone(), value.clone(), next);
                machine.replay(key, value);
            })?;
            // The marker may come yet: the next load looks for it from here on.
            materialised.wait_for(undecided.first_offset());
            Ok((machine, materialised))
        };
        task::blocking(self.parts.env.threads, load).await
    }
}

/// A decision that is answered as soon as it is committed.
/// Waits for the next change of a group, for ever if it is not here.
async fn changed(changes: &mut Option<watch::Receiver<u64>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

fn at_once<M, T: Send + 'static>(
    decide: impl FnOnce(&mut M, &mut Step) -> T,
) -> impl FnOnce(&mut M, &mut Step, Reply<T>) {
    |machine, step, reply| {
        let answer = decide(machine, step);
        step.answer(reply, answer);
    }
}

/// Reads the committed records from an offset on: keys and values that count, and the offset behind
/// which that is known. Returns what is of open transactions. Blocks.
fn replay_log(
    partition: &Partition,
    from: Offset,
    mut each: impl FnMut(Bytes, Option<Bytes>, Offset),
) -> io::Result<Undecided> {
    let mut undecided = Undecided::default();
    let mut next = from;
    loop {
        let failed = |error| match error {
            ReadError::OutOfRange => io::Error::other("the log was truncated while it was read"),
            ReadError::Damaged => io::Error::new(io::ErrorKind::InvalidData, "damaged batch"),
            ReadError::Io(error) => error,
        };
        let slice = partition.slice(next, LOAD_READ_BYTES, true).map_err(failed)?;
        let Some(slice) = slice else { return Ok(undecided) };
        let slice = partition.checked(slice).map_err(failed)?;
        let mut rest = slice.read()?;
        while let Some(header) = BatchHeader::parse(&rest) {
            if header.size() == 0 || header.size() > rest.len() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "damaged batch"));
            }
            let batch = rest.split_to(header.size());
            next = header.last_offset() + 1;
            if header.is_control() {
                let marker = Batch::take(&mut batch.clone()).ok().as_ref().and_then(Marker::of);
                let Some(marker) = marker else { continue };
                for (key, value) in undecided.end(header.producer_id, marker.ending) {
                    each(key, value, next);
                }
                continue;
            }
            let found = records::key_values(&batch)?;
            for record in found.into_iter().filter(|record| record.offset >= from) {
                if header.is_transactional() {
                    undecided.add(header.producer_id, record);
                    continue;
                }
                // A record without a key says nothing; we never write one.
                if let Some(key) = record.key {
                    undecided.replace(&key, record.offset);
                    each(key, record.value, record.offset + 1);
                }
            }
        }
    }
}

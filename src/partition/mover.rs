//! Moves replicas from one log dir of this broker to another while they are in use
//! (AlterReplicaLogDirs). One at a time is copied; a move that is altered is given up. Where a
//! replica is to go stands in the key-value store until it is there, so that a broker that has
//! stopped meanwhile begins the copy anew.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::base::env::Env;
use crate::base::ids::{Offset, PartitionIndex, TopicPartition};
use crate::base::kv::Change;
use crate::base::task::{self, Fault, Stopping};
use crate::log::moving::{LogCopy, Progress, Step};
use crate::metrics::moves as metrics;
use crate::partition::Partition;
use crate::partition::open::{OpenDir, store_key};
use crate::partition::pace::time_of;
use crate::partition::registry::Registry;

/// What is copied at once, in bytes: at most, and less where there is a limit.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// The partition is stopped for the rest when so much of it is left.
const REST_BYTES: u64 = 1024 * 1024;
/// A log that is written about as fast as it is copied never comes to that: it is stopped when no
/// more than this is left and ...
const NEAR_BYTES: u64 = 64 * 1024 * 1024;
/// ... so much has been copied since.
const NEAR_COPIED_BYTES: u64 = 256 * 1024 * 1024;
/// Steps in a row that may find a file gone.
const MISSED_MAX: u32 = 10;
/// How often it is looked whether it may go on.
const STANDSTILL: Duration = Duration::from_secs(1);
/// What did not work is tried again after this time.
const AGAIN: Duration = Duration::from_secs(5);
const TRIES_MAX: u32 = 10;
/// Log dirs that are remembered for partitions that are not here yet.
const PREFERRED_COUNT_MAX: usize = 10_000;
const NAME_BYTES_MAX: usize = 249;

/// Why a replica is not moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveError {
    /// There is no such log dir.
    UnknownDir,
    /// The log dir, or the one in which the replica is, can not be used.
    Offline,
    /// The partition has no replica here (yet).
    NoReplica,
}

/// A replica that is being moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// The log dir that it is moved to.
    pub to: PathBuf,
    pub bytes: u64,
    /// Up to which offset it is there.
    pub next_offset: Offset,
}

#[derive(Debug)]
struct Order {
    to: PathBuf,
    /// Counts the orders; one that has another number is another order.
    number: u64,
    bytes: u64,
    next_offset: Offset,
}

/// Which replicas are to be moved where.
#[derive(Debug, Default)]
pub(super) struct Moves {
    orders: Mutex<Orders>,
    bell: Notify,
    /// Held while orders change: they are in the store as they are here.
    altering: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Orders {
    by_partition: BTreeMap<TopicPartition, Order>,
    count: u64,
    /// For partitions that are not here yet.
    preferred: BTreeMap<(String, PartitionIndex), PathBuf>,
    /// `replica.alter.log.dirs.io.max.bytes.per.second`.
    bytes_per_second: Option<u64>,
}

impl Moves {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How fast copies may be made.
    pub(super) fn set_rate(&self, bytes_per_second: Option<u64>) {
        self.lock().bytes_per_second = bytes_per_second;
    }

    /// The log dirs that partitions are to be made in of which somebody has said so; few.
    pub(super) fn preferred(&self) -> BTreeMap<(String, PartitionIndex), PathBuf> {
        self.lock().preferred.clone()
    }

    /// The partition is there.
    pub(super) fn forget_preferred(&self, topic: &str, partition: PartitionIndex) {
        self.lock().preferred.remove(&(topic.to_owned(), partition));
    }

    fn is_current(&self, id: TopicPartition, number: u64) -> bool {
        self.lock().by_partition.get(&id).is_some_and(|order| order.number == number)
    }

    fn note(&self, id: TopicPartition, number: u64, bytes: u64, next_offset: Offset) {
        let mut orders = self.lock();
        let order = orders.by_partition.get_mut(&id).filter(|order| order.number == number);
        if let Some(order) = order {
            (order.bytes, order.next_offset) = (bytes, next_offset);
        }
    }

    /// Takes the place of what was wished before; `None`: the replica stays where it is.
    fn set(&self, id: TopicPartition, order: Option<(PathBuf, Offset)>) {
        let mut orders = self.lock();
        orders.by_partition.remove(&id);
        if let Some((to, next_offset)) = order {
            orders.count += 1;
            let order = Order { to, number: orders.count, bytes: 0, next_offset };
            orders.by_partition.insert(id, order);
        }
        metrics::under_way(orders.by_partition.len());
        drop(orders);
        self.bell.notify_one();
    }

    fn target(&self, id: TopicPartition) -> Option<PathBuf> {
        self.lock().by_partition.get(&id).map(|order| order.to.clone())
    }
}

/// Where it stands in which log dir a replica is to be.
fn target_key(id: TopicPartition) -> Vec<u8> {
    [&store_key(id)[..], b"d"].concat()
}

impl Registry {
    /// Has a replica moved to a log dir; what is known of it is told by [`Self::moving`].
    pub async fn move_to(
        &self,
        topic: &str,
        partition: PartitionIndex,
        id: Option<TopicPartition>,
        dir: &str,
    ) -> Result<(), MoveError> {
        let is_meant = |path: &Path| {
            path == Path::new(dir)
                || std::path::absolute(path).is_ok_and(|path| path == Path::new(dir))
        };
        let open = self.storage.dirs.iter().find(|open| is_meant(&open.dir.path));
        if open.is_none() && !self.storage.offline_dirs.iter().any(|path| is_meant(path)) {
            return Err(MoveError::UnknownDir);
        }
        let open = open.filter(|open| !open.health.has_failed()).ok_or(MoveError::Offline)?;
        let to = open.dir.path.clone();
        let _altering = self.moves.altering.lock().await;
        let Some(found) = id.and_then(|id| self.get(id)) else {
            let mut orders = self.moves.lock();
            // What is longer is no topic's name.
            if orders.preferred.len() < PREFERRED_COUNT_MAX && topic.len() <= NAME_BYTES_MAX {
                orders.preferred.insert((topic.to_owned(), partition), to);
            }
            return Err(MoveError::NoReplica);
        };
        let (id, known) = (found.id, self.moves.target(found.id));
        if known.as_ref() == Some(&to) {
            return Ok(());
        }
        let is_there = found.dir().parent() == Some(to.as_path());
        let change = match is_there {
            false => Change::Put { key: target_key(id), value: open.directory.0.to_vec() },
            true => Change::Delete { key: target_key(id) },
        };
        if known.is_some() || !is_there {
            let noted = self.storage.kv_writer.write(vec![change]).await;
            noted.map_err(|_| MoveError::Offline)?;
            self.moves.set(id, (!is_there).then(|| (to, found.offsets().log_start)));
        }
        Ok(())
    }

    /// Goes on with the move of a replica that was under way when the broker stopped.
    pub(super) fn resume_move(&self, partition: &Partition) {
        let id = partition.id;
        let noted = match self.storage.kv.get(&target_key(id)) {
            Ok(Some(noted)) if self.moves.target(id).is_none() => noted,
            Ok(_) => return,
            Err(error) => {
                tracing::error!(%error, topic = partition.topic, "a move is not known any more");
                return;
            }
        };
        // One that is offline now may be there at the next start.
        let mut dirs = self.storage.dirs.iter();
        if let Some(open) = dirs.find(|open| open.directory.0.as_slice() == noted) {
            self.moves.set(id, Some((open.dir.path.clone(), partition.offsets().log_start)));
        }
    }

    /// A move is over, however it ended.
    async fn end_move(&self, id: TopicPartition, number: u64) {
        let _altering = self.moves.altering.lock().await;
        if !self.moves.is_current(id, number) {
            return;
        }
        let change = Change::Delete { key: target_key(id) };
        if let Err(error) = self.storage.kv_writer.write(vec![change]).await {
            tracing::warn!(%error, group = %id, "a move that is over is known still");
        }
        self.moves.set(id, None);
    }

    /// The replicas that are being moved between log dirs.
    pub fn moving(&self) -> BTreeMap<TopicPartition, Moving> {
        let orders = self.moves.lock();
        let moving = orders.by_partition.iter().map(|(id, order)| {
            let Order { to, bytes, next_offset, .. } = order;
            (*id, Moving { to: to.clone(), bytes: *bytes, next_offset: *next_offset })
        });
        moving.collect()
    }
}

/// What moving works with.
#[derive(Debug)]
pub struct Mover {
    pub env: Env,
    pub registry: Arc<Registry>,
}

/// What becomes of a move.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Moved,
    /// It is not wished for any more, or the partition is not here any more.
    GivenUp,
}

impl Mover {
    /// Runs until the broker stops. What is under way then is begun anew at the next start.
    pub fn start(self, mut stopping: Stopping) -> task::Handle {
        task::spawn("log dir mover", Fault::Process, async move {
            tokio::select! {
                () = stopping.wait() => {}
                () = self.run() => {}
            }
        })
    }

    async fn run(&self) {
        loop {
            let next = {
                let orders = self.registry.moves.lock();
                let oldest = orders.by_partition.iter().min_by_key(|(_, order)| order.number);
                oldest.map(|(id, order)| (order.number, *id, order.to.clone()))
            };
            match next {
                Some((number, id, to)) => {
                    self.see_through(id, number, &to).await;
                    self.registry.end_move(id, number).await;
                }
                None => self.registry.moves.bell.notified().await,
            }
        }
    }

    /// Moves a replica, and tries again for a while when that does not work.
    async fn see_through(&self, id: TopicPartition, number: u64, to: &Path) {
        let begun = Instant::now();
        for attempt in 1..=TRIES_MAX {
            let Some(partition) = self.registry.get(id) else { return };
            let (topic, index) = (partition.topic.clone(), id.partition);
            let dir = to.display();
            match self.move_one(&partition, number, to).await {
                Ok(End::Moved) => {
                    let took_ms = begun.elapsed().as_millis();
                    tracing::info!(topic, partition = index, %dir, took_ms, "moved to a log dir");
                    metrics::moved();
                    return;
                }
                Ok(End::GivenUp) => {
                    tracing::info!(topic, partition = index, %dir, "not moved: it is not wished");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, topic, partition = index, %dir, attempt, "not moved");
                    metrics::failed();
                    tokio::time::sleep(AGAIN).await;
                }
            }
            if !self.registry.moves.is_current(id, number) {
                return;
            }
        }
        let dir = to.display();
        tracing::error!(group = %id, %dir, "a replica is not moved to a log dir: given up");
    }

    async fn move_one(
        &self,
        partition: &Arc<Partition>,
        number: u64,
        to: &Path,
    ) -> io::Result<End> {
        let registry = &self.registry;
        let open = registry.storage.dirs.iter().find(|open| open.dir.path == to);
        let open = open.ok_or_else(|| io::Error::other("the log dir is offline"))?.clone();
        open.health.check()?;
        if partition.dir().parent() == Some(to) {
            return Ok(End::GivenUp);
        }
        if open.room.lacks(partition.group().log().size_bytes()) {
            return Err(no_room());
        }
        let (topic, index) = (partition.topic.as_str(), partition.id.partition);
        let folder = open.dir.future(topic, index, self.env.rng.next_u64());
        tracing::info!(topic, partition = index, to = %folder.display(), "moving to a log dir");
        let (log, threads) = (Arc::clone(partition.group().log()), self.env.threads);
        let copy = task::blocking(threads, move || LogCopy::begin(log, folder)).await?;
        let (copy, caught_up) = self.catch_up(partition, number, &open, copy).await;
        let end = match caught_up {
            Ok(true) => registry.swap(partition, copy, &open).await,
            Ok(false) => {
                discard(threads, copy).await;
                return Ok(End::GivenUp);
            }
            Err(error) => Err((Some(copy), error)),
        };
        match end {
            Ok(()) => Ok(End::Moved),
            Err((copy, error)) => {
                if let Some(copy) = copy {
                    discard(threads, copy).await;
                }
                Err(error)
            }
        }
    }

    /// Copies until little is left; false if that is not wished for any more.
    async fn catch_up(
        &self,
        partition: &Arc<Partition>,
        number: u64,
        to: &OpenDir,
        mut copy: LogCopy,
    ) -> (LogCopy, io::Result<bool>) {
        let (moves, threads) = (&self.registry.moves, self.env.threads);
        let from = self.registry.storage.open_dir(partition.dir()).map(|open| &open.health);
        let (mut near_bytes, mut missed) = (0, 0);
        loop {
            let is_it = |open: Arc<Partition>| Arc::ptr_eq(&open, partition);
            let is_here = self.registry.get(partition.id).is_some_and(is_it);
            if !is_here || !moves.is_current(partition.id, number) {
                return (copy, Ok(false));
            }
            if to.room.is_full() {
                return (copy, Err(no_room()));
            }
            let rate = moves.lock().bytes_per_second;
            if rate == Some(0) {
                tokio::time::sleep(STANDSTILL).await;
                continue;
            }
            let bytes_max = rate.map_or(STEP_BYTES, |rate| rate.clamp(1, STEP_BYTES));
            let begun = Instant::now();
            let work = move || {
                let step = copy.step(bytes_max);
                (copy, step)
            };
            let (worked, step) = task::blocking(threads, work).await;
            copy = worked;
            let step = match step {
                Ok(step) => step,
                // Retention has taken a file meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && missed < MISSED_MAX => {
                    missed += 1;
                    continue;
                }
                Err(error) => return (copy, Err(error)),
            };
            missed = 0;
            let left_bytes = self.note(partition, number, step);
            near_bytes = if left_bytes > NEAR_BYTES { 0 } else { near_bytes + step.bytes };
            if left_bytes <= REST_BYTES || near_bytes >= NEAR_COPIED_BYTES {
                if !from.is_some_and(|from| from.is_full()) {
                    return (copy, Ok(true));
                }
                // What is written when the log is closed would wait for room as well.
                tokio::time::sleep(STANDSTILL).await;
            }
            if let Some(rate) = rate {
                #[expect(clippy::cast_precision_loss, reason = "a duration need not be exact")]
                let rate = rate as f64;
                tokio::time::sleep_until(begun + time_of(bytes_max, rate)).await;
            }
        }
    }

    /// Returns how many bytes are left.
    fn note(&self, partition: &Partition, number: u64, step: Step) -> u64 {
        let Step { bytes, progress } = step;
        let Progress { copied_bytes, left_bytes, missing_from } = progress;
        metrics::copied(bytes);
        let next_offset = missing_from.unwrap_or_else(|| partition.offsets().log_end);
        self.registry.moves.note(partition.id, number, copied_bytes, next_offset);
        left_bytes
    }
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the log dir has no room for it")
}

async fn discard(threads: crate::base::worker::Threads, copy: LogCopy) {
    let folder = copy.dir().to_owned();
    if let Err(error) = task::blocking(threads, move || copy.discard()).await {
        // The next start removes it.
        tracing::warn!(%error, folder = %folder.display(), "a folder was not deleted");
    }
}

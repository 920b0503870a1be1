//! The store for what is small and needs random access: Raft votes and memberships, the metadata
//! log and its snapshots. RocksDB in production ([`rocks`]), a journal on the simulated disk in a
//! simulation ([`journal`]). It is never on the path of a record.

pub mod journal;
pub mod rocks;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::base::disk;
use crate::base::worker::{Threads, Worker};

/// A write that has found no room is tried again after this time.
const RETRY: Duration = Duration::from_millis(500);
/// The store has failed when there is room and so many tries in a row have found none.
const TRIES_WITH_ROOM_MAX: u32 = 120;

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Delete {
        key: Vec<u8>,
    },
    /// All keys from `from` up to `to`, exclusive.
    DeleteRange {
        from: Vec<u8>,
        to: Vec<u8>,
    },
}

/// An ordered store of bytes. Calls block.
pub trait KeyValue: Send + Sync + Debug {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// All pairs whose key is in `from..to`, in order, at most `count_max`.
    fn scan(&self, from: &[u8], to: &[u8], count_max: usize) -> io::Result<Pairs>;
    /// The last pair whose key is in `from..to`.
    fn last(&self, from: &[u8], to: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>>;
    /// Applies all changes or none; durable when it returns.
    fn write(&self, changes: &[Change]) -> io::Result<()>;
    /// Whether its file system has some room.
    fn has_room(&self) -> bool {
        true
    }
}

/// Keys with their values.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Writes of many callers, made durable together (group commit).
#[derive(Debug, Clone)]
pub struct KvWriter {
    worker: Worker<KvJob>,
    /// Why a write has failed, for the first time.
    failure: watch::Receiver<Option<String>>,
    /// Whether a write that finds no room waits for some.
    waits: Arc<AtomicBool>,
}

struct KvJob {
    changes: Vec<Change>,
    done: oneshot::Sender<io::Result<()>>,
}

impl KvWriter {
    pub fn start(threads: Threads, kv: Arc<dyn KeyValue>) -> io::Result<Self> {
        let (fail, failure) = watch::channel(None);
        let waits = Arc::new(AtomicBool::new(true));
        let may_wait = Arc::clone(&waits);
        let worker = Worker::start(threads, "kv-writer", move |jobs: &mut Vec<KvJob>| {
            let changes: Vec<Change> =
                jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.changes)).collect();
            // A simulation has no thread to wait on.
            let result = match threads {
                Threads::Os => write_patiently(kv.as_ref(), &changes, &may_wait),
                Threads::Inline | Threads::Paced(_) => kv.write(&changes),
            };
            if let Err(error) = &result {
                fail.send_if_modified(|failure| {
                    let is_first = failure.is_none();
                    failure.get_or_insert_with(|| error.to_string());
                    is_first
                });
            }
            for job in jobs.drain(..) {
                let copy = result.as_ref().copied();
                let copy = copy.map_err(|error| io::Error::new(error.kind(), error.to_string()));
                // Whoever asked may have gone.
                let _ = job.done.send(copy);
            }
        })?;
        Ok(Self { worker, failure, waits })
    }

    /// From now on a write that finds no room fails, also one that waits already.
    pub fn wait_for_room_no_more(&self) {
        self.waits.store(false, Ordering::Release);
    }

    /// Resolves when a write has failed: what follows is not to be relied upon. Cancel safe.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        let why = match failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone(),
            // The writer has ended with the broker.
            Err(_) => std::future::pending().await,
        };
        why.unwrap_or_default()
    }

    /// Durable when it returns. Cancelling the wait does not take the write back.
    pub async fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.worker.push(KvJob { changes, done });
        written.await.map_err(io::Error::other)?
    }
}

/// Waits for room: whoever waits for a vote or a record of the metadata waits too. Blocks.
#[expect(clippy::disallowed_methods, reason = "nobody tells when there is room")]
fn write_patiently(kv: &dyn KeyValue, changes: &[Change], may_wait: &AtomicBool) -> io::Result<()> {
    let mut result = kv.write(changes);
    let waits = |result: &io::Result<()>| {
        result.as_ref().is_err_and(disk::is_full) && may_wait.load(Ordering::Acquire)
    };
    if !waits(&result) {
        return result;
    }
    if let Err(error) = &result {
        tracing::error!(%error, "the metadata store has no room: it waits for some");
    }
    let mut tries_with_room = 0;
    while waits(&result) && tries_with_room < TRIES_WITH_ROOM_MAX {
        std::thread::sleep(RETRY);
        tries_with_room = if kv.has_room() { tries_with_room + 1 } else { 0 };
        result = kv.write(changes);
    }
    if result.is_ok() {
        tracing::info!("the metadata store has room again");
    }
    result
}

//! The store for what is small and needs random access: Raft votes and memberships, the metadata
//! log and its snapshots. RocksDB in production ([`rocks`]), a journal on the simulated disk in a
//! simulation ([`journal`]). It is never on the path of a record.

pub mod journal;
pub mod rocks;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::base::worker::{Threads, Worker};

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
}

/// Keys with their values.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Writes of many callers, made durable together (group commit).
#[derive(Debug, Clone)]
pub struct KvWriter {
    worker: Worker<KvJob>,
}

struct KvJob {
    changes: Vec<Change>,
    done: oneshot::Sender<io::Result<()>>,
}

impl KvWriter {
    pub fn start(threads: Threads, kv: Arc<dyn KeyValue>) -> io::Result<Self> {
        let worker = Worker::start(threads, "kv-writer", move |jobs: &mut Vec<KvJob>| {
            let changes: Vec<Change> =
                jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.changes)).collect();
            let result = kv.write(&changes);
            for job in jobs.drain(..) {
                let copy = result.as_ref().copied();
                let copy = copy.map_err(|error| io::Error::new(error.kind(), error.to_string()));
                // Whoever asked may have gone.
                let _ = job.done.send(copy);
            }
        })?;
        Ok(Self { worker })
    }

    /// Durable when it returns. Cancelling the wait does not take the write back.
    pub async fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.worker.push(KvJob { changes, done });
        written.await.map_err(io::Error::other)?
    }
}

//! The writer of one log dir: takes what all its partitions appended, writes it with one call per
//! file, makes it durable with one sync per file, all at once, then reports (group commit). While
//! the syncs run, the next appends gather.
//!
//! After a failed write or sync the log dir is dead until restart: nothing more is written and
//! every append fails.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::base::worker::{Threads, Worker};
use crate::log::batch::Batch;
use crate::log::partition_log::PartitionLog;
use crate::log::producer_state::AppendOutcome;
use crate::log::segment::SegmentFiles;
use crate::log::sync_pool::SyncPool;
use crate::metrics::flush::FlushMetrics;

/// Reports that an append is as durable as its topic asks for, or why not.
pub type Completion = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A completion that resolves a future.
pub fn completion() -> (Completion, impl Future<Output = io::Result<()>>) {
    let (tx, rx) = oneshot::channel();
    let done: Completion = Box::new(move |result| {
        // Whoever waited may have gone.
        let _ = tx.send(result);
    });
    (done, async move { rx.await.map_err(io::Error::other)? })
}

/// One append of one partition to one segment.
pub struct WriteJob {
    pub files: Arc<SegmentFiles>,
    pub log_position: u32,
    pub batches: Vec<Batch>,
    pub raft_position: u64,
    /// Records for the `.raft` file.
    pub metas: Vec<u8>,
    /// Whether `done` waits for the disk, or only for the page cache (`write.caching`).
    pub sync: bool,
    /// Whether the `.raft` file must be durable too: it holds something that cannot be made again
    /// from the batches.
    pub sync_raft: bool,
    /// Some of it leaves no trace in the offsets of the batches around it.
    pub is_traceless: bool,
    /// `acks=1`: told after the write.
    pub written: Vec<(oneshot::Sender<AppendOutcome>, AppendOutcome)>,
    /// Told after the write that the bodies in memory may go.
    pub log: Arc<PartitionLog>,
    /// One past the Raft index of the last entry in it.
    pub end_index: u64,
    pub done: Option<Completion>,
}

/// Work for the writer, done in the order of its coming.
pub enum Job {
    Write(WriteJob),
    /// Anything else that must not overtake the writes before it. `Err` is handed to it when the
    /// log dir is dead; what it fails with makes the log dir dead.
    Run(Box<dyn FnOnce(io::Result<()>) -> io::Result<()> + Send>),
}

impl fmt::Debug for WriteJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteJob").field("end_index", &self.end_index).finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write(_) => "Write",
            Self::Run(_) => "Run",
        })
    }
}

/// The queue of a log dir's writer.
#[derive(Debug, Clone)]
pub struct LogWriter {
    jobs: Worker<Job>,
    rounds: Arc<AtomicU64>,
}

impl LogWriter {
    pub fn push(&self, job: Job) {
        self.jobs.push(job);
    }

    /// Rounds of syncs so far: for each of them somebody has waited.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

/// Starts the writer of a log dir.
pub fn start(threads: Threads, metrics: FlushMetrics) -> io::Result<LogWriter> {
    let rounds = Arc::default();
    let pool = SyncPool::new(threads);
    let mut writer = Writer { metrics, rounds: Arc::clone(&rounds), pool, failure: None };
    let jobs = Worker::start(threads, "log-writer", move |jobs| writer.process(jobs))?;
    Ok(LogWriter { jobs, rounds })
}

struct Writer {
    metrics: FlushMetrics,
    rounds: Arc<AtomicU64>,
    pool: SyncPool,
    failure: Option<(io::ErrorKind, String)>,
}

impl Writer {
    fn process(&mut self, jobs: &mut Vec<Job>) {
        let mut writes = Vec::with_capacity(jobs.len());
        for job in jobs.drain(..) {
            match job {
                Job::Write(write) => {
                    if write.must_wait_for(&writes) {
                        self.flush(&mut writes);
                    }
                    writes.push(write);
                }
                Job::Run(run) => {
                    self.flush(&mut writes);
                    if let Err(error) = run(self.health()) {
                        self.fail(&error);
                    }
                }
            }
        }
        self.flush(&mut writes);
    }

    fn health(&self) -> io::Result<()> {
        match &self.failure {
            None => Ok(()),
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if self.failure.is_none() {
            tracing::error!(%error, "the log dir failed; it is offline until restart");
            self.failure = Some((error.kind(), error.to_string()));
        }
    }

    fn flush(&mut self, writes: &mut Vec<WriteJob>) {
        if writes.is_empty() {
            return;
        }
        group_by_files(writes);
        if self.failure.is_none()
            && let Err(error) = self.write_and_sync(writes)
        {
            self.fail(&error);
        }
        for write in writes.drain(..) {
            if let Some(done) = write.done {
                done(self.health());
            }
        }
    }

    fn write_and_sync(&mut self, writes: &mut [WriteJob]) -> io::Result<()> {
        for group in writes.chunk_by_mut(|a, b| Arc::ptr_eq(&a.files, &b.files)) {
            write_group(group)?;
        }
        let started = Instant::now();
        let (mut appends, mut bytes) = (0, 0);
        let (mut logs, mut rafts) = (Vec::new(), Vec::new());
        for group in writes.chunk_by(|a, b| Arc::ptr_eq(&a.files, &b.files)) {
            let Some(first) = group.first() else { continue };
            let sync_raft = group.iter().any(|write| write.sync_raft);
            if sync_raft || group.iter().any(|write| write.sync) {
                logs.push(Arc::clone(&first.files.log));
                appends += u32::try_from(group.len()).unwrap_or(u32::MAX);
                bytes += group.iter().map(|write| write.size() as u64).sum::<u64>();
            }
            if sync_raft {
                rafts.push(Arc::clone(&first.files.raft));
            }
        }
        // The `.raft` file must not be ahead of the batches on disk: see `recovery`.
        self.pool.sync_all(&logs)?;
        self.pool.sync_all(&rafts)?;
        if appends > 0 {
            self.rounds.fetch_add(1, Ordering::Relaxed);
            self.metrics.flushed(appends, bytes, started.elapsed());
        }
        for group in writes.chunk_by(|a, b| Arc::ptr_eq(&a.files, &b.files)) {
            if let Some(last) = group.last().filter(|last| last.sync) {
                last.log.synced(&last.files, last.log_end(), last.end_index)?;
            }
        }
        Ok(())
    }
}

impl WriteJob {
    /// An entry that takes no offsets must be durable before the next batch of its segment is
    /// written: recovery makes lost `.raft` records again from the batches, and would not see that
    /// there was another entry between two of them. The second would get the index of the first.
    /// What compaction has left nothing of is missed by the offset of the next batch.
    fn must_wait_for(&self, writes: &[Self]) -> bool {
        let is_one = |write: &Self| write.is_traceless && Arc::ptr_eq(&write.files, &self.files);
        !self.batches.is_empty() && writes.iter().any(is_one)
    }

    /// Where the `.log` file ends after it.
    fn log_end(&self) -> u32 {
        self.log_position + u32::try_from(self.size()).unwrap_or(u32::MAX)
    }

    fn size(&self) -> usize {
        self.batches.iter().map(Batch::size).sum()
    }
}

/// Brings the appends of one segment together, in their order; the segments stand in the order of
/// their first appends.
fn group_by_files(writes: &mut [WriteJob]) {
    let address = |write: &WriteJob| Arc::as_ptr(&write.files).addr();
    let mut firsts = HashMap::new();
    for (at, write) in writes.iter().enumerate() {
        firsts.entry(address(write)).or_insert(at);
    }
    if firsts.len() > 1 {
        writes.sort_by_key(|write| firsts.get(&address(write)).copied());
    }
}

/// Writes the appends of one segment, which follow each other without a gap.
fn write_group(group: &mut [WriteJob]) -> io::Result<()> {
    let Some(first) = group.first() else { return Ok(()) };
    let mut slices = Vec::new();
    let mut expected = (first.log_position, first.raft_position);
    for write in &*group {
        assert_eq!((write.log_position, write.raft_position), expected, "appends have no gaps");
        for batch in &write.batches {
            slices.push(IoSlice::new(batch.head()));
            slices.push(IoSlice::new(batch.records()));
        }
        expected = (write.log_end(), expected.1 + write.metas.len() as u64);
    }
    if !slices.is_empty() {
        first.files.log.write_all_at(&slices, u64::from(first.log_position))?;
    }
    let metas: Vec<IoSlice<'_>> = group.iter().map(|write| IoSlice::new(&write.metas)).collect();
    first.files.raft.write_all_at(&metas, first.raft_position)?;
    if let Some(last) = group.last() {
        last.log.written(last.end_index);
    }
    for write in group {
        for (tell, outcome) in write.written.drain(..) {
            // Whoever asked may have gone.
            let _ = tell.send(outcome);
        }
        if !write.sync
            && !write.sync_raft
            && let Some(done) = write.done.take()
        {
            done(Ok(()));
        }
    }
    Ok(())
}

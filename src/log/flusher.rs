//! The writer of one log dir: takes what all its partitions appended, writes it with one call per
//! file, makes it durable with one sync per file, all at once, then reports (group commit). While
//! the syncs run, the next appends gather.
//!
//! After a failed write or sync the log dir is dead until restart: nothing more is written and
//! every append fails. A write for which there is no room is no failure: it waits, and all that
//! comes behind it, until it is tried again ([`Job::Retry`]).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::base::disk;
use crate::base::worker::{Threads, Worker};
use crate::log::batch::Batch;
use crate::log::health::Health;
use crate::log::partition_log::PartitionLog;
use crate::log::producer_state::AppendOutcome;
use crate::log::run::RecordBytes;
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
    /// For the `.raft` file.
    pub records: RecordBytes,
    /// Whether `done` waits for the disk, or only for the page cache (`write.caching`).
    pub sync: bool,
    /// Whether the `.raft` file must be durable too: it holds something that cannot be made again
    /// from the batches.
    pub sync_raft: bool,
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
    Run(RunJob),
    /// What has found no room is tried again.
    Retry,
}

/// Anything else that must not overtake the writes before it.
pub struct RunJob {
    pub log: Arc<PartitionLog>,
    pub run: Work,
    /// It deletes the log. While there is no room it is done at once, and what waits to be written
    /// to that log is given up: who has no room deletes topics.
    pub deletes: bool,
}

/// `Err` is handed to it when the log dir is dead. If it fails because there is no room it is
/// called again; what else it fails with makes the log dir dead.
pub type Work = Box<dyn FnMut(io::Result<()>) -> io::Result<()> + Send>;

impl fmt::Debug for WriteJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteJob").field("end_index", &self.end_index).finish_non_exhaustive()
    }
}

impl fmt::Debug for RunJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunJob").field("log", &self.log).finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write(_) => "Write",
            Self::Run(_) => "Run",
            Self::Retry => "Retry",
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
pub fn start(
    threads: Threads,
    metrics: FlushMetrics,
    health: Arc<Health>,
) -> io::Result<LogWriter> {
    let rounds = Arc::default();
    let pool = SyncPool::new(threads);
    let waiting = VecDeque::new();
    let mut writer = Writer { metrics, rounds: Arc::clone(&rounds), pool, health, waiting };
    let jobs = Worker::start(threads, "log-writer", move |jobs| writer.process(jobs))?;
    Ok(LogWriter { jobs, rounds })
}

struct Writer {
    metrics: FlushMetrics,
    rounds: Arc<AtomicU64>,
    pool: SyncPool,
    health: Arc<Health>,
    /// Not empty between two rounds only when there is no room for the first of them.
    waiting: VecDeque<Job>,
}

impl Writer {
    fn process(&mut self, jobs: &mut Vec<Job>) {
        let is_stuck = !self.waiting.is_empty();
        let goes_on = !is_stuck || jobs.iter().any(|job| matches!(job, Job::Retry));
        self.waiting.extend(jobs.drain(..).filter(|job| !matches!(job, Job::Retry)));
        if goes_on {
            match self.work() {
                Ok(()) => self.health.has_room(),
                Err(error) => self.health.fill(&error),
            }
        }
        if !self.waiting.is_empty() {
            self.delete();
        }
    }

    /// Does what there is to do; the error says that there is no room for what is left.
    fn work(&mut self) -> io::Result<()> {
        let mut writes = Vec::with_capacity(self.waiting.len());
        while let Some(job) = self.waiting.pop_front() {
            let (job, done) = match job {
                Job::Write(write) if !write.must_wait_for(&writes) => {
                    writes.push(write);
                    continue;
                }
                Job::Write(write) => (Job::Write(write), self.flush(&mut writes)),
                Job::Run(mut job) => {
                    let done = self.flush(&mut writes).and_then(|()| self.run(&mut job));
                    if done.is_ok() {
                        continue;
                    }
                    (Job::Run(job), done)
                }
                Job::Retry => continue,
            };
            self.waiting.push_front(job);
            if let Err(error) = done {
                self.put_back(writes);
                return Err(error);
            }
        }
        let done = self.flush(&mut writes);
        self.put_back(writes);
        done
    }

    fn put_back(&mut self, writes: Vec<WriteJob>) {
        writes.into_iter().rev().for_each(|write| self.waiting.push_front(Job::Write(write)));
    }

    /// Whether an error is no failure.
    fn waits_for(&self, error: &io::Error) -> bool {
        disk::is_full(error) && self.health.waits()
    }

    fn run(&self, job: &mut RunJob) -> io::Result<()> {
        match (job.run)(self.health.check()) {
            Err(error) if self.waits_for(&error) => return Err(error),
            Err(error) => {
                self.health.fail(&error);
                if disk::is_full(&error) {
                    // It is not called again, and whoever waits for it must hear of that.
                    let _ = (job.run)(self.health.check());
                }
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// Deletes logs before there is room; what waits to be written to them is not written.
    fn delete(&mut self) {
        let is_deletion = |job: &Job| matches!(job, Job::Run(job) if job.deletes);
        while let Some(at) = self.waiting.iter().position(is_deletion) {
            let Some(Job::Run(mut deletion)) = self.waiting.remove(at) else { return };
            let (lost, left): (VecDeque<Job>, VecDeque<Job>) =
                self.waiting.drain(..).partition(|job| job.is_of(&deletion.log));
            self.waiting = left;
            for job in lost {
                job.give_up();
            }
            if let Err(error) = (deletion.run)(self.health.check()) {
                self.health.fail(&error);
            }
        }
    }

    /// Writes and syncs; the error says that there is no room, and nothing has been told.
    fn flush(&mut self, writes: &mut Vec<WriteJob>) -> io::Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        group_by_files(writes);
        match self.health.check().and_then(|()| self.write_and_sync(writes)) {
            Err(error) if self.waits_for(&error) => return Err(error),
            Err(error) => self.health.fail(&error),
            Ok(()) => {}
        }
        for write in writes.drain(..) {
            if let Some(done) = write.done {
                done(self.health.check());
            }
        }
        Ok(())
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

impl Job {
    fn is_of(&self, log: &Arc<PartitionLog>) -> bool {
        match self {
            Self::Write(write) => Arc::ptr_eq(&write.log, log),
            Self::Run(job) => Arc::ptr_eq(&job.log, log),
            Self::Retry => false,
        }
    }

    /// Tells whoever waits for it that it is not done.
    fn give_up(self) {
        let error = || io::Error::other("the log is deleted");
        match self {
            Self::Write(write) => write.done.into_iter().for_each(|done| done(Err(error()))),
            Self::Run(mut job) => drop((job.run)(Err(error()))),
            Self::Retry => {}
        }
    }
}

impl WriteJob {
    /// An entry that takes no offsets must be durable before the next batch of its segment is
    /// written: recovery makes lost `.raft` records again from the batches, and would not see that
    /// there was another entry between two of them. The second would get the index of the first.
    /// What compaction has left nothing of is missed by the offset of the next batch.
    fn must_wait_for(&self, writes: &[Self]) -> bool {
        let is_one =
            |write: &Self| write.records.is_traceless() && Arc::ptr_eq(&write.files, &self.files);
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
        expected = (write.log_end(), expected.1 + write.records.bytes().len() as u64);
    }
    if !slices.is_empty() {
        first.files.log.write_all_at(&slices, u64::from(first.log_position))?;
    }
    let records: Vec<IoSlice<'_>> =
        group.iter().map(|write| IoSlice::new(write.records.bytes())).collect();
    first.files.raft.write_all_at(&records, first.raft_position)?;
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

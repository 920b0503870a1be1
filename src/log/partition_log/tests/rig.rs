//! A log on a simulated disk, driven step by step.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::base::clock::ManualClock;
use crate::base::ids::Offset;
use crate::base::kv::journal::JournalKv;
use crate::base::rng::Rng;
use crate::base::worker::Threads;
use crate::log::batch::Batch;
use crate::log::batch::tests::{Sample, encode};
use crate::log::cleaner::plan::{Dirty, Policy};
use crate::log::cleaner::{Cleaning, Options, Summary};
use crate::log::entry::{Entry, EntryBody, EntryId, EntryMeta};
use crate::log::flusher::{self, Completion};
use crate::log::health::Health;
use crate::log::partition_log::{DamageBell, LogConfig, LogSetup, PartitionLog};
use crate::log::recovery::RecoveryError;
use crate::log::repair;
use crate::metrics::flush::FlushMetrics;
use crate::sim::disk::SimDisk;

pub(crate) const DIR: &str = "/data/t-0";

/// What is to be appended.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Blank,
    Void,
    DeleteRecords(i64),
    /// Nothing is left of so many offsets.
    Compacted(u32),
    Batch(Batch),
    /// Judged by the producer's state.
    Judged(Batch),
}

/// The log with all that it needs.
pub(crate) struct Rig {
    runtime: Runtime,
    pub(crate) disk: SimDisk,
    config: LogConfig,
    log: Option<Arc<PartitionLog>>,
}

/// A batch of `count` records of `size` bytes each.
pub(crate) fn batch(count: usize, size: usize, sample: Sample) -> Batch {
    let value = vec![7; size];
    let values: Vec<&[u8]> = vec![&value; count];
    Batch::take(&mut encode(&values, sample)).expect("a good batch")
}

pub(crate) fn config(segment_bytes: u32, write_caching: bool) -> LogConfig {
    LogConfig {
        segment_bytes,
        segment_ms: i64::MAX,
        index_interval_bytes: 200,
        index_bytes_max: 1 << 20,
        write_caching,
        flush_messages: i64::MAX,
        flush_ms: i64::MAX,
        preallocate: false,
        producer_expiration_ms: i64::MAX / 2,
        segment_jitter_ms: 0,
        file_delete_delay_ms: 0,
    }
}

pub(crate) const POLICY: Policy =
    Policy { min_dirty_ratio: 0.0, min_lag_ms: 0, max_lag_ms: i64::MAX };

/// How a log is cleaned: sometimes for a few keys only.
pub(crate) fn some_options(rng: &Rng, now_ms: i64, delete_retention_ms: i64) -> Options {
    Options {
        map_bytes_max: if rng.below(3) == 0 { 100 } else { 10_000 },
        delete_retention_ms,
        tombstones_below: i64::try_from(rng.below(400)).expect("small"),
        now_ms,
        seed: (rng.next_u64(), 2),
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl Rig {
    /// An empty log.
    pub(crate) fn new(seed: u64, config: LogConfig) -> Self {
        let disk = SimDisk::new(seed);
        let mut rig = Self { runtime: runtime(), disk, config, log: None };
        rig.open(false).expect("an empty log");
        rig
    }

    /// The log that is on this disk, closed.
    pub(crate) fn on(disk: SimDisk, config: LogConfig) -> Self {
        Self { runtime: runtime(), disk, config, log: None }
    }

    pub(crate) fn log(&self) -> &Arc<PartitionLog> {
        self.log.as_ref().expect("open")
    }

    pub(crate) fn open(&mut self, clean: bool) -> Result<(), RecoveryError> {
        self.open_with(clean, false)
    }

    /// Opens it whatever has become of the records of its entries.
    pub(crate) fn salvage(&mut self) -> Result<(), RecoveryError> {
        self.open_with(true, true)
    }

    fn open_with(&mut self, clean: bool, salvage: bool) -> Result<(), RecoveryError> {
        self.log = None;
        self.runtime = runtime();
        let _guard = self.runtime.enter();
        let disk = Arc::new(self.disk.clone());
        let kv = Arc::new(JournalKv::open(disk.as_ref(), Path::new("/data/kv"))?);
        crate::base::disk::Disk::sync_dir(disk.as_ref(), Path::new("/"))?;
        let health = Health::new(Path::new("/data"));
        let log = PartitionLog::open(LogSetup {
            dir: DIR.into(),
            name: "t-0".to_owned(),
            key: b"P".to_vec(),
            disk,
            clock: Arc::new(ManualClock::new(1_000_000)),
            kv,
            writer: flusher::start(Threads::Inline, FlushMetrics::default(), health)?,
            config: self.config.clone(),
            clean,
            damage_bell: DamageBell::default(),
            salvage,
        })?;
        self.log = Some(log);
        Ok(())
    }

    /// The same log on a disk of its own, closed. What is durable here is all that it has.
    pub(crate) fn copy(&self) -> Self {
        let (disk, config) = (self.disk.image(), self.config.clone());
        Self { runtime: runtime(), disk, config, log: None }
    }

    /// Kills all tasks and lets the power come back.
    pub(crate) fn lose_power(&mut self) {
        self.log = None;
        self.runtime = runtime();
        self.disk = self.disk.crash();
    }

    /// Kills all tasks; the page cache stays.
    pub(crate) fn kill(&mut self) {
        self.log = None;
        self.runtime = runtime();
        self.disk = self.disk.kill();
    }

    /// Opens the log after a kill or a power cut, at times with more of them meanwhile; how many
    /// entries it has, of which so many are to be there.
    pub(crate) fn restart(&mut self, rng: &Rng, counts: RangeInclusive<usize>) -> usize {
        for attempt in 0.. {
            assert!(attempt < 20);
            if rng.below(4) == 0 {
                self.kill();
            } else {
                self.lose_power();
            }
            if attempt < 3 && rng.below(3) == 0 {
                self.disk.crash_in(rng.below(25));
            }
            let opened = self.open(false);
            if !self.disk.is_crashed() {
                opened.unwrap_or_else(|error| panic!("{error}"));
                break;
            }
        }
        let last = self.log().bounds().1;
        let count = last.map_or(0, |last| usize::try_from(last.index + 1).expect("small"));
        assert!(counts.contains(&count), "{count} of {counts:?}");
        count
    }

    /// Applies the first entries, as far as the last of them can be read.
    pub(crate) fn apply_first(&self, count: usize) {
        let Some(last) = (count as u64).checked_sub(1) else { return };
        if let Some(stub) = self.log().stubs(last, last + 1).unwrap_or_default().first() {
            self.log().apply(last, &stub.meta);
        }
    }

    /// Cleans what is dirty, which is told before; `None` if nothing is or if the power fails.
    pub(crate) fn clean(&self, options: Options, told: impl FnOnce(&Dirty)) -> Option<Summary> {
        let log = Arc::clone(self.log());
        let (dirty, _) = log.dirty(options.now_ms, &POLICY).ok()??;
        told(&dirty);
        let rewriting = log.try_rewriting().expect("nobody else");
        let mut cleaning = Cleaning::begin(log, dirty, options, rewriting);
        while let Ok(step) = cleaning.step() {
            if step.is_done {
                let summary = cleaning.summary();
                assert!(!summary.abandoned && summary.end > dirty.first);
                return Some(summary);
            }
        }
        assert!(self.disk.is_crashed());
        cleaning.abandon();
        None
    }

    fn wait(&self, begin: impl FnOnce(Completion)) -> std::io::Result<()> {
        let _guard = self.runtime.enter();
        let (tx, rx) = oneshot::channel();
        begin(Box::new(move |result| tx.send(result).expect("the test waits")));
        self.runtime.block_on(rx).map_err(std::io::Error::other)?
    }

    /// Resolves when the entries are as durable as the configuration says.
    pub(crate) fn append(&self, entries: Vec<Entry>) -> std::io::Result<()> {
        let mut refused = Ok(());
        let appended = self.wait(|done| refused = self.log().append(entries, done));
        refused.and(appended)
    }

    /// Leaves the entries in the writer's queue.
    pub(crate) fn append_later(&self, entries: Vec<Entry>) {
        let _guard = self.runtime.enter();
        self.log().append(entries, Box::new(|_| {})).expect("taken");
    }

    pub(crate) fn append_one(&self, entry: Entry) -> std::io::Result<()> {
        self.append(vec![entry])
    }

    pub(crate) fn truncate_after(&self, index: u64) -> std::io::Result<()> {
        self.wait(|done| self.log().truncate_after(Some(index), done))
    }

    pub(crate) fn purge(&self, upto: EntryId) -> std::io::Result<()> {
        let change = self.log().purge_change(upto);
        self.log().kv().write(change.as_slice())?;
        self.log().purge(upto)
    }

    pub(crate) fn begin_behind(&self, upto: EntryId, base_offset: Offset) -> std::io::Result<()> {
        self.wait(|done| self.log().begin_behind(upto, base_offset, done))
    }

    pub(crate) fn roll(&self) -> std::io::Result<()> {
        self.wait(|done| self.log().roll_now(done))
    }

    pub(crate) fn mend(&self, index: u64, batch: Batch) -> std::io::Result<()> {
        self.wait(|done| self.log().mend(index, batch, done))
    }

    pub(crate) fn mend_record(&self, index: u64, entry: EntryMeta) -> std::io::Result<()> {
        self.wait(|done| self.log().mend_record(index, entry, done))
    }

    pub(crate) fn drop_damaged(&self) -> std::io::Result<()> {
        repair::drop_damaged(self.log(), |begin| self.wait(begin))
    }

    pub(crate) fn close(&self) -> std::io::Result<()> {
        self.wait(|done| self.log().close(done))
    }

    /// The first sequences that are remembered of the only producer.
    pub(crate) fn sequences(&self) -> Vec<i32> {
        let state = self.log().lock();
        let (_, producer) = state.producers.iter().next().expect("a producer");
        producer.batches.iter().map(|batch| batch.first_sequence).collect()
    }

    /// The entries from `from` on.
    pub(crate) fn entries(&self, from: u64) -> Vec<Entry> {
        self.log().entries(from, u64::MAX, usize::MAX).expect("readable")
    }
}

/// The bytes of a batch entry.
pub(crate) fn bytes_of(body: &EntryBody) -> Option<Bytes> {
    match body {
        EntryBody::Batch(batch) => Some([&batch.head()[..], batch.records()].concat().into()),
        _ => None,
    }
}

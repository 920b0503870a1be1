//! Compaction: of the records of a key, the latest stays (Kafka's `Cleaner`).
//!
//! A cleaning reads the dirty part of a log into a map from keys to their latest offsets, then
//! writes all segments up to its end anew, without the records that the map knows a later one of.
//! Batches keep their offsets, and entries of which nothing is left keep their place in the Raft
//! log: it has no holes, and every replica may clean for itself. New segments take the places of
//! old ones in one step, which a crash either finishes or undoes (`recovery::swap`).
//!
//! Records of aborted transactions go as well, and markers when nothing is left of what they end:
//! like tombstones, when their delete horizon has passed and all replicas have had them. A replica
//! without the marker would hold the transaction open.
//!
//! The work is done in steps of a quarter of a megabyte, between which others may run.

mod offset_map;
pub mod plan;
mod source;
mod target;
mod transactions;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::base::ids::Offset;
use crate::log::batch::{Batch, BatchHeader};
use crate::log::cleaner::offset_map::{Full, OffsetMap};
use crate::log::cleaner::plan::Dirty;
use crate::log::cleaner::source::{Item, Reader};
use crate::log::cleaner::target::Target;
use crate::log::cleaner::transactions::{Transactions, Use};
use crate::log::entry::{EntryKind, EntryMeta};
use crate::log::partition_log::{PartitionLog, Rewriting};
use crate::log::producer_state::LastOfProducer;
use crate::log::records::filter::{Left, Rules, candidates, filter};
use crate::log::records::marker::Marker;
use crate::log::retention::SegmentFacts;
use crate::log::run::Run;
use crate::log::transaction_index::AbortedTransaction;

pub use source::SourceSegment;

/// The end of the name of a file that is being made.
pub(crate) const CLEANED: &str = "cleaned";

/// How a log is cleaned.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What the map of keys may take, in bytes.
    pub map_bytes_max: usize,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Below this offset tombstones and markers may go: all replicas have had them.
    pub tombstones_below: Offset,
    pub now_ms: i64,
    /// Of the hash of keys.
    pub seed: (u64, u64),
}

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub is_done: bool,
}

/// What a cleaning did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub first: Offset,
    pub end: Offset,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub records_dropped: u64,
    /// The log has changed meanwhile: nothing more is done.
    pub abandoned: bool,
}

#[derive(Debug)]
enum Stage {
    Map(Reader),
    Copy { reader: Reader, target: Box<Target>, sources: Vec<SourceSegment> },
    Done,
}

/// A cleaning that is under way.
#[derive(Debug)]
pub struct Cleaning {
    log: Arc<PartitionLog>,
    options: Options,
    dirty: Dirty,
    map: OffsetMap,
    producers: BTreeMap<i64, LastOfProducer>,
    /// As far as the stage has come.
    transactions: Transactions,
    stage: Stage,
    /// Segments that will be one, to be written anew after those that are being written.
    groups: VecDeque<Vec<SourceSegment>>,
    summary: Summary,
    _rewriting: Rewriting,
}

impl Cleaning {
    /// Begins to clean `dirty`, as [`plan::dirty`] has found it in this log.
    pub fn begin(
        log: Arc<PartitionLog>,
        dirty: Dirty,
        options: Options,
        rewriting: Rewriting,
    ) -> Self {
        let keys_max = usize::try_from(dirty.end - dirty.first).unwrap_or(usize::MAX);
        let map = OffsetMap::new(options.map_bytes_max, keys_max, options.seed);
        let mut sources = log.closed_segments(dirty.end);
        sources.retain(|source| source.facts.end_offset > dirty.first);
        let first = sources.first().map_or(dirty.first, |source| source.facts.base_offset);
        let aborted = log.aborted_between(first, dirty.end);
        let summary = Summary { first: dirty.first, end: dirty.first, ..Summary::default() };
        Self {
            producers: log.last_of_producers(),
            transactions: Transactions::new(aborted),
            stage: Stage::Map(Reader::new(&log, sources)),
            log,
            options,
            dirty,
            map,
            groups: VecDeque::new(),
            summary,
            _rewriting: rewriting,
        }
    }

    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Goes on. Blocks. After an error it must be dropped by [`Self::abandon`].
    pub fn step(&mut self) -> io::Result<Step> {
        let mut done = Step::default();
        match &mut self.stage {
            Stage::Map(reader) => {
                let items = reader.next_items()?;
                done.read_bytes = size_of(&items);
                let first = self.dirty.first;
                let is_full = map_items(&mut self.map, &mut self.transactions, &items, first)?;
                if items.is_empty() || is_full {
                    self.group();
                    self.next_group()?;
                }
            }
            Stage::Copy { reader, target, .. } => {
                let items = reader.next_items()?;
                done.read_bytes = size_of(&items);
                let is_last = items.is_empty();
                let before = target.size();
                let mut judge = Judge {
                    map: &self.map,
                    producers: &self.producers,
                    transactions: &mut self.transactions,
                    options: self.options,
                };
                for Item { run, batch } in items {
                    let verdict = judge.verdict(batch.as_ref())?;
                    self.summary.records_dropped += verdict.dropped;
                    target.put(run, batch, verdict.left)?;
                    if let Some(aborted) = verdict.aborted {
                        target.note_aborted(aborted);
                    }
                }
                done.written_bytes = target.size() - before;
                if is_last {
                    self.finish_group()?;
                }
            }
            Stage::Done => {}
        }
        done.is_done = matches!(self.stage, Stage::Done);
        Ok(done)
    }

    /// The map is made: says which segments will be written together.
    fn group(&mut self) {
        let end = (self.map.latest() + 1).min(self.dirty.end);
        self.summary.end = end;
        // All is passed again, from the beginning of the log.
        self.transactions = Transactions::new(self.log.aborted_between(0, self.dirty.end));
        let mut sources = self.log.closed_segments(end);
        let facts: Vec<SegmentFacts> = sources.iter().map(|source| source.facts).collect();
        let bytes_max = u64::from(self.log.config().segment_bytes);
        for count in plan::groups(&facts, bytes_max) {
            let behind = sources.split_off(count);
            self.groups.push_back(std::mem::replace(&mut sources, behind));
        }
    }

    fn next_group(&mut self) -> io::Result<()> {
        let Some(sources) = self.groups.pop_front() else {
            self.stage = Stage::Done;
            return self.log.set_cleaned_to(self.summary.end);
        };
        let target = Box::new(Target::begin(&self.log, &sources)?);
        let reader = Reader::new(&self.log, sources.clone());
        self.stage = Stage::Copy { reader, target, sources };
        Ok(())
    }

    fn finish_group(&mut self) -> io::Result<()> {
        let Stage::Copy { target, sources, .. } = std::mem::replace(&mut self.stage, Stage::Done)
        else {
            return Ok(());
        };
        let before: u64 = sources.iter().map(|source| source.facts.bytes).sum();
        self.summary.bytes_before += before;
        if sources.len() == 1 && !target.has_changed() {
            self.summary.bytes_after += before;
            target.discard()?;
            return self.next_group();
        }
        let segment = target.finish()?;
        self.summary.bytes_after += u64::from(segment.size);
        if !self.log.replace(&sources, segment)? {
            self.summary.abandoned = true;
            return Ok(());
        }
        self.next_group()
    }

    /// Gives up; what has been cleaned stays clean.
    pub fn abandon(self) {
        if let Stage::Copy { target, .. } = self.stage {
            target.abandon();
        }
    }
}

/// Writes a closed segment anew with what `left` gives for the batches of some entries; false if it
/// is not the log's any more. Blocks.
pub(crate) fn rewrite(
    log: &PartitionLog,
    source: SourceSegment,
    runs: Vec<Run>,
    left: &BTreeMap<u64, Left>,
    _rewriting: &Rewriting,
) -> io::Result<bool> {
    let sources = [source];
    let mut target = Target::begin(log, &sources)?;
    let [source] = &sources;
    if let Err(error) = write_anew(log, source, runs, left, &mut target) {
        target.abandon();
        return Err(error);
    }
    log.replace(&sources, target.finish()?)
}

fn write_anew(
    log: &PartitionLog,
    source: &SourceSegment,
    runs: Vec<Run>,
    left: &BTreeMap<u64, Left>,
    target: &mut Target,
) -> io::Result<()> {
    let offsets = source.facts.base_offset..source.facts.end_offset;
    // Whatever has become of their records and markers, they were aborted.
    let aborted = log.aborted_between(offsets.start, Offset::MAX).into_iter();
    let aborted = aborted.filter(|aborted| offsets.contains(&aborted.last_offset));
    aborted.for_each(|aborted| target.note_aborted(aborted));
    for run in runs {
        if run.meta.kind != EntryKind::Batch {
            let meta = EntryMeta { size: 0, ..run.meta };
            target.put(Run { meta, ..run }, None, Left::Same)?;
        } else if let Some(left) = left.get(&run.index) {
            target.put(run, None, left.clone())?;
        } else {
            let batch = log.read_batch(&source.files, run.index, &run.meta)?;
            target.put(run, Some(batch), Left::Same)?;
        }
    }
    Ok(())
}

fn size_of(items: &[Item]) -> u64 {
    items.iter().map(|item| u64::from(item.run.meta.size)).sum()
}

/// Whether the map is full now.
fn map_items(
    map: &mut OffsetMap,
    transactions: &mut Transactions,
    items: &[Item],
    first: Offset,
) -> io::Result<bool> {
    for Item { run, batch } in items {
        if let Some(batch) = batch.as_ref().filter(|batch| counts(transactions, batch)) {
            let put =
                candidates(batch, |record| match record.key.filter(|_| record.offset >= first) {
                    Some(key) if map.put(key, record.offset) == Err(Full) => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                });
            if put?.is_break() {
                return Ok(true);
            }
        }
        map.reached(run.meta.next_offset() - 1);
    }
    Ok(false)
}

/// Whether the records of a batch are the latest of their keys, if no later ones are.
fn counts(transactions: &mut Transactions, batch: &Batch) -> bool {
    let header = batch.header();
    if header.is_control() {
        transactions.end(header, Marker::of(batch));
        return false;
    }
    !transactions.is_aborted(header)
}

/// Decides what stays.
struct Judge<'a> {
    map: &'a OffsetMap,
    producers: &'a BTreeMap<i64, LastOfProducer>,
    transactions: &'a mut Transactions,
    options: Options,
}

/// What becomes of an entry.
struct Verdict {
    left: Left,
    /// So many records are not there any more.
    dropped: u64,
    /// The aborted transaction that its marker still has to end.
    aborted: Option<AbortedTransaction>,
}

impl Verdict {
    const SAME: Self = Self { left: Left::Same, dropped: 0, aborted: None };
}

impl Judge<'_> {
    fn verdict(&mut self, batch: Option<&Batch>) -> io::Result<Verdict> {
        let Some(batch) = batch else { return Ok(Verdict::SAME) };
        let header = batch.header();
        if header.is_control() {
            return self.of_control(batch);
        }
        if self.transactions.is_aborted(header) {
            let dropped = u64::from(header.record_count.unsigned_abs());
            let left = filter(batch, &self.rules(header), |_| false)?;
            return Ok(Verdict { left, dropped, aborted: None });
        }
        // What lies behind the map is not judged yet.
        match header.base_offset > self.map.latest() {
            true => Ok(Verdict::SAME),
            false => self.of_records(batch),
        }
    }

    fn rules(&self, header: &BatchHeader) -> Rules {
        let last = self.producers.get(&header.producer_id).filter(|_| header.has_producer_id());
        Rules {
            horizon_ms: self.options.now_ms.saturating_add(self.options.delete_retention_ms),
            keep_empty: last.is_some_and(|last| last.is_of(header)),
            needs_horizon: false,
        }
    }

    /// Whether what is there to tell others that something has gone may go itself.
    fn has_been_told(&self, header: &BatchHeader) -> bool {
        header.delete_horizon_ms().is_some_and(|horizon| self.options.now_ms >= horizon)
    }

    fn of_control(&mut self, batch: &Batch) -> io::Result<Verdict> {
        let header = batch.header();
        let rules = self.rules(header);
        match self.transactions.end(header, Marker::of(batch)) {
            Use::Needed(aborted) => Ok(Verdict { aborted, ..Verdict::SAME }),
            Use::EndsNothing => {
                let goes = self.has_been_told(header)
                    && header.last_offset() < self.options.tombstones_below;
                let rules = Rules { needs_horizon: !goes, ..rules };
                Ok(Verdict { left: filter(batch, &rules, |_| !goes)?, ..Verdict::SAME })
            }
        }
    }

    fn of_records(&self, batch: &Batch) -> io::Result<Verdict> {
        let header = batch.header();
        let tombstones_go = self.has_been_told(header);
        let mut dropped = 0;
        let left = filter(batch, &self.rules(header), |record| {
            let stays = record.offset > self.map.latest()
                || record.key.is_some_and(|key| {
                    let is_latest = self.map.get(key).is_none_or(|latest| latest <= record.offset);
                    let may_go = tombstones_go && record.offset < self.options.tombstones_below;
                    is_latest && (record.has_value || !may_go)
                });
            dropped += u64::from(!stays);
            stays
        })?;
        Ok(Verdict { left, dropped, aborted: None })
    }
}

#[cfg(test)]
mod tests;

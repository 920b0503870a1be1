//! Compaction: of the records of a key, the latest stays (Kafka's `Cleaner`).
//!
//! A cleaning reads the dirty part of a log into a map from keys to their latest offsets, then
//! writes all segments up to its end anew, without the records that the map knows a later one of.
//! Batches keep their offsets, and entries of which nothing is left keep their place in the Raft
//! log: it has no holes, and every replica may clean for itself. New segments take the places of
//! old ones in one step, which a crash either finishes or undoes (`recovery::swap`).
//!
//! The work is done in steps of a quarter of a megabyte, between which others may run.

mod offset_map;
pub mod plan;
mod source;
mod target;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::cleaner::offset_map::{Full, OffsetMap};
use crate::log::cleaner::plan::Dirty;
use crate::log::cleaner::source::{Item, Reader};
use crate::log::cleaner::target::Target;
use crate::log::entry::{EntryKind, EntryMeta};
use crate::log::partition_log::PartitionLog;
use crate::log::records::filter::{Left, candidates, filter};
use crate::log::retention::SegmentFacts;

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
    /// Below this offset tombstones may go: all replicas have had them.
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
    /// The epoch and the last offset of each producer.
    producers: BTreeMap<i64, (i16, Offset)>,
    stage: Stage,
    /// Segments that will be one, to be written anew after those that are being written.
    groups: VecDeque<Vec<SourceSegment>>,
    summary: Summary,
}

impl Cleaning {
    /// Begins to clean `dirty`, as [`plan::dirty`] has found it in this log.
    pub fn begin(log: Arc<PartitionLog>, dirty: Dirty, options: Options) -> Self {
        let keys_max = usize::try_from(dirty.end - dirty.first).unwrap_or(usize::MAX);
        let map = OffsetMap::new(options.map_bytes_max, keys_max, options.seed);
        let mut sources = log.closed_segments(dirty.end);
        sources.retain(|source| source.facts.end_offset > dirty.first);
        let producers = log.last_of_producers();
        let stage = Stage::Map(Reader::new(sources));
        let summary = Summary { first: dirty.first, end: dirty.first, ..Summary::default() };
        Self { log, options, dirty, map, producers, stage, groups: VecDeque::new(), summary }
    }

    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Goes on. Blocks. After an error it must be dropped by [`Self::abandon`].
    pub fn step(&mut self) -> io::Result<Step> {
        let mut done = Step::default();
        match &mut self.stage {
            Stage::Map(reader) => {
                let run = reader.next_run()?;
                done.read_bytes = size_of_run(&run);
                let is_full = map_run(&mut self.map, &run, self.dirty.first)?;
                if run.is_empty() || is_full {
                    self.group();
                    self.next_group()?;
                }
            }
            Stage::Copy { reader, target, .. } => {
                let run = reader.next_run()?;
                done.read_bytes = size_of_run(&run);
                let is_last = run.is_empty();
                let before = target.size();
                let judge =
                    Judge { map: &self.map, producers: &self.producers, options: self.options };
                for Item { index, meta, batch } in run {
                    let (left, dropped) = judge.left_of(batch.as_ref())?;
                    self.summary.records_dropped += dropped;
                    target.put(index, meta, batch, left)?;
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
        self.stage = Stage::Copy { reader: Reader::new(sources.clone()), target, sources };
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
        if let Stage::Copy { target, .. } = self.stage
            && let Err(error) = target.discard()
        {
            tracing::debug!(log = self.log.name(), %error, "a file was not deleted");
        }
    }
}

/// Writes a closed segment anew with what `left` gives for the batches of some entries; false if it
/// is not the log's any more. Blocks.
pub(crate) fn rewrite(
    log: &PartitionLog,
    source: SourceSegment,
    metas: Vec<EntryMeta>,
    left: impl Fn(u64) -> Option<Left>,
) -> io::Result<bool> {
    let files = Arc::clone(&source.files);
    let sources = vec![source];
    let base_index = sources.first().map_or(0, |source| source.base_index);
    let mut target = Target::begin(log, &sources)?;
    for (meta, index) in metas.into_iter().zip(base_index..) {
        if meta.kind != EntryKind::Batch {
            target.put(index, EntryMeta { size: 0, ..meta }, None, Left::Same)?;
        } else if let Some(left) = left(index) {
            target.put(index, meta, None, left)?;
        } else {
            let batch = log.read_batch(&files, index, &meta)?;
            target.put(index, meta, Some(batch), Left::Same)?;
        }
    }
    log.replace(&sources, target.finish()?)
}

fn size_of_run(run: &[Item]) -> u64 {
    run.iter().map(|item| u64::from(item.meta.size)).sum()
}

/// Whether the map is full now.
fn map_run(map: &mut OffsetMap, run: &[Item], first: Offset) -> io::Result<bool> {
    for Item { meta, batch, .. } in run {
        if let Some(batch) = batch.as_ref().filter(|batch| !batch.header().is_control()) {
            let put =
                candidates(batch, |record| match record.key.filter(|_| record.offset >= first) {
                    Some(key) if map.put(key, record.offset) == Err(Full) => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                });
            if put?.is_break() {
                return Ok(true);
            }
        }
        map.reached(meta.next_offset() - 1);
    }
    Ok(false)
}

/// Decides what stays.
struct Judge<'a> {
    map: &'a OffsetMap,
    producers: &'a BTreeMap<i64, (i16, Offset)>,
    options: Options,
}

impl Judge<'_> {
    /// What is left of an entry's batch, and how many records are dropped.
    fn left_of(&self, batch: Option<&Batch>) -> io::Result<(Left, u64)> {
        let Some(batch) = batch else { return Ok((Left::Same, 0)) };
        let header = batch.header();
        // What lies behind the map is not judged yet, and whether a transaction was aborted is
        // told by its marker.
        if header.is_control() || header.base_offset > self.map.latest() {
            return Ok((Left::Same, 0));
        }
        let is_last_of_producer = header.has_producer_id()
            && self.producers.get(&header.producer_id)
                == Some(&(header.producer_epoch, header.last_offset()));
        let now_ms = self.options.now_ms;
        let horizon_ms = now_ms.saturating_add(self.options.delete_retention_ms);
        let tombstones_go = header.delete_horizon_ms().is_some_and(|horizon| now_ms >= horizon);
        let mut dropped = 0;
        let left = filter(batch, horizon_ms, is_last_of_producer, |record| {
            let stays = record.offset > self.map.latest()
                || record.key.is_some_and(|key| {
                    let is_latest = self.map.get(key).is_none_or(|latest| latest <= record.offset);
                    let may_go = tombstones_go && record.offset < self.options.tombstones_below;
                    is_latest && (record.has_value || !may_go)
                });
            dropped += u64::from(!stays);
            stays
        })?;
        Ok((left, dropped))
    }
}

#[cfg(test)]
mod tests;

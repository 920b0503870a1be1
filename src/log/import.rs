//! Makes a log out of the segment files of an Apache Kafka broker. The batches are copied byte for
//! byte, each held against its checksum; what Raft needs beside them is made here.
//!
//! How that log becomes entries:
//! * Entry 0 is a membership, whose bytes are the replication layer's.
//! * A batch is an entry whose term is its leader epoch.
//! * An epoch begins with a blank entry where `leader-epoch-checkpoint` says so, as our own terms
//!   do.
//! * Offsets that nothing is left of, by compaction or below the first segment, are compacted
//!   entries.
//! * A log start is a deletion of the records before it.
//! * A transaction that is open has no coordinator any more who would end it: the last entries are
//!   markers, which end it as that coordinator had decided, or else abort it.
//!
//! Nobody relies on the files before the import as a whole is done, so each is synced once.

mod copy;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::disk::Disk;
use crate::base::ids::{LeaderEpoch, Offset};
use crate::log::batch::Batch;
use crate::log::entry::{EntryId, EntryKind, EntryMeta};
use crate::log::partition_log::TermStart;
use crate::log::producer_state::ProducerStates;
use crate::log::records::marker::{Ending, Marker};
use crate::log::recovery;
use crate::log::run::{Origin, RecordBytes, Run, SEGMENT_OFFSETS_MAX};
use crate::log::segment::{Segment, SegmentFiles, record_position};

/// Records of a `.raft` file that are held before they are written.
const RECORDS_BYTES_MAX: usize = 1024 * 1024;

/// Where the log is made.
#[derive(Debug, Clone)]
pub struct Target {
    /// It must not exist yet.
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub index_interval_bytes: u32,
    pub producer_expiration_ms: i64,
    pub now_ms: i64,
}

/// The log that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub dir: PathBuf,
    pub log_start: Offset,
    /// Where each leader epoch begins, oldest first.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// How the open transactions of these producers are to end. Others are aborted.
    pub decided: BTreeMap<i64, Decided>,
    /// At or above this offset a damaged batch is the end of the log; below it nothing is
    /// imported. `None`: it never is.
    pub may_end_from: Option<Offset>,
}

/// The end of a transaction that its coordinator had decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    pub producer_epoch: i16,
    pub ending: Ending,
}

/// What was imported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    pub last: EntryId,
    pub start: Offset,
    pub end: Offset,
    pub bytes: u64,
    pub records: u64,
    /// Open transactions that the import has ended, and how.
    pub ended: Vec<Ending>,
    /// Why the log ends before its files do.
    pub cut: Option<String>,
}

/// A log that is being made.
struct Builder<'a> {
    target: &'a Target,
    epochs: VecDeque<(LeaderEpoch, Offset)>,
    segment: Segment,
    /// What is not in the `.raft` file yet.
    records: RecordBytes,
    /// Where that belongs in it.
    records_position: u64,
    terms: Vec<TermStart>,
    producers: ProducerStates,
    term: u64,
    next_offset: Offset,
    done: Imported,
}

/// Imports one partition. Blocks. An error of kind `InvalidData` is about what was read.
pub fn import(target: &Target, source: &Source) -> io::Result<Imported> {
    target.disk.create_dir_all(&target.dir)?;
    let mut builder = Builder::begin(target, source.epochs.clone())?;
    let bases = segments(target.disk.as_ref(), source)?;
    // It is noted only where it is not the beginning of a segment.
    let log_start = source.log_start.max(bases.first().copied().unwrap_or(0));
    for base_offset in bases {
        if base_offset < builder.next_offset {
            let text = format!(
                "{}: segment {base_offset} begins before offset {}, where the one before it ends",
                source.dir.display(),
                builder.next_offset
            );
            return Err(damaged(text));
        }
        builder.advance(base_offset)?;
        if base_offset > builder.segment.base_offset {
            builder.roll(base_offset)?;
        }
        if let Err(text) = copy::segment(&mut builder, source, base_offset)? {
            if source.may_end_from.is_none_or(|from| builder.next_offset < from) {
                return Err(damaged(text));
            }
            builder.done.cut = Some(text);
            break;
        }
    }
    builder.finish(log_start, &source.decided)
}

fn damaged(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The base offsets of the source's segments, in order.
fn segments(disk: &dyn Disk, source: &Source) -> io::Result<Vec<Offset>> {
    let names = disk.list(&source.dir)?;
    if let Some(name) = names.iter().find(|name| name.ends_with(".swap")) {
        let text = format!(
            "{}: the broker stopped while it put {name} into its place; it finishes that when it \
             is started again",
            source.dir.display()
        );
        return Err(damaged(text));
    }
    // Sorted, as the names are.
    Ok(names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect())
}

impl<'a> Builder<'a> {
    fn begin(target: &'a Target, epochs: Vec<(LeaderEpoch, Offset)>) -> io::Result<Self> {
        let files = SegmentFiles::open(target.disk.as_ref(), &target.dir, 0)?;
        files.write_raft_head(0)?;
        let mut builder = Self {
            target,
            epochs: epochs.into(),
            segment: Segment::empty(Arc::new(files), 0),
            records: RecordBytes::new(Origin { index: 0, offset: 0 }),
            records_position: record_position(0),
            terms: Vec::new(),
            producers: ProducerStates::default(),
            term: 0,
            next_offset: 0,
            done: Imported::default(),
        };
        builder.push(EntryKind::Membership, 0)?;
        Ok(builder)
    }

    /// An entry without a batch. `number` is the last offset delta, or before which offset records
    /// are deleted.
    fn push(&mut self, kind: EntryKind, number: i64) -> io::Result<()> {
        let deletes = kind == EntryKind::DeleteRecords;
        let delta = if deletes { 0 } else { number };
        self.push_meta(EntryMeta {
            term: self.term,
            kind,
            base_offset: self.next_offset,
            position: self.segment.size,
            size: 0,
            last_offset_delta: u32::try_from(delta).map_err(io::Error::other)?,
            delete_before: if deletes { number } else { 0 },
        })
    }

    /// A batch that has just been copied.
    fn push_batch(&mut self, batch: &Batch) -> io::Result<()> {
        let header = batch.header();
        self.advance(header.base_offset)?;
        let term = u64::from(header.leader_epoch.unsigned_abs());
        if term > self.term {
            // Each term begins with one, whether or not that broker has noted it.
            self.term = term;
            self.push(EntryKind::Blank, 0)?;
        }
        self.push_meta(EntryMeta {
            term: self.term,
            kind: EntryKind::Batch,
            base_offset: header.base_offset,
            position: self.segment.size,
            size: u32::try_from(batch.size()).map_err(io::Error::other)?,
            last_offset_delta: header.last_offset_delta.unsigned_abs(),
            delete_before: 0,
        })?;
        self.segment.note_batch(header, self.target.index_interval_bytes);
        // A producer is as old as its records, as when that broker replays its log.
        let seen_ms = header.max_timestamp_ms.min(self.target.now_ms);
        if let Some(aborted) = self.producers.replay(header, Marker::of(batch), seen_ms) {
            self.segment.note_aborted(aborted);
        }
        self.done.bytes += batch.size() as u64;
        if !header.is_control() {
            self.done.records += u64::from(header.record_count.unsigned_abs());
        }
        Ok(())
    }

    fn push_meta(&mut self, meta: EntryMeta) -> io::Result<()> {
        let id = EntryId { term: meta.term, index: self.segment.next_index };
        if self.terms.last().is_none_or(|last| last.first.term != id.term) {
            self.terms.push(TermStart { first: id, start_offset: meta.base_offset });
        }
        self.segment.records += u64::from(self.records.push(Run::of(id.index, meta)));
        self.segment.next_index += 1;
        self.next_offset = meta.next_offset();
        self.done.last = id;
        match self.records.bytes().len() >= RECORDS_BYTES_MAX {
            true => self.write_records(),
            false => Ok(()),
        }
    }

    /// Goes to an offset: epochs that begin on the way get their first entries, and offsets that
    /// nothing is left of theirs.
    fn advance(&mut self, to: Offset) -> io::Result<()> {
        while let Some((epoch, start)) = self.epochs.pop_front_if(|(_, start)| *start <= to) {
            let term = u64::try_from(epoch).unwrap_or(0);
            if term > self.term {
                self.fill(start)?;
                self.term = term;
                self.push(EntryKind::Blank, 0)?;
            }
        }
        self.fill(to)
    }

    fn fill(&mut self, to: Offset) -> io::Result<()> {
        while self.next_offset < to {
            let end = to.min(self.next_offset + SEGMENT_OFFSETS_MAX);
            if end - self.segment.base_offset > SEGMENT_OFFSETS_MAX {
                self.roll(self.next_offset)?;
            }
            self.push(EntryKind::Compacted, end - self.next_offset - 1)?;
        }
        Ok(())
    }

    fn write_records(&mut self) -> io::Result<()> {
        let (raft, records) = (&self.segment.files.raft, self.records.take_all());
        raft.write_all_at(&[IoSlice::new(&records)], self.records_position)?;
        self.records_position += records.len() as u64;
        Ok(())
    }

    /// Closes the segment and begins the next one.
    fn roll(&mut self, base_offset: Offset) -> io::Result<()> {
        self.write_records()?;
        self.segment.closing(true).write_whole(self.target.disk.as_ref())?;
        let base_index = self.segment.next_index;
        let disk = self.target.disk.as_ref();
        let files = SegmentFiles::open(disk, &self.target.dir, base_offset)?;
        files.write_raft_head(base_index)?;
        self.segment = Segment::empty(Arc::new(files), base_index);
        self.records = RecordBytes::new(self.segment.files.origin(base_index));
        self.records_position = record_position(0);
        self.producers.expire(self.target.now_ms - self.target.producer_expiration_ms);
        self.write_state(base_offset)
    }

    fn write_state(&mut self, offset: Offset) -> io::Result<()> {
        // All that is imported is committed.
        self.producers.committed(Offset::MAX);
        let next_index = self.segment.next_index;
        let content = recovery::encode_parts(next_index, &self.terms, &self.producers);
        recovery::write_state(self.target.disk.as_ref(), &self.target.dir, offset, &content)
    }

    /// Ends the transactions that are open.
    fn end_transactions(&mut self, decided: &BTreeMap<i64, Decided>) -> io::Result<()> {
        let open: Vec<i64> = self.producers.open_transactions().map(|(_, id)| id).collect();
        for producer_id in open {
            let Some(entry) = self.producers.get(producer_id) else { continue };
            let abort = Decided { producer_epoch: entry.epoch, ending: Ending::Aborted };
            // A decision of an older epoch is about an older transaction.
            let decided = decided.get(&producer_id).copied();
            let end = decided.filter(|found| found.producer_epoch >= entry.epoch).unwrap_or(abort);
            let coordinator_epoch = entry.coordinator_epoch.max(0);
            let marker = Marker { ending: end.ending, coordinator_epoch };
            let mut batch = marker
                .batch(producer_id, end.producer_epoch, self.target.now_ms)
                .ok_or_else(|| io::Error::other("a marker could not be made"))?;
            let leader_epoch = EntryId { term: self.term, index: 0 }.leader_epoch();
            batch.assign(self.next_offset, leader_epoch);
            let position = u64::from(self.segment.size);
            self.segment.files.log.write_all_at(&[IoSlice::new(&batch.to_bytes())], position)?;
            self.push_batch(&batch)?;
            self.done.ended.push(end.ending);
        }
        Ok(())
    }

    fn finish(
        mut self,
        log_start: Offset,
        decided: &BTreeMap<i64, Decided>,
    ) -> io::Result<Imported> {
        self.advance(self.next_offset)?;
        self.end_transactions(decided)?;
        self.done.end = self.next_offset;
        self.done.start = log_start.min(self.next_offset);
        if log_start > 0 {
            self.push(EntryKind::DeleteRecords, self.done.start)?;
        }
        self.write_records()?;
        self.segment.closing(false).write_whole(self.target.disk.as_ref())?;
        // The state at the beginning of the segment is not put at risk for one that says the same.
        if self.segment.size > 0 {
            self.write_state(self.next_offset)?;
        }
        self.target.disk.sync_dir(&self.target.dir)?;
        Ok(self.done)
    }
}

#[cfg(test)]
mod tests;

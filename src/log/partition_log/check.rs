//! Makes sure that what is read is what was written. The record of an entry in the `.raft` file has
//! a checksum of its own and says where the batch lies and which offsets and epoch it has; what it
//! does not say the batch's CRC covers. So one wrong bit anywhere is seen before it is served.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::base::disk::{self, read_exact_at};
use crate::log::batch::{Batch, BatchHeader, HEADER_BYTES};
use crate::log::entry::{EntryKind, EntryMeta};
use crate::log::flusher::Completion;
use crate::log::metas::slot_of;
use crate::log::partition_log::find::Place;
use crate::log::partition_log::read::{LogSlice, ReadError};
use crate::log::partition_log::{LogSetup, PartitionLog, State};
use crate::log::records::marker::Marker;
use crate::log::recovery;
use crate::log::run::Run;
use crate::log::segment::SegmentFiles;
use crate::metrics::damage as metrics;

/// Read at once: it stays in the processor's cache between the copy and the checksum.
const CHUNK_BYTES: usize = 128 * 1024;

/// Rings when a log finds damage; one for all logs of a broker.
pub type DamageBell = Arc<Notify>;

pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a damaged batch")
}

/// Part of a bad sector cannot be written: that is no failure of the log dir.
fn in_place(written: io::Result<()>) -> io::Result<()> {
    written.map_err(|error| match disk::is_unreadable(&error) {
        true => io::Error::new(io::ErrorKind::Unsupported, error),
        false => error,
    })
}

impl PartitionLog {
    /// What of a slice is as it was written, from its beginning on. Blocks on what is not in the
    /// page cache.
    pub fn checked(&self, slice: LogSlice) -> Result<LogSlice, ReadError> {
        let place = Place::of_slice(&slice);
        let end = slice.position + slice.size;
        let mut reader = Reader::new(&slice.files, end);
        let (mut index, mut position) = (slice.first_index, slice.position);
        while position < end {
            let runs = match self.runs(&place, index) {
                // What is before damage is right.
                Err(_) if position > slice.position => {
                    return Ok(LogSlice { size: position - slice.position, ..slice });
                }
                runs => runs?,
            };
            if runs.is_empty() {
                break;
            }
            for run in runs.iter().take_while(|run| run.meta.end_position() <= end) {
                let meta = &run.meta;
                if meta.size > 0 && !reader.is_right(meta)? {
                    self.note_damage(run.index);
                    return match position - slice.position {
                        0 => Err(ReadError::Damaged),
                        size => Ok(LogSlice { size, ..slice }),
                    };
                }
                (index, position) = (run.end_index(), meta.end_position());
            }
        }
        Ok(slice)
    }

    /// The batch of an entry that is in the file.
    pub(crate) fn read_batch(
        &self,
        files: &SegmentFiles,
        index: u64,
        meta: &EntryMeta,
    ) -> io::Result<Batch> {
        let mut bytes = vec![0; meta.size as usize];
        let read = read_exact_at(files.log.as_ref(), &mut bytes, meta.position.into());
        let read = disk::readable(read)?;
        let batch = read.and_then(|()| Batch::take(&mut Bytes::from(bytes)).ok());
        batch.filter(|batch| meta.is_of(batch.header())).ok_or_else(|| {
            self.note_damage(index);
            damaged()
        })
    }

    /// Entries whose batches are not what was written, as far as somebody has looked.
    pub fn damage(&self) -> BTreeSet<u64> {
        let first = self.lock().segments.first().map_or(0, |segment| segment.base_index);
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        damage.retain(|index| *index >= first);
        damage.clone()
    }

    /// Takes note of it, and has it told to whoever can mend it.
    pub(crate) fn note_damage(&self, index: u64) {
        let is_new = self.damage.lock().unwrap_or_else(PoisonError::into_inner).insert(index);
        if is_new {
            tracing::error!(log = self.name(), index, "a batch on disk is damaged: not served");
            metrics::found();
            self.setup.damage_bell.notify_one();
        }
    }

    pub(super) fn note_mend(&self) {
        self.mends.fetch_add(1, Ordering::AcqRel);
    }

    /// How often something was written again in the middle of a file.
    pub(crate) fn mends(&self) -> u64 {
        self.mends.load(Ordering::Acquire)
    }

    /// It is not there any more.
    pub(crate) fn forget_damage(&self, index: u64) {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).remove(&index);
        self.mended.notify_waiters();
    }

    /// Resolves when a damaged batch is not there any more after the call.
    pub fn mended(&self) -> Notified<'_> {
        self.mended.notified()
    }

    /// Writes a damaged batch again as another replica has it; `done` is called when it is on disk.
    /// It must be the one that was written here. Fails with `Unsupported` where the disk cannot
    /// write it into its place: with part of a bad sector only.
    pub fn mend(self: &Arc<Self>, index: u64, batch: Batch, done: Completion) {
        self.run_in_order(done, move |log| log.mend_now(index, &batch));
    }

    /// Writes the record of an entry again of which only the place was known; `done` is called when
    /// it is on disk. `entry` is what another replica has.
    pub fn mend_record(self: &Arc<Self>, index: u64, entry: EntryMeta, done: Completion) {
        self.run_in_order(done, move |log| log.mend_record_now(index, &entry));
    }

    fn mend_record_now(&self, index: u64, entry: &EntryMeta) -> io::Result<()> {
        if let Some(place) = self.place_of_entry(index) {
            let runs = self.runs(&place, index)?;
            let meta = runs.first().map(|run| run.meta);
            let meta = meta.filter(|meta| meta.kind == EntryKind::Unknown);
            let meta = meta.ok_or_else(|| io::Error::other("it is known what the entry was"))?;
            if entry.term != meta.term || entry.next_offset() != entry.base_offset {
                return Err(io::Error::other("what was written is another entry"));
            }
            let (kind, delete_before) = (entry.kind, entry.delete_before);
            let run = Run::of(index, EntryMeta { kind, delete_before, ..meta });
            let slot = slot_of(&place.files, place.first_index(), index)?;
            in_place(place.files.write_record(place.first_index(), slot, &run))?;
            place.files.raft.sync()?;
            self.note_mend();
        }
        self.forget_damage(index);
        Ok(())
    }

    /// The segment that has an entry.
    fn place_of_entry(&self, index: u64) -> Option<Place> {
        let state = self.lock();
        let at = state.segments.partition_point(|segment| segment.next_index <= index);
        let place = state.segments.get(at).map(|segment| Place::of(&state, at, segment));
        place.filter(|place| place.first_index() <= index)
    }

    fn mend_now(&self, index: u64, batch: &Batch) -> io::Result<()> {
        if let Some(place) = self.place_of_entry(index) {
            let runs = self.runs(&place, index)?;
            let meta = runs.first().map(|run| run.meta);
            let meta = meta.filter(|meta| meta.is_of(batch.header()));
            let meta = meta.ok_or_else(|| io::Error::other("what was written is another batch"))?;
            let bytes = [IoSlice::new(batch.head()), IoSlice::new(batch.records())];
            in_place(place.files.log.write_all_at(&bytes, u64::from(meta.position)))?;
            place.files.log.sync()?;
            self.note_mend();
            self.read_batch(&place.files, index, &meta)?;
        }
        self.is_right_again(index)
    }

    /// There is no damaged batch at `index` any more.
    pub(crate) fn is_right_again(&self, index: u64) -> io::Result<()> {
        self.lock().replay_mended(&self.setup, index)?;
        // Files beside the segment are others now.
        self.note_mend();
        self.forget_damage(index);
        Ok(())
    }

    /// Whether the segment of an entry is the one that is appended to.
    pub fn is_in_active_segment(&self, index: u64) -> bool {
        self.lock().active().base_index <= index
    }
}

impl State {
    /// What a batch says of its producer was not known if it was damaged when the log was opened.
    /// Everything before what is still in memory is in the files.
    fn replay_mended(&mut self, setup: &LogSetup, index: u64) -> io::Result<()> {
        let is_closing = self.sealed().len() + 1 < self.segments.len();
        let damaged = self.segments.iter_mut().find(|segment| segment.damaged.contains(&index));
        let Some(segment) = damaged else { return Ok(()) };
        if is_closing {
            // Its last batches are not in the files yet. Mending is tried again.
            return Err(io::Error::other("a segment is being closed"));
        }
        segment.damaged.retain(|damaged| *damaged != index);
        let end_index = self.written_index;
        let replayed = recovery::replay_mended(setup, &mut self.segments, index, end_index);
        if replayed.is_err() {
            // It is tried again.
            let mut of = self.segments.iter_mut();
            let segment = of.find(|s| (s.base_index..s.next_index).contains(&index));
            segment.into_iter().for_each(|segment| segment.damaged.push(index));
        }
        self.producers = replayed?;
        let waiting = (self.recent_first..).zip(&self.recent);
        let waiting = waiting.filter(|(index, _)| *index >= end_index);
        let waiting: Vec<(u64, Batch)> =
            waiting.filter_map(|(index, recent)| Some((index, recent.batch.clone()?))).collect();
        let now_ms = setup.clock.now_ms();
        for (index, batch) in waiting {
            let aborted = self.producers.replay(batch.header(), Marker::of(&batch), now_ms);
            let at = self.segments.partition_point(|segment| segment.next_index <= index);
            if let (Some(aborted), Some(segment)) = (aborted, self.segments.get_mut(at)) {
                segment.note_aborted(aborted);
            }
        }
        self.note_committed();
        Ok(())
    }
}

/// Reads a stretch of a `.log` file batch by batch.
pub(super) struct Reader<'a> {
    files: &'a SegmentFiles,
    /// Nothing is read from here on unless it is asked for.
    end: u64,
    /// Where the chunk begins.
    at: u64,
    chunk: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(files: &'a SegmentFiles, end: u32) -> Self {
        Self { files, end: u64::from(end), at: 0, chunk: Vec::new() }
    }

    /// Whether the batch is the one that was written for the entry.
    pub(super) fn is_right(&mut self, meta: &EntryMeta) -> io::Result<bool> {
        Ok(disk::readable(self.compare(meta))?.unwrap_or(false))
    }

    fn compare(&mut self, meta: &EntryMeta) -> io::Result<bool> {
        let (mut position, end) = (u64::from(meta.position), u64::from(meta.end_position()));
        let Some(head) = self.read(position, HEADER_BYTES..HEADER_BYTES)?.first_chunk() else {
            return Ok(false);
        };
        let Some(header) = BatchHeader::parse(head).filter(|header| meta.is_of(header)) else {
            return Ok(false);
        };
        let mut crc = BatchHeader::checksum_begun(head);
        position += HEADER_BYTES as u64;
        while position < end {
            let left = usize::try_from(end - position).unwrap_or(usize::MAX);
            let piece = self.read(position, 1..left)?;
            crc = crc32c::crc32c_append(crc, piece);
            position += piece.len() as u64;
        }
        Ok(crc == header.crc)
    }

    /// The bytes from `position` on, so many at least and at most. Nothing is read twice for the
    /// sake of a piece that could be longer.
    fn read(&mut self, position: u64, count: Range<usize>) -> io::Result<&[u8]> {
        let known = self.at..self.at + self.chunk.len() as u64;
        if !known.contains(&position) || position + count.start as u64 > known.end {
            let size = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX);
            let size = size.clamp(count.start, CHUNK_BYTES);
            if disk::readable(self.fill(position, size))?.is_none() {
                // Only a later batch may be where the disk cannot read.
                self.fill(position, count.start)?;
            }
        }
        let from = usize::try_from(position - self.at).unwrap_or(usize::MAX);
        let piece = self.chunk.get(from..).unwrap_or_default();
        Ok(piece.get(..count.end).unwrap_or(piece))
    }

    fn fill(&mut self, position: u64, size: usize) -> io::Result<()> {
        self.chunk.resize(size, 0);
        self.at = position;
        read_exact_at(self.files.log.as_ref(), &mut self.chunk, position)
            .inspect_err(|_| self.chunk.clear())
    }
}

#[cfg(test)]
mod tests;

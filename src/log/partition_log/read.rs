//! Reading: committed batches as slices of the segment files, entries for Raft, and the look-ups
//! of ListOffsets and OffsetForLeaderEpoch.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::disk::read_exact_at;
use crate::base::ids::{LeaderEpoch, Offset};
use crate::log::batch::{Batch, BatchHeader};
use crate::log::entry::{Entry, EntryBody, EntryId, EntryKind, EntryMeta};
use crate::log::partition_log::{PartitionLog, State};
use crate::log::producer_state::AppendOutcome;
use crate::log::records;
use crate::log::segment::{Segment, SegmentFiles, read_metas};

/// Metas read from a file at once.
const METAS_READ_COUNT: u64 = 4096;

/// Committed batches as they lie in a segment file.
#[derive(Debug, Clone)]
pub struct LogSlice {
    pub files: Arc<SegmentFiles>,
    pub position: u32,
    pub size: u32,
}

/// Why there is nothing to read.
#[derive(Debug)]
pub enum ReadError {
    /// Below the log start or above the log end.
    OutOfRange,
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl LogSlice {
    /// The slice's bytes. Blocks if they are not in the page cache.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.size as usize];
        read_exact_at(self.files.log.as_ref(), &mut bytes, u64::from(self.position))?;
        Ok(bytes.into())
    }
}

/// Of a larger batch the first record's time is taken for all.
const BATCH_WALKED_BYTES_MAX: u32 = 1024 * 1024;

/// Where a read begins, found under the lock; the rest needs the files only.
struct Place {
    files: Arc<SegmentFiles>,
    /// At or before the wanted batch.
    floor: u32,
    /// Readers may see up to here.
    limit: u32,
    /// Where the next segment begins.
    next: Option<Offset>,
}

/// What an entry is, without its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryStub {
    pub id: EntryId,
    pub meta: EntryMeta,
    /// Set where the entry was appended since the start.
    pub outcome: AppendOutcome,
}

impl PartitionLog {
    /// The committed batches from the one that holds `offset` on, whole ones, up to `size_max`
    /// bytes, all of one segment. With `first_whole` the first batch is given even if it alone is
    /// larger (KIP-74). `None`: nothing there yet.
    pub fn slice(
        &self,
        offset: Offset,
        size_max: u32,
        first_whole: bool,
    ) -> Result<Option<LogSlice>, ReadError> {
        let Some((place, position, first_size)) = self.find(offset)? else { return Ok(None) };
        let available = place.limit - position;
        let size = if available <= size_max {
            available
        } else if first_size > size_max {
            if first_whole { first_size } else { 0 }
        } else {
            self.whole_batches(&place, position, size_max)?
        };
        Ok((size > 0).then_some(LogSlice { files: place.files, position, size }))
    }

    /// The committed batch that holds `offset`, or the next one: compaction leaves gaps, also at
    /// the end of a segment.
    fn find(&self, offset: Offset) -> Result<Option<(Place, u32, u32)>, ReadError> {
        let mut from = offset;
        while let Some(place) = self.place(from)? {
            if let Some((position, size)) = seek(&place, |h| h.last_offset() >= offset)? {
                return Ok(Some((place, position, size)));
            }
            match place.next {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(None)
    }

    /// Committed bytes from `offset` on, about: what a long poll waits for.
    pub fn bytes_after(&self, offset: Offset) -> u64 {
        let state = self.lock();
        if offset >= state.high_watermark {
            return 0;
        }
        let first = state.segments.partition_point(|s| s.base_offset <= offset).saturating_sub(1);
        let floor =
            state.segments.get(first).map_or(0, |segment| position_of(&state, segment, offset));
        let sizes = state.segments.iter().skip(first);
        let bytes: u64 = sizes.map(|segment| u64::from(visible_size(&state, segment))).sum();
        bytes.saturating_sub(u64::from(floor))
    }

    fn place(&self, offset: Offset) -> Result<Option<Place>, ReadError> {
        let state = self.lock();
        if offset < state.log_start_offset || offset > state.next_offset {
            return Err(ReadError::OutOfRange);
        }
        if offset >= state.high_watermark {
            return Ok(None);
        }
        let at = state.segments.partition_point(|segment| segment.base_offset <= offset);
        // A segment may be empty; the next one has what follows.
        let from = at.saturating_sub(1);
        for (at, segment) in state.segments.iter().enumerate().skip(from) {
            let floor = position_of(&state, segment, offset);
            let limit = visible_size(&state, segment);
            if floor < limit {
                let next = state.segments.get(at + 1).map(|next| next.base_offset);
                return Ok(Some(Place { files: Arc::clone(&segment.files), floor, limit, next }));
            }
        }
        Ok(None)
    }

    /// The size of the whole batches in `position..position + size_max`; the first fits.
    fn whole_batches(&self, place: &Place, position: u32, size_max: u32) -> io::Result<u32> {
        let end = position.saturating_add(size_max);
        let known = {
            let state = self.lock();
            let segment = state.segments.iter().find(|s| Arc::ptr_eq(&s.files, &place.files));
            segment.map_or(0, |segment| segment.offset_index.floor_position(end))
        };
        let mut at = known.max(position);
        while let Some(header) = place.files.batch_header(at)? {
            let next = at.saturating_add(u32::try_from(header.size()).unwrap_or(u32::MAX));
            if next > end || header.size() == 0 {
                break;
            }
            at = next;
        }
        Ok(at - position)
    }

    /// Ids, kinds and outcomes of entries `from..to`, as many as exist, without touching a record.
    /// Blocks on the `.raft` files for what is not in memory; at most `METAS_READ_COUNT` at once.
    pub fn stubs(&self, from: u64, to: u64) -> io::Result<Vec<EntryStub>> {
        let state = self.lock();
        let base = state.segments.first().map_or(0, |segment| segment.base_index);
        let first = state.purged.map_or(0, |purged| purged.index + 1).max(base).max(from);
        let to = to.min(state.next_index());
        if first >= to {
            return Ok(Vec::new());
        }
        if first >= state.recent_first {
            return Ok(recent_stubs(&state, first, to));
        }
        let to = to.min(state.recent_first).min(first + METAS_READ_COUNT);
        let at = state.segments.partition_point(|segment| segment.next_index <= first);
        let Some(segment) = state.segments.get(at) else { return Ok(Vec::new()) };
        let (files, base_index) = (Arc::clone(&segment.files), segment.base_index);
        let to = to.min(segment.next_index);
        drop(state);
        let metas = read_metas(&files, base_index, first, to)?;
        let stub = |(index, meta): (u64, EntryMeta)| EntryStub {
            id: EntryId { term: meta.term, index },
            meta,
            outcome: AppendOutcome::None,
        };
        Ok((first..).zip(metas).map(stub).collect())
    }

    /// Entries `from..to` with their records, at least one if there is one, at most about
    /// `size_max` bytes. Blocks.
    pub fn entries(&self, from: u64, to: u64, size_max: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut size = 0;
        let mut next = from;
        while next < to && (entries.is_empty() || size < size_max) {
            let swaps = self.lock().swaps;
            let stubs = self.stubs(next, to)?;
            if stubs.is_empty() {
                break;
            }
            for stub in stubs {
                if !entries.is_empty() && size >= size_max {
                    break;
                }
                // What has been moved meanwhile is looked for again.
                let Some(body) = self.body(&stub, swaps)? else { break };
                size += stub.meta.size as usize;
                next = stub.id.index + 1;
                entries.push(Entry { id: stub.id, body, ticket: None });
            }
        }
        Ok(entries)
    }

    /// What an entry says, unless segments have been swapped since there were as many `swaps`.
    fn body(&self, stub: &EntryStub, swaps: u64) -> io::Result<Option<EntryBody>> {
        Ok(Some(match stub.meta.kind {
            EntryKind::Blank => EntryBody::Blank,
            EntryKind::Void => EntryBody::Void,
            EntryKind::DeleteRecords => EntryBody::DeleteRecords(stub.meta.delete_before),
            EntryKind::Membership => EntryBody::Membership(self.membership(stub.id.index)?),
            EntryKind::Batch => match self.batch(stub, swaps)? {
                Some(batch) => EntryBody::Batch(batch),
                None => return Ok(None),
            },
            EntryKind::Compacted => {
                EntryBody::Compacted { last_offset_delta: stub.meta.last_offset_delta }
            }
        }))
    }

    fn batch(&self, stub: &EntryStub, swaps: u64) -> io::Result<Option<Batch>> {
        let state = self.lock();
        if state.swaps != swaps {
            return Ok(None);
        }
        let recent = stub.id.index.checked_sub(state.recent_first);
        let recent = recent.and_then(|i| state.recent.get(usize::try_from(i).ok()?));
        if let Some(batch) = recent.and_then(|recent| recent.batch.clone()) {
            return Ok(Some(batch));
        }
        let at = state.segments.partition_point(|segment| segment.next_index <= stub.id.index);
        let files = state.segments.get(at).map(|segment| Arc::clone(&segment.files));
        drop(state);
        let files = files.ok_or(io::ErrorKind::NotFound)?;
        let slice = LogSlice { files, position: stub.meta.position, size: stub.meta.size };
        let batch = Batch::take(&mut slice.read()?).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("damaged batch: {error:?}"))
        });
        batch.map(Some)
    }

    /// The first committed record whose timestamp is at least `timestamp_ms`: its timestamp and
    /// offset. Blocks.
    pub fn offset_for_timestamp(&self, timestamp_ms: i64) -> io::Result<Option<(i64, Offset)>> {
        let log_start = self.offsets().log_start;
        let mut from = log_start;
        loop {
            let Some(mut place) = self.time_place(timestamp_ms, from) else { return Ok(None) };
            let wanted = |h: &BatchHeader| {
                h.max_timestamp_ms >= timestamp_ms && h.last_offset() >= log_start
            };
            while let Some((position, size)) = seek(&place, wanted)? {
                let files = Arc::clone(&place.files);
                let batch = LogSlice { files, position, size }.read()?;
                let found = records::first_at_or_after(&batch, timestamp_ms, log_start)?;
                if found.is_some() {
                    return Ok(found);
                }
                // Compaction may have left other records of the batch, or none.
                place.floor = position.saturating_add(size);
            }
            match place.next {
                Some(next) => from = next,
                None => return Ok(None),
            }
        }
    }

    /// The timestamp of the first committed record from `offset` on. Blocks.
    pub fn timestamp_at(&self, offset: Offset) -> io::Result<Option<i64>> {
        let mut from = offset;
        loop {
            let (place, position, size) = match self.find(from) {
                Ok(Some(found)) => found,
                Ok(None) | Err(ReadError::OutOfRange) => return Ok(None),
                Err(ReadError::Io(error)) => return Err(error),
            };
            let Some(header) = place.files.batch_header(position)? else { return Ok(None) };
            let slice = LogSlice { files: place.files, position, size };
            if let Some(time_ms) = first_time(&header, &slice, from)? {
                return Ok(Some(time_ms));
            }
            // Compaction has left nothing behind `from` in this batch.
            from = header.last_offset() + 1;
        }
    }

    /// The first segment from offset `from` on that may hold the timestamp.
    fn time_place(&self, timestamp_ms: i64, from: Offset) -> Option<Place> {
        let state = self.lock();
        let first = state.segments.partition_point(|s| s.base_offset <= from).saturating_sub(1);
        let candidates = state.segments.iter().enumerate().skip(first);
        let may_hold = |s: &Segment| s.max_timestamp.is_some_and(|(max, _)| max >= timestamp_ms);
        let (at, segment) = candidates.into_iter().find(|(_, segment)| may_hold(segment))?;
        let floor = segment.time_index.floor(segment.base_offset, timestamp_ms);
        let place = Place {
            files: Arc::clone(&segment.files),
            floor: segment.offset_index.floor(segment.base_offset, floor),
            limit: visible_size(&state, segment),
            next: state.segments.get(at + 1).map(|next| next.base_offset),
        };
        Some(place)
    }

    /// The largest timestamp of the committed records and the offset of the first record that has
    /// it (KIP-734). Blocks.
    pub fn max_timestamp(&self) -> io::Result<Option<(i64, Offset)>> {
        let offsets = self.offsets();
        let maxima: Vec<i64> = {
            let state = self.lock();
            state.segments.iter().filter_map(|s| s.max_timestamp.map(|(max, _)| max)).collect()
        };
        let Some(max) = maxima.into_iter().max() else { return Ok(None) };
        if let Some(found) = self.offset_for_timestamp(max)? {
            return Ok(Some(found));
        }
        // The largest timestamp is not visible (yet): look at what is.
        self.scan_max_timestamp(offsets.log_start)
    }

    fn scan_max_timestamp(&self, log_start: Offset) -> io::Result<Option<(i64, Offset)>> {
        let mut best: Option<i64> = None;
        let mut offset = log_start;
        while let Ok(Some(place)) = self.place(offset) {
            let mut at = place.floor;
            while at < place.limit {
                let Some(header) = place.files.batch_header(at)? else { break };
                best = best.max(header.newest_ms());
                offset = offset.max(header.last_offset() + 1);
                at = at.saturating_add(u32::try_from(header.size()).unwrap_or(u32::MAX));
            }
            match place.next {
                Some(next) => offset = offset.max(next),
                None => break,
            }
        }
        best.map_or(Ok(None), |max| self.offset_for_timestamp(max))
    }

    /// Where the records of `epoch` end: the largest epoch not above it and the offset at which the
    /// next one begins, or the log end (`LeaderEpochFileCache.endOffsetFor`). `None` if the epoch
    /// is older than the log or newer than its last.
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let state = self.lock();
        let term = u64::try_from(epoch).ok()?;
        if state.terms.last().is_none_or(|last| last.first.term < term) {
            return None;
        }
        let after = state.terms.partition_point(|start| start.first.term <= term);
        let at = state.terms.get(after.checked_sub(1)?)?;
        let end = state.terms.get(after).map_or(state.high_watermark, |next| next.start_offset);
        Some((at.first.leader_epoch(), end))
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_of(&self, offset: Offset) -> LeaderEpoch {
        let state = self.lock();
        let after = state.terms.partition_point(|start| start.start_offset <= offset);
        let start = after.checked_sub(1).and_then(|i| state.terms.get(i));
        start.map_or(-1, |start| start.first.leader_epoch())
    }
}

/// The timestamp of a batch's first record from `offset` on.
fn first_time(header: &BatchHeader, batch: &LogSlice, offset: Offset) -> io::Result<Option<i64>> {
    let begins_behind = header.base_offset >= offset || batch.size > BATCH_WALKED_BYTES_MAX;
    if header.record_count == 0 {
        Ok(None)
    } else if begins_behind && header.is_log_append_time() {
        Ok(Some(header.max_timestamp_ms))
    } else if begins_behind && header.delete_horizon_ms().is_none() {
        Ok(Some(header.base_timestamp_ms))
    } else {
        let found = records::first_at_or_after(&batch.read()?, i64::MIN, offset)?;
        Ok(found.map(|(time_ms, _)| time_ms))
    }
}

/// A batch position at or before `offset`: exact for what was just written.
fn position_of(state: &State, segment: &Segment, offset: Offset) -> u32 {
    let after = state.recent.partition_point(|recent| recent.meta.next_offset() <= offset);
    if let Some(recent) = state.recent.get(after)
        && state.recent_first + after as u64 >= segment.base_index
        && state.recent_first + (after as u64) < segment.next_index
        && after > 0
    {
        return recent.meta.position;
    }
    segment.offset_index.floor(segment.base_offset, offset)
}

/// Up to where readers may see in a segment.
fn visible_size(state: &State, segment: &Segment) -> u32 {
    let (base, end) = state.visible_end;
    match segment.base_offset.cmp(&base) {
        std::cmp::Ordering::Less => segment.size,
        std::cmp::Ordering::Equal => end,
        std::cmp::Ordering::Greater => 0,
    }
}

/// Goes from batch to batch; the position and size of the first wanted one.
fn seek(place: &Place, wanted: impl Fn(&BatchHeader) -> bool) -> io::Result<Option<(u32, u32)>> {
    let mut at = place.floor;
    while at < place.limit {
        let Some(header) = place.files.batch_header(at)? else { return Ok(None) };
        let size = u32::try_from(header.size()).unwrap_or(u32::MAX);
        if size == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "damaged batch header"));
        }
        if wanted(&header) {
            return Ok(Some((at, size)));
        }
        at = at.saturating_add(size);
    }
    Ok(None)
}

fn recent_stubs(state: &State, from: u64, to: u64) -> Vec<EntryStub> {
    let skip = usize::try_from(from - state.recent_first).unwrap_or(usize::MAX);
    let recent = (from..to).zip(state.recent.iter().skip(skip));
    recent
        .map(|(index, recent)| EntryStub {
            id: EntryId { term: recent.meta.term, index },
            meta: recent.meta,
            outcome: recent.outcome,
        })
        .collect()
}

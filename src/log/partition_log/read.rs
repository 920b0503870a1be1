//! Reading: committed batches as slices of the segment files, entries for Raft, and the look-ups
//! of ListOffsets and OffsetForLeaderEpoch.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::disk::read_exact_at;
use crate::base::ids::{LeaderEpoch, Offset};
use crate::log::batch::Batch;
use crate::log::entry::{Entry, EntryBody, EntryId, EntryKind, EntryMeta};
use crate::log::metas::read_metas;
use crate::log::partition_log::check::damaged;
use crate::log::partition_log::find::Place;
use crate::log::partition_log::{PartitionLog, State};
use crate::log::producer_state::AppendOutcome;
use crate::log::segment::{Segment, SegmentFiles};

/// Metas read from a file at once.
const METAS_READ_COUNT: u64 = 4096;

/// Committed batches as they lie in a segment file.
#[derive(Debug, Clone)]
pub struct LogSlice {
    pub files: Arc<SegmentFiles>,
    pub position: u32,
    pub size: u32,
    /// The first batch's entry.
    pub(super) first_index: u64,
    /// The entries of the segment.
    pub(super) indexes: Range<u64>,
}

/// Why there is nothing to read.
#[derive(Debug)]
pub enum ReadError {
    /// Below the log start or above the log end.
    OutOfRange,
    /// What is there is not what was written.
    Damaged,
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
        let Some((place, index, meta)) = self.find(offset)? else { return Ok(None) };
        let found = self.slice_in(place, (index, meta), size_max, first_whole)?;
        Ok(found.map(|(slice, _)| slice))
    }

    /// The batches of a place from `first` on, and the offset that follows them; `None` for the end
    /// of the place.
    pub(super) fn slice_in(
        &self,
        place: Place,
        (first_index, first): (u64, EntryMeta),
        size_max: u32,
        first_whole: bool,
    ) -> io::Result<Option<(LogSlice, Option<Offset>)>> {
        let position = first.position;
        let end = position.saturating_add(size_max);
        let (size, end_offset) = if place.limit <= end {
            (place.limit - position, None)
        } else if first.end_position() > end {
            (if first_whole { first.size } else { 0 }, Some(first.next_offset()))
        } else {
            let fits = |meta: &EntryMeta| meta.end_position() <= end;
            let next = self.partition_point(&place, first_index, fits)?;
            let last = self.runs(&place, next.saturating_sub(1))?;
            let last = last.first().map_or(first, |run| run.meta);
            (last.end_position() - position, Some(last.next_offset()))
        };
        let slice = (size > 0).then(|| place.slice(position, size, first_index));
        Ok(slice.map(|slice| (slice, end_offset)))
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
        let metas = read_metas(&files, base_index, first..to)?;
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
            let stubs = match self.stubs(next, to) {
                // What is before damage is given.
                Err(_) if !entries.is_empty() => break,
                stubs => stubs?,
            };
            if stubs.is_empty() {
                break;
            }
            for stub in stubs {
                if !entries.is_empty() && size >= size_max {
                    break;
                }
                // What has been moved meanwhile is looked for again.
                let body = match self.body(&stub, swaps) {
                    Err(_) if !entries.is_empty() => return Ok(entries),
                    body => body?,
                };
                let Some(body) = body else { break };
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
            EntryKind::Unknown => {
                self.note_damage(stub.id.index);
                return Err(damaged());
            }
            EntryKind::Blank => EntryBody::Blank,
            EntryKind::DeleteRecords => EntryBody::DeleteRecords(stub.meta.delete_before),
            EntryKind::Membership => EntryBody::Membership(self.membership(stub.id.index)?),
            EntryKind::Batch => match self.batch(stub, swaps)? {
                Some(batch) => EntryBody::Batch(batch),
                None => return Ok(None),
            },
            // Whoever has others of a run from elsewhere must hear where the log ends behind it.
            EntryKind::Void | EntryKind::Compacted => {
                EntryBody::Compacted { end_offset: stub.meta.next_offset() }
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
        self.read_batch(&files, stub.id.index, &stub.meta).map(Some)
    }

    /// Where the records of `epoch` end: the largest epoch not above it and the offset at which the
    /// next one begins, or the log end (`LeaderEpochFileCache.endOffsetFor`). One that is older
    /// than the log ends where that begins. `None` if the epoch is newer than the last.
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let state = self.lock();
        let term = u64::try_from(epoch).ok()?;
        if state.terms.last().is_none_or(|last| last.first.term < term) {
            return None;
        }
        let after = state.terms.partition_point(|start| start.first.term <= term);
        let at = after.checked_sub(1).and_then(|at| state.terms.get(at));
        let end = state.terms.get(after).map_or(state.high_watermark, |next| next.start_offset);
        Some((at.map_or(epoch, |at| at.first.leader_epoch()), end))
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_of(&self, offset: Offset) -> LeaderEpoch {
        let state = self.lock();
        let after = state.terms.partition_point(|start| start.start_offset <= offset);
        let start = after.checked_sub(1).and_then(|i| state.terms.get(i));
        start.map_or(-1, |start| start.first.leader_epoch())
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
pub(super) fn visible_size(state: &State, segment: &Segment) -> u32 {
    let (base, end) = state.visible_end;
    match segment.base_offset.cmp(&base) {
        std::cmp::Ordering::Less => segment.size,
        std::cmp::Ordering::Equal => end,
        std::cmp::Ordering::Greater => 0,
    }
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

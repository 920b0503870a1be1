//! What consumers see that read committed transactions only (`read_committed`): everything up to
//! the last stable offset, and which transactions in it were aborted. They leave those records out
//! themselves.

use std::sync::Arc;

use crate::base::ids::Offset;
use crate::log::entry::EntryMeta;
use crate::log::partition_log::find::Place;
use crate::log::partition_log::read::{LogSlice, ReadError};
use crate::log::partition_log::{PartitionLog, State};
use crate::log::segment::SegmentFiles;
use crate::log::transaction_index::AbortedTransaction;

/// Decided batches.
#[derive(Debug, Clone)]
pub struct StableSlice {
    pub slice: LogSlice,
    /// The aborted transactions that have something in it, in the order of their markers.
    pub aborted: Vec<AbortedTransaction>,
}

impl PartitionLog {
    /// Like [`Self::slice`], of what is decided (`UnifiedLog.read` with the isolation
    /// `TXN_COMMITTED`).
    pub fn stable_slice(
        &self,
        offset: Offset,
        size_max: u32,
        first_whole: bool,
    ) -> Result<Option<StableSlice>, ReadError> {
        loop {
            let Some((place, first_index, first)) = self.find(offset)? else { return Ok(None) };
            // Later than the place, and neither of them goes back: if there is nothing undecided
            // below the high watermark now, there is nothing in what was found.
            let offsets = self.offsets();
            let end = offsets.last_stable;
            if first.base_offset >= end {
                return Ok(None);
            }
            let place = match end < offsets.high_watermark {
                true => self.place_below(place, first_index, end)?,
                false => place,
            };
            let next = place.next.map_or(end, |next| next.min(end));
            let Some((slice, slice_end)) =
                self.slice_in(place, (first_index, first), size_max, first_whole)?
            else {
                return Ok(None);
            };
            let to = slice_end.unwrap_or(next);
            // What was aborted must be told of the files that the slice is of: compaction takes
            // records away and then does not tell of them.
            if let Some(aborted) = self.lock().aborted_in(&slice.files, offset, to) {
                return Ok(Some(StableSlice { slice, aborted }));
            }
        }
    }

    /// The place up to `end` only.
    fn place_below(&self, place: Place, first: u64, end: Offset) -> Result<Place, ReadError> {
        if place.next.is_some_and(|next| next <= end) {
            return Ok(place);
        }
        let is_below = |meta: &EntryMeta| meta.next_offset() <= end;
        let behind = self.partition_point(&place, first, is_below)?;
        let runs = self.runs(&place, behind)?;
        Ok(match runs.first() {
            Some(run) => place.limited(run.meta.position),
            None => place,
        })
    }

    /// The aborted transactions that have something in `from..to`.
    pub(crate) fn aborted_between(&self, from: Offset, to: Offset) -> Vec<AbortedTransaction> {
        let state = self.lock();
        let mut found = Vec::new();
        for segment in &state.segments {
            if segment.transaction_index.collect(from, to, &mut found) {
                break;
            }
        }
        found
    }

    /// The transactions that are open at the end of the log: first offset and producer id.
    pub fn open_transactions(&self) -> Vec<(Offset, i64)> {
        self.lock().producers.open_transactions().collect()
    }
}

impl State {
    /// Up to where everything is decided (`UnifiedLog.lastStableOffset`).
    pub(super) fn last_stable_offset(&self) -> Offset {
        let undecided = self.producers.first_undecided().unwrap_or(Offset::MAX);
        undecided.max(self.log_start_offset).min(self.high_watermark)
    }

    /// The high watermark has moved.
    pub(super) fn note_committed(&mut self) {
        self.producers.committed(self.high_watermark);
    }

    /// The aborted transactions that have something in `from..to`, which begins in the segment of
    /// these files (`LocalLog.collectAbortedTransactions`). `None` if that is not the log's any
    /// more.
    fn aborted_in(
        &self,
        files: &Arc<SegmentFiles>,
        from: Offset,
        to: Offset,
    ) -> Option<Vec<AbortedTransaction>> {
        let at = self.segments.iter().position(|segment| Arc::ptr_eq(&segment.files, files))?;
        let mut found = Vec::new();
        for segment in self.segments.iter().skip(at) {
            if segment.transaction_index.collect(from, to, &mut found) {
                break;
            }
        }
        Some(found)
    }
}

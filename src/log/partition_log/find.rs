//! Where the entry is that holds an offset. The records of the entries in the `.raft` files tell:
//! each has a checksum, so what is found is what was written, whatever has become of the batches.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::base::ids::Offset;
use crate::log::entry::{EntryKind, EntryMeta};
use crate::log::metas::{first_not, read_runs, search};
use crate::log::partition_log::read::{LogSlice, ReadError, visible_size};
use crate::log::partition_log::{PartitionLog, State};
use crate::log::run::Run;
use crate::log::segment::{Segment, SegmentFiles};

/// Records looked at together.
const RECORDS_COUNT: u64 = 64;

/// A segment as far as readers may see, found under the lock; the rest needs the files only.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) files: Arc<SegmentFiles>,
    indexes: Range<u64>,
    /// Readers may see up to here.
    pub(super) limit: u32,
    /// Where the next segment begins.
    pub(super) next: Option<Offset>,
}

impl Place {
    /// The segment of a slice, as far as the slice goes.
    pub(super) fn of_slice(slice: &LogSlice) -> Self {
        Self {
            files: Arc::clone(&slice.files),
            indexes: slice.indexes.clone(),
            limit: slice.position + slice.size,
            next: None,
        }
    }

    /// The same, but readers may see up to `limit` only.
    pub(super) fn limited(self, limit: u32) -> Self {
        Self { limit: self.limit.min(limit), ..self }
    }

    pub(super) fn first_index(&self) -> u64 {
        self.indexes.start
    }

    pub(super) fn slice(self, position: u32, size: u32, first_index: u64) -> LogSlice {
        LogSlice { files: self.files, position, size, first_index, indexes: self.indexes }
    }

    pub(super) fn of(state: &State, at: usize, segment: &Segment) -> Self {
        Self {
            files: Arc::clone(&segment.files),
            indexes: segment.base_index..segment.next_index,
            limit: visible_size(state, segment),
            next: state.segments.get(at + 1).map(|next| next.base_offset),
        }
    }
}

impl PartitionLog {
    /// The committed batch that holds `offset`, or the next one: compaction leaves gaps, also at
    /// the end of a segment.
    pub(super) fn find(
        &self,
        offset: Offset,
    ) -> Result<Option<(Place, u64, EntryMeta)>, ReadError> {
        let mut from = offset;
        while let Some(place) = self.place(from)? {
            let is_before = |meta: &EntryMeta| meta.next_offset() <= offset;
            let first = self.partition_point(&place, place.first_index(), is_before)?;
            if let Some((index, meta)) = self.next_batch(&place, first)? {
                return Ok(Some((place, index, meta)));
            }
            match place.next {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(None)
    }

    /// The segment that readers of `offset` begin with.
    fn place(&self, offset: Offset) -> Result<Option<Place>, ReadError> {
        let state = self.lock();
        if offset < state.log_start_offset || offset > state.next_offset {
            return Err(ReadError::OutOfRange);
        }
        if offset >= state.high_watermark {
            return Ok(None);
        }
        let after = state.segments.partition_point(|segment| segment.base_offset <= offset);
        // A segment may be empty; the next one has what follows.
        let from = after.saturating_sub(1);
        let places = state.segments.iter().enumerate().skip(from);
        Ok(places.map(|(at, segment)| Place::of(&state, at, segment)).find(|p| p.limit > 0))
    }

    /// The first visible batch of the segment from entry `index` on.
    pub(super) fn next_batch(
        &self,
        place: &Place,
        mut index: u64,
    ) -> io::Result<Option<(u64, EntryMeta)>> {
        loop {
            let runs = self.runs(place, index)?;
            if runs.is_empty() {
                return Ok(None);
            }
            for run in runs {
                if run.meta.end_position() > place.limit {
                    return Ok(None);
                }
                if run.meta.kind == EntryKind::Batch {
                    return Ok(Some((run.index, run.meta)));
                }
                index = run.end_index();
            }
        }
    }

    /// What the segment has from entry `from` on, as far as some records tell; none at its end.
    /// Blocks on the file for what is not in memory.
    pub(super) fn runs(&self, place: &Place, from: u64) -> io::Result<Vec<Run>> {
        let to = place.indexes.end;
        if from >= to {
            return Ok(Vec::new());
        }
        let to = {
            let state = self.lock();
            let first = state.recent_first_of(place);
            if let Some(skip) = from.checked_sub(first) {
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                let to = to.min(from.saturating_add(RECORDS_COUNT));
                let recent = (from..to).zip(state.recent.iter().skip(skip));
                return Ok(recent.map(|(index, recent)| Run::of(index, recent.meta)).collect());
            }
            to.min(first)
        };
        let runs = read_runs(&place.files, place.indexes.start, from..to, RECORDS_COUNT)?;
        let unknown = runs.iter().filter(|run| run.meta.kind == EntryKind::Unknown);
        unknown.for_each(|run| self.note_damage(run.index));
        Ok(runs)
    }

    /// The first entry of the segment from `from` on that is not `before`, which are those at the
    /// front; one past the last if all are.
    pub(super) fn partition_point(
        &self,
        place: &Place,
        from: u64,
        before: impl Fn(&EntryMeta) -> bool,
    ) -> io::Result<u64> {
        let mut end = place.indexes.end;
        {
            // Who reads is near the end as a rule, and the last metas are in memory.
            let state = self.lock();
            let first = state.recent_first_of(place).clamp(from, end);
            let is_before = |index: u64| {
                let at = usize::try_from(index - state.recent_first).ok();
                let recent = at.and_then(|at| state.recent.get(at));
                Ok(recent.is_some_and(|recent| before(&recent.meta)))
            };
            if first < end && is_before(first)? {
                return search(first + 1, end, is_before);
            }
            end = first;
        }
        let found = first_not(&place.files, &(place.indexes.start..end), before)?;
        Ok(found.map_or(end, |run| run.index.max(from)))
    }
}

impl State {
    /// From which entry on the segment's metas are to be taken from memory. Those of a segment that
    /// is all in the files are there, and they alone go with its positions: it may have been
    /// replaced by a compacted one.
    fn recent_first_of(&self, place: &Place) -> u64 {
        let mut open = self.segments.iter().rev().take_while(|segment| !segment.sealed);
        match open.any(|segment| Arc::ptr_eq(&segment.files, &place.files)) {
            true => self.recent_first,
            false => u64::MAX,
        }
    }
}

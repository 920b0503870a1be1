//! What compaction needs of a log: what there is to clean, and a new segment in the place of old
//! ones.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::disk::{self, Disk, readable};
use crate::base::ids::Offset;
use crate::base::kv::Change;
use crate::log::cleaner::SourceSegment;
use crate::log::cleaner::plan::{self, Dirty, Policy};
use crate::log::moving::Original;
use crate::log::partition_log::{PartitionLog, State};
use crate::log::producer_state::LastOfProducer;
use crate::log::recovery::swap;
use crate::log::segment::Segment;

impl PartitionLog {
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.setup.disk
    }

    fn cleaned_to_key(&self) -> Vec<u8> {
        [&self.setup.key[..], b"c"].concat()
    }

    /// The offset up to which the log has been cleaned. Blocks.
    pub(crate) fn cleaned_to(&self) -> io::Result<Offset> {
        let value = self.setup.kv.get(&self.cleaned_to_key())?;
        let value = value.and_then(|value| value.as_slice().try_into().ok());
        Ok(value.map_or(0, Offset::from_be_bytes))
    }

    pub(crate) fn set_cleaned_to(&self, offset: Offset) -> io::Result<()> {
        let value = offset.to_be_bytes().to_vec();
        self.setup.kv.write(&[Change::Put { key: self.cleaned_to_key(), value }])
    }

    /// What there is to clean, and when the oldest of it was made, in ms. Blocks.
    pub fn dirty(&self, now_ms: i64, policy: &Policy) -> io::Result<Option<(Dirty, Option<i64>)>> {
        let (facts, decided) = {
            let state = self.lock();
            let mut facts = state.facts();
            // The first one that is not closed on disk counts as the active one.
            facts.truncate(state.sealed().len() + 1);
            (facts, state.last_stable_offset())
        };
        let cleaned_to = self.cleaned_to()?;
        let Some(dirty) = plan::dirty(&facts, cleaned_to, decided, now_ms, policy) else {
            return Ok(None);
        };
        // Nobody else needs to know, and it has to be read.
        let since_ms = match policy.max_lag_ms {
            i64::MAX => None,
            _ => self.oldest_of(&dirty)?,
        };
        Ok(Some((dirty, since_ms)))
    }

    /// The earliest of the times of the first batches of segments
    /// (`LogCleanerManager.maxCompactionDelay`).
    fn oldest_of(&self, dirty: &Dirty) -> io::Result<Option<i64>> {
        let mut oldest_ms = None;
        for source in self.closed_segments(dirty.end) {
            if source.facts.end_offset > dirty.first && source.facts.bytes > 0 {
                let first = readable(source.files.batch_header(0))?.flatten();
                let first_ms = first.map(|header| header.max_timestamp_ms).filter(|ms| *ms > 0);
                oldest_ms = oldest_ms.into_iter().chain(first_ms).min();
            }
        }
        Ok(oldest_ms)
    }

    /// The segments that begin before `end`, of those that are wholly on disk.
    pub(crate) fn closed_segments(&self, end: Offset) -> Vec<SourceSegment> {
        let state = self.lock();
        let sealed = state.sealed().iter().zip(state.facts());
        let sources = sealed.map(|(segment, facts)| SourceSegment {
            files: Arc::clone(&segment.files),
            base_index: segment.base_index,
            next_index: segment.next_index,
            facts,
        });
        sources.filter(|source| source.facts.base_offset < end).collect()
    }

    /// All segments, for a copy of the log.
    pub(crate) fn originals(&self) -> Vec<Original> {
        let state = self.lock();
        let closed = state.sealed().len();
        let original = |(at, segment): (usize, &Segment)| Original {
            files: Arc::clone(&segment.files),
            is_closed: at < closed,
        };
        state.segments.iter().enumerate().map(original).collect()
    }

    /// What must stay of each idempotent producer.
    pub(crate) fn last_of_producers(&self) -> BTreeMap<i64, LastOfProducer> {
        let state = self.lock();
        let last = state.producers.iter().map(|(id, entry)| {
            let last_offset = entry.batches.back().map(|batch| batch.last_offset);
            (id, LastOfProducer { epoch: entry.epoch, last_offset })
        });
        last.collect()
    }

    /// Puts `new`, whose files are durable, into the place of `sources`. False if those are not
    /// the log's any more. Blocks.
    pub(crate) fn replace(&self, sources: &[SourceSegment], new: Segment) -> io::Result<bool> {
        let (disk, dir) = (self.setup.disk.as_ref(), &self.setup.dir);
        let bases: Vec<Offset> = sources.iter().map(|source| source.facts.base_offset).collect();
        let ends =
            (sources.first().map(|one| one.base_index), sources.last().map(|one| one.next_index));
        if ends != (Some(new.base_index), Some(new.next_index)) {
            swap::remove_cleaned(disk, dir, new.base_offset)?;
            return Err(io::Error::other("a segment that is written anew has not all entries"));
        }
        let mut state = self.lock();
        let place = place_of(&state, sources);
        let Some(at) = place.filter(|_| !self.closed.load(Ordering::Acquire)) else {
            drop(state);
            swap::remove_cleaned(disk, dir, new.base_offset)?;
            return Ok(false);
        };
        if let Err(error) = swap::commit(disk, dir, &bases) {
            drop(state);
            if disk::is_full(&error) {
                swap::take_back(disk, dir, &bases)?;
            }
            return Err(error);
        }
        let carried_out = swap::carry_out(disk, dir, &bases);
        if carried_out.is_err() {
            // It has happened, and only a start can tell how far it came.
            self.set_closed();
        }
        carried_out?;
        state.take_in(at, sources.len(), new);
        state.check_invariants();
        drop(state);
        swap::settle(disk, dir, &bases)?;
        Ok(true)
    }
}

/// Where these segments are, if they are the log's, closed and neighbours.
fn place_of(state: &State, sources: &[SourceSegment]) -> Option<usize> {
    let first = sources.first()?;
    let at = state.segments.iter().position(|known| Arc::ptr_eq(&known.files, &first.files))?;
    let (_active, closed) = state.segments.split_last()?;
    let known = closed.get(at..at.checked_add(sources.len())?)?;
    let same =
        |(known, source): (&Segment, &SourceSegment)| Arc::ptr_eq(&known.files, &source.files);
    known.iter().zip(sources).all(same).then_some(at)
}

impl State {
    /// The closed segments that are wholly on disk.
    pub(super) fn sealed(&self) -> &[Segment] {
        let closed = self.segments.split_last().map_or(&[][..], |(_active, closed)| closed);
        let count = closed.iter().take_while(|segment| segment.sealed).count();
        closed.get(..count).unwrap_or_default()
    }

    /// `new` takes the places of `count` segments from `at` on; all of them are visible.
    fn take_in(&mut self, at: usize, count: usize, mut new: Segment) {
        let (base_offset, size) = (new.base_offset, new.size);
        let (end_index, end) = (new.next_index, at + count);
        // What these say of producers is not known yet.
        let replaced = self.segments.get(at..end).unwrap_or_default();
        new.damaged.extend(replaced.iter().flat_map(|segment| &segment.damaged));
        let replaced: Vec<Segment> = self.segments.splice(at..end, [new]).collect();
        let (visible_base, _) = self.visible_end;
        if replaced.iter().any(|segment| segment.base_offset == visible_base) {
            self.visible_end = (base_offset, size);
        }
        // What is in memory of these entries tells where they were.
        while self.recent_first < end_index && self.recent.pop_front().is_some() {
            self.recent_first += 1;
        }
        self.swaps += 1;
    }
}

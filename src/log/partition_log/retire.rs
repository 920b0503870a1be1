//! The old end of the log: segments below the log start are dropped, their files some time later.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::base::ids::Offset;
use crate::base::kv::Change;
use crate::log::entry::EntryId;
use crate::log::flusher::Completion;
use crate::log::partition_log::{PartitionLog, State};
use crate::log::recovery;
use crate::log::retention::SegmentFacts;
use crate::log::segment::{EXTENSIONS, Segment};
use crate::metrics::retention;

/// The end of a file's name that is to be deleted, as in Kafka.
pub(crate) const DELETED: &str = "deleted";

impl PartitionLog {
    /// The last entry of the last segment that holds nothing but records below the log start, and
    /// the offset at which the entries behind it begin at the earliest.
    pub fn last_below_log_start(&self) -> Option<(EntryId, Offset)> {
        let state = self.lock();
        let below = |pair: &&[Segment]| match pair {
            [_, next] => next.base_offset <= state.log_start_offset,
            _ => false,
        };
        let Some([last, next]) = state.segments.windows(2).rfind(below) else {
            // What was below it is gone already.
            let first = state.segments.first()?;
            let purged = state.purged.filter(|purged| purged.index + 1 == first.base_index)?;
            return Some((purged, first.base_offset));
        };
        let index = last.next_index.checked_sub(1)?.min(state.applied_index);
        let start = state.terms.iter().rev().find(|start| start.first.index <= index)?;
        let end = match last.next_index == index + 1 {
            true => next.base_offset,
            false => last.read_metas(index, index + 1).ok()?.first()?.next_offset(),
        };
        Some((EntryId { term: start.first.term, index }, end))
    }

    /// The change that keeps that entries up to `upto` are forgotten. It must be durable before
    /// they are. `None`: nothing changes.
    pub fn purge_change(&self, upto: EntryId) -> Option<Change> {
        let state = self.lock();
        let is_new = state.purged.is_none_or(|purged| purged.index < upto.index);
        let is_here = is_new && upto.index < state.next_index();
        is_here.then(|| recovery::purged_change(&self.setup.key, upto, None))
    }

    /// Forgets entries up to `upto`: whole segments below it are deleted. The log start offset is
    /// never behind the first kept segment. Blocks for the deletion of the names only.
    pub fn purge(self: &Arc<Self>, upto: EntryId) -> io::Result<()> {
        let mut state = self.lock();
        if state.purged.is_some_and(|purged| purged.index >= upto.index) {
            return Ok(());
        }
        if upto.index >= state.next_index() {
            // Whoever knows at which offset it goes on has called `begin_behind` before.
            let base_offset = state.next_offset;
            return self.begin_behind_now(state, upto, base_offset);
        }
        state.purged = Some(upto);
        let dropped = state.segments.iter().take_while(|s| s.next_index <= upto.index + 1).count();
        // The active segment stays, even if it is empty of entries that count.
        let dropped = dropped.min(state.segments.len() - 1);
        let segments: Vec<Segment> = state.segments.drain(..dropped).collect();
        let base_offset = state.segments.first().map_or(0, |segment| segment.base_offset);
        state.log_start_offset = state.log_start_offset.max(base_offset);
        let kept = state.terms.partition_point(|term| term.first.index <= upto.index);
        state.terms.drain(..kept.saturating_sub(1));
        drop(state);
        self.throw_away(&segments);
        Ok(())
    }

    /// The log goes on behind entry `upto`, with offset `base_offset`, as the leader's does; `done`
    /// is called when that is durable. Nothing that was here before is kept: none of it is needed,
    /// because it is older. Nothing happens if the log has that entry.
    pub fn begin_behind(self: &Arc<Self>, upto: EntryId, base_offset: Offset, done: Completion) {
        let log = Arc::clone(self);
        let done: Completion = Box::new(move |begun| {
            match begun {
                // Whoever waits to append must hear of it.
                Err(_) => log.set_closed(),
                Ok(()) => log.begun.notify_waiters(),
            }
            done(begun);
        });
        self.run_in_order(done, move |log| {
            let mut state = log.lock();
            if upto.index < state.next_index() {
                state.applied_index = state.applied_index.max(upto.index);
                return Ok(());
            }
            log.begin_behind_now(state, upto, base_offset)
        });
    }

    fn begin_behind_now(
        &self,
        mut state: MutexGuard<'_, State>,
        upto: EntryId,
        base_offset: Offset,
    ) -> io::Result<()> {
        // The leader may not know all offsets of what it has compacted; what is committed here has
        // them.
        let base_offset = base_offset.max(state.high_watermark);
        let fresh = recovery::begin_behind(&self.setup, upto, base_offset)?;
        let old = std::mem::replace(&mut *state, fresh);
        (state.waiters, state.swaps) = (old.waiters, old.swaps + 1);
        state.applied_index = upto.index;
        state.check_invariants();
        drop(state);
        for segment in &old.segments {
            retention::segment_dropped(u64::from(segment.size));
        }
        Ok(())
    }

    /// Gives the files other names, by which nobody finds them any more; they are deleted later.
    fn throw_away(&self, segments: &[Segment]) {
        let config = self.config();
        let due_ms = self.setup.clock.now_ms().saturating_add(config.file_delete_delay_ms);
        let disk = self.setup.disk.as_ref();
        let mut trash = self.trash.lock().unwrap_or_else(PoisonError::into_inner);
        for segment in segments {
            retention::segment_dropped(u64::from(segment.size));
            for extension in EXTENSIONS {
                let path = segment.files.path(extension);
                if !disk.exists(&path) {
                    continue;
                }
                let hidden = path.with_extension(format!("{extension}.{DELETED}"));
                match disk.rename(&path, &hidden) {
                    Ok(()) => trash.push((due_ms, hidden)),
                    Err(error) => {
                        tracing::warn!(%error, path = %path.display(), "a file was not deleted");
                    }
                }
            }
        }
    }

    /// Deletes the files for which it is time (`file.delete.delay.ms`); when it is for the next
    /// ones, in ms.
    pub fn empty_trash(&self, now_ms: i64) -> Option<i64> {
        let due = {
            let mut trash = self.trash.lock().unwrap_or_else(PoisonError::into_inner);
            let (due, later) = trash.drain(..).partition(|(due_ms, _)| *due_ms <= now_ms);
            *trash = later;
            let due: Vec<(i64, PathBuf)> = due;
            due
        };
        for (_, path) in due {
            if let Err(error) = self.setup.disk.remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "a file was not deleted");
            }
        }
        let trash = self.trash.lock().unwrap_or_else(PoisonError::into_inner);
        trash.iter().map(|(due_ms, _)| *due_ms).min()
    }

    /// The segments as retention sees them.
    pub fn segment_facts(&self) -> Vec<SegmentFacts> {
        self.lock().facts()
    }
}

impl State {
    pub(super) fn facts(&self) -> Vec<SegmentFacts> {
        let ends = self.segments.iter().skip(1).map(|next| next.base_offset);
        let ends = ends.chain([self.next_offset]);
        let facts = |(segment, end_offset): (&Segment, Offset)| SegmentFacts {
            base_offset: segment.base_offset,
            end_offset,
            bytes: u64::from(segment.size),
            newest_ms: segment.newest_ms(),
        };
        self.segments.iter().zip(ends).map(facts).collect()
    }
}

//! The new end of the log: when a segment is closed and the next one begins.

use std::io;
use std::sync::Arc;

use crate::base::disk;
use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::entry::{Entry, EntryBody};
use crate::log::flusher::Completion;
use crate::log::partition_log::{LogConfig, PartitionLog, State, copy_of};
use crate::log::recovery;
use crate::log::run::SEGMENT_OFFSETS_MAX;
use crate::log::segment::{Segment, SegmentFiles, file_name};

/// Kafka's files address 31 bits.
const SEGMENT_BYTES_MAX: u64 = 0x7fff_ffff;

impl PartitionLog {
    /// `segment.ms` less a jitter, which is the same whenever it is asked for.
    pub(super) fn age_max_ms(&self, base_offset: Offset, config: &LogConfig) -> i64 {
        let jitter_max = config.segment_jitter_ms.min(config.segment_ms);
        let seed = crc32c::crc32c_append(
            crc32c::crc32c(self.setup.name.as_bytes()),
            &base_offset.to_be_bytes(),
        );
        config.segment_ms - i64::from(seed).checked_rem(jitter_max).unwrap_or(0)
    }

    /// Closes the active segment and begins the next one. Without room for the files of that one
    /// the active segment goes on for now.
    pub(super) fn roll(self: &Arc<Self>, state: &mut State, now_ms: i64) -> io::Result<()> {
        let (base_offset, base_index) = (state.next_offset, state.next_index());
        let Some(files) = self.begin_files(base_offset, base_index)? else { return Ok(()) };
        let config = self.config();
        files.reserve(&config);
        state.producers.expire(now_ms - config.producer_expiration_ms);
        let snapshot = recovery::encode_state(state);
        let closing = state.active().closing(true);
        // What is before this in the writer's queue is not in the files yet.
        state.active().sealed = false;
        let next = Arc::clone(&files);
        state.segments.push(Segment::empty(files, base_index));
        state.durable_noted = 0;
        let log = Arc::clone(self);
        let seal = move |health: io::Result<()>| {
            let disk = log.setup.disk.as_ref();
            health?;
            if config.preallocate {
                closing.give_back()?;
            }
            closing.write(disk)?;
            recovery::write_state(disk, &log.setup.dir, base_offset, &snapshot)?;
            // The head of the new segment and the names of its files: nothing in it is durable
            // without them.
            next.raft.sync()?;
            closing.confirm(disk)?;
            log.sealed(base_offset);
            Ok(())
        };
        self.run(Box::new(seal));
        Ok(())
    }

    /// The files of a new segment; `None` if there is no room for them.
    fn begin_files(
        self: &Arc<Self>,
        base_offset: Offset,
        base_index: u64,
    ) -> io::Result<Option<Arc<SegmentFiles>>> {
        let (disk, dir) = (self.setup.disk.as_ref(), &self.setup.dir);
        let begun = SegmentFiles::open(disk, dir, base_offset).and_then(|files| {
            files.write_raft_head(base_index)?;
            Ok(Arc::new(files))
        });
        match begun {
            Ok(files) => Ok(Some(files)),
            Err(error) if disk::is_full(&error) => {
                tracing::warn!(log = self.name(), %error, "a new segment has to wait for room");
                // A later segment must not follow upon an empty one that is none.
                for extension in ["log", "raft"] {
                    let path = dir.join(file_name(base_offset, extension));
                    if disk.exists(&path) {
                        disk.remove_file(&path)?;
                    }
                }
                Ok(None)
            }
            Err(error) => {
                self.report(&error);
                Err(error)
            }
        }
    }

    /// Begins a new segment unless the last one is empty; `done` is called when those before it are
    /// closed.
    pub(crate) fn roll_now(self: &Arc<Self>, done: Completion) {
        let (log, mut done) = (Arc::clone(self), Some(done));
        let run = move |health: io::Result<()>| {
            health?;
            let mut state = log.lock();
            if state.next_offset > state.active().base_offset {
                log.roll(&mut state, log.setup.clock.now_ms())?;
            }
            drop(state);
            // Behind what closes the segment.
            let mut done = done.take();
            log.run(Box::new(move |health| {
                done.take().into_iter().for_each(|done| done(copy_of(&health)));
                Ok(())
            }));
            Ok(())
        };
        self.run(Box::new(run));
    }

    /// The segment before the one that begins at `base_offset` is closed.
    fn sealed(&self, base_offset: Offset) {
        let mut state = self.lock();
        let after = state.segments.partition_point(|segment| segment.base_offset < base_offset);
        if let Some(segment) = after.checked_sub(1).and_then(|at| state.segments.get_mut(at)) {
            segment.sealed = true;
        }
    }
}

/// Whether the entry ends further from the beginning of the segment than its indexes can tell.
pub(super) fn is_out_of_reach(state: &State, entry: &Entry) -> bool {
    let Some(segment) = state.segments.last() else { return false };
    let end_offset = match &entry.body {
        EntryBody::Batch(batch) => {
            let base_offset = entry.given_offset().unwrap_or(state.next_offset);
            base_offset + i64::from(batch.header().last_offset_delta) + 1
        }
        EntryBody::Compacted { end_offset } => *end_offset,
        _ => state.next_offset,
    };
    end_offset - segment.base_offset > SEGMENT_OFFSETS_MAX
        && state.next_offset > segment.base_offset
}

/// Whether `batch` begins a new segment.
pub(super) fn must_roll(
    segment: &Segment,
    config: &LogConfig,
    now_ms: i64,
    age_max_ms: i64,
    batch: &Batch,
) -> bool {
    if segment.size == 0 {
        return false;
    }
    let end = u64::from(segment.size) + batch.size() as u64;
    // By the records' own time, so that it does not matter how often the broker has been restarted
    // (`LogSegment.timeWaitedForRoll`).
    let age_ms = match segment.first_batch_ms.filter(|first_ms| *first_ms >= 0) {
        Some(first_ms) => batch.header().max_timestamp_ms.saturating_sub(first_ms),
        None => now_ms.saturating_sub(segment.since_ms.unwrap_or(now_ms)),
    };
    let too_old = age_ms > age_max_ms;
    let index_bytes = segment.offset_index.size().max(segment.time_index.size());
    let index_is_full = index_bytes >= config.index_bytes_max as usize;
    index_is_full || end > u64::from(config.segment_bytes) || end > SEGMENT_BYTES_MAX || too_old
}

//! When a log with `write.caching` is synced: after so many records (`flush.messages`), or after so
//! long (`flush.ms`). All others are synced before anything is acknowledged.

use std::sync::Arc;

use crate::log::flusher::WriteJob;
use crate::log::partition_log::{LogConfig, PartitionLog};

/// What was appended since the last sync.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    record_count: i64,
    /// Since when the oldest of it waits, in ms.
    since_ms: Option<i64>,
}

impl Unsynced {
    /// Takes note of records that `job` writes, and has it sync them if there are enough.
    pub(super) fn add(&mut self, count: i32, job: &mut WriteJob, config: &LogConfig, now_ms: i64) {
        if !job.sync {
            self.record_count = self.record_count.saturating_add(count.into());
            self.since_ms.get_or_insert(now_ms);
            job.sync = self.record_count >= config.flush_messages || config.flush_ms == 0;
        }
        if job.sync {
            *self = Self::default();
        }
    }
}

impl PartitionLog {
    /// Has the log synced if it is due; when it is to be looked at again, in ms. `None`: it is
    /// never due. Does not block.
    pub(crate) fn flush_if_due(self: &Arc<Self>, now_ms: i64) -> Option<i64> {
        let config = self.config();
        if !config.write_caching || config.flush_ms == i64::MAX {
            return None;
        }
        let mut state = self.lock();
        let due_ms =
            state.unsynced.since_ms.map(|since_ms| since_ms.saturating_add(config.flush_ms));
        if let Some(due_ms) = due_ms.filter(|due_ms| *due_ms > now_ms) {
            return Some(due_ms);
        }
        if due_ms.is_some() {
            state.unsynced = Unsynced::default();
            let mut job = self.new_job(&mut state, &config);
            job.sync = true;
            // Whoever fails here is told by the writer.
            job.done = Some(Box::new(drop));
            self.push_write(job);
        }
        // What comes from now on is not due before that.
        Some(now_ms.saturating_add(config.flush_ms))
    }
}

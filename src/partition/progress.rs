//! How far a start with many partitions is.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often it is told how far the opening of partitions is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// So many partitions are told when they are open, however quick that was.
const PROGRESS_COUNT_MIN: usize = 100;

/// Tells how far the opening of many partitions is.
#[derive(Debug)]
pub(super) struct Progress {
    total: usize,
    begun: Instant,
    state: Mutex<(usize, Instant)>,
}

impl Progress {
    pub(super) fn begin(total: usize) -> Self {
        let now = Instant::now();
        Self { total, begun: now, state: Mutex::new((0, now + PROGRESS_INTERVAL)) }
    }

    pub(super) fn opened(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        if Instant::now() >= state.1 {
            state.1 = Instant::now() + PROGRESS_INTERVAL;
            tracing::info!(opened = state.0, total = self.total, "opening partitions");
        }
    }

    pub(super) fn end(&self) {
        let took = self.begun.elapsed();
        if self.total >= PROGRESS_COUNT_MIN || took >= PROGRESS_INTERVAL {
            let took_ms = took.as_millis();
            tracing::info!(total = self.total, took_ms, "partitions are open");
        }
    }
}

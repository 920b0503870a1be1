//! What the log writers report.

use std::fmt;
use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::metrics::names;

/// Counts syncs.
pub struct FlushMetrics {
    seconds: Histogram,
    appends: Histogram,
    bytes: Counter,
}

impl fmt::Debug for FlushMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlushMetrics").finish_non_exhaustive()
    }
}

impl Default for FlushMetrics {
    fn default() -> Self {
        Self {
            seconds: histogram!(names::FSYNC_SECONDS),
            appends: histogram!(names::FSYNC_APPENDS),
            bytes: counter!(names::FSYNC_BYTES),
        }
    }
}

impl FlushMetrics {
    /// `appends` were made durable by one round of syncs.
    pub fn flushed(&self, appends: u32, bytes: u64, took: Duration) {
        self.seconds.record(took.as_secs_f64());
        self.appends.record(f64::from(appends));
        self.bytes.increment(bytes);
    }
}

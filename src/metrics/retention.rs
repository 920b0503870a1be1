//! What is counted of segments that are dropped, of all partitions of this node together.

use std::path::Path;

use metrics::{counter, gauge};

use crate::metrics::names;

/// Shows the counters before anything has been counted.
pub(super) fn register() {
    for name in [names::SEGMENTS_DROPPED, names::DROPPED_BYTES] {
        counter!(name).increment(0);
    }
}

/// A segment is below the log start and goes.
pub fn segment_dropped(bytes: u64) {
    counter!(names::SEGMENTS_DROPPED).increment(1);
    counter!(names::DROPPED_BYTES).increment(bytes);
}

/// A log dir has no room for records, or has it again.
pub fn full(dir: &Path, is_full: bool) {
    gauge!(names::LOG_DIR_FULL, "dir" => dir.display().to_string())
        .set(f64::from(u8::from(is_full)));
}

/// So many log dirs can not be used.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn dirs_offline(count: usize) {
    gauge!(names::LOG_DIRS_OFFLINE).set(count as f64);
}

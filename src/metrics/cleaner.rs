//! What is counted of compaction, of all partitions of this node together.

use metrics::{counter, gauge};

use crate::metrics::names;

/// Shows the metrics before there is anything to show.
pub(super) fn register() {
    for name in [
        names::CLEANER_RUNS,
        names::CLEANER_READ_BYTES,
        names::CLEANER_WRITTEN_BYTES,
        names::CLEANER_RECORDS_DROPPED,
    ] {
        counter!(name).increment(0);
    }
    uncleanable(0);
    dirty_ratio_max(0.0);
    left_bytes(0);
}

/// A cleaning went on.
pub fn stepped(read: u64, written: u64, left: u64) {
    counter!(names::CLEANER_READ_BYTES).increment(read);
    counter!(names::CLEANER_WRITTEN_BYTES).increment(written);
    left_bytes(left);
}

/// A cleaning ended.
pub fn finished(records_dropped: u64) {
    counter!(names::CLEANER_RUNS).increment(1);
    counter!(names::CLEANER_RECORDS_DROPPED).increment(records_dropped);
}

/// What the cleaning that is under way still has to read.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn left_bytes(bytes: u64) {
    gauge!(names::CLEANER_LEFT_BYTES).set(bytes as f64);
}

/// The largest part of a compacted log that is not clean.
pub fn dirty_ratio_max(ratio: f64) {
    gauge!(names::CLEANER_DIRTY_RATIO_MAX).set(ratio);
}

/// Logs that could not be cleaned since the start.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn uncleanable(count: usize) {
    gauge!(names::CLEANER_UNCLEANABLE).set(count as f64);
}

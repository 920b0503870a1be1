//! What is counted of batches that are not what was written.

use metrics::{counter, gauge};

use crate::metrics::names;

/// Shows the metrics before there is anything to show.
pub(super) fn register() {
    for name in [
        names::DAMAGED_BATCHES_FOUND,
        names::DAMAGED_BATCHES_MENDED,
        names::SCRUBBED_BYTES,
        names::SCRUBS,
    ] {
        counter!(name).increment(0);
    }
    left(0);
}

/// A damaged batch was seen for the first time.
pub fn found() {
    counter!(names::DAMAGED_BATCHES_FOUND).increment(1);
}

/// A damaged batch was written again as it was.
pub fn mended() {
    counter!(names::DAMAGED_BATCHES_MENDED).increment(1);
}

/// So many batches are damaged now.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn left(count: usize) {
    gauge!(names::DAMAGED_BATCHES).set(count as f64);
}

/// So much was read by the scrub.
pub fn scrubbed(bytes: u64) {
    counter!(names::SCRUBBED_BYTES).increment(bytes);
}

/// All partitions were scrubbed once more.
pub fn scrubbed_all() {
    counter!(names::SCRUBS).increment(1);
}

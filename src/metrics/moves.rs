//! What is counted of replicas that move from one log dir to another.

use metrics::{counter, gauge};

use crate::metrics::names;

/// Shows the metrics before there is anything to show.
pub(super) fn register() {
    for name in [names::LOG_DIR_MOVES, names::LOG_DIR_MOVES_FAILED, names::LOG_DIR_MOVED_BYTES] {
        counter!(name).increment(0);
    }
    under_way(0);
}

/// So many replicas are to be moved.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn under_way(count: usize) {
    gauge!(names::LOG_DIR_MOVING).set(count as f64);
}

/// So much of one was copied.
pub fn copied(bytes: u64) {
    counter!(names::LOG_DIR_MOVED_BYTES).increment(bytes);
}

/// A replica was moved.
pub fn moved() {
    counter!(names::LOG_DIR_MOVES).increment(1);
}

/// An attempt failed; there may be another one.
pub fn failed() {
    counter!(names::LOG_DIR_MOVES_FAILED).increment(1);
}

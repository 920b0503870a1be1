//! What is counted of elections, of all groups of this node together. Elections are rare, so nobody
//! keeps a handle.

use metrics::counter;

use crate::metrics::names;

/// Shows the counters before anything has been counted.
pub(super) fn register() {
    for name in [names::ELECTIONS_STARTED, names::ELECTIONS_WON, names::LEADER_CHANGES] {
        counter!(name).increment(0);
    }
}

/// This node takes a new term in one group.
pub fn started() {
    counter!(names::ELECTIONS_STARTED).increment(1);
}

/// This node leads a group that it did not lead before; that is a change of leader as well.
pub fn won() {
    counter!(names::ELECTIONS_WON).increment(1);
    leader_changed();
}

/// A group has another leader, or the same one in another term.
pub fn leader_changed() {
    counter!(names::LEADER_CHANGES).increment(1);
}

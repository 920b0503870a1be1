//! What a cleaning knows of transactions on its way through a log (Kafka's
//! `CleanedTransactionMetadata`): which batches are of aborted ones, and whether anything is left
//! of the transaction that a marker ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::ids::Offset;
use crate::log::batch::BatchHeader;
use crate::log::records::marker::{Ending, Marker};
use crate::log::transaction_index::AbortedTransaction;

/// The transactions of what has been passed.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Aborted ones that begin later, by their beginnings.
    later: VecDeque<AbortedTransaction>,
    /// By producer; whether a batch of it has been seen.
    aborted: BTreeMap<i64, (AbortedTransaction, bool)>,
    /// Producers of which batches of another transaction have been seen.
    committed: BTreeSet<i64>,
}

/// What a marker is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Something is left of its transaction, the aborted one if it was aborted.
    Needed(Option<AbortedTransaction>),
    /// Nothing is.
    EndsNothing,
}

impl Transactions {
    /// `aborted` are those that have something in the part that will be passed.
    pub(super) fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_unstable_by_key(|one| one.first_offset);
        Self { later: aborted.into(), ..Self::default() }
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while let Some(one) = self.later.pop_front_if(|one| one.first_offset <= offset) {
            // The marker of the one before may be missing: what it ended is over all the same.
            let known = self.aborted.get(&one.producer_id);
            if known.is_none_or(|(known, _)| known.last_offset < one.first_offset) {
                self.aborted.insert(one.producer_id, (one, false));
            }
        }
    }

    /// Passes a batch of records; whether its transaction was aborted.
    pub(super) fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((one, is_seen)) if header.last_offset() < one.last_offset => {
                *is_seen = true;
                true
            }
            _ => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Passes a control batch.
    pub(super) fn end(&mut self, header: &BatchHeader, marker: Option<Marker>) -> Use {
        self.begin_up_to(header.last_offset());
        match marker.map(|marker| marker.ending) {
            Some(Ending::Aborted) => match self.aborted.remove(&header.producer_id) {
                Some((one, true)) if one.last_offset == header.last_offset() => {
                    Use::Needed(Some(one))
                }
                _ => Use::EndsNothing,
            },
            Some(Ending::Committed) => match self.committed.remove(&header.producer_id) {
                true => Use::Needed(None),
                false => Use::EndsNothing,
            },
            // A marker that is nothing but a header has been useless for long; what is no marker
            // is left alone.
            None if header.record_count == 0 => Use::EndsNothing,
            None => Use::Needed(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::tests::{Sample, batch};

    const ABORTED: Option<Marker> = Some(Marker { ending: Ending::Aborted, coordinator_epoch: 0 });
    const COMMITTED: Option<Marker> =
        Some(Marker { ending: Ending::Committed, coordinator_epoch: 0 });

    /// Two of the same producer.
    fn aborted() -> (AbortedTransaction, AbortedTransaction) {
        let one = AbortedTransaction {
            producer_id: 1,
            first_offset: 10,
            last_offset: 20,
            last_stable_offset: 21,
        };
        (one, AbortedTransaction { first_offset: 40, last_offset: 50, ..one })
    }

    fn header(producer_id: i64, offset: Offset, transactional: bool) -> BatchHeader {
        let attributes = if transactional { 1 << 4 } else { 0 };
        let producer = (producer_id, 0, 0);
        let mut batch = batch(1, Sample { producer, attributes, ..Sample::default() });
        batch.assign(offset, 0);
        *batch.header()
    }

    #[test]
    fn batches_are_those_of_the_transaction_that_is_open_there() {
        let (one, later) = aborted();
        let mut passed = Transactions::new(vec![later, one]);
        assert!(!passed.is_aborted(&header(1, 5, true)));
        assert_eq!(passed.end(&header(1, 9, true), COMMITTED), Use::Needed(None));
        assert!(passed.is_aborted(&header(1, 10, true)));
        assert!(!passed.is_aborted(&header(1, 11, false)));
        assert!(!passed.is_aborted(&header(2, 12, true)));
        assert_eq!(passed.end(&header(1, 20, true), ABORTED), Use::Needed(Some(one)));
        assert_eq!(passed.end(&header(2, 21, true), COMMITTED), Use::Needed(None));
        // Nothing is left of these.
        assert_eq!(passed.end(&header(2, 30, true), COMMITTED), Use::EndsNothing);
        assert_eq!(passed.end(&header(1, 50, true), ABORTED), Use::EndsNothing);
        assert_eq!(passed.end(&header(3, 60, true), ABORTED), Use::EndsNothing);
    }

    #[test]
    fn what_was_aborted_ends_where_its_marker_was() {
        let (one, later) = aborted();
        let mut passed = Transactions::new(vec![one, later]);
        assert!(passed.is_aborted(&header(1, 10, true)));
        // The marker at 20 is not there.
        assert!(!passed.is_aborted(&header(1, 30, true)));
        assert_eq!(passed.end(&header(1, 35, true), COMMITTED), Use::Needed(None));
        assert!(passed.is_aborted(&header(1, 40, true)));
        assert_eq!(passed.end(&header(1, 50, true), ABORTED), Use::Needed(Some(later)));
    }
}

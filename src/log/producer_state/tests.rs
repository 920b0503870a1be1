//! The rules of `ProducerAppendInfo`, one by one, and against random retries.

use proptest::prelude::*;

use super::*;
use crate::log::batch::tests::{Sample, batch};

fn header(producer: (i64, i16, i32), count: usize, base_offset: Offset) -> BatchHeader {
    let mut batch = batch(count, Sample { producer, ..Sample::default() });
    batch.assign(base_offset, 0);
    *batch.header()
}

fn appended(outcome: AppendOutcome) -> bool {
    matches!(outcome, AppendOutcome::Appended { .. })
}

#[test]
fn a_sequence_goes_on_where_it_ended() {
    let mut states = ProducerStates::default();
    assert!(appended(states.check(&header((1, 0, 0), 3, 0), 0)));
    states.replay(&header((1, 0, 0), 3, 0), None, 1_000);
    assert!(appended(states.check(&header((1, 0, 3), 1, 3), 0)));
    let out_of_order = AppendOutcome::Refused(SequenceError::OutOfOrder);
    assert_eq!(states.check(&header((1, 0, 4), 1, 3), 0), out_of_order);
    assert_eq!(states.check(&header((1, 0, 1), 2, 3), 0), out_of_order);
}

#[test]
fn a_duplicate_is_answered_with_its_first_offset_while_it_is_remembered() {
    let mut states = ProducerStates::default();
    for i in 0..7 {
        states.replay(&header((1, 0, i * 2), 2, 100 + i64::from(i) * 2), None, 1_000);
    }
    for i in 2..7 {
        let duplicate = states.check(&header((1, 0, i * 2), 2, 0), 0);
        let base_offset = 100 + i64::from(i) * 2;
        assert_eq!(duplicate, AppendOutcome::Duplicate { base_offset });
    }
    let forgotten = states.check(&header((1, 0, 2), 2, 0), 0);
    assert_eq!(forgotten, AppendOutcome::Refused(SequenceError::OutOfOrder));
}

#[test]
fn epochs_fence_and_start_at_sequence_zero() {
    let mut states = ProducerStates::default();
    states.replay(&header((1, 5, 0), 1, 0), None, 1_000);
    let stale = AppendOutcome::Refused(SequenceError::StaleEpoch);
    assert_eq!(states.check(&header((1, 4, 1), 1, 0), 0), stale);
    let out_of_order = AppendOutcome::Refused(SequenceError::OutOfOrder);
    assert_eq!(states.check(&header((1, 6, 1), 1, 0), 0), out_of_order);
    assert!(appended(states.check(&header((1, 6, 0), 1, 0), 0)));
    states.replay(&header((1, 6, 0), 1, 1), None, 1_000);
    assert_eq!(states.check(&header((1, 5, 1), 1, 0), 0), stale);
}

#[test]
fn an_expired_producer_is_a_new_one() {
    let mut states = ProducerStates::default();
    states.replay(&header((1, 0, 0), 1, 0), None, 1_000);
    states.expire(1_000);
    assert_eq!(states.len(), 1);
    states.expire(1_001);
    assert!(states.is_empty());
    assert!(appended(states.check(&header((1, 0, 17), 1, 0), 0)));
}

/// A batch of a transaction, or its marker.
fn transactional(producer_id: i64, base_offset: Offset) -> BatchHeader {
    let sample = Sample { producer: (producer_id, 0, 0), attributes: 1 << 4, ..Sample::default() };
    let mut batch = batch(2, sample);
    batch.assign(base_offset, 0);
    *batch.header()
}

fn end(
    states: &mut ProducerStates,
    producer_id: i64,
    offset: Offset,
    ending: Ending,
) -> Option<AbortedTransaction> {
    let marker = Marker { ending, coordinator_epoch: 3 };
    let mut batch = marker.batch(producer_id, 0, 1_000).expect("a batch");
    batch.assign(offset, 0);
    states.replay(batch.header(), Some(marker), 1_000)
}

#[test]
fn a_transaction_is_undecided_until_its_marker_is_committed() {
    let mut states = ProducerStates::default();
    states.replay(&transactional(1, 10), None, 1_000);
    states.replay(&transactional(2, 12), None, 1_000);
    states.replay(&transactional(1, 14), None, 1_000);
    assert_eq!(states.first_undecided(), Some(10));
    let aborted = end(&mut states, 1, 16, Ending::Aborted);
    let expected = AbortedTransaction {
        producer_id: 1,
        first_offset: 10,
        last_offset: 16,
        // The other one is open.
        last_stable_offset: 12,
    };
    assert_eq!(aborted, Some(expected));
    states.committed(16);
    assert_eq!(states.first_undecided(), Some(10));
    states.committed(17);
    assert_eq!(states.first_undecided(), Some(12));
    assert_eq!(end(&mut states, 2, 17, Ending::Committed), None);
    states.committed(18);
    assert_eq!(states.first_undecided(), None);
    // A marker that comes again ends nothing.
    assert_eq!(end(&mut states, 1, 18, Ending::Aborted), None);
    assert_eq!(states.first_undecided(), None);
    states.replay(&transactional(1, 19), None, 1_000);
    let expected = AbortedTransaction {
        first_offset: 19,
        last_offset: 21,
        last_stable_offset: 22,
        ..expected
    };
    assert_eq!(end(&mut states, 1, 21, Ending::Aborted), Some(expected));
}

#[test]
fn a_producer_with_an_open_transaction_does_not_expire() {
    let mut states = ProducerStates::default();
    states.replay(&transactional(1, 0), None, 1_000);
    states.replay(&header((2, 0, 0), 1, 2), None, 1_000);
    states.expire(2_000);
    assert_eq!(states.iter().map(|(id, _)| id).collect::<Vec<_>>(), [1]);
    let outside = AppendOutcome::Refused(SequenceError::OutsideTransaction);
    assert_eq!(states.check(&header((1, 0, 2), 1, 0), 5_000), outside);
    end(&mut states, 1, 3, Ending::Committed);
    assert!(appended(states.check(&header((1, 0, 2), 1, 0), 0)));
    states.expire(2_000);
    assert!(states.is_empty());
}

#[test]
fn a_marker_fences_older_epochs_and_coordinators() {
    let mut states = ProducerStates::default();
    states.replay(&header((1, 4, 0), 1, 0), None, 1_000);
    let check = |states: &ProducerStates, epoch, coordinator_epoch| {
        let marker = Marker { ending: Ending::Aborted, coordinator_epoch };
        let batch = marker.batch(1, epoch, 1_000).expect("a batch");
        (states.check_marker(batch.header(), &marker), batch, marker)
    };
    let refused = |error| AppendOutcome::Refused(error);
    assert_eq!(check(&states, 3, 9).0, refused(SequenceError::StaleEpoch));
    let (outcome, marker_batch, marker) = check(&states, 5, 9);
    assert!(appended(outcome));
    states.replay(marker_batch.header(), Some(marker), 1_000);
    assert_eq!(check(&states, 5, 8).0, refused(SequenceError::CoordinatorFenced));
    assert!(appended(check(&states, 5, 9).0));
    // The epoch that the marker began has no batch yet.
    assert_eq!(states.check(&header((1, 4, 1), 1, 0), 0), refused(SequenceError::StaleEpoch));
    assert_eq!(states.check(&header((1, 5, 1), 1, 0), 0), refused(SequenceError::OutOfOrder));
    assert!(appended(states.check(&header((1, 5, 0), 1, 0), 0)));
    // What the broker itself writes for a producer has no sequence.
    assert!(appended(states.check(&header((1, 5, -1), 1, 0), 0)));
}

proptest! {
    /// A producer that retries any of its last five batches in any order ends with each batch in
    /// the log once, in order.
    #[test]
    fn retries_never_duplicate(retries in proptest::collection::vec(0usize..5, 1..60)) {
        let mut states = ProducerStates::default();
        let mut log: Vec<i32> = Vec::new();
        for back in retries {
            let next = i32::try_from(log.len()).expect("small");
            let sequence = (next - i32::try_from(back).expect("small")).max(0);
            let offset = i64::from(next) * 10;
            match states.check(&header((9, 1, sequence * 10), 10, offset), 0) {
                AppendOutcome::Appended { .. } => {
                    states.replay(&header((9, 1, sequence * 10), 10, offset), None, 1_000);
                    log.push(sequence);
                }
                AppendOutcome::Duplicate { base_offset } => {
                    prop_assert_eq!(base_offset, i64::from(sequence) * 10);
                    prop_assert!(sequence < next);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let expected: Vec<i32> = (0..).take(log.len()).collect();
        prop_assert_eq!(log, expected);
    }
}

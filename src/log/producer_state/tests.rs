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
    states.replay(&header((1, 0, 0), 3, 0), 1_000);
    assert!(appended(states.check(&header((1, 0, 3), 1, 3), 0)));
    let out_of_order = AppendOutcome::Refused(SequenceError::OutOfOrder);
    assert_eq!(states.check(&header((1, 0, 4), 1, 3), 0), out_of_order);
    assert_eq!(states.check(&header((1, 0, 1), 2, 3), 0), out_of_order);
}

#[test]
fn a_duplicate_is_answered_with_its_first_offset_while_it_is_remembered() {
    let mut states = ProducerStates::default();
    for i in 0..7 {
        states.replay(&header((1, 0, i * 2), 2, 100 + i64::from(i) * 2), 1_000);
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
    states.replay(&header((1, 5, 0), 1, 0), 1_000);
    let stale = AppendOutcome::Refused(SequenceError::StaleEpoch);
    assert_eq!(states.check(&header((1, 4, 1), 1, 0), 0), stale);
    let out_of_order = AppendOutcome::Refused(SequenceError::OutOfOrder);
    assert_eq!(states.check(&header((1, 6, 1), 1, 0), 0), out_of_order);
    assert!(appended(states.check(&header((1, 6, 0), 1, 0), 0)));
    states.replay(&header((1, 6, 0), 1, 1), 1_000);
    assert_eq!(states.check(&header((1, 5, 1), 1, 0), 0), stale);
}

#[test]
fn an_expired_producer_is_a_new_one() {
    let mut states = ProducerStates::default();
    states.replay(&header((1, 0, 0), 1, 0), 1_000);
    states.expire(1_000);
    assert_eq!(states.len(), 1);
    states.expire(1_001);
    assert!(states.is_empty());
    assert!(appended(states.check(&header((1, 0, 17), 1, 0), 0)));
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
                    states.replay(&header((9, 1, sequence * 10), 10, offset), 1_000);
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

//! A log that goes on behind a snapshot: at the leader's offset, whenever the power fails.

use crate::base::rng::Rng;
use crate::log::batch::tests::Sample;
use crate::log::entry::{Entry, EntryBody, EntryId, EntryKind};
use crate::log::partition_log::tests::rig::{Rig, batch, config};

const LAST: EntryId = EntryId { term: 3, index: 40 };
const BASE: i64 = 500;

/// A log of three segments that ends at offset 20.
fn rig(seed: u64) -> Rig {
    let rig = Rig::new(seed, config(500, seed.is_multiple_of(2)));
    for index in 0..10 {
        let body = EntryBody::Batch(batch(2, 60, Sample::default()));
        let id = EntryId { term: 1, index };
        rig.append_one(Entry { id, body, ticket: None }).expect("appended");
    }
    assert!(rig.log().segment_count() > 2);
    rig
}

/// As a leader sends it: with offsets.
fn sent(index: u64, offset: i64) -> Entry {
    let id = EntryId { term: 4, index };
    let mut batch = batch(2, 60, Sample::default());
    batch.assign(offset, id.leader_epoch());
    Entry { id, body: EntryBody::Batch(batch), ticket: None }
}

#[test]
fn it_goes_on_at_the_offset_of_the_snapshot() {
    let mut rig = rig(1);
    rig.begin_behind(LAST, BASE).expect("begun");
    for clean in [true, false] {
        let offsets = rig.log().offsets();
        assert_eq!((offsets.log_start, offsets.log_end), (BASE, BASE));
        assert_eq!(rig.log().bounds(), (Some(LAST), Some(LAST)));
        assert_eq!(rig.log().last_below_log_start(), Some((LAST, BASE)));
        rig.close().expect("closed");
        rig.open(clean).expect("opened");
    }
    // What it has already does not go.
    rig.append_one(sent(41, BASE)).expect("appended");
    rig.begin_behind(LAST, BASE).expect("nothing to do");
    rig.begin_behind(EntryId { term: 4, index: 41 }, BASE + 2).expect("nothing to do");
    let stub = rig.log().stubs(41, 42).expect("stubs")[0];
    assert_eq!((stub.meta.kind, stub.meta.base_offset), (EntryKind::Batch, BASE));
    // Whoever has read records of an epoch before that is told that they were there.
    rig.log().apply(41, &stub.meta);
    let ends = [2, 4, 5].map(|epoch| rig.log().end_of_epoch(epoch));
    assert_eq!(ends, [Some((2, BASE)), Some((4, BASE + 2)), None]);
}

#[test]
fn a_batch_with_other_offsets_is_refused() {
    let mut rig = rig(1);
    assert!(rig.append_one(sent(10, 22)).is_err());
    rig.close().expect("closed");
    rig.open(true).expect("opened");
    assert!(rig.append_one(sent(10, 20)).is_ok());
}

/// A leader may not know all offsets of what it has compacted. Whose offsets were committed are not
/// given to others, and what comes next may begin further on.
#[test]
fn committed_offsets_are_never_given_up_for_earlier_ones() {
    let rig = rig(1);
    rig.apply_first(10);
    rig.begin_behind(LAST, 19).expect("begun");
    assert_eq!(rig.log().offsets().log_end, 20);
    let next = |term| {
        let mut batch = batch(1, 10, Sample::default());
        batch.assign(25, i32::try_from(term).expect("small"));
        let id = EntryId { term, index: LAST.index + 1 };
        Entry { id, body: EntryBody::Batch(batch), ticket: None }
    };
    assert!(rig.append_one(next(LAST.term + 1)).is_err(), "nothing is missing between terms");
    rig.append_one(next(LAST.term)).expect("appended");
    assert_eq!(rig.log().offsets().log_end, 26);
}

/// Wherever the power fails, the log is the old one or the new one, and the next try succeeds.
#[test]
fn the_power_may_fail_at_any_time() {
    let mut cut_short = 0;
    for seed in 0..60 {
        for calls in 0..40 {
            let mut rig = rig(seed);
            rig.disk.crash_in(calls);
            let begun = rig.begin_behind(LAST, BASE);
            if !rig.disk.is_crashed() {
                begun.expect("begun");
                break;
            }
            cut_short += 1;
            let rng = Rng::seeded(seed * 100 + calls);
            let mut counts = 0..=41;
            if !rig.log().config().write_caching {
                counts = 10..=41;
            }
            rig.restart(&rng, counts);
            rig.disk.keep_power();
            let (purged, last) = rig.log().bounds();
            let end = rig.log().offsets().log_end;
            match purged {
                None => assert!(last.is_none_or(|last| last.index < 10) && end <= 20),
                Some(purged) => assert_eq!((purged, last, end), (LAST, Some(LAST), BASE)),
            }
            rig.begin_behind(LAST, BASE).expect("begun");
            rig.append_one(sent(41, BASE)).expect("appended");
            rig.lose_power();
            rig.open(false).expect("opened");
            assert_eq!(rig.log().bounds().0, Some(LAST), "seed {seed}, {calls} calls");
            assert_eq!(rig.log().offsets().log_start, BASE);
        }
    }
    assert!(cut_short > 200, "{cut_short}");
}

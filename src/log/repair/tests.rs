//! A log loses what is damaged and nothing else.

use std::path::PathBuf;

use bytes::Bytes;

use crate::base::disk::Disk;
use crate::log::batch::tests::Sample;
use crate::log::entry::{Entry, EntryBody, EntryId, EntryKind};
use crate::log::partition_log::tests::{DIR, Rig, batch, bytes_of, config};
use crate::log::records::filter::{Left, Rules, filter};
use crate::log::records::marker::{Ending, Marker};
use crate::log::recovery::RecoveryError;
use crate::log::repair::{Finding, check, replace_damaged};
use crate::log::run::RECORD_BYTES;
use crate::log::segment::{RAFT_HEAD_BYTES, file_name, record_position};

const COUNT: u64 = 40;

fn rig() -> Rig {
    let rig = Rig::new(5, config(900, false));
    for index in 0..COUNT {
        let sequence = i32::try_from(index).expect("small") * 2;
        let sample = Sample { producer: (5, 0, sequence), timestamp_ms: 1000, attributes: 0 };
        let body = match index % 10 {
            0 => EntryBody::Blank,
            4 => EntryBody::VOID,
            _ => EntryBody::Batch(batch(2, 30, sample)),
        };
        let entry = Entry { id: EntryId { term: 1 + index / 10, index }, body, ticket: None };
        rig.append_one(entry).expect("appended");
    }
    rig
}

fn contents(rig: &Rig) -> Vec<(EntryId, Option<Bytes>)> {
    rig.entries(0).iter().map(|entry| (entry.id, bytes_of(&entry.body))).collect()
}

/// The segment's base offset and index that has the entry, and the entry's position.
fn place(rig: &Rig, index: u64) -> (i64, u64, u32) {
    let stub = rig.log().stubs(index, index + 1).expect("stubs")[0];
    let segments = rig.log().closed_segments(i64::MAX);
    let last = segments.last().expect("several");
    let found = segments.iter().find(|one| (one.base_index..one.next_index).contains(&index));
    let (base_offset, base_index) = match found {
        Some(one) => (one.facts.base_offset, one.base_index),
        None => (last.facts.end_offset, last.next_index),
    };
    (base_offset, base_index, stub.meta.position)
}

#[test]
fn damaged_batches_are_dropped_and_nothing_else() {
    let rig = rig();
    let expected = contents(&rig);
    let stubs: Vec<_> =
        (0..COUNT).map(|index| rig.log().stubs(index, index + 1).expect("stubs")[0]).collect();
    let places: Vec<_> = (0..COUNT).map(|index| place(&rig, index)).collect();
    rig.close().expect("closed");
    for index in (0..COUNT).filter(|index| ![0, 4].contains(&(index % 10))) {
        let mut copy = rig.copy();
        let at = usize::try_from(index).expect("small");
        let (base_offset, _, position) = places[at];
        let name = PathBuf::from(DIR).join(file_name(base_offset, "log"));
        copy.disk.flip_bit(&name, u64::from(position + 70) * 8).expect("flipped");
        copy.open(true).expect("opened");
        let meta = stubs[at].meta;
        let batch = Finding::Batch {
            first: meta.base_offset,
            last: meta.next_offset() - 1,
            bytes: meta.size,
        };
        assert_eq!(check(copy.log()).expect("readable"), [batch], "entry {index}");
        copy.drop_damaged().expect("dropped");
        for clean in [true, false] {
            assert_eq!(check(copy.log()).expect("readable"), []);
            let mut left = expected.clone();
            left[at].1 = None;
            assert_eq!(contents(&copy), left);
            // One that says nothing either may have its offsets.
            let behind = copy.log().stubs(index, COUNT).expect("stubs");
            let gap = behind.iter().take_while(|stub| stub.meta.kind.is_nothing()).last();
            let gap = gap.expect("a gap").meta;
            assert_eq!((gap.kind, gap.next_offset()), (EntryKind::Compacted, meta.next_offset()));
            copy.close().expect("closed");
            copy.open(clean).expect("opened again");
        }
    }
}

#[test]
fn entries_of_which_nothing_is_known_say_nothing() {
    let rig = rig();
    let expected = contents(&rig);
    let places: Vec<_> = (0..COUNT).map(|index| place(&rig, index)).collect();
    rig.close().expect("closed");
    let mut refused = 0;
    for count in [1, 3] {
        for first in 0..COUNT - count {
            let mut copy = rig.copy();
            let mut lost_batches = 0;
            for index in first..first + count {
                let (base_offset, base_index, position) = places[usize::try_from(index).expect("")];
                let raft = PathBuf::from(DIR).join(file_name(base_offset, "raft"));
                let bit =
                    record_position(index - base_index) * 8 + index % (RECORD_BYTES as u64 * 8);
                assert!(bit >= RAFT_HEAD_BYTES * 8);
                copy.disk.flip_bit(&raft, bit).expect("flipped");
                // The last one's batch as well, so that nothing tells of it.
                if index == first + count - 1 && count > 1 {
                    let log = PathBuf::from(DIR).join(file_name(base_offset, "log"));
                    let bits = copy.disk.read(&log).expect("read").len() as u64 * 8;
                    let bit = (u64::from(position) + 40) * 8;
                    if bit < bits {
                        copy.disk.flip_bit(&log, bit).expect("flipped");
                    }
                    lost_batches = count;
                }
            }
            let opened = copy.open(true).map(|()| check(copy.log()).expect("readable"));
            if opened.as_ref().is_ok_and(Vec::is_empty) {
                assert_eq!(contents(&copy), expected, "{first} {count}");
                continue;
            }
            refused += usize::from(matches!(opened, Err(RecoveryError::Corrupt { .. })));
            copy.salvage().expect("opened whatever there is");
            copy.drop_damaged().expect("dropped");
            copy.close().expect("closed");
            copy.open(true).expect("opened again");
            assert_eq!(check(copy.log()).expect("readable"), []);
            let left = contents(&copy);
            let whole = expected.iter().zip(&left).filter(|(expected, left)| expected == left);
            assert!(whole.count() as u64 >= COUNT - count - lost_batches, "{first} {count}");
            assert_eq!(left.len(), expected.len());
            let end = copy.log().offsets().log_end;
            assert_eq!(end, 64, "offsets stay: {first} {count}");
        }
    }
    assert!(refused > 0, "some logs are not opened otherwise");
}

#[test]
fn what_others_have_cleaned_takes_the_place_of_a_damaged_batch() {
    let rig = rig();
    let expected = contents(&rig);
    let places: Vec<_> = (0..COUNT).map(|index| place(&rig, index)).collect();
    let bodies = rig.entries(0);
    rig.close().expect("closed");
    let closed = rig.log().closed_segments(i64::MAX).last().expect("several").next_index;
    for index in (0..closed).filter(|index| ![0, 4].contains(&(index % 10))) {
        let at = usize::try_from(index).expect("small");
        let EntryBody::Batch(written) = &bodies[at].body else { panic!("{index} is a batch") };
        let first = written.header().base_offset;
        let rules = Rules { horizon_ms: 0, keep_empty: false, needs_horizon: false };
        let less = filter(written, &rules, |record| record.offset == first).expect("readable");
        for left in [Left::Nothing, less, Left::Changed(written.clone())] {
            let mut copy = rig.copy();
            let (base_offset, _, position) = places[at];
            let name = PathBuf::from(DIR).join(file_name(base_offset, "log"));
            copy.disk.flip_bit(&name, u64::from(position + 70) * 8).expect("flipped");
            copy.open(true).expect("opened");
            let last = copy.log().stubs(COUNT - 1, COUNT).expect("stubs")[0];
            copy.log().apply(last.id.index, &last.meta);
            assert_eq!(check(copy.log()).expect("readable").len(), 1);
            let found = [(index, left.clone())].into();
            let replace = || replace_damaged(copy.log(), &found).expect("replaced");
            if left == Left::Changed(written.clone()) {
                // What was written can be put there in any case.
                copy.log().set_cleaned_to(0).expect("kept");
                assert_eq!(replace(), [index]);
                assert_eq!(check(copy.log()).expect("readable"), []);
                assert_eq!(contents(&copy), expected);
                continue;
            }
            // An older record of a key could come to light.
            copy.log().set_cleaned_to(first + 1).expect("kept");
            assert_eq!(replace(), []);
            copy.log().set_cleaned_to(i64::MAX).expect("kept");
            // Nor does it when somebody else writes the same files.
            let cleaning = copy.log().try_rewriting();
            assert_eq!(replace(), []);
            drop(cleaning);
            assert_eq!(replace(), [index]);
            assert_eq!(check(copy.log()).expect("readable"), []);
            let mut now = expected.clone();
            now[at].1 = match left {
                Left::Changed(batch) => bytes_of(&EntryBody::Batch(batch)),
                _ => None,
            };
            assert_eq!(contents(&copy), now, "entry {index}");
        }
    }
}

fn append(rig: &Rig, bodies: Vec<EntryBody>) {
    for (body, index) in bodies.into_iter().zip(0..) {
        let entry = Entry { id: EntryId { term: 1, index }, body, ticket: None };
        rig.append_one(entry).expect("appended");
    }
}

/// A copy of the log, which is closed, after the batch of an entry was damaged and dropped.
fn without(rig: &Rig, index: u64, clean: bool) -> Rig {
    let (base_offset, _, position) = place(rig, index);
    rig.close().expect("closed");
    let mut copy = rig.copy();
    let name = PathBuf::from(DIR).join(file_name(base_offset, "log"));
    copy.disk.flip_bit(&name, u64::from(position + 70) * 8).expect("flipped");
    if !clean {
        // As after a crash: all is known from the batches.
        for name in copy.disk.list(DIR.as_ref()).expect("listed") {
            if name.ends_with(".state") || name.ends_with(".txnindex") {
                copy.disk.remove_file(&PathBuf::from(DIR).join(name)).expect("removed");
            }
        }
        copy.disk.sync_dir(DIR.as_ref()).expect("synced");
    }
    copy.open(clean).expect("opened");
    assert_eq!(check(copy.log()).expect("readable").len(), 1);
    copy.drop_damaged().expect("dropped");
    copy
}

/// A log with a transaction that ends with this marker at index 2, and other batches behind it.
fn with_transaction(marker: Marker) -> Rig {
    let rig = Rig::new(5, config(300, false));
    let sample = Sample { producer: (7, 2, 0), timestamp_ms: 1000, attributes: 1 << 4 };
    let mut bodies = vec![
        EntryBody::Blank,
        EntryBody::Batch(batch(2, 30, sample)),
        EntryBody::Batch(marker.batch(7, 2, 1000).expect("a marker")),
    ];
    bodies.extend((0..8).map(|_| EntryBody::Batch(batch(2, 30, Sample::default()))));
    append(&rig, bodies);
    rig
}

#[test]
fn the_marker_of_a_transaction_is_made_again() {
    for (ending, clean) in [
        (Ending::Aborted, true),
        (Ending::Aborted, false),
        (Ending::Committed, true),
        (Ending::Committed, false),
    ] {
        let marker = Marker { ending, coordinator_epoch: 3 };
        let rig = with_transaction(marker);
        let aborted = rig.log().aborted_between(0, i64::MAX);
        assert_eq!(aborted.len(), usize::from(ending == Ending::Aborted));
        let mut copy = without(&rig, 2, clean);
        for clean in [true, false] {
            assert_eq!(check(copy.log()).expect("readable"), []);
            assert_eq!(copy.log().aborted_between(0, i64::MAX), aborted);
            assert_eq!(copy.log().open_transactions(), []);
            let EntryBody::Batch(made) = &copy.entries(2)[0].body else { panic!("a batch") };
            assert_eq!(Marker::of(made), Some(marker));
            let header = made.header();
            assert_eq!((header.producer_id, header.producer_epoch, header.base_offset), (7, 2, 2));
            copy.close().expect("closed");
            copy.open(clean).expect("opened again");
        }
    }
}

/// With more than one wrong bit, the index of aborted transactions still knows it.
#[test]
fn the_marker_of_an_aborted_transaction_is_made_again_from_the_index() {
    let marker = Marker { ending: Ending::Aborted, coordinator_epoch: 0 };
    let rig = with_transaction(marker);
    let (base_offset, _, position) = place(&rig, 2);
    rig.close().expect("closed");
    let mut copy = rig.copy();
    let name = PathBuf::from(DIR).join(file_name(base_offset, "log"));
    for byte in [62, 65, 70] {
        copy.disk.flip_bit(&name, u64::from(position + byte) * 8).expect("flipped");
    }
    copy.open(true).expect("opened");
    assert_eq!(check(copy.log()).expect("readable").len(), 1);
    copy.drop_damaged().expect("dropped");
    assert_eq!(copy.log().open_transactions(), []);
    let EntryBody::Batch(made) = &copy.entries(2)[0].body else { panic!("a batch") };
    assert_eq!(Marker::of(made), Some(marker));
}

#[test]
fn the_record_of_a_membership_is_made_again_in_a_log_without_records() {
    let rig = Rig::new(5, config(300, false));
    let membership = Bytes::from_static(b"members");
    rig.log().kv().write(&[rig.log().put_membership(0, &membership)]).expect("written");
    append(&rig, vec![EntryBody::Membership(membership), EntryBody::Blank, EntryBody::VOID]);
    rig.close().expect("closed");
    let mut copy = rig.copy();
    let raft = PathBuf::from(DIR).join(file_name(0, "raft"));
    copy.disk.flip_bit(&raft, record_position(0) * 8 + 9).expect("flipped");
    copy.open(true).expect("opened");
    assert_eq!(check(copy.log()).expect("readable"), [Finding::Record { index: 0 }]);
    copy.drop_damaged().expect("dropped");
    for clean in [true, false] {
        assert_eq!(check(copy.log()).expect("readable"), []);
        let kind = copy.log().stubs(0, 1).expect("stubs")[0].meta.kind;
        assert_eq!(kind, EntryKind::Membership);
        copy.close().expect("closed");
        copy.open(clean).expect("opened again");
    }
}

#[test]
fn a_transaction_stays_open_whose_first_batch_is_dropped() {
    let rig = Rig::new(5, config(300, false));
    let within =
        |sequence| Sample { producer: (7, 0, sequence), timestamp_ms: 1000, attributes: 1 << 4 };
    let mut bodies = vec![EntryBody::Blank];
    bodies.extend([0, 2].map(|sequence| EntryBody::Batch(batch(2, 30, within(sequence)))));
    bodies.extend((0..6).map(|_| EntryBody::Batch(batch(2, 30, Sample::default()))));
    append(&rig, bodies);
    let mut copy = without(&rig, 1, true);
    for clean in [true, false] {
        copy.close().expect("closed");
        copy.open(clean).expect("opened again");
        let open = copy.log().open_transactions();
        assert!(matches!(open[..], [(0 | 2, 7)]), "{open:?}");
    }
}

//! Damaged records of a `.raft` file: made again as they were, or not at all.

use std::path::PathBuf;

use bytes::Bytes;

use crate::log::batch::tests::Sample;
use crate::log::entry::{Entry, EntryBody, EntryId, EntryKind, EntryMeta};
use crate::log::metas::read_runs;
use crate::log::partition_log::tests::{DIR, Rig, batch, bytes_of, config};
use crate::log::run::{RECORD_BYTES, Run};
use crate::log::segment::{SegmentFiles, file_name, record_position};

const COUNT: u64 = 30;

/// A log of one segment that begins each term with a blank entry, as Raft does.
fn rig() -> Rig {
    let rig = Rig::new(5, config(1 << 20, false));
    for index in 0..COUNT {
        let sequence = i32::try_from(index).expect("small") * 2;
        let sample = Sample { producer: (5, 0, sequence), timestamp_ms: 1000, attributes: 0 };
        let body = match index % 10 {
            0 => EntryBody::Blank,
            4 => EntryBody::VOID,
            7 => EntryBody::Compacted { end_offset: rig.log().offsets().log_end + 4 },
            _ => EntryBody::Batch(batch(2, 30, sample)),
        };
        let entry = Entry { id: EntryId { term: 1 + index / 10, index }, body, ticket: None };
        rig.append_one(entry).expect("appended");
    }
    rig
}

#[test]
fn a_damaged_record_is_made_again_where_there_is_no_doubt() {
    let rig = rig();
    let expected = rig.log().stubs(0, COUNT).expect("stubs");
    rig.close().expect("closed");
    let path = PathBuf::from(DIR).join(file_name(0, "raft"));
    for count in [1, 2, 5] {
        for first in 0..=COUNT - count {
            let mut copy = rig.copy();
            let damaged = first..first + count;
            for index in damaged.clone() {
                let bit = record_position(index) * 8 + index * 5 % (RECORD_BYTES as u64 * 8);
                copy.disk.flip_bit(&path, bit).expect("flipped");
            }
            let opened = copy.open(true).ok();
            let found = opened.and_then(|()| copy.log().stubs(0, COUNT).ok());
            let found = found.filter(|found| found.len() as u64 == COUNT);
            let kinds = expected.iter().filter(|stub| damaged.contains(&stub.id.index));
            let is_sure = |kind: EntryKind| match kind {
                EntryKind::Batch => true,
                // Nothing stands before the first one that would tell of its term.
                EntryKind::Blank | EntryKind::Compacted => count == 1,
                _ => false,
            };
            let sure = kinds.clone().all(|stub| is_sure(stub.meta.kind));
            let is_placed = |kind: EntryKind| count == 1 && kind == EntryKind::Void;
            let placed = kinds.clone().all(|stub| is_placed(stub.meta.kind));
            assert_eq!(found.is_some(), sure || placed, "{damaged:?}: {found:?}");
            for (found, expected) in found.iter().flatten().zip(&expected) {
                let is_unknown = placed && damaged.contains(&found.id.index);
                let kind = if is_unknown { EntryKind::Unknown } else { expected.meta.kind };
                let expected_meta = EntryMeta { kind, ..expected.meta };
                assert_eq!((found.id, found.meta), (expected.id, expected_meta));
                // Nobody is sent it as something else.
                let entry = copy.log().entries(found.id.index, found.id.index + 1, 0);
                assert_eq!(entry.is_ok(), !is_unknown);
            }
        }
    }
}

/// Batches, runs of entries of which nothing is left, a gap behind one, and two terms.
fn with_runs() -> Rig {
    let mut rig = Rig::new(7, config(1 << 20, false));
    let mut index = 0;
    let mut append = |term: u64, kinds: &str| {
        let mut end = rig.log().offsets().log_end;
        let entry = |kind| {
            let body = match kind {
                'b' => EntryBody::Blank,
                'v' => EntryBody::VOID,
                'c' => {
                    end += 3;
                    EntryBody::Compacted { end_offset: end }
                }
                // With a gap before it: some of what is gone is not told.
                'g' => {
                    let mut batch = batch(2, 30, Sample::default());
                    batch.assign(end + 5, i32::try_from(term).expect("small"));
                    EntryBody::Batch(batch)
                }
                _ => EntryBody::Batch(batch(2, 30, Sample::default())),
            };
            index += 1;
            Entry { id: EntryId { term, index: index - 1 }, body, ticket: None }
        };
        rig.append(kinds.chars().map(entry).collect()).expect("appended");
    };
    for (term, kinds) in [
        (1, "bd"),
        (1, "vccc"),
        (1, "dd"),
        (1, "vvv"),
        (1, "d"),
        (1, "vcc"),
        (1, "g"),
        (1, "v"),
        (1, "cc"),
        (2, "b"),
        (2, "vv"),
        (2, "d"),
        (2, "c"),
    ] {
        append(term, kinds);
    }
    // What is in memory tells of each entry.
    rig.close().expect("closed");
    rig.open(true).expect("opened");
    rig
}

fn runs_of(rig: &Rig) -> Vec<Run> {
    let files = SegmentFiles::open(&rig.disk, DIR.as_ref(), 0).expect("opened");
    let last = rig.log().bounds().1.expect("entries");
    read_runs(&files, 0, 0..last.index + 1, u64::MAX).expect("readable")
}

#[test]
fn a_damaged_record_of_a_run_is_made_again_where_there_is_no_doubt() {
    let rig = with_runs();
    let runs = runs_of(&rig);
    let counts: Vec<u32> = runs.iter().map(|run| run.count).collect();
    assert_eq!(counts, [1, 1, 4, 1, 1, 3, 1, 3, 1, 1, 2, 1, 2, 1, 1]);
    let end_index = runs.last().expect("runs").end_index();
    let expected = rig.log().stubs(0, end_index).expect("stubs");
    rig.close().expect("closed");
    let path = PathBuf::from(DIR).join(file_name(0, "raft"));
    for (slot, run) in runs.iter().enumerate() {
        for bit in 0..RECORD_BYTES as u64 * 8 {
            let mut copy = rig.copy();
            copy.disk.flip_bit(&path, record_position(slot as u64) * 8 + bit).expect("flipped");
            let opened = copy.open(bit % 2 == 0).ok();
            let found = opened.and_then(|()| copy.log().stubs(0, end_index).ok());
            let found = found.filter(|found| found.len() as u64 == end_index);
            let next = runs.get(slot + 1).map(|next| next.meta);
            let same_term = next.is_some_and(|next| next.term == run.meta.term);
            let (is_sure, is_unknown) = match run.meta.kind {
                EntryKind::Batch => (true, false),
                EntryKind::Void if run.count == 1 => (same_term, true),
                // A term begins with a blank entry, so what is before that is of the one before.
                _ => (next.is_some(), false),
            };
            assert_eq!(found.is_some(), is_sure, "{run:?}: {found:?}");
            for (found, expected) in found.iter().flatten().zip(&expected) {
                let is_it = run.indexes().contains(&found.id.index);
                let kind = match is_it && is_unknown {
                    true => EntryKind::Unknown,
                    false => expected.meta.kind,
                };
                let mut meta = EntryMeta { kind, ..expected.meta };
                if is_it && next.is_some_and(|next| next.base_offset > run.meta.next_offset()) {
                    // It may have the offsets of the gap, too.
                    meta.last_offset_delta = found.meta.last_offset_delta;
                }
                assert_eq!((found.id, found.meta), (expected.id, meta), "{run:?}");
            }
        }
    }
}

#[test]
fn what_is_left_of_runs_is_salvaged() {
    let rig = with_runs();
    let runs = runs_of(&rig);
    let end_index = runs.last().expect("runs").end_index();
    let end_offset = rig.log().offsets().log_end;
    let expected = rig.entries(0);
    rig.close().expect("closed");
    let path = PathBuf::from(DIR).join(file_name(0, "raft"));
    for count in 1..4 {
        for first in 0..runs.len() - count {
            let mut copy = rig.copy();
            for slot in first..first + count {
                let bit = record_position(slot as u64) * 8 + slot as u64 * 11 % 256;
                copy.disk.flip_bit(&path, bit).expect("flipped");
            }
            copy.salvage().expect("opened");
            copy.drop_damaged().expect("dropped");
            let found = copy.entries(0);
            assert_eq!(found.len() as u64, end_index);
            assert_eq!(copy.log().offsets().log_end, end_offset);
            let batches = |entries: &[Entry]| -> Vec<Bytes> {
                entries.iter().filter_map(|entry| bytes_of(&entry.body)).collect()
            };
            assert_eq!(batches(&found), batches(&expected), "{first} {count}");
            for clean in [true, false] {
                copy.close().expect("closed");
                copy.open(clean).expect("opened");
                assert_eq!(batches(&copy.entries(0)), batches(&expected), "{first} {count}");
            }
        }
    }
}

/// Nobody does that, because such entries are committed; but a file must not tell of more entries
/// than there are.
#[test]
fn a_run_is_cut_where_the_log_is() {
    for next_index in 3..6 {
        let mut rig = with_runs();
        rig.truncate_after(next_index - 1).expect("truncated");
        for clean in [true, false] {
            assert_eq!(rig.log().bounds().1, Some(EntryId { term: 1, index: next_index - 1 }));
            let last = runs_of(&rig).pop().expect("runs");
            assert_eq!((last.index, last.end_index()), (2, next_index));
            rig.close().expect("closed");
            rig.open(clean).expect("opened");
        }
        let body = EntryBody::Batch(batch(1, 10, Sample::default()));
        let id = EntryId { term: 3, index: next_index };
        rig.append_one(Entry { id, body, ticket: None }).expect("appended");
        assert_eq!(rig.entries(next_index).len(), 1);
    }
}

//! Tests of recovery: what is cut, what is made again, what is refused.

use std::io::IoSlice;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::disk::{Disk, DiskFile, OpenMode};
use crate::log::batch::Batch;
use crate::log::batch::tests::Sample;
use crate::log::entry::{Entry, EntryBody, EntryKind};
use crate::log::partition_log::tests::{DIR, Rig, batch, bytes_of, config};
use crate::log::records::marker::{Ending, Marker};
use crate::log::segment::{RAFT_HEAD_BYTES, file_name};
use crate::sim::disk::SECTOR_BYTES;

/// Entries of a log with one segment; none of them in the durable note.
const COUNT: usize = 24;

fn entry(index: u64, body: EntryBody) -> Entry {
    Entry { id: EntryId { term: 1 + index / 10, index }, body, ticket: None }
}

fn sample(index: u64) -> Sample {
    let sequence = i32::try_from(index).expect("small") * 2;
    let timestamp_ms = 1000 + i64::try_from(index * 7 % 11).expect("small");
    Sample { producer: (5, 0, sequence), timestamp_ms, attributes: 0 }
}

/// A log of batches, with an entry of another kind at every seventh place if `mixed`.
fn rig(segment_bytes: u32, mixed: bool) -> Rig {
    let rig = Rig::new(1, config(segment_bytes, false));
    for index in 0..COUNT as u64 {
        let body = match index % 7 {
            3 if mixed => EntryBody::Blank,
            _ => EntryBody::Batch(batch(2, 30, sample(index))),
        };
        rig.append_one(entry(index, body)).expect("appended");
    }
    rig
}

fn path(rig: &Rig, extension: &str) -> PathBuf {
    let mut names = rig.disk.list(DIR.as_ref()).expect("listed");
    names.retain(|name| name.ends_with(extension));
    PathBuf::from(DIR).join(names.last().expect("a segment"))
}

fn file(rig: &Rig, extension: &str) -> Arc<dyn DiskFile> {
    rig.disk.open(&path(rig, extension), OpenMode::Write).expect("a file")
}

/// What the entries of a log are: id and bytes.
fn contents(rig: &Rig) -> Vec<(EntryId, Option<Bytes>)> {
    let entries = rig.entries(0);
    entries.iter().map(|entry| (entry.id, bytes_of(&entry.body))).collect()
}

/// So many entries lie wholly before `end` in the last segment's `.log`.
fn entries_before(rig: &Rig, end: u64) -> usize {
    let stubs = rig.log().stubs(0, u64::MAX).expect("stubs");
    stubs.iter().take_while(|stub| u64::from(stub.meta.end_position()) <= end).count()
}

/// Opens a copy after something happened to its files; it must have the first `kept` entries.
fn check(rig: &Rig, kept: usize, damage: impl FnOnce(&Rig)) {
    let mut copy = rig.copy();
    damage(&copy);
    copy.open(false).expect("opened");
    let expected = contents(rig);
    assert_eq!(contents(&copy), expected[..kept]);
    // It goes on from there.
    let next = entry(kept as u64, EntryBody::Batch(batch(1, 5, sample(COUNT as u64))));
    let next = Entry { id: EntryId { term: 9, ..next.id }, ..next };
    copy.append_one(next).expect("appended");
    let mut again = copy.copy();
    again.open(false).expect("opened again");
    assert_eq!(contents(&again), contents(&copy));
}

#[test]
fn a_log_cut_anywhere_keeps_the_whole_batches_before() {
    let rig = rig(1 << 20, true);
    let len = file(&rig, "log").len().expect("a length");
    for cut in (0..=len).rev() {
        check(&rig, entries_before(&rig, cut), |copy| {
            let log = file(copy, "log");
            log.set_len(cut).expect("cut");
            log.sync().expect("synced");
        });
    }
}

#[test]
fn a_raft_file_cut_anywhere_is_made_again() {
    let rig = rig(1 << 20, false);
    let len = file(&rig, "raft").len().expect("a length");
    for cut in 0..len {
        check(&rig, COUNT, |copy| {
            let raft = file(copy, "raft");
            raft.set_len(cut).expect("cut");
            raft.sync().expect("synced");
        });
    }
}

#[test]
fn what_stands_behind_the_end_is_cut() {
    let rig = rig(1 << 20, true);
    let len = file(&rig, "log").len().expect("a length");
    let old_batch = rig.disk.read(&path(&rig, "log")).expect("read")[..200].to_vec();
    for garbage in [vec![0; 3000], vec![0xff; 61], vec![7; 1], old_batch] {
        for extension in ["log", "raft"] {
            check(&rig, COUNT, |copy| {
                let file = file(copy, extension);
                let end = file.len().expect("a length");
                file.write_all_at(&[IoSlice::new(&garbage)], end).expect("written");
                file.sync().expect("synced");
            });
        }
    }
    check(&rig, COUNT - 1, |copy| {
        // The length of the last batch was written, its content was not.
        let zeroes = vec![0; 100];
        let log = file(copy, "log");
        log.write_all_at(&[IoSlice::new(&zeroes)], len - 100).expect("written");
        log.sync().expect("synced");
    });
}

/// Opens a copy with a flipped bit.
fn flip(rig: &Rig, extension: &str, bit: u64) -> Result<Rig, RecoveryError> {
    let mut copy = rig.copy();
    copy.disk.flip_bit(&path(&copy, extension), bit).expect("flipped");
    copy.open(false)?;
    Ok(copy)
}

#[test]
fn a_flipped_bit_is_cut_above_the_durable_note_and_kept_for_mending_below() {
    let mut rig = rig(1 << 20, true);
    let expected = contents(&rig);
    let bits = file(&rig, "log").len().expect("a length") * 8;
    // Where the `.raft` file is lost, too, nothing tells of the fields outside the checksum.
    let covered = |bit: &u64| {
        let stubs = rig.log().stubs(0, u64::MAX).expect("stubs");
        let byte = u32::try_from(bit / 8).expect("small");
        let stub = stubs.iter().find(|stub| byte < stub.meta.end_position()).expect("a batch");
        byte - stub.meta.position >= 16
    };
    for bit in (0..bits).step_by(61).filter(covered) {
        let copy = flip(&rig, "log", bit).expect("opened");
        assert_eq!(contents(&copy).len(), entries_before(&rig, bit / 8), "bit {bit}");
    }
    // An orderly stop notes that all is durable; what follows is a crash all the same.
    let bodies = rig.entries(0);
    rig.close().expect("closed");
    for bit in (0..bits).step_by(61) {
        let at = entries_before(&rig, bit / 8);
        // What is no batch has no bytes there.
        let at = at + usize::from(!matches!(bodies[at].body, EntryBody::Batch(_)));
        let EntryBody::Batch(batch) = &bodies[at].body else { panic!("bit {bit} is in a batch") };
        let copy = flip(&rig, "log", bit).expect("opened");
        assert_eq!(copy.log().damage(), [at as u64].into(), "bit {bit}");
        assert!(copy.log().entries(at as u64, at as u64 + 1, 1).is_err());
        copy.mend(at as u64, batch.clone()).expect("mended");
        assert_eq!(contents(&copy), expected);
        assert!(copy.log().damage().is_empty());
    }
    rig.open(true).expect("opened");
    assert_eq!(contents(&rig).len(), COUNT);
}

/// A transaction that is aborted, and the beginning of the next one; and the marker between them.
fn aborted_once(segment_bytes: u32) -> (Rig, Batch) {
    let rig = Rig::new(1, config(segment_bytes, false));
    let marker = Marker { ending: Ending::Aborted, coordinator_epoch: 0 };
    let marker = marker.batch(7, 0, 1000).expect("a batch");
    let bodies = [within(0), EntryBody::Batch(marker), within(2)];
    for (body, index) in bodies.into_iter().zip(0..) {
        rig.append_one(entry(index, body)).expect("appended");
    }
    rig.close().expect("closed");
    let EntryBody::Batch(marker) = rig.entries(0).remove(1).body else { panic!("a marker") };
    (rig, marker)
}

fn within(sequence: i32) -> EntryBody {
    let sample = Sample { producer: (7, 0, sequence), timestamp_ms: 1000, attributes: 1 << 4 };
    EntryBody::Batch(batch(2, 30, sample))
}

#[test]
fn a_marker_that_is_mended_ends_its_transaction() {
    let apply = |rig: &Rig, index: u64| {
        let stub = rig.log().stubs(index, index + 1).expect("stubs")[0];
        rig.log().apply(index, &stub.meta);
        rig.log().offsets().last_stable
    };
    let known = |rig: &Rig| (rig.log().aborted_between(0, 99).len(), rig.log().open_transactions());
    // In the only segment, which is scanned, and in a closed one, of which only the end is
    // believed.
    for segment_bytes in [1 << 20, 150] {
        let (rig, marker) = aborted_once(segment_bytes);
        let mut copy = rig.copy();
        let mut logs = rig.disk.list(DIR.as_ref()).expect("listed");
        for name in logs.iter().filter(|name| name.ends_with(".state")) {
            copy.disk.remove_file(&PathBuf::from(DIR).join(name)).expect("removed");
        }
        logs.retain(|name| name.ends_with(".log"));
        let position = rig.log().stubs(1, 2).expect("stubs")[0].meta.position;
        let name = PathBuf::from(DIR).join(&logs[1.min(logs.len() - 1)]);
        copy.disk.flip_bit(&name, u64::from(position + 50) * 8).expect("flipped");
        copy.open(false).expect("opened");
        assert_eq!(copy.log().damage(), [1].into());
        assert_eq!(known(&copy), (0, vec![(0, 7)]));
        assert_eq!(apply(&copy, 2), 0);
        copy.append_one(entry(3, EntryBody::Blank)).expect("appended");
        copy.append_later(vec![entry(4, within(4))]);
        copy.mend(1, marker).expect("mended");
        assert_eq!(known(&copy), (1, vec![(3, 7)]));
        assert_eq!(apply(&copy, 4), 3);
        // It stays known, whatever was written down in between.
        copy.close().expect("closed");
        copy.open(true).expect("opened");
        assert_eq!(known(&copy), (1, vec![(3, 7)]));
        assert_eq!(apply(&copy, 4), 3);
    }
}

#[test]
fn a_damaged_raft_record_is_made_again_unless_another_replica_has_to_tell() {
    for mixed in [false, true] {
        let rig = rig(1 << 20, mixed);
        let expected = contents(&rig);
        rig.close().expect("closed");
        for index in 0..COUNT as u64 {
            let copy = flip(&rig, "raft", (RAFT_HEAD_BYTES + index * 32 + 9) * 8).expect("opened");
            // A blank entry that does not begin a term could as well be another kind.
            let can = !mixed || ![3, 17].contains(&index);
            let read = copy.log().entries(index, u64::MAX, usize::MAX);
            assert_eq!(read.is_ok(), can, "entry {index}");
            // What is before it can be had all the same.
            let before = if can { COUNT } else { usize::try_from(index).expect("small") };
            assert_eq!(copy.log().entries(0, u64::MAX, usize::MAX).expect("some").len(), before);
            if can {
                assert!(copy.log().damage().is_empty());
            } else {
                assert_eq!(copy.log().damage(), [index].into());
                let stub = copy.log().stubs(index, index + 1).expect("stubs")[0];
                assert_eq!(stub.meta.kind, EntryKind::Unknown);
                let blank = EntryMeta { kind: EntryKind::Blank, ..stub.meta };
                let other = EntryMeta { term: 99, ..blank };
                assert!(copy.mend_record(index, other).is_err());
                copy.mend_record(index, blank).expect("mended");
                assert!(copy.log().damage().is_empty());
            }
            assert_eq!(contents(&copy), expected);
        }
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    let rig = rig(600, true);
    let names = rig.disk.list(DIR.as_ref()).expect("listed");
    let logs: Vec<&String> = names.iter().filter(|name| name.ends_with(".log")).collect();
    assert!(logs.len() > 3);
    for name in &logs[1..] {
        let mut copy = rig.copy();
        copy.disk.remove_file(&PathBuf::from(DIR).join(name)).expect("removed");
        assert!(matches!(copy.open(false), Err(RecoveryError::Corrupt { .. })), "{name}");
    }
}

#[test]
fn indexes_are_made_again_as_they_were() {
    let rig = rig(600, true);
    let read = |rig: &Rig| -> Vec<(String, Vec<u8>)> {
        let mut names = rig.disk.list(DIR.as_ref()).expect("listed");
        names.retain(|name| name.ends_with("index"));
        let content = |name: &String| rig.disk.read(&PathBuf::from(DIR).join(name)).expect("read");
        names.into_iter().map(|name| (name.clone(), content(&name))).collect()
    };
    let expected = read(&rig);
    assert!(expected.len() > 6);
    for damage in [None, Some(0), Some(5)] {
        let mut copy = rig.copy();
        for (name, _) in &expected {
            let path = PathBuf::from(DIR).join(name);
            match damage {
                None => copy.disk.remove_file(&path).expect("removed"),
                Some(len) => {
                    let file = copy.disk.open(&path, OpenMode::Write).expect("a file");
                    file.set_len(len).expect("cut");
                }
            }
        }
        copy.open(false).expect("opened");
        assert_eq!(read(&copy), expected, "{damage:?}");
    }
}

#[test]
fn a_lost_state_file_is_replaced_by_the_entries() {
    let rig = rig(600, true);
    rig.close().expect("closed");
    let names = rig.disk.list(DIR.as_ref()).expect("listed");
    let states: Vec<&String> = names.iter().filter(|name| name.ends_with(".state")).collect();
    for kept in 0..=states.len() {
        let mut copy = rig.copy();
        for name in &states[kept..] {
            copy.disk.remove_file(&PathBuf::from(DIR).join(name)).expect("removed");
        }
        copy.open(true).expect("opened");
        assert_eq!(copy.sequences(), rig.sequences());
        assert_eq!(copy.sequences().len(), 5);
    }
}

#[test]
fn a_clean_start_reads_no_batches() {
    let mut rig = rig(600, true);
    rig.close().expect("closed");
    let before = rig.disk.changes();
    rig.open(true).expect("opened");
    // It removes the state file of the stop and nothing else; the key-value store sets its length.
    let names = rig.disk.list(DIR.as_ref()).expect("listed");
    assert!(names.contains(&file_name(0, "index")));
    assert!(rig.disk.changes() - before < 8, "{}", rig.disk.changes() - before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_anywhere_never_panics_and_never_invents(
        extension in proptest::sample::select(vec!["log", "raft", "index", "timeindex", "state"]),
        bits in proptest::collection::vec(0u64..4000, 1..4),
    ) {
        let rig = rig(700, true);
        rig.close().expect("closed");
        let expected = contents(&rig);
        for clean in [false, true] {
            let mut copy = rig.copy();
            for bit in &bits {
                copy.disk.flip_bit(&path(&copy, extension), *bit).expect("flipped");
            }
            if copy.open(clean).is_ok() {
                // Entries are there as they were, or reading them fails.
                if let Ok(entries) = copy.log().entries(0, u64::MAX, usize::MAX) {
                    let found = entries.iter().map(|entry| (entry.id, bytes_of(&entry.body)));
                    prop_assert!(found.into_iter().all(|entry| expected.contains(&entry)));
                }
            }
        }
    }
}

fn raft_files(rig: &Rig) -> Vec<PathBuf> {
    let names = rig.disk.list(DIR.as_ref()).expect("listed").into_iter();
    names.filter(|name| name.ends_with(".raft")).map(|name| PathBuf::from(DIR).join(name)).collect()
}

fn log_bytes(rig: &Rig) -> Vec<Vec<u8>> {
    let names = rig.disk.list(DIR.as_ref()).expect("listed").into_iter();
    let names = names.filter(|name| name.ends_with(".log"));
    names.map(|name| rig.disk.read(&PathBuf::from(DIR).join(name)).expect("read")).collect()
}

/// Its head and the records behind it may be lost with a sector: what they said is known from what
/// is around them, or the log is not opened and nothing of it is lost.
#[test]
fn the_beginning_of_a_raft_file_may_be_lost() {
    let (mut opened, mut refused) = (0, 0);
    for (segment_bytes, mixed) in [(700, false), (700, true), (1 << 20, false), (1 << 20, true)] {
        let rig = rig(segment_bytes, mixed);
        let (expected, end) = (contents(&rig), rig.log().offsets().log_end);
        let batches = log_bytes(&rig);
        rig.close().expect("closed");
        for (path, lost, clean) in raft_files(&rig).iter().flat_map(|path| {
            let each = [1, 28, 52, 64, 96, 128, 512, 4096].into_iter();
            each.flat_map(move |lost| [(path, lost, true), (path, lost, false)])
        }) {
            let mut copy = rig.copy();
            let raft = copy.disk.open(path, OpenMode::Write).expect("a file");
            let lost = usize::try_from(raft.len().expect("a length")).expect("small").min(lost);
            raft.write_all_at(&[IoSlice::new(&vec![0; lost])], 0).expect("written");
            raft.sync().expect("synced");
            match copy.open(clean) {
                Ok(()) => {
                    opened += 1;
                    assert_eq!(contents(&copy), expected, "{path:?} {lost} {clean}");
                    copy.close().expect("closed");
                    copy.open(clean).expect("opened again");
                    assert_eq!(contents(&copy), expected, "{path:?} {lost} {clean}");
                }
                Err(RecoveryError::Corrupt { .. }) => {
                    refused += 1;
                    assert!(lost > 64, "{path:?} {lost} {clean}");
                    copy.salvage().expect("opened");
                    assert_eq!(copy.log().bounds().1, rig.log().bounds().1, "{path:?} {lost}");
                    let batches = |all: &[(EntryId, Option<Bytes>)]| -> Vec<Bytes> {
                        all.iter().filter_map(|(_, batch)| batch.clone()).collect()
                    };
                    assert_eq!(batches(&contents(&copy)), batches(&expected), "{path:?} {lost}");
                }
                Err(error) => panic!("{path:?} {lost} {clean}: {error}"),
            }
            assert_eq!(log_bytes(&copy), batches, "{path:?} {lost} {clean}");
            assert_eq!(copy.log().offsets().log_end, end, "{path:?} {lost} {clean}");
        }
    }
    assert!(opened > 20 && refused > 5, "{opened} {refused}");
}

#[test]
fn a_wrong_bit_in_the_head_of_the_first_segment_that_is_kept_does_no_harm() {
    for upto in [3, 5, 12] {
        let rig = rig(700, true);
        rig.apply_first(COUNT);
        let id = rig.log().stubs(upto, upto + 1).expect("stubs")[0].id;
        rig.purge(id).expect("purged");
        let expected: Vec<(EntryId, Option<Bytes>)> = {
            let entries = rig.entries(upto + 1);
            entries.iter().map(|entry| (entry.id, bytes_of(&entry.body))).collect()
        };
        rig.close().expect("closed");
        let first = raft_files(&rig).remove(0);
        for bit in 0..RAFT_HEAD_BYTES * 8 {
            let mut copy = rig.copy();
            copy.disk.flip_bit(&first, bit).expect("flipped");
            copy.open(true).unwrap_or_else(|error| panic!("bit {bit}: {error}"));
            let entries = copy.entries(upto + 1);
            let found = entries.iter().map(|entry| (entry.id, bytes_of(&entry.body)));
            assert_eq!(found.collect::<Vec<_>>(), expected, "bit {bit}");
        }
    }
}

/// The heads of two segments beside each other may be damaged.
#[test]
fn nothing_is_cut_where_two_heads_are_damaged() {
    let rig = rig(700, true);
    let (expected, batches) = (contents(&rig), log_bytes(&rig));
    rig.close().expect("closed");
    let files = raft_files(&rig);
    for pair in files.windows(2) {
        for (clean, flip_batch) in [(true, false), (false, false), (true, true), (false, true)] {
            let mut copy = rig.copy();
            for path in pair {
                copy.disk.flip_bit(path, 9 * 8).expect("flipped");
            }
            let log = pair[1].with_extension("log");
            if flip_batch {
                copy.disk.flip_bit(&log, 70 * 8).expect("flipped");
            }
            copy.open(clean).unwrap_or_else(|error| panic!("{pair:?} {clean}: {error}"));
            let lens = |all: &[Vec<u8>]| all.iter().map(Vec::len).collect::<Vec<_>>();
            assert_eq!(lens(&log_bytes(&copy)), lens(&batches), "{pair:?}");
            if flip_batch {
                let last = pair[1] == *files.last().expect("one");
                assert!(copy.log().damage().len() == 1 || last, "{pair:?} {clean}");
            } else {
                assert_eq!(contents(&copy), expected, "{pair:?} {clean}");
            }
        }
    }
}

/// No bad sector in the other files keeps a log from being opened, or else it can be salvaged.
#[test]
fn a_log_with_bad_sectors_in_its_other_files_is_opened() {
    let (mut opened, mut salvaged) = (0, 0);
    for mixed in [false, true] {
        let mut rig = rig(700, mixed);
        let (expected, end) = (contents(&rig), rig.log().offsets().log_end);
        rig.apply_first(COUNT);
        rig.close().expect("closed");
        rig.open(true).expect("opened");
        rig.close().expect("closed");
        let names = rig.disk.list(DIR.as_ref()).expect("listed");
        for name in names.iter().filter(|name| !name.ends_with(".log")) {
            for clean in [true, false] {
                let path = PathBuf::from(DIR).join(name);
                let mut copy = rig.copy();
                copy.disk.spoil_sector(&path, 0).expect("spoilt");
                if copy.open(clean).is_ok() {
                    opened += 1;
                    assert_eq!(contents(&copy), expected, "{name} {clean}");
                } else {
                    salvaged += 1;
                    assert!(name.ends_with(".raft"), "{name} {clean}");
                    copy.salvage().expect("opened");
                    copy.drop_damaged().expect("dropped");
                }
                assert_eq!(copy.log().offsets().log_end, end, "{name} {clean}");
                copy.close().expect("closed");
                copy.open(clean).expect("opened again");
            }
        }
    }
    assert!(opened > 20 && salvaged > 0, "{opened} {salvaged}");
}

/// A sector that cannot be read is damage as wrong bits are: the rest of the log is there.
#[test]
fn a_log_with_bad_sectors_is_opened() {
    let rig = rig(1 << 20, false);
    let expected = contents(&rig);
    rig.close().expect("closed");
    let bytes = log_bytes(&rig).remove(0).len();
    for sector in 0..bytes / SECTOR_BYTES {
        let mut copy = rig.copy();
        copy.disk.spoil_sector(&path(&copy, "log"), sector).expect("spoilt");
        copy.open(false).expect("opened");
        let damage = copy.log().damage();
        assert!((2..=6).contains(&damage.len()), "{damage:?}");
        for (kept, index) in expected.iter().zip(0..) {
            let found = copy.log().entries(index, index + 1, usize::MAX);
            match damage.contains(&index) {
                true => assert!(found.is_err()),
                false => {
                    let found = found.expect("readable").remove(0);
                    assert_eq!((found.id, bytes_of(&found.body)), *kept);
                }
            }
        }
    }
}

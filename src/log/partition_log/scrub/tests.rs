//! One wrong bit anywhere in the batches and in the records of their entries is found.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::base::disk::Disk;
use crate::log::batch::tests::Sample;
use crate::log::entry::{Entry, EntryBody, EntryId};
use crate::log::partition_log::tests::{DIR, Rig, batch, bytes_of, config};
use crate::log::records::filter::Left;
use crate::log::repair::replace_damaged;
use crate::log::run::RECORD_BYTES;
use crate::log::segment::RAFT_HEAD_BYTES;
use crate::sim::disk::SECTOR_BYTES;

const COUNT: u64 = 12;

fn rig() -> Rig {
    let rig = Rig::new(5, config(700, false));
    for index in 0..COUNT {
        let sequence = i32::try_from(index).expect("small") * 2;
        let sample = Sample { producer: (5, 0, sequence), timestamp_ms: 1000, attributes: 0 };
        let body = EntryBody::Batch(batch(2, 30, sample));
        let entry = Entry { id: EntryId { term: 1, index }, body, ticket: None };
        rig.append_one(entry).expect("appended");
    }
    rig
}

fn scrub(rig: &Rig) -> u64 {
    let (mut from, mut bytes) = (0, 0);
    loop {
        let step = rig.log().scrub(from, 200).expect("readable");
        bytes += step.bytes;
        match step.next {
            Some(next) => from = next,
            None => return bytes,
        }
    }
}

fn names(rig: &Rig, extension: &str) -> Vec<PathBuf> {
    let mut names = rig.disk.list(DIR.as_ref()).expect("listed");
    names.retain(|name| name.ends_with(extension));
    names.into_iter().map(|name| PathBuf::from(DIR).join(name)).collect()
}

#[test]
fn every_wrong_bit_is_found() {
    let rig = rig();
    rig.close().expect("closed");
    let batches = rig.entries(0);
    assert!(names(&rig, ".log").len() > 1, "several segments");
    for name in names(&rig, ".log") {
        let bits = rig.disk.read(&name).expect("read").len() as u64 * 8;
        for bit in (0..bits).step_by(37) {
            let mut copy = rig.copy();
            copy.open(true).expect("opened");
            assert_eq!(scrub(&copy), rig.log().size_bytes() + COUNT * RECORD_BYTES as u64);
            assert!(copy.log().damage().is_empty());
            copy.disk.flip_bit(&name, bit).expect("flipped");
            scrub(&copy);
            let damage = copy.log().damage();
            assert_eq!(damage.len(), 1, "bit {bit} of {}", name.display());
            let index = *damage.first().expect("one");
            let at = usize::try_from(index).expect("small");
            let EntryBody::Batch(right) = &batches[at].body else { panic!("a batch") };
            let EntryBody::Batch(other) = &batches[(at + 1) % batches.len()].body else {
                panic!("a batch")
            };
            assert!(copy.mend(index, other.clone()).is_err(), "that is another batch");
            copy.mend(index, right.clone()).expect("mended");
            scrub(&copy);
            assert!(copy.log().damage().is_empty());
            assert_eq!(copy.disk.read(&name).expect("read"), rig.disk.read(&name).expect("read"));
        }
    }
}

#[test]
fn records_of_entries_are_written_again() {
    let rig = rig();
    rig.close().expect("closed");
    for name in names(&rig, ".raft") {
        let written = rig.disk.read(&name).expect("read");
        for bit in (RAFT_HEAD_BYTES * 8..written.len() as u64 * 8).step_by(13) {
            let mut copy = rig.copy();
            copy.open(true).expect("opened");
            copy.disk.flip_bit(&name, bit).expect("flipped");
            scrub(&copy);
            assert_eq!(copy.disk.read(&name).expect("read"), written, "bit {bit}");
            assert!(copy.log().damage().is_empty());
        }
    }
}

/// What lies in a bad sector is found, and the rest is looked at. The segment is written anew with
/// what others have: the disk cannot write into part of a bad sector.
#[test]
fn what_cannot_be_read_is_damaged() {
    let rig = rig();
    let expected = rig.entries(0);
    let applied = rig.log().stubs(COUNT - 1, COUNT).expect("stubs")[0];
    rig.close().expect("closed");
    let bytes = rig.log().size_bytes();
    let mut whole = 0;
    for name in names(&rig, ".log") {
        let sectors = rig.disk.read(&name).expect("read").len().div_ceil(SECTOR_BYTES);
        for sector in 0..sectors {
            let mut copy = rig.copy();
            copy.open(true).expect("opened");
            copy.log().apply(applied.id.index, &applied.meta);
            copy.disk.spoil_sector(&name, sector).expect("spoilt");
            assert_eq!(scrub(&copy), bytes + COUNT * RECORD_BYTES as u64, "all is looked at");
            let damage = copy.log().damage();
            assert!(!damage.is_empty());
            let mut found = BTreeMap::new();
            for index in damage {
                assert!(copy.log().entries(index, index + 1, usize::MAX).is_err());
                let entry = &expected[usize::try_from(index).expect("small")];
                let EntryBody::Batch(batch) = &entry.body else { panic!("a batch") };
                match copy.mend(index, batch.clone()) {
                    Ok(()) => whole += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
                        if copy.log().is_in_active_segment(index) {
                            copy.roll().expect("rolled");
                        }
                        found.insert(index, Left::Changed(batch.clone()));
                    }
                }
            }
            let replaced = replace_damaged(copy.log(), &found).expect("replaced");
            assert!(replaced.iter().eq(found.keys()), "{name:?} {sector}");
            assert!(copy.log().damage().is_empty());
            scrub(&copy);
            assert!(copy.log().damage().is_empty());
            let all = copy.entries(0);
            let bodies = |entries: &[Entry]| -> Vec<_> {
                entries.iter().map(|entry| (entry.id, bytes_of(&entry.body))).collect()
            };
            assert_eq!(bodies(&all), bodies(&expected));
        }
    }
    assert_eq!(whole, 0, "no batch has a sector for itself");
}

#[test]
fn records_in_a_bad_sector_are_made_again_whenever_they_are_read() {
    let rig = rig();
    let stubs = rig.log().stubs(0, COUNT).expect("stubs");
    rig.close().expect("closed");
    for name in names(&rig, ".raft") {
        let mut copy = rig.copy();
        copy.open(true).expect("opened");
        copy.disk.spoil_sector(&name, 0).expect("spoilt");
        scrub(&copy);
        // They are those of batches that follow each other.
        for stub in &stubs {
            let found = copy.log().stubs(stub.id.index, stub.id.index + 1).expect("stubs");
            assert_eq!(found[0].meta, stub.meta);
        }
    }
}

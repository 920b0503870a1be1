//! Wrong bits under an open log: nothing but what was written is ever read.

use std::path::PathBuf;

use bytes::Bytes;

use crate::base::disk::Disk;
use crate::base::ids::Offset;
use crate::base::rng::Rng;
use crate::log::batch::tests::Sample;
use crate::log::entry::{Entry, EntryBody, EntryId};
use crate::log::partition_log::ReadError;
use crate::log::partition_log::tests::{DIR, Rig, batch, bytes_of, config};

const COUNT: u64 = 60;
const RECORDS_IN_BATCH: i32 = 2;

/// A committed log of several segments with entries of all kinds that have a place in one.
fn rig() -> Rig {
    let rig = Rig::new(3, config(1500, false));
    for index in 0..COUNT {
        let producer = (5, 0, i32::try_from(index).expect("small") * RECORDS_IN_BATCH);
        let timestamp_ms = 1000 + i64::try_from(index * 7 % 31).expect("small");
        let body = match index % 9 {
            4 => EntryBody::Blank,
            6 => EntryBody::VOID,
            _ => {
                let sample = Sample { producer, timestamp_ms, attributes: 0 };
                EntryBody::Batch(batch(2, 30, sample))
            }
        };
        let entry = Entry { id: EntryId { term: 1 + index / 20, index }, body, ticket: None };
        rig.append_one(entry).expect("appended");
    }
    apply(&rig).expect("readable");
    rig
}

/// Makes all visible; `None` if that cannot be read.
fn apply(rig: &Rig) -> Option<()> {
    let mut next = 0;
    while let Some(stub) = rig.log().stubs(next, next + 1).ok()?.first() {
        rig.log().apply(stub.id.index, &stub.meta);
        next += 1;
    }
    Some(())
}

fn last_offset(batch: &Bytes) -> Offset {
    let base = i64::from_be_bytes(batch[..8].try_into().expect("eight bytes"));
    base + i64::from(RECORDS_IN_BATCH) - 1
}

/// All that can be fetched from an offset on in portions of `size` bytes, and whether the end was
/// reached.
fn fetch(rig: &Rig, mut offset: Offset, size: u32) -> (Vec<Bytes>, bool) {
    let mut batches = Vec::new();
    let end = rig.log().offsets().high_watermark;
    while offset < end {
        let slice = rig.log().slice(offset, size, true);
        let slice = slice.and_then(|slice| slice.map(|slice| rig.log().checked(slice)).transpose());
        match slice {
            Ok(Some(slice)) => {
                let mut bytes = slice.read().expect("readable");
                while !bytes.is_empty() {
                    let size = u32::from_be_bytes(bytes[8..12].try_into().expect("four")) + 12;
                    let batch = bytes.split_to(size as usize);
                    offset = last_offset(&batch) + 1;
                    batches.push(batch);
                }
            }
            Ok(None) => panic!("nothing at {offset} of {end}"),
            Err(ReadError::Damaged | ReadError::Io(_)) => return (batches, false),
            Err(ReadError::OutOfRange) => panic!("{offset} is out of range"),
        }
    }
    (batches, true)
}

fn names(rig: &Rig) -> Vec<PathBuf> {
    let names = rig.disk.list(DIR.as_ref()).expect("listed");
    names.into_iter().map(|name| PathBuf::from(DIR).join(name)).collect()
}

#[test]
fn a_wrong_bit_anywhere_is_never_served() {
    let rig = rig();
    let written: Vec<Bytes> =
        rig.entries(0).iter().filter_map(|entry| bytes_of(&entry.body)).collect();
    assert_eq!(fetch(&rig, 0, 400), (written.clone(), true));
    let times: Vec<_> = (990..1040).map(|at| rig.log().offset_for_timestamp(at).ok()).collect();
    rig.close().expect("closed");
    let rng = Rng::seeded(11);
    for round in 0..1000 {
        let mut copy = rig.copy();
        // Sometimes under an open log, sometimes before it is opened, after a crash or not.
        let way = rng.below(3);
        if way == 0 {
            copy.open(true).expect("opened");
            apply(&copy).expect("readable");
        }
        let names = names(&copy);
        let name = &names[usize::try_from(rng.below(names.len() as u64)).expect("small")];
        let bits = copy.disk.read(name).expect("read").len() as u64 * 8;
        if bits == 0 {
            continue;
        }
        let bit = rng.below(bits);
        copy.disk.flip_bit(name, bit).expect("flipped");
        if way > 0 && (copy.open(way == 1).is_err() || apply(&copy).is_none()) {
            continue;
        }
        let what = format!("round {round}: bit {bit} of {}", name.display());
        for (at, size) in [(0, 1), (0, 400), (0, 100_000), (7, 300), (51, 300)] {
            let (found, is_whole) = fetch(&copy, at, size);
            let skipped = written.iter().filter(|batch| last_offset(batch) < at).count();
            let wanted = &written[skipped..];
            assert_eq!(found, wanted[..found.len()], "{what}, from {at}");
            assert_eq!(is_whole, found.len() == wanted.len(), "{what}, from {at}");
        }
        for (at, expected) in (990..1040).zip(&times) {
            if let Ok(found) = copy.log().offset_for_timestamp(at) {
                assert_eq!(Some(found), *expected, "{what}, time {at}");
            }
        }
    }
}

//! Damaged records of a `.raft` file: made again as they were, or not at all.

use std::path::PathBuf;

use crate::log::batch::tests::Sample;
use crate::log::entry::{Entry, EntryBody, EntryId, EntryKind, EntryMeta, META_BYTES};
use crate::log::partition_log::tests::{DIR, Rig, batch, config};
use crate::log::segment::{RAFT_HEAD_BYTES, file_name};

const COUNT: u64 = 30;

/// A log of one segment that begins each term with a blank entry, as Raft does.
fn rig() -> Rig {
    let rig = Rig::new(5, config(1 << 20, false));
    for index in 0..COUNT {
        let sequence = i32::try_from(index).expect("small") * 2;
        let sample = Sample { producer: (5, 0, sequence), timestamp_ms: 1000, attributes: 0 };
        let body = match index % 10 {
            0 => EntryBody::Blank,
            4 => EntryBody::Void,
            7 => EntryBody::Compacted { last_offset_delta: 3 },
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
                let bit = (RAFT_HEAD_BYTES + index * META_BYTES as u64) * 8 + index * 5 % 256;
                copy.disk.flip_bit(&path, bit).expect("flipped");
            }
            let opened = copy.open(true).ok();
            let found = opened.and_then(|()| copy.log().stubs(0, COUNT).ok());
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

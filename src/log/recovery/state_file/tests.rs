//! What is written is read again, and files of the first format are replaced.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::log::batch::tests::Sample;
use crate::log::entry::{Entry, EntryBody};
use crate::log::partition_log::tests::{DIR, Rig, batch, config};
use crate::log::records::marker::Ending;

/// The same as the first format had it.
fn encode_old(state: &Replay) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(OLD_STATE_MAGIC);
    out.put_u64(state.next_index);
    out.put_u32(u32::try_from(state.terms.len()).expect("small"));
    for start in &state.terms {
        out.put_u64(start.first.term);
        out.put_u64(start.first.index);
        out.put_i64(start.start_offset);
    }
    out.put_u32(u32::try_from(state.producers.len()).expect("small"));
    for (producer_id, entry) in state.producers.iter() {
        out.put_i64(producer_id);
        out.put_i16(entry.epoch);
        out.put_i64(entry.last_append_ms);
        out.put_u8(u8::try_from(entry.batches.len()).expect("small"));
        for batch in &entry.batches {
            out.put_i32(batch.first_sequence);
            out.put_i32(batch.last_sequence);
            out.put_i64(batch.last_offset);
            out.put_i32(batch.offset_delta);
            out.put_i64(batch.timestamp_ms);
        }
    }
    out.put_u32(crc32c::crc32c(&out));
    out
}

fn states(rig: &Rig) -> Vec<PathBuf> {
    let mut names = rig.disk.list(DIR.as_ref()).expect("listed");
    names.retain(|name| name.ends_with(".state"));
    names.into_iter().map(|name| PathBuf::from(DIR).join(name)).collect()
}

#[test]
fn a_file_without_transactions_is_replaced_by_the_entries() {
    let mut rig = Rig::new(1, config(600, false));
    for index in 0..24 {
        // A transaction that is open from the beginning on, and one that ends again and again.
        let (producer, attributes) = if index < 2 { (1, 1 << 4) } else { (2, 1 << 4) };
        let sequence = i32::try_from(index).expect("small") * 2;
        let sample = Sample { producer: (producer, 0, sequence), timestamp_ms: 1000, attributes };
        let body = match index % 5 {
            4 => {
                let ending = if index > 10 { Ending::Aborted } else { Ending::Committed };
                Marker { ending, coordinator_epoch: 7 }.batch(2, 0, 1_000).expect("a batch")
            }
            _ => batch(2, 30, sample),
        };
        let entry =
            Entry { id: EntryId { term: 1, index }, body: EntryBody::Batch(body), ticket: None };
        rig.append_one(entry).expect("appended");
    }
    rig.close().expect("closed");
    let names = states(&rig);
    assert!(names.len() > 3);
    let known: Vec<Vec<u8>> = names.iter().map(|name| rig.disk.read(name).expect("read")).collect();
    let expected = rig.log().aborted_between(0, Offset::MAX);
    assert_eq!(expected.len(), 2);
    for (name, content) in names.iter().zip(&known) {
        let old = encode_old(&decode_state(content).expect("a state"));
        rig.disk.write(name, &old).expect("written");
    }
    rig.open(true).expect("opened");
    assert_eq!(rig.log().open_transactions(), [(0, 1), (36, 2)]);
    assert_eq!(rig.log().aborted_between(0, Offset::MAX), expected);
    rig.close().expect("closed");
    let times = |content: &[u8]| -> Vec<(i64, i32, Option<Offset>)> {
        let state = decode_state(content).expect("a state");
        assert!(state.knows_transactions);
        let facts = |(id, entry): (i64, &ProducerEntry)| {
            (id, entry.coordinator_epoch, entry.transaction_first)
        };
        state.producers.iter().map(facts).collect()
    };
    assert_eq!(states(&rig), names);
    for (name, content) in names.iter().zip(&known) {
        assert_eq!(times(&rig.disk.read(name).expect("read")), times(content));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        producers in proptest::collection::btree_map(
            0i64..100,
            (any::<i16>(), any::<i32>(), proptest::option::of(0i64..1000), 0usize..5),
            0..10,
        ),
        ended in proptest::collection::btree_map(0i64..1000, any::<i64>(), 0..5),
        next_index: u64,
        bit: prop::sample::Index,
    ) {
        let mut states = ProducerStates::default();
        for (id, (epoch, coordinator_epoch, transaction_first, count)) in producers {
            let meta = |sequence| BatchMeta {
                first_sequence: sequence,
                last_sequence: sequence + 1,
                last_offset: id,
                offset_delta: 1,
                timestamp_ms: -1,
            };
            let batches = (0..).take(count).map(meta).collect();
            let last_append_ms = id * 7;
            let entry = ProducerEntry {
                epoch,
                last_append_ms,
                batches,
                coordinator_epoch,
                transaction_first,
            };
            states.insert(id, entry);
        }
        ended.iter().for_each(|(first, last)| states.insert_ended(*first, *last));
        let first = EntryId { term: 3, index: 9 };
        let terms = [TermStart { first, start_offset: 5 }];
        let mut content = encode(next_index, &terms, &states);
        let found = decode_state(&content).expect("a state");
        prop_assert_eq!(found.next_index, next_index);
        prop_assert_eq!(found.terms, terms);
        prop_assert_eq!(found.producers, states);
        let bit = bit.index(content.len() * 8);
        content[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode_state(&content).is_none());
    }
}

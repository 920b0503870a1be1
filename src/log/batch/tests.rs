//! Batches for tests, and tests of batches.

use bytes::BufMut;
use proptest::prelude::*;

use super::*;
use crate::log::records::build::put_varint;

/// What a test batch holds besides its values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) producer: (i64, i16, i32),
    pub(crate) timestamp_ms: i64,
    pub(crate) attributes: i16,
}

impl Default for Sample {
    fn default() -> Self {
        Self { producer: (-1, -1, -1), timestamp_ms: 1_000, attributes: 0 }
    }
}

/// Encodes an uncompressed batch with one record per value.
pub(crate) fn encode(values: &[&[u8]], sample: Sample) -> Bytes {
    let mut records = Vec::new();
    for (delta, value) in values.iter().enumerate() {
        let mut record = vec![0, 0];
        put_varint(&mut record, i64::try_from(delta).expect("small"));
        put_varint(&mut record, -1);
        put_varint(&mut record, i64::try_from(value.len()).expect("small"));
        record.extend_from_slice(value);
        put_varint(&mut record, 0);
        put_varint(&mut records, i64::try_from(record.len()).expect("small"));
        records.extend_from_slice(&record);
    }
    let count = i32::try_from(values.len()).expect("small");
    let (producer_id, producer_epoch, base_sequence) = sample.producer;
    let mut covered = Vec::new();
    covered.put_i16(sample.attributes);
    covered.put_i32(count - 1);
    covered.put_i64(sample.timestamp_ms);
    covered.put_i64(sample.timestamp_ms);
    covered.put_i64(producer_id);
    covered.put_i16(producer_epoch);
    covered.put_i32(base_sequence);
    covered.put_i32(count);
    covered.extend_from_slice(&records);
    let mut batch = Vec::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(covered.len() + 9).expect("small"));
    batch.put_i32(-1);
    batch.put_i8(MAGIC);
    batch.put_u32(crc32c::crc32c(&covered));
    batch.extend_from_slice(&covered);
    batch.into()
}

/// A batch of one-byte records.
pub(crate) fn batch(count: usize, sample: Sample) -> Batch {
    let values = vec![&b"v"[..]; count];
    Batch::take(&mut encode(&values, sample)).expect("a good batch")
}

/// The same batch as a producer sends it whose epoch is 0.
pub(crate) fn of_producer(plain: &Batch, id: i64, sequence: i32, transactional: bool) -> Batch {
    let mut bytes = joined(plain).to_vec();
    bytes[22] |= u8::from(transactional) << 4;
    bytes[43..51].copy_from_slice(&id.to_be_bytes());
    bytes[51..53].copy_from_slice(&0_i16.to_be_bytes());
    bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]).to_be_bytes();
    bytes[17..21].copy_from_slice(&crc);
    Batch::take(&mut bytes.into()).expect("a good batch")
}

fn joined(batch: &Batch) -> Bytes {
    [&batch.head()[..], batch.records()].concat().into()
}

#[test]
fn offset_and_epoch_lie_outside_the_checksum() {
    let mut batch = batch(3, Sample::default());
    batch.assign(42, 7);
    let again = Batch::take(&mut joined(&batch)).expect("still a good batch");
    assert_eq!(again, batch);
    assert_eq!((again.header().base_offset, again.header().leader_epoch), (42, 7));
    assert_eq!(again.header().last_offset(), 44);
}

#[test]
fn log_append_time_is_set_with_a_new_checksum() {
    let mut batch = batch(1, Sample::default());
    batch.set_log_append_time(99);
    let mut again = Batch::take(&mut joined(&batch)).expect("still a good batch");
    assert!(again.header().is_log_append_time());
    assert_eq!(again.header().max_timestamp_ms, 99);
    again.set_create_time(None);
    let mut again = Batch::take(&mut joined(&again)).expect("still a good batch");
    assert!(!again.header().is_log_append_time());
    assert_eq!(again.header().max_timestamp_ms, 99);
    again.set_create_time(Some(77));
    let again = Batch::take(&mut joined(&again)).expect("still a good batch");
    assert_eq!(again.header().max_timestamp_ms, 77);
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_add(i32::MAX, 1), 0);
    assert_eq!(sequence_add(i32::MAX - 1, 3), 1);
    assert_eq!(sequence_add(5, 2), 7);
}

proptest! {
    #[test]
    fn any_flipped_bit_after_the_epoch_is_noticed(bit in 16usize * 8..61 * 8, count in 1usize..9) {
        let values = vec![&b"value"[..]; count];
        let mut bytes = encode(&values, Sample::default()).to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Batch::take(&mut bytes.into()).is_err());
    }

    #[test]
    fn any_cut_is_noticed(keep in 0usize..90) {
        let mut bytes = encode(&[&[7; 40]], Sample::default());
        prop_assume!(keep < bytes.len());
        bytes.truncate(keep);
        prop_assert!(Batch::take(&mut bytes).is_err());
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Batch::take(&mut bytes.into());
    }
}

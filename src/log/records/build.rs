//! Making batches of the broker's own: records of internal topics, uncompressed.

use bytes::{BufMut, Bytes, BytesMut};

use crate::log::batch::{Batch, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, NO_PRODUCER_ID};

/// What lies between the length field and the records, without epoch, magic and checksum.
const COVERED_HEAD_BYTES: usize = 40;

/// A record to be written; no value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

impl NewRecord {
    /// About what it takes in a batch, in bytes.
    pub fn size(&self) -> usize {
        RECORD_OVERHEAD_BYTES + self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Lengths, deltas and attributes of a record at most.
const RECORD_OVERHEAD_BYTES: usize = 24;

/// A batch of these records, all of the same time. There must be at least one.
pub fn batch(records: &[NewRecord], timestamp_ms: i64) -> Option<Batch> {
    let count = i32::try_from(records.len()).ok().filter(|count| *count > 0)?;
    let size: usize = records.iter().map(NewRecord::size).sum();
    let mut out = BytesMut::with_capacity(HEADER_BYTES + size);
    out.put_i64(0);
    out.put_i32(0);
    out.put_i32(-1);
    out.put_i8(MAGIC);
    out.put_u32(0);
    let covered_from = out.len();
    out.put_i16(0);
    out.put_i32(count - 1);
    out.put_i64(timestamp_ms);
    out.put_i64(timestamp_ms);
    out.put_i64(NO_PRODUCER_ID);
    out.put_i16(-1);
    out.put_i32(-1);
    out.put_i32(count);
    debug_assert_eq!(out.len() - covered_from, COVERED_HEAD_BYTES);
    let mut record = BytesMut::new();
    for (delta, new) in (0i64..).zip(records) {
        record.clear();
        record.put_i8(0);
        put_varint(&mut record, 0);
        put_varint(&mut record, delta);
        put_bytes(&mut record, Some(&new.key))?;
        put_bytes(&mut record, new.value.as_ref())?;
        put_varint(&mut record, 0);
        put_varint(&mut out, i64::try_from(record.len()).ok()?);
        out.extend_from_slice(&record);
    }
    let length = i32::try_from(out.len() - LENGTH_PREFIX_BYTES).ok()?;
    let crc = crc32c::crc32c(out.get(covered_from..)?);
    out.get_mut(8..12)?.copy_from_slice(&length.to_be_bytes());
    out.get_mut(17..21)?.copy_from_slice(&crc.to_be_bytes());
    Batch::take(&mut out.freeze()).ok()
}

fn put_bytes(out: &mut BytesMut, bytes: Option<&Bytes>) -> Option<()> {
    match bytes {
        Some(bytes) => {
            put_varint(out, i64::try_from(bytes.len()).ok()?);
            out.extend_from_slice(bytes);
        }
        None => put_varint(out, -1),
    }
    Some(())
}

/// A zigzag number, as records have them.
pub(crate) fn put_varint(out: &mut impl BufMut, value: i64) {
    let mut zigzag = (value << 1 ^ value >> 63).cast_unsigned();
    while zigzag >= 0x80 {
        out.put_u8(zigzag.to_le_bytes()[0] | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::records;
    use crate::log::records::examine::{Demands, examined};

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_again(
            pairs in proptest::collection::vec((bytes(), proptest::option::of(bytes())), 1..20),
        ) {
            let new: Vec<NewRecord> =
                pairs.into_iter().map(|(key, value)| NewRecord { key, value }).collect();
            let mut built = batch(&new, 77).expect("a batch");
            built.assign(1_000, 3);
            let whole: Bytes = [&built.head()[..], built.records()].concat().into();
            let read = records::key_values(&whole).expect("walked");
            prop_assert_eq!(read.len(), new.len());
            for ((offset, new), read) in (1_000..).zip(&new).zip(read) {
                prop_assert_eq!((read.offset, read.timestamp_ms), (offset, 77));
                prop_assert_eq!(read.key.as_ref(), Some(&new.key));
                prop_assert_eq!(&read.value, &new.value);
            }
            prop_assert!(examined(&built, Demands::default()).is_ok());
        }
    }

    #[test]
    fn a_batch_has_at_least_one_record() {
        assert_eq!(batch(&[], 0), None);
    }
}

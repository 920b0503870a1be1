//! Record batches for tests, uncompressed and without headers.

use bytes::{BufMut, Bytes, BytesMut};

/// Producer id, epoch, base sequence.
pub const NO_PRODUCER: (i64, i16, i32) = (-1, -1, -1);

pub fn of(values: &[&[u8]]) -> Bytes {
    with(values, NO_PRODUCER, 1_700_000_000_000)
}

pub fn with(values: &[&[u8]], producer: (i64, i16, i32), timestamp_ms: i64) -> Bytes {
    let records: Vec<Pair<'_>> = values.iter().map(|value| (None, Some(*value))).collect();
    of_records(&records, producer, timestamp_ms)
}

/// A key and a value; no value is a tombstone.
pub type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

pub fn of_records(values: &[Pair<'_>], producer: (i64, i16, i32), timestamp_ms: i64) -> Bytes {
    let mut records = BytesMut::new();
    for (delta, (key, value)) in values.iter().enumerate() {
        let mut record = BytesMut::new();
        record.put_u8(0);
        varint(&mut record, 0);
        varint(&mut record, i64::try_from(delta).unwrap());
        for bytes in [key, value] {
            match bytes {
                Some(bytes) => {
                    varint(&mut record, i64::try_from(bytes.len()).unwrap());
                    record.put_slice(bytes);
                }
                None => varint(&mut record, -1),
            }
        }
        varint(&mut record, 0);
        varint(&mut records, i64::try_from(record.len()).unwrap());
        records.put(record);
    }
    let count = i32::try_from(values.len()).unwrap();
    let mut covered = BytesMut::new();
    covered.put_i16(0);
    covered.put_i32(count - 1);
    covered.put_i64(timestamp_ms);
    covered.put_i64(timestamp_ms);
    covered.put_i64(producer.0);
    covered.put_i16(producer.1);
    covered.put_i32(producer.2);
    covered.put_i32(count);
    covered.put(records);
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(covered.len() + 9).unwrap());
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(crc32c::crc32c(&covered));
    batch.put(covered);
    batch.freeze()
}

/// Zigzag.
pub fn varint(out: &mut BytesMut, value: i64) {
    let mut zigzag = (value << 1 ^ value >> 63).cast_unsigned();
    while zigzag >= 0x80 {
        out.put_u8(zigzag.to_le_bytes()[0] | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag.to_le_bytes()[0]);
}

/// A batch that has been changed behind its checksum, with a checksum that is right again.
pub fn changed(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut batch = BytesMut::from(&batch[..]);
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let checksum = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch.freeze()
}

/// The batches that were fetched: base offset, and what is the producer's own (the broker may
/// change offset and leader epoch, which lie before the magic).
pub fn parts(records: Option<Bytes>) -> Vec<(i64, Bytes)> {
    let mut rest = records.unwrap_or_default();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let size = 12 + i32::from_be_bytes(rest[8..12].try_into().unwrap());
        let batch = rest.split_to(usize::try_from(size).unwrap());
        parts.push((i64::from_be_bytes(batch[..8].try_into().unwrap()), own(&batch)));
    }
    parts
}

/// What of a batch the broker gives back as it came.
pub fn own(batch: &Bytes) -> Bytes {
    batch.slice(16..)
}

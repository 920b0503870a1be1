//! A walk over the records of a batch, for the few questions that need one: a record's own offset
//! and timestamp. Decompression is bounded.

pub mod build;
mod codec;
pub mod examine;
pub mod filter;
pub mod marker;

use std::io;

use bytes::Bytes;

use crate::base::ids::Offset;
#[cfg(test)]
use crate::log::batch::Batch;
use crate::log::batch::{BatchHeader, HEADER_BYTES};
pub use codec::Levels;

/// A record cannot be smaller: length, attributes, two deltas, two lengths, header count.
const RECORD_BYTES_MIN: usize = 7;

/// The place of a record in its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace {
    pub offset: Offset,
    pub timestamp_ms: i64,
}

/// A record's key and value, as the broker's own topics hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// Why records cannot be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl From<Malformed> for io::Error {
    fn from(_: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, "malformed records")
    }
}

/// The first record of `batch` with at least this timestamp, at or after `from`.
pub fn first_at_or_after(
    batch: &Bytes,
    timestamp_ms: i64,
    from: Offset,
) -> io::Result<Option<(i64, Offset)>> {
    let header = BatchHeader::parse(batch).ok_or(Malformed)?;
    let body = codec::unpack(&header, batch.slice(HEADER_BYTES..))?;
    let mut rest = &body[..];
    for _ in 0..header.record_count {
        let place = next_record(&header, &mut rest).ok_or(Malformed)?;
        if place.timestamp_ms >= timestamp_ms && place.offset >= from {
            return Ok(Some((place.timestamp_ms, place.offset)));
        }
    }
    Ok(None)
}

/// The records of a batch with their keys and values.
pub fn key_values(batch: &Bytes) -> io::Result<Vec<KeyValue>> {
    let header = BatchHeader::parse(batch).ok_or(Malformed)?;
    let body = codec::unpack(&header, batch.slice(HEADER_BYTES..))?;
    let count = usize::try_from(header.record_count).map_err(|_| Malformed)?;
    let mut rest = &body[..];
    let mut records = Vec::with_capacity(count.min(body.len() / RECORD_BYTES_MIN));
    for _ in 0..count {
        let record = take_record(&mut rest).ok_or(Malformed)?;
        records.push(key_value(&header, &body, record).ok_or(Malformed)?);
    }
    Ok(records)
}

fn key_value(header: &BatchHeader, body: &Bytes, mut record: &[u8]) -> Option<KeyValue> {
    let place = place_in(header, &mut record)?;
    let key = take_bytes(body, &mut record)?;
    let value = take_bytes(body, &mut record)?;
    Some(KeyValue { offset: place.offset, timestamp_ms: place.timestamp_ms, key, value })
}

/// A length and so many bytes; -1 is null.
fn take_bytes(body: &Bytes, record: &mut &[u8]) -> Option<Option<Bytes>> {
    match usize::try_from(varint(record)?) {
        Ok(size) => record.split_off(..size).map(|bytes| Some(body.slice_ref(bytes))),
        Err(_) => Some(None),
    }
}

/// The same batch in another codec.
#[cfg(test)]
pub(crate) fn in_codec(batch: &Batch, codec: i16) -> Batch {
    let levels = Levels::default();
    let any = examine::Demands::default();
    examine::recompressed(batch, codec, levels, usize::MAX, any).expect("packed").0
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = usize::try_from(varint(rest)?).ok()?;
    rest.split_off(..size)
}

fn next_record(header: &BatchHeader, rest: &mut &[u8]) -> Option<RecordPlace> {
    let mut record = take_record(rest)?;
    place_in(header, &mut record)
}

/// Reads a record up to its key.
fn place_in(header: &BatchHeader, record: &mut &[u8]) -> Option<RecordPlace> {
    let _attributes = record.split_off_first()?;
    let (time_delta, offset_delta) = (varint(record)?, varint(record)?);
    let timestamp_ms = match header.is_log_append_time() {
        true => header.max_timestamp_ms,
        false => header.base_timestamp_ms.wrapping_add(time_delta),
    };
    Some(RecordPlace { offset: header.base_offset.wrapping_add(offset_delta), timestamp_ms })
}

/// A zigzag number of up to ten bytes.
fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::batch::tests::{Sample, encode};

    #[test]
    fn batches_survive_every_change_of_codec() {
        let values: Vec<Vec<u8>> = (0..2000u32).map(|i| i.to_be_bytes().to_vec()).collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let plain = Batch::take(&mut encode(&values, Sample::default())).expect("a batch");
        let mut batch = plain.clone();
        for codec in [1, 2, 3, 4, 3, 1, 0] {
            batch = in_codec(&batch, codec);
            assert_eq!(batch.header().codec(), codec);
            let whole: Bytes = [&batch.head()[..], batch.records()].concat().into();
            assert_eq!(Batch::take(&mut whole.clone()), Ok(batch.clone()), "the checksum holds");
            let last = first_at_or_after(&whole, 0, 1999).expect("walked").expect("a record");
            assert_eq!(last.1, 1999);
        }
        assert_eq!(batch.records(), plain.records());
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeroes = vec![0; codec::UNPACKED_BYTES_MAX + 1];
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut packed, &zeroes).expect("packed");
        let packed = packed.finish().expect("packed");
        let mut header =
            *Batch::take(&mut encode(&[b"a"], Sample::default())).expect("a batch").header();
        header.attributes = 1;
        assert!(codec::unpack(&header, packed.into()).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            attributes in 0i16..8,
        ) {
            let mut batch = encode(&[b"a"], Sample { attributes, ..Sample::default() }).to_vec();
            batch.truncate(HEADER_BYTES);
            batch.extend_from_slice(&bytes);
            let _ = first_at_or_after(&batch.into(), 0, 0);
        }
    }
}

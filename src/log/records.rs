//! A walk over the records of a batch, for the few questions that need one: a record's own offset
//! and timestamp. Decompression is bounded.

use std::io::{self, Read};

use bytes::Bytes;

use crate::base::ids::Offset;
use crate::log::batch::{BatchHeader, HEADER_BYTES};

/// What a batch may hold when it is unpacked; more is taken for a bomb.
pub const UNPACKED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A record cannot be smaller: length, attributes, two deltas, two lengths, header count.
const RECORD_BYTES_MIN: usize = 7;

/// The place of a record in its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace {
    pub offset: Offset,
    pub timestamp_ms: i64,
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
    let body = unpack(&header, batch.slice(HEADER_BYTES..))?;
    let mut rest = &body[..];
    for _ in 0..header.record_count {
        let place = next_record(&header, &mut rest).ok_or(Malformed)?;
        if place.timestamp_ms >= timestamp_ms && place.offset >= from {
            return Ok(Some((place.timestamp_ms, place.offset)));
        }
    }
    Ok(None)
}

/// Whether the uncompressed `records` are `count` records with offset deltas 0, 1, 2 … and nothing
/// after them (`LogValidator.validateRecord`).
pub fn count_is_true(records: &[u8], count: i32) -> bool {
    let Ok(expected) = usize::try_from(count) else { return false };
    if records.len() / RECORD_BYTES_MIN < expected {
        return false;
    }
    let mut rest = records;
    for delta in 0..i64::from(count) {
        let Some(mut record) = take_record(&mut rest) else { return false };
        let walked = record.split_off_first().is_some()
            && varint(&mut record).is_some()
            && varint(&mut record) == Some(delta);
        if !walked {
            return false;
        }
    }
    rest.is_empty()
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = usize::try_from(varint(rest)?).ok()?;
    rest.split_off(..size)
}

fn next_record(header: &BatchHeader, rest: &mut &[u8]) -> Option<RecordPlace> {
    let mut record = take_record(rest)?;
    let _attributes = record.split_off_first()?;
    let (time_delta, offset_delta) = (varint(&mut record)?, varint(&mut record)?);
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

/// The records as they were before compression.
fn unpack(header: &BatchHeader, body: Bytes) -> io::Result<Bytes> {
    match header.codec() {
        0 => Ok(body),
        1 => bounded(flate2::read::MultiGzDecoder::new(&body[..])),
        2 => unpack_snappy(&body),
        3 => bounded(lz4_flex::frame::FrameDecoder::new(&body[..])),
        4 => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(&body[..]);
            bounded(decoder.map_err(io::Error::other)?)
        }
        codec => Err(io::Error::other(format!("unknown codec {codec}"))),
    }
}

fn bounded(reader: impl Read) -> io::Result<Bytes> {
    let mut unpacked = Vec::new();
    let limit = UNPACKED_BYTES_MAX as u64 + 1;
    reader.take(limit).read_to_end(&mut unpacked)?;
    if unpacked.len() > UNPACKED_BYTES_MAX {
        return Err(io::Error::other("records unpack to more than is allowed"));
    }
    Ok(unpacked.into())
}

/// Snappy comes framed as the xerial library does (magic, two versions, then blocks with a 4-byte
/// length each) or raw.
fn unpack_snappy(body: &[u8]) -> io::Result<Bytes> {
    const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
    const XERIAL_HEAD_BYTES: usize = 16;
    let mut unpacked = Vec::new();
    if !body.starts_with(XERIAL_MAGIC) {
        unpack_snappy_block(body, &mut unpacked)?;
        return Ok(unpacked.into());
    }
    let mut rest = body.get(XERIAL_HEAD_BYTES..).ok_or(Malformed)?;
    while let Some(size) = rest.split_off(..4) {
        let size = u32::from_be_bytes(size.try_into().map_err(|_| Malformed)?);
        let block = rest.split_off(..size as usize).ok_or(Malformed)?;
        unpack_snappy_block(block, &mut unpacked)?;
    }
    Ok(unpacked.into())
}

fn unpack_snappy_block(block: &[u8], unpacked: &mut Vec<u8>) -> io::Result<()> {
    // The length is the sender's claim: it is checked before anything is reserved.
    let size = snap::raw::decompress_len(block).map_err(io::Error::other)?;
    // Snappy's best ratio is about 1:21; a larger claim is a lie.
    if size > block.len().saturating_mul(64) || unpacked.len() + size > UNPACKED_BYTES_MAX {
        return Err(io::Error::other("records unpack to more than is allowed"));
    }
    let block = snap::raw::Decoder::new().decompress_vec(block).map_err(io::Error::other)?;
    unpacked.extend_from_slice(&block);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::batch::tests::{Sample, encode};

    #[test]
    fn counts_that_lie_are_found() {
        let batch = encode(&[b"a", b"bb", b""], Sample::default());
        let records = &batch[HEADER_BYTES..];
        assert!(count_is_true(records, 3));
        for lie in [-1, 0, 1, 2, 4, i32::MAX] {
            assert!(!count_is_true(records, lie), "{lie}");
        }
        assert!(!count_is_true(&records[..records.len() - 1], 3));
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeroes = vec![0; UNPACKED_BYTES_MAX + 1];
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut packed, &zeroes).expect("packed");
        let packed = packed.finish().expect("packed");
        assert!(bounded(flate2::read::MultiGzDecoder::new(&packed[..])).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), codec in 0i16..8) {
            let mut batch = encode(&[b"a"], Sample { attributes: codec, ..Sample::default() }).to_vec();
            batch.truncate(HEADER_BYTES);
            batch.extend_from_slice(&bytes);
            let _ = first_at_or_after(batch.into(), 0, 0);
            let _ = count_is_true(&bytes, 3);
        }
    }
}

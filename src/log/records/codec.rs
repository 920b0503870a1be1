//! Kafka's codecs. What is unpacked is bounded: lengths on the wire are claims.

use std::io::{self, Read, Write};

use bytes::Bytes;

use crate::log::batch::BatchHeader;
use crate::log::records::Malformed;

/// What a batch may hold when it is unpacked; more is taken for a bomb.
pub(super) const UNPACKED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Kafka's clients write snappy in blocks of this size.
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEAD_BYTES: usize = 16;

/// The records as they were before compression.
pub(super) fn unpack(header: &BatchHeader, body: Bytes) -> io::Result<Bytes> {
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

/// The records in a codec, framed as Kafka's own clients frame them.
pub(super) fn pack(codec: i16, records: &[u8]) -> io::Result<Bytes> {
    let packed = match codec {
        0 => records.to_vec(),
        1 => {
            let level = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(records)?;
            encoder.finish()?
        }
        2 => pack_snappy(records)?,
        3 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(records)?;
            encoder.finish().map_err(io::Error::other)?
        }
        4 => {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            ruzstd::encoding::compress_to_vec(records, level)
        }
        codec => return Err(io::Error::other(format!("unknown codec {codec}"))),
    };
    Ok(packed.into())
}

fn pack_snappy(records: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = XERIAL_MAGIC.to_vec();
    // The format's version and the oldest that can read it.
    packed.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    debug_assert_eq!(packed.len(), XERIAL_HEAD_BYTES);
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(SNAPPY_BLOCK_BYTES) {
        let block = encoder.compress_vec(block).map_err(io::Error::other)?;
        let size = u32::try_from(block.len()).map_err(io::Error::other)?;
        packed.extend_from_slice(&size.to_be_bytes());
        packed.extend_from_slice(&block);
    }
    Ok(packed)
}

//! Kafka's codecs. What is unpacked is bounded: lengths on the wire are claims. Both ways there is
//! a stream, so that a batch need not be in memory as a whole when it is unpacked.

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

/// Zstd looks back no further, in powers of two (2 MiB, what its default level does): each of the
/// high levels would take up to a gigabyte for itself otherwise.
const ZSTD_WINDOW_LOG_MAX: u32 = 21;
/// How far a client's batch may look back (128 MiB, which is as far as all decoders can).
const ZSTD_WINDOW_LOG_READ_MAX: u32 = 27;

/// How hard the encoders try, in the numbers of `compression.*.level`. Snappy has no levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// -1 is the codec's own choice.
    pub gzip: i32,
    /// 9 is the fast encoder, as in Kafka; all others are those of the high
    /// compression one.
    pub lz4: i32,
    pub zstd: i32,
}

impl Levels {
    const LZ4_FAST: i32 = 9;
    /// What the high compression encoder knows; Kafka counts from 1 to 17, and all above 12 do the
    /// same.
    const LZ4_HIGH: std::ops::RangeInclusive<i32> = 3..=12;

    fn of_gzip(self) -> flate2::Compression {
        u32::try_from(self.gzip).map(flate2::Compression::new).unwrap_or_default()
    }

    fn of_lz4(self) -> u32 {
        match self.lz4 {
            Self::LZ4_FAST => 0,
            level => level.clamp(*Self::LZ4_HIGH.start(), *Self::LZ4_HIGH.end()).unsigned_abs(),
        }
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self { gzip: -1, lz4: Self::LZ4_FAST, zstd: zstd::DEFAULT_COMPRESSION_LEVEL }
    }
}

/// The records as they were before compression.
pub(super) fn unpack(header: &BatchHeader, body: Bytes) -> io::Result<Bytes> {
    if header.codec() == 0 {
        return Ok(body);
    }
    let mut unpacked = Vec::new();
    let limit = UNPACKED_BYTES_MAX as u64 + 1;
    reader(header.codec(), &body)?.take(limit).read_to_end(&mut unpacked)?;
    if unpacked.len() > UNPACKED_BYTES_MAX {
        return Err(too_much());
    }
    Ok(unpacked.into())
}

/// Gives the records bit by bit. Whoever reads sees to it that there are not too many.
pub(super) fn reader(codec: i16, body: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    Ok(match codec {
        0 => Box::new(body),
        1 => Box::new(flate2::read::MultiGzDecoder::new(body)),
        2 => Box::new(SnappyReader::new(body)?),
        3 => Box::new(lz4_flex::frame::FrameDecoder::new(body)),
        4 => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_READ_MAX)?;
            Box::new(decoder)
        }
        codec => return Err(io::Error::other(format!("unknown codec {codec}"))),
    })
}

fn too_much() -> io::Error {
    io::Error::other("records unpack to more than is allowed")
}

/// Snappy comes framed as the xerial library does (magic, two versions, then blocks with a 4-byte
/// length each) or raw, as one block.
struct SnappyReader<'a> {
    rest: &'a [u8],
    is_framed: bool,
    block: Vec<u8>,
    /// How much of the block has been given.
    given: usize,
}

impl<'a> SnappyReader<'a> {
    fn new(body: &'a [u8]) -> io::Result<Self> {
        let is_framed = body.starts_with(XERIAL_MAGIC);
        let head_bytes = if is_framed { XERIAL_HEAD_BYTES } else { 0 };
        let rest = body.get(head_bytes..).ok_or(Malformed)?;
        Ok(Self { rest, is_framed, block: Vec::new(), given: 0 })
    }

    /// Unpacks the next block; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let block = if self.is_framed {
            let Some(size) = self.rest.split_off(..4) else { return Ok(false) };
            let size = u32::from_be_bytes(size.try_into().map_err(|_| Malformed)?);
            self.rest.split_off(..size as usize).ok_or(Malformed)?
        } else {
            std::mem::take(&mut self.rest)
        };
        if block.is_empty() {
            return Ok(false);
        }
        // The length is the sender's claim: it is checked before anything is reserved.
        let size = snap::raw::decompress_len(block).map_err(io::Error::other)?;
        // Snappy's best ratio is about 1:21; a larger claim is a lie.
        if size > block.len().saturating_mul(64) || size > UNPACKED_BYTES_MAX {
            return Err(too_much());
        }
        self.block = snap::raw::Decoder::new().decompress_vec(block).map_err(io::Error::other)?;
        self.given = 0;
        Ok(true)
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.block.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let left = self.block.get(self.given..).unwrap_or_default();
        let count = (&*left).read(into)?;
        self.given += count;
        Ok(count)
    }
}

/// The records in a codec, framed as Kafka's own clients frame them.
pub(super) fn pack(codec: i16, records: &[u8]) -> io::Result<Bytes> {
    let mut out = Output::new(usize::MAX);
    write(codec, Levels::default(), records, &mut out)?;
    Ok(out.bytes.into())
}

/// What comes out of a codec, up to a size.
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    bytes_max: usize,
    pub(super) is_full: bool,
}

impl Output {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, is_full: false }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_full |= bytes.len() > self.bytes_max - self.bytes.len();
        if self.is_full {
            return Err(io::Error::other("the batch is larger than is allowed"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses what `records` gives; it may not fail. Fails when the output is full.
pub(super) fn write(
    codec: i16,
    levels: Levels,
    mut records: impl Read,
    out: &mut Output,
) -> io::Result<()> {
    match codec {
        0 => io::copy(&mut records, out).map(drop),
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(out, levels.of_gzip());
            io::copy(&mut records, &mut encoder)?;
            encoder.finish().map(drop)
        }
        2 => write_snappy(records, out),
        3 => {
            let mut encoder = lz4::EncoderBuilder::new()
                .level(levels.of_lz4())
                .block_size(lz4::BlockSize::Max64KB)
                .block_mode(lz4::BlockMode::Independent)
                .checksum(lz4::ContentChecksum::NoChecksum)
                .block_checksum(lz4::liblz4::BlockChecksum::NoBlockChecksum)
                .build(out)?;
            io::copy(&mut records, &mut encoder)?;
            encoder.finish().1
        }
        4 => {
            let mut encoder = zstd::stream::write::Encoder::new(out, levels.zstd)?;
            if levels.zstd > zstd::DEFAULT_COMPRESSION_LEVEL {
                encoder.window_log(ZSTD_WINDOW_LOG_MAX)?;
            }
            io::copy(&mut records, &mut encoder)?;
            encoder.finish().map(drop)
        }
        codec => Err(io::Error::other(format!("unknown codec {codec}"))),
    }
}

fn write_snappy(mut records: impl Read, out: &mut Output) -> io::Result<()> {
    out.write_all(XERIAL_MAGIC)?;
    // The format's version and the oldest that can read it.
    out.write_all(&[0, 0, 0, 1, 0, 0, 0, 1])?;
    let mut encoder = snap::raw::Encoder::new();
    let mut block = Vec::with_capacity(SNAPPY_BLOCK_BYTES);
    loop {
        block.clear();
        if records.by_ref().take(SNAPPY_BLOCK_BYTES as u64).read_to_end(&mut block)? == 0 {
            return Ok(());
        }
        let packed = encoder.compress_vec(&block).map_err(io::Error::other)?;
        let size = u32::try_from(packed.len()).map_err(io::Error::other)?;
        out.write_all(&size.to_be_bytes())?;
        out.write_all(&packed)?;
    }
}

//! Copying the batches of one segment, held against their checksums.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::disk::{DiskFile, OpenMode, read_exact_at};
use crate::base::ids::Offset;
use crate::log::batch::{Batch, BatchError, BatchHeader, HEADER_BYTES};
use crate::log::import::{Builder, Source};
use crate::log::run::SEGMENT_OFFSETS_MAX;
use crate::log::segment::file_name;

/// What is read at once, unless a batch is larger.
const READ_BYTES: u64 = 4 * 1024 * 1024;
/// The oldest and the newest of the formats before that of batches.
const OLD_FORMATS: std::ops::RangeInclusive<i8> = 0..=1;

/// Copies a segment. The inner error says which batch is damaged; those before it are copied.
pub(super) fn segment(
    builder: &mut Builder<'_>,
    source: &Source,
    base_offset: Offset,
) -> io::Result<Result<(), String>> {
    let path = source.dir.join(file_name(base_offset, "log"));
    let mut reader = Reader::open(builder.target.disk.open(&path, OpenMode::Read)?)?;
    let wrong = |position: u64, next: Offset, what: &str| {
        format!("{}: {what} at position {position}, where offset {next} is due", path.display())
    };
    loop {
        let chunk = reader.chunk()?;
        if chunk.is_empty() {
            return Ok(Ok(()));
        }
        let mut rest = chunk.clone();
        let mut fault = None;
        while !rest.is_empty() {
            let position = reader.position + (chunk.len() - rest.len()) as u64;
            let mut taken = rest.clone();
            match Batch::take(&mut taken) {
                Ok(batch) => match misplaced(builder, &batch) {
                    None => builder.push_batch(&batch)?,
                    Some(what) => {
                        fault = Some(wrong(position, builder.next_offset, what));
                        break;
                    }
                },
                // The next chunk begins with it.
                Err(BatchError::Truncated) if reader.has_whole(position, &rest) => break,
                Err(error) => {
                    let what = describe(error, &rest);
                    fault = Some(wrong(position, builder.next_offset, what));
                    break;
                }
            }
            rest = taken;
        }
        let copied = chunk.get(..chunk.len() - rest.len()).unwrap_or_default();
        let log = &builder.segment.files.log;
        log.write_all_at(&[IoSlice::new(copied)], reader.position)?;
        reader.position += copied.len() as u64;
        if let Some(fault) = fault {
            return Ok(Err(fault));
        }
        if copied.is_empty() {
            reader.grow(&rest);
        }
    }
}

fn describe(error: BatchError, bytes: &[u8]) -> &'static str {
    let is_empty = bytes.get(8..12).is_some_and(|length| length == [0; 4]);
    match error {
        // Zeroes look like the oldest format.
        _ if is_empty => "no batch",
        BatchError::Truncated => "a batch that is cut off",
        BatchError::Length => "a batch whose length is wrong",
        BatchError::Magic(magic) if OLD_FORMATS.contains(&magic) => {
            "a message of format 0 or 1, which only brokers before 4.0 know (a newer one has to \
             write it again, or retention to drop it)"
        }
        BatchError::Magic(_) => "no batch",
        BatchError::Crc => "a batch whose checksum is wrong",
    }
}

/// What is wrong with the place of a batch whose bytes are sound: its offsets and its epoch are not
/// under the checksum.
fn misplaced(builder: &Builder<'_>, batch: &Batch) -> Option<&'static str> {
    let header = batch.header();
    let begun = builder.epochs.iter().take_while(|(_, start)| *start <= header.base_offset);
    let term = begun.map(|(epoch, _)| u64::from(epoch.unsigned_abs())).max();
    let term = term.unwrap_or(0).max(builder.term);
    if header.base_offset < builder.next_offset {
        Some("a batch whose offset goes back")
    } else if header.base_offset - builder.segment.base_offset > SEGMENT_OFFSETS_MAX {
        Some("a batch whose offset is out of its segment's reach")
    } else if header.last_offset_delta < 0 || header.record_count < 0 {
        Some("a batch whose counts are wrong")
    } else if u64::try_from(header.leader_epoch).is_ok_and(|epoch| epoch >= term) {
        None
    } else {
        Some("a batch whose leader epoch goes back")
    }
}

/// Reads a file from one end to the other.
struct Reader {
    file: Arc<dyn DiskFile>,
    size: u64,
    position: u64,
    read_bytes: u64,
}

impl Reader {
    fn open(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        Ok(Self { size: file.len()?, file, position: 0, read_bytes: READ_BYTES })
    }

    fn chunk(&self) -> io::Result<Bytes> {
        let size = self.read_bytes.min(self.size.saturating_sub(self.position));
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        read_exact_at(self.file.as_ref(), &mut bytes, self.position)?;
        Ok(bytes.into())
    }

    /// Whether the file has all of a batch of which `rest` is the beginning.
    fn has_whole(&self, position: u64, rest: &[u8]) -> bool {
        let size = BatchHeader::parse(rest).map_or(HEADER_BYTES, |header| header.size());
        position + size as u64 <= self.size
    }

    /// Reads enough from now on for a batch that begins with `rest`.
    fn grow(&mut self, rest: &[u8]) {
        let size = BatchHeader::parse(rest).map_or(0, |header| header.size() as u64);
        self.read_bytes = self.read_bytes.max(size);
    }
}

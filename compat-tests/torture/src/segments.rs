//! The batches in the segment files of a partition, as Kafka's file format has them.

use std::path::Path;

use histcheck::{Batch, Content};

/// Up to and with `lastOffsetDelta`.
const HEADER_BYTES: usize = 27;
/// What the length of a batch does not count: its base offset and the length.
const FRAME_BYTES: usize = 12;
const CONTROL: u16 = 1 << 5;

/// All batches of a partition's folder, in the order of its segments.
pub(crate) fn batches(folder: &Path) -> Result<Vec<Batch>, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            segments.push(path);
        }
    }
    segments.sort();
    let mut batches = Vec::new();
    for segment in segments {
        let bytes = std::fs::read(&segment).map_err(failed)?;
        let mut rest = bytes.as_slice();
        while let Some((batch, after)) = split(rest) {
            batches.push(batch);
            rest = after;
        }
    }
    Ok(batches)
}

/// The first batch and what follows. A file may end in zeros, or in the middle of a batch that is
/// being written.
fn split(bytes: &[u8]) -> Option<(Batch, &[u8])> {
    let header = bytes.get(..HEADER_BYTES)?;
    let length = usize::try_from(u32::from_be_bytes(field(header, 8)?)).ok()?;
    let end = length.checked_add(FRAME_BYTES).filter(|end| *end >= HEADER_BYTES)?;
    let after = bytes.get(end..)?;
    let base = i64::from_be_bytes(field(header, 0)?);
    let attributes = u16::from_be_bytes(field(header, 21)?);
    let batch = Batch {
        base,
        last: base + i64::from(i32::from_be_bytes(field(header, 23)?)),
        epoch: i32::from_be_bytes(field(header, 12)?),
        crc: u32::from_be_bytes(field(header, 17)?),
        content: if attributes & CONTROL == 0 { Content::Data } else { Content::Control },
    };
    Some((batch, after))
}

fn field<const N: usize>(header: &[u8], at: usize) -> Option<[u8; N]> {
    header.get(at..at + N)?.try_into().ok()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of three records, with what the harness does not look at left empty.
    fn batch(base: i64, attributes: u16) -> Vec<u8> {
        let mut bytes = base.to_be_bytes().to_vec();
        bytes.extend(49_u32.to_be_bytes());
        bytes.extend(7_i32.to_be_bytes());
        bytes.push(2);
        bytes.extend(0xCAFE_u32.to_be_bytes());
        bytes.extend(attributes.to_be_bytes());
        bytes.extend(2_i32.to_be_bytes());
        bytes.resize(61, 0);
        bytes
    }

    #[test]
    fn batches_are_read_up_to_a_torn_end() {
        let folder = std::env::temp_dir().join(format!("torture-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("00000000000000000000.log"), batch(0, 0)).unwrap();
        let torn = [batch(3, 1 << 5), batch(6, 0)[..40].to_vec()].concat();
        std::fs::write(folder.join("00000000000000000003.log"), torn).unwrap();
        std::fs::write(folder.join("00000000000000000003.index"), b"other").unwrap();
        let found = batches(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let expected =
            |base, content| Batch { base, last: base + 2, epoch: 7, crc: 0xCAFE, content };
        assert_eq!(found, [expected(0, Content::Data), expected(3, Content::Control)]);
    }

    #[test]
    fn zeros_at_the_end_are_no_batches() {
        assert_eq!(split(&[0; 100]), None);
    }
}

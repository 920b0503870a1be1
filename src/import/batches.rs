//! The batches of Kafka's own topics, which are read as a whole.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::base::disk::Disk;
use crate::log::batch::{Batch, BatchHeader, MAGIC};

/// No batch of these topics is larger.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the batches may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// The last file may have a torn tail: its broker did not stop in order.
    MayBeTorn,
    /// Whatever is damaged is the end.
    Anywhere,
}

/// The `.log` files of a folder, in their order.
pub(super) fn segments(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let names = disk.list(dir)?.into_iter().filter(|name| name.ends_with(".log"));
    Ok(names.map(|name| dir.join(name)).collect())
}

/// Shows all batches of the files, one after the other; what was cut, if there was something.
pub(super) fn read(
    disk: &dyn Disk,
    files: &[PathBuf],
    end: End,
    mut each: impl FnMut(&Path, &Batch) -> io::Result<()>,
) -> io::Result<Option<String>> {
    for (at, path) in files.iter().enumerate() {
        let mut rest = Bytes::from(disk.read(path)?);
        while !rest.is_empty() {
            let from = rest.clone();
            match Batch::take(&mut rest) {
                Ok(batch) => each(path, &batch)?,
                Err(error) => {
                    let (bytes, shown) = (from.len(), path.display());
                    let behind = files.get(at + 1..).unwrap_or_default();
                    let may_be_torn = end == End::MayBeTorn && !goes_on(disk, &from, behind)?;
                    return match end {
                        End::Anywhere => Ok(()),
                        _ if may_be_torn => Ok(()),
                        _ => Err(invalid(format!("{shown}: a damaged batch ({error:?})"))),
                    }
                    .map(|()| Some(format!("{shown}: {bytes} bytes from a damaged batch on")));
                }
            }
        }
    }
    Ok(None)
}

/// Whether a valid batch stands behind the damage, anywhere in the same file or in a later one.
fn goes_on(disk: &dyn Disk, from: &Bytes, files: &[PathBuf]) -> io::Result<bool> {
    if has_batch(from) {
        return Ok(true);
    }
    for path in files {
        if has_batch(&Bytes::from(disk.read(path)?)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_batch(bytes: &Bytes) -> bool {
    (0..bytes.len()).any(|at| {
        let rest = bytes.get(at..).unwrap_or_default();
        let header = BatchHeader::parse(rest);
        let is_plausible = header.is_some_and(|header| {
            header.magic == MAGIC
                && header.size() <= rest.len().min(BATCH_BYTES_MAX)
                && header.base_offset >= 0
                && header.last_offset_delta >= 0
                && header.record_count >= 0
        });
        is_plausible && Batch::take(&mut bytes.slice(at..)).is_ok()
    })
}

pub(super) fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::tests::{Sample, encode};
    use crate::sim::disk::SimDisk;

    /// What is shown of two files, of which `damage` says what they hold.
    fn shown(end: End, damage: impl Fn(&mut [Vec<u8>; 2])) -> io::Result<(usize, bool)> {
        let disk = SimDisk::new(1);
        let batch = encode(&[b"value"], Sample::default());
        let mut files = [0; 2].map(|_| [&batch[..], &batch[..], &batch[..]].concat());
        damage(&mut files);
        disk.create_dir_all(Path::new("/t"))?;
        for (name, content) in ["0.log", "3.log"].iter().zip(&files) {
            disk.write(&Path::new("/t").join(name), content)?;
        }
        let (mut count, files) = (0, segments(&disk, Path::new("/t"))?);
        let cut = read(&disk, &files, end, |_, _| {
            count += 1;
            Ok(())
        })?;
        Ok((count, cut.is_some()))
    }

    #[test]
    fn a_torn_tail_is_cut_and_damage_is_refused() {
        let size = encode(&[b"value"], Sample::default()).len();
        for end in [End::Whole, End::MayBeTorn, End::Anywhere] {
            assert_eq!(shown(end, |_| {}).expect("read"), (6, false));
        }
        // Nor where the length is wrong that says where the next one begins.
        let spoilt = |files: &mut [Vec<u8>; 2]| files[1][size + 10] ^= 1;
        assert!(shown(End::MayBeTorn, spoilt).is_err());
        // A file that was begun behind the torn tail has nothing.
        for begun in [0, 30] {
            let torn = |[first, last]: &mut [Vec<u8>; 2]| {
                first.truncate(2 * size + 30);
                last.truncate(begun);
            };
            assert_eq!(shown(End::MayBeTorn, torn).expect("read"), (2, true));
        }
        let torn = |[_, last]: &mut [Vec<u8>; 2]| last.truncate(2 * size + 30);
        assert_eq!(shown(End::MayBeTorn, torn).expect("read"), (5, true));
        assert!(shown(End::Whole, torn).is_err());
        // Neither in an earlier file nor before a batch that is whole.
        for (file, batch, kept) in [(0, 2, 2), (1, 0, 3), (1, 1, 4)] {
            let spoilt = |files: &mut [Vec<u8>; 2]| files[file][batch * size + 70] ^= 1;
            assert!(shown(End::MayBeTorn, spoilt).is_err(), "file {file}, batch {batch}");
            assert_eq!(shown(End::Anywhere, spoilt).expect("read"), (kept, true));
        }
        let spoilt = |[_, last]: &mut [Vec<u8>; 2]| last[2 * size + 70] ^= 1;
        assert_eq!(shown(End::MayBeTorn, spoilt).expect("read"), (5, true));
    }
}

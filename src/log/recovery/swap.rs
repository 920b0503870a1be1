//! One segment takes the places of others, or of one, in a step that a crash finishes or undoes.
//!
//! The new files lie beside the old ones under names that end in `.cleaned`. A `.swap` file names
//! the segments that they replace; once that is durable, the swap has happened: whoever finds it
//! gives the new files their names and removes the others. Without it the new files are removed.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};

use crate::base::disk::{Disk, OpenMode};
use crate::base::ids::Offset;
use crate::log::cleaner::CLEANED;
use crate::log::segment::{EXTENSIONS, OWN_EXTENSIONS, file_name};

const SWAP: &str = "swap";
const SWAP_MAGIC: u32 = 0x4f54_5702;

/// A file of a segment that is being made.
pub(crate) fn cleaned(dir: &Path, base_offset: Offset, extension: &str) -> PathBuf {
    dir.join(format!("{}.{CLEANED}", file_name(base_offset, extension)))
}

/// Removes the files of a segment that will not be.
pub(crate) fn remove_cleaned(disk: &dyn Disk, dir: &Path, base_offset: Offset) -> io::Result<()> {
    let paths = OWN_EXTENSIONS.iter().map(|extension| cleaned(dir, base_offset, extension));
    paths.filter(|path| disk.exists(path)).try_for_each(|path| disk.remove_file(&path))
}

fn encode(bases: &[Offset]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(SWAP_MAGIC);
    out.put_u32(u32::try_from(bases.len()).unwrap_or(u32::MAX));
    bases.iter().for_each(|base| out.put_i64(*base));
    out.put_u32(crc32c::crc32c(&out));
    out
}

/// The base offsets of the segments that are replaced, the new one's first.
fn decode(content: &[u8]) -> Option<Vec<Offset>> {
    let (mut body, mut crc) = content.split_at_checked(content.len().checked_sub(4)?)?;
    if crc.get_u32() != crc32c::crc32c(body) || body.try_get_u32().ok()? != SWAP_MAGIC {
        return None;
    }
    let count = body.try_get_u32().ok()?;
    (0..count).map(|_| body.try_get_i64().ok()).collect()
}

/// The new segment, whose files are durable, takes the places of the segments `bases`; from the
/// durable `.swap` file on that is so.
pub(crate) fn commit(disk: &dyn Disk, dir: &Path, bases: &[Offset]) -> io::Result<()> {
    let Some(first) = bases.first() else { return Ok(()) };
    disk.write(&dir.join(file_name(*first, SWAP)), &encode(bases))?;
    disk.sync_dir(dir)
}

/// Removes what is left of a swap whose `.swap` file had no room: half of one says nothing.
pub(crate) fn take_back(disk: &dyn Disk, dir: &Path, bases: &[Offset]) -> io::Result<()> {
    let Some(first) = bases.first() else { return Ok(()) };
    let path = dir.join(file_name(*first, SWAP));
    if disk.exists(&path) {
        disk.remove_file(&path)?;
    }
    remove_cleaned(disk, dir, *first)
}

/// Gives the new files their names and removes the replaced ones; may be done again.
pub(crate) fn carry_out(disk: &dyn Disk, dir: &Path, bases: &[Offset]) -> io::Result<()> {
    let Some((first, replaced)) = bases.split_first() else { return Ok(()) };
    for extension in OWN_EXTENSIONS {
        let new = cleaned(dir, *first, extension);
        if disk.exists(&new) {
            disk.rename(&new, &dir.join(file_name(*first, extension)))?;
        }
    }
    for base in replaced {
        for extension in EXTENSIONS {
            let path = dir.join(file_name(*base, extension));
            if disk.exists(&path) {
                disk.remove_file(&path)?;
            }
        }
    }
    Ok(())
}

/// Makes the new names durable; the `.swap` file has done its work.
pub(crate) fn settle(disk: &dyn Disk, dir: &Path, bases: &[Offset]) -> io::Result<()> {
    let Some(first) = bases.first() else { return Ok(()) };
    disk.sync_dir(dir)?;
    disk.remove_file(&dir.join(file_name(*first, SWAP)))?;
    disk.sync_dir(dir)
}

/// Finishes swaps that a crash interrupted, and removes what was being made.
pub(super) fn recover(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let is = |name: &str, extension: &str| {
        name.rsplit_once('.').is_some_and(|(_, found)| found == extension)
    };
    for name in disk.list(dir)?.iter().filter(|name| is(name, SWAP)) {
        let path = dir.join(name);
        match decode(&disk.read(&path)?) {
            Some(bases) => {
                // Only the process may have died, and this may be in the page cache alone.
                disk.open(&path, OpenMode::Write)?.sync()?;
                disk.sync_dir(dir)?;
                carry_out(disk, dir, &bases)?;
                settle(disk, dir, &bases)?;
            }
            None => disk.remove_file(&path)?,
        }
    }
    for name in disk.list(dir)?.iter().filter(|name| is(name, CLEANED)) {
        disk.remove_file(&dir.join(name))?;
    }
    Ok(())
}

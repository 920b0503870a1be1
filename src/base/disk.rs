//! The disk seam. Calls block; whoever must not block goes through a [`crate::base::worker`].
//!
//! Durability rules that callers keep: data is durable after [`DiskFile::sync`], a new or renamed
//! name after [`Disk::sync_dir`] of its folder. A failed sync is never retried: the kernel may have
//! dropped the pages and marked them clean. So no sync fails with an error that [`is_full`] knows:
//! what says that there is no room may be tried again.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustix::io::Errno;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; made if absent, kept if present.
    Create,
    /// For reading and writing; made if absent, emptied if present.
    Truncate,
}

/// The size of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    /// What this process may still use.
    pub usable_bytes: u64,
}

/// A file system.
pub trait Disk: Send + Sync + Debug {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// The names in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    fn exists(&self, path: &Path) -> bool;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// How large the file system is that a folder is on, and how much of it is free.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// Takes the exclusive lock of a folder by a file in it; held until the guard is dropped.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Debug + Send + Sync>>;

    /// The whole content of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut content = vec![0; len];
        read_exact_at(file.as_ref(), &mut content, 0)?;
        Ok(content)
    }

    /// Makes a file with this content, in the place of any old one. Content and length are durable;
    /// the name is after a sync of the folder.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let file = self.open(path, OpenMode::Truncate)?;
        file.write_all_at(&[IoSlice::new(content)], 0)?;
        file.sync()
    }

    /// Replaces a small file so that after a crash either the old or the new content is there.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let new = path.with_extension("tmp");
        self.write(&new, content)?;
        self.rename(&new, path)?;
        match path.parent() {
            Some(dir) => self.sync_dir(dir),
            None => Ok(()),
        }
    }
}

/// An open file. Writes at a position beyond the end leave zeroes before it.
pub trait DiskFile: Send + Sync + Debug {
    /// Writes all slices, one after the other, from `offset` on.
    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Takes disk space for so many bytes from the beginning on; the length stays. A smaller length
    /// gives it back. Where space cannot be taken beforehand nothing happens.
    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
    /// When the content was written last, in ms, where that is known.
    fn modified_ms(&self) -> io::Result<Option<i64>> {
        Ok(None)
    }
    /// Has [`Self::modified_ms`] say something else.
    fn set_modified_ms(&self, _modified_ms: i64) -> io::Result<()> {
        Ok(())
    }
    /// Makes content and length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// Makes everything durable that is on the file's file system (syncfs). Linux gives the same
    /// guarantee as a sync of every file, errors included (since 5.8).
    fn sync_file_system(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// The descriptor for `sendfile`, where there is one.
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;
}

/// Fills the buffer or fails with `UnexpectedEof`.
pub fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let read = file.read_at(rest, offset + done as u64)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        done += read;
    }
    Ok(())
}

/// Whether there was no room for what was to be written.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the disk could not read what it should have: a bad sector is such a place, and is well
/// again once it is written.
pub fn is_unreadable(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::IO)
}

/// What was read or written, if the disk could do that: `None` for [`is_unreadable`].
pub fn readable<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if is_unreadable(&error) => Ok(None),
        done => done.map(Some),
    }
}

/// Whether the file system has failed, and not only what was asked of it.
pub fn has_failed(error: &io::Error) -> bool {
    let failures = [Errno::IO, Errno::ROFS, Errno::NODEV, Errno::NXIO, Errno::UCLEAN, Errno::STALE];
    Errno::from_io_error(error).is_some_and(|errno| failures.contains(&errno))
}

/// What a sync did not write may be lost, whatever the reason.
fn of_sync(error: io::Error) -> io::Error {
    if is_full(&error) { io::Error::other(format!("a sync failed: {error}")) } else { error }
}

/// Takes the lock of a folder in the way that a Java process does (POSIX record locks, which do not
/// meet those of [`Disk::lock`]). `None` if there is no such file, or nobody can write to it.
pub fn lock_as_java(path: &Path) -> io::Result<Option<Box<dyn Debug + Send + Sync>>> {
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem => Ok(None),
                _ => Err(error),
            };
        }
    };
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    Ok(Some(Box::new(file)))
}

/// The machine's file system.
#[derive(Debug)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

#[expect(clippy::disallowed_methods, reason = "this is the disk seam")]
impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read);
        options.create(matches!(mode, OpenMode::Create | OpenMode::Truncate));
        options.truncate(mode == OpenMode::Truncate);
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let now = rustix::fs::statvfs(dir)?;
        Ok(Space {
            total_bytes: now.f_blocks.saturating_mul(now.f_frsize),
            usable_bytes: now.f_bavail.saturating_mul(now.f_frsize),
        })
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            // Names that are not UTF-8 are not ours.
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all().map_err(of_sync)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Debug + Send + Sync>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
}

impl DiskFile for RealFile {
    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut done = 0;
        for chunk in slices.chunks(IOV_COUNT_MAX) {
            let len: usize = chunk.iter().map(|slice| slice.len()).sum();
            let written = rustix::io::pwritev(&self.0, chunk, offset + done as u64)?;
            if written < len {
                self.write_rest(chunk, offset + done as u64, written)?;
            }
            done += len;
        }
        debug_assert_eq!(done, total);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let keep = rustix::fs::FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.0, keep, 0, bytes) {
            Err(Errno::OPNOTSUPP) => Ok(()),
            reserved => Ok(reserved?),
        }
    }

    fn modified_ms(&self) -> io::Result<Option<i64>> {
        let modified = self.0.metadata()?.modified()?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since.as_millis()).ok())
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        let since = Duration::from_millis(u64::try_from(modified_ms).unwrap_or(0));
        self.0.set_modified(UNIX_EPOCH + since)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data().map_err(of_sync)
    }

    fn sync_file_system(&self) -> io::Result<()> {
        rustix::fs::syncfs(&self.0).map_err(|error| of_sync(error.into()))
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// Linux takes at most this many slices in one call.
const IOV_COUNT_MAX: usize = 1024;

impl RealFile {
    /// The remainder of a short write: rare, so slice by slice.
    fn write_rest(&self, slices: &[IoSlice<'_>], offset: u64, written: usize) -> io::Result<()> {
        let mut start = 0;
        for slice in slices {
            let skip = written.saturating_sub(start).min(slice.len());
            if let Some(rest) = slice.get(skip..).filter(|rest| !rest.is_empty()) {
                FileExt::write_all_at(&self.0, rest, offset + (start + skip) as u64)?;
            }
            start += slice.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectored_writes_land_where_they_should() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = RealDisk.open(&dir.path().join("f"), OpenMode::Create).expect("a file");
        let parts: Vec<Vec<u8>> = (0..3000u32).map(|i| i.to_be_bytes().to_vec()).collect();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
        file.write_all_at(&slices, 5).expect("written");
        let content = RealDisk.read(&dir.path().join("f")).expect("read");
        assert_eq!(content[..5], [0; 5]);
        assert_eq!(content[5..], parts.concat());
    }

    #[test]
    fn what_is_reserved_is_given_back_with_the_length() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("f");
        let file = RealDisk.open(&path, OpenMode::Create).expect("a file");
        file.write_all_at(&[IoSlice::new(b"abc")], 0).expect("written");
        let told = File::options().read(true).open(&path).expect("open");
        let taken_bytes = || told.metadata().expect("told").blocks() * 512;
        file.reserve(1 << 20).expect("reserved");
        assert!(taken_bytes() >= 1 << 20, "{}", taken_bytes());
        assert_eq!(file.len().expect("told"), 3);
        file.set_len(3).expect("given back");
        assert!(taken_bytes() < 1 << 20, "{}", taken_bytes());
    }

    #[test]
    fn the_rest_of_a_short_write_is_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("f");
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path);
        let file = RealFile(file.expect("a file"));
        let slices = [IoSlice::new(b"abc"), IoSlice::new(b"defg"), IoSlice::new(b"h")];
        for written in 0..8 {
            file.0.set_len(0).expect("emptied");
            file.write_rest(&slices, 0, written).expect("written");
            let content = RealDisk.read(&path).expect("read");
            assert_eq!(content[written..], b"abcdefgh"[written..]);
        }
    }

    #[test]
    fn no_room_is_told_from_a_disk_that_fails() {
        let told = |errno: Errno| {
            let error = io::Error::from(errno);
            (is_full(&error), has_failed(&error))
        };
        assert_eq!([Errno::NOSPC, Errno::DQUOT].map(told), [(true, false); 2]);
        assert_eq!([Errno::IO, Errno::ROFS].map(told), [(false, true); 2]);
        assert_eq!([Errno::MFILE, Errno::NOENT].map(told), [(false, false); 2]);
        assert!(!is_full(&of_sync(Errno::NOSPC.into())), "what was to be synced is lost");
        assert!(has_failed(&of_sync(Errno::IO.into())));
    }

    #[test]
    fn a_locked_folder_is_refused_to_others() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(".lock");
        let held = RealDisk.lock(&path).expect("the lock");
        assert!(RealDisk.lock(&path).is_err());
        drop(held);
        assert!(RealDisk.lock(&path).is_ok());
    }
}

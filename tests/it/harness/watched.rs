//! The machine's file system, which counts how often logs of partitions are synced and read.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ottla::base::disk::{Disk, DiskFile, OpenMode, RealDisk, Space};
use ottla::base::env::Env;

/// Cheap to clone; the clones are one disk.
#[derive(Debug, Clone, Default)]
pub struct WatchedDisk {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    log_syncs: AtomicUsize,
    log_reads: AtomicUsize,
}

impl WatchedDisk {
    /// The machine with this disk.
    pub fn env(&self) -> Env {
        Env { disk: Arc::new(self.clone()), ..Env::real().unwrap() }
    }

    pub fn log_syncs(&self) -> usize {
        self.counts.log_syncs.load(Ordering::SeqCst)
    }

    pub fn log_reads(&self) -> usize {
        self.counts.log_reads.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn DiskFile>,
    /// Of a log.
    counts: Option<Arc<Counts>>,
}

impl WatchedFile {
    fn note_sync(&self) {
        if let Some(counts) = &self.counts {
            counts.log_syncs.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl DiskFile for WatchedFile {
    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.file.write_all_at(slices, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(counts) = &self.counts {
            counts.log_reads.fetch_add(1, Ordering::SeqCst);
        }
        self.file.read_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.note_sync();
        self.file.sync()
    }

    fn sync_file_system(&self) -> io::Result<()> {
        self.note_sync();
        self.file.sync_file_system()
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_fd()
    }
}

impl Disk for WatchedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = RealDisk.open(path, mode)?;
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let counts = is_log.then(|| Arc::clone(&self.counts));
        Ok(Arc::new(WatchedFile { file, counts }))
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        RealDisk.space(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Debug + Send + Sync>> {
        RealDisk.lock(path)
    }
}

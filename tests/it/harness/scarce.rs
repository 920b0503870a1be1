//! The machine's file system, which says of its size what the test wants.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla::base::disk::{Disk, DiskFile, OpenMode, RealDisk, Space};
use ottla::base::env::Env;

const TOTAL_BYTES: u64 = 1 << 40;

/// Cheap to clone; the clones are one disk.
#[derive(Debug, Clone, Default)]
pub struct ScarceDisk {
    full: Arc<AtomicBool>,
}

impl ScarceDisk {
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// The machine with this disk.
    pub fn env(&self) -> Env {
        Env { disk: Arc::new(self.clone()), ..Env::real().unwrap() }
    }
}

impl Disk for ScarceDisk {
    fn space(&self, _: &Path) -> io::Result<Space> {
        let usable_bytes = if self.full.load(Ordering::SeqCst) { 0 } else { TOTAL_BYTES };
        Ok(Space { total_bytes: TOTAL_BYTES, usable_bytes })
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path, mode)
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

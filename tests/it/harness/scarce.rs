//! The machine's file system, which says of its size what the test wants, and fails when the test
//! wants it to.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ottla::base::disk::{Disk, DiskFile, OpenMode, RealDisk, Space};
use ottla::base::env::Env;

use super::cluster::Cluster;

const TOTAL_BYTES: u64 = 1 << 40;
const EIO: i32 = 5;

/// Cheap to clone; the clones are one disk. The key-value store is not on it.
#[derive(Debug, Clone, Default)]
pub struct ScarceDisk {
    full: Arc<AtomicBool>,
    /// Folders in which nothing can be written.
    broken: Arc<Mutex<Vec<PathBuf>>>,
    /// There is no room, whatever the disk says of its size.
    used_up: Arc<AtomicBool>,
}

impl ScarceDisk {
    /// What it says of its size.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// Writes and new files find no room, or some again.
    pub fn use_up(&self, used_up: bool) {
        self.used_up.store(used_up, Ordering::SeqCst);
    }

    /// From now on all writes and syncs in a folder fail.
    pub fn break_dir(&self, dir: &Path) {
        self.broken.lock().unwrap().push(dir.to_owned());
    }

    /// It has been replaced, with all that was on it.
    pub fn repair(&self) {
        self.broken.lock().unwrap().clear();
    }

    /// The machine with this disk.
    pub fn env(&self) -> Env {
        Env { disk: Arc::new(self.clone()), ..Env::real().unwrap() }
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        match self.broken.lock().unwrap().iter().any(|dir| path.starts_with(dir)) {
            true => Err(io::Error::from_raw_os_error(EIO)),
            false => Ok(()),
        }
    }

    fn check_room(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        match self.used_up.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// Three nodes, each on a disk of its own; of three replicas two are enough.
pub async fn cluster(settings: &[(&str, &str)]) -> ([ScarceDisk; 3], Cluster) {
    let usual = [
        ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3"),
        ("KAFKA_MIN_INSYNC_REPLICAS", "2"),
        ("KAFKA_REPLICA_LAG_TIME_MAX_MS", "1000"),
    ];
    let disks = [(); 3].map(|()| ScarceDisk::default());
    let envs = disks.iter().map(ScarceDisk::env).collect();
    let cluster = Cluster::start_on(envs, &[&usual, settings].concat()).await;
    (disks, cluster)
}

impl Disk for ScarceDisk {
    fn space(&self, _: &Path) -> io::Result<Space> {
        let usable_bytes = if self.full.load(Ordering::SeqCst) { 0 } else { TOTAL_BYTES };
        Ok(Space { total_bytes: TOTAL_BYTES, usable_bytes })
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if mode == OpenMode::Truncate || mode == OpenMode::Create && !path.exists() {
            self.check_room(path)?;
        }
        let file = RealDisk.open(path, mode)?;
        Ok(Arc::new(ScarceFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if !dir.exists() {
            self.check_room(dir)?;
        }
        RealDisk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(from)?;
        RealDisk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        RealDisk.remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.check(dir)?;
        RealDisk.remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(dir)?;
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Debug + Send + Sync>> {
        RealDisk.lock(path)
    }
}

#[derive(Debug)]
struct ScarceFile {
    disk: ScarceDisk,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for ScarceFile {
    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.disk.check(&self.path)?;
        let size: usize = slices.iter().map(|slice| slice.len()).sum();
        if offset + size as u64 > self.file.len()?
            && let Err(error) = self.disk.check_room(&self.path)
        {
            // As on a real disk, part of it may have been written.
            let part = slices.first().map_or(&[][..], |slice| &slice[..slice.len() / 2]);
            self.file.write_all_at(&[IoSlice::new(part)], offset)?;
            return Err(error);
        }
        self.file.write_all_at(slices, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.check(&self.path)?;
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.check(&self.path)?;
        self.file.sync()
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_fd()
    }
}

//! A disk in memory that loses power as real ones do.
//!
//! What is written is durable after a sync of its file, a name after a sync of its folder, nothing
//! else is. At a crash each write and each name that is not durable is kept, dropped or torn, by
//! the seed and each for itself, so a later one may be kept where an earlier one is lost.
//!
//! Every call goes into a running hash: two runs that did the same have the same hash. Calls that
//! change something are counted, so that a crash can be put between any two of them.

mod tree;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::base::disk::{Disk, DiskFile, OpenMode, Space};
use crate::base::rng::Rng;
use tree::{NodeId, Tree};

/// Disks write this much at once or not at all.
pub const SECTOR_BYTES: usize = 512;
pub(super) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// What goes wrong besides the loss of power.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Syncs of files with this ending say that they did it, and did not.
    pub lying_syncs: Option<&'static str>,
    /// The sync of this number (0: the next one) fails and loses what it should have written, as
    /// Linux does: later syncs succeed.
    pub failing_sync: Option<u64>,
    /// Files may grow by so many bytes; then the disk is full.
    pub bytes_free: Option<u64>,
}

/// The disk. Clones are handles on the same one.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Mutex<State>>,
}

struct State {
    tree: Tree,
    rng: Rng,
    trace: u64,
    changes: u64,
    crash_at: Option<u64>,
    crashed: bool,
    faults: Faults,
    locks: BTreeSet<PathBuf>,
    space: Space,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimDisk").field("changes", &state.changes).finish_non_exhaustive()
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self::of(Tree::default(), Rng::seeded(seed), FNV_OFFSET, 0)
    }

    fn of(tree: Tree, rng: Rng, trace: u64, changes: u64) -> Self {
        let (faults, locks) = (Faults::default(), BTreeSet::new());
        let (crash_at, crashed) = (None, false);
        let space = Space { total_bytes: u64::MAX, usable_bytes: u64::MAX };
        let state = State { tree, rng, trace, changes, crash_at, crashed, faults, locks, space };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls have changed something or tried to.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// The hash over all calls.
    pub fn trace(&self) -> u64 {
        self.state().trace
    }

    /// Takes note of something that is not a call of the disk, such as an answer to a client.
    pub fn note(&self, what: &str, content: &[u8]) {
        let hash = fnv(FNV_OFFSET, content);
        self.state().hash(what, Path::new(""), [content.len() as u64, hash]);
    }

    /// The power fails `calls` changing calls from now: that call and all later ones fail.
    pub fn crash_in(&self, calls: u64) {
        let mut state = self.state();
        state.crash_at = Some(state.changes + calls);
    }

    /// Takes back [`Self::crash_in`].
    pub fn keep_power(&self) {
        self.state().crash_at = None;
    }

    pub fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// What it says of its size from now on; writes are not kept from going beyond.
    pub fn set_space(&self, space: Space) {
        self.state().space = space;
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The disk as it is after the power came back. This one stays dead.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.state().crashed = true;
        self.image()
    }

    /// The disk as it would be if the power failed now; another one each time.
    #[must_use]
    pub fn image(&self) -> Self {
        let state = self.state();
        let rng = Rng::seeded(state.rng.next_u64());
        let tree = state.tree.surviving(&state.rng);
        Self::of(tree, rng, state.trace, state.changes)
    }

    /// The disk as the next process finds it when only this one dies: nothing is lost, and nothing
    /// more is durable. This one stays dead.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.state();
        state.crashed = true;
        let rng = Rng::seeded(state.rng.next_u64());
        Self::of(state.tree.clone(), rng, state.trace, state.changes)
    }

    /// Flips a bit of a file, durably and unseen.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut state = self.state();
        let id = state.tree.file(path)?;
        state.tree.flip_bit(id, bit)
    }

    /// From now on a sector of a file cannot be read, until it is written as a whole.
    pub fn spoil_sector(&self, path: &Path, sector: usize) -> io::Result<()> {
        let mut state = self.state();
        let id = state.tree.file(path)?;
        state.tree.spoil_sector(id, sector)
    }

    /// What a file holds as the running machine sees it.
    pub fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        let id = state.tree.file(path)?;
        let size = usize::try_from(state.tree.file_len(id)?).map_err(io::Error::other)?;
        let mut content = vec![0; size];
        state.tree.read(id, &mut content, 0)?;
        Ok(content)
    }

    /// All files with their sizes.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.state().tree.files()
    }
}

pub(super) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

fn no_power() -> io::Error {
    io::Error::other("the disk has no power")
}

/// What a changing call does once the power has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// It fails during this call, which may or may not have had its effect.
    FailsAfterEffect,
}

impl State {
    fn hash(&mut self, what: &str, path: &Path, numbers: [u64; 2]) {
        let mut trace = fnv(self.trace, what.as_bytes());
        trace = fnv(trace, path.as_os_str().as_encoded_bytes());
        for number in numbers {
            trace = fnv(trace, &number.to_be_bytes());
        }
        self.trace = trace;
    }

    fn look(&mut self, what: &str, path: &Path, numbers: [u64; 2]) -> io::Result<()> {
        self.hash(what, path, numbers);
        if self.crashed { Err(no_power()) } else { Ok(()) }
    }

    fn change(&mut self, what: &str, path: &Path, numbers: [u64; 2]) -> io::Result<Power> {
        self.look(what, path, numbers)?;
        self.changes += 1;
        if self.crash_at.is_none_or(|at| self.changes <= at) {
            return Ok(Power::On);
        }
        self.crashed = true;
        if self.rng.below(2) == 0 { Err(no_power()) } else { Ok(Power::FailsAfterEffect) }
    }

    /// Whether a sync takes place.
    fn sync_happens(&mut self, path: &Path) -> io::Result<bool> {
        match self.faults.failing_sync {
            Some(0) => {
                self.faults.failing_sync = None;
                return Err(io::Error::other("input/output error"));
            }
            Some(after) => self.faults.failing_sync = Some(after - 1),
            None => {}
        }
        let name = path.as_os_str().as_encoded_bytes();
        Ok(self.faults.lying_syncs.is_none_or(|ending| !name.ends_with(ending.as_bytes())))
    }

    /// Takes space for a file that grows; how many bytes of the write fit.
    fn take_space(&mut self, id: NodeId, offset: u64, size: usize) -> io::Result<usize> {
        let end = offset + size as u64;
        let growth = end.saturating_sub(self.tree.file_len(id)?);
        let Some(free) = self.faults.bytes_free else { return Ok(size) };
        self.faults.bytes_free = Some(free.saturating_sub(growth));
        let missing = growth.saturating_sub(free);
        Ok(size.saturating_sub(usize::try_from(missing).unwrap_or(usize::MAX)))
    }
}

impl Power {
    fn after(self, result: io::Result<()>) -> io::Result<()> {
        match self {
            Self::On => result,
            Self::FailsAfterEffect => Err(no_power()),
        }
    }
}

impl Disk for SimDisk {
    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(self.state().space)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let found = state.tree.file(path);
        let creates = matches!(mode, OpenMode::Create | OpenMode::Truncate);
        let id = match found {
            Ok(id) if mode != OpenMode::Truncate => {
                state.look("open", path, [0, 0])?;
                id
            }
            Err(error) if !creates => {
                state.look("absent", path, [0, 0])?;
                return Err(error);
            }
            found => {
                let power = state.change("create", path, [0, 0])?;
                let id = match found {
                    Ok(id) => state.tree.set_len(id, 0).map(|()| id),
                    Err(_) => state.tree.create(path),
                };
                power.after(Ok(()))?;
                id?
            }
        };
        let shared = Arc::clone(&self.shared);
        Ok(Arc::new(SimFile { shared, id, path: path.to_owned() }))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.tree.exists(dir) {
            return state.look("dir", dir, [0, 0]);
        }
        let power = state.change("create_dir", dir, [0, 0])?;
        let created = state.tree.create_dir_all(dir);
        power.after(created)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.look("list", dir, [0, 0])?;
        state.tree.list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        self.state().tree.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let power = state.change("rename", from, [0, 0])?;
        let renamed = state.tree.rename(from, to);
        power.after(renamed)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let power = state.change("remove", path, [0, 0])?;
        let removed = state.tree.remove(path);
        power.after(removed)
    }

    /// One name after the other, as a file system does it.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let names = self.list(dir)?;
        for name in names {
            let path = dir.join(name);
            let is_dir = self.state().tree.file(&path).is_err();
            if is_dir {
                self.remove_dir_all(&path)?;
            } else {
                self.remove_file(&path)?;
            }
        }
        self.remove_file(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let power = state.change("sync_dir", dir, [0, 0])?;
        if state.sync_happens(dir)? {
            state.tree.sync_dir(dir)?;
        }
        power.after(Ok(()))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn fmt::Debug + Send + Sync>> {
        self.open(path, OpenMode::Create)?;
        if !self.state().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock { shared: Arc::downgrade(&self.shared), path: path.to_owned() }))
    }
}

struct Lock {
    shared: Weak<Mutex<State>>,
    path: PathBuf,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.lock().unwrap_or_else(PoisonError::into_inner).locks.remove(&self.path);
        }
    }
}

struct SimFile {
    shared: Arc<Mutex<State>>,
    id: NodeId,
    path: PathBuf,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SimFile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut content: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let mut state = self.state();
        let hash = fnv(FNV_OFFSET, &content);
        let power = state.change("write", &self.path, [offset, hash])?;
        let fits = state.take_space(self.id, offset, content.len())?;
        let full = fits < content.len();
        content.truncate(fits);
        state.tree.write(self.id, offset, content)?;
        power.after(if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        state.look("read", &self.path, [offset, buffer.len() as u64])?;
        state.tree.read(self.id, buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.look("len", &self.path, [0, 0])?;
        state.tree.file_len(self.id)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let power = state.change("set_len", &self.path, [len, 0])?;
        let set = state.tree.set_len(self.id, len);
        power.after(set)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        let power = state.change("sync", &self.path, [0, 0])?;
        match state.sync_happens(&self.path) {
            Ok(true) => state.tree.sync(self.id)?,
            Ok(false) => {}
            Err(error) => {
                state.tree.forget_unsynced(self.id)?;
                return Err(error);
            }
        }
        power.after(Ok(()))
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[cfg(test)]
mod tests;

//! A copy of a log that is made in another log dir while the log is in use.
//!
//! A segment is known by its open files. One that is closed is copied once, with its index files;
//! the others grow here as they do there. What compaction or a truncation has put in the place of a
//! segment has other files, so it is copied anew. When the log is closed, what is missing is
//! copied, and everything is made durable; until then nobody relies on the copy.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::disk::{Disk, DiskFile, OpenMode};
use crate::base::ids::Offset;
use crate::log::dir::PARTITION_FILE;
use crate::log::partition_log::PartitionLog;
use crate::log::segment::{EXTENSIONS, RAFT_HEAD_BYTES, SegmentFiles, file_name};

/// What is read and written at once.
const CHUNK_BYTES: u64 = 1024 * 1024;
/// What is written before it is synced: see `cleaner::target`.
const SYNC_BYTES: u64 = 2 * 1024 * 1024;

/// A segment as the log has it at one moment.
#[derive(Debug)]
pub(crate) struct Original {
    pub(crate) files: Arc<SegmentFiles>,
    /// Everything in it is on disk, and nothing will be added.
    pub(crate) is_closed: bool,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub copied_bytes: u64,
    pub left_bytes: u64,
    /// The first offset of the first segment that is not wholly here; `None` if all are.
    pub missing_from: Option<Offset>,
}

/// What a step has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    pub bytes: u64,
    pub progress: Progress,
}

/// A file of which a part is copied.
#[derive(Debug)]
struct Copied {
    original: Arc<dyn DiskFile>,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    synced: u64,
}

#[derive(Debug)]
struct CopiedSegment {
    files: Arc<SegmentFiles>,
    log: Copied,
    raft: Copied,
    /// With its index files, and durable but for the names.
    is_whole: bool,
}

/// The copy.
#[derive(Debug)]
pub struct LogCopy {
    log: Arc<PartitionLog>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segments: BTreeMap<Offset, CopiedSegment>,
    /// How often batches had been mended, which changes files in their middle.
    mends: u64,
}

impl Copied {
    fn begin(disk: &dyn Disk, original: &Arc<dyn DiskFile>, path: &Path) -> io::Result<Self> {
        let file = disk.open(path, OpenMode::Truncate)?;
        Ok(Self { original: Arc::clone(original), file, bytes: 0, synced: 0 })
    }

    fn left(&self) -> io::Result<u64> {
        Ok(self.original.len()?.saturating_sub(self.bytes))
    }

    /// Copies at most so many bytes; how many it were. Blocks.
    fn go_on(&mut self, bytes_max: u64) -> io::Result<u64> {
        let mut done = 0;
        let mut buffer = vec![0; buffer_size(self.left()?.min(bytes_max))];
        while done < bytes_max {
            let size = buffer_size(bytes_max - done).min(buffer.len());
            let chunk = buffer.get_mut(..size).unwrap_or_default();
            let read = self.original.read_at(chunk, self.bytes)?;
            if read == 0 {
                break;
            }
            let content = chunk.get(..read).unwrap_or_default();
            self.file.write_all_at(&[IoSlice::new(content)], self.bytes)?;
            self.bytes += read as u64;
            done += read as u64;
            if self.bytes - self.synced >= SYNC_BYTES {
                self.sync()?;
            }
        }
        Ok(done)
    }

    /// Copies the beginning once more, which is written again and again.
    fn renew(&self, size: u64) -> io::Result<()> {
        let mut content = vec![0; buffer_size(size.min(self.bytes))];
        crate::base::disk::read_exact_at(self.original.as_ref(), &mut content, 0)?;
        self.file.write_all_at(&[IoSlice::new(&content)], 0)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.synced = self.bytes;
        Ok(())
    }
}

fn buffer_size(bytes: u64) -> usize {
    usize::try_from(bytes.min(CHUNK_BYTES)).unwrap_or(usize::MAX)
}

impl LogCopy {
    /// Begins a copy in a folder that is not there yet. Blocks.
    pub fn begin(log: Arc<PartitionLog>, dir: PathBuf) -> io::Result<Self> {
        let disk = Arc::clone(log.disk());
        disk.create_dir_all(&dir)?;
        let mends = log.mends();
        Ok(Self { log, disk, dir, segments: BTreeMap::new(), mends })
    }

    /// The folder of the copy.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies at most about so many bytes of what is missing. Blocks.
    pub fn step(&mut self, bytes_max: u64) -> io::Result<Step> {
        let originals = self.look()?;
        let mut bytes = 0;
        for original in &originals {
            if bytes >= bytes_max {
                break;
            }
            bytes += self.copy(original, bytes_max - bytes)?;
        }
        Ok(Step { bytes, progress: self.progress(&originals)? })
    }

    /// Copies all that is missing of a log that is closed, and makes everything durable. Blocks.
    pub fn finish(&mut self) -> io::Result<()> {
        let originals = self.look()?;
        for original in &originals {
            self.copy(original, u64::MAX)?;
            let Some(copied) = self.segments.get_mut(&original.files.base_offset) else { continue };
            if !copied.is_whole {
                copied.complete(self.disk.as_ref(), &self.dir)?;
            }
        }
        self.copy_states(&originals)?;
        let from = self.log.dir().join(PARTITION_FILE);
        self.disk.write(&self.dir.join(PARTITION_FILE), &self.disk.read(&from)?)?;
        self.disk.sync_dir(&self.dir)?;
        match self.dir.parent() {
            Some(parent) => self.disk.sync_dir(parent),
            None => Ok(()),
        }
    }

    /// Removes the copy. Blocks.
    pub fn discard(self) -> io::Result<()> {
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.clone());
        drop(self);
        disk.remove_dir_all(&dir)
    }

    /// What the log has now. What it has no more is removed here.
    fn look(&mut self) -> io::Result<Vec<Original>> {
        let mends = self.log.mends();
        let is_mended = std::mem::replace(&mut self.mends, mends) != mends;
        let originals = self.log.originals();
        let is_there = |copied: &CopiedSegment| {
            let same = |original: &Original| Arc::ptr_eq(&original.files, &copied.files);
            !is_mended && originals.iter().any(same)
        };
        let gone: Vec<Offset> = self
            .segments
            .iter()
            .filter(|(_, copied)| !is_there(copied))
            .map(|(base_offset, _)| *base_offset)
            .collect();
        for base_offset in gone {
            self.segments.remove(&base_offset);
            for extension in EXTENSIONS {
                let path = self.dir.join(file_name(base_offset, extension));
                if self.disk.exists(&path) {
                    self.disk.remove_file(&path)?;
                }
            }
        }
        Ok(originals)
    }

    /// Goes on with one segment; how many bytes were copied.
    fn copy(&mut self, original: &Original, bytes_max: u64) -> io::Result<u64> {
        let (disk, dir) = (self.disk.as_ref(), &self.dir);
        let base_offset = original.files.base_offset;
        let copied = match self.segments.entry(base_offset) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(CopiedSegment::begin(disk, dir, &original.files)?),
        };
        if copied.is_whole {
            return Ok(0);
        }
        let mut bytes = copied.log.go_on(bytes_max)?;
        bytes += copied.raft.go_on(bytes_max.saturating_sub(bytes))?;
        if original.is_closed && copied.left()? == 0 {
            copied.complete(disk, dir)?;
        }
        Ok(bytes)
    }

    fn progress(&self, originals: &[Original]) -> io::Result<Progress> {
        let mut progress = Progress::default();
        for original in originals {
            let base_offset = original.files.base_offset;
            let (copied_bytes, left_bytes) = match self.segments.get(&base_offset) {
                Some(copied) => (copied.log.bytes, copied.left()?),
                None => (0, original.files.log.len()? + original.files.raft.len()?),
            };
            progress.copied_bytes += copied_bytes;
            progress.left_bytes += left_bytes;
            if left_bytes > 0 {
                progress.missing_from.get_or_insert(base_offset);
            }
        }
        Ok(progress)
    }

    /// The states that the log has beside those of its closed segments: of its first segment, and
    /// of its end.
    fn copy_states(&self, originals: &[Original]) -> io::Result<()> {
        let closed = originals.iter().filter(|original| original.is_closed);
        let known: BTreeSet<String> =
            closed.map(|original| file_name(original.files.base_offset, "state")).collect();
        for name in self.disk.list(self.log.dir())? {
            if name.ends_with(".state") && !known.contains(&name) {
                copy_small(self.disk.as_ref(), &self.log.dir().join(&name), &self.dir.join(&name))?;
            }
        }
        Ok(())
    }
}

impl CopiedSegment {
    fn begin(disk: &dyn Disk, dir: &Path, files: &Arc<SegmentFiles>) -> io::Result<Self> {
        let path = |extension| dir.join(file_name(files.base_offset, extension));
        Ok(Self {
            files: Arc::clone(files),
            log: Copied::begin(disk, &files.log, &path("log"))?,
            raft: Copied::begin(disk, &files.raft, &path("raft"))?,
            is_whole: false,
        })
    }

    fn left(&self) -> io::Result<u64> {
        Ok(self.log.left()? + self.raft.left()?)
    }

    /// Copies what is beside the two large files, and makes it all durable.
    fn complete(&mut self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        self.raft.renew(RAFT_HEAD_BYTES)?;
        for extension in EXTENSIONS.iter().filter(|extension| !["log", "raft"].contains(extension))
        {
            let from = self.files.path(extension);
            if disk.exists(&from) {
                copy_small(disk, &from, &dir.join(file_name(self.files.base_offset, extension)))?;
            }
        }
        self.log.sync()?;
        self.raft.sync()?;
        self.is_whole = true;
        Ok(())
    }
}

fn copy_small(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    disk.write(to, &disk.read(from)?)
}

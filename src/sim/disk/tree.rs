//! Files and folders, each in two versions: as the running machine sees it, and as it is on the
//! disk, with the changes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use super::SECTOR_BYTES;
use crate::base::rng::Rng;

/// A file or folder; stays the same when it is renamed.
pub(super) type NodeId = usize;

const ROOT: NodeId = 0;

/// All of a disk.
#[derive(Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone)]
enum Node {
    Dir(Dir),
    File(File),
}

type Names = BTreeMap<String, NodeId>;

#[derive(Clone, Default)]
struct Dir {
    names: Names,
    durable: Names,
    unsynced: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    Add { name: String, id: NodeId },
    Remove { name: String },
    Rename { from: String, to: String, id: NodeId },
}

#[derive(Clone, Default)]
struct File {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<FileChange>,
    /// Numbers of sectors that cannot be read until they are written as a whole.
    bad_sectors: BTreeSet<usize>,
}

#[derive(Clone)]
enum FileChange {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::Dir(Dir::default())] }
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add { name, id } => {
                names.insert(name.clone(), *id);
            }
            Self::Remove { name } => {
                names.remove(name);
            }
            Self::Rename { from, to, id } => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
        }
    }
}

impl Dir {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    fn surviving(&self, rng: &Rng) -> Names {
        let mut names = self.durable.clone();
        for change in &self.unsynced {
            if rng.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        names
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

impl FileChange {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => put(content, *offset, bytes),
            Self::SetLen(len) => content.resize(*len, 0),
        }
    }

    /// Kept, dropped or torn.
    fn survive(&self, content: &mut Vec<u8>, rng: &Rng) {
        match (rng.below(4), self) {
            (0, _) => {}
            (1, Self::Write { offset, bytes }) => tear(content, *offset, bytes, rng),
            _ => self.apply(content),
        }
    }
}

/// Keeps some sectors of a write; the file may have got its new length all the same.
fn tear(content: &mut Vec<u8>, offset: usize, bytes: &[u8], rng: &Rng) {
    if rng.below(2) == 0 {
        let end = content.len().max(offset + bytes.len());
        content.resize(end, 0);
    }
    let mut at = offset;
    let mut rest = bytes;
    while !rest.is_empty() {
        let in_sector = (SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len());
        let (sector, after) = rest.split_at(in_sector);
        if rng.below(2) == 0 {
            put(content, at, sector);
        }
        at += in_sector;
        rest = after;
    }
}

impl File {
    /// How much can be read from `offset` on.
    fn readable(&self, offset: usize, size: usize) -> io::Result<usize> {
        let sectors = offset / SECTOR_BYTES..(offset + size).div_ceil(SECTOR_BYTES);
        match self.bad_sectors.range(sectors).next() {
            Some(bad) if bad * SECTOR_BYTES <= offset && size > 0 => Err(Errno::IO.into()),
            Some(bad) => Ok(size.min((bad * SECTOR_BYTES).saturating_sub(offset))),
            None => Ok(size),
        }
    }

    /// Part of a sector is written by reading the whole before.
    fn heal(&mut self, offset: usize, size: usize) -> io::Result<()> {
        let touched = offset / SECTOR_BYTES..(offset + size).div_ceil(SECTOR_BYTES);
        let whole = offset.div_ceil(SECTOR_BYTES)..(offset + size) / SECTOR_BYTES;
        if self.bad_sectors.range(touched).any(|bad| !whole.contains(bad)) {
            return Err(Errno::IO.into());
        }
        self.bad_sectors.retain(|bad| !whole.contains(bad));
        Ok(())
    }

    fn change(&mut self, change: FileChange) {
        change.apply(&mut self.content);
        self.unsynced.push(change);
    }

    fn surviving(&self, rng: &Rng) -> Vec<u8> {
        let mut content = self.durable.clone();
        for change in &self.unsynced {
            change.survive(&mut content, rng);
        }
        content
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl Tree {
    fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                let name = name.to_str().ok_or_else(not_found)?;
                at = *self.dir(at)?.names.get(name).ok_or_else(not_found)?;
            }
        }
        Ok(at)
    }

    fn dir(&self, id: NodeId) -> io::Result<&Dir> {
        match self.nodes.get(id) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn dir_mut(&mut self, id: NodeId) -> io::Result<&mut Dir> {
        match self.nodes.get_mut(id) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file_of(&self, id: NodeId) -> io::Result<&File> {
        match self.nodes.get(id) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn file_mut(&mut self, id: NodeId) -> io::Result<&mut File> {
        match self.nodes.get_mut(id) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn parent(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(not_found)?;
        Ok((self.find(path.parent().ok_or_else(not_found)?)?, name.to_owned()))
    }

    fn add(&mut self, parent: NodeId, name: &str, node: Node) -> io::Result<NodeId> {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.dir_mut(parent)?.change(NameChange::Add { name: name.to_owned(), id });
        Ok(id)
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        self.find(path).is_ok()
    }

    /// The file of that name.
    pub(super) fn file(&self, path: &Path) -> io::Result<NodeId> {
        let id = self.find(path)?;
        self.file_of(id).map(|_| id)
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<NodeId> {
        let (parent, name) = self.parent(path)?;
        self.add(parent, &name, Node::File(File::default()))
    }

    pub(super) fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for part in dir.components() {
            let Component::Normal(name) = part else { continue };
            let name = name.to_str().ok_or_else(not_found)?;
            at = match self.dir(at)?.names.get(name) {
                Some(id) => *id,
                None => self.add(at, name, Node::Dir(Dir::default()))?,
            };
        }
        self.dir(at).map(|_| ())
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.dir(self.find(dir)?)?.names.keys().cloned().collect())
    }

    /// Within one folder: what crosses folders is two changes, and nobody does it.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from)?;
        let ((from_dir, from), (to_dir, to)) = (self.parent(from)?, self.parent(to)?);
        if from_dir != to_dir {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.dir_mut(from_dir)?.change(NameChange::Rename { from, to, id });
        Ok(())
    }

    /// A file, or an empty folder. Whoever has it open keeps it.
    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path)?;
        if self.dir(id).is_ok_and(|dir| !dir.names.is_empty()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (parent, name) = self.parent(path)?;
        self.dir_mut(parent)?.change(NameChange::Remove { name });
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let id = self.find(dir)?;
        let dir = self.dir_mut(id)?;
        dir.durable = dir.names.clone();
        dir.unsynced.clear();
        Ok(())
    }

    pub(super) fn file_len(&self, id: NodeId) -> io::Result<u64> {
        Ok(self.file_of(id)?.content.len() as u64)
    }

    pub(super) fn read(&self, id: NodeId, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (file, offset) = (self.file_of(id)?, position(offset)?);
        let rest = file.content.get(offset..).unwrap_or_default();
        let size = file.readable(offset, rest.len().min(buffer.len()))?;
        if let (Some(to), Some(from)) = (buffer.get_mut(..size), rest.get(..size)) {
            to.copy_from_slice(from);
        }
        Ok(size)
    }

    pub(super) fn write(&mut self, id: NodeId, offset: u64, bytes: Vec<u8>) -> io::Result<()> {
        let (file, offset) = (self.file_mut(id)?, position(offset)?);
        file.heal(offset, bytes.len())?;
        file.change(FileChange::Write { offset, bytes });
        Ok(())
    }

    pub(super) fn set_len(&mut self, id: NodeId, len: u64) -> io::Result<()> {
        let (file, len) = (self.file_mut(id)?, position(len)?);
        // What is cut off lies elsewhere when it is written again.
        file.bad_sectors.retain(|bad| bad * SECTOR_BYTES < len);
        file.change(FileChange::SetLen(len));
        Ok(())
    }

    pub(super) fn sync(&mut self, id: NodeId) -> io::Result<()> {
        let file = self.file_mut(id)?;
        for change in std::mem::take(&mut file.unsynced) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    /// What a failed sync should have written: the pages are marked clean and never written.
    pub(super) fn forget_unsynced(&mut self, id: NodeId) -> io::Result<()> {
        self.file_mut(id)?.unsynced.clear();
        Ok(())
    }

    pub(super) fn flip_bit(&mut self, id: NodeId, bit: u64) -> io::Result<()> {
        let file = self.file_mut(id)?;
        let at = position(bit / 8)?;
        for version in [&mut file.content, &mut file.durable] {
            if let Some(byte) = version.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Ok(())
    }

    pub(super) fn spoil_sector(&mut self, id: NodeId, sector: usize) -> io::Result<()> {
        self.file_mut(id)?.bad_sectors.insert(sector);
        Ok(())
    }

    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut dirs = vec![(ROOT, PathBuf::from("/"))];
        while let Some((id, path)) = dirs.pop() {
            let Ok(dir) = self.dir(id) else { continue };
            for (name, id) in &dir.names {
                match self.nodes.get(*id) {
                    Some(Node::File(file)) => {
                        found.push((path.join(name), file.content.len() as u64));
                    }
                    _ => dirs.push((*id, path.join(name))),
                }
            }
        }
        found.sort();
        found
    }

    /// What is left of it when the power fails now.
    pub(super) fn surviving(&self, rng: &Rng) -> Self {
        let survive = |node: &Node| match node {
            Node::Dir(dir) => {
                let names = dir.surviving(rng);
                Node::Dir(Dir { names: names.clone(), durable: names, unsynced: Vec::new() })
            }
            Node::File(file) => {
                let content = file.surviving(rng);
                Node::File(File {
                    content: content.clone(),
                    durable: content,
                    unsynced: vec![],
                    bad_sectors: file.bad_sectors.clone(),
                })
            }
        };
        Self { nodes: self.nodes.iter().map(survive).collect() }
    }
}

//! The layout of a log dir, Kafka's: `<topic>-<partition>/` per partition, `meta.properties` with
//! the identity of cluster and node, a lock, and a marker of an orderly stop.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::disk::Disk;
use crate::base::ids::{DirectoryId, NodeId, PartitionIndex, TopicId, TopicPartition, uuid_parse};

const LOCK_FILE: &str = ".lock";
const CLEAN_FILE: &str = ".kafka_cleanshutdown";
const IDENTITY_FILE: &str = "meta.properties";
pub(super) const PARTITION_FILE: &str = "partition.metadata";
/// It is there while the folder is being filled by an import.
const IMPORT_FILE: &str = ".ottla_import";
/// The key-value store's folder in the first log dir.
const STORE_DIR: &str = ".ottla";

// What is in the identity file: Kafka's keys and one of our own.
const VERSION: &str = "version=1\n";
const CLUSTER_ID: &str = "cluster.id";
const NODE_ID: &str = "node.id";
const DIRECTORY_ID: &str = "directory.id";
const BEGINNING: &str = "ottla.beginning";
const FOUNDED: &str = "founded";
const JOINED: &str = "joined";

/// The end of the name that a folder gets before it is deleted, Kafka's.
const DELETED: &str = "-delete";

/// The end of the name of a folder in which a partition's log is copied, Kafka's.
const FUTURE: &str = "-future";
/// File systems allow no longer names.
const NAME_BYTES_MAX: usize = 255;

/// The name that a partition's folder gets before it is deleted; `key` is the partition's in the
/// store.
pub fn deleted_name(key: &[u8]) -> String {
    let mut name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    name.push_str(DELETED);
    name
}

/// Who the broker is; written at the first start, checked at every later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub cluster_id: String,
    pub node_id: NodeId,
    pub beginning: Beginning,
}

/// How a node came to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The cluster began with it: it makes the first metadata.
    Founded,
    /// It gets its metadata from others.
    Joined,
}

/// An opened and locked log dir.
#[derive(Debug)]
pub struct LogDir {
    pub path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Whether the broker stopped in order before this start.
    pub clean: bool,
    _lock: Box<dyn Debug + Send + Sync>,
}

impl LogDir {
    /// Opens all log dirs of a broker.
    pub fn open_all(disk: &Arc<dyn Disk>, paths: &[PathBuf]) -> io::Result<Vec<Arc<Self>>> {
        let open = |path: &PathBuf| {
            Self::open(Arc::clone(disk), path).map(Arc::new).map_err(|error| {
                let text = format!("cannot use log dir {}: {error}", path.display());
                io::Error::new(error.kind(), text)
            })
        };
        paths.iter().map(open).collect()
    }

    /// Where the key-value store is, if this is the first log dir.
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE_DIR)
    }

    /// Whether an import has begun to fill the folder and has not ended.
    pub fn is_half_imported(&self) -> bool {
        self.disk.exists(&self.path.join(IMPORT_FILE))
    }

    /// Whether an import may open the folder: opening one that a broker has left in order would
    /// cost its next start.
    pub fn check_importable(disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let is_left = disk.exists(&path.join(CLEAN_FILE)) && !disk.exists(&path.join(IMPORT_FILE));
        if is_left { Err(not_empty(path)) } else { Ok(()) }
    }

    /// Notes that an import fills the folder; what one that was cut short has left is removed. A
    /// folder with anything else in it is refused.
    pub fn begin_import(&self) -> io::Result<()> {
        let marker = self.path.join(IMPORT_FILE);
        let mut found = self.partitions()?;
        found.extend(Some(self.store()).filter(|store| self.disk.exists(store)));
        if self.disk.exists(&marker) {
            found.iter().try_for_each(|dir| self.disk.remove_dir_all(dir))?;
            let identity = self.path.join(IDENTITY_FILE);
            if self.disk.exists(&identity) {
                self.disk.remove_file(&identity)?;
            }
            return self.disk.sync_dir(&self.path);
        }
        if self.identity()?.is_some() || !found.is_empty() {
            return Err(not_empty(&self.path));
        }
        self.disk.replace(&marker, b"")
    }

    /// The folder is whole from now on.
    pub fn end_import(&self) -> io::Result<()> {
        self.disk.remove_file(&self.path.join(IMPORT_FILE))?;
        self.disk.sync_dir(&self.path)
    }

    /// Makes the folder if need be, takes its lock and the marker of an orderly stop.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        make_durable(disk.as_ref(), path)?;
        let lock = disk.lock(&path.join(LOCK_FILE)).map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::WouldBlock => "is in use by another broker",
                _ => "cannot be locked",
            };
            io::Error::new(error.kind(), format!("{} {why} ({error})", path.display()))
        })?;
        let marker = path.join(CLEAN_FILE);
        let clean = disk.exists(&marker);
        if clean {
            disk.remove_file(&marker)?;
            disk.sync_dir(path)?;
        }
        Ok(Self { path: path.to_owned(), disk, clean, _lock: lock })
    }

    /// Leaves the marker of an orderly stop; all logs must have been closed.
    pub fn mark_clean(&self) -> io::Result<()> {
        self.disk.replace(&self.path.join(CLEAN_FILE), b"{\"version\":0}")
    }

    /// Who the broker is; `None` while it belongs to no cluster.
    pub fn identity(&self) -> io::Result<Option<Identity>> {
        let Some(text) = self.properties()? else { return Ok(None) };
        let Some(cluster_id) = property(&text, CLUSTER_ID) else {
            return if property(&text, DIRECTORY_ID).is_some() {
                Ok(None)
            } else {
                Err(self.damaged())
            };
        };
        let node_id = property(&text, NODE_ID).and_then(|id| id.parse().ok());
        let beginning = match property(&text, BEGINNING) {
            None | Some(FOUNDED) => Beginning::Founded,
            Some(JOINED) => Beginning::Joined,
            Some(_) => return Err(self.damaged()),
        };
        Ok(Some(Identity {
            cluster_id: cluster_id.to_owned(),
            node_id: node_id.map(NodeId).ok_or_else(|| self.damaged())?,
            beginning,
        }))
    }

    /// The identity of what is in here. A folder that has none yet gets `new`, before anybody is
    /// told of it.
    pub fn directory(&self, new: DirectoryId) -> io::Result<DirectoryId> {
        let text = self.properties()?;
        let known = text.as_deref().and_then(|text| property(text, DIRECTORY_ID));
        if let Some(known) = known {
            return uuid_parse(known).map(DirectoryId).ok_or_else(|| self.damaged());
        }
        let text = text.unwrap_or_else(|| VERSION.to_owned());
        self.set_properties(&format!("{text}{DIRECTORY_ID}={new}\n"))?;
        Ok(new)
    }

    /// Writes who the broker is beside the folder's own identity.
    pub fn set_identity(&self, identity: &Identity) -> io::Result<()> {
        let text = self.properties()?;
        let directory = text.as_deref().and_then(|text| property(text, DIRECTORY_ID));
        let directory = directory.map(|id| format!("{DIRECTORY_ID}={id}\n")).unwrap_or_default();
        let Identity { cluster_id, node_id, beginning } = identity;
        let beginning = match beginning {
            Beginning::Founded => FOUNDED,
            Beginning::Joined => JOINED,
        };
        self.set_properties(&format!(
            "{VERSION}{CLUSTER_ID}={cluster_id}\n{NODE_ID}={node_id}\n{directory}\
             {BEGINNING}={beginning}\n"
        ))
    }

    fn properties(&self) -> io::Result<Option<String>> {
        let path = self.path.join(IDENTITY_FILE);
        if !self.disk.exists(&path) {
            return Ok(None);
        }
        String::from_utf8(self.disk.read(&path)?).map(Some).map_err(io::Error::other)
    }

    fn set_properties(&self, text: &str) -> io::Result<()> {
        self.disk.replace(&self.path.join(IDENTITY_FILE), text.as_bytes())
    }

    fn damaged(&self) -> io::Error {
        let path = self.path.join(IDENTITY_FILE);
        io::Error::other(format!("{} is damaged", path.display()))
    }

    /// The folder of a partition. `topic` must be a valid topic name: it becomes part of a path.
    pub fn partition(&self, topic: &str, partition: PartitionIndex) -> PathBuf {
        debug_assert!(!topic.contains('/') && topic != "." && topic != "..");
        self.path.join(format!("{topic}-{partition}"))
    }

    /// The folder for a copy of a partition's log; `number` is one that no other copy has.
    pub fn future(&self, topic: &str, partition: PartitionIndex, number: u64) -> PathBuf {
        let rest = format!("-{partition}.{number:032x}{FUTURE}");
        let size = topic.len().min(NAME_BYTES_MAX.saturating_sub(rest.len()));
        // Names of topics are ASCII.
        let topic = topic.get(..size).unwrap_or_default();
        self.path.join(format!("{topic}{rest}"))
    }

    /// The names of the folders of copies.
    pub fn futures(&self) -> io::Result<Vec<String>> {
        let mut names = self.disk.list(&self.path)?;
        names.retain(|name| name.ends_with(FUTURE));
        Ok(names)
    }

    /// Whose log a folder is or will be; `None` if that is not written in it.
    pub fn owner(&self, dir: &Path) -> io::Result<Option<TopicPartition>> {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = match name.ends_with(FUTURE) {
            true => name.rsplit_once('.').map_or(name, |(front, _)| front),
            false => name,
        };
        let partition = name.rsplit_once('-').and_then(|(_, partition)| partition.parse().ok());
        let topic_id = self.topic_id(dir)?;
        let id = topic_id.zip(partition);
        Ok(id.map(|(topic_id, partition)| TopicPartition { topic_id, partition }))
    }

    /// Writes whose log a folder is (Kafka's `partition.metadata`).
    pub fn set_topic_id(&self, dir: &Path, topic_id: TopicId) -> io::Result<()> {
        let text = format!("version: 0\ntopic_id: {topic_id}\n");
        self.disk.replace(&dir.join(PARTITION_FILE), text.as_bytes())
    }

    /// The folders of partitions, by their names.
    pub fn partitions(&self) -> io::Result<Vec<PathBuf>> {
        let is_partition =
            |name: &String| name.rsplit_once('-').is_some_and(|(_, p)| p.parse::<u32>().is_ok());
        let names = self.disk.list(&self.path)?.into_iter().filter(is_partition);
        Ok(names.map(|name| self.path.join(name)).collect())
    }

    /// The folders of which it is written whose they are.
    pub fn owned(&self) -> io::Result<Vec<(PathBuf, TopicPartition)>> {
        let mut owned = Vec::new();
        for dir in self.partitions()? {
            match self.owner(&dir) {
                Ok(owner) => owned.extend(owner.map(|id| (dir, id))),
                // It may be anything, so it is left alone.
                Err(error) => {
                    tracing::error!(%error, dir = %dir.display(), "whose log is it?");
                }
            }
        }
        Ok(owned)
    }

    /// Removes the folders of logs whose deletion was cut short.
    pub fn finish_deletions(&self) -> io::Result<()> {
        for name in self.disk.list(&self.path)? {
            if name.ends_with(DELETED) {
                self.disk.remove_dir_all(&self.path.join(name))?;
            }
        }
        Ok(())
    }

    /// The topic of the log in a folder; `None` if that is not written in it.
    pub fn topic_id(&self, dir: &Path) -> io::Result<Option<TopicId>> {
        let path = dir.join(PARTITION_FILE);
        if !self.disk.exists(&path) {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&self.disk.read(&path)?).into_owned();
        let id = text.lines().find_map(|line| line.strip_prefix("topic_id: "));
        let id = id.and_then(|id| uuid_parse(id.trim()));
        let id = id.ok_or_else(|| io::Error::other(format!("{} is damaged", path.display())))?;
        Ok(Some(TopicId(id)))
    }
}

fn not_empty(path: &Path) -> io::Error {
    io::Error::other(format!("{} is not empty; an import needs empty log dirs", path.display()))
}

/// Makes the folder and those above it that are missing. Their names are durable before anything in
/// them is relied upon.
fn make_durable(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let is_new = |dir: &&Path| !dir.as_os_str().is_empty() && !disk.exists(dir);
    // A start that was cut short may have made the folder and not more.
    let begun = !disk.exists(&path.join(IDENTITY_FILE));
    let missing = path.ancestors().take_while(is_new).count().max(usize::from(begun));
    disk.create_dir_all(path)?;
    for parent in path.ancestors().skip(1).take(missing) {
        let is_here = parent.as_os_str().is_empty();
        disk.sync_dir(if is_here { Path::new(".") } else { parent })?;
    }
    Ok(())
}

fn property<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests;

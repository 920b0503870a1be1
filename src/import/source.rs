//! The log dirs of an Apache Kafka broker: who it was, and which partitions it has.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::disk::{Disk, lock_as_java};
use crate::base::ids::{Offset, PartitionIndex, TopicId, uuid_parse};
use crate::import::batches::End;
use crate::import::checkpoint;
use crate::import::metadata;
use crate::import::records::Metadata;
use crate::import::transactions::{self, Decisions};
use crate::log::import::Source;

const METADATA_DIR: &str = "__cluster_metadata-0";

/// A broker that is stopped.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) cluster_id: String,
    pub(super) node: i32,
    pub(super) metadata: Metadata,
    /// What was cut of its end.
    pub(super) metadata_cut: Option<String>,
    /// Every folder of a partition.
    folders: BTreeMap<(TopicId, PartitionIndex), Folder>,
    disk: Arc<dyn Disk>,
    _locks: Vec<Box<dyn Debug + Send + Sync>>,
}

#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    log_start: Offset,
    /// Where the tail of a broker that did not stop in order may begin.
    recovery_point: Option<Offset>,
}

impl Broker {
    /// Reads what there is but the partitions themselves. Blocks.
    pub(super) fn open(disk: &Arc<dyn Disk>, dirs: &[PathBuf]) -> io::Result<Self> {
        let mut broker = Self {
            cluster_id: String::new(),
            node: 0,
            metadata: Metadata::default(),
            metadata_cut: None,
            folders: BTreeMap::new(),
            disk: Arc::clone(disk),
            _locks: Vec::new(),
        };
        let mut with_metadata = None;
        for dir in dirs {
            broker.take_lock(dir)?;
            broker.take_identity(dir)?;
            broker.take_folders(dir)?;
            let metadata = dir.join(METADATA_DIR);
            if disk.exists(&metadata) {
                let is_torn = is_torn(disk.as_ref(), dir);
                with_metadata = Some((metadata, if is_torn { End::MayBeTorn } else { End::Whole }));
            }
        }
        let (dir, end) = with_metadata.ok_or_else(|| {
            io::Error::other(format!(
                "there is no {METADATA_DIR} in the log dirs: they are not those of an Apache Kafka \
                 broker without ZooKeeper (metadata.log.dir counts as one)"
            ))
        })?;
        (broker.metadata, broker.metadata_cut) = metadata::read(disk.as_ref(), &dir, end)?;
        Ok(broker)
    }

    fn take_lock(&mut self, dir: &Path) -> io::Result<()> {
        let lock = lock_as_java(&dir.join(".lock")).map_err(|error| {
            let text = format!(
                "{}: the broker must be stopped, but its lock is held, or not to be had ({error})",
                dir.display()
            );
            io::Error::new(error.kind(), text)
        });
        self._locks.extend(lock?);
        Ok(())
    }

    fn take_identity(&mut self, dir: &Path) -> io::Result<()> {
        let path = dir.join("meta.properties");
        let text = self.text(&path)?.ok_or_else(|| {
            io::Error::other(format!("{} is missing: this is no log dir", path.display()))
        })?;
        let cluster_id = checkpoint::property(&text, "cluster.id");
        let node = checkpoint::property(&text, "node.id").and_then(|node| node.parse().ok());
        let (Some(cluster_id), Some(node)) = (cluster_id, node) else {
            let text = format!("{} has no cluster.id and node.id", path.display());
            return Err(io::Error::other(text));
        };
        let is_first = self.cluster_id.is_empty();
        if !is_first && (self.cluster_id.as_str(), self.node) != (cluster_id, node) {
            return Err(io::Error::other("the log dirs are of different brokers"));
        }
        (self.cluster_id, self.node) = (cluster_id.to_owned(), node);
        Ok(())
    }

    fn take_folders(&mut self, dir: &Path) -> io::Result<()> {
        let starts = self.offsets(&dir.join("log-start-offset-checkpoint"))?;
        let recovery = self.offsets(&dir.join("recovery-point-offset-checkpoint"))?;
        let is_torn = is_torn(self.disk.as_ref(), dir);
        for name in self.disk.list(dir)? {
            // Folders that are deleted, moved or of nobody have names that end otherwise.
            let Some((topic, partition)) = name.rsplit_once('-') else { continue };
            let Ok(partition) = partition.parse::<PartitionIndex>() else { continue };
            if name == METADATA_DIR {
                continue;
            }
            let path = dir.join(&name);
            let Some(text) = self.text(&path.join("partition.metadata"))? else { continue };
            let id = checkpoint::property(&text, "topic_id").and_then(uuid_parse).map(TopicId);
            let id = id.ok_or_else(|| damaged(&path.join("partition.metadata")))?;
            let place = (topic.to_owned(), partition);
            let folder = Folder {
                dir: path,
                log_start: starts.get(&place).copied().unwrap_or(0),
                recovery_point: is_torn.then(|| recovery.get(&place).copied().unwrap_or(0)),
            };
            if let Some(other) = self.folders.insert((id, partition), folder) {
                let text = format!("{name} is in two log dirs, {} too", other.dir.display());
                return Err(io::Error::other(text));
            }
        }
        Ok(())
    }

    fn offsets(&self, path: &Path) -> io::Result<BTreeMap<(String, PartitionIndex), Offset>> {
        match self.text(path)? {
            None => Ok(BTreeMap::new()),
            Some(text) => checkpoint::offsets(&text).ok_or_else(|| damaged(path)),
        }
    }

    fn text(&self, path: &Path) -> io::Result<Option<String>> {
        if !self.disk.exists(path) {
            return Ok(None);
        }
        let bytes = self.disk.read(path)?;
        String::from_utf8(bytes).map(Some).map_err(|_| damaged(path))
    }

    /// Whether the broker has a partition.
    pub(super) fn has(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.folders.contains_key(&(topic, partition))
    }

    /// Folders of partitions that the metadata does not know.
    pub(super) fn strays(&self) -> impl Iterator<Item = &Path> {
        let is_known = |(topic, partition): &(TopicId, PartitionIndex)| {
            let topic = self.metadata.topics.get(topic);
            topic.is_some_and(|topic| topic.partitions.contains_key(partition))
        };
        let strays = self.folders.iter().filter(move |(place, _)| !is_known(place));
        strays.map(|(_, folder)| folder.dir.as_path())
    }

    /// What transaction coordinators had decided, as far as the broker has it, and what was cut.
    /// With `take_what_is_whole` a damaged batch is the end of a partition.
    pub(super) fn decisions(
        &self,
        take_what_is_whole: bool,
    ) -> io::Result<(Decisions, Vec<String>)> {
        let (mut decisions, mut cut) = (Decisions::default(), Vec::new());
        let topics = self.metadata.topics.iter();
        for (id, _) in topics.filter(|(_, topic)| topic.name == transactions::TOPIC) {
            let folders = self.folders.iter().filter(|((topic, _), _)| topic == id);
            for (_, folder) in folders {
                let end = match folder.recovery_point {
                    _ if take_what_is_whole => End::Anywhere,
                    Some(_) => End::MayBeTorn,
                    None => End::Whole,
                };
                cut.extend(decisions.read(self.disk.as_ref(), &folder.dir, end)?);
            }
        }
        Ok((decisions, cut))
    }

    /// The log of a partition, if the broker has it. With `take_what_is_whole` a damaged batch is
    /// its end.
    pub(super) fn log(
        &self,
        topic: TopicId,
        partition: PartitionIndex,
        take_what_is_whole: bool,
    ) -> io::Result<Option<Source>> {
        let Some(folder) = self.folders.get(&(topic, partition)) else { return Ok(None) };
        let path = folder.dir.join("leader-epoch-checkpoint");
        let epochs = match self.text(&path)? {
            None => Vec::new(),
            Some(text) => checkpoint::epochs(&text).ok_or_else(|| damaged(&path))?,
        };
        let may_end_from = if take_what_is_whole { Some(0) } else { folder.recovery_point };
        Ok(Some(Source {
            dir: folder.dir.clone(),
            log_start: folder.log_start,
            epochs,
            decided: BTreeMap::new(),
            may_end_from,
        }))
    }
}

/// Whether the broker did not stop in order.
fn is_torn(disk: &dyn Disk, dir: &Path) -> bool {
    !disk.exists(&dir.join(".kafka_cleanshutdown"))
}

fn damaged(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()))
}

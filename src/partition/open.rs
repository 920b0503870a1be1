//! Opening one partition: its folder, its log, its group.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::env::{Env, Planted};
use crate::base::ids::{DirectoryId, LeaderEpoch, NodeId, TopicPartition};
use crate::base::kv::{Change, KeyValue, KvWriter};
use crate::base::task;
use crate::config::TopicConfig;
use crate::log::dir::LogDir;
use crate::log::flusher::LogWriter;
use crate::log::health::Health;
use crate::log::partition_log::{DamageBell, LogConfig, LogSetup, PartitionLog};
use crate::log::recovery;
use crate::log::room::Room;
use crate::metadata::settings::LiveSettings;
use crate::partition::Partition;
use crate::replication::groups::Groups;
use crate::replication::partition_group::{self, GroupSetup, PartitionGroup};

/// A log dir with its writer.
#[derive(Debug, Clone)]
pub struct OpenDir {
    pub dir: Arc<LogDir>,
    pub writer: LogWriter,
    pub room: Arc<Room>,
    pub health: Arc<Health>,
    pub directory: DirectoryId,
}

/// What every partition is opened with.
#[derive(Debug, Clone)]
pub struct Storage {
    pub env: Env,
    pub node: NodeId,
    pub groups: Groups,
    pub dirs: Vec<OpenDir>,
    /// Those that could not be used at the start.
    pub offline_dirs: Vec<PathBuf>,
    pub kv: Arc<dyn KeyValue>,
    pub kv_writer: KvWriter,
    pub settings: Arc<LiveSettings>,
    pub damage_bell: DamageBell,
}

/// Which partition, and where.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: TopicPartition,
    pub(crate) topic: String,
    /// The preferred leader first.
    pub(crate) replicas: Vec<NodeId>,
    /// Who makes its group, if nobody has led it yet.
    pub(crate) founders: Option<Vec<NodeId>>,
    /// As the metadata knows it.
    pub(crate) leader_epoch: LeaderEpoch,
    /// How often a replica had to go on without a majority, and which one did the last time.
    pub(crate) lineage: u32,
    pub(crate) recovered_on: Option<NodeId>,
    /// The log dir that somebody wishes it to be made in.
    pub(crate) preferred: Option<PathBuf>,
    /// The log was closed in order since the broker has started.
    pub(crate) was_closed: bool,
    pub(crate) config: Arc<TopicConfig>,
}

/// The prefix of a partition's keys in the store.
pub(super) fn store_key(id: TopicPartition) -> Vec<u8> {
    [&b"P"[..], &id.topic_id.0, &id.partition.to_be_bytes()].concat()
}

fn lineage_key(id: TopicPartition) -> Vec<u8> {
    [&store_key(id)[..], b"g"].concat()
}

/// The lineage of this replica's log.
fn lineage(kv: &dyn KeyValue, id: TopicPartition) -> io::Result<u32> {
    let value = kv.get(&lineage_key(id))?;
    let value = value.and_then(|value| value.as_slice().try_into().ok());
    Ok(value.map_or(0, u32::from_be_bytes))
}

fn has_voted(kv: &dyn KeyValue, id: TopicPartition) -> io::Result<bool> {
    Ok(kv.get(&partition_group::vote_key(&store_key(id)))?.is_some())
}

/// What a topic's settings say of its logs.
pub(super) fn log_config(config: &TopicConfig, producer_expiration_ms: i64) -> LogConfig {
    LogConfig {
        segment_bytes: config.segment_bytes,
        segment_ms: config.segment_age_max_ms(),
        index_interval_bytes: config.index_interval_bytes,
        index_bytes_max: config.segment_index_bytes,
        write_caching: config.write_caching,
        flush_messages: config.flush_messages,
        flush_ms: config.flush_ms,
        preallocate: config.preallocate,
        producer_expiration_ms,
        segment_jitter_ms: config.segment_jitter_ms,
        file_delete_delay_ms: config.file_delete_delay_ms,
    }
}

impl Storage {
    pub(crate) fn log_config(&self, config: &TopicConfig) -> LogConfig {
        let settings = self.settings.current();
        let config = log_config(config, settings.config.producer_id_expiration_ms);
        let write_caching =
            config.write_caching || self.env.planted == Some(Planted::AckBeforeSync);
        LogConfig { write_caching, ..config }
    }

    /// The log dir that a partition's folder is in.
    pub(crate) fn open_dir(&self, dir: &Path) -> Option<&OpenDir> {
        let parent = dir.parent()?;
        self.dirs.iter().find(|open| open.dir.path == parent)
    }

    /// The folder that the partition has, or else the log dir with the fewest partitions of those
    /// that have room.
    fn dir_of(&self, place: &Place) -> io::Result<(OpenDir, PathBuf)> {
        if let Some(home) = self.home(place.id)? {
            let open = self.home_dir(&home)?;
            return Ok((open.clone(), open.dir.path.join(&home.name)));
        }
        let mut fewest: Option<((bool, bool, usize), &OpenDir)> = None;
        for open in &self.dirs {
            let path = open.dir.partition(&place.topic, place.id.partition);
            if self.env.disk.exists(&path) {
                open.health.check()?;
                return Ok((open.clone(), path));
            }
            if open.health.has_failed() {
                continue;
            }
            // Counting is only worth it if there is a choice, and what cannot be listed is none.
            let count = match self.dirs.len() {
                1 => 0,
                _ => open.dir.partitions().map_or(usize::MAX, |partitions| partitions.len()),
            };
            let is_other = place.preferred.as_ref().is_some_and(|dir| *dir != open.dir.path);
            let rank = (is_other, open.room.is_full(), count);
            if fewest.is_none_or(|(least, _)| rank < least) {
                fewest = Some((rank, open));
            }
        }
        let (_, open) = fewest.ok_or_else(|| io::Error::other("no log dir"))?;
        Ok((open.clone(), open.dir.partition(&place.topic, place.id.partition)))
    }

    fn open_log(&self, place: &Place) -> io::Result<(Arc<PartitionLog>, Arc<Room>)> {
        let (open, dir) = self.dir_of(place)?;
        let owner = open.dir.topic_id(&dir)?;
        if owner.is_some_and(|owner| owner != place.id.topic_id) {
            let text = format!("{} is the folder of another topic", dir.display());
            return Err(io::Error::other(text));
        }
        if owner.is_none() && has_voted(self.kv.as_ref(), place.id)? {
            // Voting again without the entries could undo what was acknowledged.
            let text = format!("{} is gone, but this replica has voted", dir.display());
            return Err(io::Error::other(text));
        }
        let log = PartitionLog::open(LogSetup {
            dir: dir.clone(),
            name: format!("{}-{}", place.topic, place.id.partition),
            key: store_key(place.id),
            disk: Arc::clone(&self.env.disk),
            clock: Arc::clone(&self.env.clock),
            kv: Arc::clone(&self.kv),
            writer: open.writer.clone(),
            config: self.log_config(&place.config),
            clean: open.dir.clean || place.was_closed,
            damage_bell: Arc::clone(&self.damage_bell),
            salvage: false,
        })?;
        // Before the first entry: a start that was cut short may have made the folder only.
        if owner.is_none() {
            open.dir.set_topic_id(&dir, place.id.topic_id)?;
        }
        Ok((log, open.room))
    }

    /// Fails when a log dir is offline: what it has of a partition must not come back with what the
    /// store knows of another log by then.
    fn has_all_dirs(&self) -> io::Result<()> {
        match self.offline_dirs.is_empty() {
            true => Ok(()),
            false => Err(io::Error::other("a log dir is offline, which may have the partition")),
        }
    }

    /// What became of this replica when another one went on without a majority: its entries may be
    /// others than those of the new lineage, so it begins again. Blocks.
    fn begin_again(&self, place: &Place) -> io::Result<()> {
        self.has_all_dirs()?;
        let (_, dir) = self.dir_of(place)?;
        tracing::warn!(
            topic = place.topic,
            partition = place.id.partition,
            "a replica went on without a majority; this one begins again from it"
        );
        let (disk, kv) = (self.env.disk.as_ref(), self.kv.as_ref());
        recovery::delete_all(disk, kv, &dir, &store_key(place.id))
    }

    /// Whether another replica is to go on without a majority and has not led yet: until then this
    /// one keeps what it has, and does not serve it.
    pub(crate) fn waits(&self, place: &Place) -> bool {
        let is_others = place.recovered_on.is_some_and(|on| on != self.node);
        is_others && lineage(self.kv.as_ref(), place.id).is_ok_and(|own| own < place.lineage)
    }

    /// Opens a partition; resolves when it serves.
    pub(crate) async fn open(&self, place: Place) -> io::Result<Partition> {
        let (storage, wanted) = (self.clone(), place.clone());
        let is_recovered = place.lineage > lineage(self.kv.as_ref(), place.id)?;
        let goes_on = is_recovered && place.recovered_on == Some(self.node);
        let log = task::blocking(self.env.threads, move || {
            if is_recovered && !goes_on {
                storage.begin_again(&wanted)?;
            }
            storage.open_log(&wanted)
        });
        let (log, room) = log.await?;
        let writer = self.kv_writer.clone();
        if goes_on {
            partition_group::go_on_alone(&log, &writer, self.node, place.leader_epoch).await?;
        }
        if is_recovered {
            let (key, value) = (lineage_key(place.id), place.lineage.to_be_bytes().to_vec());
            writer.write(vec![Change::Put { key, value }]).await?;
        }
        let Place { id, lineage, replicas, founders, .. } = place;
        let setup = GroupSetup { id, lineage, replicas, founders, room };
        let group = PartitionGroup::open(setup, &self.groups, log, writer).await?;
        Ok(Partition::new(place.id, place.topic, place.lineage, group, place.config))
    }

    /// Deletes what there is of a partition that could not be opened: it is none of this node's any
    /// more, and if it comes back it begins again. Blocks.
    pub(crate) fn delete_closed(&self, id: TopicPartition) -> io::Result<()> {
        self.has_all_dirs()?;
        self.dirs.iter().try_for_each(|open| open.health.check())?;
        let (disk, kv) = (self.env.disk.as_ref(), self.kv.as_ref());
        for open in &self.dirs {
            let owned = open.dir.owned()?.into_iter();
            for (dir, _) in owned.filter(|(_, owner)| *owner == id) {
                recovery::delete_all(disk, kv, &dir, &store_key(id))?;
            }
        }
        recovery::forget(kv, &store_key(id))
    }

    /// Deletes folders of topics that are gone: their deletion was under way when the broker
    /// stopped. Blocks.
    pub(crate) fn delete_orphans(
        &self,
        is_known: impl Fn(TopicPartition) -> bool,
    ) -> io::Result<()> {
        self.settle_moves()?;
        for open in &self.dirs {
            open.dir.finish_deletions()?;
            for (dir, id) in open.dir.owned()? {
                if !is_known(id) {
                    tracing::info!(dir = %dir.display(), "deleting a folder of a deleted topic");
                    let (disk, kv) = (self.env.disk.as_ref(), self.kv.as_ref());
                    recovery::delete_all(disk, kv, &dir, &store_key(id))?;
                }
            }
        }
        Ok(())
    }
}

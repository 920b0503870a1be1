//! Which partitions this broker serves. One task follows the metadata: it opens what is new,
//! deletes what is gone, and hands on changed configs. Everyone else looks partitions up.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::base::disk;
use crate::base::ids::{NodeId, TopicId, TopicPartition};
use crate::base::task::{self, Fault, Stopping};
use crate::config::TopicConfig;
use crate::log::flusher::Job;
use crate::log::partition_log::DamageBell;
use crate::metadata;
use crate::metadata::image::{Configs, Image};
use crate::metadata::publisher::Images;
use crate::metadata::records::Resource;
use crate::metadata::settings::LiveSettings;
use crate::partition::Partition;
use crate::partition::mover::Moves;
use crate::partition::open::Place;
pub use crate::partition::open::{OpenDir, Storage};
use crate::partition::progress::Progress;
use crate::partition::swap::Swap;
use crate::partition::throttles;
use crate::replication::groups::Groups;

/// Partitions opened, closed or deleted at one time.
const TRANSITIONS_AT_ONCE_COUNT: usize = 32;

/// What could not be opened because there was no room is opened again after this time.
const OPEN_AGAIN: Duration = Duration::from_secs(2);

/// How long leaderships may take to move elsewhere when the broker stops.
const HAND_OVER: Duration = Duration::from_secs(5);
/// A transfer that came to nothing is tried again after this time.
const HAND_OVER_REPEAT: Duration = Duration::from_millis(50);

/// The partitions of this broker.
#[derive(Debug)]
pub struct Registry {
    pub(super) storage: Storage,
    slots: RwLock<BTreeMap<TopicPartition, Slot>>,
    /// Counts changes of `slots` and of settings; who waits for a partition watches it.
    changes: watch::Sender<u64>,
    /// Partitions that could not be opened because there was no room.
    without_room: Mutex<BTreeSet<TopicPartition>>,
    /// Replicas that are moved between log dirs.
    pub(super) moves: Moves,
    /// Copies that are to become the replicas.
    pub(super) swaps: mpsc::Sender<Swap>,
    to_swap: Mutex<Option<mpsc::Receiver<Swap>>>,
}

#[derive(Debug, Clone)]
pub(super) enum Slot {
    Open(Arc<Partition>),
    /// It could not be opened; the reason has been logged.
    Failed,
}

impl Slot {
    fn is(&self, partition: &Arc<Partition>) -> bool {
        matches!(self, Self::Open(open) if Arc::ptr_eq(open, partition))
    }
}

/// How it stands with a partition here.
#[derive(Debug, Clone)]
pub enum Status {
    Open(Arc<Partition>),
    /// Its log failed or is damaged.
    Failed,
    /// Not here, or not open yet.
    Absent,
}

impl Registry {
    pub fn new(storage: Storage) -> Arc<Self> {
        let (swaps, to_swap) = mpsc::channel(1);
        Arc::new(Self {
            storage,
            slots: RwLock::default(),
            changes: watch::Sender::new(0),
            without_room: Mutex::default(),
            moves: Moves::default(),
            swaps,
            to_swap: Mutex::new(Some(to_swap)),
        })
    }

    /// What can be set while the broker runs, as it is now.
    pub fn settings(&self) -> &Arc<LiveSettings> {
        &self.storage.settings
    }

    pub fn groups(&self) -> &Groups {
        &self.storage.groups
    }

    /// Rings when a log finds damage.
    pub fn damage_bell(&self) -> &DamageBell {
        &self.storage.damage_bell
    }

    pub fn status(&self, id: TopicPartition) -> Status {
        match self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            Some(Slot::Open(partition)) => Status::Open(Arc::clone(partition)),
            Some(Slot::Failed) => Status::Failed,
            None => Status::Absent,
        }
    }

    /// The partition, if it is open.
    pub fn get(&self, id: TopicPartition) -> Option<Arc<Partition>> {
        match self.status(id) {
            Status::Open(partition) => Some(partition),
            Status::Failed | Status::Absent => None,
        }
    }

    /// The log dirs, and whether they are online.
    pub fn dirs(&self) -> Vec<(PathBuf, bool)> {
        let opened = self.storage.dirs.iter();
        let online = opened.map(|open| (open.dir.path.clone(), !open.health.has_failed()));
        online.chain(self.storage.offline_dirs.iter().map(|path| (path.clone(), false))).collect()
    }

    /// All open partitions.
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let open = slots.values().filter_map(|slot| match slot {
            Slot::Open(partition) => Some(Arc::clone(partition)),
            Slot::Failed => None,
        });
        open.collect()
    }

    /// Waits until all these partitions are open or have failed. Cancel safe.
    pub async fn settled(&self, ids: &[TopicPartition]) {
        self.wait(|slots| ids.iter().all(|id| slots.contains_key(id))).await;
    }

    /// Waits until no partition of the topic is open. Cancel safe.
    pub async fn gone(&self, topic_id: TopicId) {
        self.wait(|slots| slots.keys().all(|id| id.topic_id != topic_id)).await;
    }

    /// Tells of partitions that come and go, and of other settings of theirs.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn wait(&self, reached: impl Fn(&BTreeMap<TopicPartition, Slot>) -> bool) {
        let mut changes = self.changes.subscribe();
        while !reached(&self.slots.read().unwrap_or_else(PoisonError::into_inner)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn set(&self, id: TopicPartition, slot: Option<Slot>) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        match slot {
            Some(slot) => slots.insert(id, slot),
            None => slots.remove(&id),
        };
        drop(slots);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Follows the metadata until the broker stops.
    pub fn start(self: &Arc<Self>, mut images: Images, mut stopping: Stopping) -> task::Handle {
        let registry = Arc::clone(self);
        task::spawn("partitions", Fault::Process, async move {
            let to_swap = registry.to_swap.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(mut to_swap) = to_swap else { return };
            let mut seen = Arc::new(Image::default());
            let mut image = images.current();
            let known = Arc::clone(&image);
            let (storage, node) = (registry.storage.clone(), registry.storage.node);
            let orphans = task::blocking(registry.storage.env.threads, move || {
                storage.delete_orphans(|id| {
                    known.partition(id).is_some_and(|place| place.replicas.contains(&node))
                })
            });
            if let Err(error) = orphans.await {
                tracing::warn!(%error, "folders of deleted topics could not be deleted");
            }
            loop {
                registry.follow(&seen, &image).await;
                seen = image;
                let is_short = !registry.without_room().is_empty();
                tokio::select! {
                    () = stopping.wait() => return,
                    Some(swap) = to_swap.recv() => {
                        registry.carry_out(swap, &seen).await;
                        image = Arc::clone(&seen);
                    }
                    () = tokio::time::sleep(OPEN_AGAIN), if is_short => image = Arc::clone(&seen),
                    next = images.changed() => match next {
                        Some(next) => image = next,
                        None => return,
                    },
                }
            }
        })
    }

    /// Makes the partitions what the image says.
    async fn follow(&self, seen: &Image, image: &Image) {
        let is_set_anew = self.settings().follow(image);
        // Before anything is opened that begins to send or to move.
        let rate = self.settings().current().config.replica_catchup_max_bytes_per_second;
        let node = self.storage.node;
        self.groups().throttles().set(throttles::limits(image, node, rate));
        self.moves.set_rate(throttles::of_log_dirs(image, node));
        let wanted = self.wanted(image);
        let open: BTreeSet<TopicPartition> =
            self.slots.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        // A topic may come back under its old name: first the old folders go.
        let gone = open.iter().filter(|id| !wanted.contains_key(id));
        each(gone.map(|id| self.delete(*id))).await;
        let is_recovered = |place: &&Place| match self.status(place.id) {
            Status::Open(partition) => partition.lineage < place.lineage,
            Status::Failed => lineage_of(seen, place.id) < place.lineage,
            Status::Absent => false,
        };
        let without_room = std::mem::take(&mut *self.without_room());
        let opens_again = |place: &&Place| is_recovered(place) || without_room.contains(&place.id);
        let recovered: Vec<TopicPartition> =
            wanted.values().filter(opens_again).map(|place| place.id).collect();
        each(recovered.iter().map(|id| self.close(*id))).await;
        let open: BTreeSet<_> = open.into_iter().filter(|id| !recovered.contains(id)).collect();
        let is_to_open = |place: &&Place| !open.contains(&place.id) && !self.storage.waits(place);
        let new: Vec<&Place> = wanted.values().filter(is_to_open).collect();
        let progress = Progress::begin(new.len());
        each(new.into_iter().map(|place| async {
            self.open(place.clone()).await;
            progress.opened();
        }))
        .await;
        progress.end();
        self.update_configs(seen, image, is_set_anew);
        self.update_places(seen, image);
    }

    pub(super) fn wanted(&self, image: &Image) -> BTreeMap<TopicPartition, Place> {
        let (mut wanted, preferred) = (BTreeMap::new(), self.moves.preferred());
        let preferred = |topic: &str, partition| match preferred.is_empty() {
            true => None,
            false => preferred.get(&(topic.to_owned(), partition)).cloned(),
        };
        for topic in image.topics() {
            let config = self.topic_config(&image.configs(&Resource::Topic(topic.name.clone())));
            for (partition, place) in &topic.partitions {
                if place.replicas.contains(&self.storage.node) {
                    let id = TopicPartition { topic_id: topic.id, partition: *partition };
                    let place = Place {
                        id,
                        topic: topic.name.clone(),
                        replicas: place.replicas.clone(),
                        founders: is_new(place).then(|| founders(place)),
                        leader_epoch: place.leader_epoch,
                        lineage: place.lineage,
                        recovered_on: place.recovered_on,
                        preferred: preferred(&topic.name, *partition),
                        was_closed: false,
                        config: Arc::clone(&config),
                    };
                    wanted.insert(id, place);
                }
            }
        }
        wanted
    }

    /// The settings of a topic: its overrides over the broker's defaults.
    pub fn topic_config(&self, overrides: &Configs) -> Arc<TopicConfig> {
        let settings = self.settings().current();
        let defaults = &settings.config.topic_defaults;
        let resolved = TopicConfig::resolve(defaults, overrides);
        Arc::new(resolved.unwrap_or_else(|error| {
            // What was checked when it was set need not go with defaults that changed since.
            tracing::warn!(
                error,
                "a topic's configs do not go with each other or with the defaults"
            );
            TopicConfig::resolve_kept(defaults, overrides)
        }))
    }

    /// Hands on what has changed: of single topics, or with the broker's settings of all.
    fn update_configs(&self, seen: &Image, image: &Image, of_all: bool) {
        for topic in image.topics() {
            let resource = Resource::Topic(topic.name.clone());
            let (old, new) = (seen.configs(&resource), image.configs(&resource));
            if !of_all && old == new {
                continue;
            }
            let config = self.topic_config(&new);
            for partition in topic.partitions.keys() {
                let id = TopicPartition { topic_id: topic.id, partition: *partition };
                if let Some(partition) = self.get(id) {
                    let log = self.storage.log_config(&config);
                    partition.set_config(Arc::clone(&config), log);
                }
            }
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// Tells open partitions who should lead them, when that has changed.
    fn update_places(&self, seen: &Image, image: &Image) {
        for topic in image.topics() {
            let old = seen.topic_by_id(topic.id);
            if old.is_some_and(|old| Arc::ptr_eq(old, topic)) {
                continue;
            }
            for (partition, place) in &topic.partitions {
                let id = TopicPartition { topic_id: topic.id, partition: *partition };
                if let Some(partition) = self.get(id) {
                    let founders = is_new(place).then(|| founders(place));
                    if partition.group().set_place(&preference(place), founders) {
                        self.storage.groups.look_at(id);
                    }
                }
            }
        }
    }

    pub(super) async fn open(&self, place: Place) {
        let (id, topic) = (place.id, place.topic.clone());
        match self.storage.open(place).await {
            Ok(partition) => {
                let partition = Arc::new(partition);
                self.moves.forget_preferred(&topic, id.partition);
                self.set(id, Some(Slot::Open(Arc::clone(&partition))));
                self.resume_move(&partition);
                // Its bell has rung before anybody could find it here.
                if !partition.group().log().damage().is_empty() {
                    self.damage_bell().notify_one();
                }
                let open = self.storage.open_dir(partition.dir());
                if open.is_some_and(|open| open.health.has_failed()) {
                    self.abandon(&partition).await;
                }
            }
            Err(error) => {
                tracing::error!(%error, topic, partition = id.partition, "partition is offline");
                if disk::is_full(&error) {
                    self.without_room().insert(id);
                }
                self.set(id, Some(Slot::Failed));
            }
        }
    }

    fn without_room(&self) -> std::sync::MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.without_room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a partition whose log dir has failed.
    pub(super) async fn abandon(&self, partition: &Arc<Partition>) {
        {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            match slots.get_mut(&partition.id) {
                Some(slot) if slot.is(partition) => *slot = Slot::Failed,
                _ => return,
            }
        }
        self.changes.send_modify(|count| *count += 1);
        partition.group().abandon().await;
    }

    async fn close(&self, id: TopicPartition) {
        if let Some(partition) = self.get(id)
            && let Err(error) = partition.group().shutdown().await
        {
            tracing::warn!(%error, topic = partition.topic, "a log was not closed");
        }
        self.set(id, None);
    }

    async fn delete(&self, id: TopicPartition) {
        let deleted = match self.get(id) {
            Some(partition) => partition.group().delete().await,
            None => {
                let storage = self.storage.clone();
                let delete = move || storage.delete_closed(id);
                task::blocking(self.storage.env.threads, delete).await
            }
        };
        if let Err(error) = deleted {
            // Its folder is deleted at the next start.
            let (topic, partition) = (id.topic_id, id.partition);
            tracing::warn!(%error, ?topic, partition, "a partition was not deleted");
        }
        self.set(id, None);
    }

    /// Hands the leadership of all partitions to replicas elsewhere that can take it, and waits
    /// until that is done or `HAND_OVER` is over. Nothing is led here again.
    pub async fn hand_over(&self) {
        let groups = &self.storage.groups;
        groups.retire();
        let deadline = Instant::now() + HAND_OVER;
        loop {
            let led: Vec<_> = self
                .partitions()
                .into_iter()
                .filter_map(|partition| Some((partition.heir()?, partition)))
                .collect();
            if led.is_empty() || Instant::now() >= deadline {
                return;
            }
            each(led.iter().map(|(heir, partition)| async {
                // A group that has stopped has no leadership to hand over.
                let _ = partition.group().transfer_to(*heir).await;
            }))
            .await;
            tokio::time::sleep(HAND_OVER_REPEAT).await;
        }
    }

    /// From now on a write that finds no room fails, also those that wait already.
    pub fn wait_for_room_no_more(&self) {
        for open in &self.storage.dirs {
            open.health.set_waits(false);
            open.writer.push(Job::Retry);
        }
        self.storage.kv_writer.wait_for_room_no_more();
    }

    /// Stops all partitions and closes their logs; the log dirs are then marked as clean.
    pub async fn shutdown(&self) -> io::Result<()> {
        let partitions = self.partitions();
        let failed = std::sync::atomic::AtomicBool::new(false);
        each(partitions.iter().map(|partition| async {
            if let Err(error) = partition.group().shutdown().await {
                tracing::warn!(%error, topic = partition.topic, "a log was not closed");
                failed.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }))
        .await;
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if failed.into_inner() || slots.values().any(|slot| matches!(slot, Slot::Failed)) {
            // The next start must look at the files again.
            return Ok(());
        }
        self.storage.dirs.iter().try_for_each(|open| open.dir.mark_clean())
    }
}

fn lineage_of(image: &Image, id: TopicPartition) -> u32 {
    image.partition(id).map_or(0, |place| place.lineage)
}

/// Who makes the group of a partition that nobody has led yet: those that it was made with, though
/// others are to take their places.
fn founders(place: &metadata::image::Partition) -> Vec<NodeId> {
    place.members().collect()
}

/// Whether nobody has led the partition yet, and nobody is to go on with it alone.
fn is_new(place: &metadata::image::Partition) -> bool {
    place.leader_epoch == -1 && place.lineage == 0
}

/// Who should lead: in the order of the replicas, those first that have everything.
fn preference(place: &metadata::image::Partition) -> Vec<NodeId> {
    let (mut first, then): (Vec<NodeId>, Vec<NodeId>) =
        place.target().partition(|node| place.in_sync.contains(node));
    first.extend(then);
    first
}

/// Runs all futures, a bounded number at a time.
async fn each<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut running = FuturesUnordered::new();
    for future in futures {
        running.push(future);
        if running.len() == TRANSITIONS_AT_ONCE_COUNT {
            running.next().await;
        }
    }
    while running.next().await.is_some() {}
}

//! The partitions of this broker: each a Raft group over a log, found by identity.

pub mod cleaner;
pub mod dirs;
pub mod flushing;
mod home;
pub mod import;
pub mod mender;
pub mod mover;
mod open;
mod pace;
mod progress;
pub mod registry;
pub mod repair;
pub mod retention;
pub mod scrubber;
mod swap;
mod throttles;
pub mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, oneshot};

use crate::base::ids::{LeaderEpoch, NodeId, Offset, TopicPartition};
use crate::config::TopicConfig;
use crate::log::batch::Batch;
use crate::log::partition_log::{LogConfig, LogSlice, Offsets, ReadError, StableSlice};
use crate::log::producer_state::{AppendOutcome, SequenceError};
use crate::log::retention::Limits;
use crate::replication::groups::{Progress, Status};
use crate::replication::partition_group::{PartitionGroup, Proposal, ProposeError};

/// One partition that this broker serves.
#[derive(Debug)]
pub struct Partition {
    pub id: TopicPartition,
    /// The topic's name.
    pub topic: String,
    /// How often a replica had to go on without a majority.
    pub(crate) lineage: u32,
    group: PartitionGroup,
    config: Mutex<Arc<TopicConfig>>,
    in_sync: AtomicUsize,
    /// How far other replicas have said that they have cleaned, and in which term.
    cleaned: Mutex<BTreeMap<NodeId, (u64, Offset)>>,
}

/// How often an append that waits for more than a majority looks who is in sync.
const PROGRESS_CHECK: Duration = Duration::from_millis(100);

/// How often an append that is not committed looks whether this broker still leads.
const LEADER_CHECK: Duration = Duration::from_millis(500);

/// When an append is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Never (`acks=0`).
    Never,
    /// When it is written here (`acks=1`).
    Leader,
    /// When it is committed, and `min.insync.replicas` have it (`acks=all`).
    All,
    /// When it is committed: what the broker itself appends does not wait for more.
    Majority,
}

/// Why an append came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    NotLeader,
    /// Fewer than `min.insync.replicas` are in sync: nothing was appended.
    NotEnoughReplicas,
    /// It was appended and is committed, but fewer than `min.insync.replicas` have it.
    NotEnoughReplicasAfterAppend,
    /// Too few replicas answer to be sure that nobody else leads: nothing was appended.
    CutOff,
    /// The same after it was appended: it may yet be committed.
    CutOffAfterAppend,
    /// The log failed or the broker stops.
    Unavailable,
    /// The log dir is full: nothing was appended.
    NoRoom,
    Sequence(SequenceError),
}

impl From<ProposeError> for AppendError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader => Self::NotLeader,
            ProposeError::Stopped | ProposeError::Unknown => Self::Unavailable,
        }
    }
}

/// An append in its group's queue.
#[derive(Debug)]
pub enum PendingAppend {
    Silent,
    Written(oneshot::Receiver<AppendOutcome>),
    Committed(Proposal, Arc<Partition>),
    /// Committed, and on at least so many replicas.
    Replicated(Proposal, Arc<Partition>, usize),
}

impl PendingAppend {
    /// The base offset once the append is as safe as was asked for. For a duplicate it is the one
    /// of the first time.
    pub async fn base_offset(self) -> Result<Offset, AppendError> {
        let outcome = match self {
            Self::Silent => return Ok(-1),
            Self::Written(written) => written.await.map_err(|_| AppendError::NotLeader)?,
            Self::Committed(proposal, partition) => partition.committed(proposal).await?.0,
            Self::Replicated(proposal, partition, count) => {
                let (outcome, index) = partition.committed(proposal).await?;
                if matches!(outcome, AppendOutcome::Appended { .. }) {
                    partition.replicated(index, count).await?;
                }
                outcome
            }
        };
        match outcome {
            AppendOutcome::Appended { base_offset } | AppendOutcome::Duplicate { base_offset } => {
                Ok(base_offset)
            }
            AppendOutcome::Refused(error) => Err(AppendError::Sequence(error)),
            AppendOutcome::None => Err(AppendError::Unavailable),
        }
    }
}

impl Partition {
    pub(crate) fn new(
        id: TopicPartition,
        topic: String,
        lineage: u32,
        group: PartitionGroup,
        config: Arc<TopicConfig>,
    ) -> Self {
        Self {
            id,
            topic,
            lineage,
            group,
            config: Mutex::new(config),
            in_sync: AtomicUsize::new(0),
            cleaned: Mutex::default(),
        }
    }

    pub fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_config(&self, config: Arc<TopicConfig>, log: LogConfig) {
        self.group.log().set_config(log);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The leader epoch if this broker leads the partition.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.group.leader_epoch()
    }

    /// The replica that should lead if this one stops leading: the best of [`Self::heirs`].
    pub(crate) fn heir(&self) -> Option<NodeId> {
        self.heirs().first().map(|follower| follower.node)
    }

    /// The replicas that could lead if this one stops leading, best first: of those that are alive,
    /// and are not about to stop, the ones that have most, in the order of preference. None if this
    /// one does not lead.
    pub(crate) fn heirs(&self) -> Vec<Progress> {
        let status = self.group.status();
        if !status.leads {
            return Vec::new();
        }
        let liveness = self.group.liveness();
        let order = self.group.preference();
        let place = |node: NodeId| order.iter().position(|other| *other == node);
        let mut heirs = self.group.progress();
        heirs.retain(|follower| {
            status.voters.contains(&follower.node) && liveness.is_staying(follower.node)
        });
        heirs.sort_by_key(|follower| {
            let place = place(follower.node).unwrap_or(usize::MAX);
            (std::cmp::Reverse(follower.matched), place)
        });
        heirs
    }

    /// How many replicas are in sync, this one included; 0 until it leads.
    pub fn in_sync_count(&self) -> usize {
        self.in_sync.load(Ordering::Relaxed)
    }

    pub(crate) fn set_in_sync_count(&self, count: usize) {
        self.in_sync.store(count, Ordering::Relaxed);
    }

    /// Puts a batch, validated by [`validate::batch`], into the group's queue. Appends are made in
    /// the order of these calls.
    pub async fn append(
        self: &Arc<Self>,
        batch: Batch,
        acks: Acks,
    ) -> Result<PendingAppend, AppendError> {
        let needed = match acks {
            Acks::All => usize::try_from(self.config().min_insync_replicas).unwrap_or(usize::MAX),
            Acks::Never | Acks::Leader | Acks::Majority => 0,
        };
        let Some(epoch) = self.leader_epoch() else {
            let is_cut_off = needed > 0 && self.group.status().leads;
            return Err(if is_cut_off { AppendError::CutOff } else { AppendError::NotLeader });
        };
        // Nobody has looked yet at a leader that is new.
        let in_sync = self.in_sync_count();
        if in_sync != 0 && in_sync < needed {
            return Err(AppendError::NotEnoughReplicas);
        }
        if self.group.is_full() {
            return Err(AppendError::NoRoom);
        }
        Ok(match acks {
            Acks::All if needed > self.group.majority() => {
                let proposal = self.group.propose(batch, epoch).await?;
                PendingAppend::Replicated(proposal, Arc::clone(self), needed)
            }
            Acks::All | Acks::Majority => {
                let proposal = self.group.propose(batch, epoch).await?;
                PendingAppend::Committed(proposal, Arc::clone(self))
            }
            Acks::Leader => {
                let (tell, written) = oneshot::channel();
                self.group.propose_unconfirmed(batch, epoch, Some(tell)).await?;
                PendingAppend::Written(written)
            }
            Acks::Never => {
                self.group.propose_unconfirmed(batch, epoch, None).await?;
                PendingAppend::Silent
            }
        })
    }

    /// Whether what was proposed may still be committed under this leader, who may be handing over.
    fn still_leads(&self) -> bool {
        self.leader_epoch().is_some() || self.group.hands_over()
    }

    /// What became of a proposal, and its index.
    async fn committed(&self, proposal: Proposal) -> Result<(AppendOutcome, u64), AppendError> {
        let mut committed = std::pin::pin!(proposal.committed());
        loop {
            match tokio::time::timeout(LEADER_CHECK, &mut committed).await {
                Ok(committed) => return Ok(committed?),
                Err(_) if self.still_leads() => {}
                Err(_) => return Err(AppendError::CutOffAfterAppend),
            }
        }
    }

    /// Resolves when so many replicas have the entry at `index`.
    async fn replicated(&self, index: u64, count: usize) -> Result<(), AppendError> {
        let mut changes = self.group.progress_changes();
        loop {
            let has = |follower: &Progress| follower.matched.is_some_and(|id| id.index >= index);
            if 1 + self.progress().iter().filter(|follower| has(follower)).count() >= count {
                return Ok(());
            }
            let serves = self.leader_epoch().is_some();
            if !self.still_leads() || serves && self.in_sync_count() < count {
                return Err(AppendError::NotEnoughReplicasAfterAppend);
            }
            // Replicas that are gone do not show in the progress.
            let _ = tokio::time::timeout(PROGRESS_CHECK, changes.next()).await;
        }
    }

    pub fn offsets(&self) -> Offsets {
        self.group.log().offsets()
    }

    /// Committed batches from `offset` on: see `PartitionLog::slice`.
    pub fn slice(
        &self,
        offset: Offset,
        size_max: u32,
        first_whole: bool,
    ) -> Result<Option<LogSlice>, ReadError> {
        self.group.log().slice(offset, size_max, first_whole)
    }

    /// The same of what is decided: see `PartitionLog::stable_slice`.
    pub fn stable_slice(
        &self,
        offset: Offset,
        size_max: u32,
        first_whole: bool,
    ) -> Result<Option<StableSlice>, ReadError> {
        self.group.log().stable_slice(offset, size_max, first_whole)
    }

    /// What of a slice is as it was written: see `PartitionLog::checked`.
    pub fn checked(&self, slice: LogSlice) -> Result<LogSlice, ReadError> {
        self.group.log().checked(slice)
    }

    /// Notifies `waiter` once when records become visible.
    pub fn wake_on_progress(&self, waiter: &Arc<Notify>) {
        self.group.log().wake_on_progress(waiter);
    }

    /// Takes back [`Self::wake_on_progress`].
    pub fn forget_waiter(&self, waiter: &Arc<Notify>) {
        self.group.log().forget_waiter(waiter);
    }

    /// Where the records of an epoch end; `None` if the log does not know it.
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.group.log().end_of_epoch(epoch)
    }

    /// The epoch of the record at `offset`; -1 if there is none.
    pub fn epoch_of(&self, offset: Offset) -> LeaderEpoch {
        self.group.log().epoch_of(offset)
    }

    /// The first committed record at or after a timestamp: its timestamp in ms and offset. Blocks.
    pub fn offset_for_timestamp(&self, timestamp_ms: i64) -> io::Result<Option<(i64, Offset)>> {
        self.group.log().offset_for_timestamp(timestamp_ms)
    }

    /// The timestamp in ms of the first committed record from `offset` on. Blocks.
    pub fn timestamp_at(&self, offset: Offset) -> io::Result<Option<i64>> {
        self.group.log().timestamp_at(offset)
    }

    /// The committed record with the largest timestamp: its timestamp in ms and offset. Blocks.
    pub fn max_timestamp(&self) -> io::Result<Option<(i64, Offset)>> {
        self.group.log().max_timestamp()
    }

    /// Raises the log start to `before` (the high watermark, if it is -1); resolves to the new log
    /// start when that is durable. `None`: the offset is beyond the high watermark.
    pub async fn delete_records(&self, before: Offset) -> Result<Option<Offset>, AppendError> {
        let epoch = self.leader_epoch().ok_or(AppendError::NotLeader)?;
        let offsets = self.offsets();
        let before = if before == -1 { offsets.high_watermark } else { before };
        if before < 0 || before > offsets.high_watermark {
            return Ok(None);
        }
        if before > offsets.log_start {
            let proposal = self.group.propose_delete_records(before, epoch).await?;
            self.committed(proposal).await?;
            self.group.drop_deleted_segments().await?;
        }
        Ok(Some(self.offsets().log_start))
    }

    /// Drops what `retention.ms` and `retention.bytes` do not keep, on all replicas if this one
    /// leads, and the segments here that are below the log start.
    pub async fn retain(&self, now_ms: i64) -> Result<(), AppendError> {
        let config = self.config();
        if config.cleanup_policy.delete && self.leader_epoch().is_some() {
            let limits = Limits {
                age_ms: Some(config.retention_ms).filter(|age_ms| *age_ms >= 0),
                bytes: u64::try_from(config.retention_bytes).ok(),
            };
            let segments = self.group.log().segment_facts();
            let committed = self.offsets().high_watermark;
            if let Some(start) =
                crate::log::retention::log_start(&segments, limits, now_ms, committed)
            {
                let (topic, partition) = (&self.topic, self.id.partition);
                tracing::info!(topic, partition, start, "retention drops old segments");
                self.delete_records(start).await?;
            }
        }
        Ok(self.group.drop_deleted_segments().await?)
    }

    /// Deletes files of segments that were dropped long enough ago; when the next ones are due, in
    /// ms. Blocks.
    pub fn empty_trash(&self, now_ms: i64) -> Option<i64> {
        self.group.log().empty_trash(now_ms)
    }

    /// The folder of the log.
    pub fn dir(&self) -> &Path {
        self.group.log().dir()
    }

    /// Bytes of records on disk.
    pub fn size_bytes(&self) -> u64 {
        self.group.log().size_bytes()
    }

    pub fn segment_count(&self) -> usize {
        self.group.log().segment_count()
    }

    /// How the partition's group looks from here.
    pub fn status(&self) -> Status {
        self.group.status()
    }

    /// How far every other replica is; empty if this one does not lead.
    pub fn progress(&self) -> Vec<Progress> {
        self.group.progress()
    }

    /// Raft's index of the last entry.
    pub fn last_index(&self) -> Option<u64> {
        self.group.log().bounds().1.map(|last| last.index)
    }

    /// A replica has cleaned so far.
    pub(crate) fn note_cleaned(&self, node: NodeId, offset: Offset) {
        let report = (self.status().term, offset);
        self.cleaned.lock().unwrap_or_else(PoisonError::into_inner).insert(node, report);
    }

    /// Whoever comes, comes without anything.
    fn forget_cleaned(&self) {
        self.cleaned.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How far all replicas have cleaned, as far as this node knows.
    fn cleaned_by_all(&self, others: &BTreeSet<NodeId>, term: u64) -> Offset {
        let cleaned = self.cleaned.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |node| cleaned.get(node).filter(|(of, _)| *of == term).map_or(0, |(_, to)| *to);
        let own = self.group.log().cleaned_to().unwrap_or(0);
        others.iter().map(of).fold(own, Offset::min)
    }

    /// The offset below which every member of the group has had every record and has nothing left
    /// that a later one of the same key hides: who misses a tombstone from there on misses what it
    /// hid as well, whoever it gets its records from. `None` if this node does not lead.
    pub(crate) fn had_by_all(&self) -> Option<Offset> {
        self.leader_epoch()?;
        let status = self.group.status();
        let mut others: BTreeSet<NodeId> = status.voters.union(&status.learners).copied().collect();
        others.remove(&self.group.node());
        if others.is_empty() {
            return Some(Offset::MAX);
        }
        let progress = self.group.progress();
        let matched = progress.iter().map(|follower| follower.matched.map_or(0, |id| id.index));
        let log = self.group.log();
        // Whoever is not among them has nothing yet.
        let index = matched.min().filter(|_| progress.len() >= others.len())?;
        let stubs = log.stubs(index, index + 1).ok()?;
        let offset = stubs.first().filter(|stub| stub.id.index == index);
        let had = offset.map_or_else(|| log.offsets().log_start, |stub| stub.meta.next_offset());
        Some(had.min(self.cleaned_by_all(&others, status.term)))
    }

    /// Lets a node follow without a vote.
    pub async fn add_learner(&self, node: NodeId) -> io::Result<()> {
        self.forget_cleaned();
        self.group.add_learner(node).await
    }

    /// Makes these nodes the replicas that vote; those that leave follow no more.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> io::Result<()> {
        self.group.change_voters(voters).await
    }

    /// Lets followers without a vote go.
    pub async fn remove_learners(&self, nodes: BTreeSet<NodeId>) -> io::Result<()> {
        self.group.remove_learners(nodes).await
    }

    /// Hands the leadership to another replica.
    pub async fn transfer_to(&self, node: NodeId) -> Result<(), AppendError> {
        Ok(self.group.transfer_to(node).await?)
    }

    pub(crate) fn group(&self) -> &PartitionGroup {
        &self.group
    }
}

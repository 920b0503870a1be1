//! The Raft group of one partition, behind a handle without generics.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use openraft::{Config, Raft, ServerState, SnapshotPolicy};

use crate::base::ids::{LeaderEpoch, NodeId, Offset};
use crate::base::kv::KvWriter;
use crate::log::batch::Batch;
use crate::log::entry::Ticket;
use crate::log::partition_log::PartitionLog;
use crate::log::producer_state::AppendOutcome;
use crate::replication::log_store::{PartitionLogStore, completion};
use crate::replication::network::NoPeers;
use crate::replication::state_machine::PartitionStateMachine;
use crate::replication::types::{Command, PartitionTypes};

/// Proposals that wait for the group's core; bytes are limited by who proposes.
const PROPOSALS_WAITING_COUNT_MAX: u64 = 1024;
/// Entries that go into one append.
const APPEND_ENTRIES_COUNT_MAX: u64 = 1024;

/// Why a proposal came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposeError {
    /// This replica does not lead.
    NotLeader,
    /// The group stopped: its log failed, or the broker stops.
    Stopped,
}

impl<T> From<Fatal<T>> for ProposeError
where
    T: openraft::RaftTypeConfig,
{
    fn from(_: Fatal<T>) -> Self {
        Self::Stopped
    }
}

/// A running group.
pub struct PartitionGroup {
    raft: Raft<PartitionTypes, PartitionStateMachine>,
    log: Arc<PartitionLog>,
}

impl std::fmt::Debug for PartitionGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionGroup").field("log", &self.log).finish_non_exhaustive()
    }
}

/// A proposal that is in the group's queue.
#[derive(Debug)]
pub struct Proposal {
    answer:
        <openraft::alias::OneshotOf<PartitionTypes> as openraft::async_runtime::Oneshot>::Receiver<
            ClientWriteResult<PartitionTypes>,
        >,
}

impl Proposal {
    /// Resolves when the entry is committed and applied: durable as the topic asks for, and visible
    /// to consumers.
    pub async fn outcome(self) -> Result<AppendOutcome, ProposeError> {
        match self.answer.await {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(ProposeError::NotLeader),
            Ok(Err(_)) => Err(ProposeError::NotLeader),
            Err(_) => Err(ProposeError::Stopped),
        }
    }
}

/// How openraft is set up for groups that do not tick.
pub(crate) fn raft_config(name: &str) -> Result<Arc<Config>, io::Error> {
    let config = Config {
        cluster_name: name.to_owned(),
        enable_tick: false,
        // Still the deadline of requests to peers; the election timeout's maximum is the lease.
        heartbeat_interval: 500,
        election_timeout_min: 1000,
        election_timeout_max: 2000,
        enable_pre_vote: Some(true),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        max_payload_entries: APPEND_ENTRIES_COUNT_MAX,
        max_append_entries: Some(APPEND_ENTRIES_COUNT_MAX),
        api_channel_size: Some(PROPOSALS_WAITING_COUNT_MAX),
        // A new start is a new term, and so a new leader epoch, as in Kafka: a tail that was lost
        // with the page cache must not come again under ids that were given before.
        enable_leader_restore: Some(false),
        // A replica whose disk may lose acknowledged entries must be able to catch up again.
        allow_log_reversion: Some(true),
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(io::Error::other)
}

impl PartitionGroup {
    /// Opens the group; a fresh one gets `replicas` as its members. Resolves when this replica
    /// leads, if it is the only one.
    pub async fn open(
        node: NodeId,
        replicas: &[NodeId],
        log: Arc<PartitionLog>,
        kv: KvWriter,
    ) -> io::Result<Self> {
        let state_machine = PartitionStateMachine::open(Arc::clone(&log), kv.clone())?;
        let store = PartitionLogStore::new(Arc::clone(&log), kv);
        let config = raft_config(log.name())?;
        let raft = Raft::new(node.raft(), config, NoPeers, store, state_machine)
            .await
            .map_err(io::Error::other)?;
        let group = Self { raft, log };
        let fresh = !group.raft.is_initialized().await.map_err(io::Error::other)?;
        if fresh {
            let members: BTreeSet<u64> = replicas.iter().map(|replica| replica.raft()).collect();
            group.raft.initialize(members).await.map_err(io::Error::other)?;
        }
        if replicas == [node] {
            if !fresh {
                group.raft.trigger().elect(false).await.map_err(io::Error::other)?;
            }
            group.wait_to_lead(node).await?;
        }
        Ok(group)
    }

    /// Resolves when this replica leads and has applied its first entry, so that all that was
    /// acknowledged before is visible.
    async fn wait_to_lead(&self, node: NodeId) -> io::Result<()> {
        let mut metrics = self.raft.metrics();
        loop {
            {
                let now = metrics.borrow_and_update();
                let leads = now.state == ServerState::Leader
                    && now.current_leader == Some(node.raft())
                    && now.last_applied.is_some_and(|id| Some(id.index) == now.last_log_index);
                if leads {
                    return Ok(());
                }
                if now.running_state.is_err() {
                    return Err(io::Error::other("the group stopped while it was opened"));
                }
            }
            metrics.changed().await.map_err(|_| io::Error::other("the group stopped"))?;
        }
    }

    pub fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    /// The leader epoch if this replica leads.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        let metrics = self.raft.server_metrics();
        let now = metrics.borrow_watched();
        (now.state == ServerState::Leader)
            .then(|| LeaderEpoch::try_from(now.vote.leader_id.term).unwrap_or(LeaderEpoch::MAX))
    }

    /// Whether the group still runs; a failed log ends it.
    pub fn is_running(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_ok()
    }

    /// Puts a batch into the group's queue, in the order of the calls. Refused later if the term
    /// is not `epoch` any more.
    pub async fn propose(
        &self,
        batch: Batch,
        epoch: LeaderEpoch,
    ) -> Result<Proposal, ProposeError> {
        let ticket = Some(Ticket { written: None });
        self.propose_command(Command::Append { batch, ticket }, epoch).await
    }

    /// The same for `acks=1`: resolves `written` when the batch is written here.
    pub async fn propose_unconfirmed(
        &self,
        batch: Batch,
        epoch: LeaderEpoch,
        written: Option<tokio::sync::oneshot::Sender<AppendOutcome>>,
    ) -> Result<(), ProposeError> {
        let command = Command::Append { batch, ticket: Some(Ticket { written }) };
        let term = u64::from(epoch.unsigned_abs());
        Ok(self.raft.write(command).with_leader(term).await?)
    }

    /// Deletes the records before an offset, on every replica.
    pub async fn propose_delete_records(
        &self,
        before: Offset,
        epoch: LeaderEpoch,
    ) -> Result<Proposal, ProposeError> {
        self.propose_command(Command::DeleteRecords { before }, epoch).await
    }

    async fn propose_command(
        &self,
        command: Command,
        epoch: LeaderEpoch,
    ) -> Result<Proposal, ProposeError> {
        let (responder, answer) = ProgressResponder::complete_only();
        let term = u64::from(epoch.unsigned_abs());
        self.raft.write(command).responder(responder).with_leader(term).await?;
        Ok(Proposal { answer })
    }

    /// Deletes the segments below the log start, if there are any.
    pub async fn drop_deleted_segments(&self) -> Result<(), ProposeError> {
        let (purged, _) = self.log.bounds();
        if self.log.last_below_log_start() > purged {
            self.raft.trigger().snapshot().await?;
        }
        Ok(())
    }

    /// Stops the group and closes its log, so that the next start is quick.
    pub async fn shutdown(&self) -> io::Result<()> {
        self.raft.shutdown().await.map_err(io::Error::other)?;
        let (done, closed) = completion();
        self.log.close(done);
        closed.await
    }

    /// Stops the group and deletes its log.
    pub async fn delete(&self) -> io::Result<()> {
        self.raft.shutdown().await.map_err(io::Error::other)?;
        let (done, deleted) = completion();
        self.log.delete(done);
        deleted.await
    }
}

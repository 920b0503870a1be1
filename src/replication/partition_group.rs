//! The Raft group of one partition, behind a handle without generics.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::impls::ProgressResponder;
use openraft::impls::leader_id_std::LeaderId;
use openraft::raft::ClientWriteResult;
use openraft::{Config, Raft, SnapshotPolicy};

use crate::base::ids::{LeaderEpoch, NodeId, Offset, TopicPartition};
use crate::base::kv::{Change, KeyValue, KvWriter};
use crate::log::batch::Batch;
use crate::log::entry::{Entry, EntryBody, EntryId, Ticket};
use crate::log::flusher::completion;
use crate::log::partition_log::{PartitionLog, membership_key};
use crate::log::producer_state::AppendOutcome;
use crate::log::recovery;
use crate::log::room::Room;
use crate::peer::Liveness;
use crate::replication::codec;
use crate::replication::groups::Groups;
use crate::replication::log_store::PartitionLogStore;
pub use crate::replication::log_store::vote_key;
use crate::replication::member::{AppliedTerm, Group, Member, Progress, Status};
use crate::replication::network::{Confirmed, Network};
use crate::replication::state_machine::{self, PartitionStateMachine};
use crate::replication::types::{Command, Membership, PartitionTypes, StoredMembership, Vote};
use crate::replication::wire::Address;

/// Proposals that wait for the group's core; bytes are limited by who proposes.
const PROPOSALS_WAITING_COUNT_MAX: u64 = 1024;
/// Entries that go into one append.
const APPEND_ENTRIES_COUNT_MAX: u64 = 1024;

/// A hundred years, in milliseconds.
const LEASE_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

/// How long a group that is deleted may take to stop.
const STOP: Duration = Duration::from_secs(2);

/// Why a proposal came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposeError {
    /// This replica does not lead.
    NotLeader,
    /// The group stopped: its log failed, or the broker stops.
    Stopped,
    /// Another node was asked and did not answer: it may have been done.
    Unknown,
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
    member: Arc<Member<PartitionTypes, PartitionStateMachine>>,
    groups: Groups,
    log: Arc<PartitionLog>,
    kv: KvWriter,
    room: Arc<Room>,
}

/// What a group is opened with.
#[derive(Debug, Clone)]
pub struct GroupSetup {
    pub id: TopicPartition,
    /// The preferred leader first.
    pub replicas: Vec<NodeId>,
    /// How often one of its replicas had to go on without a majority.
    pub lineage: u32,
    /// If nobody has led it yet: who may make it.
    pub founders: Option<Vec<NodeId>>,
    /// Of its log dir.
    pub room: Arc<Room>,
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
        self.committed().await.map(|(outcome, _)| outcome)
    }

    /// The same with the index of the entry.
    pub async fn committed(self) -> Result<(AppendOutcome, u64), ProposeError> {
        match self.answer.await {
            Ok(Ok(response)) => Ok((response.data, response.log_id.index)),
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(ProposeError::NotLeader),
            Ok(Err(_)) => Err(ProposeError::NotLeader),
            Err(_) => Err(ProposeError::Stopped),
        }
    }
}

/// Makes this node the only member of a group whose majority is lost: the next term begins with a
/// membership of its own. What only the lost replicas had is lost, also if it was acknowledged. The
/// group must not be open.
/// Its term is behind `epoch`, which others may know as that of a leader.
pub async fn go_on_alone(
    log: &Arc<PartitionLog>,
    kv: &KvWriter,
    node: NodeId,
    epoch: LeaderEpoch,
) -> io::Result<()> {
    let (_, last) = log.bounds();
    let vote = log.kv().get(&vote_key(log.key()))?;
    let vote = vote.map(|vote| codec::decode_vote(&vote)).transpose()?;
    let voted = vote.map_or(0, |vote| vote.leader_id.term);
    let known = u64::try_from(epoch).unwrap_or(0);
    let term = voted.max(last.map_or(0, |last| last.term)).max(known) + 1;
    let id = EntryId { term, index: last.map_or(0, |last| last.index + 1) };
    let members = BTreeSet::from([node.raft()]);
    let membership = Membership::new_with_defaults(vec![members.clone()], members);
    let bytes = codec::encode_membership(&membership);
    let offsets = log.offsets();
    tracing::warn!(
        log = log.name(),
        term,
        log_end = offsets.log_end,
        "an unclean leader election: records beyond this log's end are lost"
    );
    let leader_id = LeaderId { term, voted_for: node.raft() };
    let vote = codec::encode_vote(&Vote { leader_id, committed: true });
    let put_vote = Change::Put { key: vote_key(log.key()), value: vote };
    kv.write(vec![log.put_membership(id.index, &bytes), put_vote]).await?;
    let (done, flushed) = completion();
    let entry = Entry { id, body: EntryBody::Membership(bytes), ticket: None };
    log.append([entry], done)?;
    flushed.await
}

/// A log that was made without a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// Its first entry is a membership.
    pub last: EntryId,
    pub log_start: Offset,
    /// The next leader has a later one.
    pub epoch: LeaderEpoch,
}

/// What the store has to keep so that a node is the only member of a group with such a log.
/// `partition` is the prefix of its keys.
pub fn adopt(partition: &[u8], node: NodeId, adopted: &Adopted) -> Vec<Change> {
    let Adopted { last, log_start, epoch } = *adopted;
    let members = BTreeSet::from([node.raft()]);
    let membership = Membership::new_with_defaults(vec![members.clone()], members);
    let bytes = codec::encode_membership(&membership).to_vec();
    let first = codec::log_id(EntryId { term: 0, index: 0 });
    let stored = StoredMembership::new(Some(first), membership);
    let term = u64::try_from(epoch).unwrap_or(0).max(last.term);
    let leader_id = LeaderId { term, voted_for: node.raft() };
    let vote = codec::encode_vote(&Vote { leader_id, committed: true });
    vec![
        Change::Put { key: membership_key(partition, 0), value: bytes },
        Change::Put { key: vote_key(partition), value: vote },
        state_machine::first_checkpoint(partition, last, log_start, stored),
    ]
}

/// How many members a group has that is not open; 0 if that is not known. `partition` is the prefix
/// of its keys.
pub fn members(kv: &dyn KeyValue, partition: &[u8]) -> io::Result<usize> {
    state_machine::members(kv, partition)
}

/// How openraft is set up for groups that do not tick.
pub(crate) fn raft_config(name: &str) -> Result<Arc<Config>, io::Error> {
    let config = Config {
        cluster_name: name.to_owned(),
        enable_tick: false,
        // Still the deadline of requests to peers.
        heartbeat_interval: 500,
        election_timeout_min: 1000,
        // openraft's lease, which a quiet group would lose: whether a leader is there is told by
        // its node's liveness (`groups`, `member`), before a message gets here.
        election_timeout_max: LEASE_MS,
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
    /// Opens the group. Resolves when this replica leads, if it is the only one.
    pub async fn open(
        setup: GroupSetup,
        groups: &Groups,
        log: Arc<PartitionLog>,
        kv: KvWriter,
    ) -> io::Result<Self> {
        let node = groups.node();
        let applied_term = AppliedTerm::default();
        let applied = applied_term.clone();
        let state_machine = PartitionStateMachine::open(Arc::clone(&log), kv.clone(), applied)?;
        let store = PartitionLogStore::new(Arc::clone(&log), kv.clone());
        let config = raft_config(log.name())?;
        let peers = groups.peers().clone();
        let throttles = Arc::clone(groups.throttles());
        let confirmed = Arc::<Confirmed>::default();
        let address = Address { id: setup.id, lineage: setup.lineage };
        let network = Network {
            peers: peers.clone(),
            group: address,
            throttles,
            confirmed: Arc::clone(&confirmed),
        };
        let raft = Raft::new(node.raft(), config, network, store, state_machine)
            .await
            .map_err(io::Error::other)?;
        let fresh = !raft.is_initialized().await.map_err(io::Error::other)?;
        let member = Member::new(address, node, raft, (peers, confirmed), applied_term);
        member.set_room(&setup.room);
        member.set_preference(&setup.replicas);
        let founds_alone = fresh && setup.founders.as_deref() == Some(&[node]);
        let is_only_voter = member.status().voters == BTreeSet::from([node]);
        if founds_alone {
            member.initialize(vec![node]).await;
        } else if let Some(founders) = setup.founders.filter(|_| fresh) {
            member.set_founders(Some(founders));
        } else if is_only_voter {
            member.campaign().await;
        }
        let (member, room) = (Arc::new(member), setup.room);
        let group = Self { member, groups: groups.clone(), log, kv, room };
        if is_only_voter || founds_alone {
            // Without any room it leads later, and others are opened and deleted meanwhile.
            tokio::select! {
                leads = group.member.wait_to_lead() => leads?,
                () = group.room.runs_out() => {}
            }
        }
        groups.add(Arc::clone(&group.member) as Arc<dyn Group>);
        Ok(group)
    }

    /// How the group looks from here.
    pub fn status(&self) -> Status {
        self.member.status()
    }

    /// Who should lead, best first, and the members if nobody has led it yet. Returns whether the
    /// latter are others than before.
    pub fn set_place(&self, preference: &[NodeId], founders: Option<Vec<NodeId>>) -> bool {
        self.member.set_preference(preference);
        self.member.set_founders(founders)
    }

    pub fn preference(&self) -> Arc<[NodeId]> {
        self.member.preference()
    }

    pub fn liveness(&self) -> &Liveness {
        self.groups.peers().liveness()
    }

    /// How far every other member is; empty if this replica does not lead.
    pub fn progress(&self) -> Vec<Progress> {
        self.member.progress()
    }

    /// How many replicas make a majority.
    pub fn majority(&self) -> usize {
        self.member.voter_count() / 2 + 1
    }

    /// One item for every change of [`Self::progress`], from the present on.
    pub fn progress_changes(&self) -> BoxStream<'static, ()> {
        let data = self.member.raft.data_metrics();
        stream::unfold(data, |mut data| async move {
            data.changed().await.ok()?;
            Some(((), data))
        })
        .boxed()
    }

    /// Hands the leadership to a replica that has everything.
    pub async fn transfer_to(&self, node: NodeId) -> Result<(), ProposeError> {
        self.member.transfer_to(node).await.map_err(|_| ProposeError::NotLeader)
    }

    /// Lets a node follow without a vote.
    pub async fn add_learner(&self, node: NodeId) -> io::Result<()> {
        self.member.add_learner(node).await
    }

    /// Makes these nodes the replicas that vote; those that leave follow no more.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> io::Result<()> {
        self.member.change_voters(voters).await
    }

    /// Lets followers without a vote go.
    pub async fn remove_learners(&self, nodes: BTreeSet<NodeId>) -> io::Result<()> {
        self.member.remove_learners(nodes).await
    }

    pub fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    /// The leader epoch if this replica leads and may serve.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.member.serving_epoch()
    }

    /// Whether its log dir has no room for records.
    pub fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// Whether the group still runs; a failed log ends it.
    pub fn is_running(&self) -> bool {
        self.member.is_running()
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
        Ok(self.member.raft.write(command).with_leader(term).await?)
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
        self.member.raft.write(command).responder(responder).with_leader(term).await?;
        Ok(Proposal { answer })
    }

    /// Deletes the segments below the log start, if there are any.
    pub async fn drop_deleted_segments(&self) -> Result<(), ProposeError> {
        let (purged, _) = self.log.bounds();
        if self.log.last_below_log_start().map(|(last, _)| last) > purged {
            self.member.raft.trigger().snapshot().await?;
        }
        Ok(())
    }

    /// Has this replica lead, if the others agree: nobody else is about to.
    pub async fn campaign(&self) {
        self.member.campaign().await;
    }

    /// Stops the group and closes its log, so that the next start is quick.
    pub async fn shutdown(&self) -> io::Result<()> {
        self.groups.remove(self.member.address.id);
        self.member.raft.shutdown().await.map_err(io::Error::other)?;
        let (done, closed) = completion();
        self.log.close(done);
        closed.await
    }

    /// Ends the group when its log dir has failed: others are to lead it, and nothing that needs
    /// the log is answered any more.
    pub async fn abandon(&self) {
        self.groups.remove(self.member.address.id);
        if self.member.status().leads {
            self.member.lay_down();
        }
        if let Err(error) = self.member.raft.shutdown().await {
            tracing::debug!(group = %self.member.address.id, %error, "a group has ended before");
        }
    }

    /// Tells the others to elect, if this replica led: it will not serve again here.
    pub fn lay_down(&self) {
        self.member.lay_down();
    }

    pub fn node(&self) -> NodeId {
        self.member.node
    }

    /// Whether this node leads and has asked another one to take that over.
    pub fn hands_over(&self) -> bool {
        self.member.hands_over()
    }

    /// Stops the group and deletes its log.
    pub async fn delete(&self) -> io::Result<()> {
        self.groups.remove(self.member.address.id);
        // It may wait for a write that finds no room. Deleting the log ends that wait.
        let stopped = tokio::time::timeout(STOP, self.member.raft.shutdown()).await;
        stopped.unwrap_or(Ok(())).map_err(io::Error::other)?;
        // A snapshot that is being saved must not come after the deletion: a replica that begins
        // here later would take it for its own.
        self.log.set_closed();
        let forget = vec![recovery::forget_change(self.log.key())];
        let written = tokio::time::timeout(STOP, self.kv.write(forget)).await;
        if let Ok(Err(error)) = written {
            tracing::debug!(group = %self.member.address.id, %error, "the store has failed");
        }
        let (done, deleted) = completion();
        self.log.delete(done);
        deleted.await
    }
}

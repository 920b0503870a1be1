//! One node's part in one Raft group, whatever the group holds: who leads, whether this node may
//! serve as leader, and what comes from the other members.
//!
//! Whether a leader is there is told by the liveness of its node, not by messages of the group: a
//! leader counts for as long as its node is alive *and* is the same start of it that was heard as
//! leader. A leader serves while a majority of the voters has answered its node's pings lately.

mod heard;
mod receiver;
mod transfer;

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::storage::RaftStateMachine;
use openraft::{ChangeMembers, Raft, ServerState};
use tokio::sync::watch;

use crate::base::ids::{LeaderEpoch, NodeId, TopicPartition};
use crate::base::task;
use crate::log::entry::EntryId;
use crate::log::room::Room;
use crate::metrics::elections;
use crate::peer::{Body, Kind, Peers};
use crate::replication::codec;
use crate::replication::member::heard::Heard;
use crate::replication::member::receiver::Receiver;
use crate::replication::network::Confirmed;
use crate::replication::types::Membership;
use crate::replication::wire::{Address, GroupTypes};

/// The term of the last entry that the state machine has applied.
#[derive(Debug, Clone)]
pub(crate) struct AppliedTerm(Arc<watch::Sender<u64>>);

impl Default for AppliedTerm {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl AppliedTerm {
    pub(crate) fn set(&self, term: u64) {
        self.0.send_if_modified(|known| std::mem::replace(known, term) != term);
    }

    fn get(&self) -> u64 {
        *self.0.borrow()
    }
}

/// How a group looks from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node leads, as far as Raft knows; it need not serve.
    pub leads: bool,
    /// The leader, if it is this node or is alive.
    pub leader: Option<NodeId>,
    pub term: u64,
    /// Who wants to lead in this term, as long as it is not known that it does.
    pub candidate: Option<NodeId>,
    /// Empty as long as the group has no members.
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
}

/// How far a follower is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub node: NodeId,
    /// The last entry that it has.
    pub matched: Option<EntryId>,
}

/// A member of a group without its types.
pub(crate) trait Group: Send + Sync {
    fn id(&self) -> TopicPartition {
        self.address().id
    }
    fn address(&self) -> Address;
    fn status(&self) -> Status;
    /// Voters in the order in which they should lead.
    fn preference(&self) -> Arc<[NodeId]>;
    /// The members that a group without members is to have, if it is new.
    fn founders(&self) -> Option<Vec<NodeId>>;
    fn is_running(&self) -> bool;
    /// Whether it leads and may serve.
    fn is_serving(&self) -> bool;
    fn last_entry(&self) -> Option<EntryId>;
    fn has_quorum(&self, has: &dyn Fn(NodeId) -> bool) -> bool;
    /// Whether there is a leader that a vote for `candidate` would disturb.
    fn is_led_without(&self, candidate: NodeId) -> bool;
    fn campaign(&self) -> BoxFuture<'static, ()>;
    fn initialize(&self, members: Vec<NodeId>) -> BoxFuture<'static, ()>;
    /// Tells a member that has come back who leads.
    fn greet(&self, node: NodeId) -> BoxFuture<'static, ()>;
    /// Leaves the leadership to others, and tells them: it has stopped running.
    fn lay_down(&self);
    /// The leader says that it does not lead any more.
    fn leader_resigned(&self, node: NodeId);
    fn receive(
        &self,
        from: NodeId,
        kind: Kind,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Body, String>>;
    /// One item for every change of leader or members, from the present ones on.
    fn changes(&self) -> BoxStream<'static, ()>;
}

/// A running member.
pub(crate) struct Member<C: GroupTypes, SM: RaftStateMachine<C>> {
    pub(crate) address: Address,
    pub(crate) node: NodeId,
    pub(crate) raft: Raft<C, SM>,
    peers: Peers,
    server: WatchReceiverOf<C, RaftServerMetrics<C>>,
    applied_term: AppliedTerm,
    /// The term in which it stopped leading by itself; 0 is none.
    resigned_term: AtomicU64,
    /// The term in which it has asked another node to lead.
    handed_over_term: AtomicU64,
    heard: Arc<Mutex<Heard>>,
    confirmed: Arc<Confirmed>,
    preference: Mutex<Arc<[NodeId]>>,
    founders: Mutex<Option<Vec<NodeId>>>,
    /// Where its records go, if they need room.
    room: OnceLock<Arc<Room>>,
}

impl<C: GroupTypes, SM: RaftStateMachine<C>> std::fmt::Debug for Member<C, SM> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("id", &self.address.id).finish_non_exhaustive()
    }
}

pub(crate) fn node_id(raft: u64) -> NodeId {
    NodeId(i32::try_from(raft).unwrap_or(i32::MAX))
}

/// Whether in each of the (one or, during a change, two) sets of voters a majority has it.
fn quorum(membership: &Membership, has: &dyn Fn(NodeId) -> bool) -> bool {
    let mut sets = membership.get_joint_config().iter().filter(|set| !set.is_empty()).peekable();
    sets.peek().is_some()
        && sets.all(|set| {
            let with = set.iter().filter(|node| has(node_id(**node))).count();
            with * 2 > set.len()
        })
}

impl<C, SM> Member<C, SM>
where
    C: GroupTypes,
    SM: RaftStateMachine<C, SnapshotData = Bytes> + 'static,
{
    pub(crate) fn new(
        address: Address,
        node: NodeId,
        raft: Raft<C, SM>,
        (peers, confirmed): (Peers, Arc<Confirmed>),
        applied_term: AppliedTerm,
    ) -> Self {
        let server = raft.server_metrics();
        Self {
            address,
            node,
            raft,
            peers,
            server,
            applied_term,
            resigned_term: AtomicU64::new(0),
            handed_over_term: AtomicU64::new(0),
            heard: Arc::default(),
            confirmed,
            preference: Mutex::new(Arc::from([])),
            founders: Mutex::default(),
            room: OnceLock::new(),
        }
    }

    /// Records of a leader elsewhere are taken only while there is room for them.
    pub(crate) fn set_room(&self, room: &Arc<Room>) {
        self.room.get_or_init(|| Arc::clone(room));
    }

    pub(crate) fn set_preference(&self, nodes: &[NodeId]) {
        *self.preference.lock().unwrap_or_else(PoisonError::into_inner) = nodes.into();
    }

    /// Returns whether they are others than before.
    pub(crate) fn set_founders(&self, founders: Option<Vec<NodeId>>) -> bool {
        let mut known = self.founders.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *known != founders;
        *known = founders;
        is_news
    }

    /// The term, if this node leads and may serve: it has applied an entry of its term, so it knows
    /// all that was acknowledged before, and a majority has answered its pings lately, so nobody
    /// else leads.
    pub(crate) fn serving_term(&self) -> Option<u64> {
        let now = self.server.borrow_watched();
        let term = now.vote.leader_id.term;
        let has_resigned = self.resigned_term.load(Ordering::Acquire) == term;
        // Whoever takes it over does not wait for the leases.
        let hands_over = self.handed_over_term.load(Ordering::Acquire) == term;
        let leads = now.state == ServerState::Leader && !has_resigned && !hands_over;
        if !leads || self.applied_term.get() != term {
            return None;
        }
        let liveness = self.peers.liveness();
        // A lease alone is not enough: before it the node may have voted for another.
        let is_near = |node| {
            let lease = liveness.lease(node);
            node == self.node || lease.is_some_and(|lease| self.confirmed.holds(term, node, lease))
        };
        quorum(now.membership_config.membership(), &is_near).then_some(term)
    }

    /// Whether this node leads and has asked another one to take that over.
    pub(crate) fn hands_over(&self) -> bool {
        let now = self.server.borrow_watched();
        let term = now.vote.leader_id.term;
        now.state == ServerState::Leader && self.handed_over_term.load(Ordering::Acquire) == term
    }

    /// Resolves when this node leads and has applied its first entry, so that all that was
    /// acknowledged before is visible.
    pub(crate) async fn wait_to_lead(&self) -> io::Result<()> {
        let leads = task::until(self.changes(), || self.is_serving());
        leads.await.ok_or_else(|| io::Error::other("the group stopped while it was opened"))
    }

    fn has_resigned(&self) -> bool {
        let term = self.server.borrow_watched().vote.leader_id.term;
        self.resigned_term.load(Ordering::Acquire) == term
    }

    pub(crate) fn voter_count(&self) -> usize {
        self.server.borrow_watched().membership_config.voter_ids().count()
    }

    pub(crate) fn serving_epoch(&self) -> Option<LeaderEpoch> {
        let term = self.serving_term()?;
        Some(LeaderEpoch::try_from(term).unwrap_or(LeaderEpoch::MAX))
    }

    /// The leader, if it is there.
    pub(crate) fn live_leader(&self) -> Option<NodeId> {
        let now = self.server.borrow_watched();
        let leader = now.current_leader.map(node_id)?;
        if leader == self.node {
            return (now.state == ServerState::Leader).then_some(leader);
        }
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let liveness = self.peers.liveness();
        let is_there = heard.term == now.vote.leader_id.term
            && heard.node == Some(leader)
            && liveness.is_alive(leader)
            && liveness.incarnation(leader) == heard.incarnation;
        is_there.then_some(leader)
    }

    /// How far every other member is; empty if this node does not lead.
    pub(crate) fn progress(&self) -> Vec<Progress> {
        let metrics = self.raft.data_metrics();
        let now = metrics.borrow_watched();
        let replication = now.replication.iter().flatten();
        let others = replication.filter(|(node, _)| **node != self.node.raft());
        others
            .map(|(node, matched)| Progress {
                node: node_id(*node),
                matched: matched.as_ref().map(codec::entry_id),
            })
            .collect()
    }

    /// Lets a node follow without a vote.
    pub(crate) async fn add_learner(&self, node: NodeId) -> io::Result<()> {
        let added = self.raft.add_learner(node.raft(), openraft::EmptyNode {}, false).await;
        added.map(drop).map_err(io::Error::other)
    }

    /// Makes these nodes the voters; those that leave follow no more.
    pub(crate) async fn change_voters(&self, voters: BTreeSet<NodeId>) -> io::Result<()> {
        let voters: BTreeSet<u64> = voters.into_iter().map(NodeId::raft).collect();
        let changed = self.raft.change_membership(voters, false).await;
        changed.map(drop).map_err(io::Error::other)
    }

    /// Lets learners go.
    pub(crate) async fn remove_learners(&self, nodes: BTreeSet<NodeId>) -> io::Result<()> {
        let nodes = nodes.into_iter().map(NodeId::raft).collect();
        let changed = self.raft.change_membership(ChangeMembers::RemoveNodes(nodes), false).await;
        changed.map(drop).map_err(io::Error::other)
    }

    fn receiver(&self) -> Receiver<C, SM> {
        Receiver {
            raft: self.raft.clone(),
            peers: self.peers.clone(),
            heard: Arc::clone(&self.heard),
            room: self.room.get().cloned(),
        }
    }
}

impl<C, SM> Group for Member<C, SM>
where
    C: GroupTypes,
    SM: RaftStateMachine<C, SnapshotData = Bytes> + 'static,
{
    fn address(&self) -> Address {
        self.address
    }

    fn status(&self) -> Status {
        let leader = self.live_leader();
        let now = self.server.borrow_watched();
        let membership = now.membership_config.membership();
        Status {
            leads: now.state == ServerState::Leader,
            leader,
            term: now.vote.leader_id.term,
            candidate: (!now.vote.committed && now.vote.leader_id.term > 0)
                .then(|| node_id(now.vote.leader_id.voted_for)),
            voters: membership.voter_ids().map(node_id).collect(),
            learners: membership.learner_ids().map(node_id).collect(),
        }
    }

    fn preference(&self) -> Arc<[NodeId]> {
        Arc::clone(&self.preference.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn founders(&self) -> Option<Vec<NodeId>> {
        self.founders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_serving(&self) -> bool {
        self.serving_term().is_some()
    }

    fn is_running(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_ok()
    }

    fn last_entry(&self) -> Option<EntryId> {
        let metrics = self.raft.data_metrics();
        let last = metrics.borrow_watched().last_log;
        last.as_ref().map(codec::entry_id)
    }

    fn has_quorum(&self, has: &dyn Fn(NodeId) -> bool) -> bool {
        quorum(self.server.borrow_watched().membership_config.membership(), has)
    }

    fn is_led_without(&self, candidate: NodeId) -> bool {
        match self.live_leader() {
            None => false,
            Some(leader) if leader == self.node => self.serving_term().is_some(),
            Some(leader) => leader != candidate,
        }
    }

    fn campaign(&self) -> BoxFuture<'static, ()> {
        let raft = self.raft.clone();
        async move {
            // A group that has stopped is seen by whoever uses it.
            elections::started();
            let _ = raft.trigger().elect(false).await;
        }
        .boxed()
    }

    fn initialize(&self, members: Vec<NodeId>) -> BoxFuture<'static, ()> {
        let raft = self.raft.clone();
        async move {
            let members: BTreeSet<u64> = members.into_iter().map(NodeId::raft).collect();
            elections::started();
            // Somebody else may have been first.
            if let Err(error) = raft.initialize(members).await {
                tracing::debug!(%error, "a group was not made");
            }
        }
        .boxed()
    }

    fn greet(&self, node: NodeId) -> BoxFuture<'static, ()> {
        if self.has_resigned() {
            // Who was not reached must know: it would wait for this node for ever.
            if node == self.node {
                self.resign(&self.status());
            }
            return std::future::ready(()).boxed();
        }
        let raft = self.raft.clone();
        async move {
            let _ = raft.trigger().reset_backoff([node.raft()]).await;
            let _ = raft.trigger().heartbeat().await;
        }
        .boxed()
    }

    fn lay_down(&self) {
        self.resign(&self.status());
    }

    fn leader_resigned(&self, node: NodeId) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).resign(node);
    }

    fn receive(
        &self,
        from: NodeId,
        kind: Kind,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Body, String>> {
        let receiver = self.receiver();
        match kind {
            Kind::AppendEntries => receiver.append(from, body).boxed(),
            Kind::Vote => receiver.vote(body, self.is_led_without(from)).boxed(),
            Kind::Snapshot => receiver.snapshot(body).boxed(),
            Kind::TransferLeader => receiver.transfer(body).boxed(),
            _ => std::future::ready(Err("not a group's message".to_owned())).boxed(),
        }
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        let (server, applied) = (self.raft.server_metrics(), self.applied_term.0.subscribe());
        let confirmed = (Arc::clone(&self.confirmed), self.confirmed.subscribe());
        // A leader serves only when it has applied an entry of its term and a majority has
        // confirmed it, so these are changes too.
        let all = (server, applied, confirmed);
        stream::unfold(all, |(mut server, mut applied, mut confirmed)| async move {
            tokio::select! {
                changed = server.changed() => changed.ok()?,
                changed = applied.changed() => changed.ok()?,
                changed = confirmed.1.changed() => changed.ok()?,
            }
            Some(((), (server, applied, confirmed)))
        })
        .boxed()
    }
}

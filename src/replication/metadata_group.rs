//! The cluster's metadata group behind a handle without generics. Its leader is the controller.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, Raft, SnapshotPolicy};

use crate::base::ids::NodeId;
use crate::base::kv::{KeyValue, KvWriter};
use crate::log::entry::EntryId;
use crate::metadata::publisher::Publisher;
use crate::replication::codec;
use crate::replication::groups::Groups;
use crate::replication::member::{AppliedTerm, Group, Member, Progress, Status};
use crate::replication::metadata_store::{MetadataLogStore, MetadataStateMachine};
use crate::replication::network::{Confirmed, Network};
use crate::replication::partition_group::{ProposeError, raft_config};
use crate::replication::types::{MetadataCommand, MetadataTypes};
use crate::replication::wire::{Address, METADATA};

const ADDRESS: Address = Address { id: METADATA, lineage: 0 };
/// Entries between snapshots.
const SNAPSHOT_ENTRIES_COUNT: u64 = 5_000;
/// Entries kept behind a snapshot, for followers that are a little behind.
const LOG_KEPT_ENTRIES_COUNT: u64 = 1_000;

/// The running group.
pub struct MetadataGroup {
    member: Arc<Member<MetadataTypes, MetadataStateMachine>>,
    groups: Groups,
}

/// How a node comes to the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// It makes a new cluster, and is its only voter.
    Found,
    /// The group's leader lets it follow.
    Join,
}

/// Where the metadata log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataLog {
    pub term: u64,
    pub last: Option<EntryId>,
    pub applied: Option<EntryId>,
}

impl std::fmt::Debug for MetadataGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataGroup").finish_non_exhaustive()
    }
}

impl MetadataGroup {
    /// Opens the group. If this node is its only voter, resolves when it leads and has replayed all
    /// that was committed before.
    pub async fn open(
        entrance: Entrance,
        groups: &Groups,
        kv: Arc<dyn KeyValue>,
        writer: KvWriter,
        publisher: Arc<Publisher>,
    ) -> io::Result<Self> {
        let node = groups.node();
        let store = MetadataLogStore { kv, writer };
        let applied_term = AppliedTerm::default();
        let applied = applied_term.clone();
        let state_machine = MetadataStateMachine::new(store.clone(), publisher, applied);
        let config = Config {
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES_COUNT),
            max_in_snapshot_log_to_keep: LOG_KEPT_ENTRIES_COUNT,
            ..Config::clone(&*raft_config("metadata")?)
        };
        let peers = groups.peers().clone();
        let confirmed = Arc::<Confirmed>::default();
        let network = Network {
            peers: peers.clone(),
            group: ADDRESS,
            throttles: Arc::default(),
            confirmed: Arc::clone(&confirmed),
        };
        let raft = Raft::new(node.raft(), Arc::new(config), network, store, state_machine)
            .await
            .map_err(io::Error::other)?;
        let fresh = !raft.is_initialized().await.map_err(io::Error::other)?;
        let member = Arc::new(Member::new(ADDRESS, node, raft, (peers, confirmed), applied_term));
        let group = Self { member, groups: groups.clone() };
        let founds = fresh && entrance == Entrance::Found;
        let is_only_voter = group.status().voters == BTreeSet::from([node]);
        if founds {
            group.member.initialize(vec![node]).await;
        } else if is_only_voter {
            group.member.campaign().await;
        }
        if founds || is_only_voter {
            group.member.wait_to_lead().await?;
        }
        groups.add(Arc::clone(&group.member) as Arc<dyn Group>);
        Ok(group)
    }

    pub fn node(&self) -> NodeId {
        self.member.node
    }

    /// Whether this node leads the group and has everything that was committed before.
    pub fn is_serving(&self) -> bool {
        self.member.serving_term().is_some()
    }

    /// The leader, if it is alive.
    pub fn leader(&self) -> Option<NodeId> {
        self.member.live_leader()
    }

    /// How the group looks from here.
    pub fn status(&self) -> Status {
        self.member.status()
    }

    /// How far every other member is; empty if this node does not lead.
    pub fn progress(&self) -> Vec<Progress> {
        self.member.progress()
    }

    pub fn log(&self) -> MetadataLog {
        let metrics = self.member.raft.data_metrics();
        let now = metrics.borrow_watched();
        MetadataLog {
            term: self.status().term,
            last: now.last_log.as_ref().map(codec::entry_id),
            applied: now.last_applied.as_ref().map(codec::entry_id),
        }
    }

    /// Resolves when the leader or the members have changed.
    pub async fn changed(&self) {
        let mut server = self.member.raft.server_metrics();
        // What has happened so far does not count: another handle has not seen it.
        drop(server.borrow_and_update());
        if server.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets a node follow without a vote.
    pub async fn add_learner(&self, node: NodeId) -> io::Result<()> {
        self.member.add_learner(node).await
    }

    /// Makes these nodes the voters; those that leave follow no more.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> io::Result<()> {
        self.member.change_voters(voters).await
    }

    /// Lets followers without a vote go.
    pub async fn remove_learners(&self, nodes: BTreeSet<NodeId>) -> io::Result<()> {
        self.member.remove_learners(nodes).await
    }

    /// Hands the leadership to a voter that has everything.
    pub async fn transfer_to(&self, node: NodeId) -> Result<(), ProposeError> {
        self.member.transfer_to(node).await.map_err(|_| ProposeError::NotLeader)
    }

    /// Appends records and waits until they are committed and in the image. Returns the index of
    /// their entry, which is the metadata offset.
    pub async fn propose(&self, records: Bytes) -> Result<u64, ProposeError> {
        let written = self.member.raft.client_write(MetadataCommand(records)).await;
        written.map(|response| response.data).map_err(|error| match error.into_api_error() {
            Some(_) => ProposeError::NotLeader,
            None => ProposeError::Stopped,
        })
    }

    pub async fn shutdown(&self) -> io::Result<()> {
        self.groups.remove(METADATA);
        self.member.raft.shutdown().await.map_err(io::Error::other)
    }
}

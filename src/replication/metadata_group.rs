//! The cluster's metadata group behind a handle without generics. Its leader is the controller.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, Raft, ServerState, SnapshotPolicy};

use crate::base::ids::NodeId;
use crate::base::kv::{KeyValue, KvWriter};
use crate::metadata::publisher::Publisher;
use crate::replication::metadata_store::{MetadataLogStore, MetadataStateMachine};
use crate::replication::network::NoPeers;
use crate::replication::partition_group::{ProposeError, raft_config};
use crate::replication::types::{MetadataCommand, MetadataTypes};

/// Entries between snapshots.
const SNAPSHOT_ENTRIES_COUNT: u64 = 5_000;
/// Entries kept behind a snapshot, for followers that are a little behind.
const LOG_KEPT_ENTRIES_COUNT: u64 = 1_000;

/// The running group.
pub struct MetadataGroup {
    raft: Raft<MetadataTypes, MetadataStateMachine>,
}

/// How the group stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub leader: Option<NodeId>,
    pub term: u64,
    /// The index after the last entry that is known to be committed.
    pub committed: u64,
    pub members: Vec<Member>,
}

/// A member of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub node: NodeId,
    pub is_voter: bool,
    /// The index after its last entry, if that is known here.
    pub log_end: Option<u64>,
}

fn node_of(id: u64) -> NodeId {
    NodeId(i32::try_from(id).unwrap_or(i32::MAX))
}

impl std::fmt::Debug for MetadataGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataGroup").finish_non_exhaustive()
    }
}

impl MetadataGroup {
    /// Opens the group with this node as its only voter. Resolves when it leads and has replayed
    /// all that was committed before.
    pub async fn open(
        node: NodeId,
        kv: Arc<dyn KeyValue>,
        writer: KvWriter,
        publisher: Arc<Publisher>,
    ) -> io::Result<Self> {
        let store = MetadataLogStore { kv, writer };
        let state_machine = MetadataStateMachine::new(store.clone(), publisher);
        let config = Config {
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES_COUNT),
            max_in_snapshot_log_to_keep: LOG_KEPT_ENTRIES_COUNT,
            ..Config::clone(&*raft_config("metadata")?)
        };
        let raft = Raft::new(node.raft(), Arc::new(config), NoPeers, store, state_machine)
            .await
            .map_err(io::Error::other)?;
        let group = Self { raft };
        if group.raft.is_initialized().await.map_err(io::Error::other)? {
            group.raft.trigger().elect(false).await.map_err(io::Error::other)?;
        } else {
            let members = BTreeSet::from([node.raft()]);
            group.raft.initialize(members).await.map_err(io::Error::other)?;
        }
        group.wait_to_lead().await?;
        Ok(group)
    }

    async fn wait_to_lead(&self) -> io::Result<()> {
        let mut metrics = self.raft.metrics();
        loop {
            {
                let now = metrics.borrow_and_update();
                let applied = now.last_applied.map(|id| id.index);
                if now.state == ServerState::Leader && applied == now.last_log_index {
                    return Ok(());
                }
                if now.running_state.is_err() {
                    return Err(io::Error::other("the metadata group stopped"));
                }
            }
            metrics.changed().await.map_err(|_| io::Error::other("the metadata group stopped"))?;
        }
    }

    /// Appends records and waits until they are committed and in the image. Returns the index of
    /// their entry, which is the metadata offset.
    pub async fn propose(&self, records: Bytes) -> Result<u64, ProposeError> {
        let written = self.raft.client_write(MetadataCommand(records)).await;
        written.map(|response| response.data).map_err(|error| match error.into_api_error() {
            Some(_) => ProposeError::NotLeader,
            None => ProposeError::Stopped,
        })
    }

    /// How far the members are, as this one knows.
    pub fn progress(&self) -> Progress {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        let end = now.last_log_index.map_or(0, |last| last + 1);
        let ends = now.replication.clone().unwrap_or_default();
        let voters: BTreeSet<u64> = now.membership_config.voter_ids().collect();
        let members = now.membership_config.nodes().map(|(id, _)| *id);
        let members = members.map(|id| Member {
            node: node_of(id),
            is_voter: voters.contains(&id),
            log_end: match ends.get(&id) {
                _ if id == now.id => Some(end),
                Some(matched) => matched.as_ref().map(|matched| matched.index + 1),
                None => None,
            },
        });
        Progress {
            leader: now.current_leader.map(node_of),
            term: now.current_term,
            committed: now.last_applied.as_ref().map_or(0, |applied| applied.index + 1),
            members: members.collect(),
        }
    }

    pub async fn shutdown(&self) -> io::Result<()> {
        self.raft.shutdown().await.map_err(io::Error::other)
    }
}

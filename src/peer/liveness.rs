//! Who is alive.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::base::ids::NodeId;

/// The judgement of this node about the others.
#[derive(Debug)]
pub struct Liveness {
    changes: watch::Sender<u64>,
}

impl Default for Liveness {
    fn default() -> Self {
        Self { changes: watch::Sender::new(0) }
    }
}

impl Liveness {
    pub fn is_alive(&self, _node: NodeId) -> bool {
        false
    }

    pub fn has_lease(&self, _node: NodeId) -> bool {
        false
    }

    pub fn incarnation(&self, _node: NodeId) -> Option<u64> {
        None
    }

    pub fn latency(&self, _node: NodeId) -> Option<Duration> {
        None
    }

    /// Changes whenever a node comes up (also with another incarnation) or goes down.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn set_own(&self, _node: NodeId) {}
    pub(super) fn set_nodes(&self, _nodes: &BTreeSet<NodeId>) {}
    pub(super) fn refused(&self, _node: NodeId) {}
    pub(super) fn connected(&self, _node: NodeId, _incarnation: u64) {}
    pub(super) fn goodbye(&self, _node: NodeId) {}
    pub(super) fn incoming_opened(&self, _node: NodeId, _incarnation: u64) {}
    pub(super) fn incoming_closed(&self, _node: NodeId, _incarnation: u64) {}
    pub(super) fn ping_received(&self, _node: NodeId, _incarnation: u64, _body: &Bytes) -> Bytes {
        Bytes::new()
    }
}

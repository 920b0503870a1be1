//! How the nodes stand that keep the metadata, as its leader sees them.

use crate::base::ids::NodeId;

/// The metadata group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumView {
    pub leader: NodeId,
    pub epoch: i32,
    /// The end of what is committed.
    pub high_watermark: i64,
    /// Nodes that vote, the leader among them.
    pub voters: Vec<ReplicaView>,
    /// Nodes that follow and do not vote.
    pub observers: Vec<ReplicaView>,
}

/// One node. -1 stands for "not known".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaView {
    pub node: NodeId,
    /// The end of its log.
    pub log_end_offset: i64,
    /// When the leader heard of it last.
    pub last_fetch_ms: i64,
    /// When it had all that the leader had.
    pub last_caught_up_ms: i64,
}

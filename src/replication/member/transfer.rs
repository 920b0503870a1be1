//! Handing a leadership to another member.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::storage::RaftStateMachine;
use tokio::time::Instant;

use crate::base::ids::NodeId;
use crate::peer::Kind;
use crate::replication::member::{Group, Member, Status};
use crate::replication::wire::{self, GroupTypes};

/// How long a leadership may take to get to another node.
const TRANSFER: Duration = Duration::from_secs(2);
/// A node that has not taken a leadership over is asked again after this time.
const TRANSFER_REPEAT: Duration = Duration::from_millis(30);

/// What is done in the end, unless it is not needed.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

impl<C, SM> Member<C, SM>
where
    C: GroupTypes,
    SM: RaftStateMachine<C, SnapshotData = Bytes> + 'static,
{
    /// Hands the leadership to another voter; resolves when this node does not lead any more. While
    /// that is under way openraft takes no proposals, and it never gives up by itself: after
    /// `TRANSFER`, or if this is cancelled, whoever can may lead.
    pub(crate) async fn transfer_to(&self, node: NodeId) -> io::Result<()> {
        let status = self.status();
        let is_fit = status.leads && node != self.node && status.voters.contains(&node);
        let liveness = self.peers.liveness();
        if !is_fit || !liveness.is_staying(node) {
            return Err(io::Error::other(format!("node {node} can not take the leadership over")));
        }
        self.handed_over_term.store(status.term, Ordering::Release);
        // Whoever asked may have gone before it is over.
        let mut or_else = OnDrop(Some(|| self.resign(&status)));
        let mut server = self.raft.server_metrics();
        let deadline = Instant::now() + TRANSFER;
        // A node that stops meanwhile takes nothing over any more.
        while Instant::now() < deadline && liveness.is_staying(node) {
            // The other side refuses until it has the last entry, so it is asked again.
            let asked = self.raft.trigger().transfer_leader(node.raft()).await;
            asked.map_err(io::Error::other)?;
            let again = Instant::now() + TRANSFER_REPEAT;
            loop {
                let is_over = {
                    let now = server.borrow_and_update();
                    now.state != ServerState::Leader || now.vote.leader_id.term != status.term
                };
                if is_over {
                    or_else.0 = None;
                    return Ok(());
                }
                if tokio::time::timeout_at(again, server.changed()).await.is_err() {
                    break;
                }
            }
        }
        Err(io::Error::other(format!("node {node} did not take the leadership over")))
    }

    /// This node leads no more in this term, though Raft does not know: any other may.
    pub(super) fn resign(&self, status: &Status) {
        self.resigned_term.store(status.term, Ordering::Release);
        let mut body = BytesMut::new();
        wire::put_group(&mut body, self.address);
        let body = body.freeze();
        for node in status.voters.iter().filter(|node| **node != self.node) {
            self.peers.tell(*node, Kind::Resign, body.clone());
        }
    }
}

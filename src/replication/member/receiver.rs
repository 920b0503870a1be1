//! Answers what other members of a group send.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::VoteResponse;
use openraft::storage::RaftStateMachine;

use crate::base::ids::NodeId;
use crate::log::room::Room;
use crate::metrics::elections;
use crate::peer::{Body, Peers};
use crate::replication::member::heard::Heard;
use crate::replication::wire::{self, GroupTypes};

const NO_ROOM: &str = "the log dir is full";

/// What is needed to answer the other members.
pub(super) struct Receiver<C: GroupTypes, SM: RaftStateMachine<C>> {
    pub(super) raft: Raft<C, SM>,
    pub(super) peers: Peers,
    pub(super) heard: Arc<Mutex<Heard>>,
    pub(super) room: Option<Arc<Room>>,
}

impl<C, SM> Receiver<C, SM>
where
    C: GroupTypes,
    SM: RaftStateMachine<C, SnapshotData = Bytes> + 'static,
{
    pub(super) async fn append(self, from: NodeId, body: Bytes) -> Result<Body, String> {
        let request = wire::get_append::<C>(body).map_err(text)?;
        let vote = request.vote;
        if request.entries.iter().any(C::has_records) && self.is_full() {
            return Err(NO_ROOM.to_owned());
        }
        let answer = self.raft.append_entries(request).await.map_err(text)?;
        if !matches!(answer, openraft::raft::AppendEntriesResponse::HigherVote(_)) {
            let incarnation = self.peers.liveness().incarnation(from);
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.hear(vote.leader_id.term, from, incarnation) {
                elections::leader_changed();
            }
        }
        Ok(wire::put_append_response::<C>(&answer))
    }

    fn is_full(&self) -> bool {
        self.room.as_ref().is_some_and(|room| room.is_full())
    }

    pub(super) async fn vote(self, body: Bytes, is_led: bool) -> Result<Body, String> {
        let mut request = wire::get_vote_request::<C>(body).map_err(text)?;
        if is_led && !request.leadership_transfer {
            let metrics = self.raft.server_metrics();
            let vote = metrics.borrow_watched().vote;
            return Ok(wire::put_vote_response::<C>(&VoteResponse::new(vote, None, false)));
        }
        // Whether the leader is there has been judged by its node's liveness: openraft's own lease,
        // which counts from the group's last message, says nothing more.
        request.leadership_transfer = true;
        let answer = self.raft.vote(request).await.map_err(text)?;
        Ok(wire::put_vote_response::<C>(&answer))
    }

    pub(super) async fn snapshot(self, body: Bytes) -> Result<Body, String> {
        if self.is_full() {
            return Err(NO_ROOM.to_owned());
        }
        let (vote, snapshot) = wire::get_snapshot(body).map_err(text)?;
        let answer = self.raft.install_full_snapshot(vote, snapshot).await.map_err(text)?;
        Ok(wire::put_vote_alone(&answer.vote))
    }

    pub(super) async fn transfer(self, body: Bytes) -> Result<Body, String> {
        let request = wire::get_transfer::<C>(body).map_err(text)?;
        // All members are told, so that those that are not meant let the new leader have its way.
        let answer = self.raft.handle_transfer_leader(request).await.map_err(text)?;
        answer.map_err(text)?;
        Ok(Vec::new())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

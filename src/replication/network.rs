//! How a group reaches its members on other nodes: openraft's network over calls to peers.
//!
//! Appends are pipelined: calls of one lane arrive in the order in which they were made, so several
//! may be under way. Every call has a deadline; a stream ends with the first failure, and openraft
//! begins another one after a pause. A follower that is behind is sent no more than its limits
//! allow (`throttle`).

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::base::ids::NodeId;
use crate::peer::{Body, CallError, Kind, Lane, Peers};
use crate::replication::throttle::Throttles;
use crate::replication::types::LogId;
use crate::replication::wire::{self, Address, GroupTypes};

/// How long an append may take on the other node: its disk may be slow, but not for ever.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a small message may take.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Appends under way to one follower.
const APPENDS_IN_FLIGHT_COUNT: usize = 16;
/// Bytes under way to one follower.
const APPENDS_IN_FLIGHT_BYTES: usize = 8 * 1024 * 1024;

/// Makes a group's connections.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) peers: Peers,
    pub(crate) group: Address,
    pub(crate) throttles: Arc<Throttles>,
    pub(crate) confirmed: Arc<Confirmed>,
}

/// Under which lease each member has last confirmed that this node leads.
#[derive(Debug, Default)]
pub(crate) struct Confirmed {
    /// The term that it holds for.
    by_node: Mutex<(u64, BTreeMap<NodeId, u64>)>,
    /// Counts the confirmations after the first one of a term.
    changes: watch::Sender<u64>,
}

impl Confirmed {
    /// Changes when another node has confirmed, or one has done so again after it was cut off:
    /// the leader may serve again.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn note(&self, term: u64, node: NodeId, lease: u64) {
        let mut known = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = known.0 < term;
        if is_first {
            *known = (term, BTreeMap::new());
        }
        let is_news = known.0 == term && known.1.insert(node, lease) != Some(lease);
        drop(known);
        if is_news && !is_first {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// Whether the node has confirmed the leader of this term under this lease: since then it has
    /// voted for nobody else.
    pub(crate) fn holds(&self, term: u64, node: NodeId, lease: u64) -> bool {
        let known = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        known.0 == term && known.1.get(&node) == Some(&lease)
    }
}

/// A group's connection to one member.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    peers: Peers,
    group: Address,
    target: NodeId,
    throttles: Arc<Throttles>,
    confirmed: Arc<Confirmed>,
}

impl<C: GroupTypes> RaftNetworkFactory<C> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, _node: &C::Node) -> Connection {
        let target = NodeId(i32::try_from(target).unwrap_or(i32::MAX));
        let throttles = Arc::clone(&self.throttles);
        let confirmed = Arc::clone(&self.confirmed);
        Connection { peers: self.peers.clone(), group: self.group, target, throttles, confirmed }
    }
}

/// Anything that fails is waited for: openraft repeats other errors at once.
fn unreachable<C: GroupTypes>(error: impl std::fmt::Display) -> RPCError<C> {
    let error = io::Error::other(error.to_string());
    RPCError::Unreachable(Unreachable::new(&error))
}

impl Connection {
    fn call(
        &self,
        lane: Lane,
        kind: Kind,
        body: Body,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send + 'static {
        self.peers.call(self.target, lane, kind, body, timeout)
    }

    async fn ask<C: GroupTypes, T>(
        &self,
        kind: Kind,
        body: Body,
        read: impl FnOnce(Bytes) -> io::Result<T>,
    ) -> Result<T, RPCError<C>> {
        let answer = self.call(Lane::Control, kind, body, MESSAGE_TIMEOUT).await;
        read(answer.map_err(unreachable)?).map_err(unreachable)
    }

    fn append<C: GroupTypes>(&self, request: &AppendEntriesRequest<C>) -> InFlight {
        let body = wire::put_append::<C>(self.group, request);
        let last = request.entries.last().map(C::entry_id).or(request.prev_log_id);
        let (term, target) = (request.vote.leader_id.term, self.target);
        // The lease of the moment of sending: if it lapses before the answer, it has another number
        // then, and nothing is confirmed.
        let lease = self.peers.liveness().lease(target);
        let confirmed = Arc::clone(&self.confirmed);
        let note = move |answer: &Result<Bytes, CallError>| {
            if let (Ok(answer), Some(lease)) = (answer, lease)
                && wire::is_followed(answer)
            {
                confirmed.note(term, target, lease);
            }
        };
        InFlight {
            prev: request.prev_log_id,
            last,
            size: body.size(),
            answer: self
                .call(Lane::Data, Kind::AppendEntries, body.finish(), APPEND_TIMEOUT)
                .inspect(note)
                .boxed(),
        }
    }
}

/// What comes back for a stream of appends.
type Answers<'s, C> = BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>;

/// An append that has been sent.
struct InFlight {
    prev: Option<LogId>,
    last: Option<LogId>,
    size: usize,
    answer: BoxFuture<'static, Result<Bytes, CallError>>,
}

/// The appends of one stream, answered in their order.
struct Pipeline<S> {
    connection: Connection,
    input: S,
    in_flight: VecDeque<InFlight>,
    size: usize,
    input_ended: bool,
    failed: bool,
    /// A follower that is behind gets nothing before.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Pipeline<S> {
    /// Whether the follower may be sent more now; if not, the task is woken when it may.
    fn may_send(&mut self, cx: &mut Context<'_>) -> bool {
        let Connection { group, target, .. } = self.connection;
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return false;
                }
                self.pause = None;
            }
            match self.connection.throttles.pause(group.id, target) {
                Some(until) => self.pause = Some(Box::pin(tokio::time::sleep_until(until))),
                None => return true,
            }
        }
    }

    /// Sends what may be sent.
    fn fill<C: GroupTypes>(&mut self, cx: &mut Context<'_>)
    where
        S: Stream<Item = AppendEntriesRequest<C>> + Unpin,
    {
        while !self.input_ended
            && self.in_flight.len() < APPENDS_IN_FLIGHT_COUNT
            && self.size < APPENDS_IN_FLIGHT_BYTES
            && self.may_send(cx)
        {
            match self.input.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => {
                    let sent = self.connection.append::<C>(&request);
                    let Connection { group, target, .. } = self.connection;
                    self.connection.throttles.sent(group.id, target, sent.size);
                    self.size += sent.size;
                    self.in_flight.push_back(sent);
                }
                Poll::Ready(None) => self.input_ended = true,
                Poll::Pending => return,
            }
        }
    }

    fn poll_answer<C: GroupTypes>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<StreamAppendResult<C>, RPCError<C>>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + Unpin,
    {
        if self.failed {
            return Poll::Ready(None);
        }
        self.fill::<C>(cx);
        let Some(first) = self.in_flight.front_mut() else {
            return if self.input_ended { Poll::Ready(None) } else { Poll::Pending };
        };
        let Poll::Ready(answer) = Pin::new(&mut first.answer).poll(cx) else {
            return Poll::Pending;
        };
        let (prev, last) = (first.prev, first.last);
        self.size -= first.size;
        self.in_flight.pop_front();
        let answer = answer
            .map_err(unreachable)
            .and_then(|body| wire::get_append_response::<C>(body).map_err(unreachable));
        let answer = answer.map(|response| {
            // What follows a part that was not taken does not fit any more.
            let is_part = matches!(&response,
                AppendEntriesResponse::PartialSuccess(upto) if *upto != last);
            let result = response.into_stream_result(prev, last);
            self.failed = is_part || result.is_err();
            result
        });
        self.failed |= answer.is_err();
        Poll::Ready(Some(answer))
    }
}

impl<C: GroupTypes> RaftNetworkV2<C> for Connection {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let answer = self.append::<C>(&rpc).answer.await;
        wire::get_append_response::<C>(answer.map_err(unreachable)?).map_err(unreachable)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<Answers<'s, C>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
    {
        let mut pipeline = Pipeline {
            connection: self.clone(),
            input,
            in_flight: VecDeque::new(),
            size: 0,
            input_ended: false,
            failed: false,
            pause: None,
        };
        let answers = stream::poll_fn(move |cx| pipeline.poll_answer::<C>(cx));
        std::future::ready(Ok(answers.boxed())).boxed()
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        let body = wire::put_vote_request::<C>(self.group, &rpc);
        self.ask(Kind::Vote, body, wire::get_vote_response::<C>).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, Bytes>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let body = wire::put_snapshot(self.group, &vote, &snapshot);
        let answer = self.call(Lane::Data, Kind::Snapshot, body, APPEND_TIMEOUT).await;
        let answer = answer.map_err(unreachable::<C>)?;
        let vote = wire::get_vote_alone(answer).map_err(unreachable::<C>)?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<C>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        let body = wire::put_transfer::<C>(self.group, &request);
        // A refusal of the other side is a failure like any other: the leader goes on leading.
        self.ask(Kind::TransferLeader, body, |_| Ok(Ok(()))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_holds_for_its_term_and_its_lease() {
        let (confirmed, node) = (Confirmed::default(), NodeId(2));
        confirmed.note(3, node, 7);
        assert!(confirmed.holds(3, node, 7));
        // The node was cut off meanwhile, and may have voted for another.
        assert!(!confirmed.holds(3, node, 8));
        assert!(!confirmed.holds(4, node, 7) && !confirmed.holds(3, NodeId(1), 7));
        let changes = confirmed.subscribe();
        confirmed.note(4, NodeId(1), 1);
        confirmed.note(3, node, 8);
        assert!(!changes.has_changed().unwrap());
        confirmed.note(4, node, 8);
        assert!(changes.has_changed().unwrap());
        assert!(confirmed.holds(4, NodeId(1), 1));
        assert!(!confirmed.holds(3, node, 8) && confirmed.holds(4, node, 8));
    }
}

//! Drives decisions over the metadata group: each on the image that all earlier ones made.
//!
//! Any node decides, on its own image, and proposes what came of it to the group's leader, the
//! controller, which takes it only if no other decision was made meanwhile; if one was, the node
//! waits until its image has it and decides again.

mod reporting;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::base::ids::NodeId;
use crate::base::task::{self, Fault};
use crate::controller::producer_ids;
use crate::controller::quorum::{QuorumView, ReplicaView};
use crate::controller::service::reporting::Reports;
use crate::log::entry::EntryId;
use crate::metadata::image::Image;
use crate::metadata::publisher::Images;
use crate::metadata::records::{self, Record};
use crate::peer::{Body, CallError, Kind, Lane, Peers};
use crate::replication::metadata_group::MetadataGroup;
use crate::replication::partition_group::ProposeError;

/// How long the controller has to commit a proposal of another node.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the controller has to tell where it is.
const OFFSET_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node waits before it looks for the controller again.
const LEADER_LOOKUP_INTERVAL: Duration = Duration::from_millis(20);

/// How long the metadata group may take to get another leader when this node stops.
const HAND_OVER: Duration = Duration::from_secs(2);

/// What the controller answers to a proposal.
const TAKEN: u8 = 0;
const MOVED: u8 = 1;
const NOT_CONTROLLER: u8 = 2;

/// What a decision comes to: records to append, and what to answer once they are committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<A> {
    pub records: Vec<Record>,
    pub answer: A,
}

impl<A> Decision<A> {
    /// The same answer without its effect, if the client only wants to know.
    #[must_use]
    pub fn validate_only(self, only: bool) -> Self {
        if only { Self { records: Vec::new(), ..self } } else { self }
    }
}

/// How a proposal is answered.
fn answer(status: u8, offset: u64) -> Bytes {
    let mut answer = BytesMut::with_capacity(9);
    answer.put_u8(status);
    answer.put_u64(offset);
    answer.freeze()
}

/// The way to the active controller, which may be this node.
#[derive(Debug)]
pub struct Controller {
    group: Arc<MetadataGroup>,
    peers: Peers,
    images: Images,
    /// One permit: decisions take turns.
    turn: Arc<Semaphore>,
    reports: Reports,
    /// Producer ids of this broker that are left of its block.
    producer_ids: Mutex<Range<i64>>,
    /// One permit: a block is asked for once.
    refill: Semaphore,
}

impl Controller {
    pub fn new(group: MetadataGroup, peers: Peers, images: Images) -> Arc<Self> {
        Arc::new(Self {
            group: Arc::new(group),
            peers,
            images,
            turn: Arc::new(Semaphore::new(1)),
            reports: Reports::default(),
            producer_ids: Mutex::default(),
            refill: Semaphore::new(1),
        })
    }

    /// The active controller, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.group.leader()
    }

    /// Whether this node is the active controller.
    pub fn is_active(&self) -> bool {
        self.group.is_serving()
    }

    pub fn group(&self) -> &Arc<MetadataGroup> {
        &self.group
    }

    /// Decides on the newest image, has the records appended, and answers when they are committed
    /// and in this node's image. Waits for a controller as long as there is none. Cancelling after
    /// the append does not take it back, nor does it let the next decision begin before the image
    /// has it.
    pub async fn run<A>(
        &self,
        mut decide: impl FnMut(&Image) -> Decision<A>,
    ) -> Result<A, ProposeError> {
        loop {
            let done = match self.find_controller().await? {
                None => self.run_here(&mut decide).await?,
                Some(controller) => self.run_there(controller, &mut decide).await?,
            };
            if let Some(answer) = done {
                return Ok(answer);
            }
        }
    }

    /// Waits until this node's image has all that was committed when this was called.
    pub async fn synchronize(&self) -> Result<(), ProposeError> {
        let nothing = |_: &Image| Decision { records: Vec::new(), answer: () };
        self.run(nothing).await
    }

    /// Where the controller is: `None` if it is this node.
    async fn find_controller(&self) -> Result<Option<NodeId>, ProposeError> {
        loop {
            if self.turn.is_closed() {
                return Err(ProposeError::Stopped);
            }
            if self.group.is_serving() {
                return Ok(None);
            }
            if let Some(leader) = self.group.leader().filter(|leader| *leader != self.node()) {
                return Ok(Some(leader));
            }
            let _ = tokio::time::timeout(LEADER_LOOKUP_INTERVAL, self.group.changed()).await;
        }
    }

    fn node(&self) -> NodeId {
        self.group.node()
    }

    /// `None`: it has to be tried again.
    async fn run_here<A>(
        &self,
        decide: &mut impl FnMut(&Image) -> Decision<A>,
    ) -> Result<Option<A>, ProposeError> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|_| ProposeError::Stopped)?;
        if !self.group.is_serving() {
            return Ok(None);
        }
        let decision = decide(&self.images.current());
        if decision.records.is_empty() {
            return Ok(Some(decision.answer));
        }
        self.append(turn, records::encode(&decision.records)).await?;
        Ok(Some(decision.answer))
    }

    /// Appends as the leader; the turn ends when the image has it.
    async fn append(
        &self,
        turn: OwnedSemaphorePermit,
        records: Bytes,
    ) -> Result<u64, ProposeError> {
        let group = Arc::clone(&self.group);
        let proposal = task::spawn("metadata change", Fault::Process, async move {
            let proposed = group.propose(records).await;
            drop(turn);
            proposed
        });
        proposal.await.map_err(|_| ProposeError::Stopped)?
    }

    async fn run_there<A>(
        &self,
        controller: NodeId,
        decide: &mut impl FnMut(&Image) -> Decision<A>,
    ) -> Result<Option<A>, ProposeError> {
        let asked = (Kind::MetadataOffset, Vec::new(), OFFSET_TIMEOUT);
        let Ok((TAKEN, offset)) = self.ask(controller, asked).await else {
            // It does not know yet, or not any more, that it is the controller.
            tokio::time::sleep(LEADER_LOOKUP_INTERVAL).await;
            return Ok(None);
        };
        self.images.reached(offset).await;
        let image = self.images.current();
        let decision = decide(&image);
        if decision.records.is_empty() {
            return Ok(Some(decision.answer));
        }
        let expected = Bytes::copy_from_slice(&image.offset.to_be_bytes());
        let body = vec![expected, records::encode(&decision.records)];
        let proposed = self.ask(controller, (Kind::ProposeMetadata, body, PROPOSE_TIMEOUT)).await;
        match proposed {
            Ok((TAKEN, offset)) => {
                self.images.reached(offset).await;
                Ok(Some(decision.answer))
            }
            Ok((MOVED, offset)) => {
                self.images.reached(offset).await;
                Ok(None)
            }
            Ok(_) => Ok(None),
            // It may have been taken: only who asked knows whether doing it twice is right.
            Err(_) => Err(ProposeError::Unknown),
        }
    }

    async fn ask(
        &self,
        controller: NodeId,
        (kind, body, timeout): (Kind, Body, Duration),
    ) -> Result<(u8, u64), CallError> {
        let answer = self.peers.call(controller, Lane::Control, kind, body, timeout).await;
        let mut answer = answer?;
        let damaged = |_| CallError::Refused("damaged answer".to_owned());
        Ok((answer.try_get_u8().map_err(damaged)?, answer.try_get_u64().map_err(damaged)?))
    }

    /// Answers another node that asks for the controller's offset or proposes records.
    pub async fn receive(&self, kind: Kind, mut body: Bytes) -> Result<Body, String> {
        if kind == Kind::Quorum && self.group.is_serving() {
            let now_ms = body.try_get_i64().map_err(|error| error.to_string())?;
            return Ok(vec![self.quorum_here(now_ms).encode()]);
        }
        let (status, offset) = match kind {
            Kind::MetadataOffset if self.group.is_serving() => {
                // What is being appended now counts as earlier.
                let turn = self.turn.acquire().await.map_err(|error| error.to_string())?;
                drop(turn);
                (TAKEN, self.images.current().offset)
            }
            Kind::ProposeMetadata => {
                let expected = body.try_get_u64().map_err(|error| error.to_string())?;
                self.take_proposal(expected, body).await?
            }
            _ => (NOT_CONTROLLER, 0),
        };
        Ok(vec![answer(status, offset)])
    }

    async fn take_proposal(&self, expected: u64, records: Bytes) -> Result<(u8, u64), String> {
        // Bytes that are no records must not get into the log: all replicas would stop at them.
        records::decode(&records).map_err(|error| error.to_string())?;
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|error| error.to_string())?;
        if !self.group.is_serving() {
            return Ok((NOT_CONTROLLER, 0));
        }
        let offset = self.images.current().offset;
        if offset != expected {
            return Ok((MOVED, offset));
        }
        let appended = self.append(turn, records).await;
        appended.map(|offset| (TAKEN, offset)).map_err(|error| format!("{error:?}"))
    }

    /// An id that no producer of the cluster ever had; `None` when all are used up.
    pub async fn next_producer_id(&self) -> Result<Option<i64>, ProposeError> {
        if let Some(id) = self.take_producer_id() {
            return Ok(Some(id));
        }
        let _refill = self.refill.acquire().await.map_err(|_| ProposeError::Stopped)?;
        if let Some(id) = self.take_producer_id() {
            return Ok(Some(id));
        }
        let block = self.run(producer_ids::allocate).await?;
        *self.producer_ids.lock().unwrap_or_else(PoisonError::into_inner) = block;
        Ok(self.take_producer_id())
    }

    /// How the metadata group stands, as its leader sees it.
    pub async fn quorum(&self, now_ms: i64) -> Result<QuorumView, ProposeError> {
        match self.find_controller().await? {
            None => Ok(self.quorum_here(now_ms)),
            Some(controller) => {
                let lane = Lane::Control;
                let kind = Kind::Quorum;
                let body = vec![Bytes::copy_from_slice(&now_ms.to_be_bytes())];
                let told = self.peers.call(controller, lane, kind, body, OFFSET_TIMEOUT).await;
                let view = told.ok().and_then(|told| QuorumView::decode(&told));
                view.ok_or(ProposeError::Unknown)
            }
        }
    }

    fn quorum_here(&self, now_ms: i64) -> QuorumView {
        let (status, log) = (self.group.status(), self.group.log());
        let progress = self.group.progress();
        let number = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
        let end = |last: Option<EntryId>| last.map_or(0, |last| number(last.index) + 1);
        let replica = |node: &NodeId| {
            let known = progress.iter().find(|known| known.node == *node);
            let matched = known.and_then(|known| known.matched);
            let is_own = *node == self.node();
            let is_alive = is_own || self.peers.liveness().is_alive(*node);
            let is_caught_up = is_alive && (is_own || matched >= log.last);
            ReplicaView {
                node: *node,
                log_end_offset: end(if is_own { log.last } else { matched }),
                last_fetch_ms: if is_alive { now_ms } else { -1 },
                last_caught_up_ms: if is_caught_up { now_ms } else { -1 },
            }
        };
        QuorumView {
            leader: self.node(),
            epoch: i32::try_from(log.term).unwrap_or(i32::MAX),
            high_watermark: end(log.applied),
            voters: status.voters.iter().map(replica).collect(),
            observers: status.learners.iter().map(replica).collect(),
        }
    }

    fn take_producer_id(&self) -> Option<i64> {
        self.producer_ids.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    /// Hands the metadata group to another of its voters, if this node leads it and one is alive
    /// and is not about to stop.
    pub async fn hand_over(&self) {
        let deadline = Instant::now() + HAND_OVER;
        while self.group.is_serving() && Instant::now() < deadline {
            let voters = self.group.status().voters;
            let liveness = self.peers.liveness();
            let others =
                self.group.progress().into_iter().filter(|other| {
                    voters.contains(&other.node) && liveness.is_staying(other.node)
                });
            let Some(heir) = others.max_by_key(|other| other.matched) else { return };
            // A group that has stopped has no leadership to hand over.
            let _ = self.group.transfer_to(heir.node).await;
            let _ = tokio::time::timeout(LEADER_LOOKUP_INTERVAL, self.group.changed()).await;
        }
    }

    pub async fn shutdown(&self) -> std::io::Result<()> {
        self.turn.close();
        self.group.shutdown().await
    }
}

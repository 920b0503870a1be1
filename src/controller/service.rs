//! Drives decisions over the metadata group: one at a time, each on the image that all earlier ones
//! made.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::base::task::{self, Fault};
use crate::controller::producer_ids;
use crate::controller::quorum::{QuorumView, ReplicaView};
use crate::metadata::image::Image;
use crate::metadata::publisher::Images;
use crate::metadata::records::{self, Record};
use crate::replication::metadata_group::{Member, MetadataGroup};
use crate::replication::partition_group::ProposeError;

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

/// The active controller.
#[derive(Debug)]
pub struct Controller {
    group: Arc<MetadataGroup>,
    images: Images,
    /// One permit: decisions take turns.
    turn: Arc<Semaphore>,
    /// Producer ids of this broker that are left of its block.
    producer_ids: Mutex<Range<i64>>,
    /// One permit: a block is asked for once.
    refill: Semaphore,
}

impl Controller {
    pub fn new(group: MetadataGroup, images: Images) -> Arc<Self> {
        Arc::new(Self {
            group: Arc::new(group),
            images,
            turn: Arc::new(Semaphore::new(1)),
            producer_ids: Mutex::default(),
            refill: Semaphore::new(1),
        })
    }

    /// Decides on the current image, appends the records, and answers when they are committed and
    /// in the image. Cancelling after the append does not take it back, nor does it let the next
    /// decision begin before the image has it.
    pub async fn run<A>(
        &self,
        decide: impl FnOnce(&Image) -> Decision<A>,
    ) -> Result<A, ProposeError> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|_| ProposeError::Stopped)?;
        let decision = decide(&self.images.current());
        if decision.records.is_empty() {
            return Ok(decision.answer);
        }
        let group = Arc::clone(&self.group);
        let encoded = records::encode(&decision.records);
        let proposal = task::spawn("metadata change", Fault::Process, async move {
            let proposed = group.propose(encoded).await;
            drop(turn);
            proposed
        });
        proposal.await.map_err(|_| ProposeError::Stopped)??;
        Ok(decision.answer)
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

    /// How the metadata group stands, if its leader is known.
    pub fn quorum(&self, now_ms: i64) -> Option<QuorumView> {
        let progress = self.group.progress();
        let leader = progress.leader?;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let replica = |member: &Member| {
            let end = member.log_end.map(number);
            let is_caught_up = member.log_end.is_some_and(|end| end >= progress.committed);
            ReplicaView {
                node: member.node,
                log_end_offset: end.unwrap_or(-1),
                last_fetch_ms: end.map_or(-1, |_| now_ms),
                last_caught_up_ms: if is_caught_up { now_ms } else { -1 },
            }
        };
        let (voters, observers): (Vec<&Member>, Vec<&Member>) =
            progress.members.iter().partition(|member| member.is_voter);
        Some(QuorumView {
            leader,
            epoch: i32::try_from(progress.term).unwrap_or(i32::MAX),
            high_watermark: number(progress.committed),
            voters: voters.into_iter().map(replica).collect(),
            observers: observers.into_iter().map(replica).collect(),
        })
    }

    fn take_producer_id(&self) -> Option<i64> {
        self.producer_ids.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    pub async fn shutdown(&self) -> std::io::Result<()> {
        self.turn.close();
        self.group.shutdown().await
    }
}

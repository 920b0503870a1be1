//! What this node leads, told to the cluster: who leads which partition and which replicas are in
//! sync; and the steps by which a partition's group comes to the replicas that the metadata names.
//!
//! One task looks at the partitions whose group has changed, and now and then at all that this node
//! leads. What it finds is reported by a decision like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::base::ids::{NodeId, TopicId, TopicPartition};
use crate::base::task::{self, Fault, Stopping};
use crate::controller::in_sync::{Follower, InSync, Observed};
use crate::controller::leaders::{self, Election, Report, Transfer};
use crate::controller::moves;
use crate::controller::service::{Controller, Decision};
use crate::controller::steps::{self, Membership, Step};
use crate::controller::unclean::{self, Lost};
use crate::metadata::image::{self, Image};
use crate::metadata::publisher::Images;
use crate::partition::Partition;
use crate::partition::registry::Registry;
use crate::peer::{Body, Kind, Lane};

/// How often the followers of what this node leads are looked at while some are not in sync, or
/// replicas move.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The same while all is as it should be, at most.
const CALM_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Reports that become one change of the metadata.
const REPORTS_COUNT_MAX: usize = 2000;
/// Groups whose members change at one time.
const MOVES_AT_ONCE_COUNT: usize = 16;
/// How long another node has to hand a leadership over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
/// In which time a majority elects a leader, if it does.
const MAJORITY_ELECTS: Duration = Duration::from_secs(5);

/// What the reporting works with.
#[derive(Debug, Clone)]
pub struct Leadership {
    images: Images,
    registry: Arc<Registry>,
    controller: Arc<Controller>,
    /// `replica.lag.time.max.ms`.
    lag_max_ms: i64,
    started: Instant,
    /// Groups whose members are being changed.
    moving: Arc<Mutex<BTreeSet<TopicPartition>>>,
}

impl Leadership {
    pub fn new(
        images: Images,
        registry: Arc<Registry>,
        controller: Arc<Controller>,
        lag_max_ms: i64,
    ) -> Arc<Self> {
        let started = Instant::now();
        let moving = Arc::default();
        Arc::new(Self { images, registry, controller, lag_max_ms, started, moving })
    }

    fn node(&self) -> NodeId {
        self.registry.groups().node()
    }

    /// Reports until the broker stops.
    pub fn start(self: &Arc<Self>, mut stopping: Stopping) -> task::Handle {
        let leadership = Arc::clone(self);
        task::spawn("leadership", Fault::Process, async move {
            tokio::select! {
                () = stopping.wait() => {}
                () = leadership.run() => {}
            }
        })
    }

    async fn run(self: &Arc<Self>) {
        let mut followers: BTreeMap<TopicPartition, InSync> = BTreeMap::new();
        let mut lost = Lost::default();
        let mut images = self.images.clone();
        let mut nodes = self.registry.groups().peers().liveness().subscribe();
        let mut check = Instant::now();
        loop {
            let partitions = tokio::select! {
                changed = self.registry.groups().changed() => self.find(changed),
                () = tokio::time::sleep_until(check) => {
                    self.go_on(&mut lost).await;
                    let calm = lost.is_empty().then(|| self.calm_interval());
                    check = Instant::now() + calm.unwrap_or(CHECK_INTERVAL);
                    let partitions = self.registry.partitions();
                    if followers.len() > partitions.len() {
                        followers.retain(|id, _| self.registry.get(*id).is_some());
                    }
                    partitions
                }
                Some(_) = images.changed() => self.moving_partitions(),
                // Who has gone is not in sync any more.
                Ok(()) = nodes.changed() => self.registry.partitions(),
            };
            let image = self.images.current();
            let mut reports = Vec::new();
            for partition in partitions {
                let known = followers.entry(partition.id).or_default();
                let Some(report) = self.look(&partition, known) else { continue };
                let place = image.partition(partition.id);
                if let Some(place) = place {
                    if report.in_sync.len() < place.replicas.len() || moves::is_moving(place) {
                        check = check.min(Instant::now() + CHECK_INTERVAL);
                    }
                    if report.lineage == place.lineage {
                        self.move_on(&partition, place, &report);
                    }
                    if !leaders::report(&image, self.node(), std::slice::from_ref(&report))
                        .is_empty()
                    {
                        reports.push(report);
                    }
                }
            }
            for reports in reports.chunks(REPORTS_COUNT_MAX) {
                let done = self.controller.report(reports).await;
                if let Err(error) = done {
                    // The next check finds the same again.
                    tracing::debug!(?error, "leaders were not reported");
                }
            }
        }
    }

    /// Often enough to see in time who lags.
    fn calm_interval(&self) -> Duration {
        let lag_max = Duration::from_millis(self.lag_max_ms.unsigned_abs());
        (lag_max / 4).clamp(CHECK_INTERVAL, CALM_CHECK_INTERVAL)
    }

    /// Goes on with partitions that have lost their majority for long, if they are to.
    async fn go_on(&self, lost: &mut Lost) {
        lost.retain(|id| self.registry.get(id).is_some());
        let (image, node) = (self.images.current(), self.node());
        let liveness = self.registry.groups().peers().liveness();
        let is_alive = |other| other == node || liveness.is_alive(other);
        let mut due = self.registry.partitions();
        due.retain(|partition| {
            let is_wished = partition.config().unclean_leader_election_enable;
            let is_lost = is_wished
                && unclean::is_lost(partition.status().voters, is_alive)
                && unclean::record(&image, partition.id, node).is_some();
            lost.observe(partition.id, is_lost, self.started.elapsed())
        });
        if due.is_empty() {
            return;
        }
        for partition in &due {
            let in_sync = image.partition(partition.id).map(|place| &place.in_sync);
            tracing::warn!(
                topic = partition.topic,
                partition = partition.id.partition,
                ?in_sync,
                "no majority of the replicas lives: this one goes on alone"
            );
        }
        let go_on = |image: &Image| {
            let records = due.iter().filter_map(|one| unclean::record(image, one.id, node));
            Decision { records: records.collect(), answer: () }
        };
        if let Err(error) = self.controller.run(go_on).await {
            tracing::warn!(?error, "partitions without a majority do not go on");
        }
    }

    fn find(&self, ids: BTreeSet<TopicPartition>) -> Vec<Arc<Partition>> {
        ids.into_iter().filter_map(|id| self.registry.get(id)).collect()
    }

    /// Partitions of this node that are to have other replicas than they have.
    fn moving_partitions(&self) -> Vec<Arc<Partition>> {
        let image = self.images.current();
        let moves = |partition: &Arc<Partition>| {
            image.partition(partition.id).is_some_and(moves::is_moving)
        };
        let mut partitions = self.registry.partitions();
        partitions.retain(moves);
        partitions
    }

    /// What there is to report of a partition, if this node leads it.
    fn look(&self, partition: &Partition, known: &mut InSync) -> Option<Report> {
        let Some(epoch) = partition.leader_epoch() else {
            partition.set_in_sync_count(0);
            return None;
        };
        let image = self.images.current();
        let place = image.partition(partition.id)?;
        let liveness = self.registry.groups().peers().liveness();
        let progress = partition.progress().into_iter().map(|progress| Follower {
            node: progress.node,
            matched: progress.matched.map(|id| id.index),
            is_alive: liveness.is_alive(progress.node),
        });
        let observed = Observed {
            epoch,
            last_index: partition.last_index(),
            followers: progress.collect(),
            now_ms: i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX),
        };
        let followers = known.observe(&observed, &place.in_sync, self.lag_max_ms);
        let is_in_sync = |node: &NodeId| *node == self.node() || followers.contains(node);
        let mut in_sync: Vec<NodeId> = place.replicas.iter().copied().filter(is_in_sync).collect();
        if in_sync.is_empty() {
            in_sync.push(self.node());
        }
        partition.set_in_sync_count(in_sync.len());
        let (id, lineage) = (partition.id, partition.lineage);
        Some(Report { id, leader: Some(self.node()), epoch, lineage, in_sync })
    }

    /// Takes the next step of a group's way to the replicas that it is to have.
    fn move_on(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        place: &image::Partition,
        report: &Report,
    ) {
        let status = partition.status();
        let membership = Membership { voters: status.voters, learners: status.learners };
        let step = steps::next(&membership, place, &report.in_sync, self.node());
        if step == Step::Nothing {
            return;
        }
        {
            let mut moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
            if moving.len() >= MOVES_AT_ONCE_COUNT || !moving.insert(partition.id) {
                return;
            }
        }
        let (leadership, partition) = (Arc::clone(self), Arc::clone(partition));
        task::spawn("moving a partition", Fault::Process, async move {
            let topic = partition.topic.clone();
            let index = partition.id.partition;
            tracing::info!(topic, partition = index, ?step, "moving");
            if let Err(error) = leadership.take_step(&partition, step).await {
                tracing::warn!(%error, topic, partition = index, "a move did not get on");
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
            let mut moving = leadership.moving.lock().unwrap_or_else(PoisonError::into_inner);
            moving.remove(&partition.id);
            drop(moving);
            leadership.registry.groups().touch(partition.id);
        });
    }

    async fn take_step(&self, partition: &Partition, step: Step) -> io::Result<()> {
        match step {
            Step::Nothing => Ok(()),
            Step::AddLearner(node) => partition.add_learner(node).await,
            Step::ChangeVoters(voters) => partition.change_voters(voters).await,
            Step::RemoveLearners(nodes) => partition.remove_learners(nodes).await,
            Step::TransferTo(node) => {
                let handed = partition.transfer_to(node).await;
                handed.map_err(|error| io::Error::other(format!("{error:?}")))
            }
            Step::Finish => {
                let id = partition.id;
                let voters: Vec<NodeId> = partition.status().voters.into_iter().collect();
                let finish = |image: &Image| {
                    let done = moves::complete(image, id, partition.lineage, &voters);
                    let records = done.into_iter().collect();
                    Decision { records, answer: () }
                };
                let done = self.controller.run(finish).await;
                done.map_err(|error| io::Error::other(format!("{error:?}")))
            }
        }
    }

    /// Has a partition led by another replica. When this resolves the change is under way; the
    /// metadata tells when it is made.
    pub fn elect(
        &self,
        election: Election,
        transfer: Transfer,
    ) -> BoxFuture<'static, io::Result<()>> {
        let leadership = self.clone();
        async move {
            match election {
                Election::Preferred => leadership.transfer(transfer.id, transfer.to).await,
                Election::Unclean => {
                    leadership.let_majority_elect(transfer.id).await;
                    let recover = |image: &Image| Decision {
                        records: leaders::recover(image, transfer).into_iter().collect(),
                        answer: (),
                    };
                    let done = leadership.controller.run(recover).await;
                    done.map_err(|error| io::Error::other(format!("{error:?}")))
                }
            }
        }
        .boxed()
    }

    /// Waits for a leader whom a majority may be about to elect: nothing is lost with that one.
    async fn let_majority_elect(&self, id: TopicPartition) {
        let mut images = self.images.clone();
        let settled = async {
            loop {
                let image = images.current();
                let is_settled = image.partition(id).is_none_or(|place| {
                    let is_led = place.leader.is_some_and(|leader| image.is_alive(leader));
                    is_led || unclean::has_lost_majority(&image, place)
                });
                if is_settled || images.changed().await.is_none() {
                    return;
                }
            }
        };
        // If it does not come about, the majority is none: what lives does not all serve.
        let _ = tokio::time::timeout(MAJORITY_ELECTS, settled).await;
    }

    /// Hands the leadership of a partition to a replica, wherever it is led now.
    pub async fn transfer(&self, id: TopicPartition, to: NodeId) -> io::Result<()> {
        if let Some(partition) = self.registry.get(id)
            && partition.leader_epoch().is_some()
        {
            let handed = partition.transfer_to(to).await;
            return handed.map_err(|error| io::Error::other(format!("{error:?}")));
        }
        let image = self.images.current();
        let leader = image.partition(id).and_then(|place| place.leader);
        let leader = leader.filter(|leader| *leader != self.node());
        let leader = leader.ok_or_else(|| io::Error::other("the partition has no leader"))?;
        let mut body = BytesMut::new();
        body.put_slice(&id.topic_id.0);
        body.put_i32(id.partition);
        body.put_i32(to.0);
        let body = vec![body.freeze()];
        let peers = self.registry.groups().peers();
        let call = peers.call(leader, Lane::Control, Kind::HandOver, body, HAND_OVER_TIMEOUT);
        call.await.map(drop).map_err(io::Error::other)
    }

    /// Another node asks this one to hand a leadership over.
    pub async fn receive(&self, mut body: Bytes) -> Result<Body, String> {
        if body.len() != 24 {
            return Err("damaged message".to_owned());
        }
        let mut topic_id = [0; 16];
        body.copy_to_slice(&mut topic_id);
        let id = TopicPartition { topic_id: TopicId(topic_id), partition: body.get_i32() };
        let to = NodeId(body.get_i32());
        let partition = self.registry.get(id).filter(|p| p.leader_epoch().is_some());
        let partition = partition.ok_or("the partition is not led here")?;
        let handed = partition.transfer_to(to).await;
        handed.map(|()| Vec::new()).map_err(|error| format!("{error:?}"))
    }
}

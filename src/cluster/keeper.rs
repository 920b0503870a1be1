//! What the metadata leader sees to, whichever node that is: that unreachable nodes are fenced, and
//! that the right nodes are in the metadata group. Every node of a cluster runs it; those that do
//! not lead only watch whether they do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::ids::NodeId;
use crate::base::task::{self, Fault, Stopping};
use crate::cluster::fencing::{Fencing, View};
use crate::cluster::membership::{self, Group, Step};
use crate::controller::service::{Controller, Decision};
use crate::metadata::publisher::Images;
use crate::metadata::records::Record;
use crate::peer::Peers;

/// How soon a change is seen that nothing tells of.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same while something is under way.
const SHORT_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long one change may take before it is tried again.
const CHANGE_TIME: Duration = Duration::from_secs(10);
/// A follower that lacks no more entries may vote.
const LAG_ENTRIES_COUNT_MAX: u64 = 100;

/// The tasks of one node.
#[derive(Debug, Clone)]
pub struct Keeper {
    pub node: NodeId,
    pub controller: Arc<Controller>,
    pub peers: Peers,
    pub images: Images,
}

impl Keeper {
    /// Runs until the broker stops.
    pub fn start(&self, stopping: &Stopping) -> Vec<task::Handle> {
        let (fencer, members) = (self.clone(), self.clone());
        let (mut fencer_stop, mut members_stop) = (stopping.clone(), stopping.clone());
        vec![
            task::spawn("fencing", Fault::Process, async move {
                tokio::select! {
                    () = fencer_stop.wait() => {}
                    () = fencer.keep_fenced() => {}
                }
            }),
            task::spawn("metadata members", Fault::Process, async move {
                tokio::select! {
                    () = members_stop.wait() => {}
                    () = members.keep_members() => {}
                }
            }),
        ]
    }

    async fn keep_fenced(&self) {
        let (mut images, mut nodes) = (self.images.clone(), self.peers.liveness().subscribe());
        let mut lead: Option<(Fencing, Instant)> = None;
        loop {
            let wait = if self.controller.is_active() {
                let (fencing, since) =
                    lead.get_or_insert_with(|| (Fencing::default(), Instant::now()));
                self.fence(fencing, *since).await
            } else {
                lead = None;
                self.look_interval()
            };
            tokio::select! {
                // It ends with the group, and an end must not be seen again and again.
                Some(_) = images.changed() => {}
                Ok(()) = nodes.changed() => {}
                () = self.controller.group().changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// A leader that does not serve yet soon will.
    fn look_interval(&self) -> Duration {
        let leads = self.controller.leader() == Some(self.node);
        if leads { SHORT_LOOK_INTERVAL } else { LOOK_INTERVAL }
    }

    /// How long it may take until there is something to do again.
    async fn fence(&self, fencing: &mut Fencing, since: Instant) -> Duration {
        let liveness = self.peers.liveness();
        let alive = |node| liveness.incarnation(node).filter(|_| liveness.is_alive(node));
        let heard = |node| liveness.heard_of(node);
        let view = View { own: self.node, alive: &alive, heard: &heard, now: since.elapsed() };
        let image = self.images.current();
        fencing.observe(&image, &view);
        if !fencing.records(&image, &view).is_empty() {
            let fencing = &*fencing;
            let mut written = Vec::new();
            let deciding = self.controller.run(|image| {
                written = fencing.records(image, &view);
                Decision { records: written.clone(), answer: () }
            });
            match tokio::time::timeout(CHANGE_TIME, deciding).await {
                Ok(Ok(())) => written.iter().for_each(tell),
                _ => return SHORT_LOOK_INTERVAL,
            }
        }
        let next = fencing.next_look(&image, &view);
        next.map_or(LOOK_INTERVAL, |next| next.saturating_sub(view.now).min(LOOK_INTERVAL))
    }

    async fn keep_members(&self) {
        let (mut images, mut nodes) = (self.images.clone(), self.peers.liveness().subscribe());
        loop {
            let wait = if self.controller.is_active() {
                let image = self.images.current();
                match membership::next_step(&image, &self.group(), self.node) {
                    Step::Nothing => LOOK_INTERVAL,
                    Step::Wait => SHORT_LOOK_INTERVAL,
                    step => {
                        self.take(step).await;
                        // The next step may be due at once; a failed one is not tried in a hurry.
                        SHORT_LOOK_INTERVAL
                    }
                }
            } else {
                self.look_interval()
            };
            tokio::select! {
                // It ends with the group, and an end must not be seen again and again.
                Some(_) = images.changed() => {}
                Ok(()) = nodes.changed() => {}
                () = self.controller.group().changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn group(&self) -> Group {
        let group = self.controller.group();
        let (status, last) = (group.status(), group.log().last);
        let last = last.map_or(0, |last| last.index);
        let liveness = self.peers.liveness();
        let near = group.progress().into_iter().filter(|one| {
            let has = one.matched.map_or(0, |matched| matched.index);
            liveness.is_alive(one.node) && has + LAG_ENTRIES_COUNT_MAX >= last
        });
        Group {
            voters: status.voters,
            learners: status.learners,
            caught_up: near.map(|one| one.node).chain([self.node]).collect(),
        }
    }

    async fn take(&self, step: Step) {
        let text = format!("{step:?}");
        match tokio::time::timeout(CHANGE_TIME, self.try_to_take(step)).await {
            Ok(Ok(())) => tracing::info!(step = text, "changed the metadata group"),
            Ok(Err(error)) => tracing::warn!(step = text, %error, "the metadata group stays"),
            Err(_) => tracing::warn!(step = text, "a change of the metadata group takes long"),
        }
    }

    async fn try_to_take(&self, step: Step) -> io::Result<()> {
        let group = self.controller.group();
        match step {
            Step::Nothing | Step::Wait => Ok(()),
            Step::Want(_) => {
                let now = self.group();
                let decide = |image: &_| {
                    // The image may have changed since the step was chosen.
                    let wanted = match membership::next_step(image, &now, self.node) {
                        Step::Want(nodes) => Some(Record::Voters { nodes }),
                        _ => None,
                    };
                    Decision { records: wanted.into_iter().collect(), answer: () }
                };
                let decided = self.controller.run(decide).await;
                decided.map_err(|error| io::Error::other(format!("{error:?}")))
            }
            Step::Add(node) => group.add_learner(node).await,
            Step::Vote(voters) => group.change_voters(voters).await,
            Step::Remove(nodes) => group.remove_learners(nodes).await,
        }
    }
}

fn tell(record: &Record) {
    if let Record::BrokerState { node, fenced, .. } = record {
        if *fenced {
            tracing::warn!(node = node.0, "a node cannot be reached");
        } else {
            tracing::info!(node = node.0, "a node is reached again");
        }
    }
}

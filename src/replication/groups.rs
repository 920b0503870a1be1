//! All groups that this node is a member of: messages find their group here, and one task sees to
//! it that each has a leader. Groups have no clocks of their own.
//!
//! A group without a leader is campaigned for by its voters in turn: the first one in the order of
//! preference whose node is alive at once, the next ones later. Before it takes a new term the
//! candidate asks the others whether they would vote for it, for many groups at one time, so a
//! node that is cut off disturbs nobody.

mod campaign;
mod care;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::base::ids::{NodeId, TopicPartition};
use crate::base::task::{self, Fault, Stopping};
use crate::metrics::elections;
use crate::peer::{Body, Kind, Peers};
use crate::replication::groups::care::Care;
use crate::replication::member::Group;
use crate::replication::throttle::Throttles;
use crate::replication::wire;

pub use crate::replication::member::{Progress, Status};

/// How long a vote waits for a group that is being opened.
const APPEARS: Duration = Duration::from_secs(1);

const NOT_HERE: &str = "the group is not here";
const OTHER_LINEAGE: &str = "the group has gone on without a majority meanwhile, or has not";

/// The groups of this node.
#[derive(Clone)]
pub struct Groups {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    peers: Peers,
    groups: RwLock<BTreeMap<TopicPartition, Entry>>,
    /// Groups whose leader or members have changed since somebody looked.
    changed: Mutex<BTreeSet<TopicPartition>>,
    /// The same, for the elections.
    to_look_at: Mutex<BTreeSet<TopicPartition>>,
    /// Wakes who reports changes.
    changed_report: Notify,
    /// Wakes the elections.
    wake: Notify,
    /// Counts the groups that were added; who waits for one watches it.
    added: watch::Sender<u64>,
    throttles: Arc<Throttles>,
    /// This node stops: it campaigns for nothing any more.
    retired: AtomicBool,
}

struct Entry {
    group: Arc<dyn Group>,
    /// Counts its changes.
    changes: Arc<watch::Sender<u64>>,
    watcher: task::Handle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

impl Groups {
    pub fn new(node: NodeId, peers: Peers) -> Self {
        let shared = Shared {
            node,
            peers,
            groups: RwLock::default(),
            changed: Mutex::default(),
            to_look_at: Mutex::default(),
            changed_report: Notify::new(),
            wake: Notify::new(),
            added: watch::Sender::new(0),
            throttles: Arc::default(),
            retired: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    pub fn peers(&self) -> &Peers {
        &self.shared.peers
    }

    /// How fast followers may catch up.
    pub fn throttles(&self) -> &Arc<Throttles> {
        &self.shared.throttles
    }

    /// From now on messages reach the group and it is campaigned for.
    pub(crate) fn add(&self, group: Arc<dyn Group>) {
        let (id, mut changes) = (group.id(), group.changes());
        let changes_here = Arc::new(watch::Sender::new(0));
        let changed = Arc::clone(&changes_here);
        let shared = Arc::downgrade(&self.shared);
        let watcher = task::spawn("group watcher", Fault::Process, async move {
            let mut led_in = None;
            while changes.next().await.is_some() {
                let Some(shared) = shared.upgrade() else { return };
                if let Some(group) = shared.get(id) {
                    let status = group.status();
                    let leads_in = status.leads.then_some(status.term);
                    if leads_in.is_some() && leads_in != led_in {
                        elections::won();
                    }
                    led_in = leads_in;
                }
                changed.send_modify(|count| *count += 1);
                shared.note_change(id);
            }
            // It has stopped.
            if let Some(shared) = shared.upgrade() {
                shared.note_change(id);
            }
        });
        let entry = Entry { group, changes: changes_here, watcher };
        self.shared.groups.write().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
        self.shared.added.send_modify(|count| *count += 1);
        self.shared.note_change(id);
    }

    pub(crate) fn remove(&self, id: TopicPartition) {
        let removed =
            self.shared.groups.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        drop(removed);
        self.shared.look_at(id);
    }

    /// Groups whose leader or members have changed since the last call. Cancel safe.
    pub async fn changed(&self) -> BTreeSet<TopicPartition> {
        loop {
            {
                let mut changed =
                    self.shared.changed.lock().unwrap_or_else(PoisonError::into_inner);
                if !changed.is_empty() {
                    return std::mem::take(&mut *changed);
                }
            }
            self.shared.changed_report.notified().await;
        }
    }

    /// Changes whenever the leader or the members of the group do, and ends with it.
    pub fn watch(&self, id: TopicPartition) -> Option<watch::Receiver<u64>> {
        let groups = self.shared.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(&id).map(|entry| entry.changes.subscribe())
    }

    /// From now on this node campaigns for nothing: it is about to stop. The others are told, so
    /// that those that stop as well do not hand over to it.
    pub fn retire(&self) {
        self.shared.retired.store(true, Ordering::Release);
        let status = self.shared.all().into_iter().map(|group| group.status());
        let members: BTreeSet<NodeId> =
            status.flat_map(|status| status.voters.into_iter().chain(status.learners)).collect();
        for node in members.into_iter().filter(|node| *node != self.node()) {
            self.peers().tell(node, Kind::Leaving, Bytes::new());
        }
    }

    /// Has the elections look at a group: who may found it has changed.
    pub fn look_at(&self, id: TopicPartition) {
        self.shared.look_at(id);
    }

    /// Reports a group as changed once more.
    pub fn touch(&self, id: TopicPartition) {
        self.shared.note_change(id);
    }

    /// Answers a message of another member.
    pub fn receive(
        &self,
        from: NodeId,
        kind: Kind,
        mut body: Bytes,
    ) -> BoxFuture<'static, Result<Body, String>> {
        let refuse = |why: &str| std::future::ready(Err(why.to_owned())).boxed();
        match kind {
            Kind::Campaign => {
                return std::future::ready(campaign::answer(self, from, body)).boxed();
            }
            Kind::Leaving => {
                self.peers().liveness().leaves(from);
                return std::future::ready(Ok(Vec::new())).boxed();
            }
            Kind::Resign => {
                return match self.leader_resigned(from, body) {
                    Ok(()) => std::future::ready(Ok(Vec::new())).boxed(),
                    Err(_) => refuse("damaged message"),
                };
            }
            _ => {}
        }
        let Ok(to) = wire::get_group(&mut body) else { return refuse("damaged message") };
        match (self.shared.get(to.id), kind) {
            (Some(group), _) if group.address() != to => refuse(OTHER_LINEAGE),
            (Some(group), _) => group.receive(from, kind, body),
            // A new group is opened everywhere at about the same time.
            (None, Kind::Vote) => {
                let groups = self.clone();
                async move {
                    match groups.shared.appears(to.id).await {
                        Some(group) if group.address() != to => Err(OTHER_LINEAGE.to_owned()),
                        Some(group) => group.receive(from, kind, body).await,
                        None => Err(NOT_HERE.to_owned()),
                    }
                }
                .boxed()
            }
            (None, _) => refuse(NOT_HERE),
        }
    }

    fn leader_resigned(&self, from: NodeId, mut body: Bytes) -> std::io::Result<()> {
        while !body.is_empty() {
            let of = wire::get_group(&mut body)?;
            if let Some(group) = self.shared.get(of.id).filter(|group| group.address() == of) {
                group.leader_resigned(from);
                self.shared.note_change(of.id);
            }
        }
        Ok(())
    }

    /// Elects leaders until the broker stops.
    pub fn start(&self, mut stopping: Stopping) -> task::Handle {
        let groups = self.clone();
        task::spawn("elections", Fault::Process, async move {
            tokio::select! {
                () = stopping.wait() => {}
                () = Care::new(groups).run() => {}
            }
        })
    }
}

impl Shared {
    fn get(&self, id: TopicPartition) -> Option<Arc<dyn Group>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(&id).map(|entry| Arc::clone(&entry.group))
    }

    /// The group, if it is added soon.
    async fn appears(&self, id: TopicPartition) -> Option<Arc<dyn Group>> {
        let deadline = Instant::now() + APPEARS;
        let mut added = self.added.subscribe();
        loop {
            if let Some(group) = self.get(id) {
                return Some(group);
            }
            tokio::time::timeout_at(deadline, added.changed()).await.ok()?.ok()?;
        }
    }

    fn all(&self) -> Vec<Arc<dyn Group>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.values().map(|entry| Arc::clone(&entry.group)).collect()
    }

    fn note_change(&self, id: TopicPartition) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        self.changed_report.notify_one();
        self.look_at(id);
    }

    /// Has the elections look at a group.
    fn look_at(&self, id: TopicPartition) {
        self.to_look_at.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        self.wake.notify_one();
    }

    fn take_to_look_at(&self) -> BTreeSet<TopicPartition> {
        std::mem::take(&mut *self.to_look_at.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;

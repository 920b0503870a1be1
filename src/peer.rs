//! Talk between the nodes of a cluster: calls in frames of our own over one connection per lane and
//! direction, and the judgement who is alive.
//!
//! A call is queued when it is made, and calls of one lane arrive in that order; their answers come
//! in any order. Nothing is tried again: whether a call that failed took effect is not known.

mod frame;
mod handshake;
mod judge;
mod link;
mod liveness;
mod once;
mod ping;
mod serve;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::base::env::Env;
pub use crate::base::ids::Endpoint;
use crate::base::ids::{DirectoryId, NodeId};
use crate::base::net::Listener;
use crate::base::task::{self, Stopping};
use crate::peer::link::Link;

pub use crate::peer::frame::PAYLOAD_BYTES_MAX;
pub use crate::peer::liveness::Liveness;

/// How long what needs no answer may be under way.
const TELL_TIMEOUT: Duration = Duration::from_millis(500);

/// Pieces of a payload, written as they are.
pub type Body = Vec<Bytes>;

/// A connection of its own for each, so that a large body delays no vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Pings, votes, proposals.
    Control,
    /// Entries.
    Data,
}

impl Lane {
    fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
        }
    }
}

macro_rules! kinds {
    ($($(#[doc = $help:literal])+ $name:ident = $mark:literal,)+) => {
        /// What a call asks for. The numbers are part of the protocol between nodes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[doc = $help])+ $name = $mark,)+
        }

        impl Kind {
            /// The inverse of `as u8`.
            pub fn of(mark: u8) -> Option<Self> {
                match mark {
                    $($mark => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Answered here, never by a [`Service`].
    Ping = 1,
    /// Open to callers without an identity.
    ClusterInfo = 2,
    /// Open to callers without an identity.
    Join = 3,
    /// Records for the metadata log.
    ProposeMetadata = 4,
    /// Where do partitions begin and end that you lead, and how old is what is in them?
    Watermarks = 5,
    /// May I stand for election?
    Campaign = 6,
    /// How far is the metadata log?
    MetadataOffset = 7,
    /// I do not lead these groups any more.
    Resign = 8,
    /// Hand the leadership of these partitions over.
    HandOver = 9,
    /// How do the nodes stand that keep the metadata?
    Quorum = 14,
    /// I lead these partitions.
    ReportLeaders = 16,
    /// A vote of Raft.
    Vote = 10,
    /// Entries of Raft, or none.
    AppendEntries = 11,
    /// A snapshot of Raft.
    Snapshot = 12,
    /// Take over the leadership.
    TransferLeader = 13,
    /// I am about to stop: hand nothing over to me.
    Leaving = 15,
    /// Up to where do all replicas have a partition that you lead?
    HadByAll = 17,
    /// What do you have as this entry of a partition?
    Entry = 18,
    /// Have you room for records of these partitions?
    Room = 20,
}

impl Kind {
    /// Whether a node that belongs to no cluster yet may ask it.
    fn is_open(self) -> bool {
        matches!(self, Self::ClusterInfo | Self::Join)
    }
}

/// Why a call has no answer. Except for `Overloaded`, it may have taken effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The node is not known, cannot be connected, or the connection broke.
    Unreachable(String),
    TimedOut,
    /// The far handler's words.
    Refused(String),
    /// Too much waits here, or too much runs there. Nothing was done.
    Overloaded,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "not reachable: {why}"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Overloaded => f.write_str("too many calls at once"),
        }
    }
}

impl std::error::Error for CallError {}

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    pub node: NodeId,
    pub cluster_id: String,
    pub directory: DirectoryId,
    /// Another one for each start of the process.
    pub incarnation: u64,
}

/// Answers calls.
pub trait Service: Send + Sync {
    /// Calls of one connection come in the order in which they were made, and each future is polled
    /// once before the next call comes; after that they run at the same time. `from` is `None` for
    /// a caller without an identity.
    fn handle(
        &self,
        from: Option<NodeId>,
        kind: Kind,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Body, String>>;
}

/// The other nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Peers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    env: Env,
    me: OnceLock<Arc<Me>>,
    nodes: RwLock<Nodes>,
    liveness: Arc<Liveness>,
}

#[derive(Debug, Default)]
struct Nodes {
    stopped: bool,
    known: BTreeMap<NodeId, Arc<Node>>,
}

/// Another node, and the connections to it. They end when this is dropped.
#[derive(Debug)]
struct Node {
    endpoint: Endpoint,
    control: Link,
    data: Link,
}

impl Peers {
    pub fn new(env: Env, me: Me) -> Self {
        let peers = Self::without_identity(env);
        peers.set_identity(me);
        peers
    }

    /// For a node that belongs to no cluster yet: it may serve, and is served, only calls that are
    /// open to such nodes.
    pub fn without_identity(env: Env) -> Self {
        let (me, nodes) = (OnceLock::new(), RwLock::default());
        Self { inner: Arc::new(Inner { env, me, nodes, liveness: Arc::default() }) }
    }

    /// Once: later ones are not heeded.
    pub fn set_identity(&self, me: Me) {
        self.inner.liveness.set_own(me.node, me.incarnation);
        // The first identity is kept: a node does not change it while it runs.
        let _ = self.inner.me.set(Arc::new(me));
    }

    /// Serves until the broker stops, and then ends all connections in both directions.
    pub fn serve(
        &self,
        listener: Listener,
        service: Arc<dyn Service>,
        stopping: Stopping,
    ) -> task::Handle {
        serve::start(self.clone(), listener, service, stopping)
    }

    /// Who there is, this node among them or not. Connections to nodes that are gone or have moved
    /// end. Without an identity nothing is done.
    pub fn set_nodes(&self, nodes: BTreeMap<NodeId, Endpoint>) {
        let Some(me) = self.inner.me.get() else { return };
        let mut all = self.inner.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if all.stopped {
            return;
        }
        all.known.retain(|id, node| nodes.get(id) == Some(&node.endpoint));
        let others = nodes.into_iter().filter(|(id, _)| *id != me.node);
        let others: BTreeMap<NodeId, Endpoint> = others.collect();
        self.inner.liveness.set_nodes(&others.keys().copied().collect());
        for (id, endpoint) in others {
            all.known.entry(id).or_insert_with(|| {
                let node = Arc::new(self.inner.connect(me, id, endpoint));
                ping::start(id, &node, Arc::clone(&self.inner.liveness));
                node
            });
        }
    }

    /// Queued at once, in the order of the calls; the time includes connecting.
    pub fn call(
        &self,
        node: NodeId,
        lane: Lane,
        kind: Kind,
        body: Body,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send + use<> {
        let nodes = self.inner.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let waiting = match nodes.known.get(&node) {
            Some(known) => known.link(lane).call(kind, body, timeout),
            None => Err(CallError::Unreachable(format!("node {node} is not known"))),
        };
        async move { waiting?.answer().await }
    }

    /// Sends on the control lane what needs no answer; whoever is not reached finds out by itself.
    pub fn tell(&self, node: NodeId, kind: Kind, body: Bytes) {
        let told = self.call(node, Lane::Control, kind, vec![body], TELL_TIMEOUT);
        task::spawn("telling a peer", task::Fault::Task, async move {
            let _ = told.await;
        });
    }

    /// One call over a connection of its own, to an address: for nodes that have no identity yet.
    pub async fn call_address(
        env: &Env,
        address: (&str, u16),
        kind: Kind,
        body: Body,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let call = once::call(env, address, kind, body);
        tokio::time::timeout(timeout, call).await.unwrap_or(Err(CallError::TimedOut))
    }

    pub fn liveness(&self) -> &Liveness {
        &self.inner.liveness
    }

    /// Ends all connections to other nodes; calls fail from here on.
    fn stop(&self) {
        let mut all = self.inner.nodes.write().unwrap_or_else(PoisonError::into_inner);
        all.stopped = true;
        all.known.clear();
        self.inner.liveness.set_nodes(&BTreeSet::new());
    }
}

impl Inner {
    fn connect(&self, me: &Arc<Me>, id: NodeId, endpoint: Endpoint) -> Node {
        let link = |lane| {
            let far = link::Far { node: id, lane, endpoint: endpoint.clone() };
            Link::start(self.env.clone(), Arc::clone(me), far, Arc::clone(&self.liveness))
        };
        let (control, data) = (link(Lane::Control), link(Lane::Data));
        Node { endpoint, control, data }
    }
}

impl Node {
    fn link(&self, lane: Lane) -> &Link {
        match lane {
            Lane::Control => &self.control,
            Lane::Data => &self.data,
        }
    }
}

#[cfg(test)]
mod tests;

//! Who this node is: known from an earlier start, or found out with the other nodes.

use std::io;
use std::sync::Arc;

use crate::base::env::Env;
use crate::base::ids::{DirectoryId, NodeId};
use crate::base::net::Listener;
use crate::base::task::{self, Stopper};
use crate::cluster::card::{Card, NO_NODE};
use crate::cluster::entry::{Entry, Newcomer};
use crate::cluster::registration;
use crate::cluster::service::Handlers;
use crate::config::{Config, Listener as ListenerConfig};
use crate::log::dir::{Beginning, Identity, LogDir};
use crate::metadata::records::{BrokerRecord, Endpoint};
use crate::peer::{Me, Peers};

/// The node and what it hears of others.
pub(super) struct Node {
    pub identity: Identity,
    /// What others are told of this node.
    pub card: Card,
    pub peers: Peers,
    pub handlers: Arc<Handlers>,
    /// Where others are, if they told when this node joined.
    pub told: Vec<(NodeId, Endpoint)>,
    /// Nothing if no other node can reach this one.
    pub listening: Option<Listening>,
}

/// The listener for other nodes; it is the last to stop.
#[derive(Debug)]
pub(super) struct Listening {
    stopper: Stopper,
    task: task::Handle,
}

impl Listening {
    /// Says goodbye to the other nodes.
    pub(super) async fn stop(self) -> io::Result<()> {
        self.stopper.stop();
        self.task.await.map_err(io::Error::other)
    }
}

/// The listeners that are bound.
pub(super) struct Bound {
    pub clients: Vec<(ListenerConfig, Listener)>,
    pub peer: Option<(ListenerConfig, Listener)>,
}

/// Listens for other nodes, and finds out with them who this one is if that is not known.
pub(super) async fn enter(
    env: &Env,
    config: &Config,
    dirs: &[Arc<LogDir>],
    bound: &mut Bound,
) -> io::Result<Node> {
    let known = known_identity(config, dirs)?;
    let broker = broker(env, config, own_directory(env, dirs)?, bound)?;
    let peers = Peers::without_identity(env.clone());
    let handlers = Arc::<Handlers>::default();
    let listening = bound.peer.take().map(|(_, listener)| {
        let stopper = Stopper::default();
        let task = peers.serve(listener, Arc::clone(&handlers) as _, stopper.stopping());
        Listening { stopper, task }
    });
    let (identity, told) = match known {
        Some(identity) => (identity, Vec::new()),
        None => become_somebody(env, config, broker.clone(), &handlers).await?,
    };
    for dir in dirs {
        if dir.identity()?.is_none() {
            dir.set_identity(&identity)?;
        }
    }
    let cluster_id = identity.cluster_id.clone();
    let broker = BrokerRecord { node: identity.node_id, ..broker };
    let card = Card { cluster_id: Some(cluster_id.clone()), broker };
    registration::tell_who(&handlers, card.clone());
    peers.set_identity(Me {
        node: identity.node_id,
        cluster_id,
        directory: card.broker.directory,
        incarnation: card.broker.incarnation,
    });
    Ok(Node { identity, card, peers, handlers, told, listening })
}

/// The first log dir holds the metadata: it is what the node is known by.
fn own_directory(env: &Env, dirs: &[Arc<LogDir>]) -> io::Result<DirectoryId> {
    let directories = dirs.iter().map(|dir| dir.directory(DirectoryId::random(&env.rng)));
    let directories = directories.collect::<io::Result<Vec<DirectoryId>>>()?;
    directories.first().copied().ok_or_else(|| io::Error::other("there is no log dir"))
}

fn known_identity(config: &Config, dirs: &[Arc<LogDir>]) -> io::Result<Option<Identity>> {
    let mut identities = Vec::new();
    for dir in dirs {
        match dir.identity()? {
            // A start that was cut short may have written the first one only.
            None => {}
            Some(_) if identities.is_empty() && !is_first(dirs, dir) => {
                let text = format!(
                    "{} belongs to a node whose metadata was in another first log dir",
                    dir.path.display()
                );
                return Err(io::Error::other(text));
            }
            Some(identity) => identities.push(identity),
        }
    }
    let Some(identity) = identities.first().cloned() else { return Ok(None) };
    let is_own = |other: &Identity| {
        (&other.cluster_id, other.node_id) == (&identity.cluster_id, identity.node_id)
    };
    if !identities.iter().all(is_own) {
        return Err(io::Error::other("the log dirs belong to different brokers or clusters"));
    }
    if let Some(configured) = config.node_id.filter(|id| NodeId(*id) != identity.node_id) {
        let own = identity.node_id;
        let text = format!("node.id is {configured}, but the log dirs belong to node {own}");
        return Err(io::Error::other(text));
    }
    Ok(Some(identity))
}

fn is_first(dirs: &[Arc<LogDir>], dir: &Arc<LogDir>) -> bool {
    dirs.first().is_some_and(|first| Arc::ptr_eq(first, dir))
}

/// Founds or joins a cluster.
async fn become_somebody(
    env: &Env,
    config: &Config,
    broker: BrokerRecord,
    handlers: &Handlers,
) -> io::Result<(Identity, Vec<(NodeId, Endpoint)>)> {
    let newcomer = Newcomer::new(env, broker, config.quorum_addresses());
    newcomer.serve(handlers);
    Ok(match newcomer.enter().await? {
        Entry::Founded { cluster_id, node } => {
            (Identity { cluster_id, node_id: node, beginning: Beginning::Founded }, Vec::new())
        }
        Entry::Joined(admission) => {
            let (cluster_id, node_id) = (admission.cluster_id, admission.node);
            let nodes = admission.nodes.into_iter();
            let told = nodes.filter_map(|broker| Some((broker.node, broker.peer?))).collect();
            (Identity { cluster_id, node_id, beginning: Beginning::Joined }, told)
        }
    })
}

/// How this start of the node is registered.
fn broker(
    env: &Env,
    config: &Config,
    directory: DirectoryId,
    bound: &Bound,
) -> io::Result<BrokerRecord> {
    Ok(BrokerRecord {
        node: config.node_id.map_or(NO_NODE, NodeId),
        directory,
        incarnation: env.rng.next_u64(),
        is_controller: config.process_roles.controller,
        rack: config.broker_rack.clone(),
        endpoints: endpoints(config, &bound.clients)?,
        peer: peer_endpoint(config, bound)?,
    })
}

/// What clients are told: the advertised addresses, with the bound ports for port 0 and the
/// machine's name for an empty host.
fn endpoints(
    config: &Config,
    listeners: &[(ListenerConfig, Listener)],
) -> io::Result<Vec<Endpoint>> {
    let advertised = listeners.iter().map(|(listener, bound)| {
        let told = config.advertised_listeners.iter().find(|a| a.name == listener.name);
        endpoint(told.unwrap_or(listener), bound)
    });
    advertised.collect()
}

fn peer_endpoint(config: &Config, bound: &Bound) -> io::Result<Option<Endpoint>> {
    let advertised = config.advertised_peer_listener().zip(bound.peer.as_ref());
    advertised.map(|(told, (_, bound))| endpoint(told, bound)).transpose()
}

fn endpoint(told: &ListenerConfig, bound: &Listener) -> io::Result<Endpoint> {
    let port = if told.port == 0 { bound.local_addr()?.port() } else { told.port };
    let is_every = told.host.is_empty() || told.host == "0.0.0.0" || told.host == "::";
    let host = if is_every { host_name() } else { told.host.clone() };
    Ok(Endpoint { listener: told.name.clone(), host, port })
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

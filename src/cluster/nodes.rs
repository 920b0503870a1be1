//! Where the nodes of the cluster are: mostly by the metadata, and while this node's own copy of it
//! is missing or old, by what others told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::ids::{Endpoint, NodeId};
use crate::base::task::{self, Fault, Stopping};
use crate::metadata::publisher::Images;
use crate::peer::Peers;

/// Keeps the peers up to date.
#[derive(Debug)]
pub struct Nodes {
    peers: Peers,
    /// Goes before the metadata; empty once this node is registered.
    told: Mutex<BTreeMap<NodeId, Endpoint>>,
    images: Images,
}

impl Nodes {
    pub fn new(peers: Peers, images: Images) -> Arc<Self> {
        Arc::new(Self { peers, told: Mutex::default(), images })
    }

    /// Others said, or showed, where these nodes are.
    pub fn tell(&self, nodes: impl IntoIterator<Item = (NodeId, Endpoint)>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).extend(nodes);
        self.update();
    }

    /// From now on the metadata alone counts.
    pub fn forget_told(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.update();
    }

    fn update(&self) {
        // The lock is kept to the end: an older view must not come after a newer one.
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let image = self.images.current();
        let registered = image.brokers.iter();
        let mut nodes: BTreeMap<NodeId, Endpoint> =
            registered.filter_map(|(node, broker)| Some((*node, broker.peer.clone()?))).collect();
        nodes.extend(told.iter().map(|(node, endpoint)| (*node, endpoint.clone())));
        self.peers.set_nodes(nodes);
    }

    /// Follows the metadata until the broker stops.
    pub fn follow(self: &Arc<Self>, mut stopping: Stopping) -> task::Handle {
        let (nodes, mut images) = (Arc::clone(self), self.images.clone());
        nodes.update();
        task::spawn("peers", Fault::Process, async move {
            loop {
                tokio::select! {
                    () = stopping.wait() => return,
                    image = images.changed() => match image {
                        Some(_) => nodes.update(),
                        None => return,
                    },
                }
            }
        })
    }
}

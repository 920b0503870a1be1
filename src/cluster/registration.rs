//! A node of a cluster at its start: it tells the cluster that it is there and where, and waits
//! until its own copy of the metadata has that. As a member it lets others in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join_all, ready};

use crate::base::env::Env;
use crate::base::ids::{Endpoint, NodeId};
use crate::cluster::admission;
use crate::cluster::card::{Admission, Card, Reply};
use crate::cluster::entry::{ask_card, ask_to_join};
use crate::cluster::nodes::Nodes;
use crate::cluster::service::Handlers;
use crate::config::PeerAddress;
use crate::controller::service::Controller;
use crate::log::dir::Beginning;
use crate::metadata::publisher::Images;
use crate::peer::Kind;
use crate::replication::partition_group::ProposeError;

/// How long the controller may be looked for before others are asked where it is.
const ATTEMPT_TIME: Duration = Duration::from_secs(2);
/// How long another node has to register this one.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the controller has to decide on a node that wants to come in.
const ADMIT_TIME: Duration = Duration::from_secs(4);

/// A node that has an identity.
#[derive(Debug)]
pub struct Registrant {
    pub env: Env,
    pub card: Card,
    pub beginning: Beginning,
    /// Who is to vote on the metadata of a cluster that this node founds.
    pub voters: Vec<NodeId>,
    /// Where other nodes may be, beside what the metadata says.
    pub addresses: Vec<PeerAddress>,
    pub controller: Arc<Controller>,
    pub images: Images,
    pub nodes: Arc<Nodes>,
}

impl Registrant {
    /// Resolves when the cluster knows this start of the node, and this node's metadata has it.
    pub async fn register(&self) -> io::Result<()> {
        let mut is_told = false;
        loop {
            let deciding = self.controller.run(|image| match self.beginning {
                Beginning::Founded => admission::found(image, &self.card, &self.voters),
                Beginning::Joined => admission::admit(image, &self.card),
            });
            match tokio::time::timeout(ATTEMPT_TIME, deciding).await {
                Ok(Ok(Ok(_))) => break,
                Ok(Ok(Err(reason))) => return Err(refused(&reason)),
                // It may have been done; doing it again makes no difference.
                Ok(Err(ProposeError::Unknown | ProposeError::NotLeader)) => {}
                Ok(Err(ProposeError::Stopped)) => {
                    return Err(io::Error::other("the metadata group stopped"));
                }
                Err(_) => {
                    if !is_told {
                        tracing::info!("{}", self.waiting());
                        is_told = true;
                    }
                    self.ask_others().await?;
                }
            }
        }
        self.nodes.forget_told();
        Ok(())
    }

    fn waiting(&self) -> String {
        let voters: Vec<String> =
            self.controller.group().status().voters.iter().map(ToString::to_string).collect();
        if voters.is_empty() {
            return "waiting for the cluster's metadata".to_owned();
        }
        format!("waiting for a majority of the nodes that keep the metadata: {}", voters.join(", "))
    }

    /// Learns from others where nodes are, and whether this one is still wanted.
    async fn ask_others(&self) -> io::Result<()> {
        let image = self.images.current();
        let registered = image.brokers.values().filter_map(|broker| broker.peer.as_ref());
        let known = registered.map(|at| PeerAddress { host: at.host.clone(), port: at.port });
        let mut addresses: Vec<PeerAddress> = self.addresses.iter().cloned().chain(known).collect();
        addresses.sort();
        addresses.dedup();
        let own = self.card.broker.peer.as_ref();
        addresses.retain(|one| own.is_none_or(|own| one.host != own.host || one.port != own.port));
        let asked = join_all(addresses.iter().map(|address| self.ask(address))).await;
        match asked.into_iter().flatten().next() {
            Some(reason) => Err(refused(&reason)),
            None => Ok(()),
        }
    }

    /// Why this node is refused, if it is.
    async fn ask(&self, address: &PeerAddress) -> Option<String> {
        let far = ask_card(&self.env, address, &self.card).await.ok()?;
        let is_other = far.broker.directory != self.card.broker.directory;
        if !is_other || far.cluster_id != self.card.cluster_id {
            return None;
        }
        let listener = far.broker.peer.map(|peer| peer.listener).unwrap_or_default();
        let PeerAddress { host, port } = address.clone();
        self.nodes.tell([(far.broker.node, Endpoint { listener, host, port })]);
        match ask_to_join(&self.env, address, &self.card, ASK_TIMEOUT).await {
            Ok(Reply::Denied(reason)) => Some(reason),
            // What came of it will be seen in the metadata.
            Ok(Reply::Admitted(_)) | Err(_) => None,
        }
    }
}

fn refused(reason: &str) -> io::Error {
    io::Error::other(format!("the cluster refused this node: {reason}"))
}

/// Answers nodes that ask who this is.
pub fn tell_who(handlers: &Handlers, card: Card) {
    handlers.set(&[Kind::ClusterInfo], move |_, _, _| ready(Ok(vec![card.encode()])).boxed());
}

/// Lets others in from now on.
pub fn admit_others(handlers: &Handlers, controller: Arc<Controller>, images: Images) {
    handlers.set(&[Kind::Join], move |_, _, body| {
        let (controller, images) = (Arc::clone(&controller), images.clone());
        async move {
            let card = Card::decode(&body).map_err(|error| error.to_string())?;
            let deciding = controller.run(|image| admission::admit(image, &card));
            let decided = tokio::time::timeout(ADMIT_TIME, deciding).await;
            let Ok(Ok(judgement)) = decided else {
                return Err("the cluster has no controller at the moment".to_owned());
            };
            let reply = match judgement {
                Err(reason) => Reply::Denied(reason),
                Ok(node) => Reply::Admitted(admission_of(&images, node)),
            };
            Ok(vec![reply.encode()])
        }
        .boxed()
    });
}

fn admission_of(images: &Images, node: NodeId) -> Admission {
    let image = images.current();
    let nodes = image.brokers.values().map(|broker| (**broker).clone()).collect();
    Admission { cluster_id: image.cluster_id.clone(), node, nodes }
}

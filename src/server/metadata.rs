//! The cluster's metadata on this node: its group is opened, the calls of other nodes find their
//! way, and the node is registered.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::base::env::Env;
use crate::base::ids::NodeId;
use crate::base::kv::{KeyValue, KvWriter};
use crate::base::task::{self, Stopping};
use crate::cluster::keeper::Keeper;
use crate::cluster::nodes::Nodes;
use crate::cluster::registration::{self, Registrant};
use crate::cluster::service::Handlers;
use crate::config::Config;
use crate::controller::service::Controller;
use crate::log::dir::Beginning;
use crate::metadata::publisher::{Images, Publisher};
use crate::peer::Kind;
use crate::replication::groups::Groups;
use crate::replication::metadata_group::{Entrance, MetadataGroup};
use crate::server::node::Node;

/// What the other parts need of it.
pub(super) struct Metadata {
    pub controller: Arc<Controller>,
    pub images: Images,
    pub groups: Groups,
    pub tasks: Vec<task::Handle>,
}

/// Resolves when the cluster knows that this node is there, and this node knows what the cluster
/// knew at that moment.
pub(super) async fn open(
    env: &Env,
    config: &Config,
    node: &Node,
    (kv, writer): (Arc<dyn KeyValue>, KvWriter),
    stopping: Stopping,
) -> io::Result<Metadata> {
    let publisher = Arc::new(Publisher::default());
    let images = publisher.images();
    let groups = Groups::new(node.identity.node_id, node.peers.clone());
    let entrance = match node.identity.beginning {
        Beginning::Founded => Entrance::Found,
        Beginning::Joined => Entrance::Join,
    };
    let group = MetadataGroup::open(entrance, &groups, kv, writer, publisher).await?;
    let controller = Controller::new(group, node.peers.clone(), images.clone());
    let nodes = Nodes::new(node.peers.clone(), images.clone());
    nodes.tell(node.told.iter().cloned());
    let mut tasks = vec![groups.start(stopping.clone()), nodes.follow(stopping.clone())];
    connect(&node.handlers, &groups, &controller);
    registration::admit_others(&node.handlers, Arc::clone(&controller), images.clone());
    if node.listening.is_some() {
        let keeper = Keeper {
            node: node.identity.node_id,
            controller: Arc::clone(&controller),
            peers: node.peers.clone(),
            images: images.clone(),
        };
        tasks.extend(keeper.start(&stopping));
    }
    let voters = config.controller_quorum_voters.iter();
    let registrant = Registrant {
        env: env.clone(),
        card: node.card.clone(),
        beginning: node.identity.beginning,
        voters: voters.map(|voter| NodeId(voter.node)).collect(),
        addresses: config.quorum_addresses(),
        controller: Arc::clone(&controller),
        images: images.clone(),
        nodes,
    };
    registrant.register().await?;
    Ok(Metadata { controller, images, groups, tasks })
}

/// Gives the calls of other nodes to the groups and to the controller.
fn connect(handlers: &Handlers, groups: &Groups, controller: &Arc<Controller>) {
    let groups = groups.clone();
    let raft = [
        Kind::Vote,
        Kind::AppendEntries,
        Kind::Snapshot,
        Kind::TransferLeader,
        Kind::Campaign,
        Kind::Resign,
        Kind::Leaving,
    ];
    handlers.set_for_members(&raft, move |from, kind, body| groups.receive(from, kind, body));
    let reported = Arc::clone(controller);
    handlers.set_for_members(&[Kind::ReportLeaders], move |from, _, body| {
        let controller = Arc::clone(&reported);
        async move { controller.receive_reports(from, &body).await }.boxed()
    });
    let controller = Arc::clone(controller);
    let kinds = [Kind::ProposeMetadata, Kind::MetadataOffset, Kind::Quorum];
    handlers.set_for_members(&kinds, move |_, kind, body| {
        let controller = Arc::clone(&controller);
        async move { controller.receive(kind, body).await }.boxed()
    });
}

//! Where the other nodes of a cluster are: Kafka's two lists, and what they mean together with the
//! node's own listeners.

use std::fmt;

use super::keys::Config;
use super::listener::{Listener, split_host_port};
use super::value::{FromValue, Valid, Value};

/// An entry of `controller.quorum.voters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    pub node: i32,
    pub address: PeerAddress,
}

/// Where a node is reached by other nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress {
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl PeerAddress {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_host_port(text)?;
        let is_address = !host.is_empty() && port != 0;
        is_address.then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Voter {
    fn parse(text: &str) -> Option<Self> {
        let (node, address) = text.split_once('@')?;
        let node = node.trim().parse().ok().filter(|node| *node >= 0)?;
        Some(Self { node, address: PeerAddress::parse(address)? })
    }
}

impl FromValue for Vec<Voter> {
    fn from_value(value: &Value) -> Option<Self> {
        let Value::List(items) = value else { return None };
        items.iter().map(|item| Voter::parse(item)).collect()
    }
}

pub(super) const VOTERS: Valid =
    Valid::Custom { says: "a list of id@host:port", check: check_voters };
pub(super) const SERVERS: Valid =
    Valid::Custom { says: "a list of host:port", check: check_servers };

fn check_voters(_: &str, value: &Value) -> Result<(), String> {
    let Value::List(items) = value else { return Ok(()) };
    let mut nodes = Vec::new();
    for item in items {
        let Some(voter) = Voter::parse(item) else {
            return Err(format!("'{item}' is not id@host:port"));
        };
        if nodes.contains(&voter.node) {
            return Err(format!("node {} is listed twice", voter.node));
        }
        nodes.push(voter.node);
    }
    Ok(())
}

fn check_servers(_: &str, value: &Value) -> Result<(), String> {
    let Value::List(items) = value else { return Ok(()) };
    match items.iter().find(|item| PeerAddress::parse(item).is_none()) {
        Some(item) => Err(format!("'{item}' is not host:port")),
        None => Ok(()),
    }
}

impl Config {
    /// Where this node listens for other nodes, if it can be part of a cluster.
    pub fn peer_listener(&self) -> Option<&Listener> {
        self.controller_listeners.first()
    }

    /// Where other nodes find this one: by its advertised listener if there is one.
    pub fn advertised_peer_listener(&self) -> Option<&Listener> {
        let own = self.peer_listener()?;
        let mut advertised = self.advertised_controller_listeners.iter();
        Some(advertised.find(|told| told.name == own.name).unwrap_or(own))
    }

    /// All addresses where nodes of the cluster may be, this node's own among them.
    pub fn quorum_addresses(&self) -> Vec<PeerAddress> {
        let voters = self.controller_quorum_voters.iter().map(|voter| voter.address.clone());
        let servers = self.controller_quorum_bootstrap_servers.iter();
        let mut addresses = Vec::new();
        for address in voters.chain(servers.filter_map(|text| PeerAddress::parse(text))) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}

/// Checks the lists against the listeners; a node that finds its own address among the voters has
/// the id that stands there.
pub(super) fn settle(config: &mut Config) -> Result<(), String> {
    let key = if config.controller_quorum_voters.is_empty() {
        "controller.quorum.bootstrap.servers"
    } else {
        "controller.quorum.voters"
    };
    let names_nodes = !config.quorum_addresses().is_empty();
    let Some(own) = config.advertised_peer_listener() else {
        if names_nodes {
            return Err(format!(
                "{key} names other nodes, but no listener is for them: add one to listeners and \
                 name it in controller.listener.names"
            ));
        }
        return alone(config);
    };
    let own = PeerAddress { host: own.host.clone(), port: own.port };
    let voters = &config.controller_quorum_voters;
    let listed = voters.iter().find(|voter| voter.address == own).map(|voter| voter.node);
    match (config.node_id, listed) {
        (None, Some(node)) => config.node_id = Some(node),
        (Some(id), Some(node)) if id != node => {
            return Err(format!(
                "node.id is {id}, but {key} has node {node} at this node's address {own}"
            ));
        }
        _ => {}
    }
    if names_nodes { Ok(()) } else { alone(config) }
}

/// What a node must be that knows no others: nobody else would decide for it.
fn alone(config: &Config) -> Result<(), String> {
    if config.process_roles.controller {
        return Ok(());
    }
    Err("process.roles has no controller, so controller.quorum.bootstrap.servers must name nodes \
         that are"
        .to_owned())
}

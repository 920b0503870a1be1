//! Where the nodes of a cluster live: side by side on the loopback interface, or on hosts of their
//! own (network namespaces), with plain folders or with disks whose power can be cut.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::rng::Rng;
use crate::tools::{is_root, script, variable};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Net {
    Loopback,
    Namespaces,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Folder,
    /// An ext4 file system of its own.
    Image,
}

impl Net {
    /// Why it can not be had here.
    pub(crate) fn obstacle(self) -> Option<String> {
        static FOUND: OnceLock<Option<String>> = OnceLock::new();
        let look = || {
            let prefix = format!("{}try", variable("TORTURE_PREFIX")?);
            let made = script("netns", &[&prefix, "up", "1"])
                .and_then(|_| script("netns", &[&prefix, "drop", "1", "1"]));
            script("netns", &[&prefix, "down"]).and(made)
        };
        match self {
            Self::Loopback => None,
            Self::Namespaces => FOUND.get_or_init(|| unavailable("namespaces", look)).clone(),
        }
    }
}

impl Disk {
    /// Why it can not be had here.
    pub(crate) fn obstacle(self) -> Option<String> {
        static FOUND: OnceLock<Option<String>> = OnceLock::new();
        let look = || {
            let prefix = variable("TORTURE_PREFIX")?;
            let folder = std::env::temp_dir().join(format!("{prefix}try"));
            let (image, folder) = (format!("{}.img", folder.display()), folder.display());
            let folder = folder.to_string();
            let made = script("powercut", &["make", &image, &folder, "16"])
                .and_then(|_| script("powercut", &["cut", &folder]));
            let dropped = script("powercut", &["drop", &image, &folder]);
            let _ = std::fs::remove_dir(&folder);
            let _ = std::fs::remove_file(&image);
            made.and(dropped)
        };
        match self {
            Self::Folder => None,
            Self::Image => FOUND.get_or_init(|| unavailable("loop devices", look)).clone(),
        }
    }
}

fn unavailable(what: &str, look: impl Fn() -> Result<String, String>) -> Option<String> {
    if !is_root() {
        return Some(format!("{what} need root"));
    }
    look().err().map(|error| format!("no {what} here: {error}"))
}

pub(crate) struct Rig {
    net: Net,
    disk: Disk,
    base: PathBuf,
    prefix: String,
    addresses: Vec<Address>,
    /// Cuts of the network that nobody can have noticed.
    unnoticed: Vec<String>,
}

/// Nodes count from 1.
pub(crate) type Node = usize;

#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
}

impl Address {
    pub(crate) fn client(&self) -> String {
        format!("{}:{}", self.host, self.client_port)
    }

    pub(crate) fn peer(&self) -> String {
        format!("{}:{}", self.host, self.peer_port)
    }
}

const MIB_PER_DISK: &str = "1024";

impl Rig {
    pub(crate) fn build(
        net: Net,
        disk: Disk,
        base: &Path,
        nodes: usize,
        rng: &mut Rng,
    ) -> Result<Self, String> {
        let prefix = variable("TORTURE_PREFIX")?;
        let addresses = match net {
            Net::Loopback => loopback(nodes, rng)?,
            Net::Namespaces => (1..=nodes).map(in_namespace).collect(),
        };
        let base = base.to_owned();
        let rig = Self { net, disk, base, prefix, addresses, unnoticed: Vec::new() };
        if net == Net::Namespaces {
            script("netns", &[&rig.prefix, "up", &nodes.to_string()])?;
        }
        for node in 1..=nodes {
            let folder = rig.folder(node);
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            if disk == Disk::Image {
                let (image, folder) = (rig.image(node), folder.display().to_string());
                script("powercut", &["make", &image, &folder, MIB_PER_DISK])?;
            }
        }
        Ok(rig)
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        (1..=self.addresses.len()).collect()
    }

    pub(crate) fn address(&self, node: Node) -> Result<&Address, String> {
        let address = node.checked_sub(1).and_then(|place| self.addresses.get(place));
        address.ok_or_else(|| format!("there is no node {node}"))
    }

    /// What clients are given.
    pub(crate) fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(Address::client).collect();
        addresses.join(",")
    }

    /// A node's files lie in here.
    pub(crate) fn folder(&self, node: Node) -> PathBuf {
        self.base.join(format!("node-{node}"))
    }

    fn image(&self, node: Node) -> String {
        self.base.join(format!("node-{node}.img")).display().to_string()
    }

    /// What to put before a command so that it runs on a node's host, or on that of the clients.
    pub(crate) fn on_host(&self, node: Option<Node>) -> Vec<String> {
        match self.net {
            Net::Loopback => Vec::new(),
            Net::Namespaces => {
                let host = node.map_or_else(|| "hub".to_owned(), |node| node.to_string());
                // Not by `ip netns exec`, which gives each process mounts of its own: an image
                // could not be mounted anew as long as one of them has it.
                let net = format!("--net=/var/run/netns/{}{host}", self.prefix);
                ["nsenter", &net].map(str::to_owned).to_vec()
            }
        }
    }

    /// `to` no longer hears `from`.
    pub(crate) fn deafen(&self, from: Node, to: Node) -> Result<(), String> {
        script("netns", &[&self.prefix, "drop", &from.to_string(), &to.to_string()]).map(drop)
    }

    /// `to` loses a part of what `from` sends.
    pub(crate) fn lose(&self, from: Node, to: Node, percent: u64) -> Result<(), String> {
        let (from, to, percent) = (from.to_string(), to.to_string(), percent.to_string());
        script("netns", &[&self.prefix, "drop", &from, &to, &percent]).map(drop)
    }

    pub(crate) fn unplug(&self, node: Node) -> Result<(), String> {
        script("netns", &[&self.prefix, "cable", &node.to_string(), "down"]).map(drop)
    }

    pub(crate) fn plug(&self, node: Node) -> Result<(), String> {
        script("netns", &[&self.prefix, "cable", &node.to_string(), "up"]).map(drop)
    }

    /// Everybody hears everybody.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        if self.net == Net::Loopback {
            return Ok(());
        }
        let said = script("netns", &[&self.prefix, "heal"])?;
        self.unnoticed.extend(said.lines().map(str::to_owned));
        self.nodes().into_iter().try_for_each(|node| self.plug(node))
    }

    pub(crate) fn unnoticed(&self) -> &[String] {
        &self.unnoticed
    }

    /// From now on the disk fails; what was not synced is gone.
    pub(crate) fn cut_power(&self, node: Node) -> Result<(), String> {
        script("powercut", &["cut", &self.folder(node).display().to_string()]).map(drop)
    }

    /// The disk after a start of the machine. The node is not running.
    pub(crate) fn restore_power(&self, node: Node) -> Result<(), String> {
        let folder = self.folder(node).display().to_string();
        script("powercut", &["again", &self.image(node), &folder]).map(drop)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.disk == Disk::Image {
            for node in self.nodes() {
                let folder = self.folder(node).display().to_string();
                let _ = script("powercut", &["drop", &self.image(node), &folder]);
            }
        }
        if self.net == Net::Namespaces {
            let _ = script("netns", &[&self.prefix, "down"]);
        }
    }
}

fn in_namespace(node: Node) -> Address {
    Address { host: format!("10.77.0.{node}"), client_port: 9092, peer_port: 9093 }
}

/// Ports below the ephemeral range: a client that reconnects could else be given the very port of
/// a node that is down.
fn loopback(nodes: usize, rng: &mut Rng) -> Result<Vec<Address>, String> {
    let mut taken = Vec::new();
    for _ in 0..1000 {
        let port = u16::try_from(rng.between(20_000..30_000)).map_err(|error| error.to_string())?;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            taken.push((port, listener));
        }
        if taken.len() == 2 * nodes {
            let pairs = taken.chunks_exact(2).filter_map(|pair| match pair {
                [(client_port, _), (peer_port, _)] => Some(Address {
                    host: "127.0.0.1".to_owned(),
                    client_port: *client_port,
                    peer_port: *peer_port,
                }),
                _ => None,
            });
            return Ok(pairs.collect());
        }
    }
    Err("no free ports".to_owned())
}

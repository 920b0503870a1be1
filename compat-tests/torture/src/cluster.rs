//! The nodes as processes: started, killed, stopped, frozen, and started again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::broker::Broker;
use crate::rig::{Node, Rig};
use crate::run::Settings;

/// A node that was told to stop may hand over its leaders first.
const STOP: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    pub(crate) rig: Rig,
    pub(crate) broker: Broker,
    running: BTreeMap<Node, Child>,
    frozen: BTreeSet<Node>,
    /// A node whose disk was lost comes back under another id.
    ids: BTreeMap<Node, usize>,
    planted: Option<String>,
    patience: u32,
    /// Nodes that ended although nobody ended them.
    fallen: Vec<String>,
}

impl Cluster {
    pub(crate) fn new(rig: Rig, settings: &Settings) -> Self {
        let Settings { broker, patience, .. } = *settings;
        let planted = settings.planted.as_ref().map(|(fault, _)| fault.clone());
        let ids = rig.nodes().into_iter().map(|node| (node, node)).collect();
        Self {
            rig,
            broker,
            running: BTreeMap::new(),
            frozen: BTreeSet::new(),
            ids,
            planted,
            patience,
            fallen: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, node: Node) -> Result<(), String> {
        if self.running.contains_key(&node) {
            return Ok(());
        }
        let mut command = self.broker.command(&self.rig, node, |node| self.id_of(node))?;
        if let Some(fault) = &self.planted {
            command.env("OTTLA_PLANTED_FAULT", fault);
        }
        let log = self.rig.folder(node).with_extension("log");
        let log = File::options().create(true).append(true).open(log);
        let log = log.map_err(|error| error.to_string())?;
        let stdout = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(log);
        let child = command.spawn().map_err(|error| format!("node {node}: {error}"))?;
        self.running.insert(node, child);
        Ok(())
    }

    pub(crate) fn start_all(&mut self) -> Result<(), String> {
        self.rig.nodes().into_iter().try_for_each(|node| self.start(node))
    }

    pub(crate) fn kill(&mut self, node: Node) {
        self.note_fallen(node);
        self.power_off(node);
    }

    /// The same for a node that may have ended because its disk failed.
    pub(crate) fn power_off(&mut self, node: Node) {
        self.frozen.remove(&node);
        if let Some(mut child) = self.running.remove(&node) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// All at the same moment, as far as that goes.
    pub(crate) fn kill_all(&mut self) {
        self.rig.nodes().into_iter().for_each(|node| self.note_fallen(node));
        for child in self.running.values_mut() {
            let _ = child.kill();
        }
        self.rig.nodes().into_iter().for_each(|node| self.power_off(node));
    }

    /// As an operator stops it.
    pub(crate) fn stop(&mut self, node: Node) -> Result<(), String> {
        let Some(child) = self.running.remove(&node) else { return Ok(()) };
        signal(&child, Signal::TERM)?;
        ended(node, child, STOP * self.patience)
    }

    /// All at the same moment.
    pub(crate) fn stop_all(&mut self) -> Result<(), String> {
        let running = std::mem::take(&mut self.running);
        running.values().try_for_each(|child| signal(child, Signal::TERM))?;
        let ends: Vec<_> = running
            .into_iter()
            .map(|(node, child)| ended(node, child, STOP * self.patience))
            .collect();
        // Apache Kafka does not end well without a majority of its controllers.
        if self.broker == Broker::Kafka { Ok(()) } else { ends.into_iter().collect() }
    }

    pub(crate) fn freeze(&mut self, node: Node) -> Result<(), String> {
        self.frozen.insert(node);
        self.running.get(&node).map_or(Ok(()), |child| signal(child, Signal::STOP))
    }

    pub(crate) fn thaw(&mut self, node: Node) -> Result<(), String> {
        self.frozen.remove(&node);
        self.running.get(&node).map_or(Ok(()), |child| signal(child, Signal::CONT))
    }

    pub(crate) fn pid(&self, node: Node) -> Option<u32> {
        self.running.get(&node).map(Child::id)
    }

    /// The disk is empty, and the node has another name.
    pub(crate) fn replace(&mut self, node: Node, id: usize) -> Result<(), String> {
        self.kill(node);
        let data = self.rig.folder(node).join("data");
        std::fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        self.ids.insert(node, id);
        self.start(node)
    }

    /// The node with this id.
    pub(crate) fn node_of(&self, id: usize) -> Result<Node, String> {
        let found = self.ids.iter().find(|(_, known)| **known == id);
        found.map(|(node, _)| *node).ok_or_else(|| format!("no node has the id {id}"))
    }

    pub(crate) fn id_of(&self, node: Node) -> usize {
        self.ids.get(&node).copied().unwrap_or(node)
    }

    /// Whatever was done to them, all nodes run and hear each other.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        for node in self.frozen.clone() {
            self.thaw(node)?;
        }
        self.rig.heal()?;
        self.start_all()
    }

    /// Nodes that ended although nobody ended them.
    pub(crate) fn fallen(&mut self) -> Vec<String> {
        self.rig.nodes().into_iter().for_each(|node| self.note_fallen(node));
        std::mem::take(&mut self.fallen)
    }

    fn note_fallen(&mut self, node: Node) {
        let ended = self.running.get_mut(&node).and_then(|child| child.try_wait().ok()?);
        if let Some(status) = ended {
            self.running.remove(&node);
            self.fallen.push(format!("node {node} ended by itself: {status}"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Waits for the end of a node that was told to end.
fn ended(node: Node, mut child: Child, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            // Java says so when it ends on SIGTERM.
            Ok(Some(status)) if status.success() || status.code() == Some(143) => return Ok(()),
            Ok(Some(status)) => return Err(format!("node {node} ended with {status}")),
            _ if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("node {node} did not end on SIGTERM"));
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn signal(child: &Child, signal: Signal) -> Result<(), String> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("no process")?;
    kill_process(pid, signal).map_err(|error| error.to_string())
}

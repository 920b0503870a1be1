//! What goes wrong, and when.

use std::io;
use std::time::Duration;

use crate::base::net::sim::Path;
use crate::sim::client::Place;
use crate::sim::cluster::node::Node;
use crate::sim::cluster::router::Wanted;
use crate::sim::cluster::{STEP, TOPIC, World, client_address, keys, millis};
use crate::sim::disk::Faults as DiskFaults;

/// Clients that may be cut off; there are never more.
const CLIENTS_COUNT_MAX: u8 = 20;
/// A slow path's latency, at most.
const SLOW_MS_MAX: u64 = 300;
/// A slow disk's time for a write, at most.
const SLOW_DISK_MS_MAX: u64 = 400;

/// The address of whoever gives orders.
const ADMIN: u8 = 19;
const REPLICAS_COUNT: usize = 3;
/// Whoever deletes records, among the processes of the history.
const DELETER: u32 = 90;

/// Who is hit.
#[derive(Debug, Clone, Copy)]
enum Whom {
    One,
    Some,
    All,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The processes die at once.
    Kill(Whom),
    /// The machines lose their power, and their disks what was not synced.
    PowerFails(Whom),
    /// The power fails in the middle of writing.
    PowerFailsWhileWriting(Whom),
    /// A sync fails, and the machine goes on until somebody looks after it.
    SyncFails(Whom),
    Stop(Whom),
    /// Nothing reaches a node and nothing leaves it, but for the clients, who may be cut off too.
    Isolate,
    /// Others do not hear a node.
    Mute,
    /// A node does not hear others.
    Deafen,
    /// Any paths are cut.
    CutSome,
    /// The network falls into two halves.
    Split,
    SlowDisks(Whom),
    SlowPaths,
    LosePieces,
    BreakConnections,
    /// A partition moves to other nodes, or its replicas change places.
    Move,
    /// One more node joins, once.
    Join,
    /// The preferred replicas are to lead.
    Elect,
    /// Records are deleted, perhaps all there are: who was away gets a snapshot in their place.
    Delete,
}

const FAULTS: [Fault; 31] = [
    Fault::Kill(Whom::One),
    Fault::Kill(Whom::Some),
    Fault::Kill(Whom::All),
    Fault::PowerFails(Whom::One),
    Fault::PowerFails(Whom::Some),
    Fault::PowerFails(Whom::All),
    Fault::PowerFails(Whom::All),
    Fault::PowerFailsWhileWriting(Whom::One),
    Fault::PowerFailsWhileWriting(Whom::All),
    Fault::SyncFails(Whom::One),
    Fault::SyncFails(Whom::Some),
    Fault::Stop(Whom::One),
    Fault::Stop(Whom::All),
    Fault::Isolate,
    Fault::Isolate,
    Fault::Mute,
    Fault::Deafen,
    Fault::CutSome,
    Fault::Split,
    Fault::SlowDisks(Whom::Some),
    Fault::SlowPaths,
    Fault::LosePieces,
    Fault::BreakConnections,
    Fault::Move,
    Fault::Move,
    Fault::Join,
    Fault::Elect,
    Fault::Elect,
    Fault::Delete,
    Fault::Delete,
    Fault::Delete,
];

impl World {
    /// One phase: something goes wrong, perhaps two things, and may end before the next phase.
    pub(super) fn suffer(&mut self) -> Result<(), String> {
        let count = 1 + self.rng.below(2);
        for _ in 0..count {
            let fault = self.choose();
            tracing::info!(at = self.now.as_millis(), ?fault, "sim: fault");
            self.orders.diary.fault(&format!("{fault:?}"));
            self.begin(fault)?;
            let time = 50 + self.rng.below(2_500);
            self.pass(millis(time))?;
        }
        if self.rng.below(3) != 0 {
            self.heal();
            let time = self.rng.below(3_000);
            self.pass(millis(time))?;
        }
        Ok(())
    }

    fn choose(&self) -> Fault {
        let number = usize::try_from(self.rng.below(FAULTS.len() as u64)).unwrap_or(0);
        FAULTS.get(number).copied().unwrap_or(Fault::BreakConnections)
    }

    fn any_node(&self) -> i32 {
        let count = u64::try_from(self.nodes.len()).unwrap_or(1);
        1 + i32::try_from(self.rng.below(count)).unwrap_or(0)
    }

    fn victims(&self, whom: Whom) -> Vec<i32> {
        let all = self.nodes.iter().map(|node| node.id);
        match whom {
            Whom::One => vec![self.any_node()],
            Whom::Some => all.filter(|_| self.rng.below(2) == 0).collect(),
            Whom::All => all.collect(),
        }
    }

    fn begin(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Kill(whom) => self.end_processes(whom, Node::kill),
            Fault::PowerFails(whom) => self.end_processes(whom, Node::power_off),
            Fault::PowerFailsWhileWriting(whom) => {
                let victims = self.victims(whom);
                for node in self.nodes.iter().filter(|node| victims.contains(&node.id)) {
                    node.disk.crash_in(self.rng.below(60));
                }
            }
            Fault::SyncFails(whom) => {
                let victims = self.victims(whom);
                for node in self.nodes.iter().filter(|node| victims.contains(&node.id)) {
                    let failing_sync = Some(self.rng.below(60));
                    node.disk.set_faults(DiskFaults { failing_sync, ..DiskFaults::default() });
                    // A disk that has failed is not believed before the machine was off.
                    let later = self.now + millis(self.rng.below(4_000));
                    self.power_cuts.push((node.id, later));
                }
            }
            Fault::Stop(whom) => {
                let victims = self.victims(whom);
                self.nodes
                    .iter_mut()
                    .filter(|node| victims.contains(&node.id))
                    .for_each(Node::stop);
            }
            Fault::SlowDisks(whom) => {
                let victims = self.victims(whom);
                for node in self.nodes.iter().filter(|node| victims.contains(&node.id)) {
                    node.pace.set(millis(self.rng.below(SLOW_DISK_MS_MAX)));
                }
            }
            Fault::BreakConnections => {
                for (one, other) in self.pairs() {
                    let addresses = (node_address(one), node_address(other));
                    self.net.break_connections(addresses.0, addresses.1);
                }
            }
            Fault::Move => self.move_partition(),
            Fault::Join => return self.join(),
            Fault::Delete => self.delete_records(),
            Fault::Elect => {
                let mut router = self.router(ADMIN);
                self.order(async move {
                    let client = router.connection(Wanted::Anybody).await?;
                    client.elect_preferred_leaders().await
                });
            }
            _ => self.disturb_paths(fault),
        }
        Ok(())
    }

    /// The answer is not waited for: what becomes of it is seen in the end.
    fn order(&mut self, future: impl Future<Output = io::Result<i16>> + Send + 'static) {
        self.spawn(async move {
            let answer = future.await;
            tracing::info!(?answer, "sim: an order is answered");
        });
    }

    fn move_partition(&mut self) {
        let place = match self.rng.below(3) {
            2 => keys::place(),
            partition => {
                let partition = i32::try_from(partition).unwrap_or(0);
                Place { topic: TOPIC.to_owned(), partition }
            }
        };
        let mut left: Vec<i32> = self.nodes.iter().map(|node| node.id).collect();
        let mut replicas = Vec::new();
        while replicas.len() < REPLICAS_COUNT && !left.is_empty() {
            let at = usize::try_from(self.rng.below(left.len() as u64)).unwrap_or(0);
            replicas.push(left.swap_remove(at));
        }
        tracing::info!(?place, ?replicas, "sim: a partition is to move");
        let mut router = self.router(ADMIN);
        self.order(async move {
            let client = router.connection(Wanted::Anybody).await?;
            client.reassign(&place, &replicas).await
        });
    }

    fn delete_records(&mut self) {
        let at = usize::try_from(self.rng.below(2)).unwrap_or(0);
        let Some((place, ledger)) = self.clients.ledgers.get(at).cloned() else { return };
        let end = u64::try_from(ledger.lock().high_watermark).unwrap_or(0);
        let before = match self.rng.below(3) {
            0 => end,
            _ => self.rng.below(end + 1),
        };
        let before = i64::try_from(before).unwrap_or(0);
        tracing::info!(at, before, "sim: records are to be deleted");
        self.orders.diary.pen(DELETER, &place).trims(before);
        let mut router = self.router(ADMIN);
        self.order(async move {
            ledger.lock().history.ask_to_delete(before);
            let client = router.connection(Wanted::Leader(&place)).await?;
            let (code, _) = client.delete_records(&place, before).await?;
            if code == 0 {
                ledger.lock().history.deleted(before);
            }
            Ok(code)
        });
    }

    fn join(&mut self) -> Result<(), String> {
        let id = self.options.nodes + 1;
        if self.nodes.iter().any(|node| node.id == id) {
            return Ok(());
        }
        let mut node = Node::new(id, self.rng.next_u64(), &self.common);
        node.start(self.now)?;
        self.nodes.push(node);
        Ok(())
    }

    fn end_processes(&mut self, whom: Whom, end: impl Fn(&mut Node)) {
        let victims = self.victims(whom);
        for node in &mut self.nodes {
            if victims.contains(&node.id) && node.is_running() {
                end(node);
                self.crashes += 1;
                let later = self.now + millis(self.rng.below(3_000));
                self.restarts.push((node.id, later));
            }
        }
    }

    fn disturb_paths(&self, fault: Fault) {
        let victim = self.any_node();
        let cut = Path { is_cut: true, ..Path::default() };
        let split: Vec<i32> = self.victims(Whom::Some);
        let with_clients = self.rng.below(2) == 0;
        for (from, to) in self.pairs() {
            let between_halves = split.contains(&from) != split.contains(&to);
            let path = match fault {
                Fault::Isolate if from == victim || to == victim => cut,
                Fault::Mute if from == victim => cut,
                Fault::Deafen if to == victim => cut,
                Fault::CutSome if self.rng.below(3) == 0 => cut,
                Fault::Split if between_halves => cut,
                Fault::SlowPaths if self.rng.below(2) == 0 => {
                    let time = millis(self.rng.below(SLOW_MS_MAX));
                    Path { latency: time.max(STEP), jitter: time, ..Path::default() }
                }
                Fault::LosePieces => {
                    let loss_per_mille = self.rng.below(200);
                    Path { latency: STEP, jitter: 4 * STEP, loss_per_mille, ..Path::default() }
                }
                _ => continue,
            };
            self.net.set_path(node_address(from), node_address(to), Some(path));
        }
        if matches!(fault, Fault::Isolate) && with_clients {
            for client in 0..CLIENTS_COUNT_MAX {
                let (near, far) = (client_address(client), node_address(victim));
                self.net.set_path(near, far, Some(cut));
                self.net.set_path(far, near, Some(cut));
            }
        }
    }

    /// All ordered pairs of nodes.
    fn pairs(&self) -> Vec<(i32, i32)> {
        let ids = || self.nodes.iter().map(|node| node.id);
        ids().flat_map(|one| ids().map(move |other| (one, other))).filter(|(a, b)| a != b).collect()
    }

    /// Ends all that does not end by itself.
    pub(super) fn heal(&mut self) {
        tracing::info!(at = self.now.as_millis(), "sim: faults end");
        for (from, to) in self.pairs() {
            self.net.set_path(node_address(from), node_address(to), None);
        }
        for client in 0..CLIENTS_COUNT_MAX {
            for node in &self.nodes {
                self.net.set_path(client_address(client), node.address, None);
                self.net.set_path(node.address, client_address(client), None);
            }
        }
        for node in &self.nodes {
            node.pace.set(Duration::ZERO);
            node.disk.keep_power();
        }
    }
}

fn node_address(id: i32) -> std::net::IpAddr {
    crate::sim::cluster::node::address(id)
}

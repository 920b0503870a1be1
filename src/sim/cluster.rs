//! Whole clusters in one thread: nodes on simulated disks, a network between them, clients, and
//! faults. Everything that happens follows from the seed.
//!
//! Each process has a tokio runtime of its own with a stopped clock, and time passes for all of
//! them in steps: in each step what is due arrives, and one process after the other does what it
//! can do until then.

mod clients;
mod diary;
mod faults;
mod keys;
mod ledger;
mod node;
mod replicas;
mod router;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::base::clock::ManualClock;
use crate::base::env::Planted;
use crate::base::net::sim::Path;
use crate::base::net::{Net, SimNet};
use crate::base::rng::Rng;
use crate::base::task::{self, Fault as OnPanic};
use crate::sim::client::Place;
use crate::sim::cluster::clients::{Committer, Consumer, Orders, Producer};
use crate::sim::cluster::diary::Diary;
use crate::sim::cluster::keys::Keys;
use crate::sim::cluster::ledger::{Ledger, Verdict};
use crate::sim::cluster::node::{Common, News, Node};
use crate::sim::cluster::router::{Router, Wanted};
use crate::sim::cluster::watch::Watch;
use crate::sim::disk::{FNV_OFFSET, fnv};
use crate::sim::world::MakeRuntime;

const START_MS: i64 = 1_700_000_000_000;
/// One step of time.
const STEP: Duration = Duration::from_millis(1);
/// How often the world is looked at.
const LOOK_STEPS: u64 = 5;
/// In which time a cluster without faults must form, and serve again.
const FORMS: Duration = Duration::from_secs(30);
const RECOVERS: Duration = Duration::from_secs(60);
/// In which time nodes end that are told to at once: there is nobody to hand anything over to.
const ENDS: Duration = Duration::from_millis(1500);
/// How long a process that ended by itself is left alone.
const RESTART: Duration = Duration::from_millis(500);
/// The first of those who read all at the end, among the processes of the history.
const FIRST_READER: u32 = 100;
const TOPIC: &str = "kept";
const PARTITIONS_COUNT: i32 = 2;
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// What stands in the history after each phase with faults.
pub const PHASE_ENDS: &str = "a phase ends";

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub nodes: i32,
    /// Phases with faults.
    pub phases: u32,
    pub planted: Option<Planted>,
}

impl Options {
    /// Three nodes, or five for every fifth seed.
    pub fn of(seed: u64) -> Self {
        let nodes = if seed % 5 == 4 { 5 } else { 3 };
        Self { nodes, phases: 4, planted: None }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The same for every run of the seed.
    pub trace: u64,
    pub crashes: u32,
    /// Batches that are there at the end.
    pub kept: usize,
    /// Acknowledged records that compaction has taken away.
    pub compacted: usize,
    /// In the time of the simulation.
    pub duration: Duration,
}

/// Who runs the clients.
struct Clients {
    runtime: Runtime,
    begun: Instant,
    tasks: Vec<task::Handle>,
    ledgers: Vec<(Place, Ledger)>,
    keys: Keys,
}

struct World {
    options: Options,
    rng: Rng,
    net: SimNet,
    clock: ManualClock,
    now: Duration,
    steps: u64,
    common: Common,
    nodes: Vec<Node>,
    /// Nodes that are to be started again, and when.
    restarts: Vec<(i32, Duration)>,
    /// Nodes whose power is to be cut, and when.
    power_cuts: Vec<(i32, Duration)>,
    clients: Clients,
    orders: Orders,
    watch: Watch,
    crashes: u32,
    /// Who stops now is not started again.
    ending: bool,
}

/// What a run leaves.
#[derive(Debug)]
pub struct Run {
    /// The error is the promise that was broken.
    pub result: Result<Summary, String>,
    /// What clients did and were told, in the lines of `histcheck`. [`PHASE_ENDS`] is among them.
    pub history: Vec<String>,
}

/// Runs a seed.
pub fn run(seed: u64, options: Options, make_runtime: MakeRuntime) -> Run {
    let mut world = World::new(seed, options, make_runtime);
    let result = world.live();
    if result.is_err() {
        world.watch.tell();
    }
    let now = world.now;
    let result = result.map_err(|why| format!("after {} ms: {why}", now.as_millis()));
    Run { result, history: world.orders.diary.take() }
}

fn client_address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 1, number])
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl World {
    fn new(seed: u64, options: Options, make_runtime: MakeRuntime) -> Self {
        let rng = Rng::seeded(seed);
        let net = SimNet::new(rng.next_u64());
        net.set_usual(Path { latency: STEP, jitter: 2 * STEP, ..Path::default() });
        let clock = ManualClock::new(START_MS);
        let common = Common {
            net: net.clone(),
            clock: clock.clone(),
            make_runtime,
            planted: options.planted,
            voters: node::voters(options.nodes),
        };
        let nodes = (1..=options.nodes).map(|id| Node::new(id, rng.next_u64(), &common));
        let runtime = make_runtime(rng.next_u64());
        let inside = runtime.enter();
        let begun = Instant::now();
        drop(inside);
        let orders = Orders {
            finish: Arc::default(),
            verdict: Verdict::default(),
            diary: Diary::new(clock.clone()),
            clock: clock.clone(),
        };
        Self {
            options,
            nodes: nodes.collect(),
            common,
            rng,
            net,
            clock,
            now: Duration::ZERO,
            steps: 0,
            restarts: Vec::new(),
            power_cuts: Vec::new(),
            clients: Clients {
                runtime,
                begun,
                tasks: Vec::new(),
                ledgers: Vec::new(),
                keys: Keys::default(),
            },
            orders,
            watch: Watch::default(),
            crashes: 0,
            ending: false,
        }
    }

    fn live(&mut self) -> Result<Summary, String> {
        self.form()?;
        self.start_clients();
        self.pass(millis(500))?;
        for phase in 0..self.options.phases {
            self.suffer().map_err(|why| format!("in phase {phase}: {why}"))?;
            self.orders.diary.fault(PHASE_ENDS);
        }
        self.recover()?;
        self.verify()?;
        let compacted = self.verify_keys()?;
        self.compare_replicas()?;
        let disks = self.nodes.iter().map(|node| node.disk.trace().to_be_bytes());
        let trace = disks.fold(FNV_OFFSET, |trace, disk| fnv(trace, &disk));
        let trace = fnv(trace, &self.net.trace().to_be_bytes());
        self.end()?;
        let kept = self.clients.ledgers.iter().map(|(_, ledger)| ledger.lock().kept()).sum();
        Ok(Summary { trace, crashes: self.crashes, kept, compacted, duration: self.now })
    }

    /// One step of time.
    fn step(&mut self) -> Result<(), String> {
        self.now += STEP;
        self.steps += 1;
        self.clock.advance_ms(1);
        self.net.set_now(self.now);
        let now = self.now;
        let due = self.restarts.iter().filter(|(_, at)| *at <= now).map(|(id, _)| *id);
        let due: Vec<i32> = due.collect();
        self.restarts.retain(|(_, at)| *at > now);
        self.cut_power(now);
        for node in &mut self.nodes {
            if due.contains(&node.id) && !node.is_running() {
                tracing::info!(at = now.as_millis(), node = node.id, "sim: starts");
                node.start(now)?;
            }
            let later = match node.run_until(now) {
                News::None => continue,
                News::PowerFailed => {
                    tracing::info!(at = now.as_millis(), node = node.id, "sim: power fails");
                    node.power_off();
                    self.crashes += 1;
                    millis(self.rng.below(3000))
                }
                News::Stopped if self.ending => continue,
                News::Stopped => millis(self.rng.below(1500)),
                News::Failed(why) => {
                    tracing::info!(at = now.as_millis(), node = node.id, why, "sim: ended");
                    RESTART
                }
            };
            self.restarts.push((node.id, now + later));
        }
        let clients = &self.clients;
        let until = clients.begun + now;
        clients.runtime.block_on(async { tokio::time::sleep_until(until).await });
        if self.steps.is_multiple_of(LOOK_STEPS) {
            self.watch.look(&self.nodes)?;
            self.orders.verdict.take()?;
        }
        Ok(())
    }

    /// Cuts the power of those for whom it is time.
    fn cut_power(&mut self, now: Duration) {
        let due = self.power_cuts.iter().filter(|(_, at)| *at <= now).map(|(id, _)| *id);
        let due: Vec<i32> = due.collect();
        self.power_cuts.retain(|(_, at)| *at > now);
        for node in self.nodes.iter_mut().filter(|node| due.contains(&node.id)) {
            let was_running = node.is_running();
            // Also of one that is down: it would start with a disk that fails.
            node.power_off();
            if was_running {
                self.crashes += 1;
                self.restarts.push((node.id, now + millis(self.rng.below(2_000))));
            }
        }
    }

    fn end(&mut self) -> Result<(), String> {
        self.ending = true;
        self.nodes.iter_mut().for_each(Node::stop);
        let have_ended = |world: &Self| !world.nodes.iter().any(Node::is_running);
        self.pass_until("the end of all nodes", ENDS, have_ended)
    }

    fn pass(&mut self, time: Duration) -> Result<(), String> {
        let until = self.now + time;
        while self.now < until {
            self.step()?;
        }
        Ok(())
    }

    /// Lets time pass until something is so.
    fn pass_until(
        &mut self,
        what: &str,
        within: Duration,
        reached: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let until = self.now + within;
        while !reached(self) {
            if self.now >= until {
                return Err(format!("{what} does not come within {} s", within.as_secs()));
            }
            self.step()?;
        }
        tracing::info!(at = self.now.as_millis(), what, "sim: reached");
        Ok(())
    }

    /// Runs a client's future while time passes.
    fn ask<F>(&mut self, what: &str, within: Duration, future: F) -> Result<F::Output, String>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let inside = self.clients.runtime.enter();
        let mut task = task::spawn("sim-client", OnPanic::Task, future);
        drop(inside);
        let until = self.now + within;
        while !task.is_finished() {
            if self.now >= until {
                return Err(format!("{what} does not end within {} s", within.as_secs()));
            }
            self.step()?;
        }
        self.clients.runtime.block_on(&mut task).map_err(|error| error.to_string())
    }

    /// The next client's place in the network.
    fn router(&mut self, number: u8) -> Router {
        let net = Net::Sim(self.net.at(client_address(number)));
        Router::new(net, self.rng.next_u64(), self.options.nodes)
    }

    fn form(&mut self) -> Result<(), String> {
        for node in &mut self.nodes {
            node.start(self.now)?;
        }
        let all_serve = |world: &Self| world.nodes.iter().all(|node| node.look(|_| ()).is_some());
        self.pass_until("the cluster", FORMS, all_serve)?;
        let segment = (2_000 + self.rng.below(20_000)).to_string();
        self.make_topic(TOPIC, PARTITIONS_COUNT, vec![("internal.segment.bytes", segment)])?;
        let segment = (1_000 + self.rng.below(5_000)).to_string();
        let deleted = (500 + self.rng.below(5_000)).to_string();
        let configs = vec![
            ("internal.segment.bytes", segment),
            ("cleanup.policy", "compact".to_owned()),
            ("min.cleanable.dirty.ratio", "0.01".to_owned()),
            ("delete.retention.ms", deleted),
        ];
        self.make_topic(keys::TOPIC, 1, configs)
    }

    fn make_topic(
        &mut self,
        topic: &'static str,
        partitions: i32,
        configs: Vec<(&'static str, String)>,
    ) -> Result<(), String> {
        let mut router = self.router(0);
        let made = async move {
            let mut last = String::new();
            loop {
                let made = async {
                    let client = router.connection(Wanted::Anybody).await?;
                    client.create_topic(topic, (partitions, -1), &configs).await
                };
                match made.await {
                    Ok(0 | TOPIC_ALREADY_EXISTS) => return,
                    other => last.clone_from(&format!("{other:?}")),
                }
                tracing::info!(last, "sim: the topic is not made yet");
                router.give_up().await;
            }
        };
        self.ask("the topic", FORMS, made)
    }

    fn start_clients(&mut self) {
        let (mut number, mut process) = (1, 0);
        let mut router = |world: &mut Self| {
            number += 1;
            world.router(number)
        };
        for partition in 0..PARTITIONS_COUNT {
            let place = Place { topic: TOPIC.to_owned(), partition };
            let ledger = Ledger::default();
            let orders = self.orders.clone();
            let mut pen = || {
                process += 1;
                orders.diary.pen(process, &place)
            };
            let (producing, consuming) = (pen(), pen());
            let producer = Producer::new(
                place.clone(),
                ledger.clone(),
                router(self),
                orders.clone(),
                producing,
            );
            let consumer = Consumer {
                place: place.clone(),
                ledger: ledger.clone(),
                router: router(self),
                orders: orders.clone(),
                pen: consuming,
                position: 0,
            };
            self.spawn(producer.run());
            self.spawn(consumer.run());
            self.clients.ledgers.push((place, ledger));
        }
        let place = Place { topic: TOPIC.to_owned(), partition: 0 };
        let orders = self.orders.clone();
        let pen = orders.diary.pen(process + 1, &place);
        let committer = Committer::new("group", place, router(self), orders, pen);
        self.spawn(committer.run());
        let routers = (router(self), router(self));
        self.start_keys(routers);
    }

    fn spawn(&mut self, client: impl Future<Output = ()> + Send + 'static) {
        let inside = self.clients.runtime.enter();
        self.clients.tasks.push(task::spawn("sim-client", OnPanic::Task, client));
        drop(inside);
    }

    /// Without faults all clients come to their end.
    fn recover(&mut self) -> Result<(), String> {
        self.heal();
        let now = self.now;
        self.power_cuts.iter_mut().for_each(|(_, at)| *at = now);
        self.cut_power(now);
        for node in &self.nodes {
            let is_planned = self.restarts.iter().any(|(id, _)| *id == node.id);
            if !node.is_running() && !is_planned {
                self.restarts.push((node.id, self.now));
            }
        }
        let all_serve = |world: &Self| world.nodes.iter().all(|node| node.look(|_| ()).is_some());
        self.pass_until("the whole cluster", RECOVERS, all_serve)?;
        let kept_before = self.kept();
        let served = |world: &Self| {
            let now = world.kept();
            now.iter().zip(&kept_before).all(|(now, before)| now > before)
        };
        self.pass_until("an acknowledged write to each partition", RECOVERS, served)?;
        self.orders.finish.store(true, Ordering::Relaxed);
        let ended = |world: &Self| world.clients.tasks.iter().all(task::Handle::is_finished);
        self.pass_until("the end of the clients", RECOVERS, ended)
    }

    fn kept(&self) -> Vec<usize> {
        self.clients.ledgers.iter().map(|(_, ledger)| ledger.lock().kept()).collect()
    }

    /// All that was promised is there.
    fn verify(&mut self) -> Result<(), String> {
        self.orders.diary.rest();
        for (process, (place, ledger)) in (FIRST_READER..).zip(self.clients.ledgers.clone()) {
            let (mut router, wanted) = (self.router(200), place.clone());
            let reading = async move {
                loop {
                    match clients::read_all(&mut router, &wanted).await {
                        Ok(contents) => return contents,
                        Err(_) => router.give_up().await,
                    }
                }
            };
            let contents = self.ask("reading all", RECOVERS, reading)?;
            let pen = self.orders.diary.pen(process, &place);
            pen.assigned(0);
            pen.polled(&contents.batches, 0)?;
            let checked = ledger.lock().check(&contents);
            checked.map_err(|why| format!("{place:?}: {why}"))?;
        }
        Ok(())
    }

    /// At the end all replicas hold the same bytes.
    fn compare_replicas(&mut self) -> Result<(), String> {
        let equal = |world: &Self| replicas::difference(&world.nodes).is_none();
        let within = self.pass_until("equality of the replicas", RECOVERS, equal);
        replicas::write_down(&self.nodes, &self.orders.diary);
        let why = replicas::difference(&self.nodes).unwrap_or_default();
        within.map_err(|what| format!("{what}: {why}"))
    }
}

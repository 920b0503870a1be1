//! One scenario under way: the cluster, its clients, and what is done and awaited in between.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use histcheck::{Anomaly, Ends, Options};

use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::history::History;
use crate::load::{Load, Topic};
use crate::rig::{Disk, Net, Node, Rig};
use crate::rng::Rng;
use crate::tools::{command_in, guarded, words};
use crate::worker::Worker;

/// How long and how hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One fault, as part of a series of others.
    Once,
    Short,
    Long,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) broker: Broker,
    pub(crate) form: Form,
    pub(crate) seed: u64,
    /// Instead of what a scenario wants.
    pub(crate) nodes: Option<usize>,
    /// On a busy machine everything may take so many times as long.
    pub(crate) patience: u32,
    /// Logs and histories of what failed.
    pub(crate) out: PathBuf,
    /// What the brokers do wrong, if they are built for that, and what must be found then.
    pub(crate) planted: Option<(String, Anomaly)>,
}

/// What a scenario needs to run on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) nodes: usize,
    pub(crate) net: Net,
    pub(crate) disk: Disk,
}

pub(crate) struct Run {
    pub(crate) settings: Settings,
    folder: PathBuf,
    pub(crate) rng: Rng,
    pub(crate) history: Arc<History>,
    pub(crate) load: Load,
    pub(crate) topic: Topic,
    pub(crate) admin: Arc<Worker>,
    /// The clients live as long as the scenario.
    pub(crate) workers: Vec<Arc<Worker>>,
    pub(crate) cluster: Cluster,
    pub(crate) outages: Vec<(String, Duration)>,
    pub(crate) stall_ms: Arc<AtomicU64>,
    /// What the scenario itself found wrong; the history may say more.
    pub(crate) complaints: Vec<String>,
    /// Faults that may not have happened.
    pub(crate) doubts: Vec<String>,
}

/// The first start, with the election of whoever creates topics.
const FORMING: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Franz,
    /// It asks again at once, which measures the cluster.
    ImpatientFranz,
    Java,
    Librdkafka,
}

impl Run {
    pub(crate) fn begin(
        settings: &Settings,
        name: &str,
        needs: Needs,
        partitions: u32,
    ) -> Result<Self, String> {
        let mut rng = Rng::new(settings.seed, name);
        let folder = settings.out.join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let nodes = settings.nodes.unwrap_or(needs.nodes);
        let rig = Rig::build(needs.net, needs.disk, &folder, nodes, &mut rng)?;
        let mut cluster = Cluster::new(rig, settings);
        cluster.start_all()?;
        let options = options(settings.broker);
        let history = Arc::new(History::create(&folder.join("history.jsonl"), options)?);
        let command = command(Client::Franz, &cluster.rig)?;
        let log = folder.join("admin.log");
        let admin = Arc::new(Worker::start("admin", 1, command, &log, &history)?);
        let topic = Topic { name: "torture".to_owned(), partitions };
        let stall_ms = Arc::default();
        let mut load = Load::new();
        load.watch_machine(&stall_ms);
        let run = Self {
            settings: settings.clone(),
            folder,
            rng,
            history,
            load,
            topic,
            admin,
            workers: Vec::new(),
            cluster,
            outages: Vec::new(),
            stall_ms,
            complaints: Vec::new(),
            doubts: Vec::new(),
        };
        run.form(nodes)?;
        Ok(run)
    }

    /// All nodes are there, and the topic with three replicas.
    fn form(&self, nodes: usize) -> Result<(), String> {
        let deadline = Instant::now() + FORMING;
        loop {
            let brokers = self.admin.demand("brokers", FORMING)?;
            if brokers.split(',').count() >= nodes {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("the cluster has no other nodes than {brokers}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let Topic { name, partitions } = &self.topic;
        let (replicas, in_sync) = (nodes.min(3), nodes.min(2));
        let create = format!("create {name} {partitions} {replicas} min.insync.replicas={in_sync}");
        self.admin.demand(&create, FORMING)?;
        self.await_in_sync(FORMING)
    }

    pub(crate) fn worker(&mut self, client: Client) -> Result<Arc<Worker>, String> {
        let process = u32::try_from(self.workers.len() + 2).map_err(|error| error.to_string())?;
        let command = command(client, &self.cluster.rig)?;
        let name = format!("{client:?}-{process}");
        let log = self.log_of(&name);
        let worker = Arc::new(Worker::start(&name, process, command, &log, &self.history)?);
        self.workers.push(worker.clone());
        Ok(worker)
    }

    /// Where a client writes what it has to say to people.
    pub(crate) fn log_of(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Producers, consumers and clerks, of all kinds.
    pub(crate) fn begin_load(&mut self) -> Result<(), String> {
        // Two of them wait for their own timeouts when a node no longer answers, up to a minute;
        // by the impatient one it shows what the cluster does meanwhile.
        let mut clients =
            vec![(Client::Franz, 100), (Client::ImpatientFranz, 50), (Client::Librdkafka, 50)];
        // It takes long to start.
        if self.settings.form == Form::Long {
            clients.push((Client::Java, 50));
        }
        for (client, rate) in clients {
            let worker = self.worker(client)?;
            match client {
                Client::Librdkafka => worker.join("readers", &self.topic.name)?,
                Client::ImpatientFranz => {}
                Client::Franz | Client::Java => {
                    worker.read(&self.topic.name, self.topic.partitions)?;
                }
            }
            self.load.produce(&worker, &self.topic, rate, &self.history);
        }
        let (committer, asker) = (self.worker(Client::Franz)?, self.worker(Client::Franz)?);
        self.load.commit(&committer, &self.topic, &self.history);
        self.load.ask(&asker, &self.topic, &self.history);
        self.expect_service("the first records", Instant::now(), FORMING)?;
        self.outages.clear();
        Ok(())
    }

    /// How often a fault is repeated.
    pub(crate) fn rounds(&self, short: u64, long: u64) -> u64 {
        match self.settings.form {
            Form::Once => 1,
            Form::Short => short,
            Form::Long => long,
        }
    }

    /// The load goes on, nothing else happens.
    pub(crate) fn breathe(&mut self) {
        let range = match self.settings.form {
            Form::Once | Form::Short => 500..2_000,
            Form::Long => 3_000..10_000,
        };
        std::thread::sleep(self.rng.millis(range));
    }

    pub(crate) fn fault(&self, what: &str) {
        self.history.nemesis(what);
    }

    /// After a fault, or its end: every partition must acknowledge again.
    pub(crate) fn await_service(&mut self, what: &str, since: Instant) -> Result<(), String> {
        let limit = self.limit();
        self.expect_service(what, since, limit)
    }

    fn expect_service(
        &mut self,
        what: &str,
        since: Instant,
        limit: Duration,
    ) -> Result<(), String> {
        match self.history.await_served(&self.topic.keys(), since, limit) {
            Some(outage) => {
                self.outages.push((what.to_owned(), outage));
                Ok(())
            }
            None => {
                let keys = self.topic.keys();
                let dead: Vec<&String> =
                    keys.iter().filter(|key| !self.history.acked_since(key, since)).collect();
                Err(format!("{what}: no record was acknowledged by {dead:?} for {limit:?}"))
            }
        }
    }

    /// Without service for so long after a fault, a scenario has failed.
    pub(crate) fn limit(&self) -> Duration {
        let seconds = match self.cluster.broker {
            Broker::Ottla => 10,
            // A broker is held for dead after nine seconds.
            Broker::Kafka => 45,
        };
        Duration::from_secs(seconds) * self.settings.patience
    }

    /// The node that leads a partition.
    pub(crate) fn leader(&self, partition: u32) -> Result<Node, String> {
        let deadline = Instant::now() + self.limit();
        loop {
            let question = format!("leaders {}", self.topic.name);
            let leaders = self.admin.demand(&question, self.limit())?;
            let leader = of_partition(&leaders, partition).and_then(|id| id.parse().ok());
            match leader.ok_or(leaders).and_then(|id| self.cluster.node_of(id)) {
                Ok(node) => return Ok(node),
                Err(failure) if Instant::now() > deadline => {
                    return Err(format!("partition {partition} has no leader: {failure}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    pub(crate) fn any_leader(&mut self) -> Result<Node, String> {
        let partition = self.rng.between(0..u64::from(self.topic.partitions));
        self.leader(u32::try_from(partition).unwrap_or(0))
    }

    pub(crate) fn controller(&self) -> Result<Node, String> {
        let id = self.admin.demand("controller", self.limit())?;
        id.parse().map_err(|_| id.clone()).and_then(|id| self.cluster.node_of(id))
    }

    /// Some node that is none of these.
    pub(crate) fn other_than(&mut self, nodes: &[Node]) -> Result<Node, String> {
        let mut others = self.cluster.rig.nodes();
        others.retain(|node| !nodes.contains(node));
        self.rng.pick(&others).ok_or_else(|| "there are no other nodes".to_owned())
    }

    /// All replicas of all partitions are in sync.
    pub(crate) fn await_in_sync(&self, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        let Topic { name, .. } = &self.topic;
        loop {
            let replicas = self.admin.demand(&format!("replicas {name}"), patience)?;
            let in_sync = self.admin.demand(&format!("isr {name}"), patience)?;
            let count = |said: &str| said.split(',').count();
            let whole = |(wanted, found): (&str, &str)| count(wanted) == count(found);
            if !in_sync.is_empty() && replicas.split(' ').zip(in_sync.split(' ')).all(whole) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("in sync are {in_sync}, of {replicas}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// What is said of a partition in `0=… 1=…`.
pub(crate) fn of_partition(said: &str, partition: u32) -> Option<&str> {
    let said = said.split(' ').find_map(|word| {
        let (number, rest) = word.split_once('=')?;
        (number.parse() == Ok(partition)).then_some(rest)
    });
    said.filter(|said| !said.is_empty())
}

pub(crate) fn options(broker: Broker) -> Options {
    match broker {
        Broker::Ottla => Options { ends: Ends::Linearizable },
        // A leader that is cut off does not know it for a while.
        Broker::Kafka => Options { ends: Ends::Monotonic },
    }
}

pub(crate) fn command(client: Client, rig: &Rig) -> Result<Command, String> {
    let mut command = rig.on_host(None);
    command.extend(command_in(match client {
        Client::Franz | Client::ImpatientFranz => "TORTURE_FRANZ",
        Client::Java => "TORTURE_JAVA",
        Client::Librdkafka => "TORTURE_LIBRDKAFKA",
    })?);
    command.push(rig.bootstrap());
    if client == Client::ImpatientFranz {
        command.push("impatient".to_owned());
    }
    words(&guarded(command)?)
}

//! One broker on a simulated disk, started again and again after losing its power at any moment,
//! and clients that note what they were promised. Everything that happens follows from the seed.

use std::sync::Arc;

use futures_util::future::{join, join_all};

use crate::base::clock::ManualClock;
use crate::base::env::{Env, Store};
use crate::base::net::{Net, SimNet};
use crate::base::rng::Rng;
use crate::base::worker::Threads;
use crate::config::{Config, Loaded};
use crate::server::Server;
use crate::sim::checker::{Answer, Sent};
use crate::sim::client::Client;
use crate::sim::committer::Committer;
use crate::sim::disk::{Faults, SimDisk};
use crate::sim::writer::{Kind, Scene, Stop, Writer};

const PORT: u16 = 9092;
const START_MS: i64 = 1_700_000_000_000;
const TOPIC: &str = "kept";
const CACHED_TOPIC: &str = "cached";
/// It is deleted and made again.
const PASSING_TOPIC: &str = "passing";
const TOPICS: [(&str, i32); 3] = [(TOPIC, 3), (CACHED_TOPIC, 1), (PASSING_TOPIC, 1)];
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Restarts.
    pub rounds: u32,
    /// What each client does in a round, at most.
    pub steps: u32,
    /// The disk only says that it syncs files with this ending: promises must break.
    pub lying_syncs: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 8, steps: 25, lying_syncs: None }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The same for every run of the seed.
    pub trace: u64,
    /// Changing calls of the disk.
    pub changes: u64,
    pub crashes: u32,
    /// Batches that must be there at the end.
    pub kept: usize,
}

/// How a round ends, if the power does not fail before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    InOrder,
    /// The process dies; what it wrote is in the page cache.
    Killed,
    PowerFails,
}

#[derive(Debug)]
struct World {
    options: Options,
    rng: Rng,
    disk: SimDisk,
    clock: ManualClock,
    writers: Vec<Writer>,
    committers: Vec<Committer>,
    topics_made: bool,
    crashes: u32,
    /// The disk fails otherwise than by losing its power.
    faulty: bool,
    make_runtime: MakeRuntime,
}

/// Makes a runtime of one thread with a stopped clock, whose choices follow a seed. It comes from
/// the tests, because only they have tokio's `test-util`.
pub type MakeRuntime = fn(u64) -> tokio::runtime::Runtime;

/// Runs a seed; the error is the promise that was broken.
pub fn run(seed: u64, options: Options, make_runtime: MakeRuntime) -> Result<Summary, String> {
    let rng = Rng::seeded(seed);
    let disk = SimDisk::new(rng.next_u64());
    let writers = vec![
        Writer::new(TOPIC, 0, Kind::Idempotent),
        Writer::new(TOPIC, 1, Kind::Idempotent),
        Writer::new(TOPIC, 2, Kind::Plain),
        Writer::new(CACHED_TOPIC, 0, Kind::Cached),
        Writer::new(PASSING_TOPIC, 0, Kind::Plain),
    ];
    let clock = ManualClock::new(START_MS);
    let mut world = World {
        options,
        rng,
        disk,
        clock,
        writers,
        committers: vec![Committer::new("g1", TOPIC), Committer::new("g2", TOPIC)],
        topics_made: false,
        crashes: 0,
        faulty: false,
        make_runtime,
    };
    for round in 0..options.rounds {
        let is_last = round + 1 == options.rounds;
        world.round(is_last).map_err(|why| format!("round {round}: {why}"))?;
    }
    let kept = |writer: &Writer| {
        let kept = |sent: &&Sent| matches!(sent.answer, Answer::Kept(_));
        writer.history.sent.iter().filter(kept).count()
    };
    Ok(Summary {
        trace: world.disk.trace(),
        changes: world.disk.changes(),
        crashes: world.crashes,
        kept: world.writers.iter().map(kept).sum(),
    })
}

fn settings() -> Result<Loaded, String> {
    let env = [
        ("KAFKA_LOG_DIRS", "/data"),
        ("KAFKA_LISTENERS", "PLAINTEXT://127.0.0.1:9092"),
        ("OTTLA_METRICS_LISTENER", ""),
        ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "2"),
    ];
    let env = env.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Config::load(None, &env).map_err(|error| error.to_string())
}

impl World {
    fn round(&mut self, is_last: bool) -> Result<(), String> {
        let faults = Faults { lying_syncs: self.options.lying_syncs, ..Faults::default() };
        self.disk.set_faults(faults);
        self.faulty = false;
        let end = match self.rng.below(4) {
            _ if is_last => End::InOrder,
            0 => End::InOrder,
            1 => End::Killed,
            _ => End::PowerFails,
        };
        if !is_last && self.rng.below(5) == 0 {
            // In the middle of the start.
            self.disk.crash_in(self.rng.below(80));
        }
        let runtime = (self.make_runtime)(self.rng.next_u64());
        let lived = runtime.block_on(self.live(is_last, end));
        drop(runtime);
        match lived {
            Err(Stop::Broken(why)) => return Err(why),
            Err(Stop::Dead) => {}
            Ok(()) if !self.disk.is_crashed() && end == End::InOrder => return Ok(()),
            Ok(()) => {}
        }
        self.crashes += 1;
        // After a fault the disk is not to be believed: only a loss of power makes it new.
        let killed = end == End::Killed && !self.faulty;
        self.disk = if killed { self.disk.kill() } else { self.disk.crash() };
        Ok(())
    }

    async fn live(&mut self, is_last: bool, end: End) -> Result<(), Stop> {
        let env = Env {
            clock: Arc::new(self.clock.clone()),
            rng: Arc::new(Rng::seeded(self.rng.next_u64())),
            disk: Arc::new(self.disk.clone()),
            net: Net::Sim(SimNet::default()),
            threads: Threads::Inline,
            store: Store::Journal,
            planted: None,
        };
        let net = env.net.clone();
        let disk = self.disk.clone();
        let dead = |why: String| if disk.is_crashed() { Stop::Dead } else { Stop::Broken(why) };
        let server = Server::start(env, settings().map_err(Stop::Broken)?).await;
        let server = server.map_err(|error| dead(format!("the broker does not start: {error}")))?;
        let lived = self.serve(&net, is_last).await;
        match end {
            End::InOrder if lived.is_ok() => {
                let stopped = server.stop().await;
                stopped.map_err(|error| dead(format!("the broker does not stop: {error}")))
            }
            _ => lived,
        }
    }

    /// The clients' part of a round.
    async fn serve(&mut self, net: &Net, is_last: bool) -> Result<(), Stop> {
        let mut clients = Vec::new();
        for _ in 0..self.writers.len() + self.committers.len() {
            let client = Client::connect(net, PORT).await;
            clients.push(client.map_err(|error| Stop::Broken(error.to_string()))?);
        }
        let mut committing = clients.split_off(self.writers.len());
        let scene = Scene { disk: &self.disk, clock: &self.clock, rng: &self.rng, faulty: false };
        if let Some(client) = clients.first_mut() {
            for (topic, partitions) in TOPICS {
                let is_new = make_topic(client, scene, topic, partitions).await?;
                if is_new && self.topics_made && topic != PASSING_TOPIC {
                    return Err(Stop::Broken(format!("topic {topic} is gone")));
                }
                // Its deletion took place, although that was not answered.
                forget(&mut self.writers, topic, is_new && self.topics_made);
            }
            self.topics_made = true;
        }
        for (writer, client) in self.writers.iter_mut().zip(&mut clients) {
            writer.verify(client, scene).await?;
        }
        for (committer, client) in self.committers.iter_mut().zip(&mut committing) {
            committer.verify(client, scene).await?;
        }
        self.faulty = !is_last && self.rng.below(6) == 0;
        let faulty = self.faulty;
        if faulty {
            self.disk.set_faults(break_something(&self.rng, self.options));
        } else if !is_last && self.rng.below(4) != 0 {
            self.disk.crash_in(self.rng.below(600));
        }
        let scene = Scene { faulty, ..scene };
        if let Some(client) = clients.first_mut().filter(|_| self.rng.below(3) == 0) {
            let deleted = client.delete_topic(PASSING_TOPIC).await;
            scene.io("delete topic", deleted).and_then(|code| scene.code("delete topic", code))?;
            forget(&mut self.writers, PASSING_TOPIC, true);
            make_topic(client, scene, PASSING_TOPIC, 1).await?;
        }
        let steps = self.options.steps;
        let pairs = self.writers.iter_mut().zip(&mut clients);
        let runs = pairs.map(|(writer, client)| writer.run(client, scene, steps));
        let pairs = self.committers.iter_mut().zip(&mut committing);
        let commits = pairs.map(|(committer, client)| committer.run(client, scene, steps));
        let (written, committed) = join(join_all(runs), join_all(commits)).await;
        let stops: Vec<Stop> =
            written.into_iter().chain(committed).filter_map(Result::err).collect();
        for stop in stops {
            if matches!(stop, Stop::Broken(_)) {
                return Err(stop);
            }
        }
        if faulty || self.disk.is_crashed() { Err(Stop::Dead) } else { Ok(()) }
    }
}

/// Whether it was not there yet.
async fn make_topic(
    client: &mut Client,
    scene: Scene<'_>,
    topic: &str,
    partitions: i32,
) -> Result<bool, Stop> {
    let mut configs =
        vec![("internal.segment.bytes", (3_000 + scene.rng.below(20_000)).to_string())];
    if topic == CACHED_TOPIC {
        configs.push(("write.caching", "true".to_owned()));
    }
    let created = client.create_topic(topic, (partitions, 1), &configs).await;
    match scene.io("create topic", created)? {
        0 => Ok(true),
        TOPIC_ALREADY_EXISTS => Ok(false),
        code => Err(scene.failed("create topic", &format!("error {code}"))),
    }
}

/// What was in a topic that is deleted is not asked for again.
fn forget(writers: &mut [Writer], topic: &str, is_deleted: bool) {
    for writer in writers.iter_mut().filter(|writer| is_deleted && writer.place.topic == topic) {
        writer.restart();
    }
}

/// A sync that fails, or a disk that is full.
fn break_something(rng: &Rng, options: Options) -> Faults {
    let faults = Faults { lying_syncs: options.lying_syncs, ..Faults::default() };
    match rng.below(2) {
        0 => Faults { failing_sync: Some(rng.below(60)), ..faults },
        _ => Faults { bytes_free: Some(rng.below(60_000)), ..faults },
    }
}

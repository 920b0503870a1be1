//! A replica is moved to another log dir while it is written, and the power fails between any two
//! things that the disk is asked to do.

use std::sync::Arc;

use crate::base::clock::ManualClock;
use crate::base::env::{Env, Store};
use crate::base::net::{Net, SimNet};
use crate::base::rng::Rng;
use crate::base::worker::Threads;
use crate::config::{Config, Loaded};
use crate::server::Server;
use crate::sim::client::Client;
use crate::sim::disk::SimDisk;
use crate::sim::world::MakeRuntime;
use crate::sim::writer::{Kind, Scene, Stop, Writer};

const PORT: u16 = 9092;
const START_MS: i64 = 1_700_000_000_000;
const TOPIC: &str = "moved";
const DIRS: [&str; 2] = ["/one", "/two"];
/// What is written before, and at once while it is moved.
const STEPS_BEFORE: u32 = 20;
const STEPS: u32 = 3;
/// How often it is looked whether it is moved.
const LOOKS_MAX: u32 = 2_000;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The replica was moved before the power failed.
    Moved,
    PowerFailed,
}

struct Run {
    rng: Rng,
    disk: SimDisk,
    clock: ManualClock,
    writer: Writer,
}

/// Moves a replica; the power fails so many calls of the disk after that has begun. The error is
/// the promise that was broken.
pub fn run(seed: u64, calls: u64, make_runtime: MakeRuntime) -> Result<End, String> {
    let rng = Rng::seeded(seed);
    let disk = SimDisk::new(rng.next_u64());
    let writer = Writer::new(TOPIC, 0, Kind::Idempotent);
    let mut run = Run { rng, disk, clock: ManualClock::new(START_MS), writer };
    let runtime = make_runtime(run.rng.next_u64());
    let moved = runtime.block_on(run.moves(calls));
    drop(runtime);
    let end = match moved {
        Ok(()) if run.disk.is_crashed() => End::PowerFailed,
        Ok(()) => End::Moved,
        Err(Stop::Dead) => End::PowerFailed,
        Err(Stop::Broken(why)) => return Err(why),
    };
    run.disk = run.disk.crash();
    let runtime = make_runtime(run.rng.next_u64());
    let verified = runtime.block_on(run.verifies());
    drop(runtime);
    match verified {
        Ok(()) => Ok(end),
        Err(Stop::Dead) => Err("the disk died without a reason".to_owned()),
        Err(Stop::Broken(why)) => Err(why),
    }
}

fn settings() -> Result<Loaded, Stop> {
    let env = [
        ("KAFKA_LOG_DIRS", DIRS.join(",")),
        ("KAFKA_LISTENERS", "PLAINTEXT://127.0.0.1:9092".to_owned()),
        ("OTTLA_METRICS_LISTENER", String::new()),
    ];
    let env = env.map(|(key, value)| (key.to_owned(), value));
    Config::load(None, &env).map_err(|error| Stop::Broken(error.to_string()))
}

impl Run {
    fn env(&self) -> Env {
        Env {
            clock: Arc::new(self.clock.clone()),
            rng: Arc::new(Rng::seeded(self.rng.next_u64())),
            disk: Arc::new(self.disk.clone()),
            net: Net::Sim(SimNet::default()),
            threads: Threads::Inline,
            store: Store::Journal,
            planted: None,
        }
    }

    fn failed(&self, what: &str, why: &dyn std::fmt::Display) -> Stop {
        match self.disk.is_crashed() {
            true => Stop::Dead,
            false => Stop::Broken(format!("{what}: {why}")),
        }
    }

    /// The log dirs in which the partition has a folder, or the beginning of one.
    fn folders(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (path, _) in self.disk.files() {
            let mut parts = path.iter().skip(1).map(|part| part.to_string_lossy().into_owned());
            let (Some(dir), Some(name)) = (parts.next(), parts.next()) else { continue };
            let dir = DIRS.into_iter().find(|known| known.trim_start_matches('/') == dir);
            if let Some(dir) = dir.filter(|_| name.starts_with(TOPIC) || name.ends_with("-delete"))
            {
                found.push((dir, name));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    async fn moves(&mut self, calls: u64) -> Result<(), Stop> {
        let env = self.env();
        let net = env.net.clone();
        let server = Server::start(env, settings()?).await;
        let _server = server.map_err(|error| self.failed("start", &error))?;
        let connect = || Client::connect(&net, PORT);
        let mut client = connect().await.map_err(|error| self.failed("connect", &error))?;
        let configs = [("internal.segment.bytes", "4000".to_owned())];
        let made = client.create_topic(TOPIC, (1, 1), &configs).await;
        made.map_err(|error| self.failed("create topic", &error))?;
        let (disk, clock, rng) =
            (self.disk.clone(), self.clock.clone(), Rng::seeded(self.rng.next_u64()));
        let scene = Scene { disk: &disk, clock: &clock, rng: &rng, faulty: false };
        self.writer.run(&mut client, scene, STEPS_BEFORE).await?;

        let folders = self.folders();
        let [(from, _)] = folders.as_slice() else {
            return Err(Stop::Broken(format!("it is in {folders:?}")));
        };
        let to = if *from == "/one" { "/two" } else { "/one" };
        self.disk.crash_in(calls);
        let altered = client.alter_log_dir(&self.writer.place, to).await;
        match altered.map_err(|error| self.failed("alter", &error))? {
            0 => {}
            code => return Err(self.failed("alter", &code)),
        }
        // Requests may fail when the partition changes its place.
        let scene = Scene { faulty: true, ..scene };
        for _ in 0..LOOKS_MAX {
            let written = self.writer.run(&mut client, scene, STEPS).await;
            if self.disk.is_crashed() {
                return Ok(());
            }
            match written {
                Ok(()) => {}
                Err(Stop::Broken(why)) => return Err(Stop::Broken(why)),
                Err(Stop::Dead) => {
                    client = connect().await.map_err(|error| self.failed("connect", &error))?;
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
            if self.folders() == [(to, format!("{TOPIC}-0"))] {
                return Ok(());
            }
        }
        Err(self.failed("the replica is not moved", &format!("{:?}", self.folders())))
    }

    async fn verifies(&mut self) -> Result<(), Stop> {
        let env = self.env();
        let net = env.net.clone();
        let server = Server::start(env, settings()?).await;
        let server = server.map_err(|error| self.failed("start", &error))?;
        let client = Client::connect(&net, PORT).await;
        let mut client = client.map_err(|error| self.failed("connect", &error))?;
        let (disk, clock, rng) =
            (self.disk.clone(), self.clock.clone(), Rng::seeded(self.rng.next_u64()));
        let scene = Scene { disk: &disk, clock: &clock, rng: &rng, faulty: false };
        self.writer.verify(&mut client, scene).await?;
        self.writer.run(&mut client, scene, STEPS).await?;
        let folders = self.folders();
        if folders.len() != 1 || folders.iter().any(|(_, name)| *name != format!("{TOPIC}-0")) {
            return Err(Stop::Broken(format!("it is in {folders:?}")));
        }
        server.stop().await.map_err(|error| self.failed("stop", &error))
    }
}

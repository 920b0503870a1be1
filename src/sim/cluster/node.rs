//! One node: a machine with a disk and an address, and the process that runs on it now and then.
//! Each process has a runtime of its own, so that all of it ends at once.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::base::clock::ManualClock;
use crate::base::env::{Env, Planted, Store};
use crate::base::net::{Net, SimNet};
use crate::base::rng::Rng;
use crate::base::task::{self, Fault};
use crate::base::worker::{Pace, Threads};
use crate::config::Config;
use crate::server::Server;
use crate::sim::disk::SimDisk;
use crate::sim::world::MakeRuntime;

pub(super) const CLIENT_PORT: u16 = 9092;
const PEER_PORT: u16 = 9093;

/// What all nodes have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) net: SimNet,
    pub(super) clock: ManualClock,
    pub(super) make_runtime: MakeRuntime,
    pub(super) planted: Option<Planted>,
    /// The voters of the metadata, as they are configured.
    pub(super) voters: String,
}

/// A machine.
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) address: IpAddr,
    pub(super) disk: SimDisk,
    pub(super) pace: &'static Pace,
    /// How often it was started.
    pub(super) starts: u64,
    common: Common,
    rng: Rng,
    process: Option<Process>,
}

struct Process {
    runtime: Runtime,
    /// The process' own time, and the world's, when it began.
    begun: Instant,
    begun_at: Duration,
    stage: Arc<Mutex<Stage>>,
}

/// How far a process is.
pub(super) enum Stage {
    Starting,
    Up(Box<Server>),
    Stopping,
    Stopped,
    Failed(String),
}

/// What became of a process in a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// Its disk lost its power.
    PowerFailed,
    Stopped,
    /// It ended by itself.
    Failed(String),
}

fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn address(id: i32) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(id).unwrap_or(u8::MAX)])
}

/// `controller.quorum.voters` of nodes 1 to n.
pub(super) fn voters(count: i32) -> String {
    let voters = (1..=count).map(|id| format!("{id}@{}:{PEER_PORT}", address(id)));
    voters.collect::<Vec<_>>().join(",")
}

impl Node {
    pub(super) fn new(id: i32, seed: u64, common: &Common) -> Self {
        let rng = Rng::seeded(seed);
        Self {
            id,
            address: address(id),
            disk: SimDisk::new(rng.next_u64()),
            // A few bytes for each node of a test.
            pace: Box::leak(Box::default()),
            starts: 0,
            common: common.clone(),
            rng,
            process: None,
        }
    }

    fn settings(&self) -> Result<crate::config::Loaded, String> {
        let address = self.address;
        let listeners =
            format!("PLAINTEXT://{address}:{CLIENT_PORT},CONTROLLER://{address}:{PEER_PORT}");
        let env = [
            ("KAFKA_NODE_ID", self.id.to_string()),
            ("KAFKA_LOG_DIRS", "/data".to_owned()),
            ("KAFKA_LISTENERS", listeners),
            ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER".to_owned()),
            ("KAFKA_CONTROLLER_QUORUM_VOTERS", self.common.voters.clone()),
            ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3".to_owned()),
            ("KAFKA_MIN_INSYNC_REPLICAS", "2".to_owned()),
            ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "1".to_owned()),
            ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "3".to_owned()),
            // Replicas that have not heard of a deletion look for it now and then.
            ("KAFKA_LOG_RETENTION_CHECK_INTERVAL_MS", "700".to_owned()),
            ("KAFKA_LOG_CLEANER_BACKOFF_MS", "300".to_owned()),
            ("OTTLA_METRICS_LISTENER", String::new()),
        ];
        let env = env.map(|(key, value)| (key.to_owned(), value));
        Config::load(None, &env).map_err(|error| error.to_string())
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts a process; the machine has power again.
    pub(super) fn start(&mut self, now: Duration) -> Result<(), String> {
        self.common.net.power_on(self.address);
        let settings = self.settings()?;
        let env = Env {
            clock: Arc::new(self.common.clock.clone()),
            rng: Arc::new(Rng::seeded(self.rng.next_u64())),
            disk: Arc::new(self.disk.clone()),
            net: Net::Sim(self.common.net.at(self.address)),
            threads: Threads::Paced(self.pace),
            store: Store::Journal,
            planted: self.common.planted,
        };
        let runtime = (self.common.make_runtime)(self.rng.next_u64());
        let stage = Arc::new(Mutex::new(Stage::Starting));
        let own = Arc::clone(&stage);
        let inside = runtime.enter();
        let begun = Instant::now();
        task::spawn("node", Fault::Process, async move {
            let started = Server::start(env, settings).await;
            *lock(&own) = match started {
                Ok(server) => Stage::Up(Box::new(server)),
                Err(error) => Stage::Failed(error.to_string()),
            };
        });
        drop(inside);
        self.process = Some(Process { runtime, begun, begun_at: now, stage });
        self.starts += 1;
        Ok(())
    }

    /// Lets the process do what it can do until now.
    pub(super) fn run_until(&mut self, now: Duration) -> News {
        let Some(process) = &self.process else { return News::None };
        let span = tracing::info_span!("node", id = self.id);
        let until = process.begun + now.saturating_sub(process.begun_at);
        span.in_scope(|| process.runtime.block_on(async { tokio::time::sleep_until(until).await }));
        if self.disk.is_crashed() {
            return News::PowerFailed;
        }
        let news = match &*lock(&process.stage) {
            Stage::Starting | Stage::Up(_) | Stage::Stopping => News::None,
            Stage::Stopped => News::Stopped,
            Stage::Failed(why) => News::Failed(why.clone()),
        };
        if news != News::None {
            self.end_process();
        }
        news
    }

    /// Asks the process to stop.
    pub(super) fn stop(&mut self) {
        let Some(process) = &self.process else { return };
        let mut stage = lock(&process.stage);
        match std::mem::replace(&mut *stage, Stage::Stopping) {
            Stage::Up(server) => {
                let inside = process.runtime.enter();
                let own = Arc::clone(&process.stage);
                task::spawn("stop", Fault::Process, async move {
                    let stopped = server.stop().await;
                    *lock(&own) = match stopped {
                        Ok(()) => Stage::Stopped,
                        Err(error) => Stage::Failed(error.to_string()),
                    };
                });
                drop(inside);
            }
            other => *stage = other,
        }
    }

    /// The process dies; what it wrote is in the page cache.
    pub(super) fn kill(&mut self) {
        self.end_process();
        self.disk = self.disk.kill();
    }

    /// The machine loses its power, and the disk what was not synced.
    pub(super) fn power_off(&mut self) {
        self.common.net.power_off(self.address);
        self.end_process();
        self.disk = self.disk.crash();
    }

    fn end_process(&mut self) {
        let Some(process) = self.process.take() else { return };
        let inside = process.runtime.enter();
        *lock(&process.stage) = Stage::Stopped;
        drop(inside);
        drop(process.runtime);
    }

    /// Looks into the process, if it serves.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Server) -> R) -> Option<R> {
        let process = self.process.as_ref()?;
        // Leases end by the time of the process.
        let inside = process.runtime.enter();
        let seen = match &*lock(&process.stage) {
            Stage::Up(server) => Some(look(server)),
            _ => None,
        };
        drop(inside);
        seen
    }
}

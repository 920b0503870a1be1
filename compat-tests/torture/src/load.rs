//! What clients do while the cluster is being broken: producers at a steady rate, and two clerks
//! who commit offsets, ask for them, and ask for the ends of partitions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use histcheck::{Op, Stage};

use crate::history::History;
use crate::worker::Worker;

/// Records of one client that are not answered yet.
const OPEN_MAX: usize = 500;
const TICK: Duration = Duration::from_millis(10);
const CLERKS_PAUSE: Duration = Duration::from_millis(50);
const GROUP: &str = "ledger";

pub(crate) struct Load {
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What everything is sent to.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: u32,
}

impl Topic {
    pub(crate) fn key(&self, partition: u32) -> String {
        format!("{}-{partition}", self.name)
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        (0..self.partitions).map(|partition| self.key(partition)).collect()
    }
}

impl Load {
    pub(crate) fn new() -> Self {
        Self { stopping: Arc::default(), threads: Vec::new() }
    }

    /// Sends so many records a second with this client, to the partitions in turn.
    pub(crate) fn produce(
        &mut self,
        worker: &Arc<Worker>,
        topic: &Topic,
        rate: u32,
        history: &Arc<History>,
    ) {
        let (worker, topic, history) = (worker.clone(), topic.clone(), history.clone());
        self.spawn(move |stopping| {
            let (start, mut sent) = (Instant::now(), 0_u64);
            while !stopping() {
                let due = start.elapsed().as_millis() * u128::from(rate) / 1000;
                while u128::from(sent) < due && history.open_of(worker.process) < OPEN_MAX {
                    let value = (u64::from(worker.process) << 32) | sent;
                    let partition = u32::try_from(sent % u64::from(topic.partitions));
                    worker.send(&topic.name, partition.unwrap_or(0), value);
                    sent += 1;
                }
                // What could not be sent in time is not made up for.
                sent = sent.max(u64::try_from(due).unwrap_or(sent));
                std::thread::sleep(TICK);
            }
        });
    }

    /// Commits 1, 2, 3, ….
    pub(crate) fn commit(&mut self, worker: &Arc<Worker>, topic: &Topic, history: &Arc<History>) {
        let (worker, topic, history) = (worker.clone(), topic.clone(), history.clone());
        self.spawn(move |stopping| {
            let mut offset = 0;
            while !stopping() {
                offset += 1;
                let op = Op::Commit { group: GROUP.into(), key: topic.key(0), offset };
                history.record(worker.process, Stage::Invoke, op.clone());
                let stage = match worker.ask(&format!("commit {GROUP} {} 0 {offset}", topic.name)) {
                    Ok(Ok(_)) => Stage::Ok,
                    Ok(Err(_)) | Err(_) => Stage::Info,
                };
                history.record(worker.process, stage, op);
                std::thread::sleep(CLERKS_PAUSE);
            }
        });
    }

    /// Asks for what was committed, and for ends.
    pub(crate) fn ask(&mut self, worker: &Arc<Worker>, topic: &Topic, history: &Arc<History>) {
        let (worker, topic, history) = (worker.clone(), topic.clone(), history.clone());
        self.spawn(move |stopping| {
            let clerk = Clerk { worker, history };
            while !stopping() {
                let question = format!("fetch {GROUP} {} 0", topic.name);
                let key = topic.key(0);
                let op = |offset| Op::Fetch { group: GROUP.into(), key: key.clone(), offset };
                clerk.ask(&question, op);
                for partition in 0..topic.partitions {
                    let question = format!("end {} {partition}", topic.name);
                    clerk.ask(&question, |offset| Op::End { key: topic.key(partition), offset });
                }
                std::thread::sleep(CLERKS_PAUSE);
            }
        });
    }

    /// Notes for how long this process itself stood still: then the cluster could do no better.
    pub(crate) fn watch_machine(&mut self, stall_ms: &Arc<AtomicU64>) {
        let stall_ms = stall_ms.clone();
        self.spawn(move |stopping| {
            while !stopping() {
                let start = Instant::now();
                std::thread::sleep(TICK);
                let late = start.elapsed().saturating_sub(TICK).as_millis();
                stall_ms.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
    }

    pub(crate) fn stop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been printed, and shows in the history as well.
            let _ = thread.join();
        }
    }

    fn spawn(&mut self, run: impl FnOnce(&dyn Fn() -> bool) + Send + 'static) {
        let stopping = self.stopping.clone();
        let run = move || run(&|| stopping.load(Ordering::Relaxed));
        self.threads.push(std::thread::spawn(run));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Clerk {
    worker: Arc<Worker>,
    history: Arc<History>,
}

impl Clerk {
    fn ask(&self, question: &str, op: impl Fn(i64) -> Op) {
        let process = self.worker.process;
        self.history.record(process, Stage::Invoke, op(-1));
        let answer = self.worker.ask(question).ok().and_then(Result::ok);
        match answer.and_then(|answer| answer.parse().ok()) {
            Some(offset) => self.history.record(process, Stage::Ok, op(offset)),
            None => self.history.record(process, Stage::Fail, op(-1)),
        }
    }
}

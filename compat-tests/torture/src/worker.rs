//! A client in a process of its own. It is told what to do and tells what came of it, a line each:
//!
//! ```text
//! send TOPIC PARTITION VALUE        sent TOPIC PARTITION VALUE OFFSET
//!                                   failed TOPIC PARTITION VALUE WHY      certainly not sent
//!                                   unsure TOPIC PARTITION VALUE WHY
//! ask ID VERB WORD...               answer ID ok [WORD...]
//!                                   answer ID fail WHY
//!                                   ready                                 at the beginning
//!                                   polled TOPIC PARTITION OFFSET:VALUE[:EPOCH]...
//!                                   note WHY                              it goes on
//!                                   fatal WHY                             what should not happen
//! ```
//!
//! Verbs of every client: `read TOPIC PARTITION...` (from the beginning on) and `join GROUP TOPIC`.
//! Those of the one in `franz/`: see there. A client ends with its standard input.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use histcheck::{Op, Record, Stage};

use crate::history::History;

/// The Java virtual machine takes its time when the machine is busy.
const READY: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(30);

pub(crate) struct Worker {
    pub(crate) process: u32,
    name: String,
    child: Mutex<Child>,
    stdin: Mutex<ChildStdin>,
    answers: Arc<Answers>,
    next: AtomicU64,
    history: Arc<History>,
}

type Answers = Mutex<BTreeMap<u64, Sender<Result<String, String>>>>;

impl Worker {
    pub(crate) fn start(
        name: &str,
        process: u32,
        mut command: Command,
        log: &Path,
        history: &Arc<History>,
    ) -> Result<Self, String> {
        let log = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{name}: no pipes"));
        };
        let answers = Arc::new(Answers::default());
        let (ready, is_ready) = channel();
        let reader = Reader { process, answers: answers.clone(), history: history.clone(), ready };
        std::thread::spawn(move || reader.run(stdout));
        await_ready(name, &is_ready, &mut child)?;
        Ok(Self {
            process,
            name: name.to_owned(),
            child: Mutex::new(child),
            stdin: Mutex::new(stdin),
            answers,
            next: AtomicU64::new(0),
            history: history.clone(),
        })
    }

    pub(crate) fn send(&self, topic: &str, partition: u32, value: u64) {
        self.history.send(self.process, &format!("{topic}-{partition}"), value);
        self.tell(&format!("send {topic} {partition} {value}"));
    }

    /// The outer error: there was no answer, so nobody knows.
    pub(crate) fn ask(&self, what: &str) -> Result<Result<String, String>, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = channel();
        self.answers.lock().expect("no panics there").insert(id, sender);
        self.tell(&format!("ask {id} {what}"));
        receiver.recv_timeout(ANSWER).map_err(|_| format!("{}: no answer to {what}", self.name))
    }

    /// What must work: asks until it does.
    pub(crate) fn demand(&self, what: &str, patience: Duration) -> Result<String, String> {
        let deadline = std::time::Instant::now() + patience;
        loop {
            let failure = match self.ask(what) {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) | Err(failure) => failure,
            };
            if std::time::Instant::now() > deadline {
                return Err(format!("{what}: {failure}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Reads all partitions from the beginning.
    pub(crate) fn read(&self, topic: &str, partitions: u32) -> Result<(), String> {
        let positions = (0..partitions).map(|number| (format!("{topic}-{number}"), 0)).collect();
        self.history.record(self.process, Stage::Ok, Op::Assign { positions });
        let numbers: Vec<String> = (0..partitions).map(|number| number.to_string()).collect();
        self.ask(&format!("read {topic} {}", numbers.join(" ")))??;
        Ok(())
    }

    pub(crate) fn join(&self, group: &str, topic: &str) -> Result<(), String> {
        self.history.record(self.process, Stage::Ok, Op::Subscribe);
        self.ask(&format!("join {group} {topic}"))??;
        Ok(())
    }

    fn tell(&self, line: &str) {
        let mut stdin = self.stdin.lock().expect("no panics there");
        if writeln!(stdin, "{line}").is_err() {
            self.history.fatal(format!("{} is gone", self.name));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut child = self.child.lock().expect("no panics there");
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn await_ready(name: &str, ready: &Receiver<()>, child: &mut Child) -> Result<(), String> {
    ready.recv_timeout(READY).map_err(|error| {
        let _ = child.kill();
        let _ = child.wait();
        match error {
            RecvTimeoutError::Timeout => format!("{name} did not become ready"),
            RecvTimeoutError::Disconnected => format!("{name} ended at once"),
        }
    })
}

/// What a client says.
struct Reader {
    process: u32,
    answers: Arc<Answers>,
    history: Arc<History>,
    ready: Sender<()>,
}

impl Reader {
    fn run(self, stdout: ChildStdout) {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if self.line(&line).is_none() {
                self.history.fatal(format!("process {} said: {line}", self.process));
            }
        }
    }

    fn line(&self, line: &str) -> Option<()> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "ready" => self.ready.send(()).ok()?,
            "sent" | "failed" | "unsure" => self.sent(verb, rest)?,
            "polled" => self.polled(rest)?,
            "answer" => {
                let (id, answer) = rest.split_once(' ')?;
                let (outcome, words) = answer.split_once(' ').unwrap_or((answer, ""));
                let words = words.to_owned();
                let answer = if outcome == "ok" { Ok(words) } else { Err(words) };
                // Nobody waits if it came too late.
                let waiting =
                    self.answers.lock().expect("no panics there").remove(&id.parse().ok()?);
                let _ = waiting.map(|sender| sender.send(answer));
            }
            "note" => self.history.note(rest),
            _ => return None,
        }
        Some(())
    }

    fn sent(&self, verb: &str, rest: &str) -> Option<()> {
        let mut words = rest.splitn(4, ' ');
        let (topic, partition) = (words.next()?, words.next()?);
        let (value, said) = (words.next()?.parse().ok()?, words.next()?);
        let answer = match verb {
            "sent" => Ok(said.parse().ok()?),
            "failed" => Err((Stage::Fail, said)),
            _ => Err((Stage::Info, said)),
        };
        self.history.sent(&format!("{topic}-{partition}"), value, answer);
        Some(())
    }

    fn polled(&self, rest: &str) -> Option<()> {
        let mut words = rest.split(' ');
        let key = format!("{}-{}", words.next()?, words.next()?);
        let records = words.map(|word| {
            let mut fields = word.split(':');
            let (offset, value) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let epoch = fields.next().map(str::parse).transpose().ok()?;
            Some(Record { offset, value, epoch: epoch.filter(|epoch| *epoch >= 0) })
        });
        self.history.polled(self.process, &key, records.collect::<Option<_>>()?);
        Some(())
    }
}

//! What all clients did and were told, in one order and on one clock: written to a file, fed to the
//! checker, and watched by those who wait for something to happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use histcheck::{Checker, Event, Key, Op, Options, Record, Report, Stage, jsonl};

pub(crate) struct History {
    start: Instant,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    file: BufWriter<File>,
    checker: Checker,
    /// Sends without an answer, and when they began.
    open: BTreeMap<(Key, u64), Open>,
    open_of: BTreeMap<u32, usize>,
    /// For each partition, the latest beginning of a send that was acknowledged.
    acked: BTreeMap<Key, Instant>,
    /// When a send was acknowledged, and how long that took.
    latencies: Vec<(Instant, Duration)>,
    /// The highest offset that a process has read.
    read: BTreeMap<(u32, Key), i64>,
    fatal: Vec<String>,
    unsure: Vec<String>,
    notes: BTreeSet<String>,
}

struct Open {
    process: u32,
    since: Instant,
}

impl History {
    pub(crate) fn create(path: &Path, options: Options) -> Result<Self, String> {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let inner = Inner {
            file: BufWriter::new(file),
            checker: Checker::new(options),
            open: BTreeMap::new(),
            open_of: BTreeMap::new(),
            acked: BTreeMap::new(),
            latencies: Vec::new(),
            read: BTreeMap::new(),
            fatal: Vec::new(),
            unsure: Vec::new(),
            notes: BTreeSet::new(),
        };
        Ok(Self { start: Instant::now(), inner: Mutex::new(inner), changed: Condvar::new() })
    }

    pub(crate) fn record(&self, process: u32, stage: Stage, op: Op) {
        self.lock().record(self.start, process, stage, op);
        self.changed.notify_all();
    }

    pub(crate) fn nemesis(&self, what: &str) {
        self.record(0, Stage::Info, Op::Nemesis { what: what.to_owned() });
    }

    pub(crate) fn send(&self, process: u32, key: &str, value: u64) {
        let mut inner = self.lock();
        let since = Instant::now();
        inner.open.insert((key.to_owned(), value), Open { process, since });
        *inner.open_of.entry(process).or_default() += 1;
        let op = Op::Send { key: key.to_owned(), value, offset: None, txn: None };
        inner.record(self.start, process, Stage::Invoke, op);
    }

    /// The answer to a send.
    pub(crate) fn sent(&self, key: &str, value: u64, answer: Result<i64, (Stage, &str)>) {
        let mut inner = self.lock();
        let Some(open) = inner.open.remove(&(key.to_owned(), value)) else {
            inner.fatal.push(format!("an answer to no send: {key} {value}"));
            return;
        };
        if let Some(count) = inner.open_of.get_mut(&open.process) {
            *count -= 1;
        }
        let (stage, offset) = match answer {
            Ok(offset) => {
                let latest = inner.acked.entry(key.to_owned()).or_insert(open.since);
                *latest = open.since.max(*latest);
                inner.latencies.push((Instant::now(), open.since.elapsed()));
                (Stage::Ok, Some(offset))
            }
            Err((stage, why)) => {
                inner.unsure.push(format!("{key} {value}: {why}"));
                (stage, None)
            }
        };
        let op = Op::Send { key: key.to_owned(), value, offset, txn: None };
        inner.record(self.start, open.process, stage, op);
        drop(inner);
        self.changed.notify_all();
    }

    pub(crate) fn polled(&self, process: u32, key: &str, records: Vec<Record>) {
        let mut inner = self.lock();
        if let Some(last) = records.iter().map(|record| record.offset).max() {
            let read = inner.read.entry((process, key.to_owned())).or_insert(last);
            *read = last.max(*read);
        }
        inner.record(self.start, process, Stage::Ok, Op::Poll { key: key.to_owned(), records });
        drop(inner);
        self.changed.notify_all();
    }

    /// What a client could not go on after.
    pub(crate) fn fatal(&self, what: String) {
        self.lock().fatal.push(what);
    }

    pub(crate) fn note(&self, what: &str) {
        self.lock().notes.insert(what.to_owned());
    }

    pub(crate) fn fatals(&self) -> Vec<String> {
        self.lock().fatal.clone()
    }

    /// Sends that ended without an acknowledgement.
    pub(crate) fn unsure(&self) -> Vec<String> {
        self.lock().unsure.clone()
    }

    pub(crate) fn open_of(&self, process: u32) -> usize {
        self.lock().open_of.get(&process).copied().unwrap_or(0)
    }

    /// Waits until what was sent to each of these partitions after that moment is acknowledged, and
    /// tells how long after it that was.
    pub(crate) fn await_served(
        &self,
        keys: &[Key],
        since: Instant,
        patience: Duration,
    ) -> Option<Duration> {
        let served = |inner: &Inner| {
            keys.iter().all(|key| inner.acked.get(key).is_some_and(|sent| *sent >= since))
        };
        self.await_that(patience, served).then(|| since.elapsed())
    }

    pub(crate) fn acked_since(&self, key: &str, since: Instant) -> bool {
        self.lock().acked.get(key).is_some_and(|sent| *sent >= since)
    }

    pub(crate) fn await_all_answered(&self, patience: Duration) -> bool {
        self.await_that(patience, |inner| inner.open.is_empty())
    }

    pub(crate) fn await_read(&self, process: u32, ends: &[(Key, i64)], patience: Duration) -> bool {
        self.await_that(patience, |inner| {
            ends.iter().all(|(key, last)| {
                inner.read.get(&(process, key.clone())).is_some_and(|read| read >= last)
            })
        })
    }

    /// The latencies of what was acknowledged between these moments, sorted.
    pub(crate) fn latencies(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let inner = self.lock();
        let within = inner.latencies.iter().filter(|(at, _)| *at >= from && *at <= to);
        let mut latencies: Vec<Duration> = within.map(|(_, latency)| *latency).collect();
        latencies.sort();
        latencies
    }

    /// What the checker says, and what clients noted.
    pub(crate) fn judge(&self, options: Options) -> (Report, Vec<String>) {
        let mut inner = self.lock();
        let _ = inner.file.flush();
        let checker = std::mem::replace(&mut inner.checker, Checker::new(options));
        (checker.finish(), inner.notes.iter().cloned().collect())
    }

    fn await_that(&self, patience: Duration, mut holds: impl FnMut(&Inner) -> bool) -> bool {
        let inner = self.lock();
        let waited = self.changed.wait_timeout_while(inner, patience, |inner| !holds(inner));
        waited.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no thread panics while it writes the history")
    }
}

impl Inner {
    fn record(&mut self, start: Instant, process: u32, stage: Stage, op: Op) {
        let time_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let event = Event { time_ns, process, stage, op };
        self.checker.feed(&event);
        if let Err(error) = writeln!(self.file, "{}", jsonl::format(&event)) {
            self.fatal.push(format!("the history can not be written: {error}"));
        }
    }
}

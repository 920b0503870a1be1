//! Takes a history event by event and hands each to the partition or group that it is about.

use std::collections::BTreeMap;

use crate::commits::Commits;
use crate::event::{Event, Key, Op, Stage};
use crate::partition::{Partition, Sent};
use crate::replicas::Replicas;
use crate::report::{Counts, Findings, Report};
use crate::txns::Txns;

/// What the cluster under test promises beyond the rules that hold for all.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub ends: Ends,
}

/// What the end of a partition, when asked for, must take into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Every record acknowledged before: a leader that was deposed does not answer.
    Linearizable,
    /// What the same client was told before.
    Monotonic,
}

impl Default for Options {
    fn default() -> Self {
        Self { ends: Ends::Linearizable }
    }
}

/// How consumers come to the records they read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Subscribed,
    /// Assigned to partitions while there were faults.
    Assigned,
    /// Assigned to partitions after the faults.
    Final,
}

/// A clone may be finished while the history goes on.
#[derive(Clone, Debug)]
pub struct Checker {
    options: Options,
    partitions: BTreeMap<Key, Partition>,
    groups: BTreeMap<(String, Key), Commits>,
    replicas: BTreeMap<Key, Replicas>,
    txns: Txns,
    readers: BTreeMap<u32, Reader>,
    phase: Phase,
    counts: Counts,
    findings: Findings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Faults,
    Final,
}

impl Checker {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            partitions: BTreeMap::new(),
            groups: BTreeMap::new(),
            replicas: BTreeMap::new(),
            txns: Txns::default(),
            readers: BTreeMap::new(),
            phase: Phase::Faults,
            counts: Counts::default(),
            findings: Findings::default(),
        }
    }

    pub fn feed(&mut self, event: &Event) {
        self.count(event);
        let Event { time_ns, process, stage, .. } = *event;
        match &event.op {
            Op::Send { key, value, offset, txn } => {
                if let Some(txn) = txn.filter(|_| stage == Stage::Invoke) {
                    self.txns.send(txn, key, *value);
                }
                let offset = offset.filter(|offset| *offset >= 0);
                let sent = Sent { offset, is_in_txn: txn.is_some() };
                self.partition(key).send(process, stage, *value, sent);
            }
            Op::EndTxn { txn, outcome } => self.txns.end(*txn, stage, *outcome),
            Op::Poll { key, records } if stage == Stage::Ok => {
                let reader = self.readers.get(&process).copied().unwrap_or(Reader::Subscribed);
                for record in records {
                    self.partition(key).read(process, reader, record);
                }
            }
            Op::Assign { positions } if stage == Stage::Ok => self.assign(process, positions),
            Op::Subscribe if stage == Stage::Ok => {
                self.readers.insert(process, Reader::Subscribed);
                self.forget_positions(process);
            }
            Op::Commit { group, key, offset } => {
                self.group(group, key).commit(process, time_ns, stage, *offset);
            }
            Op::Fetch { group, key, offset } => {
                self.group(group, key).fetch(process, time_ns, stage, *offset);
            }
            Op::End { key, offset } => self.partition(key).end(process, stage, *offset),
            Op::Trim { key, offset } => self.partition(key).trim(*offset),
            Op::Final => self.phase = Phase::Final,
            Op::Replica { node, key, batches } => {
                self.replicas.entry(key.clone()).or_default().add(*node, batches.clone());
            }
            Op::Poll { .. } | Op::Assign { .. } | Op::Subscribe | Op::Nemesis { .. } => {}
        }
    }

    /// The end of the history.
    pub fn finish(mut self) -> Report {
        self.end_txns();
        for (key, partition) in &mut self.partitions {
            let replicas = self.replicas.get(key);
            let unread = replicas.map(|replicas| replicas.unread(!self.txns.is_empty()));
            let (ends, unread) = (self.options.ends, unread.unwrap_or_default());
            partition.check(key, ends, &unread, &mut self.findings);
            self.counts.sends_unsure += partition.unsure();
        }
        for ((group, key), commits) in &self.groups {
            commits.check(group, key, &mut self.findings);
        }
        for (key, replicas) in &self.replicas {
            replicas.check(key, &mut self.findings);
        }
        Report { findings: self.findings.into_vec(), counts: self.counts }
    }

    /// Tells the partitions what became of their records in transactions.
    fn end_txns(&mut self) {
        let partitions = &self.partitions;
        let is_read = |key: &str, value| {
            partitions.get(key).is_some_and(|partition| partition.is_read(value))
        };
        let ended: Vec<_> = self.txns.outcomes(is_read).collect();
        for (outcome, sends) in ended {
            for (key, value) in sends {
                if let Some(partition) = self.partitions.get_mut(key) {
                    partition.end_txn(*value, outcome);
                }
            }
        }
    }

    fn assign(&mut self, process: u32, positions: &[(Key, i64)]) {
        let reader = match self.phase {
            Phase::Faults => Reader::Assigned,
            Phase::Final => Reader::Final,
        };
        self.readers.insert(process, reader);
        self.forget_positions(process);
        for (key, offset) in positions {
            self.partition(key).assign(process, reader, *offset);
        }
    }

    fn forget_positions(&mut self, process: u32) {
        for partition in self.partitions.values_mut() {
            partition.unassign(process);
        }
    }

    fn partition(&mut self, key: &str) -> &mut Partition {
        // The key is copied when it is new alone.
        if !self.partitions.contains_key(key) {
            self.partitions.insert(key.to_owned(), Partition::default());
        }
        self.partitions.get_mut(key).expect("it is there now")
    }

    fn group(&mut self, group: &str, key: &str) -> &mut Commits {
        self.groups.entry((group.to_owned(), key.to_owned())).or_default()
    }

    fn count(&mut self, event: &Event) {
        let counts = &mut self.counts;
        match (&event.op, event.stage) {
            (Op::Send { .. }, Stage::Ok) => counts.sends_ok += 1,
            (Op::Send { .. }, Stage::Fail) => counts.sends_failed += 1,
            (Op::Poll { records, .. }, Stage::Ok) => counts.records_read += records.len(),
            (Op::Commit { .. }, Stage::Ok) => counts.commits_ok += 1,
            (Op::Fetch { .. }, Stage::Ok) => counts.offsets_fetched += 1,
            (Op::End { .. }, Stage::Ok) => counts.ends_seen += 1,
            (Op::Replica { .. }, _) => counts.replicas += 1,
            (Op::Nemesis { .. }, _) => counts.faults += 1,
            _ => {}
        }
    }
}

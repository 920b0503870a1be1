//! The end of a scenario: everything is healed, everything is read, and the history is judged.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use histcheck::{Batch, Op, Report, Stage};

use crate::rig::Node;
use crate::run::{Client, Form, Run, command, of_partition, options};
use crate::segments::batches;
use crate::worker::Worker;

/// Clients may wait two minutes before they give a record up.
const ANSWERED: Duration = Duration::from_secs(150);
/// Those of brokers that do wrong on purpose may never be answered.
const ANSWERED_PLANTED: Duration = Duration::from_secs(10);
const SYNCED: Duration = Duration::from_secs(60);
const READ: Duration = Duration::from_secs(90);
/// So few acknowledged records prove nothing.
const ACKED_MIN: usize = 200;
const FINAL_PROCESSES: u32 = 100;

pub(crate) struct Verdict {
    pub(crate) report: Report,
    pub(crate) complaints: Vec<String>,
    /// Faults that may not have happened.
    pub(crate) doubts: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) outages: Vec<(String, Duration)>,
    /// The longest time for which the machine had no processor for the harness.
    pub(crate) stall: Duration,
}

impl Verdict {
    pub(crate) fn is_inconclusive(&self) -> bool {
        let counts = self.report.counts;
        let too_little = counts.sends_ok < ACKED_MIN || counts.records_read < ACKED_MIN;
        too_little || counts.faults == 0 || !self.doubts.is_empty()
    }
}

impl Run {
    /// What came of it. `broken` is why the scenario could not go on.
    pub(crate) fn finish(mut self, broken: Option<String>) -> Verdict {
        self.complaints.extend(broken);
        if let Err(complaint) = self.settle() {
            self.complaints.push(complaint);
        }
        self.load.stop();
        self.complaints.extend(self.history.fatals());
        let (report, notes) = self.history.judge(options(self.cluster.broker));
        let stall = Duration::from_millis(self.stall_ms.load(Ordering::Relaxed));
        self.doubts.extend_from_slice(self.cluster.rig.unnoticed());
        let Self { complaints, doubts, outages, .. } = self;
        Verdict { report, complaints, doubts, notes, outages, stall }
    }

    fn settle(&mut self) -> Result<(), String> {
        self.complaints.extend(self.cluster.fallen());
        self.cluster.heal()?;
        self.await_service("after it all", Instant::now())?;
        self.load.stop();
        let is_planted = self.settings.planted.is_some();
        let patience = if is_planted { ANSWERED_PLANTED } else { ANSWERED };
        if !self.history.await_all_answered(patience) {
            self.complaints.push("some sends were never answered".to_owned());
        }
        self.await_in_sync(SYNCED)?;
        let ends = self.mark_ends()?;
        self.read_all(&ends)?;
        self.compare_replicas()?;
        self.complaints.extend(self.cluster.fallen());
        self.cluster.stop_all()
    }

    /// One more record for each partition, so that its end is known.
    fn mark_ends(&mut self) -> Result<Vec<(String, i64)>, String> {
        for partition in 0..self.topic.partitions {
            let value = (u64::from(self.admin.process) << 32) | u64::from(partition);
            self.admin.send(&self.topic.name, partition, value);
        }
        if !self.history.await_all_answered(self.limit()) {
            self.complaints.push("the last records were not acknowledged".to_owned());
        }
        let end = |partition: u32| {
            let question = format!("end {} {partition}", self.topic.name);
            let end = self.admin.demand(&question, self.limit())?;
            let end: i64 = end.parse().map_err(|_| format!("{question}: {end}"))?;
            Ok((self.topic.key(partition), end - 1))
        };
        (0..self.topic.partitions).map(end).collect()
    }

    /// Clients that nobody has used yet read everything.
    fn read_all(&mut self, ends: &[(String, i64)]) -> Result<(), String> {
        self.history.record(0, Stage::Info, Op::Final);
        let clients = match self.settings.form {
            Form::Once | Form::Short => &[Client::Franz][..],
            Form::Long => &[Client::Franz, Client::Java, Client::Librdkafka],
        };
        for (client, process) in clients.iter().zip(FINAL_PROCESSES..) {
            let command = command(*client, &self.cluster.rig)?;
            let name = format!("last-{client:?}");
            let log = self.log_of(&name);
            let reader = Worker::start(&name, process, command, &log, &self.history)?;
            reader.read(&self.topic.name, self.topic.partitions)?;
            if !self.history.await_read(process, ends, READ) {
                self.complaints.push(format!("{client:?} did not read up to {ends:?}"));
            }
        }
        Ok(())
    }

    /// The files of all replicas, once they are the same, or else as they are.
    fn compare_replicas(&self) -> Result<(), String> {
        let question = format!("replicas {}", self.topic.name);
        let placement = self.admin.demand(&question, self.limit())?;
        for partition in 0..self.topic.partitions {
            let ids = of_partition(&placement, partition).unwrap_or_default();
            let ids = ids.split(',').map(|id| id.parse().map_err(|_| placement.clone()));
            let nodes = ids.map(|id| self.cluster.node_of(id?)).collect::<Result<Vec<_>, _>>()?;
            let key = self.topic.key(partition);
            let deadline = Instant::now() + SYNCED;
            let files = loop {
                let files = self.files(&nodes, &key)?;
                if same(&files) || Instant::now() > deadline {
                    break files;
                }
                std::thread::sleep(Duration::from_millis(500));
            };
            for (node, batches) in files {
                let node = i32::try_from(node).map_err(|error| error.to_string())?;
                let op = Op::Replica { node, key: key.clone(), batches };
                self.history.record(0, Stage::Ok, op);
            }
        }
        Ok(())
    }

    fn files(&self, nodes: &[Node], key: &str) -> Result<Vec<(Node, Vec<Batch>)>, String> {
        let folder = |node| self.cluster.rig.folder(node).join("data").join(key);
        nodes.iter().map(|node| Ok((*node, batches(&folder(*node))?))).collect()
    }
}

/// They end alike. Where they begin, and whether they are the same in between, is for the checker.
fn same(files: &[(Node, Vec<Batch>)]) -> bool {
    let mut ends = files.iter().map(|(_, batches)| batches.last());
    let first = ends.next();
    ends.all(|end| Some(end) == first)
}

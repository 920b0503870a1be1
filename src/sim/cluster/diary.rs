//! What the clients did and were told, in the lines that `histcheck` reads: the checker that judges
//! real clusters judges the simulated ones too.

use std::fmt::{Arguments, Display};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::base::clock::{Clock, ManualClock};
use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::records;
use crate::sim::client::Place;

const NANOS_PER_MS: i64 = 1_000_000;
/// A batch has fewer records.
const RECORDS_PER_BATCH_COUNT: usize = 8;
/// Whoever is no client.
const WORLD: u32 = 0;

#[derive(Debug, Clone)]
pub(super) struct Diary {
    lines: Arc<Mutex<Vec<String>>>,
    clock: ManualClock,
}

/// What one client writes with; it is busy with one partition.
#[derive(Debug, Clone)]
pub(super) struct Pen {
    diary: Diary,
    process: u32,
    key: String,
}

/// What became of what was begun.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    Invoke,
    Ok,
}

/// The number by which the checker knows a record.
fn value_of(batch: usize, record: usize) -> usize {
    batch * RECORDS_PER_BATCH_COUNT + record
}

/// What a record says when it is made.
pub(super) fn record_text(batch: usize, record: usize) -> String {
    format!("{} ", value_of(batch, record))
}

fn key(place: &Place) -> String {
    format!("{}-{}", place.topic, place.partition)
}

impl Diary {
    pub(super) fn new(clock: ManualClock) -> Self {
        Self { lines: Arc::default(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lock())
    }

    pub(super) fn pen(&self, process: u32, place: &Place) -> Pen {
        Pen { diary: self.clone(), process, key: key(place) }
    }

    fn note(&self, process: u32, stage: Stage, fields: Arguments<'_>) {
        let stage = match stage {
            Stage::Invoke => "invoke",
            Stage::Ok => "ok",
        };
        let mut lines = self.lock();
        // No two lines are of the same time, which would leave their order open.
        let nth = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        let time = self.clock.now_ms().saturating_mul(NANOS_PER_MS).saturating_add(nth);
        lines.push(format!(r#"{{"t":{time},"p":{process},"type":"{stage}",{fields}}}"#));
    }

    /// A fault, or the end of some.
    pub(super) fn fault(&self, what: &str) {
        self.note(WORLD, Stage::Invoke, format_args!(r#""f":"nemesis","what":"{what}""#));
    }

    /// The faults are over, and what is read from now on is all there is.
    pub(super) fn rest(&self) {
        self.note(WORLD, Stage::Ok, format_args!(r#""f":"final""#));
    }

    /// What lies on the disk of a replica.
    pub(super) fn replica<'a>(
        &self,
        node: i32,
        partition: &str,
        batches: impl Iterator<Item = &'a Batch>,
    ) {
        let batches = list(batches.map(|batch| {
            let header = batch.header();
            let kind = if header.is_control() { "control" } else { "data" };
            let (base, last) = (header.base_offset, header.last_offset());
            format!(r#"[{base},{last},{},{},"{kind}"]"#, header.leader_epoch, header.crc)
        }));
        self.note(
            WORLD,
            Stage::Ok,
            format_args!(r#""f":"replica","node":{node},"key":"{partition}","batches":{batches}"#),
        );
    }
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    format!("[{}]", items.join(","))
}

impl Pen {
    fn note(&self, stage: Stage, fields: Arguments<'_>) {
        self.diary.note(self.process, stage, fields);
    }

    /// A batch is sent for the first time.
    pub(super) fn sends(&self, batch: usize, count: usize) {
        for record in 0..count {
            let (key, value) = (&self.key, value_of(batch, record));
            self.note(Stage::Invoke, format_args!(r#""f":"send","key":"{key}","value":{value}"#));
        }
    }

    pub(super) fn acknowledged(&self, batch: usize, offsets: impl Iterator<Item = Offset>) {
        for (record, offset) in offsets.enumerate() {
            let (key, value) = (&self.key, value_of(batch, record));
            self.note(
                Stage::Ok,
                format_args!(r#""f":"send","key":"{key}","value":{value},"offset":{offset}"#),
            );
        }
    }

    /// From here on the client reads from this offset.
    pub(super) fn assigned(&self, offset: Offset) {
        let key = &self.key;
        self.note(Stage::Ok, format_args!(r#""f":"assign","positions":[["{key}",{offset}]]"#));
    }

    /// The records of these batches, from an offset on.
    pub(super) fn polled(&self, batches: &[Batch], from: Offset) -> Result<(), String> {
        let mut polled = Vec::new();
        for batch in batches {
            let epoch = batch.header().leader_epoch;
            let whole: Bytes = [&batch.head()[..], batch.records()].concat().into();
            let unreadable = |why| format!("records at {}: {why}", batch.header().base_offset);
            for record in records::key_values(&whole).map_err(|why| unreadable(why.to_string()))? {
                let value = record.value.unwrap_or_default();
                let value = String::from_utf8_lossy(&value);
                let number = value.split(' ').next().and_then(|number| number.parse::<u64>().ok());
                let number = number.ok_or_else(|| unreadable(value.clone().into_owned()))?;
                if record.offset >= from {
                    polled.push(format!("[{},{number},{epoch}]", record.offset));
                }
            }
        }
        let (key, records) = (&self.key, list(polled.into_iter()));
        self.note(Stage::Ok, format_args!(r#""f":"poll","key":"{key}","records":{records}"#));
        Ok(())
    }

    /// Asks for the end of the partition, or is told.
    pub(super) fn end(&self, stage: Stage, offset: Offset) {
        let key = &self.key;
        self.note(stage, format_args!(r#""f":"end","key":"{key}","offset":{offset}"#));
    }

    /// Records below the offset may be gone from now on.
    pub(super) fn trims(&self, offset: Offset) {
        let key = &self.key;
        self.note(Stage::Invoke, format_args!(r#""f":"trim","key":"{key}","offset":{offset}"#));
    }

    pub(super) fn commits(&self, stage: Stage, group: &str, offset: Offset) {
        self.in_group("commit", stage, group, offset);
    }

    pub(super) fn fetches(&self, stage: Stage, group: &str, offset: Offset) {
        self.in_group("fetch", stage, group, offset);
    }

    fn in_group(&self, what: &str, stage: Stage, group: &str, offset: Offset) {
        let key = &self.key;
        self.note(
            stage,
            format_args!(r#""f":"{what}","group":"{group}","key":"{key}","offset":{offset}"#),
        );
    }
}

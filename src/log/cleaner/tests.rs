//! Logs that are cleaned again and again, beside a list of all records that were ever appended:
//! with rolls, truncations, orderly restarts and power cuts between any two writes.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::log::batch::tests::of_producer;
use crate::log::entry::{Entry, EntryBody, EntryId};
use crate::log::partition_log::tests::rig::{POLICY, some_options};
use crate::log::partition_log::tests::{DIR, Rig, bytes_of, config, seeds};
use crate::log::records::build::{NewRecord, batch as built};
use crate::log::records::{KeyValue, in_codec, key_values};

const DELETE_RETENTION_MS: i64 = 50;
const PRODUCER_ID: i64 = 7;
const KEYS_COUNT: u64 = 12;
const STEPS_COUNT: u64 = 80;

/// A keyed batch, as an idempotent producer sends it if it has a sequence.
fn keyed(records: &[NewRecord], time_ms: i64, codec: i16, sequence: Option<i32>) -> Batch {
    let plain = built(records, time_ms).expect("a batch");
    match sequence {
        Some(sequence) => in_codec(&of_producer(&plain, PRODUCER_ID, sequence, false), codec),
        None => in_codec(&plain, codec),
    }
}

struct Kept {
    id: EntryId,
    base_offset: Offset,
    next_offset: Offset,
    is_batch: bool,
}

struct Seeded {
    seed: u64,
    rng: Rng,
    rig: Rig,
    now_ms: i64,
    entries: Vec<Kept>,
    applied: usize,
    records: BTreeMap<Offset, KeyValue>,
    /// First and last sequence and last offset of the producer's batches.
    sent: Vec<(usize, i32, i32, Offset)>,
    term: u64,
    /// When a tombstone was first in a cleaning, perhaps.
    tombstones_seen: BTreeMap<Offset, i64>,
    /// How far the last whole cleaning came.
    cleaned_to: Offset,
    swaps: u64,
    dropped: u64,
    /// Its entries came from others, which have cleaned for themselves.
    is_replica: bool,
}

impl Seeded {
    fn new(seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let segment_bytes = 400 + u32::try_from(rng.below(1500)).expect("small");
        Self {
            seed,
            rig: Rig::new(seed, config(segment_bytes, false)),
            rng,
            now_ms: 1_000,
            entries: Vec::new(),
            applied: 0,
            records: BTreeMap::new(),
            sent: Vec::new(),
            term: 1,
            tombstones_seen: BTreeMap::new(),
            cleaned_to: 0,
            swaps: 0,
            dropped: 0,
            is_replica: false,
        }
    }

    fn go(&mut self) {
        for _ in 0..STEPS_COUNT {
            if self.rng.below(6) == 0 {
                self.rig.disk.crash_in(self.rng.below(60));
            }
            self.now_ms += 10;
            match self.rng.below(20) {
                0..12 => self.append(),
                12 => self.truncate(),
                13..18 => self.clean(),
                18 if self.rig.close().is_ok() => drop(self.rig.open(true)),
                _ => self.check(),
            }
            if self.rig.disk.is_crashed() {
                self.restart();
            }
        }
        self.rig.disk.keep_power();
        self.check();
    }

    fn next_offset(&self) -> Offset {
        self.entries.last().map_or(0, |kept| kept.next_offset)
    }

    fn append(&mut self) {
        for _ in 0..=self.rng.below(6) {
            let id = EntryId { term: self.term, index: self.entries.len() as u64 };
            let base_offset = self.next_offset();
            let body = match self.rng.below(10) {
                0 => EntryBody::Blank,
                1 => EntryBody::VOID,
                _ => EntryBody::Batch(self.choose(base_offset)),
            };
            let count = match &body {
                EntryBody::Batch(batch) => i64::from(batch.header().record_count),
                _ => 0,
            };
            let is_batch = count > 0;
            self.entries.push(Kept { id, base_offset, next_offset: base_offset + count, is_batch });
            if self.rig.append_one(Entry { id, body, ticket: None }).is_err() {
                return;
            }
        }
        let room = (self.entries.len() - self.applied) as u64;
        self.applied += usize::try_from(self.rng.below(room + 1)).expect("small");
        self.rig.apply_first(self.applied);
    }

    fn choose(&mut self, base_offset: Offset) -> Batch {
        let record = |_| {
            let key = format!("k{}", self.rng.below(KEYS_COUNT));
            let size = usize::try_from(self.rng.below(60)).expect("small");
            let value = (self.rng.below(5) != 0).then(|| Bytes::from(vec![b'v'; size]));
            NewRecord { key: key.into(), value }
        };
        let records: Vec<NewRecord> = (0..=self.rng.below(4)).map(record).collect();
        let count = i32::try_from(records.len()).expect("small");
        let sequence = (self.rng.below(3) == 0).then(|| self.sent.last().map_or(0, |s| s.2 + 1));
        if let Some(first) = sequence {
            let last_offset = base_offset + i64::from(count) - 1;
            self.sent.push((self.entries.len(), first, first + count - 1, last_offset));
        }
        for (offset, record) in (base_offset..).zip(&records) {
            let (key, value) = (Some(record.key.clone()), record.value.clone());
            let timestamp_ms = self.now_ms;
            self.records.insert(offset, KeyValue { offset, timestamp_ms, key, value });
        }
        let codec = i16::try_from(self.rng.below(5)).expect("small");
        keyed(&records, self.now_ms, codec, sequence)
    }

    fn forget_after(&mut self, count: usize) {
        self.entries.truncate(count);
        self.sent.retain(|(entry, ..)| *entry < count);
        let end = self.next_offset();
        self.records.retain(|offset, _| *offset < end);
    }

    fn truncate(&mut self) {
        let room = (self.entries.len() - self.applied) as u64;
        let next = self.applied + usize::try_from(self.rng.below(room + 1)).expect("small");
        if next > 0 && self.rig.truncate_after(next as u64 - 1).is_ok() {
            self.forget_after(next);
            self.term += 1;
        }
    }

    fn clean(&mut self) {
        let options = some_options(&self.rng, self.now_ms, DELETE_RETENTION_MS);
        let (records, seen) = (&self.records, &mut self.tombstones_seen);
        let cleaned = self.rig.clean(options, |dirty| {
            for offset in records.range(..dirty.end).map(|(offset, _)| *offset) {
                seen.entry(offset).or_insert(options.now_ms);
            }
        });
        if let Some(summary) = cleaned {
            self.cleaned_to = summary.end;
            self.dropped += summary.records_dropped;
            self.swaps += 1;
            self.check();
        }
    }

    fn restart(&mut self) {
        let count = self.rig.restart(&self.rng, self.applied..=self.entries.len());
        self.forget_after(count);
        self.rig.apply_first(self.applied);
        if !self.rig.disk.is_crashed() {
            self.check();
        }
    }

    fn check(&self) {
        if self.rig.disk.is_crashed() {
            return;
        }
        let found = self.check_entries();
        self.check_records(&found);
        self.check_reads(&found);
        self.check_producer();
        let names = self.rig.disk.list(DIR.as_ref()).expect("listed");
        let left = |name: &&String| name.ends_with(".swap");
        assert_eq!(names.iter().find(left), None, "seed {}", self.seed);
    }

    /// All entries have their places and offsets. Returns their records.
    fn check_entries(&self) -> Vec<KeyValue> {
        let seed = self.seed;
        let entries = self.rig.entries(0);
        assert_eq!(entries.len(), self.entries.len(), "seed {seed}");
        let (mut found, mut end) = (Vec::new(), 0);
        for (entry, kept) in entries.iter().zip(&self.entries) {
            assert_eq!(entry.id, kept.id, "seed {seed}");
            match &entry.body {
                EntryBody::Batch(batch) => {
                    let header = batch.header();
                    if !self.is_replica {
                        assert_eq!(end, kept.base_offset, "seed {seed}");
                    }
                    let offsets = (header.base_offset, header.last_offset());
                    assert_eq!(offsets, (kept.base_offset, kept.next_offset - 1), "seed {seed}");
                    assert_eq!(header.leader_epoch, kept.id.leader_epoch(), "seed {seed}");
                    let bytes = bytes_of(&entry.body).expect("a batch");
                    found.extend(key_values(&bytes).expect("walked"));
                }
                // Of those beside each other the last one has all offsets.
                EntryBody::Compacted { end_offset } => {
                    assert!(*end_offset <= kept.next_offset, "seed {seed}");
                }
                EntryBody::Blank => assert!(!kept.is_batch, "seed {seed}"),
                other => panic!("seed {seed}: {other:?}"),
            }
            end = match &entry.body {
                EntryBody::Batch(batch) => batch.header().last_offset() + 1,
                EntryBody::Compacted { end_offset } => *end_offset,
                _ => end,
            };
        }
        assert_eq!(self.rig.log().offsets().log_end, self.next_offset(), "seed {seed}");
        found
    }

    fn check_records(&self, found: &[KeyValue]) {
        let seed = self.seed;
        let by_offset: BTreeMap<Offset, &KeyValue> = found.iter().map(|r| (r.offset, r)).collect();
        assert_eq!(by_offset.len(), found.len(), "seed {seed}");
        for record in found {
            assert_eq!(self.records.get(&record.offset), Some(record), "seed {seed}");
        }
        let mut latest: BTreeMap<&Bytes, &KeyValue> = BTreeMap::new();
        let mut latest_clean: BTreeMap<&Bytes, Offset> = BTreeMap::new();
        for record in self.records.values() {
            let key = record.key.as_ref().expect("a key");
            latest.insert(key, record);
            if record.offset < self.cleaned_to {
                latest_clean.insert(key, record.offset);
            }
        }
        for record in latest.values() {
            let is_there = by_offset.contains_key(&record.offset);
            let may_be_gone = record.value.is_none()
                && self
                    .tombstones_seen
                    .get(&record.offset)
                    .is_some_and(|seen| self.now_ms - seen >= DELETE_RETENTION_MS);
            assert!(is_there || may_be_gone, "seed {seed}: {record:?} is gone");
        }
        for record in found.iter().filter(|record| record.offset < self.cleaned_to) {
            let key = record.key.as_ref().expect("a key");
            assert_eq!(latest_clean.get(key), Some(&record.offset), "seed {seed}: not cleaned");
        }
    }

    /// Consumers get the same, from wherever they begin.
    fn check_reads(&self, found: &[KeyValue]) {
        let (seed, log) = (self.seed, self.rig.log());
        let end = log.offsets().high_watermark;
        let visible: Vec<&KeyValue> = found.iter().filter(|record| record.offset < end).collect();
        for from in [0, end / 3, end / 2, (end - 1).max(0)] {
            let (mut next, mut read) = (from, Vec::new());
            while let Some(slice) = log.slice(next, 300, true).expect("in range") {
                let mut rest = slice.read().expect("readable");
                while let Ok(batch) = Batch::take(&mut rest) {
                    let whole: Bytes = [&batch.head()[..], batch.records()].concat().into();
                    read.extend(key_values(&whole).expect("walked"));
                    assert!(batch.header().last_offset() >= next, "seed {seed}");
                    next = batch.header().last_offset() + 1;
                }
            }
            let expected = visible.iter().filter(|record| record.offset >= from);
            let read = read.iter().filter(|record| record.offset >= from);
            assert!(read.eq(expected.copied()), "seed {seed}, from {from}");
            let time = log.timestamp_at(from).expect("readable");
            let first = visible.iter().find(|record| record.offset >= from);
            assert_eq!(time, first.map(|record| record.timestamp_ms), "seed {seed}, from {from}");
        }
        for wanted in (1_000..self.now_ms).step_by(70) {
            let first = visible.iter().find(|record| record.timestamp_ms >= wanted);
            let first = first.map(|record| (record.timestamp_ms, record.offset));
            let told = log.offset_for_timestamp(wanted).expect("readable");
            assert_eq!(told, first, "seed {seed}, timestamp {wanted}");
        }
        let max = visible.iter().map(|record| record.timestamp_ms).max();
        let told = log.max_timestamp().expect("readable").map(|(time, _)| time);
        assert_eq!(told, max, "seed {seed}");
    }

    /// A duplicate of the producer's last batch is known.
    fn check_producer(&self) {
        let known = self.rig.log().last_of_producers();
        let expected = self.sent.last().map(|(_, _, _, last_offset)| LastOfProducer {
            epoch: 0,
            last_offset: Some(*last_offset),
        });
        assert_eq!(known.get(&PRODUCER_ID).copied(), expected, "seed {}", self.seed);
    }
}

#[test]
fn what_is_not_written_yet_is_not_cleaned() {
    let mut rig = Rig::new(1, config(300, false));
    let entry = |index: u64| {
        let record = NewRecord { key: b"k"[..].into(), value: Some(vec![b'v'; 100].into()) };
        let body = EntryBody::Batch(keyed(&[record], 1_000, 0, None));
        Entry { id: EntryId { term: 1, index }, body, ticket: None }
    };
    rig.append_one(entry(0)).expect("appended");
    rig.close().expect("closed");
    // The last segment of an orderly stop is as good as closed, until more comes.
    rig.open(true).expect("opened");
    rig.append_later((1..8).map(entry).collect());
    let stub = rig.log().stubs(7, 8).expect("stubs")[0];
    rig.log().apply(7, &stub.meta);
    assert!(rig.log().segment_count() > 2);
    assert_eq!(rig.log().dirty(1_000, &POLICY).expect("looked at"), None);
    assert!(rig.log().closed_segments(Offset::MAX).is_empty());
    rig.append_one(entry(8)).expect("appended");
    assert!(rig.log().dirty(1_000, &POLICY).expect("looked at").is_some());
}

/// Two replicas clean a log, each for itself, and a third one gets it from the one or the other,
/// from wherever it is; it crashes and cleans meanwhile.
fn replicate(seed: u64) -> (u64, u64) {
    let mut run = Seeded::new(seed);
    while run.entries.len() < 120 {
        run.append();
        run.term += run.rng.below(8) / 7;
    }
    run.applied = run.entries.len();
    run.rig.apply_first(run.applied);
    run.rig.close().expect("closed");
    let rng = Rng::seeded(seed + 1);
    let sources = [(); 2].map(|()| {
        let mut source = run.rig.copy();
        source.open(true).expect("opened");
        source.apply_first(run.applied);
        for _ in 0..=rng.below(2) {
            let options = some_options(&rng, run.now_ms, DELETE_RETENTION_MS);
            source.clean(Options { tombstones_below: 0, ..options }, |_| {});
        }
        source
    });
    let segment_bytes = 400 + u32::try_from(rng.below(1500)).expect("small");
    let mut replica = Rig::new(seed, config(segment_bytes, false));
    let (mut count, mut gaps) = (0, 0);
    while count < run.entries.len() {
        let from = count as u64;
        let to = from + 1 + rng.below(15);
        let source = &sources[usize::from(rng.below(2) == 0)];
        let entries = source.log().entries(from, to, usize::MAX).expect("readable");
        let starts = |entry: &Entry| match &entry.body {
            EntryBody::Batch(batch) => Some(batch.header().base_offset),
            _ => None,
        };
        let first = entries.first().and_then(starts);
        gaps += u64::from(first.is_some_and(|first| first > replica.log().offsets().log_end));
        let end = count + entries.len();
        if rng.below(5) == 0 {
            replica.disk.crash_in(rng.below(20));
        }
        let appended = replica.append(entries);
        if let Err(error) = &appended {
            assert!(replica.disk.is_crashed(), "seed {seed}: {error}");
        } else {
            count = end;
            replica.apply_first(count);
            if rng.below(5) == 0 {
                let options = some_options(&rng, run.now_ms, DELETE_RETENTION_MS);
                replica.clean(Options { tombstones_below: 0, ..options }, |_| {});
            }
        }
        if replica.disk.is_crashed() {
            count = replica.restart(&rng, count..=end);
            replica.apply_first(count);
        }
    }
    replica.disk.keep_power();
    let ends = sources.map(|source| source.log().terms());
    assert_eq!(ends[0], replica.log().terms(), "seed {seed}");
    let raft_bytes = |rig: &Rig| {
        let names = rig.disk.list(DIR.as_ref()).expect("listed");
        let raft = names.into_iter().filter(|name| name.ends_with(".raft"));
        let sizes = raft.map(|name| rig.disk.read(&Path::new(DIR).join(name)).expect("read").len());
        sizes.sum::<usize>()
    };
    let saved = raft_bytes(&run.rig).saturating_sub(raft_bytes(&replica)) as u64;
    (run.rig, run.is_replica) = (replica, true);
    run.check();
    run.rig.close().expect("closed");
    run.rig.open(true).expect("opened");
    run.rig.apply_first(run.applied);
    run.check();
    (gaps, saved)
}

#[test]
fn replicas_that_clean_for_themselves_serve_the_same() {
    let (mut gaps, mut saved) = (0, 0);
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| replicate(seed));
        let (skipped, less) = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        (gaps, saved) = (gaps + skipped, saved + less);
    }
    assert!(seeds().count() == 1 || gaps > 20 && saved > 0, "{gaps} {saved}");
}

#[test]
fn of_each_key_the_latest_record_stays() {
    let (mut swaps, mut dropped) = (0, 0);
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Seeded::new(seed);
            run.go();
            (run.swaps, run.dropped)
        });
        let (did_swap, did_drop) = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        (swaps, dropped) = (swaps + did_swap, dropped + did_drop);
    }
    let is_one = seeds().count() == 1;
    assert!(is_one || swaps > 500 && dropped > 5_000, "{swaps} {dropped}");
}

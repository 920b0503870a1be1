//! Logs of every shape before and after, and what is refused.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::base::disk::OpenMode;
use crate::log::batch::BatchHeader;
use crate::log::batch::tests::{Sample, encode};
use crate::log::entry::EntryBody;
use crate::log::partition_log::tests::{DIR, Rig, bytes_of, config};
use crate::log::segment::file_name;
use crate::sim::disk::SimDisk;

const FROM: &str = "/kafka/t-0";

/// What happens to a log, step by step.
#[derive(Debug, Clone)]
enum Step {
    Batch {
        values: usize,
    },
    /// Offsets that compaction has taken.
    Gap(i64),
    /// Somebody leads, and perhaps the epoch is noted.
    Epoch {
        by: i32,
        noted: bool,
    },
    Roll,
}

/// A log as that broker leaves it.
#[derive(Debug, Default)]
struct Model {
    /// Base offsets and contents.
    segments: Vec<(Offset, Vec<u8>)>,
    epochs: Vec<(LeaderEpoch, Offset)>,
    /// Base offset, epoch and bytes.
    batches: Vec<(Offset, LeaderEpoch, Vec<u8>)>,
    end: Offset,
    epoch: LeaderEpoch,
}

impl Model {
    fn of(first: Offset, steps: &[Step]) -> Self {
        let mut model = Self { end: first, ..Self::default() };
        model.segments.push((first, Vec::new()));
        for step in steps {
            match step {
                Step::Batch { values } => model.append(*values),
                Step::Gap(by) => model.end += by,
                Step::Epoch { by, noted } => {
                    model.epoch += by;
                    model.epochs.extend(noted.then_some((model.epoch, model.end)));
                }
                Step::Roll => {
                    if model.segments.last().is_some_and(|(base, _)| *base < model.end) {
                        model.segments.push((model.end, Vec::new()));
                    }
                }
            }
        }
        model
    }

    fn append(&mut self, values: usize) {
        let mut bytes = encode(&vec![&b"value"[..]; values], Sample::default());
        let mut batch = Batch::take(&mut bytes).expect("a good batch");
        batch.assign(self.end, self.epoch);
        let bytes = [&batch.head()[..], batch.records()].concat();
        let (_, content) = self.segments.last_mut().expect("a segment");
        content.extend_from_slice(&bytes);
        self.batches.push((self.end, self.epoch, bytes));
        self.end = batch.header().last_offset() + 1;
    }

    fn write(&self, disk: &SimDisk) {
        disk.create_dir_all(Path::new(FROM)).expect("a folder");
        for (base, content) in &self.segments {
            write(disk, *base, content);
        }
    }
}

fn write(disk: &SimDisk, base: Offset, content: &[u8]) {
    let path = Path::new(FROM).join(file_name(base, "log"));
    let file = disk.open(&path, OpenMode::Truncate).expect("a file");
    file.write_all_at(&[IoSlice::new(content)], 0).expect("written");
}

fn source(model: &Model, log_start: Offset) -> Source {
    let (dir, epochs) = (FROM.into(), model.epochs.clone());
    Source { dir, log_start, epochs, decided: BTreeMap::new(), may_end_from: None }
}

fn run(disk: &SimDisk, source: &Source) -> io::Result<Imported> {
    disk.create_dir_all(Path::new("/data")).expect("a folder");
    let target = Target {
        dir: DIR.into(),
        disk: Arc::new(disk.clone()),
        index_interval_bytes: 200,
        producer_expiration_ms: 1_000,
        now_ms: 1_000_000,
    };
    let done = import(&target, source)?;
    disk.sync_dir(Path::new("/data"))?;
    disk.sync_dir(Path::new("/"))?;
    Ok(done)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..4).prop_map(|values| Step::Batch { values }),
        1 => (1i64..30).prop_map(Step::Gap),
        1 => (1i32..4, any::<bool>()).prop_map(|(by, noted)| Step::Epoch { by, noted }),
        1 => Just(Step::Roll),
    ];
    proptest::collection::vec(step, 0..40)
}

/// What a log has of batches, and its offsets.
fn look(rig: &Rig) -> (Vec<(Offset, u64, Vec<u8>)>, Offset) {
    let entries = rig.entries(1);
    let batches = entries.iter().filter_map(|entry| match &entry.body {
        EntryBody::Batch(batch) => Some((
            batch.header().base_offset,
            entry.id.term,
            bytes_of(&entry.body).expect("a batch").to_vec(),
        )),
        _ => None,
    });
    (batches.collect(), rig.log().offsets().log_end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn a_log_is_the_same_afterwards(
        first in prop_oneof![Just(0i64), 1i64..1000, Just(5_000_000_000)],
        steps in steps(),
        start in 0i64..100,
        clean: bool,
    ) {
        let model = Model::of(first, &steps);
        let disk = SimDisk::new(1);
        model.write(&disk);
        let log_start = first + start.min(model.end - first);
        let done = run(&disk, &source(&model, log_start)).expect("imported");
        // Offsets after the last batch are known only where a segment begins behind them.
        let last = model.batches.last().map_or(first, |(base, _, bytes)| {
            let header = BatchHeader::parse(bytes).expect("a header");
            base + i64::from(header.last_offset_delta) + 1
        });
        let end = last.max(model.segments.last().map_or(0, |(base, _)| *base));
        prop_assert_eq!(done.end, end);
        prop_assert_eq!(done.start, log_start.min(end));
        let expected: Vec<(Offset, u64, Vec<u8>)> = model.batches.iter()
            .map(|(base, epoch, bytes)| (*base, u64::from(epoch.unsigned_abs()), bytes.clone()))
            .collect();
        let mut rig = Rig::on(disk.crash(), config(1 << 20, false));
        rig.open(clean).expect("opened");
        prop_assert_eq!(look(&rig), (expected.clone(), end));
        let (_, last) = rig.log().bounds();
        prop_assert_eq!(last, Some(done.last));
        for (epoch, start) in model.epochs.iter().filter(|(_, start)| *start <= end) {
            let term = u64::try_from(*epoch).expect("small");
            let found = rig.log().terms().into_iter().find(|found| found.first.term == term);
            prop_assert_eq!(found.map(|found| found.start_offset), Some(*start));
        }
        // After a power cut it is still there, and a scan finds the same.
        rig.lose_power();
        rig.open(false).expect("opened");
        prop_assert_eq!(look(&rig), (expected, end));
    }

    #[test]
    fn a_damaged_batch_is_found(
        steps in steps(), which: prop::sample::Index, at: prop::sample::Index, bit in 0u32..8,
    ) {
        let model = Model::of(0, &steps);
        prop_assume!(!model.batches.is_empty());
        let disk = SimDisk::new(1);
        model.write(&disk);
        let hurt = which.index(model.batches.len());
        // Its first offset and its epoch are not under the checksum.
        let at = 16 + at.index(model.batches[hurt].2.len() - 16);
        let sizes = model.batches.iter().map(|(_, _, bytes)| bytes.len());
        let mut position: usize = sizes.take(hurt).sum();
        for (base, content) in &model.segments {
            if position < content.len() {
                let mut content = content.clone();
                content[position + at] ^= 1 << bit;
                write(&disk, *base, &content);
                break;
            }
            position -= content.len();
        }
        let mut source = source(&model, 0);
        let error = run(&disk, &source).expect_err("damaged");
        prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        disk.remove_dir_all(Path::new(DIR)).expect("removed");
        source.may_end_from = Some(0);
        let done = run(&disk, &source).expect("what is whole is imported");
        prop_assert!(done.cut.is_some());
        let mut rig = Rig::on(disk.crash(), config(1 << 20, false));
        rig.open(true).expect("opened");
        let (found, _) = look(&rig);
        prop_assert_eq!(found.len(), hurt);
    }
}

fn one_batch() -> Model {
    Model::of(0, &[Step::Batch { values: 3 }, Step::Batch { values: 2 }])
}

#[test]
fn old_formats_are_told() {
    for magic in [0, 1] {
        let mut model = one_batch();
        let (_, content) = &mut model.segments[0];
        content[16] = magic;
        let disk = SimDisk::new(1);
        model.write(&disk);
        let error = run(&disk, &source(&model, 0)).expect_err("refused").to_string();
        assert!(error.contains("a message of format 0 or 1"), "{error}");
        assert!(error.contains("position 0, where offset 0 is due"), "{error}");
    }
}

#[test]
fn the_tail_of_a_crash_is_left_out_where_it_may_be() {
    let whole = one_batch();
    let size = whole.segments[0].1.len();
    let tails: [&[u8]; 3] = [&[0; 70], &[0; 5], &whole.batches[0].2[..66]];
    for tail in tails {
        let mut model = one_batch();
        model.segments[0].1.extend_from_slice(tail);
        for (may_end_from, is_taken) in [(None, false), (Some(6), false), (Some(5), true)] {
            let disk = SimDisk::new(1);
            model.write(&disk);
            let source = Source { may_end_from, ..source(&model, 0) };
            let done = run(&disk, &source);
            assert_eq!(done.is_ok(), is_taken, "{may_end_from:?}");
            if let Ok(done) = done {
                assert_eq!((done.end, done.bytes), (5, size as u64));
                let place = format!("position {size}, where offset 5 is due");
                assert!(done.cut.expect("told").contains(&place));
            }
        }
    }
}

#[test]
fn what_a_broker_has_not_finished_is_refused() {
    let model = one_batch();
    let disk = SimDisk::new(1);
    model.write(&disk);
    let path = Path::new(FROM).join("00000000000000000000.log.swap");
    disk.open(&path, OpenMode::Create).expect("a file");
    let error = run(&disk, &source(&model, 0)).expect_err("refused").to_string();
    assert!(error.contains("00000000000000000000.log.swap"), "{error}");
}

#[test]
fn batches_that_go_back_are_refused() {
    let cases = [
        (1, 7, "offset goes back"),
        (3, 2, "leader epoch goes back"),
        (3, -1, "leader epoch goes back"),
        // One that has begun without a batch.
        (9, 7, "leader epoch goes back"),
    ];
    for (offset, epoch, what) in cases {
        let steps = [Step::Epoch { by: 3, noted: true }, Step::Batch { values: 3 }];
        let mut model = Model::of(0, &steps);
        model.epochs.push((8, 9));
        let mut bytes = encode(&[b"v"], Sample::default());
        let mut batch = Batch::take(&mut bytes).expect("a good batch");
        batch.assign(offset, epoch);
        let bytes = [&batch.head()[..], batch.records()].concat();
        model.segments[0].1.extend_from_slice(&bytes);
        let disk = SimDisk::new(1);
        model.write(&disk);
        let error = run(&disk, &source(&model, 0)).expect_err("refused").to_string();
        assert!(error.contains(what), "{error}");
    }
}

/// What Apache Kafka wrote: the batches of a `.log`, and the content of its `.txnindex`.
fn golden() -> (Vec<Vec<u8>>, Vec<u8>) {
    let bytes = |hex: &str| -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        let byte = |pair: &[u8]| {
            u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hex")
        };
        digits.map(byte).collect()
    };
    let of = |kind: &str| -> Vec<Vec<u8>> {
        let lines = include_str!("golden.txt").lines();
        lines.filter_map(|line| line.strip_prefix(kind)).map(bytes).collect()
    };
    (of("log "), of("txnindex ").concat())
}

/// Imports the first `count` batches of it.
fn import_golden(count: usize, decided: BTreeMap<i64, Decided>) -> (Rig, Imported) {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(FROM)).expect("a folder");
    write(&disk, 0, &golden().0[..count].concat());
    let source = Source {
        dir: FROM.into(),
        log_start: 0,
        epochs: vec![(0, 0)],
        decided,
        may_end_from: None,
    };
    let done = run(&disk, &source).expect("imported");
    let mut rig = Rig::on(disk.crash(), config(1 << 20, false));
    rig.open(true).expect("opened");
    let last = rig.log().bounds().1.expect("entries").index;
    let stub = rig.log().stubs(last, last + 1).expect("stubs")[0];
    rig.log().apply(last, &stub.meta);
    (rig, done)
}

fn index_file(rig: &Rig) -> Vec<u8> {
    rig.disk.read(&Path::new(DIR).join(file_name(0, "txnindex"))).expect("read")
}

#[test]
fn the_index_of_aborted_transactions_is_that_of_kafka() {
    let (batches, index) = golden();
    // All but the batch of a transaction that is open.
    let (rig, done) = import_golden(batches.len() - 1, BTreeMap::new());
    assert!(done.ended.is_empty());
    assert_eq!(index_file(&rig), index);
    // Also when it is made again.
    let mut copy = rig.copy();
    copy.disk.remove_file(&Path::new(DIR).join(file_name(0, "txnindex"))).expect("removed");
    copy.open(true).expect("opened");
    copy.close().expect("closed");
    assert_eq!(index_file(&copy), index);
    let offsets = rig.log().offsets();
    assert_eq!((offsets.last_stable, offsets.high_watermark), (8, 8));
    let found = rig.log().stable_slice(2, 1 << 20, true).expect("in range").expect("batches");
    let aborted = found.aborted.iter().map(|one| (one.producer_id, one.first_offset));
    assert_eq!(aborted.collect::<Vec<_>>(), [(0, 2), (1, 3)]);
    assert_eq!(found.slice.read().expect("readable"), batches[2..8].concat());
}

#[test]
fn open_transactions_end_as_was_decided() {
    let count = golden().0.len();
    let decide = |ending| [(2, Decided { producer_epoch: 1, ending })].into();
    let old = [(2, Decided { producer_epoch: -1, ending: Ending::Committed })].into();
    let cases = [
        (BTreeMap::new(), Ending::Aborted, 0),
        (decide(Ending::Aborted), Ending::Aborted, 1),
        (decide(Ending::Committed), Ending::Committed, 1),
        (old, Ending::Aborted, 0),
    ];
    for (decided, ending, epoch) in cases {
        let (rig, done) = import_golden(count, decided);
        assert_eq!((done.ended, done.end), (vec![ending], 10));
        assert!(rig.log().open_transactions().is_empty());
        assert_eq!(rig.log().offsets().last_stable, 10);
        // The first one is a membership, which the store would have.
        let entries = rig.entries(1);
        let EntryBody::Batch(marker) = &entries.last().expect("entries").body else {
            panic!("the last entry is a marker");
        };
        assert_eq!(Marker::of(marker).map(|marker| marker.ending), Some(ending));
        let header = marker.header();
        assert_eq!((header.producer_id, header.producer_epoch, header.base_offset), (2, epoch, 9));
        let index = index_file(&rig);
        assert_eq!(index.len() / 34, if ending == Ending::Aborted { 4 } else { 3 });
    }
}

#[test]
fn producers_are_known() {
    let producer = (77, 2, 5);
    let sample = Sample { producer, timestamp_ms: 999_500, ..Sample::default() };
    let mut model = one_batch();
    let mut data = Batch::take(&mut encode(&[b"a", b"b"], sample)).expect("a good batch");
    data.assign(model.end, 0);
    model.segments[0].1.extend_from_slice(&data.to_bytes());
    let disk = SimDisk::new(1);
    model.write(&disk);
    let done = run(&disk, &source(&model, 0)).expect("imported");
    assert_eq!((done.records, done.end), (7, 7));
    let mut rig = Rig::on(disk.crash(), config(1 << 20, false));
    rig.open(true).expect("opened");
    assert_eq!(rig.sequences(), [5]);
}

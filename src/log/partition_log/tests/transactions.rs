//! Logs with transactions beside a plain list of what was written: with rolls, truncations,
//! compaction, orderly restarts, kills, power cuts between any two writes, and files that are lost.
//! Consumers of committed transactions see exactly those, up to the first one that is not decided.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;
use crate::base::disk::Disk;
use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::batch::tests::of_producer;
use crate::log::cleaner::Options;
use crate::log::entry::{Entry, EntryBody, EntryId};
use crate::log::partition_log::PartitionLog;
use crate::log::partition_log::tests::rig::some_options;
use crate::log::records::build::{NewRecord, batch as built};
use crate::log::records::key_values;
use crate::log::records::marker::{Ending, Marker};

const DELETE_RETENTION_MS: i64 = 100;
const PRODUCERS_COUNT: u64 = 3;
const KEYS_COUNT: u64 = 8;

/// Records of a producer, of its transaction if it has one. Values say where they were written.
pub(crate) fn keyed(
    keys: &[u8],
    base_offset: Offset,
    producer: Option<(i64, i32)>,
    transactional: bool,
) -> Batch {
    let record = |(key, offset): (&u8, Offset)| NewRecord {
        key: vec![*key].into(),
        value: Some(offset.to_be_bytes().to_vec().into()),
    };
    let records: Vec<NewRecord> = keys.iter().zip(base_offset..).map(record).collect();
    let plain = built(&records, 1_000).expect("a batch");
    match producer {
        Some((id, sequence)) => of_producer(&plain, id, sequence, transactional),
        None => plain,
    }
}

/// What a consumer of committed transactions gets from an offset on: offsets and keys. It leaves
/// out what was aborted as Apache Kafka's client does.
fn consumed(log: &PartitionLog, from: Offset) -> Vec<(Offset, u8)> {
    let (mut next, mut seen) = (from, Vec::new());
    while let Some(found) = log.stable_slice(next, 400, true).expect("in range") {
        let mut aborted = found.aborted;
        aborted.sort_by_key(|one| std::cmp::Reverse(one.first_offset));
        let mut leaves_out = BTreeSet::new();
        let mut rest = found.slice.read().expect("readable");
        while let Ok(batch) = Batch::take(&mut rest) {
            let header = batch.header();
            while let Some(one) = aborted.pop_if(|one| one.first_offset <= header.last_offset()) {
                leaves_out.insert(one.producer_id);
            }
            if header.is_control() {
                if Marker::of(&batch).is_some_and(|marker| marker.ending == Ending::Aborted) {
                    leaves_out.remove(&header.producer_id);
                }
            } else if !header.is_transactional() || !leaves_out.contains(&header.producer_id) {
                let records = key_values(&batch.to_bytes()).expect("walked").into_iter();
                let records = records.filter(|record| record.offset >= from);
                seen.extend(records.map(|record| (record.offset, record.key.expect("a key")[0])));
            }
            next = header.last_offset() + 1;
        }
    }
    seen
}

#[derive(Debug, Clone)]
enum What {
    Blank,
    Records { producer: Option<i64>, transactional: bool, keys: Vec<u8> },
    Marker { producer: i64, ending: Ending },
}

#[derive(Debug, Clone)]
struct Kept {
    base_offset: Offset,
    what: What,
}

impl Kept {
    fn next_offset(&self) -> Offset {
        self.base_offset
            + match &self.what {
                What::Blank => 0,
                What::Records { keys, .. } => Offset::try_from(keys.len()).expect("small"),
                What::Marker { .. } => 1,
            }
    }
}

/// A transaction of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transaction {
    producer: i64,
    first: Offset,
    /// How it ended, and where its marker is.
    end: Option<(Ending, Offset)>,
}

struct Random {
    seed: u64,
    rng: Rng,
    rig: Rig,
    now_ms: i64,
    entries: Vec<Kept>,
    applied: usize,
    term: u64,
    /// How far cleanings came that ended, and perhaps came that did not.
    cleaned_to: (Offset, Offset),
    markers_gone: usize,
}

impl Random {
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
            term: 1,
            cleaned_to: (0, 0),
            markers_gone: 0,
        }
    }

    fn go(&mut self) {
        for _ in 0..90 {
            if self.rng.below(6) == 0 {
                self.rig.disk.crash_in(self.rng.below(60));
            }
            self.now_ms += 10;
            match self.rng.below(24) {
                0..15 => self.append(),
                15 => self.truncate(),
                16..19 => self.clean(),
                19 if self.rig.close().is_ok() => drop(self.rig.open(true)),
                20 => self.lose_files(),
                _ => self.check(&self.rig),
            }
            if self.rig.disk.is_crashed() {
                self.restart();
            }
        }
        self.rig.disk.keep_power();
        self.check(&self.rig);
    }

    fn next_offset(&self) -> Offset {
        self.entries.last().map_or(0, Kept::next_offset)
    }

    /// All transactions, in the order of their beginnings.
    fn transactions(&self) -> Vec<Transaction> {
        let (mut all, mut open) = (Vec::new(), BTreeMap::new());
        for kept in &self.entries {
            match &kept.what {
                What::Records { producer: Some(producer), transactional: true, .. } => {
                    open.entry(*producer).or_insert_with(|| {
                        let (producer, first) = (*producer, kept.base_offset);
                        all.push(Transaction { producer, first, end: None });
                        all.len() - 1
                    });
                }
                What::Marker { producer, ending } => {
                    if let Some(at) = open.remove(producer) {
                        all[at].end = Some((*ending, kept.base_offset));
                    }
                }
                _ => {}
            }
        }
        all
    }

    fn last_stable(&self, high_watermark: Offset) -> Offset {
        let is_undecided =
            |one: &&Transaction| one.end.is_none_or(|(_, marker)| marker >= high_watermark);
        let undecided = self.transactions();
        let first = undecided.iter().filter(is_undecided).map(|one| one.first).min();
        first.unwrap_or(Offset::MAX).min(high_watermark)
    }

    /// Offsets and keys of the records that are of no transaction or of one that ends so.
    fn records(&self, ending: Option<Ending>) -> BTreeMap<Offset, u8> {
        let transactions = self.transactions();
        let end_of = |producer: i64, at: Offset| {
            let of = transactions.iter().rfind(|one| one.producer == producer && one.first <= at);
            of.and_then(|one| one.end).map(|(ending, _)| ending)
        };
        let wanted = self.entries.iter().filter(|kept| match &kept.what {
            What::Records { producer: Some(producer), transactional: true, .. } => {
                ending.is_some() && end_of(*producer, kept.base_offset) == ending
            }
            What::Records { .. } => ending.is_none(),
            _ => false,
        });
        let records = wanted.flat_map(|kept| match &kept.what {
            What::Records { keys, .. } => (kept.base_offset..).zip(keys.clone()).collect(),
            _ => Vec::new(),
        });
        records.collect()
    }

    fn choose(&self) -> What {
        let producer = i64::try_from(self.rng.below(PRODUCERS_COUNT)).expect("small");
        let key = |_| u8::try_from(self.rng.below(KEYS_COUNT)).expect("small");
        let keys = (0..=self.rng.below(3)).map(key).collect();
        match self.rng.below(12) {
            0 => What::Blank,
            1..4 => What::Records { producer: None, transactional: false, keys },
            // One that has no transactions.
            4 => What::Records { producer: Some(77), transactional: false, keys },
            5..9 => What::Records { producer: Some(producer), transactional: true, keys },
            _ => {
                let ending = match self.rng.below(2) {
                    0 => Ending::Aborted,
                    _ => Ending::Committed,
                };
                What::Marker { producer, ending }
            }
        }
    }

    fn sequence(&self, of: i64) -> i32 {
        let counts = self.entries.iter().map(|kept| match &kept.what {
            What::Records { producer, keys, .. } if *producer == Some(of) => keys.len(),
            _ => 0,
        });
        i32::try_from(counts.sum::<usize>()).expect("small")
    }

    fn append(&mut self) {
        for _ in 0..=self.rng.below(6) {
            let id = EntryId { term: self.term, index: self.entries.len() as u64 };
            let (base_offset, what) = (self.next_offset(), self.choose());
            let body = match &what {
                What::Blank => EntryBody::Blank,
                What::Records { producer, transactional, keys } => {
                    let producer = producer.map(|id| (id, self.sequence(id)));
                    EntryBody::Batch(keyed(keys, base_offset, producer, *transactional))
                }
                What::Marker { producer, ending } => {
                    let marker = Marker { ending: *ending, coordinator_epoch: 0 };
                    EntryBody::Batch(marker.batch(*producer, 0, 1_000).expect("a batch"))
                }
            };
            self.entries.push(Kept { base_offset, what });
            if self.rig.append_one(Entry { id, body, ticket: None }).is_err() {
                return;
            }
        }
        let room = (self.entries.len() - self.applied) as u64;
        self.applied += usize::try_from(self.rng.below(room + 1)).expect("small");
        self.rig.apply_first(self.applied);
    }

    fn truncate(&mut self) {
        let room = (self.entries.len() - self.applied) as u64;
        let next = self.applied + usize::try_from(self.rng.below(room + 1)).expect("small");
        if next > 0 && self.rig.truncate_after(next as u64 - 1).is_ok() {
            self.entries.truncate(next);
            self.term += 1;
        }
    }

    fn clean(&mut self) {
        let options = some_options(&self.rng, self.now_ms, DELETE_RETENTION_MS);
        let (stable, touched) = (self.rig.log().offsets().last_stable, &mut self.cleaned_to.1);
        let cleaned = self.rig.clean(options, |dirty| {
            assert!(dirty.end <= stable);
            *touched = dirty.end.max(*touched);
        });
        if let Some(summary) = cleaned {
            self.cleaned_to.0 = summary.end;
            self.check(&self.rig);
        }
    }

    fn restart(&mut self) {
        let count = self.rig.restart(&self.rng, self.applied..=self.entries.len());
        self.entries.truncate(count);
        self.rig.apply_first(self.applied);
        self.check(&self.rig);
    }

    /// All that is known of transactions follows from the batches.
    fn lose_files(&self) {
        if self.rig.disk.is_crashed() {
            return;
        }
        let mut copy = self.rig.copy();
        let names = copy.disk.list(DIR.as_ref()).expect("listed");
        // Those before it stay: what they tell of may have been cleaned away since.
        let states: Vec<&String> = names.iter().filter(|name| name.ends_with(".state")).collect();
        let first_lost = self.rng.below(states.len() as u64 + 1);
        let first_lost = usize::try_from(first_lost).ok().and_then(|at| states.get(at).copied());
        for name in &names {
            let path = PathBuf::from(DIR).join(name);
            if name.ends_with(".state") && first_lost.is_none_or(|lost| name < lost) {
                continue;
            }
            if name.ends_with(".txnindex") && self.rng.below(2) == 0 {
                let bits = copy.disk.read(&path).expect("read").len() as u64 * 8;
                if bits > 0 {
                    copy.disk.flip_bit(&path, self.rng.below(bits)).expect("flipped");
                }
            } else if name.ends_with(".txnindex") || name.ends_with(".state") {
                copy.disk.remove_file(&path).expect("removed");
            }
        }
        copy.open(false).unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        // A copy has what is durable, which is all that was confirmed.
        let count = copy.log().bounds().1.map_or(0, |last| last.index + 1);
        if count == self.entries.len() as u64 {
            copy.apply_first(self.applied);
            self.check(&copy);
        }
    }

    fn check(&self, rig: &Rig) {
        if rig.disk.is_crashed() {
            return;
        }
        let (seed, log) = (self.seed, rig.log());
        let offsets = log.offsets();
        let end = self.last_stable(offsets.high_watermark);
        assert_eq!(offsets.last_stable, end, "seed {seed}");
        let open = self.transactions().into_iter().filter(|one| one.end.is_none());
        let open: Vec<(Offset, i64)> = open.map(|one| (one.first, one.producer)).collect();
        let found: Vec<i64> = log.open_transactions().into_iter().map(|(_, id)| id).collect();
        assert_eq!(found, open.iter().map(|(_, id)| *id).collect::<Vec<_>>(), "seed {seed}");
        for from in [0, end / 3, end / 2, end] {
            self.check_consumed(log, from, end);
        }
        if self.cleaned_to.1 == 0 {
            self.check_aborted(log, end);
        }
        self.check_cleaned(rig);
    }

    fn check_consumed(&self, log: &PartitionLog, from: Offset, end: Offset) {
        let seed = self.seed;
        let mut expected = self.records(None);
        expected.extend(self.records(Some(Ending::Committed)));
        let mut latest: BTreeMap<u8, Offset> = BTreeMap::new();
        for (offset, key) in expected.range(..end) {
            latest.insert(*key, *offset);
        }
        let found: BTreeMap<Offset, u8> = consumed(log, from).into_iter().collect();
        for (offset, key) in &found {
            assert!(*offset < end, "seed {seed}: offset {offset} is not decided");
            assert_eq!(expected.get(offset), Some(key), "seed {seed}, offset {offset}");
        }
        for (offset, key) in expected.range(from..end.max(from)) {
            let must_be_there = *offset >= self.cleaned_to.1 || latest.get(key) == Some(offset);
            let is_there = found.contains_key(offset);
            assert!(is_there || !must_be_there, "seed {seed}: offset {offset} is gone");
        }
    }

    /// What is told with a slice is what has something in it, and nothing else.
    fn check_aborted(&self, log: &PartitionLog, end: Offset) {
        let mut next = 0;
        let size_max = 100 + u32::try_from(self.rng.below(500)).expect("small");
        while let Some(found) = log.stable_slice(next, size_max, true).expect("in range") {
            let (from, mut rest) = (next, found.slice.read().expect("readable"));
            while let Ok(batch) = Batch::take(&mut rest) {
                next = batch.header().last_offset() + 1;
            }
            let aborted = |one: &Transaction| match one.end {
                Some((Ending::Aborted, last)) if last >= from && one.first < next => {
                    Some((last, one.first, one.producer))
                }
                _ => None,
            };
            let mut expected: Vec<_> = self.transactions().iter().filter_map(aborted).collect();
            expected.sort_unstable();
            let told = found.aborted.iter();
            let told: Vec<_> =
                told.map(|one| (one.last_offset, one.first_offset, one.producer_id)).collect();
            assert_eq!(told, expected, "seed {}, offsets {from} to {next}", self.seed);
        }
        assert_eq!(next, end, "seed {}", self.seed);
    }

    /// Nothing is left of what was aborted, and markers only where something is.
    fn check_cleaned(&self, rig: &Rig) {
        let aborted = self.records(Some(Ending::Aborted));
        for entry in rig.entries(0) {
            let EntryBody::Batch(batch) = &entry.body else { continue };
            let records = key_values(&batch.to_bytes()).expect("walked");
            for record in records.iter().filter(|record| record.offset < self.cleaned_to.0) {
                let is_aborted = aborted.contains_key(&record.offset);
                assert!(!is_aborted, "seed {}: {record:?} was aborted", self.seed);
            }
        }
    }

    fn count_markers_gone(&mut self) {
        let entries = self.rig.entries(0);
        let is_gone = |(kept, entry): &(&Kept, Entry)| {
            let is_marker = matches!(kept.what, What::Marker { .. });
            is_marker && matches!(entry.body, EntryBody::Compacted { .. })
        };
        self.markers_gone = self.entries.iter().zip(entries).filter(is_gone).count();
    }
}

#[test]
fn consumers_see_what_is_committed_and_nothing_else() {
    let (mut cleaned, mut markers_gone, mut aborted) = (0, 0, 0);
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Random::new(seed);
            run.go();
            run.count_markers_gone();
            (run.cleaned_to.0 > 0, run.markers_gone, run.records(Some(Ending::Aborted)).len())
        });
        let found = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        cleaned += u32::from(found.0);
        markers_gone += found.1;
        aborted += found.2;
    }
    assert!(
        number("SEED").is_some() || cleaned > 50 && markers_gone > 50 && aborted > 500,
        "{cleaned} {markers_gone} {aborted}"
    );
}

/// The state at the beginning of a segment may say that a transaction is open of which nothing is
/// left any more, not even its marker.
#[test]
fn a_transaction_that_is_cleaned_away_has_ended() {
    let rig = Rig::new(7, config(260, false));
    let end = Marker { ending: Ending::Aborted, coordinator_epoch: 0 };
    let mut count = 0;
    let mut append = |body| {
        let entry = Entry { id: EntryId { term: 1, index: count }, body, ticket: None };
        rig.append_one(entry).expect("appended");
        let stub = rig.log().stubs(count, count + 1).expect("read")[0];
        rig.log().apply(count, &stub.meta);
        count += 1;
        stub.meta.base_offset
    };
    let mut fillers = (10..).step_by(5).map(|key: u8| {
        let keys: Vec<u8> = (key..key + 5).collect();
        EntryBody::Batch(keyed(&keys, 0, None, false))
    });
    let mut filler = || fillers.next().expect("another");
    append(EntryBody::Blank);
    let first = append(EntryBody::Batch(keyed(&[1], 0, Some((7, 0)), true)));
    append(filler());
    let last = append(EntryBody::Batch(end.batch(7, 0, 1_000).expect("a marker")));
    append(filler());
    // It is not the last that is known of its producer.
    append(EntryBody::Batch(keyed(&[2], 0, Some((7, 1)), false)));
    let mut now_ms = 1_000;
    let kind = |index: u64| rig.log().stubs(index, index + 1).expect("read")[0].meta.kind;
    while kind(3) != EntryKind::Compacted {
        append(filler());
        now_ms += 10 * DELETE_RETENTION_MS;
        let options = some_options(&Rng::seeded(7), now_ms, DELETE_RETENTION_MS);
        rig.clean(
            Options { map_bytes_max: 10_000, tombstones_below: Offset::MAX, ..options },
            |_| {},
        );
    }
    assert_eq!(kind(1), EntryKind::Compacted);
    rig.close().expect("closed");
    let mut copy = rig.copy();
    for name in copy.disk.list(DIR.as_ref()).expect("listed") {
        let base_offset: Offset =
            name.split('.').next().expect("a name").parse().expect("a number");
        let tells_of_it = name.ends_with(".state") && (first + 1..=last).contains(&base_offset);
        if name.ends_with(".txnindex") || name.ends_with(".state") && !tells_of_it {
            copy.disk.remove_file(&PathBuf::from(DIR).join(name)).expect("removed");
        }
    }
    copy.open(false).expect("opened");
    assert_eq!(copy.log().open_transactions(), []);
    copy.apply_first(usize::try_from(count).expect("small"));
    let offsets = copy.log().offsets();
    assert_eq!(offsets.last_stable, offsets.high_watermark);
}

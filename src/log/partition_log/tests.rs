//! A log against a plain list of what was appended to it: rolls, truncations, purges, orderly
//! restarts, kills and power cuts between any two writes.
//!
//! `SIM_SEEDS=10000 cargo test --lib partition_log::` runs more seeds, `SEED=7` runs one.

mod behind;
mod model;
pub(crate) mod rig;
mod transactions;

use std::collections::BTreeSet;

use crate::base::rng::Rng;
use crate::log::batch::BatchHeader;
use crate::log::batch::tests::Sample;
use crate::log::entry::{Entry, EntryBody, EntryId, EntryKind};
use crate::log::partition_log::LogConfig;
use crate::log::partition_log::roll::must_roll;
use crate::log::partition_log::tests::model::Model;
use crate::sim::disk::Faults;

pub(crate) use crate::log::partition_log::tests::rig::{DIR, Rig, Wanted, batch, bytes_of, config};

/// Steps of one seed.
const STEPS_COUNT: u64 = 60;

struct Run {
    seed: u64,
    rng: Rng,
    rig: Rig,
    model: Model,
    /// Something failed although there is power.
    failed: bool,
}

impl Run {
    fn new(seed: u64, write_caching: bool) -> Self {
        let rng = Rng::seeded(seed);
        let segment_bytes = 300 + u32::try_from(rng.below(3000)).expect("small");
        let config = config(segment_bytes, write_caching);
        let model = Model::new(write_caching);
        Self { seed, rig: Rig::new(seed, config), rng, model, failed: false }
    }

    fn go(&mut self) {
        for _ in 0..STEPS_COUNT {
            if self.rng.below(8) == 0 {
                self.rig.disk.crash_in(self.rng.below(40));
            }
            if self.rng.below(20) == 0 {
                let failing_sync = Some(self.rng.below(12));
                self.rig.disk.set_faults(Faults { failing_sync, ..Faults::default() });
            }
            self.step();
            if self.failed || self.rig.disk.is_crashed() {
                self.restart_after_crash();
            }
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..70 => self.append(),
            70..78 => self.truncate(),
            78..88 => self.purge(),
            88..93 => self.restart_in_order(),
            _ => self.check(),
        }
    }

    fn append(&mut self) {
        let count = 1 + self.rng.below(5);
        let wanted: Vec<Wanted> = (0..count).map(|_| self.model.choose(&self.rng)).collect();
        let entries = wanted.iter().map(|wanted| self.model.push(wanted)).collect();
        if self.did(&self.rig.append(entries)) {
            self.model.appended();
            self.model.apply_some(&self.rng);
            self.apply();
        }
    }

    fn did<E>(&mut self, result: &Result<(), E>) -> bool {
        self.failed |= result.is_err();
        result.is_ok()
    }

    fn apply(&self) {
        if let Some(last) = self.model.applied.checked_sub(1) {
            let stubs = self.rig.log().stubs(last as u64, last as u64 + 1);
            // What is purged cannot be looked at, and the disk may be dead.
            if let Some(stub) = stubs.unwrap_or_default().first() {
                self.rig.log().apply(stub.id.index, &stub.meta);
            }
        }
    }

    fn truncate(&mut self) {
        let (from, to) = (self.model.applied, self.model.entries.len());
        let mut next =
            from + usize::try_from(self.rng.below((to - from) as u64 + 1)).expect("small");
        // Those of which nothing is left are committed everywhere: a leader sends no others.
        let is_nothing =
            |at: usize| self.model.entries.get(at).is_some_and(|kept| kept.meta.kind.is_nothing());
        while next > 0 && is_nothing(next - 1) && is_nothing(next) {
            next += 1;
        }
        if next == 0 {
            return;
        }
        self.model.durable = self.model.durable.min(next);
        if self.did(&self.rig.truncate_after(next as u64 - 1)) {
            self.model.entries.truncate(next);
            self.model.term += 1;
        }
    }

    fn purge(&mut self) {
        let first = self.model.purged.map_or(0, |purged| purged.index + 1);
        let room = (self.model.applied as u64).saturating_sub(first);
        if room == 0 {
            return;
        }
        let upto = first + self.rng.below(room);
        let mut upto = self.model.entries[usize::try_from(upto).expect("small")].id;
        if self.model.write_caching {
            // What is not durable is not purged.
            let below = self.rig.log().last_below_log_start();
            let below = below.map(|(last, _)| last).filter(|below| below.index >= first);
            let Some(below) = below else { return };
            upto = below;
        }
        self.model.maybe_purged = Some(upto);
        if self.did(&self.rig.purge(upto)) {
            (self.model.purged, self.model.maybe_purged) = (Some(upto), None);
        }
    }

    fn restart_in_order(&mut self) {
        if self.did(&self.rig.close()) {
            self.model.durable = self.model.entries.len();
            let opened = self.rig.open(true);
            if self.did(&opened) {
                self.check();
            }
        }
    }

    fn restart_after_crash(&mut self) {
        for attempt in 0.. {
            assert!(attempt < 20);
            // After a failed sync only the disk itself is to be believed.
            match self.rng.below(4) {
                0 if !self.failed => self.rig.kill(),
                _ => self.rig.lose_power(),
            }
            self.failed = false;
            if attempt < 3 && self.rng.below(3) == 0 {
                self.rig.disk.crash_in(self.rng.below(25));
            }
            let opened = self.rig.open(false);
            if self.rig.disk.is_crashed() {
                continue;
            }
            opened.unwrap_or_else(|error| panic!("seed {}: not opened: {error}", self.seed));
            break;
        }
        self.check();
    }

    /// What is there is what was appended, up to a place behind all that is durable.
    fn check(&mut self) {
        let log = self.rig.log();
        let (purged, last) = log.bounds();
        let model = &mut self.model;
        assert!(
            purged == model.purged || purged == model.maybe_purged,
            "seed {}: purged {purged:?}",
            self.seed
        );
        (model.purged, model.maybe_purged) = (purged, None);
        let count = last.map_or(0, |last| usize::try_from(last.index + 1).expect("small"));
        assert!(
            (model.durable..=model.entries.len()).contains(&count),
            "seed {}: {count} entries, {} durable, {} appended",
            self.seed,
            model.durable,
            model.entries.len()
        );
        model.entries.truncate(count);
        model.applied = model.applied.min(count);
        self.apply();
        if self.rig.disk.is_crashed() {
            return;
        }
        self.model.check(log, self.seed);
        self.model.durable =
            self.model.durable.max(if self.model.write_caching { 0 } else { count });
    }
}

fn run(seeds: std::ops::Range<u64>, write_caching: bool) {
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| Run::new(seed, write_caching).go());
        assert!(outcome.is_ok(), "seed {seed}, write caching {write_caching}");
    }
}

#[expect(clippy::disallowed_methods, reason = "only for whoever looks for more seeds")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `SIM_SEEDS` many seeds, or the one of `SEED`.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(150),
    }
}

#[test]
fn a_log_is_what_was_appended_to_it() {
    run(seeds(), false);
}

#[test]
fn a_log_with_write_caching_loses_its_tail_at_most() {
    run(seeds(), true);
}

#[test]
fn segments_are_closed_by_age_less_a_jitter_of_their_own() {
    let jitter = LogConfig { segment_ms: 1_000, segment_jitter_ms: 400, ..config(1 << 20, false) };
    let rig = Rig::new(1, jitter.clone());
    let ages = |config: &LogConfig| -> BTreeSet<i64> {
        (0..50).map(|base| rig.log().age_max_ms(base, config)).collect()
    };
    let with_jitter = ages(&jitter);
    assert!(with_jitter.len() > 10, "{with_jitter:?}");
    assert!(with_jitter.iter().all(|age_ms| (601..=1_000).contains(age_ms)), "{with_jitter:?}");
    let plain = LogConfig { segment_jitter_ms: 0, ..jitter };
    assert_eq!(ages(&plain), BTreeSet::from([1_000]));
}

/// By the time of the records, whatever happens to the broker meanwhile; without one, by the time
/// since which it has the segment.
#[test]
fn a_segment_is_as_old_as_its_first_batch() {
    let age = LogConfig { segment_ms: 1_000, ..config(1 << 20, false) };
    let at = |timestamp_ms| batch(1, 10, Sample { timestamp_ms, ..Sample::default() });
    let mut rig = Rig::new(1, age.clone());
    let (id, body) = (EntryId { term: 1, index: 0 }, EntryBody::Batch(at(5_000)));
    rig.append_one(Entry { id, body, ticket: None }).expect("appended");
    for clean in [true, false] {
        let mut state = rig.log().lock();
        let mut rolls = |batch| must_roll(state.active(), &age, i64::MAX, 1_000, &batch);
        assert_eq!([4_000, 6_000, 6_001].map(at).map(&mut rolls), [false, false, true]);
        drop(state);
        rig.close().expect("closed");
        rig.open(clean).expect("opened");
    }

    let rig = Rig::new(1, age.clone());
    let (id, body) = (EntryId { term: 1, index: 0 }, EntryBody::Batch(at(-1)));
    rig.append_one(Entry { id, body, ticket: None }).expect("appended");
    let mut state = rig.log().lock();
    let since_ms = state.active().since_ms.expect("it has a batch");
    let mut rolls = |age_ms| must_roll(state.active(), &age, since_ms + age_ms, 1_000, &at(-1));
    assert_eq!([1_000, 1_001].map(&mut rolls), [false, true]);
}

/// Whatever is left of it: a new replica of a log that is compacted gets next to nothing for many.
#[test]
fn a_segment_has_no_more_offsets_than_its_indexes_tell() {
    let mut rig = Rig::new(1, config(1 << 20, false));
    let last: i64 = 6 << 30;
    let mut bodies: Vec<EntryBody> =
        (1..=6).map(|end| EntryBody::Compacted { end_offset: end << 30 }).collect();
    bodies.push(EntryBody::Batch(batch(1, 10, Sample::default())));
    let entries = bodies.into_iter().zip(0..);
    let entries = entries
        .map(|(body, index)| Entry { id: EntryId { term: 1, index }, body, ticket: None })
        .collect();
    rig.append(entries).expect("appended");
    for clean in [true, false] {
        let stub = rig.log().stubs(6, 7).expect("stubs")[0];
        rig.log().apply(6, &stub.meta);
        assert_eq!(rig.log().offsets().log_end, last + 1);
        let facts = rig.log().segment_facts();
        let spans: Vec<i64> =
            facts.iter().map(|one| (one.end_offset - one.base_offset) >> 30).collect();
        assert_eq!(spans, [1, 1, 1, 1, 1, 1]);
        let slice = rig.log().slice(0, 1000, true).expect("in range").expect("a batch");
        let header = BatchHeader::parse(&slice.read().expect("readable")).expect("a header");
        assert_eq!(header.base_offset, last);
        rig.close().expect("closed");
        rig.open(clean).expect("opened");
    }
}

#[test]
fn the_kinds_of_entries_are_all_used() {
    let mut run = Run::new(1, false);
    run.go();
    let kinds = [
        EntryKind::Blank,
        EntryKind::Void,
        EntryKind::DeleteRecords,
        EntryKind::Compacted,
        EntryKind::Batch,
    ];
    for kind in kinds {
        assert!(run.model.entries.iter().any(|kept| kept.meta.kind == kind), "{kind:?}");
    }
    assert!(run.model.purged.is_some());
}

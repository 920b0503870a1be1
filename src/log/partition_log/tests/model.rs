//! The plain list that a log is compared with.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::rng::Rng;
use crate::log::batch::BatchHeader;
use crate::log::batch::tests::Sample;
use crate::log::entry::{Entry, EntryBody, EntryId, EntryKind, EntryMeta, Ticket};
use crate::log::partition_log::PartitionLog;
use crate::log::partition_log::tests::rig::{Wanted, batch, bytes_of};
use crate::log::producer_state::BATCHES_RETAINED_COUNT;

/// An entry as it must be in the log. The meta's position is not known here.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: EntryId,
    pub(super) meta: EntryMeta,
    header: Option<BatchHeader>,
    bytes: Option<Bytes>,
}

/// All entries since the beginning, purged ones included.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) entries: Vec<Kept>,
    /// So many entries must survive.
    pub(super) durable: usize,
    pub(super) applied: usize,
    pub(super) purged: Option<EntryId>,
    /// A purge that the power cut.
    pub(super) maybe_purged: Option<EntryId>,
    pub(super) term: u64,
    pub(super) write_caching: bool,
}

type Remembered = BTreeMap<i64, VecDeque<(i32, i32, i64)>>;

impl Model {
    pub(super) fn new(write_caching: bool) -> Self {
        Self {
            entries: Vec::new(),
            durable: 0,
            applied: 0,
            purged: None,
            maybe_purged: None,
            term: 1,
            write_caching,
        }
    }

    fn next_offset(&self) -> i64 {
        self.entries.last().map_or(0, |kept| kept.meta.next_offset())
    }

    /// The last five batches of each producer: first and last sequence, last offset.
    fn producers(&self) -> Remembered {
        let mut known = Remembered::new();
        for header in self.entries.iter().filter_map(|kept| kept.header.as_ref()) {
            if header.producer_id >= 0 {
                let batches = known.entry(header.producer_id).or_default();
                let (first, last) = (header.base_sequence, header.last_sequence());
                batches.push_back((first, last, header.last_offset()));
                while batches.len() > BATCHES_RETAINED_COUNT {
                    batches.pop_front();
                }
            }
        }
        known
    }

    pub(super) fn choose(&self, rng: &Rng) -> Wanted {
        let timestamp_ms = 1000 + i64::try_from(rng.below(500)).expect("small");
        let count = 1 + usize::try_from(rng.below(4)).expect("small");
        let size = usize::try_from(rng.below(200)).expect("small");
        match rng.below(20) {
            0 => Wanted::Blank,
            1 => Wanted::Void,
            2 => Wanted::DeleteRecords(self.next_offset() / 2),
            3 | 4 => Wanted::Compacted(1 + u32::try_from(rng.below(3)).expect("small")),
            5..11 => {
                let producer = i64::try_from(rng.below(3)).expect("small");
                let known = self.producers();
                let batches = known.get(&producer);
                let next = batches.and_then(|b| b.back()).map_or(0, |(_, last, _)| last + 1);
                let (sequence, count) = match batches {
                    Some(batches) if rng.below(4) == 0 => {
                        let at = usize::try_from(rng.below(batches.len() as u64)).expect("small");
                        let (first, last, _) = batches[at];
                        (first, usize::try_from(last - first + 1).expect("small"))
                    }
                    _ => (next, count),
                };
                let producer = (producer, 0, sequence);
                Wanted::Judged(batch(count, size, Sample { producer, timestamp_ms, attributes: 0 }))
            }
            _ => Wanted::Batch(batch(count, size, Sample { timestamp_ms, ..Sample::default() })),
        }
    }

    /// Adds what was chosen; the entry to append.
    pub(super) fn push(&mut self, wanted: &Wanted) -> Entry {
        let id = EntryId { term: self.term, index: self.entries.len() as u64 };
        let mut meta = EntryMeta {
            term: self.term,
            kind: EntryKind::Blank,
            base_offset: self.next_offset(),
            position: 0,
            size: 0,
            last_offset_delta: 0,
            delete_before: 0,
        };
        let mut stored = None;
        let (body, ticket) = match wanted {
            Wanted::Blank => (EntryBody::Blank, None),
            Wanted::Void => {
                meta.kind = EntryKind::Void;
                (EntryBody::VOID, None)
            }
            Wanted::DeleteRecords(before) => {
                (meta.kind, meta.delete_before) = (EntryKind::DeleteRecords, *before);
                (EntryBody::DeleteRecords(*before), None)
            }
            Wanted::Compacted(count) => {
                (meta.kind, meta.last_offset_delta) = (EntryKind::Compacted, count - 1);
                (EntryBody::Compacted { end_offset: meta.next_offset() }, None)
            }
            Wanted::Batch(batch) => {
                stored = Some(batch.clone());
                (EntryBody::Batch(batch.clone()), None)
            }
            Wanted::Judged(batch) => {
                let (id, first) = (batch.header().producer_id, batch.header().base_sequence);
                let known = self.producers();
                let next = known.get(&id).and_then(|b| b.back()).map(|(_, last, _)| last + 1);
                // Whatever does not follow was chosen as a duplicate, or has become one.
                stored = next.is_none_or(|next| next == first).then(|| batch.clone());
                meta.kind = EntryKind::Void;
                (EntryBody::Batch(batch.clone()), Some(Ticket { written: None }))
            }
        };
        if let Some(batch) = &mut stored {
            batch.assign(meta.base_offset, id.leader_epoch());
            meta.kind = EntryKind::Batch;
            meta.size = u32::try_from(batch.size()).expect("small");
            meta.last_offset_delta = batch.header().last_offset_delta.unsigned_abs();
        }
        let header = stored.as_ref().map(|batch| *batch.header());
        let bytes = stored.and_then(|batch| bytes_of(&EntryBody::Batch(batch)));
        self.entries.push(Kept { id, meta, header, bytes });
        Entry { id, body, ticket }
    }

    /// The last append was confirmed.
    pub(super) fn appended(&mut self) {
        if !self.write_caching {
            self.durable = self.entries.len();
        }
    }

    pub(super) fn apply_some(&mut self, rng: &Rng) {
        let room = (self.entries.len() - self.applied) as u64;
        self.applied += usize::try_from(rng.below(room + 1)).expect("small");
    }

    /// Compares all that can be asked of the log.
    pub(super) fn check(&self, log: &Arc<PartitionLog>, seed: u64) {
        let first = self.purged.map_or(0, |purged| purged.index + 1);
        let entries = log.entries(first, u64::MAX, usize::MAX).expect("readable");
        let expected = self.entries.iter().filter(|kept| kept.id.index >= first);
        assert_eq!(entries.len(), expected.clone().count(), "seed {seed}");
        for (entry, kept) in entries.iter().zip(expected) {
            assert_eq!(entry.id, kept.id, "seed {seed}");
            assert_eq!(bytes_of(&entry.body), kept.bytes, "seed {seed}, {:?}", kept.id);
            let before = match entry.body {
                EntryBody::DeleteRecords(before) => before,
                _ => 0,
            };
            assert_eq!(before, kept.meta.delete_before, "seed {seed}, {:?}", kept.id);
        }
        assert_eq!(log.offsets().log_end, self.next_offset(), "seed {seed}");
        self.check_terms(log, seed);
        self.check_producers(log, seed);
        self.check_reads(log, seed);
    }

    fn check_terms(&self, log: &PartitionLog, seed: u64) {
        let first = self.purged.map_or(0, |purged| purged.index + 1);
        let mut expected: Vec<(EntryId, i64)> = Vec::new();
        for kept in &self.entries {
            if expected.last().is_none_or(|(id, _)| id.term != kept.id.term) {
                expected.push((kept.id, kept.meta.base_offset));
            }
        }
        // Of the terms before the log start one may be left, with or without its beginning.
        let expected: Vec<_> = expected.into_iter().filter(|(id, _)| id.index >= first).collect();
        let terms: Vec<_> = log.terms().iter().map(|t| (t.first, t.start_offset)).collect();
        assert!(terms.ends_with(&expected), "seed {seed}: {terms:?} for {expected:?}");
    }

    fn check_producers(&self, log: &PartitionLog, seed: u64) {
        let state = log.lock();
        let found: Remembered = state
            .producers
            .iter()
            .map(|(id, entry)| {
                let batches = entry.batches.iter();
                (id, batches.map(|b| (b.first_sequence, b.last_sequence, b.last_offset)).collect())
            })
            .collect();
        assert_eq!(found, self.producers(), "seed {seed}");
    }

    /// Consumers get what a linear search finds.
    fn check_reads(&self, log: &Arc<PartitionLog>, seed: u64) {
        let offsets = log.offsets();
        let visible = |header: &&BatchHeader| {
            header.last_offset() >= offsets.log_start && header.base_offset < offsets.high_watermark
        };
        let headers: Vec<&BatchHeader> =
            self.entries.iter().filter_map(|kept| kept.header.as_ref()).filter(visible).collect();
        for header in &headers {
            let offset = header.last_offset().max(offsets.log_start);
            let slice = log.slice(offset, 1, true).expect("in range").unwrap_or_else(|| {
                panic!("seed {seed}: offset {offset} is not found, {offsets:?}");
            });
            let read = BatchHeader::parse(&slice.read().expect("readable")).expect("a header");
            assert_eq!(read.base_offset, header.base_offset, "seed {seed}, offset {offset}");
            assert_eq!(slice.size as usize, header.size(), "seed {seed}, offset {offset}");
            // All records of a batch are of the same time here.
            let time = log.timestamp_at(offset).expect("readable");
            assert_eq!(time, Some(header.max_timestamp_ms), "seed {seed}, offset {offset}");
        }
        let newest = headers.iter().map(|header| header.max_timestamp_ms).max();
        let first = headers.iter().find(|header| Some(header.max_timestamp_ms) == newest);
        let expected = first.map(|h| (h.max_timestamp_ms, h.base_offset.max(offsets.log_start)));
        let found = log.max_timestamp().expect("readable");
        assert_eq!(found, expected, "seed {seed}: the largest timestamp");
        assert_eq!(log.timestamp_at(offsets.high_watermark).expect("readable"), None);
        for timestamp_ms in (990..1510).step_by(40) {
            let at_or_after = |h: &&&BatchHeader| h.max_timestamp_ms >= timestamp_ms;
            let first = headers.iter().find(at_or_after);
            let expected =
                first.map(|h| (h.max_timestamp_ms, h.base_offset.max(offsets.log_start)));
            let found = log.offset_for_timestamp(timestamp_ms).expect("readable");
            assert_eq!(found, expected, "seed {seed}, timestamp {timestamp_ms}");
        }
    }
}

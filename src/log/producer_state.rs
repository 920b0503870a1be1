//! What the log knows of idempotent producers: for each producer id its epoch and its last five
//! batches (Kafka's `ProducerStateManager`, `ProducerStateEntry`, `ProducerAppendInfo`).
//!
//! The state is a pure function of the log up to its end: a leader consults it in the order of its
//! appends, so two batches in flight are judged as they will lie in the log.

use std::collections::{BTreeMap, VecDeque};

use crate::base::ids::Offset;
use crate::log::batch::{BatchHeader, sequence_add};

/// Batches remembered per producer; clients keep at most this many requests in flight
/// (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const BATCHES_RETAINED_COUNT: usize = 5;

/// What became of a proposed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    Appended {
        base_offset: Offset,
    },
    /// It was there already.
    Duplicate {
        base_offset: Offset,
    },
    Refused(SequenceError),
    /// Not a batch.
    None,
}

/// Why a producer's state refuses a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceError {
    /// The sequence leaves a gap (OUT_OF_ORDER_SEQUENCE_NUMBER).
    OutOfOrder,
    /// The epoch is older than the current one (INVALID_PRODUCER_EPOCH).
    StaleEpoch,
}

/// A remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMeta {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub last_offset: Offset,
    pub offset_delta: i32,
    pub timestamp_ms: i64,
}

/// One producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    pub epoch: i16,
    /// When this replica last took a batch of it, by its own clock: records may carry timestamps
    /// of long ago, and their producers are alive all the same.
    pub last_append_ms: i64,
    pub batches: VecDeque<BatchMeta>,
}

/// All producers of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: BTreeMap<i64, ProducerEntry>,
}

impl ProducerStates {
    /// What a leader does with a batch: `Appended` (with a base offset of 0: the log gives the real
    /// one) says that it may be appended. A producer that has not written since
    /// `expired_before_ms` (`producer.id.expiration.ms`) is a new one.
    pub fn check(&self, header: &BatchHeader, expired_before_ms: i64) -> AppendOutcome {
        let appended = AppendOutcome::Appended { base_offset: 0 };
        let entry = self.producers.get(&header.producer_id);
        let Some(entry) = entry.filter(|entry| entry.last_append_ms >= expired_before_ms) else {
            // Unknown, new or expired: any sequence is taken, as by Kafka, because the state may
            // be gone with the records that it came from.
            return appended;
        };
        if header.producer_epoch < entry.epoch {
            return AppendOutcome::Refused(SequenceError::StaleEpoch);
        }
        if header.producer_epoch > entry.epoch {
            return match header.base_sequence {
                0 => appended,
                _ => AppendOutcome::Refused(SequenceError::OutOfOrder),
            };
        }
        if let Some(batch) = entry.duplicate_of(header) {
            return AppendOutcome::Duplicate {
                base_offset: batch.last_offset - i64::from(batch.offset_delta),
            };
        }
        match entry.batches.back() {
            Some(last) if sequence_add(last.last_sequence, 1) != header.base_sequence => {
                AppendOutcome::Refused(SequenceError::OutOfOrder)
            }
            _ => appended,
        }
    }

    /// Takes note of a batch in the log, with the offsets it has there.
    pub fn replay(&mut self, header: &BatchHeader, now_ms: i64) {
        if !header.has_producer_id() {
            return;
        }
        let entry = self.producers.entry(header.producer_id).or_insert_with(|| ProducerEntry {
            epoch: header.producer_epoch,
            last_append_ms: now_ms,
            batches: VecDeque::new(),
        });
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        entry.last_append_ms = now_ms;
        if header.is_control() {
            return;
        }
        if entry.batches.len() == BATCHES_RETAINED_COUNT {
            entry.batches.pop_front();
        }
        entry.batches.push_back(BatchMeta {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp_ms: header.max_timestamp_ms,
        });
        debug_assert!(entry.batches.len() <= BATCHES_RETAINED_COUNT);
    }

    /// Forgets producers that have not written since `before_ms` (`producer.id.expiration.ms`).
    pub fn expire(&mut self, before_ms: i64) {
        self.producers.retain(|_, entry| entry.last_append_ms >= before_ms);
    }

    /// Forgets everything, before a replay of the log.
    pub fn clear(&mut self) {
        self.producers.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (*id, entry))
    }

    pub fn insert(&mut self, producer_id: i64, entry: ProducerEntry) {
        self.producers.insert(producer_id, entry);
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }
}

impl ProducerEntry {
    fn duplicate_of(&self, header: &BatchHeader) -> Option<&BatchMeta> {
        self.batches.iter().find(|batch| {
            batch.first_sequence == header.base_sequence
                && batch.last_sequence == header.last_sequence()
        })
    }
}

#[cfg(test)]
mod tests;

//! What the log knows of idempotent producers: for each producer id its epoch, its last five
//! batches and the transaction that it has open here (Kafka's `ProducerStateManager`,
//! `ProducerStateEntry`, `ProducerAppendInfo`).
//!
//! A transaction begins with the first transactional batch of its producer and ends with a marker.
//! As long as the marker is not committed, whether there will be one is *undecided*: the last
//! stable offset lies no further than the first batch of such a transaction.
//!
//! The state is a pure function of the log up to its end: a leader consults it in the order of its
//! appends, so two batches in flight are judged as they will lie in the log.

use std::collections::{BTreeMap, VecDeque};

use crate::base::ids::Offset;
use crate::log::batch::{BatchHeader, NO_SEQUENCE, sequence_add};
use crate::log::records::marker::{Ending, Marker};
use crate::log::transaction_index::AbortedTransaction;

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
    /// The producer has a transaction open, and the batch is of none (INVALID_TXN_STATE).
    OutsideTransaction,
    /// The marker is of a coordinator that is none any more (TRANSACTION_COORDINATOR_FENCED).
    CoordinatorFenced,
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
    /// Of the transaction coordinator that wrote its last marker; -1 without one.
    pub coordinator_epoch: i32,
    /// Where the transaction begins that is open.
    pub transaction_first: Option<Offset>,
}

/// The end of what a producer has written: it must stay in the log, because it says which sequence
/// and which epoch the producer has reached (Kafka's `LastRecord`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastOfProducer {
    pub epoch: i16,
    /// Of its last batch of records, if that is of the epoch.
    pub last_offset: Option<Offset>,
}

impl LastOfProducer {
    /// Whether a batch of the producer is that end.
    pub fn is_of(&self, header: &BatchHeader) -> bool {
        match self.last_offset {
            Some(last) => header.last_offset() == last,
            None => header.is_control() && header.producer_epoch == self.epoch,
        }
    }
}

/// All producers of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: BTreeMap<i64, ProducerEntry>,
    /// The open transactions: first offset and producer id.
    open: BTreeMap<Offset, i64>,
    /// Transactions whose markers are perhaps not committed: first offset and that of the marker.
    ended: BTreeMap<Offset, Offset>,
}

impl ProducerStates {
    /// What a leader does with a batch: `Appended` (with a base offset of 0: the log gives the real
    /// one) says that it may be appended. A producer that has not written since
    /// `expired_before_ms` (`producer.id.expiration.ms`) is a new one.
    pub fn check(&self, header: &BatchHeader, expired_before_ms: i64) -> AppendOutcome {
        let appended = AppendOutcome::Appended { base_offset: 0 };
        let entry = self.producers.get(&header.producer_id);
        let Some(entry) = entry.filter(|entry| entry.is_alive(expired_before_ms)) else {
            // Unknown, new or expired: any sequence is taken, as by Kafka, because the state may
            // be gone with the records that it came from.
            return appended;
        };
        if header.producer_epoch < entry.epoch {
            return AppendOutcome::Refused(SequenceError::StaleEpoch);
        }
        if header.base_sequence == NO_SEQUENCE {
            // The broker's own, which it does not send again.
            return appended;
        }
        let is_same_epoch = header.producer_epoch == entry.epoch;
        if let Some(batch) = entry.duplicate_of(header).filter(|_| is_same_epoch) {
            return AppendOutcome::Duplicate {
                base_offset: batch.last_offset - i64::from(batch.offset_delta),
            };
        }
        // An epoch may begin with a marker, without a batch.
        let last = entry.batches.back().filter(|_| is_same_epoch);
        let expected = last.map_or(0, |last| sequence_add(last.last_sequence, 1));
        if header.base_sequence != expected {
            AppendOutcome::Refused(SequenceError::OutOfOrder)
        } else if entry.transaction_first.is_some() && !header.is_transactional() {
            AppendOutcome::Refused(SequenceError::OutsideTransaction)
        } else {
            appended
        }
    }

    /// What a leader does with a marker. One that comes again is taken again.
    pub fn check_marker(&self, header: &BatchHeader, marker: &Marker) -> AppendOutcome {
        match self.producers.get(&header.producer_id) {
            Some(entry) if header.producer_epoch < entry.epoch => {
                AppendOutcome::Refused(SequenceError::StaleEpoch)
            }
            Some(entry) if marker.coordinator_epoch < entry.coordinator_epoch => {
                AppendOutcome::Refused(SequenceError::CoordinatorFenced)
            }
            _ => AppendOutcome::Appended { base_offset: 0 },
        }
    }

    /// Takes note of a batch in the log, with the offsets it has there, and of the marker that it
    /// is. Tells the transaction that this aborts.
    pub fn replay(
        &mut self,
        header: &BatchHeader,
        marker: Option<Marker>,
        now_ms: i64,
    ) -> Option<AbortedTransaction> {
        if !header.has_producer_id() {
            return None;
        }
        let entry = self.producers.entry(header.producer_id).or_insert_with(|| ProducerEntry {
            epoch: header.producer_epoch,
            last_append_ms: now_ms,
            batches: VecDeque::new(),
            coordinator_epoch: -1,
            transaction_first: None,
        });
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        entry.last_append_ms = now_ms;
        if header.is_control() {
            return self.end_transaction(header, marker?);
        }
        if header.is_transactional() && entry.transaction_first.is_none() {
            entry.transaction_first = Some(header.base_offset);
            self.open.insert(header.base_offset, header.producer_id);
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
        None
    }

    /// A marker without a transaction, or one that comes again, ends nothing.
    fn end_transaction(
        &mut self,
        header: &BatchHeader,
        marker: Marker,
    ) -> Option<AbortedTransaction> {
        let entry = self.producers.get_mut(&header.producer_id)?;
        entry.coordinator_epoch = marker.coordinator_epoch;
        let first_offset = entry.transaction_first.take()?;
        self.open.remove(&first_offset);
        let last_offset = header.last_offset();
        self.ended.insert(first_offset, last_offset);
        (marker.ending == Ending::Aborted).then(|| AbortedTransaction {
            producer_id: header.producer_id,
            first_offset,
            last_offset,
            last_stable_offset: self.first_open().unwrap_or(last_offset + 1),
        })
    }

    /// Where the first transaction begins that is open.
    fn first_open(&self) -> Option<Offset> {
        self.open.first_key_value().map(|(first, _)| *first)
    }

    /// Where the first transaction begins that is undecided (`firstUnstableOffset`).
    pub fn first_undecided(&self) -> Option<Offset> {
        let first_ended = self.ended.first_key_value().map(|(first, _)| *first);
        first_ended.into_iter().chain(self.first_open()).min()
    }

    /// What lies below `high_watermark` is committed, so transactions with markers there are
    /// decided.
    pub fn committed(&mut self, high_watermark: Offset) {
        self.ended.retain(|_, last| *last >= high_watermark);
    }

    /// The open transactions: first offset and producer id.
    pub fn open_transactions(&self) -> impl Iterator<Item = (Offset, i64)> {
        self.open.iter().map(|(first, producer_id)| (*first, *producer_id))
    }

    /// Takes a transaction for one that has ended, of which nothing is left in the log. Its
    /// producer may have begun another one since.
    pub fn forget_open(&mut self, first_offset: Offset, later: Option<Offset>) {
        let Some(producer_id) = self.open.remove(&first_offset) else { return };
        self.open.extend(later.map(|later| (later, producer_id)));
        if let Some(entry) = self.producers.get_mut(&producer_id) {
            entry.transaction_first = later;
        }
    }

    /// Transactions whose markers are perhaps not committed: first offset and that of the marker.
    pub fn ended_transactions(&self) -> impl Iterator<Item = (Offset, Offset)> {
        self.ended.iter().map(|(first, last)| (*first, *last))
    }

    pub fn insert_ended(&mut self, first_offset: Offset, last_offset: Offset) {
        self.ended.insert(first_offset, last_offset);
    }

    /// Forgets producers that have not written since `before_ms` (`producer.id.expiration.ms`),
    /// unless they have a transaction open.
    pub fn expire(&mut self, before_ms: i64) {
        self.producers.retain(|_, entry| entry.is_alive(before_ms));
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (*id, entry))
    }

    pub fn get(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    pub fn insert(&mut self, producer_id: i64, entry: ProducerEntry) {
        if let Some(first) = entry.transaction_first {
            self.open.insert(first, producer_id);
        }
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
    fn is_alive(&self, expired_before_ms: i64) -> bool {
        self.transaction_first.is_some() || self.last_append_ms >= expired_before_ms
    }

    fn duplicate_of(&self, header: &BatchHeader) -> Option<&BatchMeta> {
        self.batches.iter().find(|batch| {
            batch.first_sequence == header.base_sequence
                && batch.last_sequence == header.last_sequence()
        })
    }
}

#[cfg(test)]
mod tests;

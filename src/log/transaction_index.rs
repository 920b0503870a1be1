//! The aborted transactions whose markers lie in a segment, in Kafka's file format (`.txnindex`,
//! `AbortedTxn`, `TransactionIndex`): entries of 34 bytes, a version, producer id, first and last
//! offset, and the last stable offset when the marker was written. In memory as a whole, because
//! aborts are rare; without any there is no file.

use bytes::{Buf, BufMut};

use crate::base::ids::Offset;

const ENTRY_BYTES: usize = 34;
const VERSION: i16 = 0;

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    /// Of its first batch.
    pub first_offset: Offset,
    /// Of its marker.
    pub last_offset: Offset,
    /// Where the first transaction began that was open when this one was aborted, or what follows
    /// the marker: those that are aborted later begin there or behind it.
    pub last_stable_offset: Offset,
}

/// The aborted transactions of one segment, in the order of their markers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionIndex {
    entries: Vec<AbortedTransaction>,
}

impl TransactionIndex {
    pub fn push(&mut self, aborted: AbortedTransaction) {
        debug_assert!(self.entries.last().is_none_or(|l| l.last_offset < aborted.last_offset));
        self.entries.push(aborted);
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn entries(&self) -> &[AbortedTransaction] {
        &self.entries
    }

    /// Adds the aborted transactions that have something in `from..to` to `found`. True if later
    /// segments have no more of them (`TransactionIndex.collectAbortedTxns`).
    pub fn collect(&self, from: Offset, to: Offset, found: &mut Vec<AbortedTransaction>) -> bool {
        // They are sorted by their ends.
        let first = self.entries.partition_point(|aborted| aborted.last_offset < from);
        for aborted in self.entries.iter().skip(first) {
            if aborted.first_offset < to {
                found.push(*aborted);
            }
            if aborted.last_stable_offset >= to {
                return true;
            }
        }
        false
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        for aborted in &self.entries {
            out.put_i16(VERSION);
            out.put_i64(aborted.producer_id);
            out.put_i64(aborted.first_offset);
            out.put_i64(aborted.last_offset);
            out.put_i64(aborted.last_stable_offset);
        }
        out
    }

    /// `None` if the file is not one of this segment: the index is then made again.
    pub fn decode(mut bytes: &[u8], base_offset: Offset) -> Option<Self> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return None;
        }
        let mut index = Self::default();
        while bytes.has_remaining() {
            let version = bytes.get_i16();
            let aborted = AbortedTransaction {
                producer_id: bytes.get_i64(),
                first_offset: bytes.get_i64(),
                last_offset: bytes.get_i64(),
                last_stable_offset: bytes.get_i64(),
            };
            let before = index.entries.last().map_or(base_offset - 1, |last| last.last_offset);
            let is_rising = aborted.last_offset > before;
            if version != VERSION || !is_rising || aborted.first_offset > aborted.last_offset {
                return None;
            }
            index.entries.push(aborted);
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_has_kafkas_bytes() {
        let index = TransactionIndex {
            entries: vec![AbortedTransaction {
                producer_id: 0x0102_0304_0506_0708,
                first_offset: 17,
                last_offset: 300,
                last_stable_offset: 301,
            }],
        };
        let expected = [
            &[0, 0][..],
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[0, 0, 0, 0, 0, 0, 0, 17],
            &[0, 0, 0, 0, 0, 0, 1, 44],
            &[0, 0, 0, 0, 0, 0, 1, 45],
        ];
        assert_eq!(index.encode(), expected.concat());
        assert_eq!(TransactionIndex::decode(&expected.concat(), 300), Some(index));
        // Its marker lies in another segment.
        assert_eq!(TransactionIndex::decode(&expected.concat(), 301), None);
        assert_eq!(TransactionIndex::decode(&[1; 34], 0), None);
    }

    /// Transactions that are aborted one after the other, some of which are open at the same time.
    fn history() -> impl Strategy<Value = TransactionIndex> {
        proptest::collection::vec((0i64..40, 0i64..40), 0..30).prop_map(|steps| {
            let mut spans: Vec<(i64, i64)> = Vec::new();
            let mut end = 0;
            for (back, on) in steps {
                end += on + 2;
                let first = (end - back).max(0);
                // An offset holds a marker or a batch: none begins where another one ends.
                let is_taken = spans.iter().any(|(_, last)| *last == first);
                spans.push((first + i64::from(is_taken), end));
            }
            let stable = |at: usize, end: i64| {
                let open = spans[at + 1..].iter().map(|(first, _)| *first);
                open.filter(|first| *first < end).min().unwrap_or(end + 1)
            };
            let entry =
                |(at, (first_offset, last_offset)): (usize, &(i64, i64))| AbortedTransaction {
                    producer_id: i64::try_from(at).expect("small"),
                    first_offset: *first_offset,
                    last_offset: *last_offset,
                    last_stable_offset: stable(at, *last_offset),
                };
            TransactionIndex { entries: spans.iter().enumerate().map(entry).collect() }
        })
    }

    proptest! {
        #[test]
        fn whatever_overlaps_is_found(
            index in history(), split in 0usize..30, from in 0i64..900, count in 1i64..300,
        ) {
            let to = from + count;
            let overlaps = |aborted: &&AbortedTransaction| {
                aborted.last_offset >= from && aborted.first_offset < to
            };
            let expected: Vec<AbortedTransaction> =
                index.entries.iter().filter(overlaps).copied().collect();
            let (one, other) = index.entries.split_at(split.min(index.entries.len()));
            let segments = [one, other].map(|part| TransactionIndex { entries: part.to_vec() });
            let mut found = Vec::new();
            for segment in &segments {
                if segment.collect(from, to, &mut found) {
                    break;
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(TransactionIndex::decode(&index.encode(), 0), Some(index));
        }

        #[test]
        fn garbage_is_refused_or_rising(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(index) = TransactionIndex::decode(&bytes, 0) {
                prop_assert!(index.entries.is_sorted_by(|a, b| a.last_offset < b.last_offset));
            }
        }
    }
}

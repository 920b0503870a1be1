//! The sparse indexes of a segment, in Kafka's file formats: offset → position (`.index`, entries
//! of 4 + 4 bytes) and timestamp → offset (`.timeindex`, entries of 8 + 4 bytes), offsets relative
//! to the segment's base. In memory while the segment is in use; written behind, because a lost
//! entry can be made again from the batches.

use bytes::{Buf, BufMut};

use crate::base::ids::Offset;

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;

/// Offset → position in the `.log` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetIndex {
    /// (offset relative to the base, position), both strictly rising.
    entries: Vec<(u32, u32)>,
}

/// Timestamp → offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeIndex {
    /// (largest timestamp so far in ms, relative offset of the last record of its batch), rising.
    entries: Vec<(i64, u32)>,
}

fn relative(base_offset: Offset, offset: Offset) -> Option<u32> {
    u32::try_from(offset.checked_sub(base_offset)?).ok()
}

impl OffsetIndex {
    /// Notes that the batch which ends with `last_offset` begins at `position`. Kafka's index holds
    /// the last offset of the batch; a look-up finds the greatest entry not above its target.
    pub fn push(&mut self, base_offset: Offset, last_offset: Offset, position: u32) {
        let Some(offset) = relative(base_offset, last_offset) else { return };
        if self.entries.last().is_none_or(|(last, at)| *last < offset && *at < position) {
            self.entries.push((offset, position));
        }
    }

    /// A position at or before the batch that holds `offset`.
    pub fn floor(&self, base_offset: Offset, offset: Offset) -> u32 {
        let Some(target) = relative(base_offset, offset) else { return 0 };
        let after = self.entries.partition_point(|(at, _)| *at <= target);
        after.checked_sub(1).and_then(|i| self.entries.get(i)).map_or(0, |(_, position)| *position)
    }

    pub fn size(&self) -> usize {
        self.entries.len() * OFFSET_ENTRY_BYTES
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        for (offset, position) in &self.entries {
            out.put_u32(*offset);
            out.put_u32(*position);
        }
        out
    }

    /// `None` if the file is not one of this log: the index is then made again.
    pub fn decode(mut bytes: &[u8], log_size: u32) -> Option<Self> {
        if !bytes.len().is_multiple_of(OFFSET_ENTRY_BYTES) {
            return None;
        }
        let mut index = Self::default();
        while bytes.has_remaining() {
            let (offset, position) = (bytes.get_u32(), bytes.get_u32());
            let rising = index.entries.last().is_none_or(|(o, p)| *o < offset && *p < position);
            if !rising || position >= log_size {
                return None;
            }
            index.entries.push((offset, position));
        }
        Some(index)
    }
}

impl TimeIndex {
    /// Notes the largest timestamp so far and the last offset of the batch that has it.
    pub fn push(&mut self, base_offset: Offset, timestamp_ms: i64, offset: Offset) {
        let Some(offset) = relative(base_offset, offset) else { return };
        if timestamp_ms >= 0
            && self.entries.last().is_none_or(|(t, o)| *t < timestamp_ms && *o < offset)
        {
            self.entries.push((timestamp_ms, offset));
        }
    }

    /// An offset from which a search for the first record at or after `timestamp_ms` may start.
    pub fn floor(&self, base_offset: Offset, timestamp_ms: i64) -> Offset {
        let after = self.entries.partition_point(|(at, _)| *at < timestamp_ms);
        let floor = after.checked_sub(1).and_then(|i| self.entries.get(i));
        base_offset + floor.map_or(0, |(_, offset)| i64::from(*offset))
    }

    pub fn size(&self) -> usize {
        self.entries.len() * TIME_ENTRY_BYTES
    }

    /// The last one whose offset is below `end`.
    pub fn last_before(&self, base_offset: Offset, end: Offset) -> Option<(i64, Offset)> {
        let is_before = |(_, offset): &(i64, u32)| base_offset + i64::from(*offset) < end;
        let after = self.entries.partition_point(is_before);
        let last = self.entries.get(after.checked_sub(1)?)?;
        Some((last.0, base_offset + i64::from(last.1)))
    }

    pub fn last(&self, base_offset: Offset) -> Option<(i64, Offset)> {
        self.entries.last().map(|(time, offset)| (*time, base_offset + i64::from(*offset)))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        for (timestamp_ms, offset) in &self.entries {
            out.put_i64(*timestamp_ms);
            out.put_u32(*offset);
        }
        out
    }

    /// `None` if the file is not one of this log: the index is then made again.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(TIME_ENTRY_BYTES) {
            return None;
        }
        let mut index = Self::default();
        while bytes.has_remaining() {
            let (timestamp_ms, offset) = (bytes.get_i64(), bytes.get_u32());
            if index.entries.last().is_some_and(|(t, o)| *t >= timestamp_ms || *o >= offset) {
                return None;
            }
            index.entries.push((timestamp_ms, offset));
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn offset_floors_are_those_of_a_linear_search(
            steps in proptest::collection::vec((1u32..50, 1u32..5000), 0..40),
            target in 0i64..2500,
        ) {
            let mut index = OffsetIndex::default();
            let (mut offset, mut position, mut expected) = (0, 0, 0);
            for (by, size) in steps {
                offset += by;
                position += size;
                index.push(100, 100 + i64::from(offset), position);
                if i64::from(offset) <= target {
                    expected = position;
                }
            }
            prop_assert_eq!(index.floor(100, 100 + target), expected);
            let again = OffsetIndex::decode(&index.encode(), position + 1);
            prop_assert_eq!(again, Some(index));
        }

        #[test]
        fn time_floors_never_skip_a_record(
            times in proptest::collection::vec(0i64..1000, 1..60),
            target in 0i64..1000,
        ) {
            let (mut index, mut max) = (TimeIndex::default(), -1);
            for (offset, time) in times.iter().enumerate() {
                if *time > max {
                    max = *time;
                    index.push(0, max, i64::try_from(offset).expect("small"));
                }
            }
            let first = times.iter().position(|time| *time >= target);
            if let Some(first) = first {
                prop_assert!(index.floor(0, target) <= i64::try_from(first).expect("small"));
            }
            prop_assert_eq!(TimeIndex::decode(&index.encode()), Some(index));
        }

        #[test]
        fn garbage_is_refused_or_rising(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = TimeIndex::decode(&bytes);
            if let Some(index) = OffsetIndex::decode(&bytes, 1 << 30) {
                prop_assert!(index.entries.is_sorted());
            }
        }
    }
}

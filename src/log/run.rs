//! The records of a `.raft` file, 32 bytes each: one for each entry, or for a run of entries of
//! which nothing is left. So the file of a segment that is compacted again and again does not grow.

use std::ops::Range;

use bytes::{Buf, BufMut};

use crate::base::ids::Offset;
use crate::log::entry::{EntryKind, EntryMeta};

/// Size of a record in the `.raft` file.
pub const RECORD_BYTES: usize = 32;
/// Entries of one record: their number has 24 bits.
pub const RUN_COUNT_MAX: u32 = 1 << 24;
/// Offsets of one record.
pub const RUN_OFFSETS_MAX: i64 = 1 << 30;
/// Offsets of one segment: Kafka's indexes count 31 bits of them.
pub const SEGMENT_OFFSETS_MAX: i64 = 0x7fff_ffff;

/// The first Raft index and the first offset of a segment: what its records count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub index: u64,
    pub offset: Offset,
}

/// Entries beside each other of which one record tells. More than one are together only if nothing
/// is left of them, in one term: then it does not matter which of them has which offsets, and the
/// last one has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Of the first entry.
    pub index: u64,
    pub count: u32,
    /// Of the last entry.
    pub meta: EntryMeta,
}

impl Run {
    /// A single entry.
    pub fn of(index: u64, meta: EntryMeta) -> Self {
        Self { index, count: 1, meta }
    }

    /// One past the last entry.
    pub fn end_index(&self) -> u64 {
        self.index + u64::from(self.count)
    }

    pub fn indexes(&self) -> Range<u64> {
        self.index..self.end_index()
    }

    /// What one of its entries is.
    pub fn entry(&self, index: u64) -> EntryMeta {
        match index + 1 < self.end_index() {
            true => EntryMeta { kind: EntryKind::Void, last_offset_delta: 0, ..self.meta },
            false => self.meta,
        }
    }

    /// Those of its entries that are in `indexes`; there must be one.
    pub fn within(&self, indexes: &Range<u64>) -> Self {
        let (index, end) = (self.index.max(indexes.start), self.end_index().min(indexes.end));
        let count = u32::try_from(end.saturating_sub(index)).unwrap_or(u32::MAX);
        Self { index, count, meta: self.entry(end.saturating_sub(1)) }
    }

    fn is_traceless(&self) -> bool {
        !matches!(self.meta.kind, EntryKind::Batch | EntryKind::Compacted)
    }

    /// Takes in what follows, if one record can tell of both.
    pub fn extend(&mut self, next: &Self) -> bool {
        let (meta, other) = (&self.meta, &next.meta);
        let is_nothing = |meta: &EntryMeta| meta.kind.is_nothing() && meta.size == 0;
        let count = self.count.saturating_add(next.count);
        let offsets = other.next_offset() - meta.base_offset;
        let fits = is_nothing(meta)
            && is_nothing(other)
            && self.end_index() == next.index
            && (meta.term, meta.position) == (other.term, other.position)
            && count <= RUN_COUNT_MAX
            && (0..=RUN_OFFSETS_MAX).contains(&offsets);
        if fits {
            self.count = count;
            let last_offset_delta = u32::try_from(offsets - 1).ok();
            self.meta.kind = last_offset_delta.map_or(EntryKind::Void, |_| EntryKind::Compacted);
            self.meta.last_offset_delta = last_offset_delta.unwrap_or(0);
        }
        fits
    }

    /// Layout: base offset 4 and index 4, counted from the segment's, term 4, position 4, size or
    /// the first half of `delete_before` 4, delta or its second half 4, kind 1, entries behind the
    /// first 3, CRC-32C 4 over what they are counted from and the rest. What is unknown stays so:
    /// zeroes are no record.
    pub fn encode(&self, origin: &Origin, out: &mut Vec<u8>) {
        let (start, meta) = (out.len(), &self.meta);
        if meta.kind == EntryKind::Unknown {
            out.put_bytes(0, RECORD_BYTES);
            return;
        }
        // What is beyond reach does not come back, and so is seen.
        out.put_u32(u32::try_from(meta.base_offset - origin.offset).unwrap_or(u32::MAX));
        out.put_u32(u32::try_from(self.index - origin.index).unwrap_or(u32::MAX));
        out.put_u32(u32::try_from(meta.term).unwrap_or(u32::MAX));
        out.put_u32(meta.position);
        match meta.kind {
            EntryKind::DeleteRecords => out.put_i64(meta.delete_before),
            _ => {
                out.put_u32(meta.size);
                out.put_u32(meta.last_offset_delta);
            }
        }
        out.put_u8(meta.kind as u8);
        out.put_uint(u64::from(self.count - 1), 3);
        let crc = record_crc(origin, out.get(start..).unwrap_or_default());
        out.put_u32(crc);
    }

    /// `None` if the checksum differs, also when the record belongs to a segment that begins
    /// elsewhere.
    pub fn decode(origin: &Origin, bytes: &[u8]) -> Option<Self> {
        let (mut covered, mut crc) = bytes.get(..RECORD_BYTES)?.split_at(RECORD_BYTES - 4);
        if crc.get_u32() != record_crc(origin, covered) {
            return None;
        }
        let base_offset = origin.offset.checked_add(covered.get_u32().into())?;
        let index = origin.index.checked_add(covered.get_u32().into())?;
        let (term, position) = (u64::from(covered.get_u32()), covered.get_u32());
        let mut tail = covered;
        let (size, last_offset_delta) = (covered.get_u32(), covered.get_u32());
        let kind = EntryKind::from_byte(covered.get_u8())?;
        let count = u32::try_from(covered.get_uint(3)).ok()? + 1;
        let meta = EntryMeta {
            term,
            kind,
            base_offset,
            position,
            size,
            last_offset_delta,
            delete_before: 0,
        };
        let meta = match kind {
            EntryKind::DeleteRecords => {
                EntryMeta { size: 0, last_offset_delta: 0, delete_before: tail.get_i64(), ..meta }
            }
            _ => meta,
        };
        Some(Self { index, count, meta })
    }

    /// What each of these records tells; `None` where the checksum differs.
    pub fn decode_all(origin: Origin, bytes: &[u8]) -> impl Iterator<Item = Option<Self>> {
        bytes.chunks(RECORD_BYTES).map(move |record| Self::decode(&origin, record))
    }

    /// How far behind the first entry of the segment a record says that it ends, whether or not it
    /// is valid.
    pub fn claimed_end(bytes: &[u8]) -> Option<u64> {
        let mut index = bytes.get(4..8)?;
        let mut behind = bytes.get(25..28)?;
        Some(u64::from(index.get_u32()) + behind.get_uint(3) + 1)
    }
}

/// Records on their way to a `.raft` file.
#[derive(Debug)]
pub struct RecordBytes {
    origin: Origin,
    bytes: Vec<u8>,
    /// The last one, which may still grow.
    open: Option<Run>,
    is_traceless: bool,
    /// None of the entries will be taken back.
    are_final: bool,
}

impl RecordBytes {
    pub fn new(origin: Origin) -> Self {
        Self { origin, bytes: Vec::new(), open: None, is_traceless: false, are_final: false }
    }

    /// Of entries that are committed.
    pub fn of_final(origin: Origin) -> Self {
        Self { are_final: true, ..Self::new(origin) }
    }

    /// Takes the next entries; whether they take another record.
    pub fn push(&mut self, run: Run) -> bool {
        // The offsets of one of which a leader has said that nothing is left, so that it is
        // committed, must not go with one that may be taken back.
        let may_grow = |open: &Run| {
            let has_offsets = open.meta.kind == EntryKind::Compacted;
            self.are_final || !has_offsets || run.meta.kind == EntryKind::Compacted
        };
        if self.open.as_ref().is_some_and(may_grow)
            && self.open.as_mut().is_some_and(|open| open.extend(&run))
        {
            return false;
        }
        self.close();
        self.open = Some(run);
        true
    }

    /// The last one does not grow any more.
    pub fn close(&mut self) {
        if let Some(run) = self.open.take() {
            self.is_traceless |= run.is_traceless();
            run.encode(&self.origin, &mut self.bytes);
        }
    }

    /// Whether some of it leaves no trace in the offsets of the batches around it.
    pub fn is_traceless(&self) -> bool {
        self.is_traceless || self.open.is_some_and(|run| run.is_traceless())
    }

    /// Those that will not change any more.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.open.is_none()
    }

    /// Takes out what will not change any more.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Takes out all there is.
    pub fn take_all(&mut self) -> Vec<u8> {
        self.close();
        self.take()
    }
}

fn record_crc(origin: &Origin, covered: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&origin.index.to_be_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &origin.offset.to_be_bytes()), covered)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGIN: Origin = Origin { index: 1 << 40, offset: 1 << 50 };

    prop_compose! {
        fn runs()(
            kind in proptest::sample::select(vec![
                EntryKind::Blank,
                EntryKind::Membership,
                EntryKind::Batch,
                EntryKind::DeleteRecords,
                EntryKind::Void,
                EntryKind::Compacted,
            ]),
            term: u32,
            offset: u32,
            index: u32,
            numbers: (u32, u32, i64),
            count in 1..=RUN_COUNT_MAX,
        ) -> Run {
            let (position, size, delete_before) = numbers;
            let delete = kind == EntryKind::DeleteRecords;
            let meta = EntryMeta {
                term: u64::from(term),
                kind,
                base_offset: ORIGIN.offset + i64::from(offset),
                position,
                size: if delete { 0 } else { size },
                last_offset_delta: if delete { 0 } else { size / 2 },
                delete_before: if delete { delete_before } else { 0 },
            };
            Run { index: ORIGIN.index + u64::from(index), count, meta }
        }
    }

    proptest! {
        #[test]
        fn records_round_trip(run in runs(), bit in 0usize..RECORD_BYTES * 8) {
            let mut bytes = Vec::new();
            run.encode(&ORIGIN, &mut bytes);
            prop_assert_eq!(bytes.len(), RECORD_BYTES);
            prop_assert_eq!(Run::decode(&ORIGIN, &bytes), Some(run));
            prop_assert_eq!(Run::claimed_end(&bytes), Some(run.end_index() - ORIGIN.index));
            let others = [Origin { index: 5, ..ORIGIN }, Origin { offset: 5, ..ORIGIN }];
            for other in others {
                prop_assert_eq!(Run::decode(&other, &bytes), None);
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Run::decode(&ORIGIN, &bytes), None);
        }

        /// Whatever is put together, each entry is there, and nothing that matters is lost: who
        /// has batches has them, and offsets are at the end of a run at the latest.
        #[test]
        fn runs_tell_what_their_entries_would(
            kinds in proptest::collection::vec((0..5u8, 0..3u32, 0..2u64), 1..40),
        ) {
            let (mut records, mut expected) = (RecordBytes::of_final(ORIGIN), Vec::new());
            let (mut offset, mut term, mut count) = (ORIGIN.offset, 1, 0);
            for ((kind, delta, later), index) in kinds.into_iter().zip(ORIGIN.index..) {
                term += u64::from(kind == 0) * later;
                let kind = match kind {
                    0 => EntryKind::Blank,
                    1 => EntryKind::Batch,
                    2 => EntryKind::Void,
                    _ => EntryKind::Compacted,
                };
                let takes = matches!(kind, EntryKind::Batch | EntryKind::Compacted);
                let meta = EntryMeta {
                    term,
                    kind,
                    base_offset: offset,
                    position: 0,
                    size: 0,
                    last_offset_delta: if takes { delta } else { 0 },
                    delete_before: 0,
                };
                offset = meta.next_offset();
                count += usize::from(records.push(Run::of(index, meta)));
                expected.push(meta);
            }
            let bytes = records.take_all();
            prop_assert_eq!(bytes.len(), count * RECORD_BYTES);
            let mut at = 0;
            let mut before: Option<Run> = None;
            for chunk in bytes.chunks(RECORD_BYTES) {
                let run = Run::decode(&ORIGIN, chunk).expect("valid");
                let end = at + run.count as usize;
                let entries = &expected[at..end];
                prop_assert_eq!(run.index, ORIGIN.index + at as u64);
                prop_assert_eq!(run.meta.base_offset, entries[0].base_offset);
                prop_assert_eq!(run.meta.next_offset(), entries[entries.len() - 1].next_offset());
                prop_assert!(entries.iter().all(|entry| entry.term == run.meta.term));
                prop_assert!(entries.len() == 1 || entries.iter().all(|e| e.kind.is_nothing()));
                if entries.len() == 1 {
                    prop_assert_eq!(run.meta, entries[0]);
                }
                for index in run.index..run.end_index() {
                    let entry = run.entry(index);
                    let is_last = index + 1 == run.end_index();
                    let end = if is_last { run.meta.next_offset() } else { run.meta.base_offset };
                    prop_assert_eq!(entry.next_offset(), end);
                    prop_assert_eq!(run.within(&(index..index + 1)), Run::of(index, entry));
                }
                let is_mergeable = |run: &Run| run.meta.kind.is_nothing();
                if let Some(before) = before.filter(|_| is_mergeable(&run)) {
                    prop_assert!(!is_mergeable(&before) || before.meta.term != run.meta.term);
                }
                (before, at) = (Some(run), end);
            }
            prop_assert_eq!(at, expected.len());
        }
    }
}

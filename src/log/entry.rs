//! Raft entries as the log keeps them: whole batches in the segment, and one 32-byte record per
//! entry in the `.raft` file beside it.

use bytes::{Buf, BufMut, Bytes};

use crate::base::ids::{LeaderEpoch, Offset};
use crate::log::batch::{Batch, BatchHeader, MAGIC};
use crate::log::producer_state::AppendOutcome;

/// Identity of a Raft entry: the term is Kafka's leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EntryId {
    pub term: u64,
    pub index: u64,
}

impl EntryId {
    /// Kafka counts leader epochs in 32 bits; a term beyond that has never been seen by anyone.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch::try_from(self.term).unwrap_or(LeaderEpoch::MAX)
    }
}

/// What an entry says.
#[derive(Debug, Clone)]
pub enum EntryBody {
    /// Raft's own: a new leader's first entry.
    Blank,
    /// Raft's own: who votes. The bytes are the replication layer's.
    Membership(Bytes),
    /// Records.
    Batch(Batch),
    /// Records below this offset are deleted.
    DeleteRecords(Offset),
    /// A batch that was not appended: a duplicate, or one that the producer's state refuses. It
    /// holds its place in the Raft log and takes no offset.
    Void,
    /// A batch of which compaction has left nothing. It keeps its place and its offsets.
    Compacted { last_offset_delta: u32 },
}

/// An entry to append.
#[derive(Debug)]
pub struct Entry {
    pub id: EntryId,
    pub body: EntryBody,
    /// Set where the entry was proposed: who wants to know what became of it.
    pub ticket: Option<Ticket>,
}

/// The proposer's handle on its own batch. Its presence says that the producer's state decides
/// whether the batch is appended; on any other replica that has been decided.
#[derive(Debug)]
pub struct Ticket {
    /// Told once the batch is written here, for `acks=1`; dropped without a word if it never is.
    pub written: Option<tokio::sync::oneshot::Sender<AppendOutcome>>,
}

/// Kind of an entry in the `.raft` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Its record is damaged and only its place is known: it has no batch and takes no offsets.
    /// Never on disk.
    Unknown = 0,
    Blank = 1,
    Membership = 2,
    Batch = 3,
    DeleteRecords = 4,
    Void = 5,
    Compacted = 6,
}

impl EntryKind {
    /// The kind that a record or another node names.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Blank,
            2 => Self::Membership,
            3 => Self::Batch,
            4 => Self::DeleteRecords,
            5 => Self::Void,
            6 => Self::Compacted,
            _ => return None,
        })
    }
}

/// Size of an entry's record in the `.raft` file.
pub const META_BYTES: usize = 32;

/// Where an entry is and which offsets it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryMeta {
    pub term: u64,
    pub kind: EntryKind,
    /// Of a batch, also of a compacted one: its first offset. Of any other: the log end offset at
    /// its place.
    pub base_offset: Offset,
    /// Position in the `.log` file.
    pub position: u32,
    /// Bytes in the `.log` file; 0 for all but batches.
    pub size: u32,
    /// Of a batch only, also of a compacted one.
    pub last_offset_delta: u32,
    /// Of a DeleteRecords only: the new log start offset.
    pub delete_before: Offset,
}

impl EntryMeta {
    /// The log end offset after this entry.
    pub fn next_offset(&self) -> Offset {
        match self.kind {
            EntryKind::Batch | EntryKind::Compacted => {
                self.base_offset + i64::from(self.last_offset_delta) + 1
            }
            EntryKind::Unknown
            | EntryKind::Blank
            | EntryKind::Membership
            | EntryKind::DeleteRecords
            | EntryKind::Void => self.base_offset,
        }
    }

    /// Whether a batch with this header is the one that was written for the entry.
    pub fn is_of(&self, header: &BatchHeader) -> bool {
        self.kind == EntryKind::Batch
            && header.magic == MAGIC
            && header.base_offset == self.base_offset
            && header.size() == self.size as usize
            && u32::try_from(header.last_offset_delta) == Ok(self.last_offset_delta)
            && header.leader_epoch == EntryId { term: self.term, index: 0 }.leader_epoch()
    }

    /// End position in the `.log` file.
    pub fn end_position(&self) -> u32 {
        self.position + self.size
    }

    /// Layout: base offset 8, term 4, position 4, size or the first half of `delete_before` 4,
    /// delta or its second half 4, kind 1, zero 3, CRC-32C 4 over the index and the rest. What is
    /// unknown stays so: zeroes are no record.
    pub fn encode(&self, index: u64, out: &mut Vec<u8>) {
        let start = out.len();
        if self.kind == EntryKind::Unknown {
            out.put_bytes(0, META_BYTES);
            return;
        }
        out.put_i64(self.base_offset);
        out.put_u32(u32::try_from(self.term).unwrap_or(u32::MAX));
        out.put_u32(self.position);
        match self.kind {
            EntryKind::DeleteRecords => out.put_i64(self.delete_before),
            _ => {
                out.put_u32(self.size);
                out.put_u32(self.last_offset_delta);
            }
        }
        out.put_u8(self.kind as u8);
        out.put_bytes(0, 3);
        let crc = meta_crc(index, out.get(start..).unwrap_or_default());
        out.put_u32(crc);
    }

    /// `None` if the checksum differs, also when the record belongs to another index.
    pub fn decode(index: u64, bytes: &[u8]) -> Option<Self> {
        let (mut covered, mut crc) = bytes.get(..META_BYTES)?.split_at(META_BYTES - 4);
        if crc.get_u32() != meta_crc(index, covered) {
            return None;
        }
        let (base_offset, term) = (covered.get_i64(), u64::from(covered.get_u32()));
        let position = covered.get_u32();
        let mut tail = covered;
        let (size, last_offset_delta) = (covered.get_u32(), covered.get_u32());
        let kind = EntryKind::from_byte(covered.get_u8())?;
        let meta =
            Self { term, kind, base_offset, position, size, last_offset_delta, delete_before: 0 };
        Some(match kind {
            EntryKind::DeleteRecords => {
                Self { size: 0, last_offset_delta: 0, delete_before: tail.get_i64(), ..meta }
            }
            _ => meta,
        })
    }
}

fn meta_crc(index: u64, covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&index.to_be_bytes()), covered)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metas() -> impl Strategy<Value = EntryMeta> {
        let kinds = [
            EntryKind::Blank,
            EntryKind::Membership,
            EntryKind::Batch,
            EntryKind::DeleteRecords,
            EntryKind::Void,
            EntryKind::Compacted,
        ];
        let numbers = (any::<u32>(), any::<i64>(), any::<u32>(), any::<u32>(), any::<i64>());
        (proptest::sample::select(kinds.to_vec()), numbers).prop_map(
            |(kind, (term, base_offset, position, size, delete_before))| {
                let delete = kind == EntryKind::DeleteRecords;
                EntryMeta {
                    term: u64::from(term),
                    kind,
                    base_offset,
                    position,
                    size: if delete { 0 } else { size },
                    last_offset_delta: if delete { 0 } else { size / 2 },
                    delete_before: if delete { delete_before } else { 0 },
                }
            },
        )
    }

    proptest! {
        #[test]
        fn metas_round_trip(meta in metas(), index: u64, bit in 0usize..META_BYTES * 8) {
            let mut bytes = Vec::new();
            meta.encode(index, &mut bytes);
            prop_assert_eq!(bytes.len(), META_BYTES);
            prop_assert_eq!(EntryMeta::decode(index, &bytes), Some(meta));
            prop_assert_eq!(EntryMeta::decode(index ^ 1, &bytes), None);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(EntryMeta::decode(index, &bytes), None);
        }
    }
}

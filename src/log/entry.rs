//! Raft entries as the log keeps them: whole batches in the segment, and records in the `.raft`
//! file beside it ([`crate::log::run`]).

use bytes::Bytes;

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
    /// A batch of which compaction has left nothing. It keeps its place and its offsets: what
    /// follows it begins at `end_offset`, or later, if more of the batches before that are gone.
    /// Or a batch that was not appended: a duplicate, or one that the producer's state refuses. It
    /// holds its place in the Raft log and takes no offset, so `end_offset` is no further on.
    Compacted { end_offset: Offset },
}

#[cfg(test)]
impl EntryBody {
    /// A batch that was not appended, wherever that may be.
    pub(crate) const VOID: Self = Self::Compacted { end_offset: 0 };
}

/// An entry to append.
#[derive(Debug)]
pub struct Entry {
    pub id: EntryId,
    pub body: EntryBody,
    /// Set where the entry was proposed: who wants to know what became of it.
    pub ticket: Option<Ticket>,
}

impl Entry {
    /// The first offset of its batch, if it comes from a leader; a proposer's is yet to get one.
    pub fn given_offset(&self) -> Option<Offset> {
        let EntryBody::Batch(batch) = &self.body else { return None };
        let header = batch.header();
        (self.ticket.is_none() && header.leader_epoch >= 0).then_some(header.base_offset)
    }
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

impl EntryKind {
    /// Whether all that is left of such an entry is its place, and perhaps its offsets.
    pub fn is_nothing(self) -> bool {
        matches!(self, Self::Void | Self::Compacted)
    }
}

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
}

//! The types that openraft is instantiated with.

use std::fmt;

use bytes::Bytes;
use openraft::impls::EmptyNode;
use openraft::impls::leader_id_std::LeaderId;

use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::entry::Ticket;
use crate::log::partition_log::EntryStub;
use crate::log::producer_state::AppendOutcome;
use crate::replication::runtime::Runtime;

openraft::declare_raft_types!(
    /// A partition. The leader id is the term alone once it is committed, so a log id is (leader
    /// epoch, index).
    pub(crate) PartitionTypes:
        D = Command,
        R = AppendOutcome,
        NodeId = u64,
        Node = EmptyNode,
        LeaderId = LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

openraft::declare_raft_types!(
    /// The cluster's metadata: encoded records; the answer is the entry's index.
    pub(crate) MetadataTypes:
        D = MetadataCommand,
        R = u64,
        NodeId = u64,
        Node = EmptyNode,
        LeaderId = LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

/// A term as it stands in log ids.
pub(crate) type Term = openraft::vote::leader_id_std::CommittedLeaderId<u64>;
pub(crate) type LogId = openraft::LogId<Term>;
pub(crate) type Membership = openraft::Membership<u64, EmptyNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<Term, u64, EmptyNode>;
pub(crate) type Vote = openraft::Vote<LeaderId<u64, u64>>;
pub(crate) type SnapshotMeta = openraft::storage::SnapshotMeta<Term, u64, EmptyNode>;
pub(crate) type Snapshot = openraft::storage::Snapshot<Term, u64, EmptyNode, Bytes>;

/// What is proposed to a partition's group, and what its log hands back.
#[derive(Debug)]
pub(crate) enum Command {
    Append {
        batch: Batch,
        ticket: Option<Ticket>,
    },
    DeleteRecords {
        before: Offset,
    },
    /// A batch of which compaction has left nothing, or that was not appended.
    Compacted {
        end_offset: Offset,
    },
    /// An entry without its records: all that applying needs.
    Stub(EntryStub),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append { batch, .. } => write!(f, "append {} bytes", batch.size()),
            Self::DeleteRecords { before } => write!(f, "delete records before {before}"),
            Self::Compacted { .. } => f.write_str("compacted"),
            Self::Stub(stub) => write!(f, "entry {}", stub.id.index),
        }
    }
}

/// Metadata records, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetadataCommand(pub(crate) Bytes);

impl fmt::Display for MetadataCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of records", self.0.len())
    }
}

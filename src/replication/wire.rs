//! Raft's messages between nodes as bytes: big-endian, fixed fields, counts before lists. Records
//! of a batch stay the slice that they are, on both sides.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::entry::EntryPayload;
use openraft::impls::EmptyNode;
use openraft::impls::leader_id_std::LeaderId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{RaftTypeConfig, Vote};

use crate::base::ids::{Offset, TopicId, TopicPartition};
use crate::log::batch::Batch;
use crate::peer::Body;
use crate::replication::codec;
use crate::replication::runtime::Runtime;
use crate::replication::types::{
    Command, LogId, Membership, MetadataCommand, MetadataTypes, PartitionTypes, Snapshot,
    SnapshotMeta, Term,
};

const BLANK: u8 = 0;
const MEMBERSHIP: u8 = 1;
const DATA: u8 = 2;
const DELETE_RECORDS: u8 = 3;
const COMPACTED: u8 = 4;

const SUCCESS: u8 = 0;
const PARTIAL_SUCCESS: u8 = 1;
const CONFLICT: u8 = 2;
const HIGHER_VOTE: u8 = 3;

/// Pieces up to this size are copied together, larger ones stay pieces.
const PIECE_BYTES_MIN: usize = 512;

/// The metadata group's place among the partitions.
pub(crate) const METADATA: TopicPartition =
    TopicPartition { topic_id: TopicId::ZERO, partition: -1 };

/// The group that a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) id: TopicPartition,
    /// How often one of its replicas had to go on without a majority: members of another lineage
    /// have another history.
    pub(crate) lineage: u32,
}

type LogVote = Vote<LeaderId<u64, u64>>;

/// What both kinds of groups have in common, and how their entries are written.
pub(crate) trait GroupTypes:
    RaftTypeConfig<
        NodeId = u64,
        Node = EmptyNode,
        Term = u64,
        LeaderId = LeaderId<u64, u64>,
        Vote = LogVote,
        AsyncRuntime = Runtime,
    >
{
    fn entry_id(entry: &Self::Entry) -> LogId;
    /// Whether it takes more than a moment's room on the disk.
    fn has_records(entry: &Self::Entry) -> bool;
    fn put_entry(entry: &Self::Entry, out: &mut Pieces);
    fn get_entry(id: LogId, kind: u8, body: Bytes) -> io::Result<Self::Entry>;
}

type Payload<D> = EntryPayload<D, u64, EmptyNode>;

impl GroupTypes for PartitionTypes {
    fn entry_id(entry: &Self::Entry) -> LogId {
        entry.log_id
    }

    fn has_records(entry: &Self::Entry) -> bool {
        matches!(entry.payload, EntryPayload::Normal(Command::Append { .. }))
    }

    fn put_entry(entry: &Self::Entry, out: &mut Pieces) {
        match &entry.payload {
            EntryPayload::Blank => out.put_body(BLANK, &[]),
            EntryPayload::Membership(membership) => {
                out.put_body(MEMBERSHIP, &[codec::encode_membership(membership)]);
            }
            EntryPayload::Normal(Command::Append { batch, .. }) => {
                let head = Bytes::copy_from_slice(batch.head());
                out.put_body(DATA, &[head, batch.records().clone()]);
            }
            EntryPayload::Normal(Command::DeleteRecords { before }) => {
                let before = Bytes::copy_from_slice(&before.to_be_bytes());
                out.put_body(DELETE_RECORDS, &[before]);
            }
            EntryPayload::Normal(Command::Compacted { end_offset }) => {
                put_compacted(*end_offset, out);
            }
            // A stub is what a log hands out for applying; nobody sends one.
            EntryPayload::Normal(Command::Stub(stub)) => {
                put_compacted(stub.meta.next_offset(), out);
            }
        }
    }

    fn get_entry(log_id: LogId, kind: u8, mut body: Bytes) -> io::Result<Self::Entry> {
        let payload: Payload<Command> = match kind {
            BLANK => EntryPayload::Blank,
            MEMBERSHIP => EntryPayload::Membership(get_membership(&body)?),
            DATA => {
                let batch = Batch::take(&mut body).map_err(|error| {
                    io::Error::other(format!("a damaged batch came from the leader: {error:?}"))
                })?;
                EntryPayload::Normal(Command::Append { batch, ticket: None })
            }
            DELETE_RECORDS => {
                let before = body.try_get_i64().map_err(damaged)?;
                EntryPayload::Normal(Command::DeleteRecords { before })
            }
            COMPACTED => {
                let end_offset = body.try_get_i64().map_err(damaged)?;
                EntryPayload::Normal(Command::Compacted { end_offset })
            }
            _ => return Err(damaged(kind)),
        };
        Ok(Self::Entry { log_id, payload })
    }
}

fn put_compacted(end_offset: Offset, out: &mut Pieces) {
    out.put_body(COMPACTED, &[Bytes::copy_from_slice(&end_offset.to_be_bytes())]);
}

impl GroupTypes for MetadataTypes {
    fn entry_id(entry: &Self::Entry) -> LogId {
        entry.log_id
    }

    fn has_records(_: &Self::Entry) -> bool {
        false
    }

    fn put_entry(entry: &Self::Entry, out: &mut Pieces) {
        match &entry.payload {
            EntryPayload::Blank => out.put_body(BLANK, &[]),
            EntryPayload::Membership(membership) => {
                out.put_body(MEMBERSHIP, &[codec::encode_membership(membership)]);
            }
            EntryPayload::Normal(command) => {
                out.put_body(DATA, std::slice::from_ref(&command.0));
            }
        }
    }

    fn get_entry(log_id: LogId, kind: u8, body: Bytes) -> io::Result<Self::Entry> {
        let payload: Payload<MetadataCommand> = match kind {
            BLANK => EntryPayload::Blank,
            MEMBERSHIP => EntryPayload::Membership(get_membership(&body)?),
            DATA => EntryPayload::Normal(MetadataCommand(body)),
            _ => return Err(damaged(kind)),
        };
        Ok(Self::Entry { log_id, payload })
    }
}

fn damaged<E>(_: E) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "damaged message of another node")
}

fn get_membership(mut body: &[u8]) -> io::Result<Membership> {
    codec::decode_membership(&mut body)
}

/// A message under construction: small fields together, large slices as they are.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    done: Body,
    open: BytesMut,
}

impl Pieces {
    /// A message to a group.
    pub(crate) fn to(group: Address) -> Self {
        let mut pieces = Self::default();
        put_group(&mut pieces.open, group);
        pieces
    }

    pub(crate) fn finish(mut self) -> Body {
        if !self.open.is_empty() {
            self.done.push(self.open.freeze());
        }
        self.done
    }

    /// The bytes so far.
    pub(crate) fn size(&self) -> usize {
        self.open.len() + self.done.iter().map(Bytes::len).sum::<usize>()
    }

    fn put_body(&mut self, kind: u8, parts: &[Bytes]) {
        let size: usize = parts.iter().map(Bytes::len).sum();
        self.open.put_u8(kind);
        self.open.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
        for part in parts {
            self.put_slice(part);
        }
    }

    fn put_slice(&mut self, slice: &Bytes) {
        if slice.len() < PIECE_BYTES_MIN {
            self.open.put_slice(slice);
        } else {
            self.done.push(self.open.split().freeze());
            self.done.push(slice.clone());
        }
    }

    fn put_vote(&mut self, vote: &LogVote) {
        self.open.put_slice(&codec::encode_vote(vote));
    }

    fn put_log_id(&mut self, id: Option<&LogId>) {
        let mut bytes = Vec::with_capacity(17);
        codec::put_log_id(&mut bytes, id);
        self.open.put_slice(&bytes);
    }
}

pub(crate) fn put_group(out: &mut BytesMut, group: Address) {
    out.put_slice(&group.id.topic_id.0);
    out.put_i32(group.id.partition);
    out.put_u32(group.lineage);
}

/// The group that a message is for.
pub(crate) fn get_group(body: &mut Bytes) -> io::Result<Address> {
    let topic_id = take(body, 16)?;
    let topic_id = topic_id.as_ref().try_into().map(TopicId).map_err(damaged)?;
    let id = TopicPartition { topic_id, partition: body.try_get_i32().map_err(damaged)? };
    Ok(Address { id, lineage: body.try_get_u32().map_err(damaged)? })
}

fn take(body: &mut Bytes, size: usize) -> io::Result<Bytes> {
    if body.len() < size { Err(damaged(size)) } else { Ok(body.split_to(size)) }
}

fn get_vote(body: &mut Bytes) -> io::Result<LogVote> {
    codec::decode_vote(&take(body, 17)?)
}

pub(crate) fn get_log_id(body: &mut Bytes) -> io::Result<Option<LogId>> {
    codec::get_log_id(&mut &take(body, 17)?[..])
}

pub(crate) fn put_append<C: GroupTypes>(
    group: Address,
    request: &AppendEntriesRequest<C>,
) -> Pieces {
    let mut out = Pieces::to(group);
    out.put_vote(&request.vote);
    out.put_log_id(request.prev_log_id.as_ref());
    out.put_log_id(request.leader_commit.as_ref());
    out.open.put_u32(u32::try_from(request.entries.len()).unwrap_or(u32::MAX));
    for entry in &request.entries {
        let id = C::entry_id(entry);
        out.open.put_u64(*id.leader_id);
        out.open.put_u64(id.index);
        C::put_entry(entry, &mut out);
    }
    out
}

pub(crate) fn get_append<C: GroupTypes>(mut body: Bytes) -> io::Result<AppendEntriesRequest<C>> {
    let vote = get_vote(&mut body)?;
    let prev_log_id = get_log_id(&mut body)?;
    let leader_commit = get_log_id(&mut body)?;
    let count = body.try_get_u32().map_err(damaged)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let term: u64 = body.try_get_u64().map_err(damaged)?;
        let index = body.try_get_u64().map_err(damaged)?;
        let kind = body.try_get_u8().map_err(damaged)?;
        let size = body.try_get_u32().map_err(damaged)? as usize;
        let id = LogId { leader_id: Term::from(term), index };
        entries.push(C::get_entry(id, kind, take(&mut body, size)?)?);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

pub(crate) fn put_append_response<C: GroupTypes>(response: &AppendEntriesResponse<C>) -> Body {
    let mut out = Pieces::default();
    match response {
        AppendEntriesResponse::Success => out.open.put_u8(SUCCESS),
        AppendEntriesResponse::PartialSuccess(id) => {
            out.open.put_u8(PARTIAL_SUCCESS);
            out.put_log_id(id.as_ref());
        }
        AppendEntriesResponse::Conflict => out.open.put_u8(CONFLICT),
        AppendEntriesResponse::HigherVote(vote) => {
            out.open.put_u8(HIGHER_VOTE);
            out.put_vote(vote);
        }
    }
    out.finish()
}

/// Whether an answer to an append says that its sender is followed.
pub(crate) fn is_followed(answer: &[u8]) -> bool {
    matches!(answer.first(), Some(&(SUCCESS | PARTIAL_SUCCESS | CONFLICT)))
}

pub(crate) fn get_append_response<C: GroupTypes>(
    mut body: Bytes,
) -> io::Result<AppendEntriesResponse<C>> {
    Ok(match body.try_get_u8().map_err(damaged)? {
        SUCCESS => AppendEntriesResponse::Success,
        PARTIAL_SUCCESS => AppendEntriesResponse::PartialSuccess(get_log_id(&mut body)?),
        CONFLICT => AppendEntriesResponse::Conflict,
        HIGHER_VOTE => AppendEntriesResponse::HigherVote(get_vote(&mut body)?),
        other => return Err(damaged(other)),
    })
}

pub(crate) fn put_vote_request<C: GroupTypes>(group: Address, request: &VoteRequest<C>) -> Body {
    let mut out = Pieces::to(group);
    out.put_vote(&request.vote);
    out.put_log_id(request.last_log_id.as_ref());
    out.open.put_u8(u8::from(request.leadership_transfer));
    out.finish()
}

pub(crate) fn get_vote_request<C: GroupTypes>(mut body: Bytes) -> io::Result<VoteRequest<C>> {
    let (vote, last_log_id) = (get_vote(&mut body)?, get_log_id(&mut body)?);
    let mut request = VoteRequest::new(vote, last_log_id);
    request.leadership_transfer = body.try_get_u8().map_err(damaged)? == 1;
    Ok(request)
}

pub(crate) fn put_vote_response<C: GroupTypes>(response: &VoteResponse<C>) -> Body {
    let mut out = Pieces::default();
    out.put_vote(&response.vote);
    out.put_log_id(response.last_log_id.as_ref());
    out.open.put_u8(u8::from(response.vote_granted));
    out.finish()
}

pub(crate) fn get_vote_response<C: GroupTypes>(mut body: Bytes) -> io::Result<VoteResponse<C>> {
    let (vote, last_log_id) = (get_vote(&mut body)?, get_log_id(&mut body)?);
    Ok(VoteResponse::new(vote, last_log_id, body.try_get_u8().map_err(damaged)? == 1))
}

pub(crate) fn put_snapshot(group: Address, vote: &LogVote, snapshot: &Snapshot) -> Body {
    let mut out = Pieces::to(group);
    out.put_vote(vote);
    out.put_log_id(snapshot.meta.last_log_id.as_ref());
    let mut membership = Vec::new();
    codec::put_stored_membership(&mut membership, &snapshot.meta.last_membership);
    out.open.put_u32(u32::try_from(membership.len()).unwrap_or(u32::MAX));
    out.open.put_slice(&membership);
    out.put_slice(&snapshot.snapshot);
    out.finish()
}

pub(crate) fn get_snapshot(mut body: Bytes) -> io::Result<(LogVote, Snapshot)> {
    let (vote, last_log_id) = (get_vote(&mut body)?, get_log_id(&mut body)?);
    let size = body.try_get_u32().map_err(damaged)? as usize;
    let membership = take(&mut body, size)?;
    let last_membership = codec::get_stored_membership(&mut &membership[..])?;
    let meta = SnapshotMeta { last_log_id, last_membership };
    Ok((vote, Snapshot { meta, snapshot: body }))
}

/// The answer to a snapshot is the receiver's vote.
pub(crate) fn put_vote_alone(vote: &LogVote) -> Body {
    vec![codec::encode_vote(vote).into()]
}

pub(crate) fn get_vote_alone(mut body: Bytes) -> io::Result<LogVote> {
    get_vote(&mut body)
}

pub(crate) fn put_transfer<C: GroupTypes>(
    group: Address,
    request: &TransferLeaderRequest<C>,
) -> Body {
    let mut out = Pieces::to(group);
    out.put_vote(request.from_leader());
    out.open.put_u64(*request.to_node_id());
    out.put_log_id(request.last_log_id());
    out.finish()
}

pub(crate) fn get_transfer<C: GroupTypes>(mut body: Bytes) -> io::Result<TransferLeaderRequest<C>> {
    let vote = get_vote(&mut body)?;
    let to = body.try_get_u64().map_err(damaged)?;
    Ok(TransferLeaderRequest::new(vote, to, get_log_id(&mut body)?))
}

#[cfg(test)]
mod tests;

//! The metadata group's log and state over the key-value store. Keys: `M` + `l` + index for
//! entries, `M` + a letter for the vote, the purged id, the snapshot.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use futures_util::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder,
    RaftStateMachine,
};

use crate::base::kv::{Change, KeyValue, KvWriter};
use crate::metadata::publisher::Publisher;
use crate::replication::codec;
use crate::replication::member::AppliedTerm;
use crate::replication::types::{
    LogId, MetadataCommand, MetadataTypes, Snapshot, SnapshotMeta, StoredMembership, Term, Vote,
};

type Payload = EntryPayload<MetadataCommand, u64, openraft::EmptyNode>;
type Entry = openraft::Entry<Term, Payload>;

const VOTE: &[u8] = b"Mv";
const PURGED: &[u8] = b"Mp";
const SNAPSHOT: &[u8] = b"Ms";
/// Entries read for a follower at once.
const ENTRIES_READ_COUNT: usize = 256;

fn entry_key(index: u64) -> Vec<u8> {
    [b"Ml", &index.to_be_bytes()[..]].concat()
}

fn end_of_entries() -> Vec<u8> {
    b"Mm".to_vec()
}

/// The log store; its clones are its readers.
#[derive(Debug, Clone)]
pub(crate) struct MetadataLogStore {
    pub(crate) kv: Arc<dyn KeyValue>,
    pub(crate) writer: KvWriter,
}

fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(*entry.log_id.leader_id);
    match &entry.payload {
        EntryPayload::Blank => out.put_u8(0),
        EntryPayload::Normal(command) => {
            out.put_u8(1);
            out.put_slice(&command.0);
        }
        EntryPayload::Membership(membership) => {
            out.put_u8(2);
            out.put_slice(&codec::encode_membership(membership));
        }
    }
    out
}

fn decode_entry(key: &[u8], mut value: &[u8]) -> io::Result<Entry> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged metadata entry");
    let mut index = key.get(2..).ok_or_else(damaged)?;
    let index = index.try_get_u64().map_err(|_| damaged())?;
    let term = value.try_get_u64().map_err(|_| damaged())?;
    let payload = match value.try_get_u8().map_err(|_| damaged())? {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Normal(MetadataCommand(Bytes::copy_from_slice(value))),
        2 => EntryPayload::Membership(codec::decode_membership(&mut value)?),
        _ => return Err(damaged()),
    };
    Ok(Entry { log_id: LogId { leader_id: term.into(), index }, payload })
}

impl MetadataLogStore {
    fn read(&self, from: u64, to: u64, count_max: usize) -> io::Result<Vec<Entry>> {
        let to = if to == u64::MAX { end_of_entries() } else { entry_key(to) };
        let pairs = self.kv.scan(&entry_key(from), &to, count_max)?;
        pairs.iter().map(|(key, value)| decode_entry(key, value)).collect()
    }

    fn get_id(&self, key: &[u8]) -> io::Result<Option<LogId>> {
        match self.kv.get(key)? {
            Some(value) => codec::get_log_id(&mut &value[..]),
            None => Ok(None),
        }
    }
}

impl RaftLogReader<MetadataTypes> for MetadataLogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, ENTRIES_READ_COUNT)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.kv.get(VOTE)?.map(|value| codec::decode_vote(&value)).transpose()
    }
}

impl RaftLogStorage<MetadataTypes> for MetadataLogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<MetadataTypes>> {
        let purged = self.get_id(PURGED)?;
        let last = self.kv.last(&entry_key(0), &end_of_entries())?;
        let last = last.map(|(key, value)| decode_entry(&key, &value)).transpose()?;
        let last_log_id = last.map(|entry| entry.log_id).or(purged);
        Ok(LogState { last_purged_log_id: purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let put = Change::Put { key: VOTE.to_vec(), value: codec::encode_vote(vote) };
        self.writer.write(vec![put]).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<MetadataTypes>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let put = |entry: Entry| Change::Put {
            key: entry_key(entry.log_id.index),
            value: encode_entry(&entry),
        };
        let changes: Vec<Change> = entries.into_iter().map(put).collect();
        // Entries must be readable when this returns, so it waits for the write.
        self.writer.write(changes).await?;
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let from = entry_key(last_log_id.map_or(0, |id| id.index + 1));
        self.writer.write(vec![Change::DeleteRange { from, to: end_of_entries() }]).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let mut value = Vec::new();
        codec::put_log_id(&mut value, Some(&log_id));
        let note = Change::Put { key: PURGED.to_vec(), value };
        let to = entry_key(log_id.index + 1);
        self.writer.write(vec![note, Change::DeleteRange { from: entry_key(0), to }]).await
    }
}

/// The state machine: an image in memory, kept by snapshots.
#[derive(Debug)]
pub(crate) struct MetadataStateMachine {
    store: MetadataLogStore,
    publisher: Arc<Publisher>,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Told to whoever decides whether this node serves.
    applied_term: AppliedTerm,
}

impl MetadataStateMachine {
    pub(crate) fn new(
        store: MetadataLogStore,
        publisher: Arc<Publisher>,
        applied_term: AppliedTerm,
    ) -> Self {
        let membership = StoredMembership::default();
        Self { store, publisher, applied: None, membership, applied_term }
    }
}

impl RaftStateMachine<MetadataTypes> for MetadataStateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = MetadataSnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<MetadataTypes>>> + Unpin + Send,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => {
                    let offset = entry.log_id.index;
                    self.publisher.apply(&command.0, offset).map_err(io::Error::other)?;
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            self.applied = Some(entry.log_id);
            self.applied_term.set(*entry.log_id.leader_id);
            if let Some(responder) = responder {
                responder.send(entry.log_id.index);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> MetadataSnapshotBuilder {
        let meta =
            SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        MetadataSnapshotBuilder {
            writer: self.store.writer.clone(),
            meta,
            snapshot: self.publisher.snapshot(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> io::Result<()> {
        save_snapshot(&self.store.writer, meta, &snapshot).await?;
        self.publisher.restore(&snapshot).map_err(io::Error::other)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let Some(value) = self.store.kv.get(SNAPSHOT)? else { return Ok(None) };
        let mut bytes = &value[..];
        let last_log_id = codec::get_log_id(&mut bytes)?;
        let last_membership = codec::get_stored_membership(&mut bytes)?;
        let snapshot = Bytes::copy_from_slice(bytes);
        Ok(Some(Snapshot { meta: SnapshotMeta { last_log_id, last_membership }, snapshot }))
    }
}

async fn save_snapshot(writer: &KvWriter, meta: &SnapshotMeta, data: &[u8]) -> io::Result<()> {
    let mut value = Vec::new();
    codec::put_log_id(&mut value, meta.last_log_id.as_ref());
    codec::put_stored_membership(&mut value, &meta.last_membership);
    value.extend_from_slice(data);
    writer.write(vec![Change::Put { key: SNAPSHOT.to_vec(), value }]).await
}

/// A snapshot to be saved.
#[derive(Debug)]
pub(crate) struct MetadataSnapshotBuilder {
    writer: KvWriter,
    meta: SnapshotMeta,
    snapshot: Bytes,
}

impl RaftSnapshotBuilder<MetadataTypes> for MetadataSnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        save_snapshot(&self.writer, &self.meta, &self.snapshot).await?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: self.snapshot.clone() })
    }
}

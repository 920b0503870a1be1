//! openraft's log storage over a [`PartitionLog`]. Appends go to the log's writer and report when
//! they are durable; applying and starting read entries without their records.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use openraft::entry::EntryPayload;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::time::Instant;

use crate::base::kv::{Change, KvWriter};
use crate::log::entry::{Entry as LogEntry, EntryBody, EntryId, EntryKind};
use crate::log::flusher::completion;
use crate::log::partition_log::{EntryStub, PartitionLog};
use crate::replication::codec;
use crate::replication::types::{Command, LogId, PartitionTypes, Term, Vote};

type Payload = EntryPayload<Command, u64, openraft::impls::EmptyNode>;
type Entry = openraft::Entry<Term, Payload>;

/// How long a damaged batch may take to be mended before the group stops here.
const MEND: Duration = Duration::from_secs(10);
/// What a read for a follower may hold, in bytes.
const ENTRIES_READ_BYTES: usize = 1024 * 1024;

/// The log store of one partition; its clones are its readers.
#[derive(Debug, Clone)]
pub(crate) struct PartitionLogStore {
    log: Arc<PartitionLog>,
    votes: KvWriter,
    /// As openraft's suite wants it.
    begins_anywhere: bool,
}

impl PartitionLogStore {
    pub(crate) fn new(log: Arc<PartitionLog>, votes: KvWriter) -> Self {
        Self { log, votes, begins_anywhere: false }
    }

    fn vote_key(&self) -> Vec<u8> {
        vote_key(self.log.key())
    }
}

/// Where a replica keeps its vote, below the partition's key.
pub fn vote_key(partition: &[u8]) -> Vec<u8> {
    [partition, b"v"].concat()
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
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
    (from, to)
}

fn to_log(entry: Entry) -> LogEntry {
    let id = codec::entry_id(&entry.log_id);
    let mut ticket = None;
    let body = match entry.payload {
        EntryPayload::Blank => EntryBody::Blank,
        EntryPayload::Membership(membership) => {
            EntryBody::Membership(codec::encode_membership(&membership))
        }
        EntryPayload::Normal(Command::Append { batch, ticket: own }) => {
            ticket = own;
            EntryBody::Batch(batch)
        }
        EntryPayload::Normal(Command::DeleteRecords { before }) => EntryBody::DeleteRecords(before),
        EntryPayload::Normal(Command::Compacted { end_offset }) => {
            EntryBody::Compacted { end_offset }
        }
        // A stub is what a log hands out; nobody proposes one.
        EntryPayload::Normal(Command::Stub(stub)) => {
            EntryBody::Compacted { end_offset: stub.meta.next_offset() }
        }
    };
    LogEntry { id, body, ticket }
}

fn from_log(entry: LogEntry) -> io::Result<Entry> {
    let payload = match entry.body {
        EntryBody::Blank => EntryPayload::Blank,
        EntryBody::DeleteRecords(before) => EntryPayload::Normal(Command::DeleteRecords { before }),
        EntryBody::Compacted { end_offset } => {
            EntryPayload::Normal(Command::Compacted { end_offset })
        }
        EntryBody::Membership(bytes) => membership_of(&bytes)?,
        EntryBody::Batch(batch) => EntryPayload::Normal(Command::Append { batch, ticket: None }),
    };
    Ok(Entry { log_id: codec::log_id(entry.id), payload })
}

/// An entry without its records; `None` if it is not known what it was. Memberships come whole:
/// openraft looks for them.
fn from_stub(log: &PartitionLog, stub: EntryStub) -> io::Result<Option<Entry>> {
    let index = stub.id.index;
    let payload = match stub.meta.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Membership => membership_of(&log.membership(index)?)?,
        EntryKind::Unknown => match log.membership(index) {
            Ok(bytes) => membership_of(&bytes)?,
            Err(_) => return Ok(None),
        },
        _ => EntryPayload::Normal(Command::Stub(stub)),
    };
    Ok(Some(Entry { log_id: codec::log_id(stub.id), payload }))
}

fn membership_of(mut bytes: &[u8]) -> io::Result<Payload> {
    Ok(EntryPayload::Membership(codec::decode_membership(&mut bytes)?))
}

impl RaftLogReader<PartitionTypes> for PartitionLogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (mut from, to) = bounds(&range);
        let mut entries = Vec::new();
        loop {
            let stubs = self.log.stubs(from, to)?;
            let Some(last) = stubs.last() else { return Ok(entries) };
            from = last.id.index + 1;
            for stub in stubs {
                // Only memberships are looked for: anything else may be anything.
                let anything = || Entry {
                    log_id: codec::log_id(stub.id),
                    payload: EntryPayload::Normal(Command::Stub(stub)),
                };
                entries.push(from_stub(&self.log, stub)?.unwrap_or_else(anything));
            }
        }
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = bounds(&range);
        let chunks = StubChunks { log: Arc::clone(&self.log), next: from, to };
        let chunks = stream::try_unfold(chunks, |mut chunks| async move {
            let chunk = chunks.read().await?;
            Ok::<_, io::Error>((!chunk.is_empty()).then_some((chunk, chunks)))
        });
        flatten(chunks)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let until = Instant::now() + MEND;
        loop {
            let mended = self.log.mended();
            match self.log.entries(start, end, ENTRIES_READ_BYTES) {
                Ok(entries) => return entries.into_iter().map(from_log).collect(),
                Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error),
                // Another replica may have what is damaged here.
                Err(error) => {
                    if tokio::time::timeout_at(until, mended).await.is_err() {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let value = self.log.kv().get(&self.vote_key())?;
        value.map(|value| codec::decode_vote(&value)).transpose()
    }

    async fn get_key_log_ids(&mut self, range: RangeInclusive<LogId>) -> io::Result<Vec<LogId>> {
        // The last id of each term. (The trait's words say the first; openraft's list and its own
        // suite take the last.)
        let (first, last) = (range.start().index, *range.end());
        let starts: Vec<EntryId> = self.log.terms().iter().map(|start| start.first).collect();
        let ends = starts.windows(2).filter_map(|pair| match pair {
            [of, next] => Some(EntryId { term: of.term, index: next.index.checked_sub(1)? }),
            _ => None,
        });
        let inside = ends.filter(|end| (first..last.index).contains(&end.index));
        Ok(inside.map(codec::log_id).chain([last]).collect())
    }
}

struct StubChunks {
    log: Arc<PartitionLog>,
    next: u64,
    to: u64,
}

impl StubChunks {
    /// An entry of which it is not known what it was is waited for: another replica may know.
    async fn read(&mut self) -> io::Result<Vec<io::Result<Entry>>> {
        let until = Instant::now() + MEND;
        loop {
            let mended = self.log.mended();
            let stubs = self.log.stubs(self.next, self.to)?;
            let next = stubs.last().map_or(self.to, |last| last.id.index + 1);
            let entries = stubs.into_iter().map(|stub| from_stub(&self.log, stub).transpose());
            if let Some(entries) = entries.collect::<Option<Vec<_>>>() {
                self.next = next;
                return Ok(entries);
            }
            if tokio::time::timeout_at(until, mended).await.is_err() {
                let text = format!("it is not known what an entry from {} on was", self.next);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
    }
}

fn flatten(
    chunks: impl Stream<Item = io::Result<Vec<io::Result<Entry>>>> + Send + 'static,
) -> impl Stream<Item = io::Result<Entry>> + Send {
    use futures_util::{StreamExt, TryStreamExt};
    chunks.map_ok(stream::iter).try_flatten().boxed()
}

impl RaftLogStorage<PartitionTypes> for PartitionLogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<PartitionTypes>> {
        let (purged, last) = self.log.bounds();
        Ok(LogState {
            last_purged_log_id: purged.map(codec::log_id),
            last_log_id: last.map(codec::log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let put = Change::Put { key: self.vote_key(), value: codec::encode_vote(vote) };
        self.votes.write(vec![put]).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<PartitionTypes>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut entries: Vec<LogEntry> = entries.into_iter().map(to_log).collect();
        // A snapshot counts as installed for openraft when that has begun.
        if let Some(first) = entries.first().filter(|_| !self.begins_anywhere) {
            self.log.comes_to(first.id.index).await?;
        }
        // A membership must be readable at once; its bytes are in the store, so put them there now.
        let mut has_membership = false;
        for entry in &mut entries {
            if let EntryBody::Membership(bytes) = &entry.body {
                let put = self.log.put_membership(entry.id.index, bytes);
                self.votes.write(vec![put]).await?;
                has_membership = true;
            }
        }
        if has_membership {
            // The vote of the first election must not be durable before the first membership is: a
            // group with a vote and without members can do nothing.
            let (done, flushed) = completion();
            self.log.append(entries, done)?;
            flushed.await?;
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.log.append(entries, Box::new(move |result| callback.io_completed(result)))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let (done, truncated) = completion();
        self.log.truncate_after(last_log_id.map(|id| id.index), done);
        truncated.await?;
        // Of an entry in the place of one of these it must not be said that it is a membership.
        let next_index = last_log_id.map_or(0, |id| id.index + 1);
        self.votes.write(vec![self.log.drop_memberships(next_index)]).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let upto = codec::entry_id(&log_id);
        if let Some(change) = self.log.purge_change(upto) {
            self.votes.write(vec![change]).await?;
        }
        self.log.purge(upto)
    }
}

#[cfg(test)]
mod tests;

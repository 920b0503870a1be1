//! A partition's state machine: the high watermark and the log start. Both live in the log; what is
//! kept beside it is the *checkpoint*, from which a restart goes on applying.
//!
//! A snapshot is tiny and lies at the log start, older than what is applied: it stands for the
//! segments that may be deleted.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use futures_util::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};

use crate::base::ids::Offset;
use crate::base::kv::{Change, KeyValue, KvWriter};
use crate::log::entry::{EntryId, EntryKind};
use crate::log::flusher::completion;
use crate::log::partition_log::PartitionLog;
use crate::log::producer_state::AppendOutcome;
use crate::replication::codec;
use crate::replication::member::AppliedTerm;
use crate::replication::types::{
    Command, LogId, PartitionTypes, Snapshot, SnapshotMeta, StoredMembership,
};

/// So many memberships are remembered in any case: changes are rare. Of more than these only those
/// are forgotten that nobody needs: below the log start.
const MEMBERSHIPS_COUNT: usize = 64;

/// What a restart begins with.
#[derive(Debug, Clone, Default)]
struct Checkpoint {
    applied: Option<LogId>,
    log_start: Offset,
    /// Oldest first; the snapshot needs the one as of its place.
    memberships: Vec<StoredMembership>,
}

/// The state machine of one partition.
#[derive(Debug)]
pub(crate) struct PartitionStateMachine {
    log: Arc<PartitionLog>,
    kv: KvWriter,
    state: Checkpoint,
    /// Segments there were at the last checkpoint.
    segments: usize,
    /// Told to whoever decides whether this node serves.
    applied_term: AppliedTerm,
    saving: Saving,
}

/// Held by whoever saves a snapshot: an older one must not take the place of a newer one.
type Saving = Arc<tokio::sync::Mutex<()>>;

impl Checkpoint {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        codec::put_log_id(&mut out, self.applied.as_ref());
        out.put_i64(self.log_start);
        out.put_u32(u32::try_from(self.memberships.len()).unwrap_or(u32::MAX));
        for stored in &self.memberships {
            codec::put_stored_membership(&mut out, stored);
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> io::Result<Self> {
        let applied = codec::get_log_id(&mut bytes)?;
        let log_start = bytes.try_get_i64().map_err(io::Error::other)?;
        let count = bytes.try_get_u32().map_err(io::Error::other)?;
        let memberships = (0..count).map(|_| codec::get_stored_membership(&mut bytes));
        Ok(Self { applied, log_start, memberships: memberships.collect::<io::Result<_>>()? })
    }
}

fn checkpoint_key(partition: &[u8]) -> Vec<u8> {
    [partition, b"a"].concat()
}

/// The change that keeps the checkpoint of a log that was applied without a group: its members are
/// those of its only membership.
pub(crate) fn first_checkpoint(
    partition: &[u8],
    applied: EntryId,
    log_start: Offset,
    membership: StoredMembership,
) -> Change {
    let applied = Some(codec::log_id(applied));
    let checkpoint = Checkpoint { applied, log_start, memberships: vec![membership] };
    Change::Put { key: checkpoint_key(partition), value: checkpoint.encode() }
}

fn snapshot_key(log: &PartitionLog) -> Vec<u8> {
    [log.key(), b"s"].concat()
}

/// How many members a group has that is not open: by its last membership entry, or else by the
/// checkpoint. 0 if neither tells.
pub(crate) fn members(kv: &dyn KeyValue, partition: &[u8]) -> io::Result<usize> {
    let (from, to) = ([partition, b"m"].concat(), [partition, b"n"].concat());
    if let Some((_, bytes)) = kv.last(&from, &to)? {
        return Ok(codec::decode_membership(&mut &bytes[..])?.voter_ids().count());
    }
    let stored = kv.get(&checkpoint_key(partition))?;
    let checkpoint = stored.map(|bytes| Checkpoint::decode(&bytes)).transpose()?;
    let last = checkpoint.and_then(|checkpoint| checkpoint.memberships.last().cloned());
    Ok(last.map_or(0, |stored| stored.voter_ids().count()))
}

/// The last entry up to `applied` that the log still has. An entry of a later term has taken the
/// place of one that was lost, whatever its index.
fn still_there(log: &PartitionLog, applied: LogId) -> Option<LogId> {
    let applied = codec::entry_id(&applied);
    let (purged, last) = log.bounds();
    if purged.is_some_and(|purged| purged.index > applied.index) {
        // A snapshot is about to be installed.
        return Some(codec::log_id(applied));
    }
    let mut end = last?.index;
    for start in log.terms().iter().rev() {
        if start.first.term <= applied.term && start.first.index <= applied.index {
            let found = EntryId { term: start.first.term, index: end.min(applied.index) };
            return Some(codec::log_id(purged.map_or(found, |purged| purged.max(found))));
        }
        end = start.first.index.saturating_sub(1);
    }
    purged.map(codec::log_id)
}

impl Drop for PartitionStateMachine {
    fn drop(&mut self) {
        // It ends with the first error. Appends may wait for a snapshot that it had yet to install.
        self.log.begin_no_more();
    }
}

impl PartitionStateMachine {
    /// Loads the checkpoint and restores the log start. Blocks.
    pub(crate) fn open(
        log: Arc<PartitionLog>,
        kv: KvWriter,
        applied_term: AppliedTerm,
    ) -> io::Result<Self> {
        let stored = log.kv().get(&checkpoint_key(log.key()))?;
        let mut state = match stored {
            Some(bytes) => Checkpoint::decode(&bytes)?,
            None => Checkpoint::default(),
        };
        // Without fsync a power cut may have taken entries that were applied already.
        state.applied = state.applied.and_then(|applied| still_there(&log, applied));
        state.memberships.retain(|stored| *stored.log_id() <= state.applied);
        log.restore_log_start(state.log_start);
        if let Some(applied) = state.applied
            && let Some(stub) = log.stubs(applied.index, applied.index + 1)?.first()
        {
            log.apply(applied.index, &stub.meta);
        }
        let segments = log.segment_count();
        Ok(Self { log, kv, state, segments, applied_term, saving: Arc::default() })
    }

    /// The snapshot that stands for what is below the log start now.
    fn snapshot(&self) -> Snapshot {
        let (evict_to, end) = self.log.last_below_log_start().unzip();
        let last_log_id = evict_to.map(codec::log_id);
        let as_of = |stored: &&StoredMembership| *stored.log_id() <= last_log_id;
        let last_membership = self.state.memberships.iter().rev().find(as_of).cloned();
        let meta =
            SnapshotMeta { last_log_id, last_membership: last_membership.unwrap_or_default() };
        let place = Place { log_start: self.log.offsets().log_start, end: end.unwrap_or(0) };
        Snapshot { meta, snapshot: place.encode() }
    }

    async fn save_checkpoint(&mut self) -> io::Result<()> {
        self.state.log_start = self.log.offsets().log_start;
        let put = Change::Put { key: checkpoint_key(self.log.key()), value: self.state.encode() };
        self.kv.write(vec![put]).await
    }

    fn note_membership(&mut self, stored: StoredMembership) {
        let memberships = &mut self.state.memberships;
        memberships.push(stored);
        let purged = self.log.bounds().0.map(codec::log_id);
        // The last one that is purged is the one as of there.
        while memberships.len() > MEMBERSHIPS_COUNT
            && memberships.get(1).is_some_and(|next| *next.log_id() <= purged)
        {
            memberships.remove(0);
        }
    }

    /// Applies one entry and gives the answer to its proposer.
    fn apply_entry(
        &mut self,
        payload: EntryPayload<Command, u64, openraft::EmptyNode>,
        id: LogId,
    ) -> io::Result<AppendOutcome> {
        match payload {
            EntryPayload::Normal(Command::Stub(stub)) => {
                if stub.meta.kind == EntryKind::DeleteRecords {
                    self.log.apply(id.index, &stub.meta);
                }
                Ok(stub.outcome)
            }
            EntryPayload::Membership(membership) => {
                self.note_membership(StoredMembership::new(Some(id), membership));
                Ok(AppendOutcome::None)
            }
            EntryPayload::Blank | EntryPayload::Normal(_) => Ok(AppendOutcome::None),
        }
    }
}

impl RaftStateMachine<PartitionTypes> for PartitionStateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let membership = self.state.memberships.last().cloned().unwrap_or_default();
        Ok((self.state.applied, membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<PartitionTypes>>> + Unpin + Send,
    {
        let mut answers: Vec<(ApplyResponder<PartitionTypes>, AppendOutcome)> = Vec::new();
        let mut must_save = false;
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let id = entry.log_id;
            must_save |= matches!(&entry.payload, EntryPayload::Normal(Command::Stub(stub))
                if stub.meta.kind == EntryKind::DeleteRecords);
            let outcome = self.apply_entry(entry.payload, id)?;
            answers.extend(responder.map(|responder| (responder, outcome)));
            self.state.applied = Some(id);
        }
        if let Some(applied) = self.state.applied
            && let Some(stub) = self.log.stubs(applied.index, applied.index + 1)?.first()
        {
            self.log.apply(applied.index, &stub.meta);
        }
        if let Some(applied) = self.state.applied {
            self.applied_term.set(*applied.leader_id);
        }
        // A deletion is durable before it is answered; else the checkpoint follows the segments.
        let segments = self.log.segment_count();
        if must_save || segments != self.segments {
            self.segments = segments;
            self.save_checkpoint().await?;
        }
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            log: Arc::clone(&self.log),
            kv: self.kv.clone(),
            snapshot: self.snapshot(),
            saving: Arc::clone(&self.saving),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> io::Result<()> {
        let place = Place::decode(&snapshot)?;
        let saving = self.saving.lock().await;
        save_snapshot(&self.log, &self.kv, meta, &snapshot).await?;
        drop(saving);
        if let Some(last) = &meta.last_log_id {
            let (done, begun) = completion();
            self.log.begin_behind(codec::entry_id(last), place.end, done);
            begun.await?;
        }
        if self.state.applied < meta.last_log_id {
            self.state.applied = meta.last_log_id;
            self.note_membership(meta.last_membership.clone());
        }
        self.log.restore_log_start(place.log_start);
        self.save_checkpoint().await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        saved_snapshot(&self.log)
    }
}

fn saved_snapshot(log: &PartitionLog) -> io::Result<Option<Snapshot>> {
    let Some(value) = log.kv().get(&snapshot_key(log))? else { return Ok(None) };
    let mut bytes = &value[..];
    let last_log_id = codec::get_log_id(&mut bytes)?;
    let last_membership = codec::get_stored_membership(&mut bytes)?;
    let snapshot = Bytes::copy_from_slice(bytes);
    if Place::decode(&snapshot).is_err() {
        // One without the offset is made again.
        return Ok(None);
    }
    Ok(Some(Snapshot { meta: SnapshotMeta { last_log_id, last_membership }, snapshot }))
}

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    log_start: Offset,
    /// At which the entries behind the snapshot begin; below the log start only if that is inside
    /// of their first segment.
    end: Offset,
}

impl Place {
    fn encode(self) -> Bytes {
        [self.log_start.to_be_bytes(), self.end.to_be_bytes()].concat().into()
    }

    fn decode(mut bytes: &[u8]) -> io::Result<Self> {
        let log_start = bytes.try_get_i64().map_err(io::Error::other)?;
        let end = bytes.try_get_i64().map_err(io::Error::other)?;
        Ok(Self { log_start, end })
    }
}

async fn save_snapshot(
    log: &PartitionLog,
    kv: &KvWriter,
    meta: &SnapshotMeta,
    snapshot: &[u8],
) -> io::Result<()> {
    if log.is_closed() {
        return Err(io::Error::other("the log is closed"));
    }
    let mut value = Vec::new();
    codec::put_log_id(&mut value, meta.last_log_id.as_ref());
    codec::put_stored_membership(&mut value, &meta.last_membership);
    value.extend_from_slice(snapshot);
    kv.write(vec![Change::Put { key: snapshot_key(log), value }]).await
}

/// Saves the snapshot that stands for the segments below the log start.
#[derive(Debug)]
pub(crate) struct SnapshotBuilder {
    log: Arc<PartitionLog>,
    kv: KvWriter,
    /// As of when it was asked for.
    snapshot: Snapshot,
    saving: Saving,
}

impl RaftSnapshotBuilder<PartitionTypes> for SnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let _saving = self.saving.lock().await;
        // One that was installed meanwhile may be newer.
        match saved_snapshot(&self.log)? {
            Some(saved) if saved.meta.last_log_id > self.snapshot.meta.last_log_id => Ok(saved),
            _ => {
                let Snapshot { meta, snapshot } = &self.snapshot;
                save_snapshot(&self.log, &self.kv, meta, snapshot).await?;
                Ok(self.snapshot.clone())
            }
        }
    }
}

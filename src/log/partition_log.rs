//! The log of one partition: an ordered list of segments and what is known of their contents.
//!
//! Invariants:
//! * `log_start_offset ≤ high_watermark ≤ next_offset`; the high watermark never goes back.
//! * The last stable offset is that of the first batch of an undecided transaction, if that is
//!   below the high watermark; a marker decides when the high watermark has passed it.
//! * Raft indexes have no holes: segment `i + 1` begins where segment `i` ends.
//! * A base offset is one past the last offset of the entry before, so every replica that has the
//!   same entries has the same offsets.
//! * State in memory runs ahead of the files: what is not written yet is in `recent`.
//! * All writes go through one writer per log dir, in the order of the appends.

mod check;
mod clean;
mod find;
mod flush;
mod read;
pub(crate) mod retire;
mod roll;
mod scrub;
mod stable;
mod times;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::base::clock::Clock;
use crate::base::disk::{self, Disk};
use crate::base::ids::Offset;
use crate::base::kv::{Change, KeyValue};
use crate::log::batch::{Batch, BatchHeader};
use crate::log::entry::{Entry, EntryBody, EntryId, EntryKind, EntryMeta};
use crate::log::flusher::{Completion, Job, LogWriter, RunJob, Work, WriteJob};
use crate::log::partition_log::flush::Unsynced;
use crate::log::producer_state::{AppendOutcome, ProducerStates};
use crate::log::records::marker::Marker;
use crate::log::recovery;
use crate::log::run::{RUN_OFFSETS_MAX, RecordBytes, Run, SEGMENT_OFFSETS_MAX};
use crate::log::segment::{DurableNote, Segment, SegmentFiles, record_position};

pub use check::DamageBell;
pub use read::{EntryStub, LogSlice, ReadError};
pub use stable::StableSlice;

/// Entries whose metas stay in memory although nobody needs them for sure.
const RECENT_COUNT_MIN: usize = 64;
/// The durable position is noted again after this many bytes.
const DURABLE_NOTE_BYTES: u32 = 1024 * 1024;

/// What a topic's configuration says of its logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub index_interval_bytes: u32,
    /// A segment whose offset index has grown so far is closed.
    pub index_bytes_max: u32,
    /// `acks=all` waits for the page cache only.
    pub write_caching: bool,
    /// With it, when the log is synced all the same: see `flush`.
    pub flush_messages: i64,
    pub flush_ms: i64,
    /// The disk space of a segment is taken when it is begun.
    pub preallocate: bool,
    pub producer_expiration_ms: i64,
    /// At most so much less than `segment_ms`, another time for each segment.
    pub segment_jitter_ms: i64,
    /// How long the files of a segment that was dropped stay.
    pub file_delete_delay_ms: i64,
}

/// What a log is opened with.
#[derive(Debug, Clone)]
pub struct LogSetup {
    pub dir: PathBuf,
    /// For messages: `topic-partition`.
    pub name: String,
    /// The prefix of this partition's keys in the store.
    pub key: Vec<u8>,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub kv: Arc<dyn KeyValue>,
    pub writer: LogWriter,
    pub config: LogConfig,
    /// Whether the broker stopped in order before this start.
    pub clean: bool,
    pub damage_bell: DamageBell,
    /// Entries of which nothing is known any more are taken for ones that say nothing. Otherwise a
    /// log that has some is not opened.
    pub salvage: bool,
}

/// Where a term begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TermStart {
    pub first: EntryId,
    pub start_offset: Offset,
}

/// The offsets of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    pub log_start: Offset,
    /// Every record below it is decided: of no transaction, or of one that has ended.
    pub last_stable: Offset,
    pub high_watermark: Offset,
    pub log_end: Offset,
}

/// An entry that is still in memory.
#[derive(Debug)]
struct Recent {
    meta: EntryMeta,
    outcome: AppendOutcome,
    /// Until it is written.
    batch: Option<Batch>,
}

/// What [`recovery`] finds and appends change.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) segments: Vec<Segment>,
    pub(crate) terms: Vec<TermStart>,
    pub(crate) producers: ProducerStates,
    pub(crate) next_offset: Offset,
    pub(crate) log_start_offset: Offset,
    pub(crate) purged: Option<EntryId>,
    recent: VecDeque<Recent>,
    /// Raft index of the first of `recent`.
    recent_first: u64,
    high_watermark: Offset,
    /// Base offset of the segment and the position in it up to which readers may see.
    visible_end: (Offset, u32),
    applied_index: u64,
    written_index: u64,
    unsynced: Unsynced,
    durable_noted: u32,
    /// How often a new segment has taken the places of others: where entries lie has changed.
    swaps: u64,
    waiters: Vec<Arc<Notify>>,
}

/// The log of one partition.
pub struct PartitionLog {
    setup: LogSetup,
    config: Mutex<LogConfig>,
    state: Mutex<State>,
    closed: AtomicBool,
    /// Files to be deleted, and when, in ms.
    trash: Mutex<Vec<(i64, PathBuf)>>,
    /// Raft indexes of batches that are not what was written.
    damage: Mutex<BTreeSet<u64>>,
    /// Wakes who waits for one of them to be as it was.
    mended: Notify,
    /// How often something was written again in the middle of a file.
    mends: AtomicU64,
    /// Wakes who waits for the log to begin behind a snapshot.
    begun: Notify,
    begins_no_more: AtomicBool,
    /// Held by whoever writes segments anew: the files for that have the same names.
    rewriting: Arc<tokio::sync::Mutex<()>>,
}

/// The right to write segments of a log anew.
pub type Rewriting = tokio::sync::OwnedMutexGuard<()>;

impl fmt::Debug for PartitionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionLog").field("name", &self.setup.name).finish_non_exhaustive()
    }
}

impl State {
    pub(crate) fn new(
        segments: Vec<Segment>,
        terms: Vec<TermStart>,
        producers: ProducerStates,
        next_offset: Offset,
    ) -> Self {
        let next_index = segments.last().map_or(0, |segment| segment.next_index);
        let first = segments.first();
        let (log_start_offset, base) = first.map_or((0, 0), |s| (s.base_offset, s.base_offset));
        Self {
            segments,
            terms,
            producers,
            next_offset,
            log_start_offset,
            purged: None,
            recent: VecDeque::new(),
            recent_first: next_index,
            high_watermark: log_start_offset,
            visible_end: (base, 0),
            applied_index: 0,
            written_index: next_index,
            unsynced: Unsynced::default(),
            durable_noted: 0,
            swaps: 0,
            waiters: Vec::new(),
        }
    }

    pub(crate) fn next_index(&self) -> u64 {
        let purged = self.purged.map_or(0, |purged| purged.index + 1);
        self.segments.last().map_or(0, |segment| segment.next_index).max(purged)
    }

    fn active(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("invariant: a log has a segment")
    }

    /// The id of the last entry, purged ones included.
    fn last_id(&self) -> Option<EntryId> {
        let index = self.next_index().checked_sub(1)?;
        match self.purged {
            Some(purged) if purged.index == index => Some(purged),
            _ => Some(EntryId { term: self.terms.last()?.first.term, index }),
        }
    }

    fn note_term(&mut self, id: EntryId) {
        if self.terms.last().is_none_or(|last| last.first.term != id.term) {
            self.terms.push(TermStart { first: id, start_offset: self.next_offset });
        }
    }

    /// Takes note of a batch at the end of the log.
    fn note_batch(
        &mut self,
        header: &BatchHeader,
        marker: Option<Marker>,
        config: &LogConfig,
        now_ms: i64,
    ) {
        let aborted = self.producers.replay(header, marker, now_ms);
        let segment = self.active();
        segment.note_batch(header, config.index_interval_bytes);
        segment.since_ms.get_or_insert(now_ms);
        segment.modified_ms = Some(now_ms);
        if let Some(aborted) = aborted {
            segment.note_aborted(aborted);
        }
    }

    /// Whether nothing is left of the last entry, which is of this term.
    fn ends_with_nothing(&self, term: u64) -> io::Result<bool> {
        let is_it = |meta: &EntryMeta| meta.term == term && meta.kind.is_nothing();
        if let Some(recent) = self.recent.back() {
            return Ok(is_it(&recent.meta));
        }
        // The last segment may have just been begun.
        let last = self.segments.iter().rfind(|segment| segment.next_index > segment.base_index);
        match last {
            Some(last) => {
                let metas = last.read_metas(last.next_index - 1, last.next_index)?;
                Ok(metas.last().is_some_and(is_it))
            }
            None => Ok(self.purged.is_some_and(|purged| purged.term == term)),
        }
    }

    /// Drops from memory what is applied and written.
    fn trim_recent(&mut self) {
        let keep_from = self.applied_index.min(self.written_index.saturating_sub(1));
        while self.recent.len() > RECENT_COUNT_MIN && self.recent_first < keep_from {
            self.recent.pop_front();
            self.recent_first += 1;
        }
    }

    fn check_invariants(&self) {
        debug_assert!(self.log_start_offset <= self.high_watermark);
        debug_assert!(self.high_watermark <= self.next_offset);
        debug_assert_eq!(self.recent_first + self.recent.len() as u64, self.next_index());
        debug_assert!(self.segments.windows(2).all(|pair| match pair {
            [a, b] => a.next_index == b.base_index && a.base_offset < b.base_offset,
            _ => true,
        }));
    }
}

impl PartitionLog {
    /// Opens the log in `setup.dir`, repairing what a crash left. Blocks.
    pub fn open(setup: LogSetup) -> Result<Arc<Self>, recovery::RecoveryError> {
        let state = recovery::recover(&setup)?;
        let damaged: Vec<u64> =
            state.segments.iter().flat_map(|segment| segment.damaged.iter().copied()).collect();
        let log = Self {
            config: Mutex::new(setup.config.clone()),
            state: Mutex::new(state),
            closed: AtomicBool::new(false),
            trash: Mutex::default(),
            damage: Mutex::default(),
            mended: Notify::new(),
            mends: AtomicU64::new(0),
            begun: Notify::new(),
            begins_no_more: AtomicBool::new(false),
            rewriting: Arc::default(),
            setup,
        };
        damaged.into_iter().for_each(|index| log.note_damage(index));
        Ok(Arc::new(log))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn name(&self) -> &str {
        &self.setup.name
    }

    /// The folder of the log.
    pub fn dir(&self) -> &Path {
        &self.setup.dir
    }

    /// The prefix of this partition's keys in the store.
    pub fn key(&self) -> &[u8] {
        &self.setup.key
    }

    pub fn kv(&self) -> &Arc<dyn KeyValue> {
        &self.setup.kv
    }

    pub fn config(&self) -> LogConfig {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_config(&self, config: LogConfig) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub fn offsets(&self) -> Offsets {
        let state = self.lock();
        Offsets {
            log_start: state.log_start_offset,
            last_stable: state.last_stable_offset(),
            high_watermark: state.high_watermark,
            log_end: state.next_offset,
        }
    }

    /// Rounds of syncs of the log dir: for each of them somebody has waited.
    pub fn sync_rounds(&self) -> u64 {
        self.setup.writer.rounds()
    }

    /// Whether nothing is appended any more: it was closed or deleted.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Bytes in all `.log` files.
    pub fn size_bytes(&self) -> u64 {
        self.lock().segments.iter().map(|segment| u64::from(segment.size)).sum()
    }

    pub fn segment_count(&self) -> usize {
        self.lock().segments.len()
    }

    /// Resolves when nobody else writes segments anew. Cancel safe.
    pub async fn rewriting(&self) -> Rewriting {
        Arc::clone(&self.rewriting).lock_owned().await
    }

    /// `None`: somebody else writes segments anew.
    pub fn try_rewriting(&self) -> Option<Rewriting> {
        Arc::clone(&self.rewriting).try_lock_owned().ok()
    }

    /// The ids of the last purged and of the last entry.
    pub fn bounds(&self) -> (Option<EntryId>, Option<EntryId>) {
        let state = self.lock();
        (state.purged, state.last_id())
    }

    /// Where each term begins, oldest first.
    pub fn terms(&self) -> Vec<TermStart> {
        self.lock().terms.clone()
    }

    /// Resolves when entry `index` may be appended: at once, or when the log has begun behind the
    /// snapshot that it follows. Fails if that does not come about.
    pub async fn comes_to(&self, index: u64) -> io::Result<()> {
        loop {
            let begun = self.begun.notified();
            if index <= self.lock().next_index() {
                return Ok(());
            }
            if self.is_closed() || self.begins_no_more.load(Ordering::Acquire) {
                return Err(io::Error::other("the log does not come to that entry"));
            }
            begun.await;
        }
    }

    /// Whoever would install snapshots has gone.
    pub(crate) fn begin_no_more(&self) {
        self.begins_no_more.store(true, Ordering::Release);
        self.begun.notify_waiters();
    }

    /// Nothing is appended any more, and no snapshot of it is saved.
    pub(crate) fn set_closed(&self) {
        self.closed.store(true, Ordering::Release);
        self.begun.notify_waiters();
    }

    /// Appends entries whose indexes follow the last one. `done` is called once they are as durable
    /// as the topic asks for. Never blocks on the disk, but for the files of a new segment.
    pub fn append(
        self: &Arc<Self>,
        entries: impl IntoIterator<Item = Entry>,
        done: Completion,
    ) -> io::Result<()> {
        if self.is_closed() {
            return Err(io::Error::other("the log is closed"));
        }
        let config = self.config();
        let now_ms = self.setup.clock.now_ms();
        let mut state = self.lock();
        let mut job = self.new_job(&mut state, &config);
        for entry in entries {
            #[cfg(test)]
            self.begin_at(&mut state, entry.id.index)?;
            assert_eq!(entry.id.index, state.next_index(), "entries follow each other");
            if let Err(error) = self.check_place(&state, &entry) {
                self.push_write(job);
                return Err(error);
            }
            let rolls = match &entry.body {
                EntryBody::Batch(batch) => {
                    let age_ms = self.age_max_ms(state.active().base_offset, &config);
                    roll::must_roll(state.active(), &config, now_ms, age_ms, batch)
                }
                // Nothing that is there stays, so the whole segment can go.
                EntryBody::DeleteRecords(before) => {
                    *before >= state.next_offset && state.active().size > 0
                }
                EntryBody::Blank | EntryBody::Membership(_) | EntryBody::Compacted { .. } => false,
            };
            let rolls = rolls || roll::is_out_of_reach(&state, &entry);
            // The writer makes an entry without a trace durable before the batches after it.
            let waits = job.records.is_traceless() && matches!(&entry.body, EntryBody::Batch(_));
            if rolls || waits {
                self.push_write(job);
                if rolls {
                    self.roll(&mut state, now_ms)?;
                }
                job = self.new_job(&mut state, &config);
            }
            self.append_entry(&mut state, &mut job, entry, &config, now_ms);
        }
        job.done = Some(done);
        state.check_invariants();
        self.push_write(job);
        Ok(())
    }

    /// A batch that has offsets already keeps them: a replica must not give it others than the
    /// leader has. It may begin further on where nothing is left of the entry before it.
    fn check_place(&self, state: &State, entry: &Entry) -> io::Result<()> {
        let end = state.next_offset;
        let (offset, follows) = match &entry.body {
            EntryBody::Batch(_) => {
                let Some(offset) = entry.given_offset() else { return Ok(()) };
                // One run has no more offsets, and no more of them can be missing.
                let skips = (end + 1..=end + RUN_OFFSETS_MAX).contains(&offset);
                (offset, offset == end || skips && state.ends_with_nothing(entry.id.term)?)
            }
            EntryBody::Compacted { end_offset } => {
                (*end_offset, (0..=end + SEGMENT_OFFSETS_MAX).contains(end_offset))
            }
            _ => return Ok(()),
        };
        if follows {
            return Ok(());
        }
        let name = &self.setup.name;
        let text = format!("{name}: offset {offset} cannot follow, the log ends at {end}");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// A log that has never had an entry begins with whatever index comes first, as openraft's
    /// suite wants it. Elsewhere only a snapshot lets one begin later.
    #[cfg(test)]
    fn begin_at(&self, state: &mut State, index: u64) -> io::Result<()> {
        if index == 0 || state.next_index() != 0 {
            return Ok(());
        }
        let segment = state.active();
        segment.files.write_raft_head(index)?;
        segment.files.raft.sync()?;
        (segment.base_index, segment.next_index) = (index, index);
        state.recent_first = index;
        state.written_index = index;
        Ok(())
    }

    fn new_job(self: &Arc<Self>, state: &mut State, config: &LogConfig) -> WriteJob {
        let segment = state.active();
        WriteJob {
            files: Arc::clone(&segment.files),
            log_position: segment.size,
            batches: Vec::new(),
            raft_position: record_position(segment.records),
            records: RecordBytes::new(segment.files.origin(segment.base_index)),
            sync: !config.write_caching,
            sync_raft: false,
            written: Vec::new(),
            log: Arc::clone(self),
            end_index: segment.next_index,
            done: None,
        }
    }

    fn push_write(&self, mut job: WriteJob) {
        job.records.close();
        if !job.records.is_empty() || job.done.is_some() {
            self.setup.writer.push(Job::Write(job));
        }
    }

    fn append_entry(
        &self,
        state: &mut State,
        job: &mut WriteJob,
        entry: Entry,
        config: &LogConfig,
        now_ms: i64,
    ) {
        let given_offset = entry.given_offset();
        let Entry { id, body, ticket } = entry;
        state.note_term(id);
        let (mut outcome, mut marker) = (AppendOutcome::None, None);
        let (mut delete_before, mut last_offset_delta) = (0, 0);
        let (kind, batch) = match body {
            EntryBody::Blank => (EntryKind::Blank, None),
            // Its bytes are in the store already: see `put_membership`.
            EntryBody::Membership(_) => (EntryKind::Membership, None),
            EntryBody::DeleteRecords(before) => {
                delete_before = before;
                (EntryKind::DeleteRecords, None)
            }
            EntryBody::Compacted { end_offset } => {
                // Here more of the offsets may be another entry's already.
                let delta = u32::try_from(end_offset - 1 - state.next_offset).ok();
                last_offset_delta = delta.unwrap_or(0);
                (delta.map_or(EntryKind::Void, |_| EntryKind::Compacted), None)
            }
            EntryBody::Batch(batch) => {
                marker = Marker::of(&batch);
                // Only the proposer judges: on any other replica the entry has been judged.
                outcome = match ticket {
                    Some(_) => judge(&state.producers, &batch, marker.as_ref(), config, now_ms),
                    None => AppendOutcome::Appended { base_offset: 0 },
                };
                match outcome {
                    AppendOutcome::Appended { .. } => (EntryKind::Batch, Some(batch)),
                    _ => (EntryKind::Void, None),
                }
            }
        };
        let mut meta = EntryMeta {
            term: id.term,
            kind,
            base_offset: state.next_offset,
            position: state.active().size,
            size: 0,
            last_offset_delta,
            delete_before,
        };
        let batch = batch.map(|batch| {
            if let Some(given_offset) = given_offset {
                // What is between is told by no other record.
                job.sync_raft |= given_offset != meta.base_offset;
                meta.base_offset = given_offset;
            }
            outcome = AppendOutcome::Appended { base_offset: meta.base_offset };
            meta.size = u32::try_from(batch.size()).unwrap_or(u32::MAX);
            meta.last_offset_delta = batch.header().last_offset_delta.unsigned_abs();
            let mut batch = batch;
            batch.assign(meta.base_offset, id.leader_epoch());
            state.note_batch(batch.header(), marker, config, now_ms);
            batch
        });
        if let Some(batch) = &batch {
            state.unsynced.add(batch.header().record_count, job, config, now_ms);
        }
        state.active().records += u64::from(job.records.push(Run::of(id.index, meta)));
        job.batches.extend(batch.clone());
        job.sync_raft |= kind != EntryKind::Batch;
        job.written.extend(ticket.and_then(|ticket| ticket.written).map(|tell| (tell, outcome)));
        state.next_offset = meta.next_offset();
        state.active().next_index += 1;
        job.end_index = id.index + 1;
        state.recent.push_back(Recent { meta, outcome, batch });
    }

    /// The change that keeps a membership. It must be durable before its entry is appended.
    pub fn put_membership(&self, index: u64, bytes: &Bytes) -> Change {
        Change::Put { key: membership_key(&self.setup.key, index), value: bytes.to_vec() }
    }

    /// The change that forgets the memberships of entries from `index` on.
    pub fn drop_memberships(&self, index: u64) -> Change {
        let from = membership_key(&self.setup.key, index);
        Change::DeleteRange { from, to: [&self.setup.key[..], b"n"].concat() }
    }

    /// The membership that the entry at `index` holds. Blocks.
    pub fn membership(&self, index: u64) -> io::Result<Bytes> {
        let value = self.setup.kv.get(&membership_key(&self.setup.key, index))?;
        value.map(Bytes::from).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("membership {index} is missing"))
        })
    }

    /// Called by the writer: everything below `end_index` is in the files.
    pub(crate) fn written(&self, end_index: u64) {
        let mut state = self.lock();
        let from = state.written_index.max(state.recent_first) - state.recent_first;
        let to = end_index.saturating_sub(state.recent_first);
        for i in from..to {
            if let Some(recent) = usize::try_from(i).ok().and_then(|i| state.recent.get_mut(i)) {
                recent.batch = None;
            }
        }
        state.written_index = state.written_index.max(end_index);
        state.trim_recent();
    }

    /// Called by the writer: the segment is on disk up to `position`, `end_index` in Raft's count.
    pub(crate) fn synced(
        &self,
        files: &SegmentFiles,
        position: u32,
        end_index: u64,
    ) -> io::Result<()> {
        let mut state = self.lock();
        let is_active = state.active().base_offset == files.base_offset;
        if !is_active || position < state.durable_noted.saturating_add(DURABLE_NOTE_BYTES) {
            return Ok(());
        }
        state.durable_noted = position;
        drop(state);
        files.write_note(&DurableNote { position, end_index, ..DurableNote::default() })
    }

    /// If the disk has failed and not only what was asked of it, the log dir has.
    pub(crate) fn report(self: &Arc<Self>, error: &io::Error) {
        if let Some(code) = error.raw_os_error().filter(|_| disk::has_failed(error)) {
            self.run(Box::new(move |health| {
                health.and_then(|()| Err(io::Error::from_raw_os_error(code)))
            }));
        }
    }

    /// Has the writer do something in its order.
    fn run(self: &Arc<Self>, run: Work) {
        self.setup.writer.push(Job::Run(RunJob { log: Arc::clone(self), run, deletes: false }));
    }

    /// Removes all entries after `index` (all, if `None`); `done` is called when they are gone from
    /// the disk. Committed entries are never removed.
    pub fn truncate_after(self: &Arc<Self>, index: Option<u64>, done: Completion) {
        self.run_in_order(done, move |log| log.truncate_now(index.map_or(0, |index| index + 1)));
    }

    /// Has something done when all that was appended before is written, unless that has failed.
    /// It is done again from the beginning when there was no room.
    fn run_in_order(
        self: &Arc<Self>,
        done: Completion,
        mut work: impl FnMut(&Self) -> io::Result<()> + Send + 'static,
    ) {
        let (log, mut done) = (Arc::clone(self), Some(done));
        let run = move |health: io::Result<()>| {
            let worked = health.and_then(|()| work(&log));
            if worked.as_ref().is_err_and(disk::is_full) {
                return worked;
            }
            let failed = worked.as_ref().is_err_and(disk::has_failed);
            let told = if failed { copy_of(&worked) } else { Ok(()) };
            done.take().into_iter().for_each(|done| done(copy_of(&worked)));
            told
        };
        self.run(Box::new(run));
    }

    fn truncate_now(&self, next_index: u64) -> io::Result<()> {
        let mut state = self.lock();
        if next_index >= state.next_index() {
            return Ok(());
        }
        assert!(next_index > state.applied_index || state.applied_index == 0, "applied is final");
        let fresh = recovery::truncate(&self.setup, &mut state.segments, next_index)?;
        let old = std::mem::replace(&mut *state, fresh);
        // Opening may have dropped a segment that was purged while it was the last one.
        state.log_start_offset = state.log_start_offset.max(old.log_start_offset);
        state.purged = old.purged;
        state.high_watermark = old.high_watermark.max(state.log_start_offset);
        state.visible_end = old.visible_end;
        state.note_committed();
        state.applied_index = old.applied_index;
        state.swaps = old.swaps + 1;
        state.waiters = old.waiters;
        state.check_invariants();
        Ok(())
    }

    /// Moves the high watermark over the entry at `index` and wakes who waits for records.
    pub fn apply(&self, index: u64, meta: &EntryMeta) {
        let mut state = self.lock();
        state.applied_index = state.applied_index.max(index);
        if meta.kind == EntryKind::DeleteRecords {
            let before = meta.delete_before.min(meta.base_offset);
            state.log_start_offset = state.log_start_offset.max(before);
        }
        if meta.next_offset() >= state.high_watermark {
            let base = state.segments.iter().rev().find(|s| s.base_index <= index);
            let base = base.map_or(0, |segment| segment.base_offset);
            state.high_watermark = meta.next_offset();
            state.visible_end = (base, meta.end_position());
        }
        state.high_watermark = state.high_watermark.max(state.log_start_offset);
        state.note_committed();
        state.trim_recent();
        state.check_invariants();
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        for waiter in waiters {
            waiter.notify_one();
        }
    }

    /// Notifies `waiter` once when records become visible. Ask again for the next time.
    pub fn wake_on_progress(&self, waiter: &Arc<Notify>) {
        let mut state = self.lock();
        if !state.waiters.iter().any(|known| Arc::ptr_eq(known, waiter)) {
            state.waiters.push(Arc::clone(waiter));
        }
    }

    /// Takes back [`Self::wake_on_progress`].
    pub fn forget_waiter(&self, waiter: &Arc<Notify>) {
        self.lock().waiters.retain(|known| !Arc::ptr_eq(known, waiter));
    }

    /// Moves the log start up to `offset`, as it was before a restart.
    pub fn restore_log_start(&self, offset: Offset) {
        let mut state = self.lock();
        state.log_start_offset = state.log_start_offset.max(offset.min(state.next_offset));
        state.high_watermark = state.high_watermark.max(state.log_start_offset);
        state.note_committed();
    }

    /// Stops appends and writes what makes the next start quick. `done` is called at the end.
    pub fn close(self: &Arc<Self>, done: Completion) {
        self.set_closed();
        self.run_in_order(done, Self::close_now);
    }

    fn close_now(&self) -> io::Result<()> {
        let mut state = self.lock();
        let next_offset = state.next_offset;
        let snapshot = recovery::encode_state(&state);
        let closing = state.active().closing(false);
        let is_empty = state.active().size == 0;
        drop(state);
        let disk = self.setup.disk.as_ref();
        closing.write(disk)?;
        // The state at the beginning of the segment is not put at risk for one that says the same.
        if !is_empty {
            recovery::write_state(disk, &self.setup.dir, next_offset, &snapshot)?;
        }
        closing.confirm(disk)
    }

    /// Deletes everything. The log must have been closed to appends before.
    pub fn delete(self: &Arc<Self>, done: Completion) {
        self.set_closed();
        let (log, mut done) = (Arc::clone(self), Some(done));
        let run = move |_: io::Result<()>| {
            done.take().into_iter().for_each(|done| done(recovery::delete(&log.setup)));
            Ok(())
        };
        let (log, run) = (Arc::clone(self), Box::new(run));
        self.setup.writer.push(Job::Run(RunJob { log, run, deletes: true }));
    }
}

fn copy_of(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        }),
    }
}

/// Where the membership of the entry at `index` is kept, below the partition's key.
pub(crate) fn membership_key(partition: &[u8], index: u64) -> Vec<u8> {
    [partition, b"m", &index.to_be_bytes()].concat()
}

fn judge(
    producers: &ProducerStates,
    batch: &Batch,
    marker: Option<&Marker>,
    config: &LogConfig,
    now_ms: i64,
) -> AppendOutcome {
    let header = batch.header();
    match marker {
        _ if !header.has_producer_id() => AppendOutcome::Appended { base_offset: 0 },
        Some(marker) => producers.check_marker(header, marker),
        None => producers.check(header, now_ms - config.producer_expiration_ms),
    }
}

#[cfg(test)]
pub(crate) mod tests;

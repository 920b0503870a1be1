//! What a log knows besides its entries: terms and producers with their transactions. A `.state`
//! file holds them as of the start of a segment or of an orderly stop; entries after it are
//! replayed. A replay that begins with a segment also makes its index of aborted transactions.
//!
//! The first format of these files knew no transactions. Such a file is believed only where nothing
//! of the log lies before it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::{Buf, BufMut};

use crate::base::disk::{Disk, read_exact_at, readable};
use crate::base::ids::Offset;
use crate::log::batch::{Batch, BatchHeader};
use crate::log::entry::{EntryId, EntryKind, EntryMeta};
use crate::log::metas::{first_not, read_runs};
use crate::log::partition_log::{LogSetup, State, TermStart};
use crate::log::producer_state::{BatchMeta, ProducerEntry, ProducerStates};
use crate::log::records::marker::Marker;
use crate::log::run::Run;
use crate::log::segment::{Segment, file_name};
use crate::log::transaction_index::{AbortedTransaction, TransactionIndex};

/// Records replayed at once.
const REPLAY_COUNT: u64 = 4096;
const STATE_MAGIC: u32 = 0x4f54_5302;
/// Of files without transactions.
const OLD_STATE_MAGIC: u32 = 0x4f54_5301;

/// Instead of the offset of a transaction.
const NONE: Offset = -1;

/// Terms and producers as of an entry, brought up to the end of the log.
pub(super) struct Replay {
    next_index: u64,
    knows_transactions: bool,
    pub(super) terms: Vec<TermStart>,
    pub(super) producers: ProducerStates,
    /// By producer: the first batch that was replayed of a transaction without a marker.
    begun: BTreeMap<i64, Offset>,
}

impl Replay {
    /// From the youngest valid `.state` file that is not beyond the log, nor beyond the beginning
    /// of a segment whose index of aborted transactions must be made again.
    pub(super) fn best(setup: &LogSetup, segments: &[Segment]) -> io::Result<Self> {
        let unknown = segments.iter().filter(|segment| !segment.indexes_written);
        let youngest = unknown.map(|segment| segment.base_index).min();
        Self::best_before(setup, segments, youngest.unwrap_or(u64::MAX))
    }

    /// From the youngest valid `.state` file that tells of no more than the entries before an
    /// index.
    pub(super) fn best_before(
        setup: &LogSetup,
        segments: &[Segment],
        youngest: u64,
    ) -> io::Result<Self> {
        let mut best = Self {
            next_index: 0,
            knows_transactions: true,
            terms: Vec::new(),
            producers: ProducerStates::default(),
            begun: BTreeMap::new(),
        };
        let first_index = segments.first().map_or(0, |segment| segment.base_index);
        let end_index = segments.last().map_or(0, |segment| segment.next_index);
        for name in setup.disk.list(&setup.dir)?.iter().filter(|name| name.ends_with(".state")) {
            let content = readable(setup.disk.read(&setup.dir.join(name)))?;
            match content.and_then(|content| decode_state(&content)) {
                Some(found) if found.next_index <= end_index => {
                    let is_enough = found.knows_transactions || found.next_index <= first_index;
                    if is_enough && (best.next_index..=youngest).contains(&found.next_index) {
                        best = found;
                    }
                }
                _ => tracing::warn!(log = setup.name, file = %name, "ignored a state file"),
            }
        }
        Ok(best)
    }

    /// Goes on up to `end_index`.
    pub(super) fn run(
        &mut self,
        setup: &LogSetup,
        segments: &mut [Segment],
        end_index: u64,
    ) -> io::Result<()> {
        let (disk, now_ms) = (setup.disk.as_ref(), setup.clock.now_ms());
        let begin_index = self.next_index;
        for segment in &mut *segments {
            // A segment may have been begun without its state file; when those before it are
            // purged, that is all that is known of their producers.
            let name = file_name(segment.base_offset, "state");
            if self.next_index == segment.base_index
                && self.next_index > 0
                && !disk.exists(&setup.dir.join(name))
            {
                let content = encode(self.next_index, &self.terms, &self.producers);
                write_state(disk, &setup.dir, segment.base_offset, &content)?;
                disk.sync_dir(&setup.dir)?;
            }
            let is_whole = self.next_index <= segment.base_index;
            let aborted = self.run_segment(segment, end_index, now_ms)?;
            if is_whole && aborted != segment.transaction_index {
                segment.transaction_index = aborted;
                segment.indexes_written = false;
            }
        }
        self.end_cleaned(segments, begin_index.min(end_index))
    }

    /// A transaction that was open when the state was written, which tells of the entries before
    /// `begin_index`, may have ended and been cleaned away since, with its marker, which goes last.
    fn end_cleaned(&mut self, segments: &[Segment], begin_index: u64) -> io::Result<()> {
        let open: Vec<(Offset, i64)> = self.producers.open_transactions().collect();
        for (first, producer_id) in open {
            let later = self.begun.get(&producer_id).copied();
            if later != Some(first) && is_cleaned(segments, first, producer_id, begin_index)? {
                self.producers.forget_open(first, later);
            }
        }
        Ok(())
    }

    /// Replays what is left of a segment; the transactions that it aborts.
    fn run_segment(
        &mut self,
        segment: &mut Segment,
        end_index: u64,
        now_ms: i64,
    ) -> io::Result<TransactionIndex> {
        let mut aborted = TransactionIndex::default();
        let mut from = self.next_index.max(segment.base_index);
        let end_index = end_index.min(segment.next_index);
        while from < end_index {
            let indexes = from..end_index;
            for run in read_runs(&segment.files, segment.base_index, indexes, REPLAY_COUNT)? {
                if let Some(found) = self.step(segment, &run, now_ms)? {
                    aborted.push(found);
                }
                from = run.end_index();
            }
        }
        Ok(aborted)
    }

    fn step(
        &mut self,
        segment: &mut Segment,
        run: &Run,
        now_ms: i64,
    ) -> io::Result<Option<AbortedTransaction>> {
        let Run { index, meta, .. } = *run;
        if self.terms.last().is_none_or(|last| last.first.term != meta.term) {
            let first = EntryId { term: meta.term, index };
            self.terms.push(TermStart { first, start_offset: meta.base_offset });
        }
        self.next_index = run.end_index();
        if meta.kind != EntryKind::Batch || segment.damaged.contains(&index) {
            return Ok(None);
        }
        match read_head(segment, &meta)? {
            Some((header, marker)) => {
                if marker.is_some() {
                    self.begun.remove(&header.producer_id);
                } else if header.is_transactional() && !header.is_control() {
                    self.begun.entry(header.producer_id).or_insert(header.base_offset);
                }
                Ok(self.producers.replay(&header, marker, now_ms))
            }
            None => {
                // It is replayed when it is mended.
                segment.damaged.push(index);
                Ok(None)
            }
        }
    }
}

/// Whether nothing is left of a transaction in the entries before `end_index`. The cleaner comes no
/// further than the last stable offset, so the first batch of one that is open still is there,
/// unless it was damaged and dropped: then others are.
fn is_cleaned(
    segments: &[Segment],
    first: Offset,
    producer_id: i64,
    end_index: u64,
) -> io::Result<bool> {
    let after = segments.partition_point(|segment| segment.base_offset <= first);
    let segments = after.checked_sub(1).and_then(|at| segments.get(at..)).unwrap_or_default();
    let Some(segment) = segments.first() else { return Ok(false) };
    let indexes = segment.base_index..segment.next_index;
    let holder = first_not(&segment.files, &indexes, |meta| meta.next_offset() <= first)?;
    let begin = match holder {
        // A gap is behind entries of which nothing is left, too.
        Some(run) if run.meta.kind == EntryKind::Compacted => run.index,
        Some(run) if run.meta.base_offset > first => run.index,
        _ => return Ok(false),
    };
    let is_of = |header: BatchHeader| {
        let is_its = header.producer_id == producer_id;
        is_its && header.is_transactional() && !header.is_control()
    };
    for segment in segments {
        let mut from = segment.base_index.max(begin);
        let to = segment.next_index.min(end_index);
        while from < to {
            let runs = read_runs(&segment.files, segment.base_index, from..to, REPLAY_COUNT)?;
            for Run { meta, .. } in runs.iter().filter(|run| run.meta.kind == EntryKind::Batch) {
                if readable(segment.files.batch_header(meta.position))?.flatten().is_some_and(is_of)
                {
                    return Ok(false);
                }
            }
            from = runs.last().map_or(to, Run::end_index);
        }
    }
    Ok(true)
}

/// The header of an entry's batch, and the marker that it is; of other batches nothing more is
/// read. `None` if it is not what was written, as far as that is to be seen.
fn read_head(
    segment: &Segment,
    meta: &EntryMeta,
) -> io::Result<Option<(BatchHeader, Option<Marker>)>> {
    let header = readable(segment.files.batch_header(meta.position))?.flatten();
    let Some(header) = header.filter(|header| meta.is_of(header)) else { return Ok(None) };
    if !header.is_control() {
        return Ok(Some((header, None)));
    }
    let mut bytes = vec![0; meta.size as usize];
    let read = read_exact_at(segment.files.log.as_ref(), &mut bytes, u64::from(meta.position));
    if readable(read)?.is_none() {
        return Ok(None);
    }
    let batch = Batch::take(&mut bytes.into()).ok();
    Ok(batch.map(|batch| (header, Marker::of(&batch))))
}

/// Terms and producers as of the end of the log.
pub(crate) fn encode_state(state: &State) -> Vec<u8> {
    encode(state.next_index(), &state.terms, &state.producers)
}

/// The content of a `.state` file.
pub(crate) fn encode(next_index: u64, terms: &[TermStart], producers: &ProducerStates) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(STATE_MAGIC);
    out.put_u64(next_index);
    out.put_u32(u32::try_from(terms.len()).unwrap_or(u32::MAX));
    for start in terms {
        out.put_u64(start.first.term);
        out.put_u64(start.first.index);
        out.put_i64(start.start_offset);
    }
    out.put_u32(u32::try_from(producers.len()).unwrap_or(u32::MAX));
    for (producer_id, entry) in producers.iter() {
        out.put_i64(producer_id);
        out.put_i16(entry.epoch);
        out.put_i64(entry.last_append_ms);
        out.put_u8(u8::try_from(entry.batches.len()).unwrap_or(u8::MAX));
        for batch in &entry.batches {
            out.put_i32(batch.first_sequence);
            out.put_i32(batch.last_sequence);
            out.put_i64(batch.last_offset);
            out.put_i32(batch.offset_delta);
            out.put_i64(batch.timestamp_ms);
        }
        out.put_i32(entry.coordinator_epoch);
        out.put_i64(entry.transaction_first.unwrap_or(NONE));
    }
    let ended: Vec<(Offset, Offset)> = producers.ended_transactions().collect();
    out.put_u32(u32::try_from(ended.len()).unwrap_or(u32::MAX));
    for (first, last) in ended {
        out.put_i64(first);
        out.put_i64(last);
    }
    out.put_u32(crc32c::crc32c(&out));
    out
}

fn decode_state(content: &[u8]) -> Option<Replay> {
    let (mut body, mut crc) = content.split_at_checked(content.len().checked_sub(4)?)?;
    if crc.get_u32() != crc32c::crc32c(body) {
        return None;
    }
    let knows_transactions = match body.try_get_u32().ok()? {
        STATE_MAGIC => true,
        OLD_STATE_MAGIC => false,
        _ => return None,
    };
    let next_index = body.try_get_u64().ok()?;
    let mut terms = Vec::new();
    for _ in 0..body.try_get_u32().ok()? {
        let first = EntryId { term: body.try_get_u64().ok()?, index: body.try_get_u64().ok()? };
        terms.push(TermStart { first, start_offset: body.try_get_i64().ok()? });
    }
    let mut producers = ProducerStates::default();
    for _ in 0..body.try_get_u32().ok()? {
        let producer_id = body.try_get_i64().ok()?;
        let (epoch, last_append_ms) = (body.try_get_i16().ok()?, body.try_get_i64().ok()?);
        let mut entry = ProducerEntry {
            epoch,
            last_append_ms,
            batches: Default::default(),
            coordinator_epoch: -1,
            transaction_first: None,
        };
        for _ in 0..body.try_get_u8().ok()? {
            entry.batches.push_back(BatchMeta {
                first_sequence: body.try_get_i32().ok()?,
                last_sequence: body.try_get_i32().ok()?,
                last_offset: body.try_get_i64().ok()?,
                offset_delta: body.try_get_i32().ok()?,
                timestamp_ms: body.try_get_i64().ok()?,
            });
        }
        if knows_transactions {
            entry.coordinator_epoch = body.try_get_i32().ok()?;
            entry.transaction_first = Some(body.try_get_i64().ok()?).filter(|first| *first != NONE);
        }
        producers.insert(producer_id, entry);
    }
    if knows_transactions {
        for _ in 0..body.try_get_u32().ok()? {
            producers.insert_ended(body.try_get_i64().ok()?, body.try_get_i64().ok()?);
        }
    }
    Some(Replay { next_index, knows_transactions, terms, producers, begun: BTreeMap::new() })
}

/// Writes a `.state` file; durable once the folder is synced.
pub(crate) fn write_state(
    disk: &dyn Disk,
    dir: &Path,
    offset: Offset,
    content: &[u8],
) -> io::Result<()> {
    disk.write(&dir.join(file_name(offset, "state")), content)
}

/// Keeps the `.state` files at the starts of segments; the others are of earlier stops. One that
/// tells of more entries than there are must not come back when there are as many again. One
/// without transactions makes place for one with them.
pub(super) fn remove_old_states(setup: &LogSetup, segments: &[Segment]) -> io::Result<()> {
    let kept: Vec<String> =
        segments.iter().map(|segment| file_name(segment.base_offset, "state")).collect();
    let end_index = segments.last().map_or(0, |segment| segment.next_index);
    let mut must_sync = false;
    for name in setup.disk.list(&setup.dir)?.iter().filter(|name| name.ends_with(".state")) {
        let path = setup.dir.join(name);
        let content = readable(setup.disk.read(&path))?;
        let state = content.and_then(|content| decode_state(&content));
        let is_old = state.as_ref().is_some_and(|state| !state.knows_transactions);
        let is_beyond = state.is_none_or(|state| state.next_index > end_index);
        if is_beyond || (is_old && kept.first() != Some(name)) || !kept.contains(name) {
            setup.disk.remove_file(&path)?;
            must_sync |= is_beyond;
        }
    }
    if must_sync { setup.disk.sync_dir(&setup.dir) } else { Ok(()) }
}

/// What is said of removed entries must not be believed of those that take their places.
pub(super) fn remove_states_after(setup: &LogSetup, next_index: u64) -> io::Result<()> {
    for name in setup.disk.list(&setup.dir)? {
        let path = setup.dir.join(&name);
        if name.ends_with(".state")
            && readable(setup.disk.read(&path))?
                .and_then(|content| decode_state(&content))
                .is_none_or(|state| state.next_index > next_index)
        {
            setup.disk.remove_file(&path)?;
        }
    }
    setup.disk.sync_dir(&setup.dir)
}

#[cfg(test)]
mod tests;

//! Opening a log: quick after an orderly stop, with a scan after a crash.
//!
//! What a crash can leave, and what follows:
//! * A torn tail: bytes of appends that were never reported as durable. It is cut.
//! * A `.raft` file behind its `.log`: its records are made again from the batches. (It is never
//!   ahead: whatever cannot be made again is synced after the batches before it.)
//! * Missing or old indexes: made again by the scan.
//! * A bad batch below the durable position is none of these but damage of acknowledged data: the
//!   log is not opened.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::base::disk::{Disk, OpenMode};
use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::entry::{EntryId, EntryKind, EntryMeta, META_BYTES};
use crate::log::index::{OffsetIndex, TimeIndex};
use crate::log::partition_log::{LogSetup, State, TermStart};
use crate::log::producer_state::{BatchMeta, ProducerEntry, ProducerStates};
use crate::log::segment::{
    RAFT_HEAD_BYTES, Segment, SegmentFiles, file_name, meta_position, read_metas,
};

/// Entries replayed at once.
const REPLAY_COUNT: u64 = 4096;
const STATE_MAGIC: u32 = 0x4f54_5301;

/// Why a log was not opened.
#[derive(Debug)]
pub enum RecoveryError {
    Io(io::Error),
    /// Acknowledged data is damaged.
    Corrupt { what: String },
}

impl From<io::Error> for RecoveryError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Corrupt { what } => write!(f, "acknowledged data is damaged: {what}"),
        }
    }
}

impl std::error::Error for RecoveryError {}

impl From<RecoveryError> for io::Error {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Io(error) => error,
            corrupt @ RecoveryError::Corrupt { .. } => {
                Self::new(io::ErrorKind::InvalidData, corrupt)
            }
        }
    }
}

/// Opens what is in the folder, or begins a new log.
pub(crate) fn recover(setup: &LogSetup) -> Result<State, RecoveryError> {
    let disk = setup.disk.as_ref();
    if !disk.exists(&setup.dir) {
        disk.create_dir_all(&setup.dir)?;
        if let Some(parent) = setup.dir.parent() {
            disk.sync_dir(parent)?;
        }
    }
    let purged = read_purged(setup)?;
    let bases = segment_bases(&disk.list(&setup.dir)?);
    let segments = match bases.is_empty() {
        true => vec![first_segment(setup, purged)?],
        false => load_segments(setup, &bases, purged)?,
    };
    let last = segments.last().expect("invariant: a log has a segment");
    let (mut replay, next_offset) = (Replay::best(setup, last.next_index)?, log_end(last)?);
    replay.run(&segments, setup.clock.now_ms())?;
    remove_old_states(setup, &segments)?;
    // Index files say that a segment is closed: see `quick_load`.
    if let Some(active) = segments.last() {
        for path in [active.files.path("index"), active.files.path("timeindex")] {
            if disk.exists(&path) {
                disk.remove_file(&path)?;
            }
        }
    }
    let mut state = State::new(segments, replay.terms, replay.producers, next_offset);
    state.purged = purged;
    Ok(state)
}

fn read_purged(setup: &LogSetup) -> io::Result<Option<EntryId>> {
    let value = setup.kv.get(&[&setup.key[..], b"p"].concat())?;
    let Some(value) = value.filter(|value| value.len() == 16) else { return Ok(None) };
    let mut value = &value[..];
    Ok(Some(EntryId { term: value.get_u64(), index: value.get_u64() }))
}

fn segment_bases(names: &[String]) -> Vec<Offset> {
    // Sorted, as the names are.
    names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect()
}

fn first_segment(setup: &LogSetup, purged: Option<EntryId>) -> Result<Segment, RecoveryError> {
    if purged.is_some() {
        return Err(RecoveryError::Corrupt { what: format!("{}: no segments", setup.name) });
    }
    let files = Arc::new(SegmentFiles::open(setup.disk.as_ref(), &setup.dir, 0)?);
    files.write_raft_head(0)?;
    files.raft.sync()?;
    setup.disk.sync_dir(&setup.dir)?;
    Ok(Segment::empty(files, 0))
}

fn load_segments(
    setup: &LogSetup,
    bases: &[Offset],
    purged: Option<EntryId>,
) -> Result<Vec<Segment>, RecoveryError> {
    let mut segments: Vec<Segment> = Vec::with_capacity(bases.len());
    for (i, base) in bases.iter().enumerate() {
        let files = Arc::new(SegmentFiles::open(setup.disk.as_ref(), &setup.dir, *base)?);
        let before = segments.last().map(|segment| segment.next_index);
        let head = files.read_raft_head()?;
        let base_index = match (head, before) {
            (Some((index, _)), None) => index,
            (Some((index, _)), Some(before)) if index == before => index,
            // The head of a segment that was begun just before the crash.
            (None, Some(before)) => before,
            (None, None) => purged.map_or(0, |purged| purged.index + 1),
            (Some(_), Some(_)) => {
                let what = format!("{}: entries before offset {base} are missing", setup.name);
                return Err(RecoveryError::Corrupt { what });
            }
        };
        if head.is_none() {
            files.write_raft_head(base_index)?;
        }
        let is_last = i + 1 == bases.len();
        let quick = if setup.clean || !is_last { quick_load(setup, &files, base_index)? } else { None };
        let segment = match quick {
            Some(segment) => segment,
            None => scan(setup, files, base_index, head.map_or(0, |(_, durable)| durable))?,
        };
        segments.push(segment);
    }
    Ok(segments)
}

/// Believes the files of a closed segment if they fit each other. The index files are written when
/// a segment is closed, after everything else is on disk.
fn quick_load(
    setup: &LogSetup,
    files: &Arc<SegmentFiles>,
    base_index: u64,
) -> io::Result<Option<Segment>> {
    let disk = setup.disk.as_ref();
    let (Ok(offsets), Ok(times)) =
        (disk.read(&files.path("index")), disk.read(&files.path("timeindex")))
    else {
        return Ok(None);
    };
    let (log_len, raft_len) = (files.log.len()?, files.raft.len()?);
    let Ok(size) = u32::try_from(log_len) else { return Ok(None) };
    let metas_len = raft_len.saturating_sub(RAFT_HEAD_BYTES);
    if !metas_len.is_multiple_of(META_BYTES as u64) {
        return Ok(None);
    }
    let mut segment = Segment::empty(Arc::clone(files), base_index);
    segment.next_index = base_index + metas_len / META_BYTES as u64;
    segment.size = size;
    let end = match segment.next_index.checked_sub(1).filter(|last| *last >= base_index) {
        None => Some(0),
        Some(last) => {
            let metas = segment.read_metas(last, last + 1).ok();
            metas.and_then(|metas| metas.first().map(EntryMeta::end_position))
        }
    };
    let (Some(offset_index), Some(time_index)) =
        (OffsetIndex::decode(&offsets, size), TimeIndex::decode(&times))
    else {
        return Ok(None);
    };
    if end != Some(size) {
        return Ok(None);
    }
    segment.max_timestamp = time_index.last(segment.base_offset);
    segment.first_append_ms = (size > 0).then(|| setup.clock.now_ms());
    segment.offset_index = offset_index;
    segment.time_index = time_index;
    segment.indexes_written = true;
    Ok(Some(segment))
}

/// Reads every batch of a segment, cuts what is torn, completes the `.raft` file.
fn scan(
    setup: &LogSetup,
    files: Arc<SegmentFiles>,
    base_index: u64,
    durable_position: u32,
) -> Result<Segment, RecoveryError> {
    let index_interval_bytes = setup.config.index_interval_bytes;
    let known = known_metas(&files, base_index)?;
    let mut segment = Segment::empty(files, base_index);
    let mut next_offset = segment.base_offset;
    let mut last_term = 0;
    let mut intact = true;
    for meta in &known {
        if meta.position != segment.size || meta.base_offset != next_offset {
            intact = false;
        } else if meta.kind == EntryKind::Batch {
            match batch_at(&segment, next_offset)? {
                Some(batch) if batch.size() == meta.size as usize => {
                    segment.note_batch(batch.header(), index_interval_bytes);
                }
                _ => intact = false,
            }
        }
        if !intact {
            break;
        }
        segment.next_index += 1;
        next_offset = meta.next_offset();
        last_term = meta.term;
    }
    let mut made_again = Vec::new();
    while intact && let Some(batch) = batch_at(&segment, next_offset)? {
        let Ok(term) = u64::try_from(batch.header().leader_epoch) else { break };
        if term < last_term {
            break;
        }
        let meta = meta_of(&batch, &segment, term);
        meta.encode(segment.next_index, &mut made_again);
        segment.note_batch(batch.header(), index_interval_bytes);
        segment.next_index += 1;
        (next_offset, last_term) = (meta.next_offset(), term);
    }
    if segment.size < durable_position {
        let (name, at) = (&setup.name, segment.size);
        let what = format!("{name}: bad batch at offset {next_offset}, position {at}");
        return Err(RecoveryError::Corrupt { what });
    }
    finish_scan(setup, &mut segment, &made_again)?;
    Ok(segment)
}

fn finish_scan(setup: &LogSetup, segment: &mut Segment, made_again: &[u8]) -> io::Result<()> {
    let files = &segment.files;
    let torn = files.log.len()?.saturating_sub(u64::from(segment.size));
    if torn > 0 {
        tracing::info!(log = setup.name, torn_bytes = torn, "cut the torn tail of a crash");
    }
    files.log.set_len(u64::from(segment.size))?;
    files.log.sync()?;
    let end = meta_position(segment.base_index, segment.next_index);
    let start = end - made_again.len() as u64;
    files.raft.set_len(start)?;
    files.raft.write_all_at(&[IoSlice::new(made_again)], start)?;
    files.write_durable_position(segment.size)?;
    files.raft.sync()?;
    segment.first_append_ms = (segment.size > 0).then(|| setup.clock.now_ms());
    Ok(())
}

/// The valid records of a `.raft` file up to the first invalid one.
fn known_metas(files: &SegmentFiles, base_index: u64) -> io::Result<Vec<EntryMeta>> {
    let count = files.raft.len()?.saturating_sub(RAFT_HEAD_BYTES) / META_BYTES as u64;
    let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)? * META_BYTES];
    crate::base::disk::read_exact_at(files.raft.as_ref(), &mut bytes, RAFT_HEAD_BYTES)?;
    let metas = bytes.chunks(META_BYTES).zip(base_index..);
    Ok(metas.map_while(|(chunk, index)| EntryMeta::decode(index, chunk)).collect())
}

/// The valid batch at the end of what is known of the segment.
fn batch_at(segment: &Segment, base_offset: Offset) -> io::Result<Option<Batch>> {
    let Some(header) = segment.files.batch_header(segment.size)? else { return Ok(None) };
    let end = u64::from(segment.size) + header.size() as u64;
    if header.base_offset != base_offset || end > segment.files.log.len()? {
        return Ok(None);
    }
    let mut bytes = vec![0; header.size()];
    crate::base::disk::read_exact_at(
        segment.files.log.as_ref(),
        &mut bytes,
        u64::from(segment.size),
    )?;
    Ok(Batch::take(&mut Bytes::from(bytes)).ok())
}

fn meta_of(batch: &Batch, segment: &Segment, term: u64) -> EntryMeta {
    EntryMeta {
        term,
        kind: EntryKind::Batch,
        base_offset: batch.header().base_offset,
        position: segment.size,
        size: u32::try_from(batch.size()).unwrap_or(u32::MAX),
        last_offset_delta: batch.header().last_offset_delta.unsigned_abs(),
        delete_before: 0,
    }
}

fn log_end(last: &Segment) -> io::Result<Offset> {
    match last.next_index.checked_sub(1).filter(|index| *index >= last.base_index) {
        None => Ok(last.base_offset),
        Some(index) => {
            let metas = last.read_metas(index, index + 1)?;
            Ok(metas.first().map_or(last.base_offset, EntryMeta::next_offset))
        }
    }
}

/// Removes all entries from `next_index` on, then opens what is left.
pub(crate) fn truncate(
    setup: &LogSetup,
    segments: &mut [Segment],
    next_index: u64,
) -> io::Result<State> {
    let disk = setup.disk.as_ref();
    let kept = segments.iter().filter(|segment| segment.base_index < next_index).count().max(1);
    for segment in segments.iter().skip(kept) {
        for extension in ["log", "raft", "index", "timeindex"] {
            let path = segment.files.path(extension);
            if disk.exists(&path) {
                disk.remove_file(&path)?;
            }
        }
    }
    if let Some(segment) = segments.get(kept - 1) {
        let last = next_index.checked_sub(1).filter(|last| *last >= segment.base_index);
        let end = match last {
            None => 0,
            Some(last) => segment.read_metas(last, last + 1)?.first().map_or(0, EntryMeta::end_position),
        };
        let metas_end = meta_position(segment.base_index, next_index.max(segment.base_index));
        segment.files.write_durable_position(end)?;
        segment.files.raft.set_len(metas_end)?;
        segment.files.raft.sync()?;
        segment.files.log.set_len(u64::from(end))?;
        segment.files.log.sync()?;
    }
    remove_states_after(setup, next_index)?;
    disk.sync_dir(&setup.dir)?;
    let unclean = LogSetup { clean: false, ..setup.clone() };
    Ok(recover(&unclean)?)
}

/// Deletes the whole log.
pub(crate) fn delete(setup: &LogSetup) -> io::Result<()> {
    setup.disk.remove_dir_all(&setup.dir)?;
    if let Some(parent) = setup.dir.parent() {
        setup.disk.sync_dir(parent)?;
    }
    let mut to = setup.key.clone();
    to.push(0xff);
    let range = crate::base::kv::Change::DeleteRange { from: setup.key.clone(), to };
    setup.kv.write(&[range])
}

/// Terms and producers as of an entry, brought up to the end of the log.
struct Replay {
    next_index: u64,
    terms: Vec<TermStart>,
    producers: ProducerStates,
}

impl Replay {
    /// From the youngest valid `.state` file that is not beyond the log.
    fn best(setup: &LogSetup, end_index: u64) -> io::Result<Self> {
        let mut best = Self { next_index: 0, terms: Vec::new(), producers: ProducerStates::default() };
        for name in setup.disk.list(&setup.dir)?.iter().filter(|name| name.ends_with(".state")) {
            let content = setup.disk.read(&setup.dir.join(name))?;
            match decode_state(&content) {
                Some(found) if found.next_index <= end_index => {
                    if found.next_index >= best.next_index {
                        best = found;
                    }
                }
                _ => tracing::warn!(log = setup.name, file = %name, "ignored a state file"),
            }
        }
        Ok(best)
    }

    fn run(&mut self, segments: &[Segment], now_ms: i64) -> io::Result<()> {
        for segment in segments {
            let mut from = self.next_index.max(segment.base_index);
            while from < segment.next_index {
                let to = segment.next_index.min(from + REPLAY_COUNT);
                for (index, meta) in
                    (from..).zip(read_metas(&segment.files, segment.base_index, from, to)?)
                {
                    self.step(segment, index, &meta, now_ms)?;
                }
                from = to;
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        segment: &Segment,
        index: u64,
        meta: &EntryMeta,
        now_ms: i64,
    ) -> io::Result<()> {
        if self.terms.last().is_none_or(|last| last.first.term != meta.term) {
            let first = EntryId { term: meta.term, index };
            self.terms.push(TermStart { first, start_offset: meta.base_offset });
        }
        if meta.kind == EntryKind::Batch
            && let Some(header) = segment.files.batch_header(meta.position)?
        {
            self.producers.replay(&header, now_ms);
        }
        self.next_index = index + 1;
        Ok(())
    }
}

/// Terms and producers as of the end of the log.
pub(crate) fn encode_state(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(STATE_MAGIC);
    out.put_u64(state.next_index());
    out.put_u32(u32::try_from(state.terms.len()).unwrap_or(u32::MAX));
    for start in &state.terms {
        out.put_u64(start.first.term);
        out.put_u64(start.first.index);
        out.put_i64(start.start_offset);
    }
    out.put_u32(u32::try_from(state.producers.len()).unwrap_or(u32::MAX));
    for (producer_id, entry) in state.producers.iter() {
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
    }
    out.put_u32(crc32c::crc32c(&out));
    out
}

fn decode_state(content: &[u8]) -> Option<Replay> {
    let (mut body, mut crc) = content.split_at_checked(content.len().checked_sub(4)?)?;
    if crc.get_u32() != crc32c::crc32c(body) || body.try_get_u32().ok()? != STATE_MAGIC {
        return None;
    }
    let next_index = body.try_get_u64().ok()?;
    let mut terms = Vec::new();
    for _ in 0..body.try_get_u32().ok()? {
        let first =
            EntryId { term: body.try_get_u64().ok()?, index: body.try_get_u64().ok()? };
        terms.push(TermStart { first, start_offset: body.try_get_i64().ok()? });
    }
    let mut producers = ProducerStates::default();
    for _ in 0..body.try_get_u32().ok()? {
        let producer_id = body.try_get_i64().ok()?;
        let (epoch, last_append_ms) = (body.try_get_i16().ok()?, body.try_get_i64().ok()?);
        let mut entry = ProducerEntry { epoch, last_append_ms, batches: Default::default() };
        for _ in 0..body.try_get_u8().ok()? {
            entry.batches.push_back(BatchMeta {
                first_sequence: body.try_get_i32().ok()?,
                last_sequence: body.try_get_i32().ok()?,
                last_offset: body.try_get_i64().ok()?,
                offset_delta: body.try_get_i32().ok()?,
                timestamp_ms: body.try_get_i64().ok()?,
            });
        }
        producers.insert(producer_id, entry);
    }
    Some(Replay { next_index, terms, producers })
}

/// Writes a `.state` file; durable once the folder is synced.
pub(crate) fn write_state(
    disk: &dyn Disk,
    dir: &Path,
    offset: Offset,
    content: &[u8],
) -> io::Result<()> {
    let file = disk.open(&dir.join(file_name(offset, "state")), OpenMode::Truncate)?;
    file.write_all_at(&[IoSlice::new(content)], 0)?;
    file.sync()
}

/// Keeps the `.state` files at the starts of segments; the others are of earlier stops.
fn remove_old_states(setup: &LogSetup, segments: &[Segment]) -> io::Result<()> {
    let kept: Vec<String> =
        segments.iter().map(|segment| file_name(segment.base_offset, "state")).collect();
    for name in setup.disk.list(&setup.dir)? {
        if name.ends_with(".state") && !kept.contains(&name) {
            setup.disk.remove_file(&setup.dir.join(name))?;
        }
    }
    Ok(())
}

/// What is said of removed entries must not be believed of those that take their places.
fn remove_states_after(setup: &LogSetup, next_index: u64) -> io::Result<()> {
    for name in setup.disk.list(&setup.dir)? {
        let path = setup.dir.join(&name);
        if name.ends_with(".state")
            && decode_state(&setup.disk.read(&path)?).is_none_or(|s| s.next_index > next_index)
        {
            setup.disk.remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

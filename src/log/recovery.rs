//! Opening a log: quick after an orderly stop, with a scan after a crash.
//!
//! What a crash can leave, and what follows:
//! * A torn tail: bytes of appends that were never reported as durable. It is cut.
//! * A `.raft` file behind its `.log`: its records are made again from the batches. (It is never
//!   ahead: whatever cannot be made again is synced after the batches before it.)
//! * Missing or old indexes: made again by the scan, that of aborted transactions by the replay.
//! * Segments begun behind such a tail: nothing in them was ever reported, they are removed.
//! * Segments of a purge whose names came back: the purge is noted in the store, they are removed.
//! * A head of a `.raft` file that is not valid where it must have been: it is made again.
//! * A bad batch below the durable position is none of these but damage of acknowledged data: it
//!   keeps its place, is not served, and may be mended from another replica. Where the place is not
//!   to be told, the log is not opened.

mod heads;
mod scan;
mod state_file;
pub(crate) mod swap;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Buf;

use crate::base::disk::Disk;
use crate::base::ids::Offset;
use crate::base::kv::{Change, KeyValue};
use crate::log::dir::deleted_name;
use crate::log::entry::{EntryId, EntryMeta};
use crate::log::metas;
use crate::log::partition_log::retire::DELETED;
use crate::log::partition_log::{LogSetup, State};
use crate::log::producer_state::ProducerStates;
use crate::log::segment::{
    DurableNote, EXTENSIONS, OWN_EXTENSIONS, RaftHead, Segment, SegmentFiles, file_name,
    record_position,
};
use heads::Found;
use state_file::Replay;
pub(crate) use state_file::{encode as encode_parts, encode_state, write_state};

/// Why a log was not opened.
#[derive(Debug)]
pub enum RecoveryError {
    Io(io::Error),
    /// Acknowledged data is damaged.
    Corrupt {
        what: String,
    },
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
    disk.create_dir_all(&setup.dir)?;
    swap::recover(disk, &setup.dir)?;
    let purged = match read_purged(setup)? {
        Some((purged, Some(base_offset))) => return Ok(begin_behind(setup, purged, base_offset)?),
        purged => purged.map(|(purged, _)| purged),
    };
    let names = disk.list(&setup.dir)?;
    for name in names.iter().filter(|name| name.ends_with(DELETED)) {
        disk.remove_file(&setup.dir.join(name))?;
    }
    let bases = segment_bases(&names);
    let mut segments = match (bases.is_empty(), purged) {
        (false, _) => load_segments(setup, &bases, purged)?,
        (true, None) => vec![first_segment(setup, 0, 0)?],
        (true, Some(_)) => {
            return Err(RecoveryError::Corrupt { what: format!("{}: no segments", setup.name) });
        }
    };
    let next_offset = log_end(segments.last().expect("invariant: a log has a segment"))?;
    let mut replay = Replay::best(setup, &segments)?;
    state_file::remove_old_states(setup, &segments)?;
    replay.run(setup, &mut segments, u64::MAX)?;
    close_scanned(setup, &mut segments)?;
    let mut state = State::new(segments, replay.terms, replay.producers, next_offset);
    state.purged = purged;
    Ok(state)
}

fn purged_key(partition: &[u8]) -> Vec<u8> {
    [partition, b"p"].concat()
}

/// The change that keeps which entry was the last to be purged. With an offset, nothing of the log
/// is left, and it is about to begin anew behind that entry with that offset.
pub(crate) fn purged_change(
    partition: &[u8],
    purged: EntryId,
    base_offset: Option<Offset>,
) -> Change {
    let mut value = [purged.term.to_be_bytes(), purged.index.to_be_bytes()].concat();
    value.extend(base_offset.into_iter().flat_map(Offset::to_be_bytes));
    Change::Put { key: purged_key(partition), value }
}

fn read_purged(setup: &LogSetup) -> io::Result<Option<(EntryId, Option<Offset>)>> {
    let Some(value) = setup.kv.get(&purged_key(&setup.key))? else { return Ok(None) };
    let mut value = &value[..];
    let purged = EntryId {
        term: value.try_get_u64().map_err(io::Error::other)?,
        index: value.try_get_u64().map_err(io::Error::other)?,
    };
    Ok(Some((purged, value.try_get_i64().ok())))
}

/// Begins the log anew behind entry `purged`, with offset `base_offset`. Whatever is cut short is
/// done again by the next start.
pub(crate) fn begin_behind(
    setup: &LogSetup,
    purged: EntryId,
    base_offset: Offset,
) -> io::Result<State> {
    let disk = setup.disk.as_ref();
    setup.kv.write(&[purged_change(&setup.key, purged, Some(base_offset))])?;
    let is_of_log = |name: &String| {
        let extension = name.split_once('.').map_or("", |(_, extension)| extension);
        EXTENSIONS.contains(&extension) || extension.ends_with(DELETED)
    };
    remove_names(setup, disk.list(&setup.dir)?.into_iter().filter(is_of_log).collect())?;
    let segment = first_segment(setup, base_offset, purged.index + 1)?;
    setup.kv.write(&[purged_change(&setup.key, purged, None)])?;
    let mut state = State::new(vec![segment], Vec::new(), ProducerStates::default(), base_offset);
    state.purged = Some(purged);
    Ok(state)
}

fn segment_bases(names: &[String]) -> Vec<Offset> {
    // Sorted, as the names are.
    names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect()
}

/// Makes the first segment of a log.
fn first_segment(setup: &LogSetup, base_offset: Offset, base_index: u64) -> io::Result<Segment> {
    if let Some(parent) = setup.dir.parent() {
        setup.disk.sync_dir(parent)?;
    }
    let files = Arc::new(SegmentFiles::open(setup.disk.as_ref(), &setup.dir, base_offset)?);
    files.reserve(&setup.config);
    files.write_raft_head(base_index)?;
    files.raft.sync()?;
    setup.disk.sync_dir(&setup.dir)?;
    Ok(Segment::empty(files, base_index))
}

fn load_segments(
    setup: &LogSetup,
    bases: &[Offset],
    purged: Option<EntryId>,
) -> Result<Vec<Segment>, RecoveryError> {
    let first_index = purged.map_or(0, |purged| purged.index + 1);
    let open = |base: &Offset| -> io::Result<Found> {
        Found::read(SegmentFiles::open(setup.disk.as_ref(), &setup.dir, *base)?)
    };
    let mut found = bases.iter().map(open).collect::<io::Result<Vec<Found>>>()?;
    heads::restore(&mut found, purged, setup.salvage)?;
    let purged_count = count_purged(&found, purged).ok_or_else(|| missing(setup, 0))?;
    found.drain(..purged_count);
    let mut segments: Vec<Segment> = Vec::with_capacity(found.len());
    for (i, found) in found.into_iter().enumerate() {
        let head = found.head;
        let base_index = match segments.last() {
            _ if found.is_lost => return Err(missing(setup, found.files.base_offset)),
            None => head.map_or(first_index, |head| head.base_index),
            Some(before) if follows(before, &found)? => before.next_index,
            // Begun just before the crash, which took entries before it. Nothing is written to a
            // segment before the one in front of it is closed.
            Some(_) if found.files.log.is_empty()? => break,
            Some(before) => return Err(missing(setup, log_end(before)?)),
        };
        let next = bases.get(purged_count + i + 1).copied();
        segments.push(load(setup, found, base_index, next)?);
    }
    if let Some(last) = segments.last()
        && last.has_successor()?
    {
        return Err(missing(setup, log_end(last)?));
    }
    if let Some(last) = segments.last_mut().filter(|last| last.first_batch_ms.is_none()) {
        let first = last.files.batch_header(0).ok().flatten().filter(|_| last.size > 0);
        last.first_batch_ms = first.map(|header| header.max_timestamp_ms);
    }
    remove_strangers(setup, &segments)?;
    if !setup.clean {
        // Only the process may have died: then names are here that are not durable yet.
        setup.disk.sync_dir(&setup.dir)?;
    }
    Ok(segments)
}

fn missing(setup: &LogSetup, offset: Offset) -> RecoveryError {
    let what = format!("{}: entries from offset {offset} on are missing", setup.name);
    RecoveryError::Corrupt { what }
}

/// How many segments are purged ones: a purge deletes names without making that durable, so some
/// may have come back. `None`: the first that is not purged is not here.
fn count_purged(found: &[Found], purged: Option<EntryId>) -> Option<usize> {
    let Some(purged) = purged else { return Some(0) };
    let holds_first = |head: &RaftHead| head.base_index <= purged.index + 1;
    let first = found.iter().rposition(|found| found.head.as_ref().is_some_and(holds_first))?;
    // A segment is deleted only after its successor is there for good.
    let has_successor = |found: &Found| found.head.is_none_or(|head| head.note.rolled);
    let before = found.get(..first)?.iter().rev();
    Some(first - before.take_while(|found| !has_successor(found)).count())
}

/// Loads a segment; `next` is where the one after it begins.
fn load(
    setup: &LogSetup,
    found: Found,
    base_index: u64,
    next: Option<Offset>,
) -> Result<Segment, RecoveryError> {
    let Found { files, head, is_restored, .. } = found;
    if head.is_none() {
        files.write_raft_head(base_index)?;
    }
    let note = head.map(|head| head.note).unwrap_or_default();
    let quick = match !setup.salvage && (setup.clean || next.is_some()) {
        true => scan::quick_load(setup, &files, base_index, &note)?,
        false => None,
    };
    match quick {
        Some(segment) if setup.clean => Ok(segment),
        Some(segment) => {
            // Only the process may have died: then its last note is not durable yet.
            segment.files.raft.sync()?;
            Ok(segment)
        }
        None => {
            let assumed = match setup.salvage {
                true => scan::salvage(&files, base_index, &note, next)?,
                false => Vec::new(),
            };
            let mut segment = scan::scan(setup, files, base_index, &note, is_restored)?;
            segment.damaged.extend(assumed);
            Ok(segment)
        }
    }
}

/// Whether a segment begins where the one before it ends.
fn follows(before: &Segment, found: &Found) -> io::Result<bool> {
    let fits = found.head.is_none_or(|head| head.base_index == before.next_index);
    Ok(fits && found.files.base_offset == log_end(before)?)
}

/// Removes what is not of these segments: purged ones that came back, and those begun behind a lost
/// tail. Durable, because their names will be used again.
fn remove_strangers(setup: &LogSetup, segments: &[Segment]) -> io::Result<()> {
    let is_stranger = |name: &str| {
        let (base, extension) = name.split_once('.').unwrap_or_default();
        let is_ours = OWN_EXTENSIONS.contains(&extension);
        let base = base.parse::<Offset>().ok().filter(|_| is_ours);
        base.is_some_and(|base| segments.iter().all(|segment| segment.base_offset != base))
    };
    let names = setup.disk.list(&setup.dir)?;
    remove_names(setup, names.into_iter().filter(|name| is_stranger(name)).collect())
}

/// Removes files of segments, the `.log` files durably before the others: a `.log` alone would be
/// taken for a segment whose `.raft` file must be made again.
fn remove_names(setup: &LogSetup, names: Vec<String>) -> io::Result<()> {
    let (logs, others) = names.into_iter().partition(|name| name.ends_with(".log"));
    let parts: [Vec<String>; 2] = [logs, others];
    for part in parts.iter().filter(|part| !part.is_empty()) {
        for name in part {
            tracing::info!(log = setup.name, file = %name, "removing a file of no segment");
            setup.disk.remove_file(&setup.dir.join(name))?;
        }
        setup.disk.sync_dir(&setup.dir)?;
    }
    Ok(())
}

/// Makes what a crash kept a segment from getting when it was closed.
fn close_scanned(setup: &LogSetup, segments: &mut [Segment]) -> io::Result<()> {
    let Some((_, closed)) = segments.split_last_mut() else { return Ok(()) };
    for segment in closed {
        if segment.indexes_written && segment.has_successor()? {
            continue;
        }
        let closing = segment.closing(true);
        closing.write(setup.disk.as_ref())?;
        closing.confirm(setup.disk.as_ref())?;
        (segment.indexes_written, segment.sealed) = (true, true);
    }
    Ok(())
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

/// Removes all entries from `next_index` on, then opens what is left. Goes from the end to the
/// beginning, so that a crash in between leaves the beginning of what was there.
pub(crate) fn truncate(
    setup: &LogSetup,
    segments: &mut [Segment],
    next_index: u64,
) -> io::Result<State> {
    let disk = setup.disk.as_ref();
    state_file::remove_states_after(setup, next_index)?;
    let kept = segments.iter().filter(|segment| segment.base_index < next_index).count().max(1);
    for pair in segments.windows(2).skip(kept - 1).rev() {
        let [before, segment] = pair else { continue };
        before.forget_successor()?;
        let names =
            OWN_EXTENSIONS.iter().map(|extension| file_name(segment.base_offset, extension));
        remove_names(setup, names.filter(|name| disk.exists(&setup.dir.join(name))).collect())?;
    }
    if let Some(segment) = segments.get(kept - 1) {
        let next_index = next_index.max(segment.base_index);
        let base_index = segment.base_index;
        let last = match next_index.checked_sub(1).filter(|last| *last >= base_index) {
            None => None,
            Some(last) => Some(metas::find(&segment.files, base_index, last)?),
        };
        let position = last.map_or(0, |(_, run)| run.meta.end_position());
        let note = DurableNote { position, end_index: next_index, ..DurableNote::default() };
        // The note may rise, too: what is kept need not be durable yet.
        segment.files.log.sync()?;
        segment.files.write_note(&note)?;
        segment.files.raft.sync()?;
        // The batches first: recovery makes lost records of the `.raft` file again from them.
        segment.files.log.set_len(u64::from(position))?;
        segment.files.log.sync()?;
        if let Some((slot, run)) = last.filter(|(_, run)| run.end_index() > next_index) {
            let run = run.within(&(base_index..next_index));
            segment.files.write_record(base_index, slot, &run)?;
        }
        let records = last.map_or(0, |(slot, _)| slot + 1);
        segment.files.raft.set_len(record_position(records))?;
        segment.files.raft.sync()?;
    }
    let unclean = LogSetup { clean: false, ..setup.clone() };
    Ok(recover(&unclean)?)
}

/// The entry at `index`, which was damaged when the log was opened, is as it was: all that follows
/// from it is known anew, from the entries before `end_index`, which are in the files.
pub(crate) fn replay_mended(
    setup: &LogSetup,
    segments: &mut [Segment],
    index: u64,
    end_index: u64,
) -> io::Result<ProducerStates> {
    state_file::remove_states_after(setup, index)?;
    let mut replay = Replay::best_before(setup, segments, index)?;
    replay.run(setup, segments, end_index)?;
    close_scanned(setup, segments)?;
    Ok(replay.producers)
}

/// Deletes the whole log.
pub(crate) fn delete(setup: &LogSetup) -> io::Result<()> {
    delete_all(setup.disk.as_ref(), setup.kv.as_ref(), &setup.dir, &setup.key)
}

/// The change that deletes what the store knows of a log.
pub(crate) fn forget_change(key: &[u8]) -> Change {
    Change::DeleteRange { from: key.to_vec(), to: [key, &[0xff]].concat() }
}

/// Deletes what the store knows of a log.
pub(crate) fn forget(kv: &dyn KeyValue, key: &[u8]) -> io::Result<()> {
    kv.write(&[forget_change(key)])
}

/// Deletes a log that is not open: what the store knows of it, then its folder.
pub(crate) fn delete_all(
    disk: &dyn Disk,
    kv: &dyn KeyValue,
    dir: &Path,
    key: &[u8],
) -> io::Result<()> {
    forget(kv, key)?;
    let Some(parent) = dir.parent().filter(|_| disk.exists(dir)) else { return Ok(()) };
    // Another name first: half of a folder must not be taken for the log of a new topic.
    let hidden = parent.join(deleted_name(key));
    if disk.exists(&hidden) {
        disk.remove_dir_all(&hidden)?;
    }
    disk.rename(dir, &hidden)?;
    disk.sync_dir(parent)?;
    disk.remove_dir_all(&hidden)
}

#[cfg(test)]
mod tests;

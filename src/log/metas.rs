//! Reading the records of a `.raft` file. One that is damaged is made again from those beside it
//! and from the batches, as far as these leave no doubt: an entry that is not a batch has left
//! nothing else behind.
//!
//! The place of a record in the file is its *slot*. Most files have one for each entry, so that is
//! where it is looked for first.

mod salvage;

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::base::disk::{read_exact_at, readable};
use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::entry::{EntryKind, EntryMeta};
use crate::log::run::{RECORD_BYTES, Run};
use crate::log::segment::{RAFT_HEAD_BYTES, SegmentFiles, record_position};

pub(crate) use salvage::salvage;

/// Records beside each other that are made again: a sector of 4 KiB has so many.
const DAMAGED_COUNT_MAX: u64 = 128;
/// What a disk cannot read at once.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// Reads what the records tell of entries `indexes` of the segment that begins with `base_index`,
/// at most so many records, and none from a damaged one on, unless that is the first.
pub fn read_runs(
    files: &SegmentFiles,
    base_index: u64,
    indexes: Range<u64>,
    count_max: u64,
) -> io::Result<Vec<Run>> {
    let mut runs = Vec::new();
    if indexes.is_empty() {
        return Ok(runs);
    }
    let (origin, count) = (files.origin(base_index), count(files)?);
    let wanted = count_max.min(indexes.end - indexes.start);
    let mut slot = indexes.start - base_index;
    let raw_from = |slot: u64| read_raw(files, slot, count.min(slot.saturating_add(wanted)));
    let mut raw = raw_from(slot.min(count))?;
    let is_there = Run::decode(&origin, &raw).is_some_and(|run| run.index == indexes.start);
    if !is_there {
        slot = slot_of(files, base_index, indexes.start)?;
        raw = raw_from(slot.min(count))?;
    }
    let mut next = indexes.start;
    for (decoded, slot) in Run::decode_all(origin, &raw).zip(slot..) {
        let run = match decoded {
            Some(run) => run,
            None => match placed(files, base_index, slot)? {
                Some(run) => run,
                // What is before it can be told.
                None if !runs.is_empty() => return Ok(runs),
                None => return Err(damaged(files, next)),
            },
        };
        if !run.indexes().contains(&next) {
            return if runs.is_empty() { Err(damaged(files, next)) } else { Ok(runs) };
        }
        runs.push(run.within(&indexes));
        next = run.end_index();
        if next >= indexes.end {
            break;
        }
    }
    let is_short = next < indexes.end && (runs.len() as u64) < count_max;
    if is_short { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(runs) }
}

/// The same, entry by entry.
pub fn read_metas(
    files: &SegmentFiles,
    base_index: u64,
    indexes: Range<u64>,
) -> io::Result<Vec<EntryMeta>> {
    let runs = read_runs(files, base_index, indexes, u64::MAX)?;
    Ok(runs.iter().flat_map(|run| run.indexes().map(|index| run.entry(index))).collect())
}

/// The first run of entries of those in `indexes`, which begin with the segment's first, that is
/// not `before`; those that are come first.
pub(crate) fn first_not(
    files: &SegmentFiles,
    indexes: &Range<u64>,
    before: impl Fn(&EntryMeta) -> bool,
) -> io::Result<Option<Run>> {
    let base_index = indexes.start;
    // No entry has its record later than if all before it had their own.
    let count = count(files)?.min(indexes.end - base_index);
    let is_before = |slot| {
        let run = run_at(files, base_index, slot)?;
        Ok(run.index < indexes.end && before(&run.meta))
    };
    let slot = search(0, count, is_before)?;
    let run = if slot < count { Some(run_at(files, base_index, slot)?) } else { None };
    Ok(run.filter(|run| run.index < indexes.end).map(|run| run.within(indexes)))
}

pub(crate) fn run_at(files: &SegmentFiles, base_index: u64, slot: u64) -> io::Result<Run> {
    match Run::decode(&files.origin(base_index), &read_raw(files, slot, slot + 1)?) {
        Some(run) => Ok(run),
        None => placed(files, base_index, slot)?.ok_or_else(|| damaged(files, base_index + slot)),
    }
}

/// The first index that is not `before`; those that are come first.
pub(crate) fn search(
    mut low: u64,
    mut high: u64,
    before: impl Fn(u64) -> io::Result<bool>,
) -> io::Result<u64> {
    while low < high {
        let middle = low + (high - low) / 2;
        match before(middle)? {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}

fn damaged(files: &SegmentFiles, index: u64) -> io::Error {
    let text = format!("the record of entry {index} in {:?} is damaged", files.path("raft"));
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// How many records a `.raft` file has.
pub fn count(files: &SegmentFiles) -> io::Result<u64> {
    Ok(files.raft.len()?.saturating_sub(RAFT_HEAD_BYTES) / RECORD_BYTES as u64)
}

/// The slot of the record that tells of an entry. If it is damaged, where it is as far as that can
/// be known, or the first of those beside it that are.
pub(crate) fn slot_of(files: &SegmentFiles, base_index: u64, index: u64) -> io::Result<u64> {
    let count = count(files)?;
    let high = count.min(index - base_index + 1);
    let has_earlier = |slot| -> io::Result<bool> {
        let valid = first_valid(files, base_index, slot..high)?;
        Ok(valid.is_some_and(|(_, run)| run.index <= index))
    };
    // Behind the last valid one that does not begin behind the entry.
    let slot = search(0, high, has_earlier)?;
    let begin = match slot.checked_sub(1) {
        Some(last) => run_at(files, base_index, last)?.end_index(),
        None => base_index,
    };
    if index < begin {
        return Ok(slot - 1);
    }
    let next = first_valid(files, base_index, slot..count)?;
    let has_own = next.is_none_or(|(next, run)| next - slot == run.index - begin);
    Ok(if has_own { slot + (index - begin) } else { slot })
}

fn first_valid(
    files: &SegmentFiles,
    base_index: u64,
    slots: Range<u64>,
) -> io::Result<Option<(u64, Run)>> {
    let origin = files.origin(base_index);
    // The first one is, as a rule.
    let (mut from, mut size) = (slots.start, 1);
    while from < slots.end {
        let to = slots.end.min(from + size);
        let raw = read_raw(files, from, to)?;
        let mut runs = Run::decode_all(origin, &raw).zip(from..);
        let found = runs.find_map(|(run, slot)| Some((slot, run?)));
        if found.is_some() {
            return Ok(found);
        }
        (from, size) = (to, DAMAGED_COUNT_MAX);
    }
    Ok(None)
}

/// The record that tells of an entry, and its slot.
pub(crate) fn find(files: &SegmentFiles, base_index: u64, index: u64) -> io::Result<(u64, Run)> {
    let slot = slot_of(files, base_index, index)?;
    let run = run_at(files, base_index, slot)?;
    if run.indexes().contains(&index) { Ok((slot, run)) } else { Err(damaged(files, index)) }
}

/// The bytes of the records in these slots, whatever they are: zeroes where the disk cannot read.
pub(crate) fn read_raw(files: &SegmentFiles, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let count = usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?;
    let mut bytes = vec![0; count * RECORD_BYTES];
    read_around(files, &mut bytes, record_position(from))?;
    Ok(bytes)
}

/// Reads what can be read; each block of the disk is tried once more by itself.
fn read_around(files: &SegmentFiles, records: &mut [u8], position: u64) -> io::Result<()> {
    if readable(read_exact_at(files.raft.as_ref(), records, position))?.is_some() {
        return Ok(());
    }
    let (mut rest, mut position) = (records, position);
    while !rest.is_empty() {
        let begun = usize::try_from(position % BLOCK_BYTES as u64).unwrap_or(0);
        let size = (BLOCK_BYTES - begun).min(rest.len());
        let (block, behind) = rest.split_at_mut(size);
        if readable(read_exact_at(files.raft.as_ref(), block, position))?.is_none() {
            block.fill(0);
        }
        (rest, position) = (behind, position + size as u64);
    }
    Ok(())
}

/// Where an entry begins that may be a batch: what the one before it leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    pub(crate) term: u64,
    pub(crate) position: u32,
    pub(crate) offset: Offset,
    /// Nothing is left of it: more offsets may be gone than it tells.
    pub(crate) is_nothing: bool,
}

impl Before {
    /// The beginning of a segment: the last entry of the one before it may be such a one.
    pub(crate) fn begin(files: &SegmentFiles) -> Self {
        Self { term: 0, position: 0, offset: files.base_offset, is_nothing: true }
    }

    pub(crate) fn after(meta: &EntryMeta) -> Self {
        Self {
            term: meta.term,
            position: meta.end_position(),
            offset: meta.next_offset(),
            is_nothing: meta.kind.is_nothing(),
        }
    }

    /// The same, if the batch that lies there may begin at an offset further on.
    pub(crate) fn up_to(self, offset: Offset) -> Self {
        let may_be = self.is_nothing && offset > self.offset;
        if may_be { Self { offset, ..self } } else { self }
    }

    /// Whether the entry may be the one behind it.
    pub(crate) fn is_followed_by(self, meta: &EntryMeta) -> bool {
        let may_skip = matches!(meta.kind, EntryKind::Batch | EntryKind::Compacted);
        let after = if may_skip { self.up_to(meta.base_offset) } else { self };
        (after.position, after.offset) == (meta.position, meta.base_offset)
    }
}

/// What the damaged record in a slot told; `None` if there is a doubt.
pub fn made_again(files: &SegmentFiles, base_index: u64, slot: u64) -> io::Result<Option<Run>> {
    Ok(placed(files, base_index, slot)?.filter(|run| run.meta.kind != EntryKind::Unknown))
}

/// The same, or of which kind the entry was is left open: one without a batch and without offsets
/// has left nothing, but its place can be told.
pub(crate) fn placed(files: &SegmentFiles, base_index: u64, slot: u64) -> io::Result<Option<Run>> {
    let (origin, mut before) = (files.origin(base_index), Before::begin(files));
    let begin = slot.saturating_sub(DAMAGED_COUNT_MAX);
    let earlier = read_raw(files, begin, slot)?;
    let known = Run::decode_all(origin, &earlier).zip(begin..);
    let known = known.filter_map(|(run, at)| Some((at, run?))).last();
    // Which term the first entry of a log has is known, that of another segment's is not.
    let (mut at, mut index, mut knows_term) = (0, base_index, base_index == 0);
    if let Some((known_at, known)) = known {
        (at, index, knows_term) = (known_at + 1, known.end_index(), true);
        before = Before::after(&known.meta);
    } else if begin > 0 {
        return Ok(None);
    }
    let end = count(files)?.min(slot + 1 + DAMAGED_COUNT_MAX);
    let next = first_valid(files, base_index, slot + 1..end)?;
    let missing = next.map_or(end, |(at, _)| at) - at;
    let next = next.map(|(_, next)| next);
    if let (1, true, Some(next)) = (missing, knows_term, &next)
        && let Some(run) = not_a_batch(index, &before, next)
    {
        return Ok(Some(run));
    }
    // All that are missing must be batches, without anything between them.
    if next.is_some_and(|next| next.index != index + missing) {
        return Ok(None);
    }
    let mut found = None;
    for (at, index) in (at..at + missing).zip(index..) {
        if next.is_some() {
            let header = readable(files.batch_header(before.position))?.flatten();
            before = header.map_or(before, |header| before.up_to(header.base_offset));
        }
        let Some((meta, _)) = batch_after(files, &before)? else { return Ok(None) };
        before = Before::after(&meta);
        if at == slot {
            found = Some(Run::of(index, meta));
        }
    }
    let fits = match next {
        Some(next) => before.is_followed_by(&next.meta) && before.term <= next.meta.term,
        None => u64::from(before.position) == files.log.len()?,
    };
    Ok(found.filter(|_| fits))
}

/// The entries between these two places if they have no batch: a leader's first, those whose
/// batches compaction has dropped, or another one if its term can be told.
fn not_a_batch(index: u64, before: &Before, next: &Run) -> Option<Run> {
    let count = u32::try_from(next.index.checked_sub(index)?).ok().filter(|count| *count > 0)?;
    let next = Some(&next.meta).filter(|next| next.position == before.position)?;
    let meta = EntryMeta {
        term: next.term,
        kind: EntryKind::Blank,
        base_offset: before.offset,
        position: before.position,
        size: 0,
        last_offset_delta: 0,
        delete_before: 0,
    };
    let run = |meta| Run { index, count, meta };
    // Where terms change its term can be told only because each begins with a blank entry, which
    // is never compacted.
    let term = before.term;
    let is_of_term = next.term == term || next.kind == EntryKind::Blank;
    if next.base_offset > before.offset {
        let delta = next.base_offset - before.offset - 1;
        let last_offset_delta = u32::try_from(delta).ok().filter(|_| is_of_term)?;
        let kind = EntryKind::Compacted;
        return Some(run(EntryMeta { term, kind, last_offset_delta, ..meta }));
    }
    // Only of such are more than one together.
    if count > 1 {
        let kind = EntryKind::Void;
        return is_of_term.then(|| run(EntryMeta { term, kind, ..meta }));
    }
    // A new leader's first entry is a blank one, and the first of all is of term 0.
    if next.term > before.term && next.kind != EntryKind::Blank {
        return Some(run(meta));
    }
    let unknown = EntryMeta { term: before.term, kind: EntryKind::Unknown, ..meta };
    (next.term == before.term || index == 0).then_some(run(unknown))
}

/// The valid batch that begins there, and its entry.
pub(crate) fn batch_after(
    files: &SegmentFiles,
    before: &Before,
) -> io::Result<Option<(EntryMeta, Batch)>> {
    let header = readable(files.batch_header(before.position))?.flatten();
    let Some(header) = header else { return Ok(None) };
    let end = u64::from(before.position) + header.size() as u64;
    let Ok(term) = u64::try_from(header.leader_epoch) else { return Ok(None) };
    if header.base_offset != before.offset || end > files.log.len()? || term < before.term {
        return Ok(None);
    }
    let mut bytes = vec![0; header.size()];
    let read = read_exact_at(files.log.as_ref(), &mut bytes, u64::from(before.position));
    if readable(read)?.is_none() {
        return Ok(None);
    }
    let Ok(batch) = Batch::take(&mut Bytes::from(bytes)) else { return Ok(None) };
    let meta = EntryMeta {
        term,
        kind: EntryKind::Batch,
        base_offset: header.base_offset,
        position: before.position,
        size: u32::try_from(batch.size()).unwrap_or(u32::MAX),
        last_offset_delta: header.last_offset_delta.unsigned_abs(),
        delete_before: 0,
    };
    Ok(Some((meta, batch)))
}

#[cfg(test)]
mod tests;

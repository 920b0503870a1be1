//! Reading the records of a `.raft` file. One that is damaged is made again from those beside it
//! and from the batches, as far as these leave no doubt: an entry that is not a batch has left
//! nothing else behind.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::base::disk::{read_exact_at, readable};
use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::entry::{EntryKind, EntryMeta, META_BYTES};
use crate::log::segment::{RAFT_HEAD_BYTES, SegmentFiles, meta_position};

/// Records beside each other that are made again: a sector of 4 KiB has so many.
const DAMAGED_COUNT_MAX: u64 = 128;
/// What a disk cannot read at once.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// Reads the records of entries `from..to` of the segment that begins with `base_index`.
pub fn read_metas(
    files: &SegmentFiles,
    base_index: u64,
    from: u64,
    to: u64,
) -> io::Result<Vec<EntryMeta>> {
    let mut metas: Vec<EntryMeta> = Vec::new();
    for (chunk, index) in read_raw(files, base_index, from, to)?.chunks(META_BYTES).zip(from..) {
        let meta = match EntryMeta::decode(index, chunk) {
            Some(meta) => meta,
            None => placed(files, base_index, index)?.ok_or_else(|| damaged(files, index))?,
        };
        metas.push(meta);
    }
    Ok(metas)
}

/// The entry of those in `indexes`, which begin with the segment's first, that holds an offset;
/// `None` if the last of them ends below it.
pub(crate) fn holder(
    files: &SegmentFiles,
    indexes: Range<u64>,
    offset: Offset,
) -> io::Result<Option<(u64, EntryMeta)>> {
    let one = |index| -> io::Result<Option<EntryMeta>> {
        Ok(read_metas(files, indexes.start, index, index + 1)?.first().copied())
    };
    let is_before = |meta: EntryMeta| meta.next_offset() <= offset;
    let found = search(indexes.start, indexes.end, |index| Ok(one(index)?.is_some_and(is_before)))?;
    let meta = if found < indexes.end { one(found)? } else { None };
    Ok(meta.map(|meta| (found, meta)))
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
    Ok(files.raft.len()?.saturating_sub(RAFT_HEAD_BYTES) / META_BYTES as u64)
}

/// All records of a segment.
#[derive(Debug)]
pub(crate) struct Salvaged {
    pub(crate) metas: Vec<EntryMeta>,
    /// Entries of which nothing was known: they say nothing now, and have the offsets and the bytes
    /// that nobody else has.
    pub(crate) assumed: Vec<u64>,
}

/// Reads the records of entries `indexes`, which begin with the segment's first, whatever has
/// become of them. `end_offset` is where the next segment begins, if there is one.
pub(crate) fn salvage(
    files: &SegmentFiles,
    indexes: Range<u64>,
    end_offset: Option<Offset>,
) -> io::Result<Salvaged> {
    let base_index = indexes.start;
    let raw = read_raw(files, base_index, base_index, indexes.end)?;
    let mut known = Vec::new();
    for (chunk, index) in raw.chunks(META_BYTES).zip(base_index..) {
        known.push(match EntryMeta::decode(index, chunk) {
            Some(meta) => Some(meta),
            None => made_again(files, base_index, index)?,
        });
    }
    let end_position = u32::try_from(files.log.len()?).map_err(io::Error::other)?;
    let mut before = Before::begin(files);
    let mut salvaged = Salvaged { metas: Vec::with_capacity(known.len()), assumed: Vec::new() };
    // Where what is not known ends, by the entry.
    let mut bounds = Vec::with_capacity(known.len());
    let mut bound = Bound { position: end_position, offset: end_offset, term: 0 };
    for meta in known.iter().rev() {
        bounds.push(bound);
        if let Some(meta) = meta {
            let (position, offset) = (meta.position, Some(meta.base_offset));
            bound = Bound { position, offset, term: meta.term };
        }
    }
    for (at, (index, bound)) in indexes.zip(bounds.into_iter().rev()).enumerate() {
        let has_room = matches!(known.get(at + 1), Some(None));
        let meta = match known.get(at).copied().flatten() {
            Some(meta) => meta,
            None => match batch_within(files, &before, &bound)? {
                Some(batch) if batch.base_offset == before.offset => batch,
                Some(batch) if has_room => {
                    let offset = Some(batch.base_offset);
                    nothing(&before, &Bound { position: before.position, offset, ..bound })
                }
                _ => {
                    salvaged.assumed.push(index);
                    nothing(&before, &bound)
                }
            },
        };
        before = Before::after(&meta);
        salvaged.metas.push(meta);
    }
    Ok(salvaged)
}

/// What is known of the end of a stretch of entries of which nothing is.
#[derive(Debug, Clone, Copy)]
struct Bound {
    position: u32,
    offset: Option<Offset>,
    term: u64,
}

/// The valid batch that begins there or later in the offsets, if it ends within the stretch.
fn batch_within(
    files: &SegmentFiles,
    before: &Before,
    bound: &Bound,
) -> io::Result<Option<EntryMeta>> {
    if before.position >= bound.position {
        return Ok(None);
    }
    let header = readable(files.batch_header(before.position))?.flatten();
    let Some(header) = header.filter(|header| header.base_offset >= before.offset) else {
        return Ok(None);
    };
    let found = batch_after(files, &Before { offset: header.base_offset, ..*before })?;
    let fits = |meta: &EntryMeta| {
        let ends_before = bound.offset.is_none_or(|offset| meta.next_offset() <= offset);
        meta.end_position() <= bound.position && ends_before
    };
    Ok(found.map(|(meta, _)| meta).filter(fits))
}

/// An entry of which nothing is known but what is around it.
fn nothing(before: &Before, bound: &Bound) -> EntryMeta {
    let end_offset = bound.offset.unwrap_or(before.offset);
    let missing = u32::try_from(end_offset - before.offset).unwrap_or(0);
    EntryMeta {
        term: if before.term > 0 { before.term } else { bound.term },
        kind: if missing > 0 { EntryKind::Compacted } else { EntryKind::Void },
        base_offset: before.offset,
        position: before.position,
        size: bound.position.saturating_sub(before.position),
        last_offset_delta: missing.saturating_sub(1),
        delete_before: 0,
    }
}

/// The bytes of the records, whatever they are: zeroes where the disk cannot read.
pub(crate) fn read_raw(
    files: &SegmentFiles,
    base_index: u64,
    from: u64,
    to: u64,
) -> io::Result<Vec<u8>> {
    let count = usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?;
    let mut bytes = vec![0; count * META_BYTES];
    read_around(files, &mut bytes, meta_position(base_index, from))?;
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
}

impl Before {
    /// The beginning of a segment.
    pub(crate) fn begin(files: &SegmentFiles) -> Self {
        Self { term: 0, position: 0, offset: files.base_offset }
    }

    pub(crate) fn after(meta: &EntryMeta) -> Self {
        Self { term: meta.term, position: meta.end_position(), offset: meta.next_offset() }
    }
}

/// The record of entry `index`, which is damaged; `None` if there is a doubt.
pub fn made_again(
    files: &SegmentFiles,
    base_index: u64,
    index: u64,
) -> io::Result<Option<EntryMeta>> {
    Ok(placed(files, base_index, index)?.filter(|meta| meta.kind != EntryKind::Unknown))
}

/// The same, or of which kind the entry was is left open: one without a batch and without offsets
/// has left nothing, but its place can be told.
pub(crate) fn placed(
    files: &SegmentFiles,
    base_index: u64,
    index: u64,
) -> io::Result<Option<EntryMeta>> {
    let mut before = Before::begin(files);
    let begin = index.saturating_sub(DAMAGED_COUNT_MAX).max(base_index);
    let around = read_raw(files, base_index, begin, index)?;
    let earlier = around.chunks(META_BYTES).zip(begin..);
    let known = earlier.filter_map(|(chunk, at)| Some((at, EntryMeta::decode(at, chunk)?))).last();
    // Which term the first entry of a log has is known, that of another segment's is not.
    let (mut at, mut knows_term) = (base_index, base_index == 0);
    if let Some((known_at, known)) = known {
        (at, before, knows_term) = (known_at + 1, Before::after(&known), true);
    } else if begin > base_index {
        return Ok(None);
    }
    let end = (base_index + count(files)?).min(index + 1 + DAMAGED_COUNT_MAX);
    let later = read_raw(files, base_index, index + 1, end)?;
    let mut later = later.chunks(META_BYTES).zip(index + 1..);
    let next = later.find_map(|(chunk, at)| Some((at, EntryMeta::decode(at, chunk)?)));
    let missing = next.map_or(end, |(at, _)| at) - at;
    let next = next.map(|(_, next)| next);
    if missing == 1
        && knows_term
        && let Some(meta) = not_a_batch(index, &before, next.as_ref())
    {
        return Ok(Some(meta));
    }
    // All that are missing must be batches, without anything between them.
    let mut found = None;
    for at in at..at + missing {
        let Some((meta, _)) = batch_after(files, &before)? else { return Ok(None) };
        before = Before::after(&meta);
        if at == index {
            found = Some(meta);
        }
    }
    let fits = match next {
        Some(next) => {
            let follows = (before.position, before.offset) == (next.position, next.base_offset);
            follows && before.term <= next.term
        }
        None => u64::from(before.position) == files.log.len()?,
    };
    Ok(found.filter(|_| fits))
}

/// The entry between these two places if it has no batch: a leader's first, one whose batch
/// compaction has dropped, or another one if its term can be told.
fn not_a_batch(index: u64, before: &Before, next: Option<&EntryMeta>) -> Option<EntryMeta> {
    let next = next.filter(|next| next.position == before.position)?;
    let meta = EntryMeta {
        term: next.term,
        kind: EntryKind::Blank,
        base_offset: before.offset,
        position: before.position,
        size: 0,
        last_offset_delta: 0,
        delete_before: 0,
    };
    if next.base_offset > before.offset {
        let delta = next.base_offset - before.offset - 1;
        // Its term is not to be told where terms change.
        let last_offset_delta = u32::try_from(delta).ok().filter(|_| next.term == before.term)?;
        return Some(EntryMeta { kind: EntryKind::Compacted, last_offset_delta, ..meta });
    }
    // A new leader's first entry is a blank one, and the first of all is of term 0.
    if next.term > before.term && next.kind != EntryKind::Blank {
        return Some(meta);
    }
    let unknown = EntryMeta { term: before.term, kind: EntryKind::Unknown, ..meta };
    (next.term == before.term || index == 0).then_some(unknown)
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

//! All records of a segment, whatever has become of them.

use std::io;
use std::ops::Range;

use crate::base::disk::readable;
use crate::base::ids::Offset;
use crate::log::entry::{EntryKind, EntryMeta};
use crate::log::metas::{Before, batch_after, count, made_again, read_raw};
use crate::log::run::{RUN_COUNT_MAX, Run};
use crate::log::segment::SegmentFiles;

/// All records of a segment.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    pub(crate) runs: Vec<Run>,
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
    let (base_index, origin) = (indexes.start, files.origin(indexes.start));
    let end_position = u32::try_from(files.log.len()?).map_err(io::Error::other)?;
    let mut builder = Builder {
        files,
        next_index: base_index,
        before: Before::begin(files),
        salvaged: Salvaged::default(),
    };
    let raw = read_raw(files, 0, count(files)?)?;
    let mut lost = 0;
    for (decoded, slot) in Run::decode_all(origin, &raw).zip(0..) {
        let known = match decoded {
            Some(run) => Some(run),
            None => made_again(files, base_index, slot)?,
        };
        let is_inside = |run: &Run| (builder.next_index..indexes.end).contains(&run.index);
        match known {
            Some(run) if is_inside(&run) => {
                let (position, offset) = (run.meta.position, Some(run.meta.base_offset));
                let bound = Bound { position, offset, term: run.meta.term };
                builder.fill(run.index, lost, &bound)?;
                builder.push(run.within(&indexes));
                lost = 0;
            }
            Some(_) => {}
            None => lost += 1,
        }
    }
    let bound = Bound { position: end_position, offset: end_offset, term: 0 };
    builder.fill(indexes.end, lost, &bound)?;
    Ok(builder.salvaged)
}

struct Builder<'a> {
    files: &'a SegmentFiles,
    next_index: u64,
    before: Before,
    salvaged: Salvaged,
}

impl Builder<'_> {
    fn push(&mut self, run: Run) {
        self.next_index = run.end_index();
        self.before = Before::after(&run.meta);
        self.salvaged.runs.push(run);
    }

    /// Entries up to `end`, of which so many records are lost: those of batches that are there, and
    /// others that say nothing.
    fn fill(&mut self, end: u64, lost: u64, bound: &Bound) -> io::Result<()> {
        // Some of the records told of more than one.
        let mut surplus = (end - self.next_index).saturating_sub(lost);
        while self.next_index < end {
            let has_room = end - self.next_index > 1 + surplus;
            match batch_within(self.files, &self.before, bound)? {
                Some(batch) if batch.base_offset == self.before.offset => {
                    self.push(Run::of(self.next_index, batch));
                }
                Some(batch) if has_room || surplus > 0 => {
                    let (position, offset) = (self.before.position, Some(batch.base_offset));
                    let bound = Bound { position, offset, ..*bound };
                    self.push_nothing(end, &mut surplus, &bound);
                }
                _ => {
                    self.salvaged.assumed.push(self.next_index);
                    self.push_nothing(end, &mut surplus, bound);
                }
            }
        }
        Ok(())
    }

    /// An entry that says nothing, and with it those that have no record of their own.
    fn push_nothing(&mut self, end: u64, surplus: &mut u64, bound: &Bound) {
        self.push(Run::of(self.next_index, nothing(&self.before, bound)));
        *surplus = (*surplus).min(end - self.next_index);
        while *surplus > 0 {
            let count = u32::try_from(*surplus).unwrap_or(RUN_COUNT_MAX).min(RUN_COUNT_MAX);
            let place = Bound { position: self.before.position, offset: None, ..*bound };
            let meta = nothing(&self.before, &place);
            self.push(Run { index: self.next_index, count, meta });
            *surplus -= u64::from(count);
        }
    }
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

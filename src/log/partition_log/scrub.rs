//! Reading a log for no other reason than to see whether it is as it was written.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::base::disk::readable;
use crate::log::metas;
use crate::log::partition_log::PartitionLog;
use crate::log::partition_log::check::Reader;
use crate::log::run::{RECORD_BYTES, Run};
use crate::log::segment::SegmentFiles;

/// Records looked at together.
const RECORDS_COUNT: u64 = 1024;

/// A step of a scrub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrubbed {
    /// The entry to go on with; `None` at the end.
    pub next: Option<u64>,
    /// What was read.
    pub bytes: u64,
}

impl PartitionLog {
    /// Looks at the entries from `from` on until about `bytes_max` bytes have been read. A batch
    /// that is not as it was is noted, a record of a `.raft` file is written again if the rest of
    /// the segment says what it was. Blocks.
    pub fn scrub(self: &Arc<Self>, from: u64, bytes_max: u64) -> io::Result<Scrubbed> {
        let (files, base_index, to, size) = {
            let state = self.lock();
            let at = state.segments.partition_point(|segment| segment.next_index <= from);
            let Some(segment) = state.segments.get(at) else {
                return Ok(Scrubbed { next: None, bytes: 0 });
            };
            let to = segment.next_index.min(state.written_index);
            // What is not written yet is not read ahead.
            let size = if segment.next_index == to { segment.size } else { 0 };
            (Arc::clone(&segment.files), segment.base_index, to, size)
        };
        let indexes = from.max(base_index)..to;
        if indexes.is_empty() {
            return Ok(Scrubbed { next: None, bytes: 0 });
        }
        self.scrub_records(&files, base_index, indexes, size, bytes_max)
    }

    fn scrub_records(
        self: &Arc<Self>,
        files: &Arc<SegmentFiles>,
        base_index: u64,
        indexes: Range<u64>,
        size: u32,
        bytes_max: u64,
    ) -> io::Result<Scrubbed> {
        let (mut reader, origin) = (Reader::new(files, size), files.origin(base_index));
        let count = metas::count(files)?;
        let first = metas::slot_of(files, base_index, indexes.start)?;
        if first >= count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut next, mut bytes, mut is_known) = (indexes.start, 0, true);
        let mut raw = Vec::new();
        for slot in first..count {
            // What is not known is passed over: behind it is told again where one is.
            let is_enough = bytes >= bytes_max || slot >= first + RECORDS_COUNT;
            if next >= indexes.end || is_known && is_enough {
                break;
            }
            let at = usize::try_from((slot - first) % RECORDS_COUNT).unwrap_or(0);
            if at == 0 {
                raw = metas::read_raw(files, slot, count.min(slot + RECORDS_COUNT))?;
            }
            let record = raw.chunks(RECORD_BYTES).nth(at).unwrap_or_default();
            let run = match Run::decode(&origin, record) {
                Some(run) => Some(run),
                None => self.make_again(files, base_index, slot)?,
            };
            let is_right = match &run {
                Some(run) if run.meta.size > 0 => reader.is_right(&run.meta)?,
                known => known.is_some(),
            };
            let index = run.map_or(next, |run| run.index);
            if !is_right {
                self.note_damage(index);
            }
            is_known = run.is_some();
            next = run.map_or(index + 1, |run| run.end_index());
            bytes += RECORD_BYTES as u64 + run.map_or(0, |run| u64::from(run.meta.size));
        }
        Ok(Scrubbed { next: Some(if is_known { next } else { indexes.end }), bytes })
    }

    /// Writes a damaged record again; `None` if it is not known what it told.
    fn make_again(
        self: &Arc<Self>,
        files: &Arc<SegmentFiles>,
        base_index: u64,
        slot: u64,
    ) -> io::Result<Option<Run>> {
        let Some(run) = metas::made_again(files, base_index, slot)? else { return Ok(None) };
        let index = run.index;
        tracing::warn!(log = self.name(), index, "a damaged record of an entry is made again");
        if readable(files.write_record(base_index, slot, &run))?.is_none() {
            // It is in a bad sector with others; whoever reads it makes it again.
            return Ok(Some(run));
        }
        files.raft.sync()?;
        self.note_mend();
        Ok(Some(run))
    }
}

#[cfg(test)]
mod tests;

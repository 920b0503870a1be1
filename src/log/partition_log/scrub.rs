//! Reading a log for no other reason than to see whether it is as it was written.

use std::io;
use std::sync::Arc;

use crate::base::disk::readable;
use crate::log::entry::{EntryMeta, META_BYTES};
use crate::log::metas;
use crate::log::partition_log::PartitionLog;
use crate::log::partition_log::check::Reader;
use crate::log::segment::SegmentFiles;

/// Records of entries looked at together.
const METAS_COUNT: u64 = 1024;

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
        let mut index = from.max(base_index);
        let mut bytes = 0;
        if index >= to {
            return Ok(Scrubbed { next: None, bytes });
        }
        let mut reader = Reader::new(&files, size);
        let end = to.min(index + METAS_COUNT);
        for record in metas::read_raw(&files, base_index, index, end)?.chunks(META_BYTES) {
            bytes += META_BYTES as u64;
            let meta = match EntryMeta::decode(index, record) {
                Some(meta) => Some(meta),
                None => self.make_again(&files, base_index, index)?,
            };
            let is_right = match &meta {
                Some(meta) if meta.size > 0 => reader.is_right(meta)?,
                known => known.is_some(),
            };
            if !is_right {
                self.note_damage(index);
            }
            bytes += meta.map_or(0, |meta| u64::from(meta.size));
            index += 1;
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(Scrubbed { next: Some(index), bytes })
    }

    /// Writes the damaged record of an entry again; `None` if it is not known what it was.
    fn make_again(
        self: &Arc<Self>,
        files: &Arc<SegmentFiles>,
        base_index: u64,
        index: u64,
    ) -> io::Result<Option<EntryMeta>> {
        let Some(meta) = metas::made_again(files, base_index, index)? else { return Ok(None) };
        tracing::warn!(log = self.name(), index, "a damaged record of an entry is made again");
        if readable(files.write_meta(base_index, index, &meta))?.is_none() {
            // It is in a bad sector with others; whoever reads it makes it again.
            return Ok(Some(meta));
        }
        files.raft.sync()?;
        self.note_mend();
        Ok(Some(meta))
    }
}

#[cfg(test)]
mod tests;

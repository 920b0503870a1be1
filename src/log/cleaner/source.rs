//! Reading closed segments from one end to the other.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::disk::{self, read_exact_at};
use crate::log::batch::Batch;
use crate::log::entry::{EntryKind, EntryMeta};
use crate::log::metas::read_metas;
use crate::log::partition_log::PartitionLog;
use crate::log::retention::SegmentFacts;
use crate::log::segment::SegmentFiles;

/// What is read at once, unless a batch is larger: whoever waits for the disk waits for little.
const READ_BYTES: u32 = 256 * 1024;
/// Records of a `.raft` file read at once.
const METAS_COUNT: u64 = 4096;

/// A closed segment as it was when the cleaning began.
#[derive(Debug, Clone)]
pub struct SourceSegment {
    pub files: Arc<SegmentFiles>,
    pub base_index: u64,
    pub next_index: u64,
    pub facts: SegmentFacts,
}

/// An entry, and its batch if it has one.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) index: u64,
    pub(super) meta: EntryMeta,
    pub(super) batch: Option<Batch>,
}

/// Goes through segments entry by entry.
#[derive(Debug)]
pub(super) struct Reader {
    /// It is told what is damaged.
    log: Arc<PartitionLog>,
    segments: VecDeque<SourceSegment>,
    next_index: u64,
    metas: VecDeque<(u64, EntryMeta)>,
}

impl Reader {
    pub(super) fn new(log: &Arc<PartitionLog>, segments: Vec<SourceSegment>) -> Self {
        let next_index = segments.first().map_or(0, |segment| segment.base_index);
        let log = Arc::clone(log);
        Self { log, segments: segments.into(), next_index, metas: VecDeque::new() }
    }

    /// The next entries, with about [`READ_BYTES`] of batches; none at the end.
    pub(super) fn next_run(&mut self) -> io::Result<Vec<Item>> {
        let Some(files) = self.fill()? else { return Ok(Vec::new()) };
        let mut size = 0;
        let fits = |(_, meta): &&(u64, EntryMeta)| {
            let is_first = size == 0;
            size += meta.size;
            is_first || size <= READ_BYTES
        };
        let count = self.metas.iter().take_while(fits).count();
        let run: Vec<(u64, EntryMeta)> = self.metas.drain(..count).collect();
        let batches = run.iter().filter(|(_, meta)| meta.kind == EntryKind::Batch);
        let (first, last) = (batches.clone().next(), batches.clone().next_back());
        let mut bytes = match (first, last) {
            (Some((_, first)), Some((_, last))) => {
                let size = last.end_position().saturating_sub(first.position);
                let mut bytes = vec![0; size as usize];
                match read_exact_at(files.log.as_ref(), &mut bytes, first.position.into()) {
                    Err(error) if disk::is_unreadable(&error) => {
                        // One by one: those that cannot be read are noted.
                        bytes.clear();
                        for (index, meta) in batches {
                            let batch = self.log.read_batch(&files, *index, meta)?;
                            bytes.extend_from_slice(&batch.to_bytes());
                        }
                    }
                    read => read?,
                }
                Bytes::from(bytes)
            }
            _ => Bytes::new(),
        };
        let items = run.into_iter().map(|(index, meta)| {
            item(index, meta, &mut bytes).inspect_err(|_| self.log.note_damage(index))
        });
        items.collect()
    }

    /// Sees to it that there are metas, and gives the files that they are of.
    fn fill(&mut self) -> io::Result<Option<Arc<SegmentFiles>>> {
        loop {
            let Some(segment) = self.segments.front() else { return Ok(None) };
            if !self.metas.is_empty() {
                return Ok(Some(Arc::clone(&segment.files)));
            }
            let from = self.next_index.max(segment.base_index);
            let to = segment.next_index.min(from + METAS_COUNT);
            if from >= to {
                self.segments.pop_front();
                continue;
            }
            let metas = read_metas(&segment.files, segment.base_index, from, to)?;
            self.metas = (from..).zip(metas).collect();
            self.next_index = to;
        }
    }
}

fn item(index: u64, meta: EntryMeta, bytes: &mut Bytes) -> io::Result<Item> {
    let damaged = |what: &str| {
        let text = format!("{what} at offset {}", meta.base_offset);
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let batch = match meta.kind {
        EntryKind::Batch => {
            let batch = Batch::take(bytes).map_err(|_| damaged("a damaged batch"))?;
            if batch.size() != meta.size as usize || batch.header().base_offset != meta.base_offset
            {
                return Err(damaged("a batch that is not the entry's"));
            }
            Some(batch)
        }
        _ => None,
    };
    Ok(Item { index, meta, batch })
}

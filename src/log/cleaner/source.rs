//! Reading closed segments from one end to the other.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::disk::{self, read_exact_at};
use crate::log::batch::Batch;
use crate::log::entry::{EntryKind, EntryMeta};
use crate::log::metas::read_runs;
use crate::log::partition_log::PartitionLog;
use crate::log::retention::SegmentFacts;
use crate::log::run::Run;
use crate::log::segment::SegmentFiles;

/// What is read at once, unless a batch is larger: whoever waits for the disk waits for little.
const READ_BYTES: u32 = 256 * 1024;
/// Records of a `.raft` file read at once.
const RECORDS_COUNT: u64 = 4096;

/// A closed segment as it was when the cleaning began.
#[derive(Debug, Clone)]
pub struct SourceSegment {
    pub files: Arc<SegmentFiles>,
    pub base_index: u64,
    pub next_index: u64,
    pub facts: SegmentFacts,
}

/// An entry, and its batch if it has one, or several of which nothing is left.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) run: Run,
    pub(super) batch: Option<Batch>,
}

/// Goes through segments record by record.
#[derive(Debug)]
pub(super) struct Reader {
    /// It is told what is damaged.
    log: Arc<PartitionLog>,
    segments: VecDeque<SourceSegment>,
    next_index: u64,
    runs: VecDeque<Run>,
}

impl Reader {
    pub(super) fn new(log: &Arc<PartitionLog>, segments: Vec<SourceSegment>) -> Self {
        let next_index = segments.first().map_or(0, |segment| segment.base_index);
        let log = Arc::clone(log);
        Self { log, segments: segments.into(), next_index, runs: VecDeque::new() }
    }

    /// The next entries, with about [`READ_BYTES`] of batches; none at the end.
    pub(super) fn next_items(&mut self) -> io::Result<Vec<Item>> {
        let Some(files) = self.fill()? else { return Ok(Vec::new()) };
        let mut size = 0;
        let fits = |run: &&Run| {
            let is_first = size == 0;
            size += run.meta.size;
            is_first || size <= READ_BYTES
        };
        let count = self.runs.iter().take_while(fits).count();
        let runs: Vec<Run> = self.runs.drain(..count).collect();
        let batches = runs.iter().filter(|run| run.meta.kind == EntryKind::Batch);
        let (first, last) = (batches.clone().next(), batches.clone().next_back());
        let mut bytes = match (first, last) {
            (Some(Run { meta: first, .. }), Some(Run { meta: last, .. })) => {
                let size = last.end_position().saturating_sub(first.position);
                let mut bytes = vec![0; size as usize];
                match read_exact_at(files.log.as_ref(), &mut bytes, first.position.into()) {
                    Err(error) if disk::is_unreadable(&error) => {
                        // One by one: those that cannot be read are noted.
                        bytes.clear();
                        for run in batches {
                            let batch = self.log.read_batch(&files, run.index, &run.meta)?;
                            bytes.extend_from_slice(&batch.to_bytes());
                        }
                    }
                    read => read?,
                }
                Bytes::from(bytes)
            }
            _ => Bytes::new(),
        };
        let items = runs
            .into_iter()
            .map(|run| item(run, &mut bytes).inspect_err(|_| self.log.note_damage(run.index)));
        items.collect()
    }

    /// Sees to it that there are runs, and gives the files that they are of.
    fn fill(&mut self) -> io::Result<Option<Arc<SegmentFiles>>> {
        loop {
            let Some(segment) = self.segments.front() else { return Ok(None) };
            if !self.runs.is_empty() {
                return Ok(Some(Arc::clone(&segment.files)));
            }
            let from = self.next_index.max(segment.base_index);
            if from >= segment.next_index {
                self.segments.pop_front();
                continue;
            }
            let indexes = from..segment.next_index;
            let runs = read_runs(&segment.files, segment.base_index, indexes, RECORDS_COUNT)?;
            self.next_index = runs.last().map_or(from, Run::end_index);
            self.runs = runs.into();
        }
    }
}

fn item(run: Run, bytes: &mut Bytes) -> io::Result<Item> {
    let meta: &EntryMeta = &run.meta;
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
    Ok(Item { run, batch })
}

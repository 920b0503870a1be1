//! Writing a segment anew, under names that nobody else looks at.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::base::disk::{Disk, OpenMode};
use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::cleaner::source::SourceSegment;
use crate::log::entry::EntryKind;
use crate::log::partition_log::PartitionLog;
use crate::log::records::filter::Left;
use crate::log::recovery::swap;
use crate::log::run::{RecordBytes, Run};
use crate::log::segment::{DurableNote, Segment, SegmentFiles, record_position};
use crate::log::transaction_index::AbortedTransaction;

/// What gathers before it is written.
const WRITE_BYTES: usize = 256 * 1024;
/// What is written before it is synced. A sync of another file may have to wait for all that the
/// file system has not written yet, so there must never be much of it.
const SYNC_BYTES: u64 = 512 * 1024;

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct Target {
    disk: Arc<dyn Disk>,
    segment: Segment,
    index_interval_bytes: u32,
    log: Output,
    raft: Output,
    records: RecordBytes,
    next_offset: Offset,
    changed: bool,
}

/// Bytes on their way to the end of a file.
#[derive(Debug)]
struct Output {
    waiting: Vec<u8>,
    position: u64,
    synced: u64,
}

impl Target {
    /// One segment for all of these, which follow each other.
    pub(super) fn begin(log: &PartitionLog, sources: &[SourceSegment]) -> io::Result<Self> {
        let first = sources.first().ok_or(io::ErrorKind::InvalidInput)?;
        let (disk, dir) = (Arc::clone(log.disk()), log.dir());
        let base_offset = first.facts.base_offset;
        let open =
            |extension| disk.open(&swap::cleaned(dir, base_offset, extension), OpenMode::Truncate);
        let (data, raft) = (open("log")?, open("raft")?);
        let files = SegmentFiles { base_offset, dir: dir.to_owned(), log: data, raft };
        files.write_raft_head(first.base_index)?;
        let records = RecordBytes::of_final(files.origin(first.base_index));
        let mut segment = Segment::empty(Arc::new(files), first.base_index);
        // Its records are as old as before (`Cleaner.cleanSegments`).
        let written = sources.iter().filter_map(|source| source.files.log.modified_ms().ok()?);
        segment.modified_ms = written.max();
        Ok(Self {
            disk,
            segment,
            index_interval_bytes: log.config().index_interval_bytes,
            log: Output { waiting: Vec::new(), position: 0, synced: 0 },
            raft: Output { waiting: Vec::new(), position: record_position(0), synced: 0 },
            records,
            next_offset: base_offset,
            changed: false,
        })
    }

    /// Bytes of batches so far.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.segment.size)
    }

    /// Whether anything is other than it was.
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// Takes the next entries.
    pub(super) fn put(&mut self, mut run: Run, batch: Option<Batch>, left: Left) -> io::Result<()> {
        let meta = &mut run.meta;
        meta.position = self.segment.size;
        self.changed |= left != Left::Same;
        let batch = match left {
            Left::Same => batch,
            Left::Changed(batch) => Some(batch),
            Left::Nothing => {
                (meta.kind, meta.size) = (EntryKind::Compacted, 0);
                None
            }
        };
        if let Some(batch) = batch {
            meta.size = u32::try_from(batch.size()).map_err(io::Error::other)?;
            self.segment.note_batch(batch.header(), self.index_interval_bytes);
            self.log.waiting.extend_from_slice(batch.head());
            self.log.waiting.extend_from_slice(batch.records());
        }
        if meta.kind.is_nothing() && meta.base_offset > self.next_offset {
            // What no other record tells is gone as well.
            let count = meta.next_offset() - self.next_offset;
            meta.last_offset_delta = u32::try_from(count - 1).map_err(io::Error::other)?;
            (meta.kind, meta.base_offset) = (EntryKind::Compacted, self.next_offset);
        }
        self.next_offset = meta.next_offset();
        self.segment.records += u64::from(self.records.push(run));
        self.segment.next_index = run.end_index();
        self.raft.waiting.append(&mut self.records.take());
        if self.log.waiting.len() >= WRITE_BYTES || self.raft.waiting.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Takes note of a transaction whose marker is among what has been put.
    pub(super) fn note_aborted(&mut self, aborted: AbortedTransaction) {
        self.segment.note_aborted(aborted);
    }

    fn flush(&mut self) -> io::Result<()> {
        let files = [&self.segment.files.log, &self.segment.files.raft];
        for (file, output) in files.into_iter().zip([&mut self.log, &mut self.raft]) {
            file.write_all_at(&[IoSlice::new(&output.waiting)], output.position)?;
            output.position += output.waiting.len() as u64;
            output.waiting.clear();
            if output.position - output.synced >= SYNC_BYTES {
                file.sync()?;
                output.synced = output.position;
            }
        }
        Ok(())
    }

    /// Writes what is left and makes it all durable.
    pub(super) fn finish(mut self) -> io::Result<Segment> {
        match self.complete() {
            Ok(()) => Ok(self.segment),
            Err(error) => {
                // Whoever cleans it again begins anew, perhaps much later.
                self.abandon();
                Err(error)
            }
        }
    }

    fn complete(&mut self) -> io::Result<()> {
        self.raft.waiting.append(&mut self.records.take_all());
        self.flush()?;
        let segment = &mut self.segment;
        let indexes = segment.index_files();
        let files = &segment.files;
        let path = |extension| swap::cleaned(&files.dir, files.base_offset, extension);
        indexes.write(self.disk.as_ref(), path)?;
        if indexes.transactions.is_empty() && self.disk.exists(&files.path("txnindex")) {
            // An empty one takes the place of the one that is there.
            self.disk.write(&path("txnindex"), &[])?;
        }
        if let Some(modified_ms) = segment.modified_ms {
            files.log.set_modified_ms(modified_ms)?;
        }
        files.log.sync()?;
        files.raft.sync()?;
        files.write_note(&DurableNote {
            position: segment.size,
            end_index: segment.next_index,
            closed: true,
            rolled: true,
            indexes_crc: indexes.crc(),
        })?;
        files.raft.sync()?;
        self.disk.sync_dir(&files.dir)?;
        (segment.indexes_written, segment.sealed) = (true, true);
        Ok(())
    }

    /// Removes what was written, if that works: a start does it as well.
    pub(super) fn abandon(&self) {
        if let Err(error) = self.discard() {
            let dir = self.segment.files.dir.display();
            tracing::debug!(%dir, %error, "a file was not deleted");
        }
    }

    /// Removes what was written.
    pub(super) fn discard(&self) -> io::Result<()> {
        let files = &self.segment.files;
        swap::remove_cleaned(self.disk.as_ref(), &files.dir, files.base_offset)
    }
}

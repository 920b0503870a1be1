//! Loading one segment: by what its files say of themselves, or by a scan of its batches.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::base::disk::readable;
use crate::base::ids::Offset;
use crate::log::entry::{EntryKind, EntryMeta, META_BYTES};
use crate::log::index::{OffsetIndex, TimeIndex};
use crate::log::metas::{self, Before, batch_after};
use crate::log::partition_log::LogSetup;
use crate::log::recovery::RecoveryError;
use crate::log::segment::{
    DurableNote, FIRST_BLOCK_COUNT, IndexFiles, Segment, SegmentFiles, meta_position,
};
use crate::log::transaction_index::TransactionIndex;

/// Believes the files of a closed segment if nothing has been added since.
pub(super) fn quick_load(
    setup: &LogSetup,
    files: &Arc<SegmentFiles>,
    base_index: u64,
    note: &DurableNote,
) -> io::Result<Option<Segment>> {
    if !note.closed || u64::from(note.position) != files.log.len()? {
        return Ok(None);
    }
    let found = IndexFiles::read(setup.disk.as_ref(), files);
    let Some(found) = found.filter(|found| found.crc() == note.indexes_crc) else {
        return Ok(None);
    };
    let size = note.position;
    if note.end_index < base_index || files.raft.len()? != meta_position(base_index, note.end_index)
    {
        return Ok(None);
    }
    let mut segment = Segment::empty(Arc::clone(files), base_index);
    (segment.next_index, segment.size) = (note.end_index, size);
    let end = match segment.next_index.checked_sub(1).filter(|last| *last >= base_index) {
        None => Some(0),
        Some(last) => {
            let metas = segment.read_metas(last, last + 1).ok();
            metas.and_then(|metas| metas.first().map(EntryMeta::end_position))
        }
    };
    let (Some(offset_index), Some(time_index), Some(transaction_index)) = (
        OffsetIndex::decode(&found.offsets, size),
        TimeIndex::decode(&found.times),
        TransactionIndex::decode(&found.transactions, segment.base_offset),
    ) else {
        return Ok(None);
    };
    // The time index of a closed segment ends with its largest timestamp.
    if end != Some(size) {
        return Ok(None);
    }
    let newest = time_index.last(segment.base_offset);
    segment.max_timestamp = newest.filter(|(newest_ms, _)| *newest_ms >= 0);
    segment.since_ms = (size > 0).then(|| setup.clock.now_ms());
    if segment.max_timestamp.is_none() {
        segment.modified_ms = files.log.modified_ms()?;
    }
    segment.offset_index = offset_index;
    segment.time_index = time_index;
    segment.transaction_index = transaction_index;
    (segment.indexes_written, segment.sealed) = (true, true);
    Ok(Some(segment))
}

/// Reads every batch of a segment, cuts what is torn, completes the `.raft` file.
pub(super) fn scan(
    setup: &LogSetup,
    files: Arc<SegmentFiles>,
    base_index: u64,
    note: &DurableNote,
    head_is_damaged: bool,
) -> Result<Segment, RecoveryError> {
    let index_interval_bytes = setup.config.index_interval_bytes;
    let known = known_metas(&files, base_index, note)?;
    let mut segment = Segment::empty(files, base_index);
    segment.modified_ms = segment.files.log.modified_ms()?;
    let mut before = Before::begin(&segment.files);
    let mut intact = true;
    for meta in &known {
        // What was durable is not cut: its place is kept, and another replica may have it.
        let is_durable =
            meta.end_position() <= note.position && segment.next_index < note.end_index;
        if (meta.position, meta.base_offset) != (before.position, before.offset) {
            intact = false;
        } else if meta.kind == EntryKind::Batch {
            match batch_after(&segment.files, &before)? {
                Some((_, batch)) if meta.is_of(batch.header()) => {
                    segment.note_batch(batch.header(), index_interval_bytes);
                }
                _ if is_durable => segment.note_damaged(meta),
                _ => intact = false,
            }
        } else if meta.kind == EntryKind::Unknown {
            segment.damaged.push(segment.next_index);
        } else {
            // Only what was salvaged has bytes without a batch.
            segment.size += meta.size;
        }
        if !intact {
            break;
        }
        segment.next_index += 1;
        before = Before::after(meta);
    }
    let mut made_again = Vec::new();
    while intact && let Some((meta, batch)) = batch_after(&segment.files, &before)? {
        meta.encode(segment.next_index, &mut made_again);
        segment.note_batch(batch.header(), index_interval_bytes);
        segment.next_index += 1;
        before = Before::after(&meta);
    }
    if segment.size < note.position || segment.next_index < note.end_index {
        let (name, offset, at) = (&setup.name, before.offset, segment.size);
        let what = format!("{name}: bad batch at offset {offset}, position {at}");
        return Err(RecoveryError::Corrupt { what });
    }
    if head_is_damaged {
        let first = known.get(..FIRST_BLOCK_COUNT).unwrap_or(&known);
        segment.files.write_raft_again(base_index, note, first)?;
    }
    finish_scan(setup, &mut segment, &made_again, note)?;
    Ok(segment)
}

fn finish_scan(
    setup: &LogSetup,
    segment: &mut Segment,
    made_again: &[u8],
    before: &DurableNote,
) -> io::Result<()> {
    let files = &segment.files;
    let torn = files.log.len()?.saturating_sub(u64::from(segment.size));
    if torn > 0 {
        tracing::info!(log = setup.name, torn_bytes = torn, "cut the torn tail of a crash");
    }
    if files.log.len()? != u64::from(segment.size) {
        files.log.set_len(u64::from(segment.size))?;
    }
    files.log.sync()?;
    let end = meta_position(segment.base_index, segment.next_index);
    let start = end - made_again.len() as u64;
    files.raft.set_len(start)?;
    files.raft.write_all_at(&[IoSlice::new(made_again)], start)?;
    let (position, end_index) = (segment.size, segment.next_index);
    let same = (before.position, before.end_index) == (position, end_index);
    // Not closed: the index files will be written again.
    let rolled = same && before.rolled;
    let note = DurableNote { position, end_index, rolled, ..DurableNote::default() };
    // What the note says must be there before it.
    files.raft.sync()?;
    if note != *before {
        files.write_note(&note)?;
        files.raft.sync()?;
    }
    segment.since_ms = (segment.size > 0).then(|| setup.clock.now_ms());
    Ok(())
}

/// The records of a `.raft` file up to the first invalid one. One that was durable is made again.
fn known_metas(
    files: &SegmentFiles,
    base_index: u64,
    note: &DurableNote,
) -> io::Result<Vec<EntryMeta>> {
    let count = metas::count(files)?;
    let bytes = metas::read_raw(files, base_index, base_index, base_index + count)?;
    let mut known = Vec::new();
    for (chunk, index) in bytes.chunks(META_BYTES).zip(base_index..) {
        let meta = match EntryMeta::decode(index, chunk) {
            None if index < note.end_index => {
                let meta = metas::placed(files, base_index, index)?;
                if let Some(meta) = meta.filter(|meta| meta.kind != EntryKind::Unknown) {
                    // In a bad sector with others it stays; whoever reads it makes it again.
                    let _ = readable(files.write_meta(base_index, index, &meta))?;
                }
                meta
            }
            decoded => decoded,
        };
        match meta {
            Some(meta) => known.push(meta),
            None => break,
        }
    }
    Ok(known)
}

/// Writes the records of what was durable again, whatever they were; the entries that are assumed.
pub(super) fn salvage(
    files: &SegmentFiles,
    base_index: u64,
    note: &DurableNote,
    end_offset: Option<Offset>,
) -> io::Result<Vec<u64>> {
    let end = note.end_index.min(base_index + metas::count(files)?).max(base_index);
    let salvaged = metas::salvage(files, base_index..end, end_offset)?;
    files.write_raft_again(base_index, note, &salvaged.metas)?;
    Ok(salvaged.assumed)
}

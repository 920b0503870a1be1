//! Loading one segment: by what its files say of themselves, or by a scan of its batches.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::base::disk::readable;
use crate::base::ids::Offset;
use crate::log::entry::EntryKind;
use crate::log::index::{OffsetIndex, TimeIndex};
use crate::log::metas::{self, Before, batch_after};
use crate::log::partition_log::LogSetup;
use crate::log::recovery::RecoveryError;
use crate::log::run::Run;
use crate::log::segment::{
    DurableNote, FIRST_BLOCK_COUNT, IndexFiles, Segment, SegmentFiles, record_position,
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
    let records = metas::count(files)?;
    if files.raft.len()? != record_position(records) {
        return Ok(None);
    }
    let mut segment = Segment::empty(Arc::clone(files), base_index);
    (segment.next_index, segment.records, segment.size) = (note.end_index, records, size);
    // The last record must tell of the last entry.
    let end = match records.checked_sub(1) {
        None => Some((base_index, 0)),
        Some(last) => {
            let run = metas::run_at(files, base_index, last).ok();
            run.map(|run| (run.end_index(), run.meta.end_position()))
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
    if end != Some((note.end_index, size)) {
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
    let known = known_runs(&files, base_index, note)?;
    let mut segment = Segment::empty(files, base_index);
    segment.modified_ms = segment.files.log.modified_ms()?;
    let mut before = Before::begin(&segment.files);
    let mut intact = true;
    for run in &known {
        let meta = &run.meta;
        // What was durable is not cut: its place is kept, and another replica may have it.
        let is_durable =
            meta.end_position() <= note.position && segment.next_index < note.end_index;
        if !before.is_followed_by(meta) {
            intact = false;
        } else if meta.kind == EntryKind::Batch {
            match batch_after(&segment.files, &before.up_to(meta.base_offset))? {
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
        segment.next_index = run.end_index();
        segment.records += 1;
        before = Before::after(meta);
    }
    let origin = segment.files.origin(base_index);
    let mut made_again = Vec::new();
    while intact && let Some((meta, batch)) = batch_after(&segment.files, &before)? {
        Run::of(segment.next_index, meta).encode(&origin, &mut made_again);
        segment.note_batch(batch.header(), index_interval_bytes);
        segment.next_index += 1;
        segment.records += 1;
        before = Before::after(&meta);
    }
    if segment.size < note.position || segment.next_index < note.end_index {
        let (name, offset, at) = (&setup.name, before.offset, segment.size);
        let what = format!("{name}: bad batch at offset {offset}, position {at}");
        return Err(RecoveryError::Corrupt { what });
    }
    if head_is_damaged {
        let first = known.get(..FIRST_BLOCK_COUNT).unwrap_or(&known);
        segment.files.write_raft_again(base_index, note, first, false)?;
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
    let end = record_position(segment.records);
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
fn known_runs(files: &SegmentFiles, base_index: u64, note: &DurableNote) -> io::Result<Vec<Run>> {
    let origin = files.origin(base_index);
    let bytes = metas::read_raw(files, 0, metas::count(files)?)?;
    let (mut known, mut next_index) = (Vec::new(), base_index);
    for (decoded, slot) in Run::decode_all(origin, &bytes).zip(0..) {
        let run = match decoded {
            None if next_index < note.end_index => {
                let run = metas::placed(files, base_index, slot)?;
                if let Some(run) = run.filter(|run| run.meta.kind != EntryKind::Unknown) {
                    // In a bad sector with others it stays; whoever reads it makes it again.
                    let _ = readable(files.write_record(base_index, slot, &run))?;
                }
                run
            }
            decoded => decoded,
        };
        match run.filter(|run| run.index == next_index) {
            Some(run) => {
                next_index = run.end_index();
                known.push(run);
            }
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
    // What is known behind that stays as it is.
    let origin = files.origin(base_index);
    let raw = metas::read_raw(files, 0, metas::count(files)?)?;
    let known = Run::decode_all(origin, &raw).flatten();
    let end_index = known.fold(note.end_index.max(base_index), |end, run| {
        if run.index <= end { end.max(run.end_index()) } else { end }
    });
    let salvaged = metas::salvage(files, base_index..end_index, end_offset)?;
    files.write_raft_again(base_index, note, &salvaged.runs, true)?;
    Ok(salvaged.assumed)
}

//! Loading one segment: by what its files say of themselves, or by a scan of its batches.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::disk::read_exact_at;
use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::entry::{EntryKind, EntryMeta, META_BYTES};
use crate::log::index::{OffsetIndex, TimeIndex};
use crate::log::partition_log::LogSetup;
use crate::log::recovery::RecoveryError;
use crate::log::segment::{DurableNote, RAFT_HEAD_BYTES, Segment, SegmentFiles, meta_position};

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
    let disk = setup.disk.as_ref();
    let (Ok(offsets), Ok(times)) =
        (disk.read(&files.path("index")), disk.read(&files.path("timeindex")))
    else {
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
    let (Some(offset_index), Some(time_index)) =
        (OffsetIndex::decode(&offsets, size), TimeIndex::decode(&times))
    else {
        return Ok(None);
    };
    // The time index of a closed segment ends with its largest timestamp.
    if end != Some(size) || (size > 0 && time_index.last(segment.base_offset).is_none()) {
        return Ok(None);
    }
    segment.max_timestamp = time_index.last(segment.base_offset);
    segment.first_append_ms = (size > 0).then(|| setup.clock.now_ms());
    segment.offset_index = offset_index;
    segment.time_index = time_index;
    (segment.indexes_written, segment.sealed) = (true, true);
    Ok(Some(segment))
}

/// Reads every batch of a segment, cuts what is torn, completes the `.raft` file.
pub(super) fn scan(
    setup: &LogSetup,
    files: Arc<SegmentFiles>,
    base_index: u64,
    note: &DurableNote,
) -> Result<Segment, RecoveryError> {
    let index_interval_bytes = setup.config.index_interval_bytes;
    let known = known_metas(&files, base_index)?;
    let mut segment = Segment::empty(files, base_index);
    let mut next_offset = segment.base_offset;
    let mut last_term = 0;
    let mut intact = true;
    for meta in &known {
        if meta.position != segment.size || meta.base_offset != next_offset {
            intact = false;
        } else if meta.kind == EntryKind::Batch {
            match batch_at(&segment, next_offset)? {
                Some(batch) if batch.size() == meta.size as usize => {
                    segment.note_batch(batch.header(), index_interval_bytes);
                }
                _ => intact = false,
            }
        }
        if !intact {
            break;
        }
        segment.next_index += 1;
        next_offset = meta.next_offset();
        last_term = meta.term;
    }
    let mut made_again = Vec::new();
    while intact && let Some(batch) = batch_at(&segment, next_offset)? {
        let Ok(term) = u64::try_from(batch.header().leader_epoch) else { break };
        if term < last_term {
            break;
        }
        let meta = meta_of(&batch, &segment, term);
        meta.encode(segment.next_index, &mut made_again);
        segment.note_batch(batch.header(), index_interval_bytes);
        segment.next_index += 1;
        (next_offset, last_term) = (meta.next_offset(), term);
    }
    if segment.size < note.position || segment.next_index < note.end_index {
        let (name, at) = (&setup.name, segment.size);
        let what = format!("{name}: bad batch at offset {next_offset}, position {at}");
        return Err(RecoveryError::Corrupt { what });
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
    files.log.set_len(u64::from(segment.size))?;
    files.log.sync()?;
    let end = meta_position(segment.base_index, segment.next_index);
    let start = end - made_again.len() as u64;
    files.raft.set_len(start)?;
    files.raft.write_all_at(&[IoSlice::new(made_again)], start)?;
    let (position, end_index) = (segment.size, segment.next_index);
    let same = (before.position, before.end_index) == (position, end_index);
    // Not closed: the index files will be written again.
    let note = DurableNote { position, end_index, closed: false, rolled: same && before.rolled };
    // What the note says must be there before it.
    files.raft.sync()?;
    if note != *before {
        files.write_note(&note)?;
        files.raft.sync()?;
    }
    segment.first_append_ms = (segment.size > 0).then(|| setup.clock.now_ms());
    Ok(())
}

/// The valid records of a `.raft` file up to the first invalid one.
fn known_metas(files: &SegmentFiles, base_index: u64) -> io::Result<Vec<EntryMeta>> {
    let count = files.raft.len()?.saturating_sub(RAFT_HEAD_BYTES) / META_BYTES as u64;
    let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)? * META_BYTES];
    read_exact_at(files.raft.as_ref(), &mut bytes, RAFT_HEAD_BYTES)?;
    let metas = bytes.chunks(META_BYTES).zip(base_index..);
    Ok(metas.map_while(|(chunk, index)| EntryMeta::decode(index, chunk)).collect())
}

/// The valid batch at the end of what is known of the segment.
fn batch_at(segment: &Segment, base_offset: Offset) -> io::Result<Option<Batch>> {
    let Some(header) = segment.files.batch_header(segment.size)? else { return Ok(None) };
    let end = u64::from(segment.size) + header.size() as u64;
    if header.base_offset != base_offset || end > segment.files.log.len()? {
        return Ok(None);
    }
    let mut bytes = vec![0; header.size()];
    read_exact_at(segment.files.log.as_ref(), &mut bytes, u64::from(segment.size))?;
    Ok(Batch::take(&mut Bytes::from(bytes)).ok())
}

fn meta_of(batch: &Batch, segment: &Segment, term: u64) -> EntryMeta {
    EntryMeta {
        term,
        kind: EntryKind::Batch,
        base_offset: batch.header().base_offset,
        position: segment.size,
        size: u32::try_from(batch.size()).unwrap_or(u32::MAX),
        last_offset_delta: batch.header().last_offset_delta.unsigned_abs(),
        delete_before: 0,
    }
}

//! What is damaged in a log, and that log without it or with what another replica has left of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::disk::read_exact_at;
use crate::base::ids::Offset;
use crate::log::batch::{Batch, LENGTH_PREFIX_BYTES, MAGIC, NO_TIMESTAMP_MS};
use crate::log::cleaner::rewrite;
use crate::log::entry::{EntryId, EntryKind, EntryMeta};
use crate::log::flusher::Completion;
use crate::log::metas;
use crate::log::partition_log::PartitionLog;
use crate::log::records::filter::Left;
use crate::log::records::marker::{Ending, Marker};
use crate::log::run::Run;
use crate::log::segment::SegmentFiles;

/// What is read at once.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

/// Markers have 78 bytes.
const CORRECTED_BYTES_MAX: usize = 128;
/// Where a batch's checksum is.
const CHECKSUM_AT: usize = 17;

/// Something that is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// A batch: its first and last offset.
    Batch { first: Offset, last: Offset, bytes: u32 },
    /// The record of an entry, so that it is not known what the entry was.
    Record { index: u64 },
}

/// Reads the whole log. Blocks.
pub fn check(log: &Arc<PartitionLog>) -> io::Result<Vec<Finding>> {
    let mut from = 0;
    while let Some(next) = log.scrub(from, STEP_BYTES)?.next {
        from = next;
    }
    let finding = |index: u64| match log.stubs(index, index + 1) {
        Ok(stubs) => stubs.first().map(|stub| match stub.meta.kind {
            EntryKind::Unknown => Finding::Record { index },
            _ => Finding::Batch {
                first: stub.meta.base_offset,
                last: stub.meta.next_offset() - 1,
                bytes: stub.meta.size,
            },
        }),
        Err(_) => Some(Finding::Record { index }),
    };
    Ok(log.damage().into_iter().filter_map(finding).collect())
}

/// Writes the segments with damage anew: a damaged batch leaves a gap in the offsets, as compaction
/// does, and an entry of which nothing is known says nothing from then on. `wait` resolves a
/// completion. Blocks.
pub fn drop_damaged(
    log: &Arc<PartitionLog>,
    wait: impl Fn(&dyn Fn(Completion)) -> io::Result<()>,
) -> io::Result<()> {
    let in_use = || io::Error::other("the log is in use");
    let rewriting = log.try_rewriting().ok_or_else(in_use)?;
    // Only closed segments are replaced.
    wait(&|done| log.roll_now(done))?;
    let mut damage = log.damage();
    for source in log.closed_segments(Offset::MAX) {
        let indexes = source.base_index..source.next_index;
        if damage.range(indexes.clone()).next().is_none() {
            continue;
        }
        let end_offset = Some(source.facts.end_offset);
        let mut salvaged = metas::salvage(&source.files, indexes.clone(), end_offset)?;
        for run in salvaged.runs.iter_mut().filter(|run| damage.contains(&run.index)) {
            run.meta.kind = without_batch(log, run.index, run.meta.kind);
        }
        let of = |run: &Run| {
            let left =
                || marker_again(log, &source.files, &run.meta).map_or(Left::Nothing, Left::Changed);
            damage.contains(&run.index).then(|| (run.index, left()))
        };
        let left: BTreeMap<u64, Left> = salvaged.runs.iter().filter_map(of).collect();
        if !rewrite(log, source, salvaged.runs, &left, &rewriting)? {
            return Err(in_use());
        }
        let mut replaced = damage.split_off(&indexes.start);
        damage.append(&mut replaced.split_off(&indexes.end));
        for index in replaced {
            log.is_right_again(index)?;
        }
    }
    // A segment without offsets is not closed.
    for index in damage {
        let stub = log.stubs(index, index + 1)?.first().copied().ok_or(io::ErrorKind::NotFound)?;
        let kind = without_batch(log, index, EntryKind::Void);
        wait(&|done| log.mend_record(index, EntryMeta { kind, ..stub.meta }, done))?;
    }
    Ok(())
}

/// What an entry was that has no batch and takes no offsets: the store has the memberships.
fn without_batch(log: &PartitionLog, index: u64, assumed: EntryKind) -> EntryKind {
    match log.membership(index) {
        Ok(_) if assumed == EntryKind::Void => EntryKind::Membership,
        _ => assumed,
    }
}

/// The marker that an entry was, as far as that can be known: without it, who reads would wait for
/// the end of its transaction, or take what its producer has written later for aborted as well.
fn marker_again(log: &PartitionLog, files: &SegmentFiles, meta: &EntryMeta) -> Option<Batch> {
    if meta.kind != EntryKind::Batch {
        return None;
    }
    corrected(files, meta).filter(|batch| Marker::of(batch).is_some()).or_else(|| {
        let offset = meta.base_offset;
        let mut aborted = log.aborted_between(offset, offset + 1).into_iter();
        let ended = aborted.find(|one| one.last_offset == offset)?;
        let producers = log.last_of_producers();
        let epoch = producers.get(&ended.producer_id).map_or(0, |last| last.epoch);
        let marker = Marker { ending: Ending::Aborted, coordinator_epoch: 0 };
        let mut batch = marker.batch(ended.producer_id, epoch, NO_TIMESTAMP_MS)?;
        batch.assign(offset, EntryId { term: meta.term, index: 0 }.leader_epoch());
        Some(batch)
    })
}

/// A batch as small as a marker of which one bit is wrong. A checksum of 32 bits finds it: two
/// batches of that size with valid checksums differ in at least six.
fn corrected(files: &SegmentFiles, meta: &EntryMeta) -> Option<Batch> {
    let size = usize::try_from(meta.size).ok().filter(|size| *size <= CORRECTED_BYTES_MAX)?;
    let mut bytes = vec![0; size];
    read_exact_at(files.log.as_ref(), &mut bytes, meta.position.into()).ok()?;
    // The checksum does not cover these; the record of the entry says what they were.
    let length = u32::try_from(size.checked_sub(LENGTH_PREFIX_BYTES)?).ok()?;
    let epoch = EntryId { term: meta.term, index: 0 }.leader_epoch();
    let mut head = BytesMut::with_capacity(CHECKSUM_AT);
    head.put_i64(meta.base_offset);
    head.put_u32(length);
    head.put_i32(epoch);
    head.put_i8(MAGIC);
    bytes.get_mut(..CHECKSUM_AT)?.copy_from_slice(&head);
    let take = |bytes: &[u8]| {
        let batch = Batch::take(&mut Bytes::copy_from_slice(bytes)).ok();
        batch.filter(|batch| meta.is_of(batch.header()))
    };
    if let Some(batch) = take(&bytes) {
        return Some(batch);
    }
    (CHECKSUM_AT * 8..size * 8).find_map(|bit| {
        let mask = 1 << (bit % 8);
        *bytes.get_mut(bit / 8)? ^= mask;
        let batch = take(&bytes);
        *bytes.get_mut(bit / 8)? ^= mask;
        batch
    })
}

/// Puts what another replica has of damaged batches into their places, in segments that are written
/// anew: the batch itself, or what that replica's cleaner has left of it, where that is the same to
/// whoever reads. It is if this log has been cleaned beyond the batch, so that nothing older of its
/// keys is here that a tombstone in it would have to hide, and the other one has no more of it.
/// Done for closed segments of which nothing else is damaged; returns the entries. Blocks.
pub fn replace_damaged(
    log: &Arc<PartitionLog>,
    found: &BTreeMap<u64, Left>,
) -> io::Result<Vec<u64>> {
    let mut replaced = Vec::new();
    let Some(rewriting) = log.try_rewriting() else { return Ok(replaced) };
    let (cleaned_to, committed) = (log.cleaned_to()?, log.offsets().high_watermark);
    let damage = log.damage();
    for source in log.closed_segments(Offset::MAX) {
        let indexes = source.base_index..source.next_index;
        if found.range(indexes.clone()).next().is_none() || source.facts.end_offset > committed {
            continue;
        }
        let runs = metas::read_runs(&source.files, indexes.start, indexes.clone(), u64::MAX)?;
        let known_to = runs.last().map_or(indexes.start, Run::end_index);
        if known_to < indexes.end {
            // What is behind that must not get lost.
            log.note_damage(known_to);
            continue;
        }
        let is_less = |meta: &EntryMeta, left: &Left| match left {
            Left::Nothing => true,
            Left::Changed(batch) => {
                let size = u32::try_from(batch.size()).unwrap_or(u32::MAX);
                size < meta.size && EntryMeta { size, ..*meta }.is_of(batch.header())
            }
            Left::Same => false,
        };
        let fits = |Run { index, meta, .. }: &Run| {
            let left = found.get(index)?;
            if matches!(left, Left::Changed(batch) if meta.is_of(batch.header())) {
                return Some((*index, left.clone()));
            }
            let is_cleaned = meta.next_offset() <= cleaned_to;
            let is_marker = matches!(left, Left::Changed(batch) if Marker::of(batch).is_some());
            let left = match marker_again(log, &source.files, meta).filter(|_| !is_marker) {
                Some(marker) => Some(Left::Changed(marker)),
                None => is_less(meta, left).then(|| left.clone()),
            };
            Some((*index, left.filter(|_| is_cleaned)?))
        };
        let left: BTreeMap<u64, Left> = runs.iter().filter_map(fits).collect();
        if left.is_empty() || damage.range(indexes).any(|index| !left.contains_key(index)) {
            continue;
        }
        if rewrite(log, source, runs, &left, &rewriting)? {
            for index in left.into_keys() {
                log.is_right_again(index)?;
                replaced.push(index);
            }
        }
    }
    Ok(replaced)
}

#[cfg(test)]
mod tests;

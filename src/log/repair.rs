//! What is damaged in a log, and that log without it or with what another replica has left of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::base::ids::Offset;
use crate::log::cleaner::rewrite;
use crate::log::entry::{EntryKind, EntryMeta};
use crate::log::flusher::Completion;
use crate::log::metas;
use crate::log::partition_log::PartitionLog;
use crate::log::records::filter::Left;

/// What is read at once.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

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
    // Only closed segments are replaced.
    wait(&|done| log.roll_now(done))?;
    let damage = log.damage();
    for source in log.closed_segments(Offset::MAX) {
        let indexes = source.base_index..source.next_index;
        if damage.range(indexes.clone()).next().is_none() {
            continue;
        }
        let end_offset = Some(source.facts.end_offset);
        let salvaged = metas::salvage(&source.files, indexes, end_offset)?;
        let left = |index| damage.contains(&index).then_some(Left::Nothing);
        if !rewrite(log, source, salvaged.metas, left)? {
            return Err(io::Error::other("the log is in use"));
        }
    }
    damage.iter().for_each(|index| log.forget_damage(*index));
    Ok(())
}

/// Puts what another replica's cleaner has left of damaged batches into their places, where that
/// is the same to whoever reads: this log has been cleaned beyond the batch, so nothing older of
/// its keys is here that a tombstone in it would have to hide, and the other one has no more of it.
/// Done for closed segments of which nothing else is damaged; returns the entries. Blocks.
pub fn replace_damaged(
    log: &Arc<PartitionLog>,
    found: &BTreeMap<u64, Left>,
) -> io::Result<Vec<u64>> {
    let (cleaned_to, committed) = (log.cleaned_to()?, log.offsets().high_watermark);
    let mut replaced = Vec::new();
    for source in log.closed_segments(cleaned_to) {
        let indexes = source.base_index..source.next_index;
        if found.range(indexes.clone()).next().is_none() || source.facts.end_offset > committed {
            continue;
        }
        let metas = metas::read_metas(&source.files, indexes.start, indexes.start, indexes.end)?;
        let is_less = |meta: &EntryMeta, left: &Left| match left {
            Left::Nothing => true,
            Left::Changed(batch) => {
                let size = u32::try_from(batch.size()).unwrap_or(u32::MAX);
                size < meta.size && EntryMeta { size, ..*meta }.is_of(batch.header())
            }
            Left::Same => false,
        };
        let fits = |(meta, index): (&EntryMeta, u64)| {
            let left = found.get(&index)?;
            let is_cleaned = meta.next_offset() <= cleaned_to;
            (is_cleaned && is_less(meta, left)).then(|| (index, left.clone()))
        };
        let left: BTreeMap<u64, Left> = metas.iter().zip(indexes).filter_map(fits).collect();
        if !left.is_empty() && rewrite(log, source, metas, |index| left.get(&index).cloned())? {
            left.keys().for_each(|index| log.forget_damage(*index));
            replaced.extend(left.into_keys());
        }
    }
    Ok(replaced)
}

#[cfg(test)]
mod tests;

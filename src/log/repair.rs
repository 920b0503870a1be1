//! What is damaged in a log that no broker has open, and that log without it.

use std::io;
use std::sync::Arc;

use crate::base::ids::Offset;
use crate::log::cleaner::rewrite;
use crate::log::flusher::Completion;
use crate::log::metas;
use crate::log::partition_log::PartitionLog;

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
        Ok(stubs) => stubs.first().map(|stub| Finding::Batch {
            first: stub.meta.base_offset,
            last: stub.meta.next_offset() - 1,
            bytes: stub.meta.size,
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
        let drops = |index: &u64| damage.contains(index);
        if !rewrite(log, source, salvaged.metas, drops)? {
            return Err(io::Error::other("the log is in use"));
        }
    }
    damage.iter().for_each(|index| log.forget_damage(*index));
    Ok(())
}

#[cfg(test)]
mod tests;

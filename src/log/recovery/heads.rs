//! The heads of `.raft` files that are damaged. A head is synced before anything in its segment is
//! relied upon: without a valid one the segment was being begun when the power failed, and nothing
//! in it was ever reported, or the file is damaged. Then the records behind the head, whose
//! checksums cover their indexes, and the segments beside it tell what the head said.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::log::entry::EntryId;
use crate::log::metas;
use crate::log::run::{RECORD_BYTES, Run};
use crate::log::segment::{DurableNote, RaftHead, SegmentFiles};

/// Indexes that are tried for the first one of a log.
const GUESSES_COUNT_MAX: u64 = 1 << 22;

/// A segment that is found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) files: Arc<SegmentFiles>,
    pub(super) head: Option<RaftHead>,
    /// The head on disk is damaged.
    pub(super) is_restored: bool,
    /// Nothing is known of its entries any more.
    pub(super) is_lost: bool,
}

impl Found {
    pub(super) fn read(files: SegmentFiles) -> io::Result<Self> {
        let head = files.read_raft_head()?;
        Ok(Self { files: Arc::new(files), head, is_restored: false, is_lost: false })
    }
}

/// Finds out what the damaged heads said, as far as that can be known. With `salvage`, what cannot
/// is assumed.
pub(super) fn restore(
    found: &mut [Found],
    purged: Option<EntryId>,
    salvage: bool,
) -> io::Result<()> {
    for at in 0..found.len() {
        let (before, rest) = found.split_at_mut(at);
        let Some((this, behind)) = rest.split_first_mut() else { break };
        if this.head.is_some() {
            continue;
        }
        let before = before.last();
        let was_relied_upon =
            before.is_none_or(|before| before.head.map_or(before.is_lost, |head| head.note.rolled));
        let before = before.and_then(|before| before.head);
        let next = behind.first().and_then(|next| next.head);
        // Nothing is written behind a segment before it is closed.
        let mut is_closed = behind.iter().any(|later| later.head.is_some());
        for later in behind.iter() {
            is_closed |= !later.files.log.is_empty()?;
        }
        let count = metas::count(&this.files)?;
        let is_begun = count == 0 && this.files.log.is_empty()?;
        if let (true, 0, true, Some(purged)) = (behind.is_empty(), at, is_begun, purged) {
            let base_index = purged.index + 1;
            this.head = Some(RaftHead { base_index, note: DurableNote::default() });
            this.is_restored = true;
        }
        if count == 0 || !(was_relied_upon || is_closed) {
            continue;
        }
        let bytes = metas::read_raw(&this.files, 0, count)?;
        // The last record says of how many entries they are, if it is not damaged itself.
        let claimed = bytes.chunks_exact(RECORD_BYTES).last().and_then(Run::claimed_end);
        let entries = claimed.filter(|claimed| *claimed >= count).unwrap_or(count);
        let ends = before.map(|before| before.note.end_index);
        let begins = |count| next.map(|next| next.base_index.saturating_sub(count));
        let first = purged.filter(|_| at == 0).map_or(0, |purged| purged.index + 1);
        let guesses = ends.into_iter().chain(begins(entries)).chain(begins(count));
        let guesses = guesses.map(|index| index..=index);
        let reach = entries.min(GUESSES_COUNT_MAX);
        let guesses = guesses.chain((at == 0).then(|| first.saturating_sub(reach)..=first));
        let guesses: Vec<RangeInclusive<u64>> = guesses.collect();
        let known = guesses.iter().cloned().find_map(|guess| fits(guess, &bytes, &this.files));
        let base_index = match known {
            Some(base_index) => base_index,
            None if salvage => guesses.first().map_or(0, |guess| *guess.end()),
            None => {
                this.is_lost = true;
                continue;
            }
        };
        let is_whole = is_closed || salvage;
        let mut note = note(base_index, &bytes, &this.files, is_whole)?;
        note.rolled = is_closed;
        tracing::error!(file = %this.files.path("raft").display(), "the head is damaged");
        this.head = Some(RaftHead { base_index, note });
        this.is_restored = true;
    }
    Ok(())
}

/// The first index of those for which records are valid.
fn fits(guesses: RangeInclusive<u64>, bytes: &[u8], files: &SegmentFiles) -> Option<u64> {
    let count = bytes.len() / RECORD_BYTES;
    // Damage is seldom everywhere.
    let probes = [count - 1, count / 2, count / 4, 3 * count / 4, 0];
    let is_valid = |base_index: &u64| {
        let origin = files.origin(*base_index);
        probes.iter().any(|at| {
            let record = bytes.get(at * RECORD_BYTES..).unwrap_or_default();
            Run::decode(&origin, record).is_some()
        })
    };
    guesses.rev().find(is_valid)
}

/// How far the segment is on disk: wholly, if another one follows. Else so far as its records are
/// valid; of those that are not at the beginning, it is the damage.
fn note(
    base_index: u64,
    bytes: &[u8],
    files: &SegmentFiles,
    is_whole: bool,
) -> io::Result<DurableNote> {
    let origin = files.origin(base_index);
    let runs: Vec<Option<Run>> = Run::decode_all(origin, bytes).collect();
    let first = runs.iter().position(Option::is_some).unwrap_or(runs.len());
    let valid = runs.iter().skip(first).take_while(|run| run.is_some()).count();
    let last = runs.get(..first + valid).and_then(|runs| runs.last().copied().flatten());
    // Those of which nothing is known behind the last that is are one entry each.
    let known = runs.iter().rposition(Option::is_some);
    let behind = runs.len() - known.map_or(0, |at| at + 1);
    let known = known.and_then(|at| runs.get(at).copied().flatten());
    Ok(match is_whole {
        true => DurableNote {
            position: u32::try_from(files.log.len()?).map_err(io::Error::other)?,
            end_index: known.map_or(base_index, |run| run.end_index()) + behind as u64,
            ..DurableNote::default()
        },
        false => DurableNote {
            position: last.map_or(0, |last| last.meta.end_position()),
            end_index: last.map_or(base_index, |last| last.end_index()),
            ..DurableNote::default()
        },
    })
}

//! The look-ups of ListOffsets: by timestamp, and for the largest one.

use std::io;

use crate::base::ids::Offset;
use crate::log::batch::BatchHeader;
use crate::log::entry::EntryMeta;
use crate::log::partition_log::PartitionLog;
use crate::log::partition_log::check::damaged;
use crate::log::partition_log::find::Place;
use crate::log::partition_log::read::{LogSlice, ReadError};
use crate::log::records;
use crate::log::segment::Segment;

/// Of a larger batch the first record's time is taken for all.
const BATCH_WALKED_BYTES_MAX: u32 = 1024 * 1024;

/// A timestamp in ms, and the last offset of the batch that has it.
type Newest = Option<(i64, Offset)>;

impl PartitionLog {
    /// The first committed record whose timestamp is at least `timestamp_ms`: its timestamp and
    /// offset. Blocks.
    pub fn offset_for_timestamp(&self, timestamp_ms: i64) -> io::Result<Option<(i64, Offset)>> {
        let log_start = self.offsets().log_start;
        let mut from = log_start;
        while let Some((place, floor)) = self.time_place(timestamp_ms, from) {
            let floor = floor.max(log_start);
            let mut index = self
                .partition_point(&place, place.first_index(), |meta| meta.next_offset() <= floor)?;
            while let Some((found, meta)) = self.next_batch(&place, index)? {
                let batch = self.read_batch(&place.files, found, &meta)?;
                if batch.header().max_timestamp_ms >= timestamp_ms {
                    let first =
                        records::first_at_or_after(&batch.to_bytes(), timestamp_ms, log_start)?;
                    if first.is_some() {
                        return Ok(first);
                    }
                }
                // Compaction may have left other records of the batch, or none.
                index = found + 1;
            }
            match place.next {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(None)
    }

    /// The timestamp of the first committed record from `offset` on. Blocks.
    pub fn timestamp_at(&self, offset: Offset) -> io::Result<Option<i64>> {
        let mut from = offset;
        loop {
            let (place, first_index, meta) = match self.find(from) {
                Ok(Some(found)) => found,
                Ok(None) | Err(ReadError::OutOfRange) => return Ok(None),
                Err(ReadError::Damaged) => return Err(damaged()),
                Err(ReadError::Io(error)) => return Err(error),
            };
            let header = place.files.batch_header(meta.position)?;
            let header = header.filter(|header| meta.is_of(header)).ok_or_else(damaged)?;
            let slice = place.slice(meta.position, meta.size, first_index);
            if let Some(time_ms) = first_time(&header, &slice, from)? {
                return Ok(Some(time_ms));
            }
            // Compaction has left nothing behind `from` in this batch.
            from = header.last_offset() + 1;
        }
    }

    /// The first segment from offset `from` on that may hold the timestamp, and an offset from
    /// which to search in it.
    fn time_place(&self, timestamp_ms: i64, from: Offset) -> Option<(Place, Offset)> {
        let state = self.lock();
        let first = state.segments.partition_point(|s| s.base_offset <= from).saturating_sub(1);
        let candidates = state.segments.iter().enumerate().skip(first);
        let may_hold = |s: &Segment| s.max_timestamp.is_some_and(|(max, _)| max >= timestamp_ms);
        let (at, segment) = candidates.into_iter().find(|(_, segment)| may_hold(segment))?;
        let floor = segment.time_index.floor(segment.base_offset, timestamp_ms);
        Some((Place::of(&state, at, segment), floor))
    }

    /// The largest timestamp of the committed records and the offset of the first record that has
    /// it (KIP-734). Blocks.
    pub fn max_timestamp(&self) -> io::Result<Option<(i64, Offset)>> {
        let (mut best, parts) = self.known_maxima();
        for (place, from) in parts {
            let is_before = |meta: &EntryMeta| meta.next_offset() <= from;
            let mut index = self.partition_point(&place, place.first_index(), is_before)?;
            while let Some((found, meta)) = self.next_batch(&place, index)? {
                let header = place.files.batch_header(meta.position)?;
                let header = header.filter(|header| meta.is_of(header)).ok_or_else(damaged)?;
                let newest_ms = header.newest_ms().filter(|newest_ms| *newest_ms >= 0);
                best = later(best, newest_ms.map(|newest_ms| (newest_ms, header.last_offset())));
                index = found + 1;
            }
        }
        let Some((max_ms, _)) = best else { return Ok(None) };
        // A batch may say more of its records than is true.
        Ok(self.offset_for_timestamp(max_ms)?.or(best))
    }

    /// The largest timestamp so far as it is known, and what is to be read for the rest: where a
    /// segment's own is below the log start or not committed yet, and from which offset on.
    fn known_maxima(&self) -> (Newest, Vec<(Place, Offset)>) {
        let state = self.lock();
        let visible = state.log_start_offset..state.high_watermark;
        let (mut best, mut parts) = (None, Vec::new());
        for (at, segment) in state.segments.iter().enumerate() {
            match segment.max_timestamp {
                Some((_, offset)) if !visible.contains(&offset) => {
                    let before = segment.time_index.last_before(segment.base_offset, visible.end);
                    let before = before.filter(|(_, offset)| visible.contains(offset));
                    best = later(best, before);
                    let from = before.map_or(visible.start, |(_, offset)| offset + 1);
                    parts.push((Place::of(&state, at, segment), from));
                }
                known => best = later(best, known),
            }
        }
        (best, parts)
    }
}

/// The one with the larger timestamp, or the first of two.
fn later(one: Newest, other: Newest) -> Newest {
    match (one, other) {
        (Some((first, _)), Some((second, _))) if second > first => other,
        _ => one.or(other),
    }
}

/// The timestamp of a batch's first record from `offset` on.
fn first_time(header: &BatchHeader, batch: &LogSlice, offset: Offset) -> io::Result<Option<i64>> {
    let begins_behind = header.base_offset >= offset || batch.size > BATCH_WALKED_BYTES_MAX;
    if header.record_count == 0 {
        Ok(None)
    } else if begins_behind && header.is_log_append_time() {
        Ok(Some(header.max_timestamp_ms))
    } else if begins_behind && header.delete_horizon_ms().is_none() {
        Ok(Some(header.base_timestamp_ms))
    } else {
        let found = records::first_at_or_after(&batch.read()?, i64::MIN, offset)?;
        Ok(found.map(|(time_ms, _)| time_ms))
    }
}

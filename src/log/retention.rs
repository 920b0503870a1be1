//! What retention drops: a decision about a log's segments, oldest first, as Kafka takes it
//! (`UnifiedLog.deleteOldSegments`). Only whole segments go, and only what is committed.

use crate::base::ids::Offset;

/// A segment as retention sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFacts {
    pub base_offset: Offset,
    /// One past its last offset.
    pub end_offset: Offset,
    pub bytes: u64,
    /// Of its records; `None` if it holds none, or if that is not known.
    pub newest_ms: Option<i64>,
}

/// `retention.ms` and `retention.bytes`; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub age_ms: Option<i64>,
    pub bytes: Option<u64>,
}

/// The offset at which the log is to start, which is that of a segment or the end of the log.
pub fn log_start(
    segments: &[SegmentFacts],
    limits: Limits,
    now_ms: i64,
    high_watermark: Offset,
) -> Option<Offset> {
    let mut surplus = limits.bytes.map(|bytes| {
        let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        total.saturating_sub(bytes)
    });
    let mut is_dropped = |segment: &&SegmentFacts| {
        if segment.bytes == 0 {
            return true;
        }
        let age_ms = segment.newest_ms.map(|newest_ms| now_ms.saturating_sub(newest_ms));
        let is_old = age_ms.zip(limits.age_ms).is_some_and(|(age_ms, max_ms)| age_ms > max_ms);
        // What is dropped for its age makes the log smaller, too.
        let is_surplus = surplus.is_some_and(|surplus| surplus >= segment.bytes);
        if let Some(surplus) = &mut surplus {
            *surplus = surplus.saturating_sub(segment.bytes);
        }
        segment.end_offset <= high_watermark && (is_old || is_surplus)
    };
    let dropped = segments.iter().take_while(|segment| is_dropped(segment));
    dropped.filter(|segment| segment.bytes > 0).last().map(|segment| segment.end_offset)
}

#[cfg(test)]
mod tests;

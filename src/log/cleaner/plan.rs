//! What of a log is to be cleaned, and when (Kafka's `LogCleanerManager` and `LogToClean`).

use crate::base::ids::Offset;
use crate::log::retention::SegmentFacts;

/// What a topic's configuration says of compaction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// `min.cleanable.dirty.ratio`.
    pub min_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_lag_ms: i64,
}

/// The part of a log that has not been cleaned yet and may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dirty {
    pub first: Offset,
    /// One past its last offset, where a segment ends.
    pub end: Offset,
    pub clean_bytes: u64,
    pub dirty_bytes: u64,
}

impl Dirty {
    /// The part of the cleanable bytes that is dirty.
    pub fn ratio(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let (dirty, all) = (self.dirty_bytes as f64, (self.clean_bytes + self.dirty_bytes) as f64);
        if all > 0.0 { dirty / all } else { 0.0 }
    }

    /// Whether it is time to clean. `since_ms` is when the oldest of it was made.
    pub fn is_due(&self, policy: &Policy, since_ms: Option<i64>, now_ms: i64) -> bool {
        let latest_ms = now_ms.saturating_sub(policy.max_lag_ms);
        self.ratio() > policy.min_dirty_ratio || since_ms.is_some_and(|since| since < latest_ms)
    }
}

/// The dirty part of a log that is clean up to `first_dirty`: whole closed segments of records
/// below the last stable offset, `decided`, that are older than `min.compaction.lag.ms`. `None` if
/// there is none.
pub fn dirty(
    segments: &[SegmentFacts],
    first_dirty: Offset,
    decided: Offset,
    now_ms: i64,
    policy: &Policy,
) -> Option<Dirty> {
    let (_active, closed) = segments.split_last()?;
    let newest_ms = now_ms.saturating_sub(policy.min_lag_ms);
    let may_be_cleaned = |segment: &&SegmentFacts| {
        let is_old = segment.newest_ms.is_none_or(|newest| newest <= newest_ms);
        segment.end_offset <= decided && (policy.min_lag_ms == 0 || is_old)
    };
    let cleanable = closed.iter().take_while(may_be_cleaned);
    let (mut clean_bytes, mut dirty_bytes) = (0, 0);
    let mut range: Option<(Offset, Offset)> = None;
    for segment in cleanable {
        if segment.end_offset <= first_dirty {
            clean_bytes += segment.bytes;
            continue;
        }
        dirty_bytes += segment.bytes;
        let (first, _) = range.unwrap_or_else(|| (segment.base_offset.max(first_dirty), 0));
        range = Some((first, segment.end_offset));
    }
    let (first, end) = range?;
    Some(Dirty { first, end, clean_bytes, dirty_bytes })
}

/// Which neighbours become one segment: as many as make no more than `bytes_max`, and whose offsets
/// an index of the first one can tell. Returns the number of segments of each group.
pub(super) fn groups(segments: &[SegmentFacts], bytes_max: u64) -> Vec<usize> {
    let mut groups: Vec<usize> = Vec::new();
    let (mut bytes, mut base_offset) = (0, 0);
    for segment in segments {
        let span = segment.end_offset - base_offset;
        let fits = bytes + segment.bytes <= bytes_max && span <= i64::from(i32::MAX);
        match groups.last_mut().filter(|_| fits) {
            Some(count) => *count += 1,
            None => {
                groups.push(1);
                (bytes, base_offset) = (0, segment.base_offset);
            }
        }
        bytes += segment.bytes;
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy { min_dirty_ratio: 0.5, min_lag_ms: 0, max_lag_ms: i64::MAX };

    /// Segments of ten offsets each, with these sizes, made in this order, a minute apart.
    fn segments(sizes: &[u64]) -> Vec<SegmentFacts> {
        let facts = sizes.iter().zip(0..).map(|(bytes, number)| SegmentFacts {
            base_offset: number * 10,
            end_offset: number * 10 + 10,
            bytes: *bytes,
            newest_ms: Some(number * 60_000),
        });
        facts.collect()
    }

    #[test]
    fn the_active_segment_and_what_is_not_committed_stay() {
        let segments = segments(&[100, 100, 100, 100]);
        let all = dirty(&segments, 0, 40, 0, &POLICY).expect("dirty");
        assert_eq!((all.first, all.end, all.dirty_bytes), (0, 30, 300));
        let some = dirty(&segments, 10, 25, 0, &POLICY).expect("dirty");
        assert_eq!((some.first, some.end), (10, 20));
        assert_eq!((some.clean_bytes, some.dirty_bytes), (100, 100));
        assert_eq!(dirty(&segments, 30, 40, 0, &POLICY), None);
        assert_eq!(dirty(&segments, 0, 9, 0, &POLICY), None);
        assert_eq!(dirty(&segments[..1], 0, 10, 0, &POLICY), None);
        assert_eq!(dirty(&[], 0, 10, 0, &POLICY), None);
    }

    #[test]
    fn what_is_younger_than_the_lag_stays() {
        let segments = segments(&[100, 100, 100, 100]);
        let policy = Policy { min_lag_ms: 60_000, ..POLICY };
        let found = dirty(&segments, 0, 40, 120_000, &policy).expect("dirty");
        assert_eq!((found.first, found.end), (0, 20));
        assert_eq!(dirty(&segments, 0, 40, 59_999, &policy), None);
    }

    #[test]
    fn it_is_time_when_much_is_dirty_or_for_long() {
        let dirty =
            |clean_bytes, dirty_bytes| Dirty { first: 0, end: 10, clean_bytes, dirty_bytes };
        assert!(!dirty(50, 50).is_due(&POLICY, Some(0), 1_000_000));
        assert!(dirty(49, 51).is_due(&POLICY, Some(0), 0));
        assert!(!dirty(0, 0).is_due(&POLICY, None, 1_000_000));
        let policy = Policy { max_lag_ms: 1_000, ..POLICY };
        assert!(!dirty(99, 1).is_due(&policy, Some(5_000), 6_000));
        assert!(dirty(99, 1).is_due(&policy, Some(5_000), 6_001));
        assert!(!dirty(99, 1).is_due(&policy, None, 6_001));
    }

    proptest! {
        #[test]
        fn groups_are_neighbours_that_fit(
            sizes in proptest::collection::vec(0_u64..150, 0..30),
        ) {
            let segments = segments(&sizes);
            let groups = groups(&segments, 200);
            prop_assert_eq!(groups.iter().sum::<usize>(), segments.len());
            let mut rest = &segments[..];
            for (at, count) in groups.iter().enumerate() {
                let (group, behind) = rest.split_at(*count);
                let bytes: u64 = group.iter().map(|segment| segment.bytes).sum();
                prop_assert!(*count > 0 && bytes <= 200);
                if let Some(next) = behind.first() {
                    prop_assert!(bytes + next.bytes > 200, "group {at} could take one more");
                }
                rest = behind;
            }
        }
    }

    #[test]
    fn an_index_tells_31_bits_of_offsets() {
        let mut segments = segments(&[1, 1, 1]);
        segments[1].base_offset = 1 << 20;
        segments[1].end_offset = 1 << 31;
        (segments[2].base_offset, segments[2].end_offset) = (1 << 31, (1 << 31) + 10);
        assert_eq!(groups(&segments, 100), [1, 2]);
    }
}

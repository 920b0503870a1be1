//! What goes and what stays, in examples and against what must hold for any log.

use proptest::prelude::*;

use super::*;

const NONE: Limits = Limits { age_ms: None, bytes: None };

/// Segments of ten records each, by size and newest timestamp.
fn log(segments: &[(u64, i64)]) -> Vec<SegmentFacts> {
    let place = |(number, (bytes, newest)): (i64, &(u64, i64))| SegmentFacts {
        base_offset: number * 10,
        end_offset: number * 10 + 10,
        bytes: *bytes,
        newest_ms: (*bytes > 0).then_some(*newest),
    };
    (0..).zip(segments).map(place).collect()
}

fn age(age_ms: i64) -> Limits {
    Limits { age_ms: Some(age_ms), ..NONE }
}

fn size(bytes: u64) -> Limits {
    Limits { bytes: Some(bytes), ..NONE }
}

#[test]
fn without_limits_all_stays() {
    assert_eq!(log_start(&log(&[(100, 0), (100, 0)]), NONE, i64::MAX, 20), None);
}

#[test]
fn old_segments_go_until_one_is_young() {
    let segments = log(&[(100, 10), (100, 20), (100, 90), (100, 15)]);
    assert_eq!(log_start(&segments, age(50), 60, 40), None, "not older than allowed");
    assert_eq!(log_start(&segments, age(50), 61, 40), Some(10));
    assert_eq!(log_start(&segments, age(50), 80, 40), Some(20), "the last one waits for the third");
    assert_eq!(log_start(&segments, age(50), 141, 40), Some(40), "even the one that is written to");
}

#[test]
fn a_log_keeps_at_least_its_size() {
    let segments = log(&[(100, 0), (50, 0), (100, 0), (10, 0)]);
    assert_eq!(log_start(&segments, size(260), 0, 40), None);
    assert_eq!(log_start(&segments, size(161), 0, 40), None, "one less would be too few");
    assert_eq!(log_start(&segments, size(160), 0, 40), Some(10));
    assert_eq!(log_start(&segments, size(111), 0, 40), Some(10));
    assert_eq!(log_start(&segments, size(0), 0, 40), Some(40));
}

/// Of which it is not known how old it is, goes by size only.
#[test]
fn segments_without_times_go_by_size() {
    let mut segments = log(&[(100, 0), (50, 0), (100, 0)]);
    segments[0].newest_ms = None;
    assert_eq!(log_start(&segments, age(1), 99, 30), None);
    assert_eq!(log_start(&segments, size(150), 99, 30), Some(10));
}

#[test]
fn what_is_not_committed_stays() {
    let segments = log(&[(100, 0), (100, 0)]);
    assert_eq!(log_start(&segments, age(1), 99, 19), Some(10));
    assert_eq!(log_start(&segments, size(0), 99, 9), None);
}

#[test]
fn an_empty_log_has_nothing_to_drop() {
    assert_eq!(log_start(&log(&[(0, 0)]), age(0), i64::MAX, 0), None);
    assert_eq!(log_start(&log(&[(10, 5), (0, 0)]), age(0), 6, 20), Some(10));
}

proptest! {
    #[test]
    fn enough_stays_and_what_goes_had_to(
        segments in prop::collection::vec((1u64..1000, 0i64..1000), 1..20),
        age_ms in prop::option::of(0i64..1000),
        bytes in prop::option::of(0u64..5000),
        now_ms in 0i64..2000,
        committed in 0i64..200,
    ) {
        let segments = log(&segments);
        let limits = Limits { age_ms, bytes };
        let start = log_start(&segments, limits, now_ms, committed).unwrap_or(0);
        prop_assert!(start <= committed);
        let from = |offset| -> u64 {
            segments.iter().filter(|s| s.base_offset >= offset).map(|s| s.bytes).sum()
        };
        let gone = segments.iter().filter(|s| s.base_offset < start);
        let is_old = |s: &SegmentFacts| {
            age_ms.is_some_and(|age| now_ms - s.newest_ms.unwrap() > age)
        };
        for segment in gone {
            let stayed = from(segment.end_offset);
            prop_assert!(is_old(segment) || bytes.is_some_and(|bytes| stayed >= bytes));
        }
        // The next one, if it is committed, may stay.
        if let Some(next) = segments.iter().find(|s| s.base_offset == start)
            && next.end_offset <= committed
        {
            prop_assert!(!is_old(next));
            prop_assert!(bytes.is_none_or(|bytes| from(next.end_offset) < bytes));
        }
    }
}

//! Batches that say something else of their records than what they are; every answer here was seen
//! from Apache Kafka 4.3.1, but for the codes of what can not be read.

use super::*;
use crate::log::batch::Kept;
use crate::log::records::build::{NewRecord, batch as built, put_varint};
use crate::log::records::in_codec;

const NOW_MS: i64 = 1_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const LOG_APPEND_TIME: i16 = 1 << 3;

/// Records with these timestamps, in a batch whose header says `max_ms` of them.
fn stamped(timestamps_ms: &[i64], max_ms: i64, codec: i16) -> Batch {
    let one = NewRecord { key: "k".into(), value: None };
    let shape = built(&vec![one; timestamps_ms.len()], 0).expect("a batch");
    let base_ms = timestamps_ms[0];
    let mut body = Vec::new();
    for (delta, timestamp_ms) in (0..).zip(timestamps_ms) {
        let mut record = vec![0];
        put_varint(&mut record, timestamp_ms - base_ms);
        put_varint(&mut record, delta);
        record.extend_from_slice(b"\x02k\x01\x00");
        put_varint(&mut body, i64::try_from(record.len()).unwrap());
        body.extend_from_slice(&record);
    }
    let kept = Kept {
        record_count: i32::try_from(timestamps_ms.len()).unwrap(),
        base_timestamp_ms: base_ms,
        base_is_delete_horizon: false,
        max_timestamp_ms: max_ms,
    };
    in_codec(&shape.with_some_records(body.into(), &kept), codec)
}

fn with_attributes(batch: &Batch, attributes: i16) -> Bytes {
    let mut bytes = batch.to_bytes().to_vec();
    bytes[21..23].copy_from_slice(&(batch.header().attributes | attributes).to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    bytes.into()
}

fn limited() -> TopicConfig {
    TopicConfig {
        message_timestamp_after_max_ms: HOUR_MS,
        message_timestamp_before_max_ms: HOUR_MS,
        ..TopicConfig::default()
    }
}

#[test]
fn each_timestamp_is_looked_at() {
    let config = limited();
    for codec in [0, 1, 4] {
        for (index, timestamp_ms) in [(1, NOW_MS + 2 * HOUR_MS), (2, NOW_MS - 2 * HOUR_MS)] {
            let mut timestamps_ms = [NOW_MS; 3];
            timestamps_ms[index] = timestamp_ms;
            // The header says that all is well.
            let sent = stamped(&timestamps_ms, NOW_MS, codec);
            let refused = batch(sent.to_bytes(), &config, NOW_MS);
            let Err(Invalid::Records(records)) = refused else { panic!("{refused:?}") };
            assert_eq!(records.count, 1);
            let [record] = records.first[..] else { panic!("{records:?}") };
            assert_eq!(record.index, i32::try_from(index).unwrap());
            let (oldest_ms, newest_ms) = (NOW_MS - HOUR_MS, NOW_MS + HOUR_MS);
            let expected = format!(
                "Timestamp {timestamp_ms} of message with offset {index} is out of range. \
                 The timestamp should be within [{oldest_ms}, {newest_ms}]"
            );
            assert_eq!(records.reason(&record, &"t-0"), expected);
        }
    }
}

/// What the header says makes the broker look, and the records decide.
#[test]
fn a_header_of_the_future_is_not_believed_either() {
    let config = TopicConfig { message_timestamp_after_max_ms: HOUR_MS, ..TopicConfig::default() };
    for codec in [0, 1, 4] {
        let future_ms = NOW_MS + 2 * HOUR_MS;
        let sent = stamped(&[NOW_MS, future_ms, NOW_MS], future_ms, codec);
        let refused = batch(sent.to_bytes(), &config, NOW_MS);
        let Err(Invalid::Records(records)) = refused else { panic!("{refused:?}") };
        let expected = WrongRecord { index: 1, why: Wrong::Timestamp(future_ms) };
        assert_eq!(records.first, [expected]);

        let lies = stamped(&[NOW_MS; 3], future_ms, codec);
        let taken = batch(lies.to_bytes(), &config, NOW_MS).expect("taken");
        assert_eq!(taken.header().max_timestamp_ms, NOW_MS);
    }
}

#[test]
fn the_header_gets_the_largest_timestamp_that_there_is() {
    for codec in [0, 1, 4] {
        for lie_ms in [NOW_MS - 700, NOW_MS + 700] {
            let sent = stamped(&[NOW_MS - 5, NOW_MS + 70, NOW_MS], lie_ms, codec);
            let taken = batch(sent.to_bytes(), &limited(), NOW_MS).expect("taken");
            assert_eq!(taken.header().max_timestamp_ms, NOW_MS + 70);
            assert_eq!(Batch::take(&mut taken.to_bytes()), Ok(taken.clone()), "the checksum holds");
        }
        // Records without a timestamp are in no range, and a negative one counts as none.
        for timestamp_ms in [-1, -5] {
            let sent = stamped(&[timestamp_ms; 2], timestamp_ms, codec);
            let taken = batch(sent.to_bytes(), &TopicConfig::default(), NOW_MS).expect("taken");
            assert_eq!(taken.header().max_timestamp_ms, -1);
        }
    }
}

#[test]
fn whose_time_it_is_is_the_topics_to_say() {
    let of_broker = TopicConfig {
        message_timestamp_type: TimestampType::LogAppendTime,
        ..TopicConfig::default()
    };
    for codec in [0, 1] {
        let sent = stamped(&[NOW_MS - 9, NOW_MS - 5], NOW_MS - 5, codec);
        let marked = || with_attributes(&sent, LOG_APPEND_TIME);
        assert!(matches!(batch(marked(), &of_broker, NOW_MS), Err(Invalid::Timestamp(_))));
        let taken = batch(marked(), &TopicConfig::default(), NOW_MS).expect("taken");
        assert!(!taken.header().is_log_append_time());
        assert_eq!(taken.header().max_timestamp_ms, NOW_MS - 5);
        // Another codec changes nothing in that.
        for kept in [CompressionType::Producer, CompressionType::Zstd] {
            let config = TopicConfig { compression_type: kept, ..of_broker.clone() };
            let taken = batch(sent.to_bytes(), &config, NOW_MS).expect("taken");
            assert!(taken.header().is_log_append_time());
            let header = taken.header();
            assert_eq!((header.base_timestamp_ms, header.max_timestamp_ms), (NOW_MS - 9, NOW_MS));
        }
    }
}

#[test]
fn a_delete_horizon_is_not_a_clients_to_set() {
    let sent = stamped(&[NOW_MS], NOW_MS, 0);
    let marked = with_attributes(&sent, 1 << 6);
    let taken = batch(marked, &TopicConfig::default(), NOW_MS).expect("taken");
    assert_eq!(taken.header().delete_horizon_ms(), None);
    assert_eq!(taken.header().base_timestamp_ms, NOW_MS);
}

#[test]
fn records_that_cannot_be_read_are_refused_where_they_are_looked_at() {
    let compact = TopicConfig {
        cleanup_policy: crate::config::CleanupPolicy { delete: false, compact: true },
        ..TopicConfig::default()
    };
    let zstd = TopicConfig { compression_type: CompressionType::Zstd, ..TopicConfig::default() };
    let garbage = stamped(&[NOW_MS], NOW_MS, 0).with_records(1, Bytes::from_static(b"garbage"));
    for config in [&compact, &zstd, &limited()] {
        let taken = batch(garbage.to_bytes(), config, NOW_MS);
        assert!(matches!(taken, Err(Invalid::Record(_))), "{taken:?}");
    }
    assert!(batch(garbage.to_bytes(), &TopicConfig::default(), NOW_MS).is_ok());
}

#[test]
fn levels_are_those_of_the_topic() {
    let text: Vec<u8> =
        (0..30_000u32).flat_map(|i| (i * i % 977).to_string().into_bytes()).collect();
    let record = NewRecord { key: "k".into(), value: Some(text.into()) };
    let sent = built(&[record], NOW_MS).expect("a batch");
    let any = TopicConfig::default();
    let sizes = |kept, levels: [i32; 2]| {
        levels.map(|level| {
            let config = TopicConfig {
                compression_type: kept,
                compression_gzip_level: level,
                compression_lz4_level: level,
                compression_zstd_level: level,
                ..any.clone()
            };
            batch(sent.to_bytes(), &config, NOW_MS).expect("taken").size()
        })
    };
    for (kept, levels) in [
        (CompressionType::Gzip, [1, 9]),
        (CompressionType::Lz4, [9, 17]),
        (CompressionType::Zstd, [-7, 9]),
    ] {
        let [large, small] = sizes(kept, levels);
        assert!(large > small, "{kept:?}: {large} {small}");
    }
}

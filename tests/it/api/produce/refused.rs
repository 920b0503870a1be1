//! Batches that are not appended, each with Kafka's error.

use bytes::Bytes;

use crate::harness::records::Topic;
use crate::harness::{Broker, batch, run};

const CORRUPT_MESSAGE: i16 = 2;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TOPIC: i16 = 17;
const INVALID_TIMESTAMP: i16 = 32;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;

/// Where fields lie in a batch.
const LENGTH: usize = 8;
const MAGIC: usize = 16;
const CHECKSUM: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const COUNT: usize = 57;

fn good() -> Bytes {
    batch::of(&[b"one", b"two", b"three"])
}

/// Without making the checksum right.
fn spoiled(at: usize, bytes: &[u8]) -> Bytes {
    let mut batch = good().to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    batch.into()
}

#[test]
fn bad_batches_are_told_apart() {
    let count = |count: i32| batch::changed(&good(), COUNT, &count.to_be_bytes());
    let twice = [good(), good()].concat();
    let both = batch::changed(&count(2), LAST_OFFSET_DELTA, &1i32.to_be_bytes());
    let cases: &[(&str, Bytes, i16)] = &[
        ("nothing", Bytes::new(), INVALID_RECORD),
        ("half a header", good().slice(..30), INVALID_RECORD),
        ("half a batch", good().slice(..good().len() - 1), INVALID_RECORD),
        ("a length of nothing", spoiled(LENGTH, &[0; 4]), CORRUPT_MESSAGE),
        ("a negative length", spoiled(LENGTH, &[0xff; 4]), CORRUPT_MESSAGE),
        ("another checksum", spoiled(CHECKSUM, &[0; 4]), CORRUPT_MESSAGE),
        ("another value", spoiled(good().len() - 2, b"!"), CORRUPT_MESSAGE),
        ("magic 0", spoiled(MAGIC, &[0]), INVALID_RECORD),
        ("magic 1", spoiled(MAGIC, &[1]), INVALID_RECORD),
        ("magic 3", spoiled(MAGIC, &[3]), CORRUPT_MESSAGE),
        ("a base offset", spoiled(0, &5i64.to_be_bytes()), INVALID_RECORD),
        ("two batches", twice.into(), INVALID_RECORD),
        ("a count too high", count(4), INVALID_RECORD),
        ("a count too low", count(2), INVALID_RECORD),
        ("a count that the delta confirms", both, INVALID_RECORD),
        ("no records", count(0), INVALID_RECORD),
        ("a negative count", count(-1), INVALID_RECORD),
        ("a control batch", batch::changed(&good(), ATTRIBUTES, &[0, 0x20]), INVALID_RECORD),
        ("codec 5", batch::changed(&good(), ATTRIBUTES, &[0, 5]), UNSUPPORTED_COMPRESSION_TYPE),
        ("codec 7", batch::changed(&good(), ATTRIBUTES, &[0, 7]), UNSUPPORTED_COMPRESSION_TYPE),
    ];
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for (what, bad, code) in cases {
            let answer = client.produce(&topic, bad.clone()).await;
            assert_eq!((answer.error_code, answer.base_offset), (*code, -1), "{what}");
            assert!(answer.error_message.is_some(), "{what}");
        }
        assert_eq!(client.produce(&topic, good()).await.base_offset, 0, "nothing was appended");
    });
}

#[test]
fn zstd_needs_version_7() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        // What is compressed is not looked into.
        let zstd = batch::changed(&good(), ATTRIBUTES, &[0, 4]);
        for (version, code) in [(3, UNSUPPORTED_COMPRESSION_TYPE), (6, 76), (7, 0), (13, 0)] {
            let answer = client.produce_as(version, &topic, zstd.clone()).await;
            assert_eq!(answer.error_code, code, "v{version}");
        }
    });
}

#[test]
fn a_batch_has_at_most_max_message_bytes() {
    run(async {
        let broker = Broker::start().await;
        let sized = |size: usize| batch::of(&[&vec![b'x'; size]]);
        let limit = sized(1_000).len().to_string();
        let configs = [("max.message.bytes", limit.as_str())];
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let mut client = broker.client().await;
        assert_eq!(client.produce(&topic, sized(1_001)).await.error_code, MESSAGE_TOO_LARGE);
        assert_eq!(client.produce(&topic, sized(1_000)).await.base_offset, 0);
    });
}

#[test]
fn timestamps_lie_within_the_limits() {
    run(async {
        let broker = Broker::start().await;
        let hour_ms = 3_600_000;
        let configs = [
            ("message.timestamp.before.max.ms", "3600000"),
            ("message.timestamp.after.max.ms", "3600000"),
        ];
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let mut client = broker.client().await;
        let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let now_ms = i64::try_from(now_ms).unwrap();
        for (timestamp_ms, code) in [
            (now_ms - 2 * hour_ms, INVALID_TIMESTAMP),
            (now_ms - hour_ms / 2, 0),
            (now_ms + hour_ms / 2, 0),
            (now_ms + 2 * hour_ms, INVALID_TIMESTAMP),
        ] {
            let batch = batch::with(&[b"a"], batch::NO_PRODUCER, timestamp_ms);
            let found = client.produce(&topic, batch).await.error_code;
            assert_eq!(found, code, "{} ms from now", timestamp_ms - now_ms);
        }
    });
}

/// KIP-467.
#[test]
fn records_that_are_wrong_are_told_one_by_one() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[("cleanup.policy", "compact")]).await;
        let mut client = broker.client().await;
        let refused = client.produce(&topic, good()).await;
        assert_eq!(refused.error_code, INVALID_RECORD);
        let told = refused.record_errors.iter().map(|record| {
            let text = record.batch_index_error_message.as_ref().expect("a reason");
            (record.batch_index, text.to_string())
        });
        let reason = "Compacted topic cannot accept message without key in topic partition t-0";
        assert!(told.eq((0..3).map(|index| (index, reason.to_owned()))), "{refused:?}");
        // What is wrong as a whole is told as a whole.
        let refused = client.produce(&topic, spoiled(CHECKSUM, &[0; 4])).await;
        assert_eq!((refused.error_code, refused.record_errors.len()), (CORRUPT_MESSAGE, 0));
    });
}

/// What groups keep is theirs alone.
#[test]
fn topics_of_the_broker_are_not_a_clients_to_write() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let mut client = broker.client().await;
        let id = client.topic("__consumer_offsets").await.topic_id;
        let topic = Topic { name: "__consumer_offsets", id };
        for version in [3, 12, 13] {
            let answer = client.produce_as(version, &topic, good()).await;
            assert_eq!(answer.error_code, INVALID_TOPIC, "v{version}");
        }
        assert_eq!(client.fetch(&topic, 0).await.high_watermark, 0);
    });
}

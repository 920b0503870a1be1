//! Effects of configs that no other test is about.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;
use ottla::log::batch::Batch;
use ottla::log::records::key_values;

use super::{DELETE, TOPIC, alter};
use crate::harness::records::Topic;
use crate::harness::watched::WatchedDisk;
use crate::harness::{Broker, Client, batch, eventually, run};

const ALL: (i8, &str) = (4, "");
const SMALL: (&str, &str) = ("internal.segment.bytes", "1000");
const MESSAGE_TOO_LARGE: i16 = 10;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

async fn put(client: &mut Client, topic: &Topic, value: &[u8]) {
    let records = [(Some(&b"key"[..]), Some(value))];
    let records = batch::of_records(&records, batch::NO_PRODUCER, 1_000);
    assert_eq!(client.produce(topic, records).await.error_code, 0);
}

async fn fetched(client: &mut Client, topic: &Topic, offset: i64) -> Batch {
    let mut records = client.fetch(topic, offset).await.records.unwrap();
    Batch::take(&mut records).unwrap()
}

/// The sizes of a partition's files with this ending, in the order of their names.
fn sizes(dir: &Path, ending: &str) -> Vec<u64> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    paths.sort();
    paths.iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len())).collect()
}

#[test]
fn records_are_kept_in_the_codec_of_the_topic() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[("compression.type", "gzip")]).await;
        let mut client = broker.client().await;
        // Headers with the same key twice, and an idempotent producer.
        let headers = b"\x04\x02h\x02a\x02h\x02b";
        let mut record = b"\x00\x00\x00\x02k\x02v".to_vec();
        record.extend_from_slice(headers);
        let plain = batch::with(&[b""], (7, 3, 0), 1_000);
        let mut body = bytes::BytesMut::new();
        batch::varint(&mut body, i64::try_from(record.len()).unwrap());
        body.extend_from_slice(&record);
        let length = i32::try_from(61 - 12 + body.len()).unwrap();
        let sent = Bytes::from([&plain[..61], &body[..]].concat());
        let sent = batch::changed(&sent, 8, &length.to_be_bytes());
        let mut epoch = 0i16;
        for (codec, number) in
            [("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4), ("uncompressed", 0)]
        {
            client.set_config((TOPIC, "t"), "compression.type", codec).await;
            let mut kept = None;
            eventually(async || {
                epoch += 1;
                let sent = batch::changed(&sent, 51, &epoch.to_be_bytes());
                let answer = client.produce(&topic, sent).await;
                assert_eq!(answer.error_code, 0);
                let batch = fetched(&mut client, &topic, answer.base_offset).await;
                let is_so = batch.header().codec() == number;
                kept = Some(batch);
                is_so
            })
            .await;
            let kept = kept.unwrap();
            let header = kept.header();
            let producer = (header.producer_id, header.producer_epoch, header.base_sequence);
            assert_eq!(producer, (7, epoch, 0), "{codec}");
            assert_eq!((header.base_timestamp_ms, header.max_timestamp_ms), (1_000, 1_000));
            let records = key_values(&kept.to_bytes()).unwrap();
            assert_eq!(records[0].value.as_deref(), Some(&b"v"[..]));
            if number == 0 {
                assert_eq!(kept.records(), &body.clone().freeze(), "byte for byte");
            }
        }
        // Small as it comes, and too large as it would be kept.
        let zipped = Topic::create(&broker, "zipped", 1, &[("compression.type", "gzip")]).await;
        let zeroes = batch::of(&[&vec![0; 100_000]]);
        assert_eq!(client.produce(&zipped, zeroes).await.error_code, 0);
        let mut packed = fetched(&mut client, &zipped, 0).await;
        assert!(packed.size() < 1_000);
        packed.assign(0, -1);
        let configs = [("compression.type", "uncompressed"), ("max.message.bytes", "2000")];
        let plain = Topic::create(&broker, "plain", 1, &configs).await;
        let answer = client.produce(&plain, packed.to_bytes()).await;
        assert_eq!(answer.error_code, MESSAGE_TOO_LARGE);
    });
}

/// A broker with a log that is cached, and how often it has been synced.
async fn cached(configs: &[(&str, &str)]) -> (Broker, WatchedDisk, Topic) {
    let disk = WatchedDisk::default();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let broker = Broker::start_on(disk.env(), dir, &[]).await;
    let configs = [&[("write.caching", "true")], configs].concat();
    let topic = Topic::create(&broker, "t", 1, &configs).await;
    (broker, disk, topic)
}

/// Waits until each of some records in a row is synced once, before it is acknowledged.
async fn each_put_is_synced(client: &mut Client, topic: &Topic, disk: &WatchedDisk) {
    eventually(async || {
        for _ in 0..3 {
            let before = disk.log_syncs();
            put(client, topic, b"value").await;
            if disk.log_syncs() != before + 1 {
                return false;
            }
        }
        true
    })
    .await;
}

#[test]
fn a_cached_log_is_synced_after_so_many_records() {
    run(async {
        let (broker, disk, topic) = cached(&[("flush.messages", "3")]).await;
        let mut client = broker.client().await;
        let before = disk.log_syncs();
        for (records, syncs) in [(1, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 3)] {
            let values = vec![&b"value"[..]; records];
            assert_eq!(client.produce(&topic, batch::of(&values)).await.error_code, 0);
            assert_eq!(disk.log_syncs() - before, syncs);
        }
        client.set_config((TOPIC, "t"), "flush.messages", "1").await;
        each_put_is_synced(&mut client, &topic, &disk).await;
    });
}

#[test]
fn a_cached_log_is_synced_after_so_long() {
    run(async {
        let (broker, disk, topic) = cached(&[]).await;
        let mut client = broker.client().await;
        let before = disk.log_syncs();
        put(&mut client, &topic, b"value").await;
        assert_eq!(disk.log_syncs(), before);
        client.set_config(ALL, "log.flush.interval.ms", "20").await;
        eventually(async || disk.log_syncs() > before).await;
        let before = disk.log_syncs();
        put(&mut client, &topic, b"value").await;
        eventually(async || disk.log_syncs() == before + 1).await;
        // Nothing is due by its time any more.
        client.set_config((TOPIC, "t"), "flush.ms", "3600000").await;
        eventually(async || {
            let before = disk.log_syncs();
            put(&mut client, &topic, b"value").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            disk.log_syncs() == before
        })
        .await;
        client.set_config((TOPIC, "t"), "flush.ms", "0").await;
        each_put_is_synced(&mut client, &topic, &disk).await;
    });
}

#[test]
fn indexes_are_as_dense_and_as_large_as_the_topic_says() {
    run(async {
        let broker = Broker::start().await;
        let dense = [SMALL, ("index.interval.bytes", "0")];
        let short = [SMALL, ("index.interval.bytes", "0"), ("segment.index.bytes", "24")];
        for (name, configs, first, segments) in [
            ("sparse", &[SMALL][..], 0..1, 2..4),
            ("dense", &dense, 80..200, 2..4),
            ("short", &short, 8..25, 5..20),
        ] {
            let topic = Topic::create(&broker, name, 1, configs).await;
            let mut client = broker.client().await;
            for _ in 0..25 {
                put(&mut client, &topic, b"").await;
            }
            let dir = broker.dir.path().join(format!("data/{name}-0"));
            let found = sizes(&dir, "log").len();
            assert!(segments.contains(&found), "{name}: {found} segments");
            // Written when the segment is closed.
            eventually(async || !sizes(&dir, "index").is_empty()).await;
            let index = sizes(&dir, "index")[0];
            assert!(first.contains(&index), "{name}: {index} bytes of index");
        }
    });
}

#[test]
fn more_replicas_than_there_are_refuse_records() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        put(&mut client, &topic, b"").await;
        client.set_config(ALL, "min.insync.replicas", "2").await;
        let is_refused = async |client: &mut Client| {
            client.produce(&topic, batch::of(&[b"a"])).await.error_code == NOT_ENOUGH_REPLICAS
        };
        eventually(async || is_refused(&mut client).await).await;
        client.set_config((TOPIC, "t"), "min.insync.replicas", "1").await;
        eventually(async || !is_refused(&mut client).await).await;
    });
}

#[test]
fn the_space_of_a_segment_is_taken_when_it_is_begun() {
    run(async {
        let broker = Broker::start().await;
        let configs = [("preallocate", "true"), ("segment.bytes", "1048576")];
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let mut client = broker.client().await;
        let taken = |base: &str| {
            let path = broker.dir.path().join(format!("data/t-0/{base}.log"));
            Some(std::fs::metadata(path).ok()?.blocks() * 512)
        };
        let first = "00000000000000000000";
        assert!(taken(first).unwrap() >= 1_048_576);
        put(&mut client, &topic, &[7; 1_000]).await;
        assert_eq!(sizes(&broker.dir.path().join("data/t-0"), "log").len(), 1);
        // A batch that does not fit behind the first begins another segment.
        assert_eq!(client.produce(&topic, batch::of(&[&vec![7; 1_048_000]])).await.error_code, 0);
        assert!(taken("00000000000000000001").unwrap() >= 1_048_576);
        eventually(async || taken(first).unwrap() < 1_048_576).await;
    });
}

#[test]
fn the_cleaner_goes_by_what_is_set() {
    run(async {
        // No threads; and when there are some, a byte a second.
        let settings = [
            ("KAFKA_LOG_CLEANER_THREADS", "0"),
            ("KAFKA_LOG_CLEANER_BACKOFF_MS", "3600000"),
            ("KAFKA_LOG_CLEANER_IO_MAX_BYTES_PER_SECOND", "1"),
        ];
        let broker = Broker::start_with(&settings).await;
        let mut client = broker.client().await;
        let configs = [
            ("cleanup.policy", "compact"),
            ("internal.segment.bytes", "300"),
            ("min.cleanable.dirty.ratio", "0.001"),
        ];
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let dir = broker.dir.path().join("data/t-0");
        let bytes = || sizes(&dir, "log").iter().sum::<u64>();
        for _ in 0..20 {
            put(&mut client, &topic, b"value").await;
        }
        let before = bytes();
        client.set_config(ALL, "log.cleaner.threads", "1").await;
        // Until now there was nothing that could have cleaned, and it is slow still.
        client.set_config(ALL, "log.cleaner.io.max.bytes.per.second", "1000000").await;
        eventually(async || bytes() < before / 2).await;
        // Otherwise what comes now is only seen after an hour, once the new rest is known.
        client.set_config((4, "1"), "log.cleaner.backoff.ms", "10").await;
        for _ in 0..2 {
            for _ in 0..20 {
                put(&mut client, &topic, b"value").await;
            }
            eventually(async || bytes() < before / 2).await;
        }
    });
}

#[test]
fn the_scrubber_goes_by_what_is_set() {
    run(async {
        let disk = WatchedDisk::default();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let settings = [("OTTLA_LOG_SCRUB_IO_MAX_BYTES_PER_SECOND", "0")];
        let broker = Broker::start_on(disk.env(), dir, &settings).await;
        let topic = Topic::create(&broker, "t", 1, &[SMALL]).await;
        let mut client = broker.client().await;
        for _ in 0..20 {
            put(&mut client, &topic, b"value").await;
        }
        client.set_config(ALL, "log.scrub.interval.ms", "1").await;
        let before = disk.log_reads();
        client.set_config(ALL, "log.scrub.io.max.bytes.per.second", "1000000").await;
        // Round after round.
        eventually(async || disk.log_reads() > before + 100).await;
    });
}

#[test]
fn connections_are_as_many_as_may_be_now() {
    run(async {
        let broker = Broker::start().await;
        let mut first = broker.client().await;
        let is_served = async || {
            let mut client = broker.client().await;
            let request = ApiVersionsRequest::default();
            client.send_raw(&crate::harness::frame(1, 0, &request)).await;
            client.receive_frame().await.is_some()
        };
        for key in ["max.connections", "max.connections.per.ip"] {
            first.set_config(ALL, key, "1").await;
            eventually(async || !is_served().await).await;
            first.set_config((4, "1"), key, "5").await;
            eventually(is_served).await;
        }
    });
}

#[test]
fn a_producer_is_forgotten_after_its_time() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let sent = |sequence| batch::with(&[b"a"], (7, 0, sequence), 1_000);
        assert_eq!(client.produce(&topic, sent(0)).await.error_code, 0);
        let gap = client.produce(&topic, sent(5)).await.error_code;
        assert_eq!(gap, OUT_OF_ORDER_SEQUENCE_NUMBER);
        client.set_config(ALL, "producer.id.expiration.ms", "1").await;
        eventually(async || client.produce(&topic, sent(5)).await.error_code == 0).await;
        let told = alter(&mut client, ALL, "producer.id.expiration.ms", DELETE, None).await;
        assert_eq!(told.0, 0);
        let mut sequence = 5;
        eventually(async || {
            // Not one that may have been taken: it would be a duplicate.
            sequence += 10;
            let gap = client.produce(&topic, sent(sequence)).await.error_code;
            gap == OUT_OF_ORDER_SEQUENCE_NUMBER
        })
        .await;
    });
}

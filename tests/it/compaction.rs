//! Of each key the latest record stays: on one broker, over restarts, and on replicas that were
//! away meanwhile.

use std::collections::BTreeMap;
use std::process::Stdio;

use bytes::Bytes;
use ottla::log::batch::Batch;
use ottla::log::records::{KeyValue, key_values};

use crate::harness::cluster::Cluster;
use crate::harness::process::{Process, address_in, field};
use crate::harness::records::Topic;
use crate::harness::{Broker, Client, batch, eventually, run, scrape, value};

const OFTEN: (&str, &str) = ("KAFKA_LOG_CLEANER_BACKOFF_MS", "10");
const METRICS: (&str, &str) = ("OTTLA_METRICS_LISTENER", "127.0.0.1:0");
/// About three batches in a segment; whatever is dirty is cleaned.
const COMPACT: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("internal.segment.bytes", "300"),
    ("min.cleanable.dirty.ratio", "0.001"),
];
const NOT_LEADER: i16 = 6;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

async fn put(client: &mut Client, topic: &Topic, key: &str, value: Option<&str>) {
    assert_eq!(client.produce(topic, keyed(key, value)).await.error_code, 0);
}

fn keyed(key: &str, value: Option<&str>) -> Bytes {
    let records = [(Some(key.as_bytes()), value.map(str::as_bytes))];
    batch::of_records(&records, batch::NO_PRODUCER, 1_000)
}

/// All records that a consumer gets, from the first offset on.
async fn read(client: &mut Client, topic: &Topic) -> Vec<KeyValue> {
    let (mut next, mut found) = (0, Vec::new());
    loop {
        let data = client.fetch(topic, next).await;
        if data.error_code == NOT_LEADER {
            // It does not serve for a moment.
            continue;
        }
        assert_eq!(data.error_code, 0, "{next}");
        let mut rest = data.records.unwrap_or_default();
        // A follower may learn of more meanwhile.
        if rest.is_empty() && next >= data.high_watermark {
            return found;
        }
        while let Ok(batch) = Batch::take(&mut rest) {
            let whole: Bytes = [&batch.head()[..], batch.records()].concat().into();
            found.extend(key_values(&whole).unwrap());
            next = batch.header().last_offset() + 1;
        }
    }
}

fn latest(records: &[KeyValue]) -> BTreeMap<String, Option<String>> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let pairs = records
        .iter()
        .map(|record| (text(record.key.as_ref().unwrap()), record.value.as_ref().map(text)));
    pairs.collect()
}

async fn metric(broker: &Broker, name: &str) -> f64 {
    value(&broker.scrape().await, name).unwrap()
}

/// Records of the log but for those of the active segment and the one before, which may not have
/// been closed when the last cleaning began.
fn old(records: &[KeyValue], end: i64) -> usize {
    records.iter().filter(|record| record.offset < end).count()
}

#[test]
fn the_latest_record_of_each_key_stays() {
    run(async {
        let broker = Broker::start_with(&[OFTEN, METRICS]).await;
        let topic = Topic::create(&broker, "t", 1, &COMPACT).await;
        let mut client = broker.client().await;
        for round in 0..15 {
            for key in KEYS {
                put(&mut client, &topic, key, Some(&format!("{key}{round}"))).await;
            }
        }
        let expected: BTreeMap<String, Option<String>> =
            KEYS.iter().map(|key| ((*key).to_owned(), Some(format!("{key}14")))).collect();
        let mut found = Vec::new();
        eventually(async || {
            found = read(&mut client, &topic).await;
            old(&found, 50) == 0
        })
        .await;
        assert_eq!(latest(&found), expected);
        assert_eq!(client.fetch(&topic, 60).await.high_watermark, 60);
        eventually(async || {
            metric(&broker, "ottla_log_cleaner_records_dropped_total").await >= 50.0
        })
        .await;

        let broker = broker.restart().await;
        let mut client = broker.client().await;
        assert_eq!(latest(&read(&mut client, &topic).await), expected);
        put(&mut client, &topic, "e", Some("new")).await;
        let records = read(&mut client, &topic).await;
        assert_eq!(records.last().map(|record| record.offset), Some(60));
        broker.stop().await;
    });
}

#[test]
fn tombstones_go_after_their_time() {
    run(async {
        let broker = Broker::start_with(&[OFTEN]).await;
        let mut configs = COMPACT.to_vec();
        configs.push(("delete.retention.ms", "600000"));
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let mut client = broker.client().await;
        put(&mut client, &topic, "gone", Some("value")).await;
        put(&mut client, &topic, "gone", None).await;
        let mut others = 0;
        // Something to clean comes again and again; whether the tombstone is there.
        let mut until = async |wanted: bool| {
            eventually(async || {
                others += 1;
                put(&mut client, &topic, "other", Some(&others.to_string())).await;
                let found = read(&mut client, &topic).await;
                let has = |value: bool| {
                    let is = |record: &&KeyValue| record.key.as_deref() == Some(b"gone");
                    found.iter().filter(is).any(|record| record.value.is_some() == value)
                };
                !has(true) && has(false) == wanted
            })
            .await;
        };
        until(true).await;
        broker.client().await.set_config((2, "t"), "delete.retention.ms", "0").await;
        // The time that it has was set when it was first cleaned.
        let mut second = broker.client().await;
        put(&mut second, &topic, "gone", None).await;
        until(false).await;
    });
}

#[test]
fn a_replica_that_was_away_misses_no_tombstone() {
    run(async {
        let settings = [OFTEN, METRICS, ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3")];
        let mut cluster = Cluster::start_with(3, &settings).await;
        let mut configs = COMPACT.to_vec();
        configs.push(("delete.retention.ms", "0"));
        let id = cluster.client(1).await.create_topic("t", 1, &configs).await;
        let topic = Topic { name: "t", id };
        cluster.put(&topic, 0, keyed("gone", Some("value"))).await;
        for round in 0..8 {
            cluster.put(&topic, 0, keyed("other", Some(&round.to_string()))).await;
        }
        let first = cluster.leader("t", 0).await;
        let away = if first == 3 { 2 } else { 3 };
        cluster.stop_node(away).await;
        cluster.put(&topic, away, keyed("gone", None)).await;
        // Cleaned again and again, by those who are there.
        let others: Vec<usize> = (1..=3).filter(|node| *node != away).collect();
        let runs = async |cluster: &Cluster, node: usize| {
            metric(cluster.broker(node), "ottla_log_cleaner_runs_total").await
        };
        for node in &others {
            let before = runs(&cluster, *node).await;
            let mut round = 100;
            eventually(async || {
                round += 1;
                cluster.put(&topic, away, keyed("other", Some(&round.to_string()))).await;
                runs(&cluster, *node).await > before + 3.0
            })
            .await;
        }
        let has_tombstone = |records: &[KeyValue]| {
            let is = |record: &&KeyValue| record.key.as_deref() == Some(b"gone");
            records.iter().find(is).is_some_and(|record| record.value.is_none())
        };
        let mut client = cluster.client(cluster.leader("t", away).await).await;
        assert!(has_tombstone(&read(&mut client, &topic).await), "one replica has not had it");
        cluster.start_node(away).await;
        // On every replica the key goes, as soon as all have had its tombstone.
        for node in 1..=3 {
            let mut there = cluster.client(node).await;
            eventually(async || {
                cluster.put(&topic, 0, keyed("other", Some("last"))).await;
                let found = read_replica(&mut there, &topic).await;
                !found.is_empty()
                    && found.iter().all(|record| record.key.as_deref() == Some(b"other"))
            })
            .await;
        }
        cluster.stop().await;
    });
}

/// A cleaning goes as far as it may, also one that has begun; at no bytes per second that is not
/// far.
#[test]
fn who_compacts_no_more_keeps_what_is_there() {
    const RATE: &str = "log.cleaner.io.max.bytes.per.second";
    run(async {
        // What is counted is so for a whole process.
        let dir = tempfile::tempdir().unwrap();
        let settings = [OFTEN, ("KAFKA_LOG_CLEANER_IO_MAX_BYTES_PER_SECOND", "0")];
        let mut process = Process::spawn(dir.path(), &settings, Stdio::null());
        let line = process.ready();
        let metrics = field(&line, "metrics=").parse().unwrap();
        let counted = async |name: &str| value(&scrape(metrics).await, name).unwrap();
        let mut client = Client::connect(address_in(&line)).await;
        let topic = Topic { name: "t", id: client.create_topic("t", 1, &COMPACT).await };
        for round in 0..15 {
            for key in KEYS {
                put(&mut client, &topic, key, Some(&format!("{key}{round}"))).await;
            }
        }
        let all = read(&mut client, &topic).await;
        eventually(async || counted("ottla_log_cleaner_left_bytes").await > 0.0).await;
        // The records are half a century old.
        client.set_config((2, "t"), "retention.ms", "-1").await;
        client.set_config((2, "t"), "cleanup.policy", "delete").await;
        client.set_config((4, ""), RATE, "1000000000").await;
        eventually(async || counted("ottla_log_cleaner_left_bytes").await == 0.0).await;
        assert_eq!(read(&mut client, &topic).await, all);
        assert_eq!(counted("ottla_log_cleaner_records_dropped_total").await, 0.0);
    });
}

/// What one replica holds, or nothing if it does not answer now.
async fn read_replica(client: &mut Client, topic: &Topic) -> Vec<KeyValue> {
    let data = client.fetch(topic, 0).await;
    if data.error_code == 0 { read(client, topic).await } else { Vec::new() }
}

//! What topics do not keep goes: by size, by age, on all replicas, while the broker runs.

use std::path::Path;
use std::sync::Arc;

use crate::harness::cluster::Cluster;
use crate::harness::records::Topic;
use crate::harness::{self, Broker, Client, batch, eventually, run};
use crate::moves::{moved, numbers, partition, reassign};

const SOON: (&str, &str) = ("KAFKA_LOG_RETENTION_CHECK_INTERVAL_MS", "20");
const METRICS: (&str, &str) = ("OTTLA_METRICS_LISTENER", "127.0.0.1:0");
/// About three batches in a segment.
const SMALL: (&str, &str) = ("internal.segment.bytes", "300");
const BATCHES: i64 = 20;

async fn fill(client: &mut Client, topic: &Topic) {
    for _ in 0..BATCHES {
        let records = batch::with(&[b"0123456789"], batch::NO_PRODUCER, 1_000);
        assert_eq!(client.produce(topic, records).await.error_code, 0);
    }
}

async fn log_start(client: &mut Client, topic: &Topic) -> i64 {
    // The high watermark can be fetched from always.
    let end = client.fetch(topic, 0).await.high_watermark;
    client.fetch(topic, end).await.log_start_offset
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn old_records_go_and_the_others_stay_where_they_are() {
    run(async {
        let broker = Broker::start_with(&[SOON]).await;
        let configs = [SMALL, ("retention.ms", "-1"), ("file.delete.delay.ms", "0")];
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let mut client = broker.client().await;
        fill(&mut client, &topic).await;
        client.set_config((2, "t"), "retention.bytes", "500").await;
        eventually(async || log_start(&mut client, &topic).await > 0).await;
        let start = log_start(&mut client, &topic).await;
        assert!(start < BATCHES - 5, "five batches fit: {start}");
        let below = client.fetch(&topic, start - 1).await;
        assert_eq!((below.error_code, below.log_start_offset), (1, start));
        assert_eq!(batch::parts(client.fetch(&topic, start).await.records)[0].0, start);

        // Their time stamps are half a century old.
        client.set_config((2, "t"), "retention.ms", "1000").await;
        eventually(async || log_start(&mut client, &topic).await == BATCHES).await;
        client.set_config((2, "t"), "retention.ms", "-1").await;
        assert_eq!(client.produce(&topic, batch::of(&[b"a"])).await.base_offset, BATCHES);

        let broker = broker.restart().await;
        let mut client = broker.client().await;
        assert_eq!(log_start(&mut client, &topic).await, BATCHES);
        assert_eq!(batch::parts(client.fetch(&topic, BATCHES).await.records)[0].0, BATCHES);
        let dir = broker.stop().await;
        let names = names(&dir.path().join("data/t-0"));
        let logs: Vec<&String> = names.iter().filter(|name| name.contains(".log")).collect();
        assert_eq!(logs, ["00000000000000000020.log"], "{names:?}");
    });
}

/// They are as old as their files.
#[test]
fn records_without_timestamps_stay_for_their_time() {
    run(async {
        let broker = Broker::start_with(&[SOON]).await;
        let configs = [SMALL, ("retention.ms", "3600000"), ("file.delete.delay.ms", "0")];
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let old = Topic::create(&broker, "old", 1, &configs).await;
        let mut client = broker.client().await;
        for _ in 0..BATCHES {
            let records = batch::with(&[b"0123456789"], batch::NO_PRODUCER, -1);
            assert_eq!(client.produce(&topic, records).await.error_code, 0);
        }
        fill(&mut client, &old).await;
        eventually(async || log_start(&mut client, &old).await == BATCHES).await;
        assert_eq!(log_start(&mut client, &topic).await, 0);
        let broker = broker.restart_with(&[SOON]).await;
        let mut client = broker.client().await;
        fill(&mut client, &old).await;
        eventually(async || log_start(&mut client, &old).await == 2 * BATCHES).await;
        assert_eq!(log_start(&mut client, &topic).await, 0);
        // Nobody has touched them for half a century.
        let dir = broker.stop().await;
        for name in names(&dir.path().join("data/t-0")) {
            let path = dir.path().join("data/t-0").join(name);
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        let broker = Broker::start_in(dir, &[SOON]).await;
        let mut client = broker.client().await;
        eventually(async || log_start(&mut client, &topic).await == BATCHES).await;
    });
}

#[test]
fn what_is_compacted_or_has_no_limit_stays() {
    run(async {
        let broker = Broker::start_with(&[SOON]).await;
        let old = ("retention.ms", "1000");
        let keeps = Topic::create(&broker, "none", 1, &[SMALL, ("retention.ms", "-1")]).await;
        let compact = [SMALL, old, ("cleanup.policy", "compact")];
        broker.create_topic("compacted", 1, &compact).await;
        let drops = Topic::create(&broker, "t", 1, &[SMALL, old]).await;
        let mut client = broker.client().await;
        fill(&mut client, &keeps).await;
        fill(&mut client, &drops).await;
        eventually(async || log_start(&mut client, &drops).await == BATCHES).await;
        assert_eq!(log_start(&mut client, &keeps).await, 0);
    });
}

#[test]
fn files_stay_for_their_delay_and_not_over_a_restart() {
    run(async {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let broker = Broker::start_in(Arc::clone(&dir), &[SOON]).await;
        let configs = [SMALL, ("retention.ms", "1000"), ("file.delete.delay.ms", "600000")];
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let mut client = broker.client().await;
        fill(&mut client, &topic).await;
        eventually(async || log_start(&mut client, &topic).await == BATCHES).await;
        let log = dir.path().join("data/t-0");
        let has_deleted = || names(&log).iter().any(|name| name.ends_with(".log.deleted"));
        eventually(async || has_deleted()).await;
        let broker = broker.restart().await;
        assert!(!has_deleted());
        broker.stop().await;
    });
}

/// The value of a partition's series.
fn value(page: &str, name: &str) -> Option<f64> {
    harness::value(page, &format!("{name}{{topic=\"t\",partition=\"0\"}}"))
}

#[test]
fn all_replicas_drop_the_same() {
    run(async {
        let settings = [SOON, METRICS, ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3")];
        let mut cluster = Cluster::start_with(3, &settings).await;
        let mut client = cluster.client(1).await;
        let configs = [SMALL, ("retention.ms", "-1")];
        let topic_id = client.create_topic("t", 1, &configs).await;
        let topic = Topic { name: "t", id: topic_id };
        let mut client = cluster.client(cluster.leader("t", 0).await).await;
        fill(&mut client, &topic).await;
        client.set_config((2, "t"), "retention.ms", "1000").await;
        for id in 1..=3 {
            eventually(async || {
                let page = cluster.broker(id).scrape().await;
                value(&page, "ottla_log_start_offset") == Some(20.0)
                    && value(&page, "ottla_log_segments") == Some(1.0)
            })
            .await;
        }
        cluster.stop().await;
    });
}

/// Values of the records from the log start on, with their offsets.
async fn records(client: &mut Client, topic: &Topic) -> Vec<(i64, Vec<u8>)> {
    let (mut next, mut found) = (log_start(client, topic).await, Vec::new());
    while next < client.fetch(topic, next).await.high_watermark {
        let parts = batch::parts(client.fetch(topic, next).await.records);
        next = parts.last().expect("a batch").0 + 1;
        found.extend(parts.into_iter().map(|(offset, bytes)| (offset, bytes.to_vec())));
    }
    found
}

/// Whose segments are gone, replicas get a snapshot in their place: a new one, and one that was
/// away for too long. They go on at the same offsets.
#[test]
fn replicas_begin_where_the_log_does() {
    run(async {
        let settings = [
            SOON,
            METRICS,
            ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3"),
            ("KAFKA_MIN_INSYNC_REPLICAS", "2"),
            ("OTTLA_AUTO_REPLICA_REBALANCE_ENABLE", "false"),
        ];
        let mut cluster = Cluster::start_with(4, &settings).await;
        let mut client = cluster.client(1).await;
        let topic_id = client.create_topic("t", 1, &[SMALL, ("retention.ms", "-1")]).await;
        let topic = Topic { name: "t", id: topic_id };
        let members = numbers(&partition(cluster.broker(1), "t").await.replica_nodes);
        let leader = cluster.leader("t", 0).await;
        let is_follower = |id: &&i32| usize::try_from(**id).unwrap() != leader;
        let away = usize::try_from(*members.iter().find(is_follower).unwrap()).unwrap();
        cluster.put(&topic, away, batch::of(&[b"first"])).await;
        cluster.stop_node(away).await;
        for _ in 0..2 * BATCHES {
            let records = batch::with(&[b"0123456789"], batch::NO_PRODUCER, 1_000);
            cluster.put(&topic, away, records).await;
        }
        let leader = cluster.leader("t", away).await;
        let mut client = cluster.client(leader).await;
        client.set_config((2, "t"), "retention.ms", "1000").await;
        for id in members.iter().map(|id| usize::try_from(*id).unwrap()).filter(|id| *id != away) {
            eventually(async || {
                let page = cluster.broker(id).scrape().await;
                value(&page, "ottla_log_segments") == Some(1.0)
            })
            .await;
        }
        client.set_config((2, "t"), "retention.ms", "-1").await;
        for value in [b"a", b"b", b"c"] {
            cluster.put(&topic, away, batch::of(&[value])).await;
        }
        let leader = cluster.leader("t", away).await;
        let mut client = cluster.client(leader).await;
        let expected = records(&mut client, &topic).await;
        assert!(expected.first().is_some_and(|(offset, _)| *offset > 2 * BATCHES));
        assert!(expected.len() >= 3, "{expected:?}");
        cluster.start_node(away).await;
        let new = (1..=4).find(|id| !members.contains(id)).unwrap();
        let away = i32::try_from(away).unwrap();
        for replicas in [vec![new, away, i32::try_from(leader).unwrap()], vec![away], vec![new]] {
            reassign(cluster.broker(leader), "t", &replicas).await;
            moved(cluster.broker(leader), "t", &replicas).await;
            let leader = cluster.leader("t", 0).await;
            let mut client = cluster.client(leader).await;
            eventually(async || client.fetch(&topic, 0).await.error_code == 1).await;
            assert_eq!(records(&mut client, &topic).await, expected, "{replicas:?}");
        }
        cluster.stop().await;
    });
}

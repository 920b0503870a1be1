//! What topics do not keep goes: by size, by age, on all replicas, while the broker runs.

use std::path::Path;
use std::sync::Arc;

use crate::harness::cluster::Cluster;
use crate::harness::records::Topic;
use crate::harness::{Broker, Client, batch, eventually, run};

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
    let series = format!("{name}{{topic=\"t\",partition=\"0\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&series))?.parse().ok()
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

//! The lag of consumer groups, as a scrape tells it.

use std::time::{SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteRecordsRequest, FindCoordinatorRequest};

use crate::harness::cluster::Cluster;
use crate::harness::groups::group_id;
use crate::harness::offsets::SETTINGS;
use crate::harness::records::{PRODUCE, Topic, produce as produce_request};
use crate::harness::{Broker, Client, batch, eventually, run, text, topic_name, value};

const METRICS: (&str, &str) = ("OTTLA_METRICS_LISTENER", "127.0.0.1:0");

/// Appends records that are so many seconds old.
async fn produce(client: &mut Client, topic: &Topic, values: &[&[u8]], age_s: u64) {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let timestamp_ms = i64::try_from(now_ms).unwrap() - i64::try_from(age_s * 1_000).unwrap();
    let records = batch::with(values, batch::NO_PRODUCER, timestamp_ms);
    assert_eq!(client.produce(topic, records).await.error_code, 0);
}

#[track_caller]
fn check(page: &str, series: &str, expected: Option<f64>) {
    assert_eq!(value(page, series), expected, "{series}");
}

/// An age of at least so many seconds, and not much more.
#[track_caller]
fn check_age(page: &str, series: &str, seconds: f64) {
    let found = value(page, series).expect(series);
    assert!(found >= seconds && found < seconds + 60.0, "{series}: {found}");
}

#[test]
fn lag_is_told_in_records_and_seconds() {
    run(async {
        let broker = Broker::with_groups(&[METRICS]).await;
        let topic = Topic::create(&broker, "t", 2, &[]).await;
        let mut client = broker.client().await;
        produce(&mut client, &topic, &[b"a", b"b"], 900).await;
        produce(&mut client, &topic, &[b"c"], 300).await;
        client.commit(9, "g", &topic, &[(0, 1), (1, 0)]).await;
        client.commit(9, "h", &topic, &[(0, 3)]).await;
        for _ in 0..2 {
            let page = broker.scrape().await;
            let of = |group: &str, partition: i32| {
                format!("{{consumergroup=\"{group}\",topic=\"t\",partition=\"{partition}\"}}")
            };
            check(&page, &format!("kafka_consumergroup_current_offset{}", of("g", 0)), Some(1.0));
            check(&page, &format!("kafka_consumergroup_lag{}", of("g", 0)), Some(2.0));
            check(&page, &format!("kafka_consumergroup_lag{}", of("g", 1)), Some(0.0));
            check(&page, &format!("kafka_consumergroup_lag{}", of("h", 0)), Some(0.0));
            check(&page, &format!("kafka_consumergroup_lag{}", of("h", 1)), None);
            check_age(&page, &format!("ottla_consumergroup_lag_seconds{}", of("g", 0)), 900.0);
            let seconds = format!("ottla_consumergroup_lag_seconds{}", of("g", 1));
            check(&page, &seconds, Some(0.0));
            let sum = "kafka_consumergroup_lag_sum{consumergroup=\"g\",topic=\"t\"}";
            check(&page, sum, Some(2.0));
            check(&page, "ottla_consumergroup_lag_records{consumergroup=\"g\"}", Some(2.0));
            let max = "ottla_consumergroup_lag_seconds_max{consumergroup=\"g\"}";
            check_age(&page, max, 900.0);
            check(&page, "kafka_consumergroup_members{consumergroup=\"g\"}", Some(0.0));
            check(&page, "kafka_brokers", Some(1.0));
            check(&page, "kafka_topic_partitions{topic=\"t\"}", Some(2.0));
            let place = "{topic=\"t\",partition=\"0\"}";
            check(&page, &format!("kafka_topic_partition_current_offset{place}"), Some(3.0));
            check(&page, &format!("kafka_topic_partition_oldest_offset{place}"), Some(0.0));
        }
        client.commit(9, "g", &topic, &[(0, 2)]).await;
        let page = broker.scrape().await;
        check_age(&page, "ottla_consumergroup_lag_seconds_max{consumergroup=\"g\"}", 300.0);
    });
}

#[test]
fn what_retention_took_has_no_age() {
    run(async {
        let broker = Broker::with_groups(&[METRICS]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        produce(&mut client, &topic, &[b"a"], 900).await;
        produce(&mut client, &topic, &[b"b"], 300).await;
        client.commit(9, "g", &topic, &[(0, 0)]).await;
        let age = "ottla_consumergroup_lag_seconds_max{consumergroup=\"g\"}";
        check_age(&broker.scrape().await, age, 900.0);
        for (before, expected) in [(1, 300.0), (2, 0.0)] {
            let partition = DeleteRecordsPartition::default().with_offset(before);
            let topic = DeleteRecordsTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![partition]);
            let request =
                DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
            client.call(2, &request).await;
            check_age(&broker.scrape().await, age, expected);
        }
    });
}

#[test]
fn lag_is_there_after_a_restart_and_gone_with_the_group() {
    run(async {
        let broker = Broker::with_groups(&[METRICS]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        produce(&mut client, &topic, &[b"a", b"b"], 100).await;
        client.commit(9, "g", &topic, &[(0, 1)]).await;

        let broker = broker.restart_with(&[METRICS]).await;
        let mut client = broker.client().await;
        client.coordinator().await;
        let page = broker.scrape().await;
        check(&page, "ottla_consumergroup_lag_records{consumergroup=\"g\"}", Some(1.0));
        check_age(&page, "ottla_consumergroup_lag_seconds_max{consumergroup=\"g\"}", 100.0);

        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id("g")]);
        assert_eq!(client.call(2, &request).await.results[0].error_code, 0);
        let page = broker.scrape().await;
        assert!(!page.contains("consumergroup=\"g\""));
        check(&page, "ottla_consumergroup_partitions_left_out", Some(0.0));
    });
}

#[test]
fn series_of_partitions_have_a_limit() {
    run(async {
        let limit = ("OTTLA_METRICS_CONSUMERGROUP_PARTITION_SERIES_MAX", "2");
        let broker = Broker::with_groups(&[METRICS, limit]).await;
        let topic = Topic::create(&broker, "t", 2, &[]).await;
        let mut client = broker.client().await;
        for group in ["a", "b"] {
            client.commit(9, group, &topic, &[(0, 0), (1, 0)]).await;
        }
        let page = broker.scrape().await;
        check(&page, "ottla_consumergroup_partitions_left_out", Some(2.0));
        for (group, lag) in [("a", Some(0.0)), ("b", None)] {
            let place = format!("{{consumergroup=\"{group}\",topic=\"t\",partition=\"0\"}}");
            check(&page, &format!("kafka_consumergroup_lag{place}"), lag);
            let total = format!("ottla_consumergroup_lag_records{{consumergroup=\"{group}\"}}");
            check(&page, &total, Some(0.0));
        }
    });
}

#[test]
fn lag_is_told_of_partitions_that_other_nodes_lead() {
    run(async {
        let settings = [SETTINGS, &[METRICS, ("KAFKA_DEFAULT_REPLICATION_FACTOR", "1")]].concat();
        let mut cluster = Cluster::start_with(3, &settings).await;
        let topic = Topic::create(cluster.broker(1), "t", 3, &[]).await;
        let told = cluster.client(1).await.topic("t").await.partitions;
        let mut leaders: Vec<i32> = told.iter().map(|partition| partition.leader_id.0).collect();
        for (partition, leader) in (0..).zip(&leaders) {
            let records = batch::with(&[b"a", b"b", b"c"], batch::NO_PRODUCER, 1_000);
            let request = produce_request(vec![topic.produce(&[(partition, records)])]);
            let id = usize::try_from(*leader).unwrap();
            let answer = cluster.client(id).await.call(PRODUCE, &request).await;
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
        leaders.sort_unstable();
        assert_eq!(leaders, [1, 2, 3]);
        // One of the nodes is the coordinator.
        let offsets = [(0, 0), (1, 1), (2, 2)];
        let mut coordinator = 1;
        eventually(async || {
            coordinator = coordinator % 3 + 1;
            let mut client = cluster.client(coordinator).await;
            client.call(0, &FindCoordinatorRequest::default().with_key(text("g"))).await;
            client.commit(9, "g", &topic, &offsets).await == [0, 0, 0]
        })
        .await;
        let page = cluster.broker(coordinator).scrape().await;
        for (partition, committed) in offsets {
            let of = format!("{{consumergroup=\"g\",topic=\"t\",partition=\"{partition}\"}}");
            let lag = 3.0 - f64::from(u8::try_from(committed).unwrap());
            check(&page, &format!("kafka_consumergroup_lag{of}"), Some(lag));
            // The records are as old as 1970.
            check_old(&page, &format!("ottla_consumergroup_lag_seconds{of}"));
        }
        check(&page, "ottla_consumergroup_lag_records{consumergroup=\"g\"}", Some(6.0));
        // The nodes hear of the last leader one after the other.
        eventually(async || {
            let (mut led, mut active, mut is_whole) = (0.0, 0.0, true);
            for id in 1..=3 {
                let page = cluster.broker(id).scrape().await;
                let of = |name: &str| value(&page, name).expect(name);
                led += of("ottla_partitions_led");
                active += of("ottla_is_controller");
                let bad = ["partitions_under_replicated", "partitions_offline", "brokers_fenced"];
                is_whole &= bad.iter().all(|name| of(&format!("ottla_{name}")) == 0.0);
                is_whole &= of("ottla_metadata_voters") == 3.0;
                is_whole &= (1.0..=3.0).contains(&of("ottla_controller_id"));
                // All brokers of this process count together.
                assert!(of("ottla_elections_won_total") >= 3.0);
                assert!(value(&page, "ottla_metadata_lag_entries").is_some());
            }
            // Three of the topic and three of the committed offsets.
            is_whole && (led, active) == (6.0, 1.0)
        })
        .await;
        cluster.stop().await;
    });
}

/// An age of many years.
#[track_caller]
fn check_old(page: &str, series: &str) {
    assert!(value(page, series).expect(series) > 1e9, "{series}");
}

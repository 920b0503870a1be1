//! DeleteRecords.

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};

use crate::harness::records::Topic;
use crate::harness::{Broker, Client, batch, run, topic_name};

/// Error and low watermark.
async fn delete(
    client: &mut Client,
    version: i16,
    topic: &str,
    (partition, before): (i32, i64),
) -> (i16, i64) {
    let partition =
        DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before);
    let topic =
        DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
    let answer = client.call(version, &request).await;
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.low_watermark)
}

#[test]
fn every_version_raises_the_log_start() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for _ in 0..8 {
            client.produce(&topic, batch::of(&[b"a"])).await;
        }
        for version in 0..=2 {
            let before = i64::from(2 * version + 1);
            assert_eq!(delete(&mut client, version, "t", (0, before)).await, (0, before));
            let below = client.fetch(&topic, before - 1).await;
            assert_eq!((below.error_code, below.log_start_offset), (1, before));
            assert_eq!(batch::parts(client.fetch(&topic, before).await.records)[0].0, before);
            // What is gone already can be deleted again.
            assert_eq!(delete(&mut client, version, "t", (0, 0)).await, (0, before));
        }

        let broker = broker.restart().await;
        let mut client = broker.client().await;
        let found = client.fetch(&topic, 5).await;
        assert_eq!((found.error_code, found.log_start_offset, found.high_watermark), (0, 5, 8));
        assert_eq!(delete(&mut client, 2, "t", (0, -1)).await, (0, 8), "all of it");
        assert_eq!(client.produce(&topic, batch::of(&[b"a"])).await.base_offset, 8);
    });
}

/// Whose records stay for ever may still have them deleted (`cleanup.policy` may be empty).
#[test]
fn a_topic_without_a_policy_may_be_deleted_from() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[("cleanup.policy", "")]).await;
        let mut client = broker.client().await;
        client.produce(&topic, batch::of(&[b"a"])).await;
        assert_eq!(delete(&mut client, 2, "t", (0, 1)).await, (0, 1));
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let settings = [("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "1")];
        let broker = Broker::start_with(&settings).await;
        broker.create_topic("t", 1, &[]).await;
        broker.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
        let mut client = broker.client().await;
        let group = kafka_protocol::messages::FindCoordinatorRequest::default();
        client.call(0, &group.with_key(crate::harness::text("g"))).await;
        for version in 0..=2 {
            for (topic, partition, before, code) in [
                ("unknown", 0, 0, 3),
                ("t", 1, 0, 3),
                ("t", 0, 1, 1),
                ("t", 0, -2, 1),
                ("compacted", 0, 0, 44),
                ("__consumer_offsets", 0, 0, 17),
            ] {
                let found = delete(&mut client, version, topic, (partition, before)).await;
                assert_eq!(found, (code, -1), "{topic}-{partition} before {before}");
            }
        }
    });
}

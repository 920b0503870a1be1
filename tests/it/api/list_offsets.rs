//! ListOffsets.

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};

use crate::harness::records::Topic;
use crate::harness::{Broker, Client, batch, frame, run, topic_name};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

fn partition(timestamp: i64) -> ListOffsetsPartition {
    ListOffsetsPartition::default().with_timestamp(timestamp)
}

async fn ask(
    client: &mut Client,
    version: i16,
    topic: &str,
    partitions: Vec<ListOffsetsPartition>,
) -> Vec<ListOffsetsPartitionResponse> {
    let topic =
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(partitions);
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    // Version 11 has the bytes of version 10.
    let coded = version.min(10);
    let mut frame = frame(5, coded, &request).to_vec();
    frame[6..8].copy_from_slice(&version.to_be_bytes());
    client.send_raw(&frame).await;
    client.receive::<ListOffsetsRequest>(coded, 5).await.topics.remove(0).partitions
}

/// Error, timestamp and offset.
async fn find(client: &mut Client, version: i16, timestamp: i64) -> (i16, i64, i64) {
    let found = ask(client, version, "t", vec![partition(timestamp)]).await.remove(0);
    (found.error_code, found.timestamp, found.offset)
}

#[test]
fn every_version_finds_the_ends() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for version in 1..=11 {
            assert_eq!(find(&mut client, version, EARLIEST).await, (0, -1, 0));
            assert_eq!(find(&mut client, version, LATEST).await, (0, -1, i64::from(version - 1)));
            client.produce(&topic, batch::of(&[b"a"])).await;
            let found = ask(&mut client, version, "t", vec![partition(LATEST)]).await;
            let epoch = client.topic("t").await.partitions[0].leader_epoch;
            assert_eq!(found[0].leader_epoch, if version < 4 { -1 } else { epoch });
        }
    });
}

#[test]
fn timestamps_find_the_first_record_that_is_not_older() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for timestamp_ms in [1_000, 3_000, 2_000] {
            let batch = batch::with(&[b"a", b"b"], batch::NO_PRODUCER, timestamp_ms);
            client.produce(&topic, batch).await;
        }
        for version in 1..=11 {
            for (timestamp, expected) in [
                (0, (0, 1_000, 0)),
                (1_000, (0, 1_000, 0)),
                (1_001, (0, 3_000, 2)),
                (3_000, (0, 3_000, 2)),
                (3_001, (0, -1, -1)),
            ] {
                let found = find(&mut client, version, timestamp).await;
                assert_eq!(found, expected, "{timestamp} in v{version}");
            }
        }
    });
}

#[test]
fn special_timestamps_come_with_their_versions() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for timestamp_ms in [1_000, 3_000, 2_000] {
            let batch = batch::with(&[b"a"], batch::NO_PRODUCER, timestamp_ms);
            client.produce(&topic, batch).await;
        }
        let none = (0, -1, -1);
        for (timestamp, first, expected) in [
            (-3, 7, (0, 3_000, 1)),
            (-4, 8, (0, -1, 0)),
            (-5, 9, none),
            (-6, 11, none),
            (-7, 12, none),
        ] {
            for version in 1..=11 {
                let expected = if version < first { (35, -1, -1) } else { expected };
                let found = find(&mut client, version, timestamp).await;
                assert_eq!(found, expected, "{timestamp} in v{version}");
            }
        }
    });
}

#[test]
fn what_cannot_be_found_has_kafkas_error() {
    run(async {
        let broker = Broker::start().await;
        Topic::create(&broker, "t", 1, &[]).await;
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        let epoch = client.topic("t").await.partitions[0].leader_epoch;
        let latest = || partition(LATEST);
        for version in [1, 11] {
            let found = ask(&mut client, version, "unknown", vec![latest()]).await;
            assert_eq!((found[0].error_code, found[0].offset), (3, -1));
            let found =
                ask(&mut client, version, "t", vec![latest().with_partition_index(1)]).await;
            assert_eq!(found[0].error_code, 3, "UNKNOWN_TOPIC_OR_PARTITION");
            let found = ask(&mut client, version, "t", vec![latest(), latest()]).await;
            let codes: Vec<i16> = found.iter().map(|one| one.error_code).collect();
            assert_eq!(codes, [42, 42], "INVALID_REQUEST");
        }
        for (known, code) in [(-1, 0), (epoch - 1, 74), (epoch, 0), (epoch + 1, 75)] {
            let wanted = latest().with_current_leader_epoch(known);
            assert_eq!(ask(&mut client, 4, "t", vec![wanted]).await[0].error_code, code);
        }
    });
}

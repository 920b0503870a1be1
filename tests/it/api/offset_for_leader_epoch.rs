//! OffsetForLeaderEpoch.

use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest};

use crate::harness::records::Topic;
use crate::harness::{Broker, Client, batch, run, topic_name};

/// Error, epoch and end offset.
async fn end_of(
    client: &mut Client,
    version: i16,
    topic: &str,
    partition: OffsetForLeaderPartition,
) -> (i16, i32, i64) {
    let topic = OffsetForLeaderTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    let answer = client.call(version, &request).await;
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.leader_epoch, found.end_offset)
}

fn epoch(epoch: i32) -> OffsetForLeaderPartition {
    OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(epoch)
}

#[test]
fn every_version_tells_where_epochs_end() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        client.produce(&topic, batch::of(&[b"a", b"b"])).await;
        let older = client.topic("t").await.partitions[0].leader_epoch;
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        client.produce(&topic, batch::of(&[b"c"])).await;
        let current = client.topic("t").await.partitions[0].leader_epoch;
        assert!(older < current, "a restart is a new term");
        for version in 2..=4 {
            let found = end_of(&mut client, version, "t", epoch(older)).await;
            assert_eq!(found, (0, older, 2), "v{version}");
            let found = end_of(&mut client, version, "t", epoch(current)).await;
            assert_eq!(found, (0, current, 3), "v{version}");
            let found = end_of(&mut client, version, "t", epoch(current + 1)).await;
            assert_eq!(found, (0, -1, -1), "v{version}");
        }
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start().await;
        Topic::create(&broker, "t", 1, &[]).await;
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        let current = client.topic("t").await.partitions[0].leader_epoch;
        for version in 2..=4 {
            let cases = [
                ("unknown", epoch(0), 3),
                ("t", epoch(0).with_partition(1), 3),
                ("t", epoch(0).with_current_leader_epoch(current - 1), 74),
                ("t", epoch(0).with_current_leader_epoch(current + 1), 75),
            ];
            for (topic, asked, code) in cases {
                assert_eq!(end_of(&mut client, version, topic, asked).await, (code, -1, -1));
            }
        }
    });
}

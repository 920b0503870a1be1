//! OffsetDelete.

use kafka_protocol::messages::OffsetDeleteRequest;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use crate::api::consumer_group_heartbeat::{call, join};
use crate::harness::groups::group_id;
use crate::harness::records::Topic;
use crate::harness::{Broker, Client, run, topic_name};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const INVALID_GROUP_ID: i16 = 24;
const GROUP_ID_NOT_FOUND: i16 = 69;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;

/// The error of the whole, and those of the partitions.
async fn delete(
    client: &mut Client,
    group: &str,
    topic: &str,
    partitions: &[i32],
) -> (i16, Vec<i16>) {
    let partitions = partitions
        .iter()
        .map(|index| OffsetDeleteRequestPartition::default().with_partition_index(*index));
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(partitions.collect());
    let request =
        OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(vec![topic]);
    let answer = client.call(0, &request).await;
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    (answer.error_code, partitions.map(|partition| partition.error_code).collect())
}

#[test]
fn single_offsets_are_forgotten() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 3, &[]).await;
        let mut client = broker.client().await;
        client.commit(9, "g", &topic, &[(0, 1), (1, 2)]).await;
        let codes = vec![0, 0, UNKNOWN_TOPIC_OR_PARTITION];
        assert_eq!(delete(&mut client, "g", "t", &[0, 2, 3]).await, (0, codes));
        assert_eq!(client.committed(9, "g", &topic, &[0, 1]).await, [-1, 2]);
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        client.coordinator().await;
        assert_eq!(client.committed(9, "g", &topic, &[0, 1]).await, [-1, 2]);
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        client.commit(9, "g", &topic, &[(0, 1)]).await;
        assert_eq!(delete(&mut client, "", "t", &[0]).await, (INVALID_GROUP_ID, vec![]));
        assert_eq!(delete(&mut client, "nobody", "t", &[0]).await, (GROUP_ID_NOT_FOUND, vec![]));
        let unknown = vec![UNKNOWN_TOPIC_OR_PARTITION];
        assert_eq!(delete(&mut client, "g", "unknown", &[0]).await, (0, unknown));
    });
}

#[test]
fn without_a_coordinator_nothing_is_deleted() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let refused = (COORDINATOR_NOT_AVAILABLE, vec![]);
        assert_eq!(delete(&mut client, "g", "t", &[0]).await, refused);
    });
}

#[test]
fn topics_in_use_keep_their_offsets() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let used = Topic::create(&broker, "used", 1, &[]).await;
        let unused = Topic::create(&broker, "unused", 1, &[]).await;
        let mut client = broker.client().await;
        for topic in [&used, &unused] {
            client.commit(9, "g", topic, &[(0, 1)]).await;
        }
        call(&mut client, 1, &join("g", "m", &["used"])).await;
        let subscribed = vec![GROUP_SUBSCRIBED_TO_TOPIC];
        assert_eq!(delete(&mut client, "g", "used", &[0]).await, (0, subscribed));
        assert_eq!(delete(&mut client, "g", "unused", &[0]).await, (0, vec![0]));
        assert_eq!(client.committed(9, "g", &used, &[0]).await, [1]);
        assert_eq!(client.committed(9, "g", &unused, &[0]).await, [-1]);
    });
}

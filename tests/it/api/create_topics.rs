//! CreateTopics.

use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest};
use uuid::Uuid;

use crate::harness::{Broker, Client, run, text, topic_name};

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(factor)
}

fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(60_000)
}

async fn code(client: &mut Client, topic: CreatableTopic) -> i16 {
    client.call(7, &create(vec![topic])).await.topics[0].error_code
}

#[test]
fn every_version_creates_a_topic_that_is_served() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 2..=7 {
            let name = format!("t{version}");
            let answer = client.call(version, &create(vec![topic(&name, 2, 1)])).await;
            let created = &answer.topics[0];
            assert_eq!((created.name.as_str(), created.error_code), (name.as_str(), 0));
            let counts = if version < 5 { (-1, -1) } else { (2, 1) };
            assert_eq!((created.num_partitions, created.replication_factor), counts);
            let found = client.topic(&name).await;
            assert_eq!((found.error_code, found.partitions.len()), (0, 2));
            assert!(found.partitions.iter().all(|partition| partition.leader_id.0 == 1));
            assert_eq!(created.topic_id, if version < 7 { Uuid::nil() } else { found.topic_id });
        }
    });
}

#[test]
fn counts_of_minus_one_are_the_defaults() {
    run(async {
        let broker = Broker::start_with(&[("KAFKA_NUM_PARTITIONS", "4")]).await;
        let mut client = broker.client().await;
        for version in [4, 7] {
            let name = format!("t{version}");
            let answer = client.call(version, &create(vec![topic(&name, -1, -1)])).await;
            assert_eq!(answer.topics[0].error_code, 0);
            assert_eq!(client.topic(&name).await.partitions.len(), 4);
        }
        let place = |partition| {
            CreatableReplicaAssignment::default()
                .with_partition_index(partition)
                .with_broker_ids(vec![BrokerId(1)])
        };
        let placed = topic("placed", -1, -1).with_assignments(vec![place(1), place(0)]);
        assert_eq!(code(&mut client, placed).await, 0);
        assert_eq!(client.topic("placed").await.partitions.len(), 2);
    });
}

#[test]
fn what_is_only_validated_does_not_come_to_be() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 2..=7 {
            let request = create(vec![topic("t", 1, 1)]).with_validate_only(true);
            assert_eq!(client.call(version, &request).await.topics[0].error_code, 0);
        }
        assert_eq!(client.topic("t").await.error_code, 3);
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("there", 1, &[]).await;
        broker.create_topic("with.dot", 1, &[]).await;
        let mut client = broker.client().await;
        let long = "x".repeat(250);
        for (name, expected) in [
            ("there", 36),
            ("with_dot", 17),
            ("", 17),
            (".", 17),
            ("..", 17),
            ("a/b", 17),
            ("a b", 17),
            ("ä", 17),
            (long.as_str(), 17),
        ] {
            assert_eq!(code(&mut client, topic(name, 1, 1)).await, expected, "{name:?}");
        }
        for (partitions, factor, expected) in
            [(0, 1, 37), (-2, 1, 37), (1, 0, 38), (1, -2, 38), (1, 2, 38), (20_000, 1, 44)]
        {
            let found = code(&mut client, topic("t", partitions, factor)).await;
            assert_eq!(found, expected, "{partitions} partitions, factor {factor}");
        }
        for (key, value) in
            [("retention.ms", Some("soon")), ("no.such.key", Some("1")), ("retention.ms", None)]
        {
            let config =
                CreatableTopicConfig::default().with_name(text(key)).with_value(value.map(text));
            let bad = topic("t", 1, 1).with_configs(vec![config]);
            assert_eq!(code(&mut client, bad).await, 40, "INVALID_CONFIG of {key}={value:?}");
        }
        let nowhere = CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(9)]);
        let nowhere = topic("t", -1, -1).with_assignments(vec![nowhere]);
        assert_eq!(code(&mut client, nowhere).await, 39, "INVALID_REPLICA_ASSIGNMENT");

        let request = create(vec![topic("t", 1, 1), topic("u", 1, 1), topic("t", 1, 1)]);
        let answer = client.call(7, &request).await;
        let found: Vec<(&str, i16)> =
            answer.topics.iter().map(|one| (one.name.as_str(), one.error_code)).collect();
        assert_eq!(found, [("u", 0), ("t", 42)]);
        assert_eq!(client.topic("t").await.error_code, 3, "nothing refused came to be");
    });
}

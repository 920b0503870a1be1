//! CreatePartitions.

use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::{BrokerId, CreatePartitionsRequest};

use crate::harness::records::{Topic, produce};
use crate::harness::{Broker, batch, run, topic_name};

fn grow(name: &str, count: i32, assignments: Option<&[i32]>) -> CreatePartitionsRequest {
    let place =
        |id: &i32| CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(*id)]);
    let topic = CreatePartitionsTopic::default()
        .with_name(topic_name(name))
        .with_count(count)
        .with_assignments(assignments.map(|ids| ids.iter().map(place).collect()));
    CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000)
}

#[test]
fn every_version_adds_partitions_that_are_served() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for version in 0..=3 {
            let count = i32::from(version) + 2;
            let tried = grow("t", count, None).with_validate_only(true);
            assert_eq!(client.call(version, &tried).await.results[0].error_code, 0);
            let count_now = client.topic("t").await.partitions.len();
            assert_eq!(count_now, usize::try_from(count - 1).unwrap());

            let places: Option<&[i32]> = if version % 2 == 0 { None } else { Some(&[1]) };
            let answer = client.call(version, &grow("t", count, places)).await;
            assert_eq!(answer.results[0].name.as_str(), "t");
            assert_eq!(answer.results[0].error_code, 0);
            let data = topic.produce(&[(count - 1, batch::of(&[b"a"]))]);
            let answer = client.call(13, &produce(vec![data])).await;
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 2, &[]).await;
        let mut client = broker.client().await;
        let cases: &[(&str, i32, Option<&[i32]>, i16)] = &[
            ("unknown", 3, None, 3),
            ("t", 2, None, 37),
            ("t", 1, None, 37),
            ("t", -1, None, 37),
            ("t", 20_000, None, 44),
            ("t", 3, Some(&[9]), 39),
            ("t", 3, Some(&[1, 1]), 39),
        ];
        for version in 0..=3 {
            for (name, count, places, code) in cases {
                let answer = client.call(version, &grow(name, *count, *places)).await;
                let found = answer.results[0].error_code;
                assert_eq!(found, *code, "{count} of {name} at {places:?}");
            }
            let mut twice = grow("t", 3, None);
            twice.topics.push(twice.topics[0].clone());
            let answer = client.call(version, &twice).await;
            assert_eq!((answer.results.len(), answer.results[0].error_code), (1, 42));
        }
        assert_eq!(client.topic("t").await.partitions.len(), 2);
    });
}

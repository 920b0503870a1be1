//! DescribeTopicPartitions.

use kafka_protocol::messages::DescribeTopicPartitionsRequest;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};

use crate::harness::{Broker, run, topic_name};

fn describe(names: &[&str]) -> DescribeTopicPartitionsRequest {
    let topics = names.iter().map(|name| TopicRequest::default().with_name(topic_name(name)));
    DescribeTopicPartitionsRequest::default()
        .with_topics(topics.collect())
        .with_response_partition_limit(2_000)
        .with_cursor(None)
}

#[test]
fn partitions_come_page_by_page() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("b", 2, &[]).await;
        broker.create_topic("a", 3, &[]).await;
        let mut client = broker.client().await;
        let expected = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)];
        for names in [&[][..], &["b", "a", "b"]] {
            for limit in [1, 2, 3, 4, 5, 2_000] {
                let mut found = Vec::new();
                let mut request = describe(names).with_response_partition_limit(limit);
                loop {
                    let answer = client.call(0, &request).await;
                    let before = found.len();
                    for topic in &answer.topics {
                        assert_eq!(topic.error_code, 0);
                        let name = topic.name.as_ref().unwrap().to_string();
                        for partition in &topic.partitions {
                            assert_eq!((partition.error_code, partition.leader_id.0), (0, 1));
                            found.push((name.clone(), partition.partition_index));
                        }
                    }
                    assert!(found.len() - before <= usize::try_from(limit).unwrap());
                    let Some(next) = answer.next_cursor else { break };
                    let cursor = Cursor::default()
                        .with_topic_name(next.topic_name)
                        .with_partition_index(next.partition_index);
                    request.cursor = Some(cursor);
                }
                let found = found.iter().map(|(name, index)| (name.as_str(), *index));
                assert!(found.eq(expected), "{names:?}, {limit} at a time");
            }
        }
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start().await;
        let id = broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        let answer = client.call(0, &describe(&["t", "unknown", "a/b"])).await;
        let found: Vec<(&str, i16)> = answer
            .topics
            .iter()
            .map(|topic| (topic.name.as_ref().unwrap().as_str(), topic.error_code))
            .collect();
        assert_eq!(found, [("a/b", 17), ("t", 0), ("unknown", 3)]);
        assert_eq!(answer.topics[1].topic_id, id);

        for (name, index) in [("t", -1), ("u", 0)] {
            let cursor =
                Cursor::default().with_topic_name(topic_name(name)).with_partition_index(index);
            let answer = client.call(0, &describe(&["t"]).with_cursor(Some(cursor))).await;
            assert_eq!(answer.topics[0].error_code, 42, "INVALID_REQUEST");
        }
    });
}

//! ElectLeaders.

use kafka_protocol::messages::ElectLeadersRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;

use crate::harness::{Broker, run, topic_name};

#[test]
fn who_leads_already_needs_no_election() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 2, &[]).await;
        let mut client = broker.client().await;
        let topics = [("t", vec![0, 5]), ("x", vec![0])].map(|(name, partitions)| {
            TopicPartitions::default().with_topic(topic_name(name)).with_partitions(partitions)
        });
        for version in 0..=2 {
            for kind in 0..=i8::from(version > 0) {
                let request = ElectLeadersRequest::default()
                    .with_election_type(kind)
                    .with_timeout_ms(60_000)
                    .with_topic_partitions(Some(topics.to_vec()));
                let answer = client.call(version, &request).await;
                assert_eq!(answer.error_code, 0);
                let results = answer.replica_election_results.iter();
                let results = results.flat_map(|topic| &topic.partition_result);
                let told = results.map(|one| (one.error_code, one.error_message.as_deref()));
                let expected = [
                    (84, Some("Leader election not needed for topic partition.")),
                    (3, Some("No such partition as t-5")),
                    (3, Some("No such topic as x")),
                ];
                assert!(told.eq(expected), "version {version} kind {kind}");
                let all = request.with_topic_partitions(None);
                let answer = client.call(version, &all).await;
                assert_eq!((answer.error_code, answer.replica_election_results.len()), (0, 1));
                assert!(answer.replica_election_results[0].partition_result.is_empty());
            }
        }
    });
}

#[test]
fn unknown_kinds_are_refused() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 1..=2 {
            let request = ElectLeadersRequest::default().with_election_type(9);
            assert_eq!(client.call(version, &request).await.error_code, 42);
        }
    });
}

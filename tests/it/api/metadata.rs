//! Metadata.

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use uuid::Uuid;

use crate::harness::{Broker, run, topic_name};

#[test]
fn every_version_names_broker_topic_and_leader() {
    run(async {
        let broker = Broker::start().await;
        let id = broker.create_topic("events", 3, &[]).await;
        let mut client = broker.client().await;
        for version in 0..=13 {
            let wanted = MetadataRequestTopic::default().with_name(Some(topic_name("events")));
            let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
            let answer = client.call(version, &request).await;
            assert_eq!(answer.brokers.len(), 1);
            assert_eq!(answer.brokers[0].port, i32::from(broker.address.port()));
            let topic = &answer.topics[0];
            assert_eq!((topic.error_code, topic.partitions.len()), (0, 3));
            assert!(topic.partitions.iter().all(|p| p.error_code == 0 && p.leader_id.0 == 1));
            assert_eq!(topic.topic_id, if version >= 10 { id } else { Uuid::nil() });
        }
    });
}

#[test]
fn null_means_all_and_empty_means_none_but_in_version_0() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("a", 1, &[]).await;
        broker.create_topic("b", 1, &[]).await;
        let mut client = broker.client().await;
        let none = MetadataRequest::default().with_topics(Some(vec![]));
        let all = MetadataRequest::default().with_topics(None);
        assert_eq!(client.call(0, &none).await.topics.len(), 2);
        assert_eq!(client.call(1, &none).await.topics.len(), 0);
        assert_eq!(client.call(1, &all).await.topics.len(), 2);
        assert_eq!(client.call(13, &all).await.topics.len(), 2);
    });
}

#[test]
fn topics_are_found_by_id_or_not_at_all() {
    run(async {
        let broker = Broker::start().await;
        let id = broker.create_topic("a", 1, &[]).await;
        let mut client = broker.client().await;
        let by_id = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        let request = MetadataRequest::default()
            .with_topics(Some(vec![by_id(id), by_id(Uuid::from_bytes([7; 16]))]));
        let topics = client.call(12, &request).await.topics;
        assert_eq!(topics[0].name.as_ref().unwrap().as_str(), "a");
        assert_eq!(topics[1].error_code, 100, "UNKNOWN_TOPIC_ID");
    });
}

#[test]
fn a_topic_is_created_by_asking_for_it_if_that_is_allowed() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let ask = |name: &str, create| {
            let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
            MetadataRequest::default()
                .with_topics(Some(vec![wanted]))
                .with_allow_auto_topic_creation(create)
        };
        assert_eq!(client.call(12, &ask("new", false)).await.topics[0].error_code, 3);
        let created = client.call(12, &ask("new", true)).await.topics.remove(0);
        assert_eq!((created.error_code, created.partitions.len()), (0, 1));
        assert_eq!(created.partitions[0].leader_id.0, 1, "a leader is named when it serves");
        for bad in ["..", "a/b", "", "a b"] {
            let code = client.call(12, &ask(bad, true)).await.topics[0].error_code;
            assert_eq!(code, 17, "INVALID_TOPIC_EXCEPTION for {bad:?}");
        }
        let frozen = Broker::start_with(&[("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")]).await;
        let answer = frozen.client().await.call(12, &ask("new", true)).await;
        assert_eq!(answer.topics[0].error_code, 3);
    });
}

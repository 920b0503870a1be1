//! DeleteTopics.

use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use uuid::Uuid;

use crate::harness::records::Topic;
use crate::harness::{Broker, batch, run, topic_name};

fn by_name(version: i16, name: &str) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(60_000);
    if version < 6 {
        request.with_topic_names(vec![topic_name(name)])
    } else {
        let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
        request.with_topics(vec![topic])
    }
}

fn by_id(id: Uuid) -> DeleteTopicsRequest {
    let topic = DeleteTopicState::default().with_name(None).with_topic_id(id);
    DeleteTopicsRequest::default().with_timeout_ms(60_000).with_topics(vec![topic])
}

#[test]
fn every_version_deletes_and_the_name_is_free() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 1..=6 {
            let topic = Topic::create(&broker, "t", 2, &[]).await;
            assert_eq!(client.produce(&topic, batch::of(&[b"a"])).await.base_offset, 0);
            let answer = client.call(version, &by_name(version, "t")).await;
            assert_eq!(answer.responses[0].error_code, 0);
            assert_eq!(client.topic("t").await.error_code, 3);
            assert_eq!(client.produce(&topic, batch::of(&[b"a"])).await.error_code, 100);
        }
        let id = broker.create_topic("t", 1, &[]).await;
        let answer = client.call(6, &by_id(id)).await;
        assert_eq!(answer.responses[0].error_code, 0);
        assert_eq!(answer.responses[0].name.as_ref().unwrap().as_str(), "t");
        assert_eq!(client.topic("t").await.error_code, 3);
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start().await;
        let id = broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        for version in 1..=6 {
            let answer = client.call(version, &by_name(version, "unknown")).await;
            assert_eq!(answer.responses[0].error_code, 3);
            let message = answer.responses[0].error_message.is_some();
            assert_eq!(message, version >= 5);
        }
        let answer = client.call(6, &by_id(Uuid::from_bytes([7; 16]))).await;
        assert_eq!(answer.responses[0].error_code, 100);
        let mut both = by_name(6, "t");
        both.topics[0].topic_id = id;
        assert_eq!(client.call(6, &both).await.responses[0].error_code, 42);
        let mut twice = by_name(1, "t");
        twice.topic_names.push(topic_name("t"));
        assert_eq!(client.call(1, &twice).await.responses[0].error_code, 42);
        assert_eq!(client.topic("t").await.error_code, 0, "it is still there");
    });
}

#[test]
fn deletion_can_be_disabled() {
    run(async {
        let broker = Broker::start_with(&[("KAFKA_DELETE_TOPIC_ENABLE", "false")]).await;
        broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        for version in 1..=6 {
            let answer = client.call(version, &by_name(version, "t")).await;
            let code = answer.responses[0].error_code;
            assert_eq!(code, if version < 3 { 42 } else { 73 }, "v{version}");
        }
    });
}

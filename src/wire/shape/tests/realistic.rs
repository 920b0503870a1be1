//! Large but honest requests: the bound on memory must not get into their way.

use bytes::BytesMut;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::accepted;

/// Topics of one partition each are the worst case, as each partition then drags a topic along.
const TOPICS: usize = 10_000;

fn name(index: usize) -> TopicName {
    StrBytes::from_string(format!("orders-events-{index:06}")).into()
}

fn topics<T>(topic: impl Fn(TopicName) -> T) -> Vec<T> {
    (0..TOPICS).map(|index| topic(name(index))).collect()
}

#[track_caller]
fn passes<T: Encodable>(key: i16, versions: &[i16], request: &T) {
    for version in versions {
        let mut body = BytesMut::new();
        request.encode(&mut body, *version).unwrap();
        accepted(key, *version, &body);
    }
}

#[test]
fn metadata_of_10_000_topics() {
    let topic = |name| MetadataRequestTopic::default().with_name(Some(name));
    let request = MetadataRequest::default().with_topics(Some(topics(topic)));
    passes(3, &[0, 1, 4, 8, 9, 12, 13], &request);
}

#[test]
fn fetch_of_10_000_partitions() {
    let topic = |name| {
        FetchTopic::default().with_topic(name).with_partitions(vec![FetchPartition::default()])
    };
    passes(1, &[4, 7, 11, 12], &FetchRequest::default().with_topics(topics(topic)));
    let topic = |_| FetchTopic::default().with_partitions(vec![FetchPartition::default()]);
    passes(1, &[13, 17, 18], &FetchRequest::default().with_topics(topics(topic)));
}

#[test]
fn list_offsets_of_10_000_partitions() {
    let topic = |name| {
        let partitions = vec![ListOffsetsPartition::default()];
        ListOffsetsTopic::default().with_name(name).with_partitions(partitions)
    };
    passes(2, &[1, 4, 6, 10], &ListOffsetsRequest::default().with_topics(topics(topic)));
}

#[test]
fn offset_commit_of_10_000_partitions() {
    let topic = |name| {
        let partitions = vec![OffsetCommitRequestPartition::default()];
        OffsetCommitRequestTopic::default().with_name(name).with_partitions(partitions)
    };
    passes(8, &[2, 6, 8, 9], &OffsetCommitRequest::default().with_topics(topics(topic)));
}

#[test]
fn create_10_000_topics_with_two_configs() {
    let config = CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str("cleanup.policy"))
        .with_value(Some(StrBytes::from_static_str("compact")));
    let topic =
        |name| CreatableTopic::default().with_name(name).with_configs(vec![config.clone(); 2]);
    passes(19, &[2, 5, 7], &CreateTopicsRequest::default().with_topics(topics(topic)));
}

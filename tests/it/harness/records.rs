//! Produce and Fetch of one partition, which most tests need.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{FetchRequest, ProduceRequest};
use uuid::Uuid;

use crate::harness::{Broker, Client, topic_name};

/// The highest versions.
pub const PRODUCE: i16 = 13;
pub const FETCH: i16 = 18;

/// A topic with both its names: the version of a request tells which one goes out.
#[derive(Debug, Clone)]
pub struct Topic {
    pub name: &'static str,
    pub id: Uuid,
}

impl Topic {
    pub async fn create(
        broker: &Broker,
        name: &'static str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Self {
        Self { name, id: broker.create_topic(name, partitions, configs).await }
    }

    pub fn produce(&self, partitions: &[(i32, Bytes)]) -> TopicProduceData {
        let data = partitions.iter().map(|(index, records)| {
            PartitionProduceData::default().with_index(*index).with_records(Some(records.clone()))
        });
        TopicProduceData::default()
            .with_name(topic_name(self.name))
            .with_topic_id(self.id)
            .with_partition_data(data.collect())
    }

    pub fn fetch(&self, partitions: &[(i32, i64)]) -> FetchTopic {
        let wanted = partitions.iter().map(|(partition, offset)| fetch_from(*partition, *offset));
        FetchTopic::default()
            .with_topic(topic_name(self.name))
            .with_topic_id(self.id)
            .with_partitions(wanted.collect())
    }
}

pub fn fetch_from(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(i32::MAX)
}

/// With acks=all.
pub fn produce(topics: Vec<TopicProduceData>) -> ProduceRequest {
    ProduceRequest::default().with_acks(-1).with_timeout_ms(60_000).with_topic_data(topics)
}

/// That does not wait, and has no session.
pub fn fetch(topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(i32::MAX)
        .with_session_epoch(-1)
        .with_topics(topics)
}

impl Client {
    /// Appends to partition 0.
    pub async fn produce(&mut self, topic: &Topic, records: Bytes) -> PartitionProduceResponse {
        self.produce_as(PRODUCE, topic, records).await
    }

    pub async fn produce_as(
        &mut self,
        version: i16,
        topic: &Topic,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce(vec![topic.produce(&[(0, records)])]);
        self.call(version, &request).await.responses.remove(0).partition_responses.remove(0)
    }

    /// Fetches from partition 0 what is there.
    pub async fn fetch(&mut self, topic: &Topic, offset: i64) -> PartitionData {
        self.fetch_as(FETCH, topic, fetch_from(0, offset)).await
    }

    pub async fn fetch_as(
        &mut self,
        version: i16,
        topic: &Topic,
        wanted: FetchPartition,
    ) -> PartitionData {
        let request = fetch(vec![topic.fetch(&[]).with_partitions(vec![wanted])]);
        let mut answer = self.call(version, &request).await;
        assert_eq!(answer.error_code, 0);
        answer.responses.remove(0).partitions.remove(0)
    }
}

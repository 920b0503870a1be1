//! Offsets of groups, committed and fetched in every version.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use kafka_protocol::messages::{
    FindCoordinatorRequest, ListGroupsRequest, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, RequestHeader,
};
use kafka_protocol::protocol::{Encodable, Request};
use uuid::Uuid;

use crate::harness::groups::group_id;
use crate::harness::records::Topic;
use crate::harness::{Broker, Client, eventually, text, topic_name};

/// Few partitions of `__consumer_offsets`, so that a broker has them soon.
pub const SETTINGS: &[(&str, &str)] = &[("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "3")];

/// The versions that kafka-protocol has no requests for.
const BY_ID: i16 = 10;

impl Broker {
    /// A broker whose groups are served.
    pub async fn with_groups(settings: &[(&str, &str)]) -> Self {
        let broker = Self::start_with(&[SETTINGS, settings].concat()).await;
        broker.client().await.coordinator().await;
        broker
    }
}

impl Client {
    /// Waits until every group is served.
    pub async fn coordinator(&mut self) {
        self.call(0, &FindCoordinatorRequest::default().with_key(text("g"))).await;
        eventually(async || self.call(5, &ListGroupsRequest::default()).await.error_code == 0)
            .await;
    }

    /// Commits offsets of one topic; the error code of each partition.
    pub async fn commit(
        &mut self,
        version: i16,
        group: &str,
        topic: &Topic,
        offsets: &[(i32, i64)],
    ) -> Vec<i16> {
        let request = commit_of(group, topic, offsets);
        let mut answer = self.commit_as(version, &request).await;
        let topic = answer.topics.remove(0);
        topic.partitions.iter().map(|partition| partition.error_code).collect()
    }

    pub async fn commit_as(
        &mut self,
        version: i16,
        request: &OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        if version < BY_ID {
            return self.call(version, request).await;
        }
        let id = self.send_body(version, OffsetCommitRequest::KEY, &commit_body(request)).await;
        self.receive::<OffsetCommitRequest>(version, id).await
    }

    /// The committed offsets of these partitions of a topic.
    pub async fn committed(
        &mut self,
        version: i16,
        group: &str,
        topic: &Topic,
        partitions: &[i32],
    ) -> Vec<i64> {
        let found = self.fetch_offsets(version, group, Some((topic, partitions))).await;
        assert_eq!(found.error_code, 0);
        let partitions = found.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| partition.committed_offset).collect()
    }

    /// OffsetFetch of one group in the form of the versions with several.
    pub async fn fetch_offsets(
        &mut self,
        version: i16,
        group: &str,
        wanted: Option<(&Topic, &[i32])>,
    ) -> OffsetFetchResponseGroup {
        if version >= 8 {
            let request = fetch_of(version, &[(group, wanted)]);
            return self.fetch_offsets_as(version, &request).await.groups.remove(0);
        }
        let topics = wanted.map(|(topic, partitions)| {
            let topic = OffsetFetchRequestTopic::default().with_name(topic_name(topic.name));
            vec![topic.with_partition_indexes(partitions.to_vec())]
        });
        let request =
            OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(topics);
        several(group, self.call(version, &request).await)
    }

    pub async fn fetch_offsets_as(
        &mut self,
        version: i16,
        request: &OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        if version < BY_ID {
            return self.call(version, request).await;
        }
        let id = self.send_body(version, OffsetFetchRequest::KEY, &fetch_body(request)).await;
        self.receive::<OffsetFetchRequest>(version, id).await
    }

    pub async fn send_body(&mut self, version: i16, key: i16, body: &[u8]) -> i32 {
        let id = 1_000;
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(id);
        let mut frame = BytesMut::new();
        header.encode(&mut frame, 2).unwrap();
        frame.put_slice(body);
        let size = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.send_raw(&[&size, &frame[..]].concat()).await;
        id
    }
}

pub fn commit_of(group: &str, topic: &Topic, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partitions = offsets.iter().map(|(partition, offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text("")))
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(topic.name))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect());
    OffsetCommitRequest::default().with_group_id(group_id(group)).with_topics(vec![topic])
}

/// Partitions of a topic; none is all of the group.
pub type Wanted<'a> = Option<(&'a Topic, &'a [i32])>;

pub fn fetch_of(version: i16, groups: &[(&str, Wanted<'_>)]) -> OffsetFetchRequest {
    let groups = groups.iter().map(|(group, wanted)| {
        let topics = wanted.map(|(topic, partitions)| {
            let wanted =
                OffsetFetchRequestTopics::default().with_partition_indexes(partitions.to_vec());
            vec![match version {
                BY_ID.. => wanted.with_topic_id(topic.id),
                _ => wanted.with_name(topic_name(topic.name)),
            }]
        });
        OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_member_id(None)
            .with_topics(topics)
    });
    OffsetFetchRequest::default().with_groups(groups.collect())
}

/// The one group of an old answer.
fn several(group: &str, answer: OffsetFetchResponse) -> OffsetFetchResponseGroup {
    use kafka_protocol::messages::offset_fetch_response as response;
    let topics = answer.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|one| {
            response::OffsetFetchResponsePartitions::default()
                .with_partition_index(one.partition_index)
                .with_committed_offset(one.committed_offset)
                .with_committed_leader_epoch(one.committed_leader_epoch)
                .with_metadata(one.metadata)
                .with_error_code(one.error_code)
        });
        response::OffsetFetchResponseTopics::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default()
        .with_group_id(group_id(group))
        .with_topics(topics.collect())
        .with_error_code(answer.error_code)
}

fn put_text(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => {
            out.put_u8(u8::try_from(text.len() + 1).expect("short in tests"));
            out.put_slice(text.as_bytes());
        }
        None => out.put_u8(0),
    }
}

fn put_list<T>(out: &mut BytesMut, items: &[T], mut each: impl FnMut(&mut BytesMut, &T)) {
    out.put_u8(u8::try_from(items.len() + 1).expect("few in tests"));
    items.iter().for_each(|item| each(out, item));
}

fn put_id(out: &mut BytesMut, id: Uuid) {
    out.put_slice(id.as_bytes());
}

/// OffsetCommit 10.
fn commit_body(request: &OffsetCommitRequest) -> Bytes {
    let mut out = BytesMut::new();
    put_text(&mut out, Some(&request.group_id));
    out.put_i32(request.generation_id_or_member_epoch);
    put_text(&mut out, Some(&request.member_id));
    put_text(&mut out, request.group_instance_id.as_deref());
    put_list(&mut out, &request.topics, |out, topic| {
        put_id(out, topic.topic_id);
        put_list(out, &topic.partitions, |out, partition| {
            out.put_i32(partition.partition_index);
            out.put_i64(partition.committed_offset);
            out.put_i32(partition.committed_leader_epoch);
            put_text(out, partition.committed_metadata.as_deref());
            out.put_u8(0);
        });
        out.put_u8(0);
    });
    out.put_u8(0);
    out.freeze()
}

/// OffsetFetch 10.
fn fetch_body(request: &OffsetFetchRequest) -> Bytes {
    let mut out = BytesMut::new();
    put_list(&mut out, &request.groups, |out, group| {
        put_text(out, Some(&group.group_id));
        put_text(out, group.member_id.as_deref());
        out.put_i32(group.member_epoch);
        match &group.topics {
            Some(topics) => put_list(out, topics, |out, topic| {
                put_id(out, topic.topic_id);
                put_list(out, &topic.partition_indexes, |out, index| out.put_i32(*index));
                out.put_u8(0);
            }),
            None => out.put_u8(0),
        }
        out.put_u8(0);
    });
    out.put_u8(u8::from(request.require_stable));
    out.put_u8(0);
    out.freeze()
}

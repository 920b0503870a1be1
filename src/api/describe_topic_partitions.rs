//! DescribeTopicPartitions (key 75), version 0: topics with their partitions, page by page
//! (KIP-966).
//!
//! Behaviour
//! * No topics means all. Topics come sorted by name, each once, from the cursor's on.
//! * A page has at most `response_partition_limit` partitions, and at most
//!   `max.request.partition.size.limit`; the next cursor is where it ended.
//! * Leaders and replicas are the metadata's, as in Metadata.
//! * There are no eligible leader replicas outside the in-sync ones: a leader has a majority.
//!
//! Versions: 0 is the first.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_topic_partitions_request::Cursor as RequestCursor;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::Caller;
use crate::api::errors::{Code, NONE, of_refusal};
use crate::api::metadata::{ALL_TOPIC_OPERATIONS, broker_ids, is_internal};
use crate::base::ids::PartitionIndex;
use crate::controller::topic_name;
use crate::metadata::image::{Image, Topic};

pub(super) async fn handle(
    caller: &Caller,
    request: DescribeTopicPartitionsRequest,
    _version: i16,
) -> DescribeTopicPartitionsResponse {
    let context = &caller.context;
    let image = context.image();
    let cursor = request.cursor.as_ref();
    let from = cursor.map_or("", |cursor| cursor.topic_name.as_str());
    let names: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
    let is_misplaced = !names.is_empty() && cursor.is_some() && !names.contains(from);
    if is_misplaced || cursor.is_some_and(|cursor| cursor.partition_index < 0) {
        return refused(&request);
    }
    let limit = context.settings.config.max_request_partition_size_limit;
    let limit = request.response_partition_limit.min(limit).max(1);
    let mut page = Page {
        caller,
        image: &image,
        cursor,
        room: usize::try_from(limit).unwrap_or(1),
        topics: Vec::new(),
    };
    let next = if names.is_empty() {
        let all = image.topics().map(|topic| topic.name.as_str());
        page.fill(all.skip_while(|name| *name < from))
    } else {
        page.fill(names.range(from..).copied())
    };
    DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(next)
}

/// The codes in a response.
pub(super) fn errors(response: &DescribeTopicPartitionsResponse) -> impl Iterator<Item = i16> {
    let topics = response.topics.iter();
    topics.flat_map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| partition.error_code);
        std::iter::once(topic.error_code).chain(partitions)
    })
}

/// All topics of the request, refused together.
fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_error_code(Code::InvalidRequest.code())
            .with_name(Some(topic.name.clone()))
    });
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}

struct Page<'a> {
    caller: &'a Caller,
    image: &'a Image,
    cursor: Option<&'a RequestCursor>,
    /// Partitions that still have a place.
    room: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
}

impl Page<'_> {
    /// Takes topics until the page is full; gives where the next page begins.
    fn fill<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> Option<Cursor> {
        for name in names {
            if self.room == 0 {
                return Some(cursor(name, 0));
            }
            match self.image.topic(name) {
                None => self.topics.push(unknown(name)),
                Some(topic) => {
                    if let Some(next) = self.take(topic) {
                        return Some(cursor(name, next));
                    }
                }
            }
        }
        None
    }

    /// Takes a topic's partitions; gives the first that has no place.
    fn take(&mut self, topic: &Topic) -> Option<PartitionIndex> {
        let here = self.cursor.filter(|cursor| cursor.topic_name.as_str() == topic.name);
        let first = here.map_or(0, |cursor| cursor.partition_index);
        let mut rest = topic.partitions.range(first..).map(|(index, _)| *index);
        let taken = rest.by_ref().take(self.room);
        let partitions: Vec<_> = taken.map(|index| self.partition(topic, index)).collect();
        self.room -= partitions.len();
        self.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_error_code(NONE)
                .with_name(Some(topic_name_of(&topic.name)))
                .with_topic_id(Uuid::from_bytes(topic.id.0))
                .with_is_internal(is_internal(&topic.name))
                .with_partitions(partitions)
                .with_topic_authorized_operations(ALL_TOPIC_OPERATIONS),
        );
        rest.next()
    }

    fn partition(
        &self,
        topic: &Topic,
        index: PartitionIndex,
    ) -> DescribeTopicPartitionsResponsePartition {
        let view = self.caller.view(self.image, topic, index);
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(NONE)
            .with_partition_index(index)
            .with_leader_id(BrokerId(view.leader.map_or(-1, |node| node.0)))
            .with_leader_epoch(view.leader_epoch)
            .with_replica_nodes(broker_ids(&view.replicas))
            .with_isr_nodes(broker_ids(&view.in_sync))
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
            .with_offline_replicas(broker_ids(&view.offline))
    }
}

fn topic_name_of(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn cursor(name: &str, partition: PartitionIndex) -> Cursor {
    Cursor::default().with_topic_name(topic_name_of(name)).with_partition_index(partition)
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match topic_name::validate(name) {
        Ok(()) => Code::UnknownTopicOrPartition,
        Err(refusal) => of_refusal(&refusal),
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(topic_name_of(name)))
        .with_is_internal(is_internal(name))
        .with_topic_authorized_operations(ALL_TOPIC_OPERATIONS)
}

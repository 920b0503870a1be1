//! ListPartitionReassignments (key 46), version 0: which replicas move (KIP-455).
//!
//! Behaviour
//! * Topics null means all. Partitions that do not move, or are not there, are left out.
//!
//! Versions: 0 is the first.

use std::collections::BTreeSet;

use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::Caller;
use crate::api::metadata::broker_ids;
use crate::base::ids::PartitionIndex;
use crate::controller::moves::is_moving;
use crate::metadata::image::{Partition, Topic};

pub(super) async fn handle(
    caller: &Caller,
    request: ListPartitionReassignmentsRequest,
    _version: i16,
) -> ListPartitionReassignmentsResponse {
    let image = caller.context.image();
    let topics: Vec<_> = match &request.topics {
        None => image.topics().filter_map(|topic| moving(topic, |_| true)).collect(),
        Some(topics) => {
            let asked = topics.iter().filter_map(|asked| {
                let wanted: BTreeSet<PartitionIndex> =
                    asked.partition_indexes.iter().copied().collect();
                moving(image.topic(&asked.name)?, |partition| wanted.contains(&partition))
            });
            asked.collect()
        }
    };
    ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(topics)
}

/// The codes in a response.
pub(super) fn errors(response: &ListPartitionReassignmentsResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

fn moving(
    topic: &Topic,
    is_wanted: impl Fn(PartitionIndex) -> bool,
) -> Option<OngoingTopicReassignment> {
    let places = topic.partitions.iter();
    let moving = places.filter(|(partition, place)| is_moving(place) && is_wanted(**partition));
    let partitions: Vec<_> = moving.map(|(partition, place)| told(*partition, place)).collect();
    let name = TopicName(StrBytes::from_string(topic.name.clone()));
    (!partitions.is_empty())
        .then(|| OngoingTopicReassignment::default().with_name(name).with_partitions(partitions))
}

fn told(partition: PartitionIndex, place: &Partition) -> OngoingPartitionReassignment {
    OngoingPartitionReassignment::default()
        .with_partition_index(partition)
        .with_replicas(broker_ids(&place.replicas))
        .with_adding_replicas(broker_ids(&place.adding))
        .with_removing_replicas(broker_ids(&place.removing))
}

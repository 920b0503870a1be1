//! OffsetCommit (key 8), versions 2 to 10: store what a group has consumed.
//!
//! Behaviour
//! * Offsets are stored in the group's partition of `__consumer_offsets` and answered when they are
//!   committed there. Each partition has an answer of its own.
//! * Without a member (generation -1) a group that has no members may be committed to, and one that
//!   does not exist is made: it only has offsets.
//! * Topics and partitions must exist. An offset is stored with the topic's id: it does not count
//!   for another topic that gets the name later.
//! * What a member commits is a sign of its life.
//!
//! Versions: 2 to 4 have a retention time, 3 throttle time, 6 leader epoch, 7 static members
//! (KIP-345), 8 flexible, 9 members of consumer groups (KIP-848), 10 topic ids.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetCommitResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::Caller;
use crate::api::errors;
use crate::base::primitives::Reader;
use crate::coordinator::group::offsets::commit_refused;

/// A topic id, the length of a list and tagged fields.
const TOPIC_BYTES_MIN: usize = 18;
/// Two numbers of 4 bytes and one of 8, no text, and tagged fields.
const PARTITION_BYTES_MIN: usize = 18;

pub(super) async fn handle(
    caller: &Caller,
    request: OffsetCommitRequest,
    version: i16,
) -> OffsetCommitResponse {
    let request = Arc::new(request);
    let asked = Arc::clone(&request);
    let decided = caller
        .context
        .groups
        .run(&request.group_id, move |groups, step| groups.commit_offsets(step, &asked, version));
    decided
        .await
        .unwrap_or_else(|unavailable| commit_refused(&request, errors::of_coordinator(unavailable)))
}

/// The codes in a response.
pub(super) fn errors(response: &OffsetCommitResponse) -> impl Iterator<Item = i16> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code)
}

/// Reads version 10.
pub(super) fn decode(body: &Bytes) -> Option<OffsetCommitRequest> {
    let mut read = Reader::new(body.clone(), true);
    let text = |text: String| StrBytes::from_string(text);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(read.string()?)))
        .with_generation_id_or_member_epoch(read.i32()?)
        .with_member_id(text(read.string()?))
        .with_group_instance_id(read.nullable_string()?.map(text));
    let topics = read.array(TOPIC_BYTES_MIN, |read| {
        let topic =
            OffsetCommitRequestTopic::default().with_topic_id(Uuid::from_bytes(read.uuid()?));
        let partitions = read.array(PARTITION_BYTES_MIN, |read| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(read.i32()?)
                .with_committed_offset(read.i64()?)
                .with_committed_leader_epoch(read.i32()?)
                .with_committed_metadata(read.nullable_string()?.map(text));
            read.skip_tagged()?;
            Some(partition)
        })?;
        read.skip_tagged()?;
        Some(topic.with_partitions(partitions))
    })?;
    read.skip_tagged()?;
    Some(request.with_topics(topics))
}

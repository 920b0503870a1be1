//! OffsetFetch (key 9), versions 1 to 10: what groups have committed.
//!
//! Behaviour
//! * No list of topics means all that the group has committed.
//! * A partition without a committed offset is answered with -1 and empty metadata; a group that
//!   does not exist has committed nothing, which is no error. An offset that was committed for a
//!   deleted topic does not count for another one of that name.
//! * Answers are as late as the commits before them, so `require_stable` changes nothing as long as
//!   there are no transactions.
//!
//! Versions: 2 error of the whole group and all topics, 3 throttle time, 5 leader epoch, 6
//! flexible, 7 stable offsets (KIP-447), 8 several groups (KIP-709), 9 members of consumer groups
//! (KIP-848), 10 topic ids.

use bytes::Bytes;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::{Caller, Context, do_all};
use crate::api::errors;
use crate::base::primitives::Reader;
use crate::coordinator::group::offsets::fetch_refused;

/// The first version with several groups.
const FIRST_BATCHED: i16 = 8;

/// A name, a member id, its epoch, the length of a list and tagged fields.
const GROUP_BYTES_MIN: usize = 8;
/// A topic id, the length of a list and tagged fields.
const TOPIC_BYTES_MIN: usize = 18;

pub(super) async fn handle(
    caller: &Caller,
    request: OffsetFetchRequest,
    version: i16,
) -> OffsetFetchResponse {
    if version < FIRST_BATCHED {
        return single(fetch(&caller.context, only_group(request), version).await);
    }
    let groups = request.groups.into_iter().map(|group| fetch(&caller.context, group, version));
    OffsetFetchResponse::default().with_groups(do_all(groups).await)
}

/// The codes in a response.
pub(super) fn errors(response: &OffsetFetchResponse) -> impl Iterator<Item = i16> {
    let single = response.topics.iter().flat_map(|topic| &topic.partitions);
    let single = single.map(|partition| partition.error_code);
    let groups = response.groups.iter().flat_map(|group| {
        let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
        std::iter::once(group.error_code).chain(partitions.map(|partition| partition.error_code))
    });
    std::iter::once(response.error_code).chain(single).chain(groups)
}

async fn fetch(
    context: &Context,
    wanted: OffsetFetchRequestGroup,
    version: i16,
) -> OffsetFetchResponseGroup {
    let asked = wanted.clone();
    let decided = context.groups.run(&wanted.group_id, move |groups, step| {
        groups.fetch_offsets(&step.image, &asked, version)
    });
    decided.await.unwrap_or_else(|unavailable| {
        fetch_refused(&wanted, errors::of_coordinator(unavailable), version)
    })
}

/// A request with one group in the form of one with several.
fn only_group(request: OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| {
            OffsetFetchRequestTopics::default()
                .with_name(topic.name)
                .with_partition_indexes(topic.partition_indexes)
        });
        topics.collect()
    });
    OffsetFetchRequestGroup::default()
        .with_group_id(request.group_id)
        .with_member_id(None)
        .with_member_epoch(-1)
        .with_topics(topics)
}

fn single(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let topic = |topic: OffsetFetchResponseTopics| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                .with_error_code(partition.error_code)
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    };
    OffsetFetchResponse::default()
        .with_topics(group.topics.into_iter().map(topic).collect())
        .with_error_code(group.error_code)
}

/// Reads version 10.
pub(super) fn decode(body: &Bytes) -> Option<OffsetFetchRequest> {
    let mut read = Reader::new(body.clone(), true);
    let groups = read.array(GROUP_BYTES_MIN, group)?;
    let require_stable = read.i8()? != 0;
    read.skip_tagged()?;
    Some(OffsetFetchRequest::default().with_groups(groups).with_require_stable(require_stable))
}

fn group(read: &mut Reader) -> Option<OffsetFetchRequestGroup> {
    let text = |text: String| StrBytes::from_string(text);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text(read.string()?)))
        .with_member_id(read.nullable_string()?.map(text))
        .with_member_epoch(read.i32()?);
    let topics = read.nullable_array(TOPIC_BYTES_MIN, |read| {
        let topic =
            OffsetFetchRequestTopics::default().with_topic_id(Uuid::from_bytes(read.uuid()?));
        let topic = topic.with_partition_indexes(read.array(4, Reader::i32)?);
        read.skip_tagged()?;
        Some(topic)
    })?;
    read.skip_tagged()?;
    Some(group.with_topics(topics))
}

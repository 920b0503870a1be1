//! OffsetFetch.

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::base::ids::{PartitionIndex, TopicId};
use crate::coordinator::group::Groups;
use crate::coordinator::group::offsets::{Committed, GroupOffsets, id_of};
use crate::metadata::image::Image;

/// The first version that names topics by id.
const FIRST_TOPIC_IDS: i16 = 10;
/// The first version that can tell an error of the whole group.
const FIRST_GROUP_ERROR: i16 = 2;

impl Groups {
    /// The committed offsets that a group asks for, or all.
    pub(crate) fn fetch_offsets(
        &self,
        image: &Image,
        wanted: &OffsetFetchRequestGroup,
        version: i16,
    ) -> OffsetFetchResponseGroup {
        let member_id = wanted.member_id.as_deref();
        let group = self.groups.get(wanted.group_id.as_str());
        // A group that does not exist has committed nothing; that is no error.
        let valid = group.map(|group| group.validate_fetch(member_id, wanted.member_epoch));
        if let Some(Err(code)) = valid {
            return fetch_refused(wanted, code, version);
        }
        let offsets = self.offsets.of_group(wanted.group_id.as_str());
        let topics = match &wanted.topics {
            Some(topics) => {
                topics.iter().map(|topic| of_topic(image, offsets, topic, version)).collect()
            }
            None => of_all(image, offsets, version),
        };
        OffsetFetchResponseGroup::default()
            .with_group_id(wanted.group_id.clone())
            .with_topics(topics)
    }
}

fn of_topic(
    image: &Image,
    offsets: Option<&GroupOffsets>,
    wanted: &OffsetFetchRequestTopics,
    version: i16,
) -> OffsetFetchResponseTopics {
    let found = if version >= FIRST_TOPIC_IDS {
        let id = TopicId(wanted.topic_id.into_bytes());
        image.topic_by_id(id).map(|topic| (topic.name.as_str(), id)).ok_or(Code::UnknownTopicId)
    } else {
        let name = wanted.name.as_str();
        Ok((name, id_of(image, name)))
    };
    let partitions = wanted.partition_indexes.iter().map(|index| match found {
        Ok((name, id)) => {
            let committed = offsets.and_then(|offsets| find(offsets, name, *index));
            let committed = committed.filter(|committed| committed.is_of(id));
            committed.map_or_else(|| nothing(*index, 0), answer)
        }
        Err(code) => nothing(*index, code.code()),
    });
    OffsetFetchResponseTopics::default()
        .with_name(wanted.name.clone())
        .with_topic_id(wanted.topic_id)
        .with_partitions(partitions.collect())
}

fn of_all(
    image: &Image,
    offsets: Option<&GroupOffsets>,
    version: i16,
) -> Vec<OffsetFetchResponseTopics> {
    let topics = offsets.into_iter().flatten().filter_map(|(name, list)| {
        let id = id_of(image, name);
        if version >= FIRST_TOPIC_IDS && id == TopicId::ZERO {
            return None;
        }
        let partitions = list.iter().filter(|committed| committed.is_of(id)).map(answer);
        let partitions: Vec<OffsetFetchResponsePartitions> = partitions.collect();
        (!partitions.is_empty()).then(|| {
            OffsetFetchResponseTopics::default()
                .with_name(TopicName(StrBytes::from_string(name.clone())))
                .with_topic_id(Uuid::from_bytes(id.0))
                .with_partitions(partitions)
        })
    });
    topics.collect()
}

fn find<'a>(
    offsets: &'a GroupOffsets,
    topic: &str,
    partition: PartitionIndex,
) -> Option<&'a Committed> {
    let list = offsets.get(topic)?;
    let at = list.binary_search_by_key(&partition, |committed| committed.partition).ok()?;
    list.get(at)
}

fn answer(committed: &Committed) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(committed.partition)
        .with_committed_offset(committed.offset)
        .with_committed_leader_epoch(committed.leader_epoch)
        .with_metadata(Some(StrBytes::from_string(committed.metadata().to_owned())))
}

fn nothing(partition: PartitionIndex, error: i16) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(StrBytes::default()))
        .with_error_code(error)
}

/// The answer with an error of the whole group. The oldest version tells it partition by partition.
pub fn fetch_refused(
    wanted: &OffsetFetchRequestGroup,
    code: Code,
    version: i16,
) -> OffsetFetchResponseGroup {
    let answer = OffsetFetchResponseGroup::default().with_group_id(wanted.group_id.clone());
    if version >= FIRST_GROUP_ERROR {
        return answer.with_error_code(code.code());
    }
    let topics = wanted.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| nothing(*index, code.code()));
        OffsetFetchResponseTopics::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    answer.with_topics(topics.collect())
}

//! OffsetCommit.

use std::sync::Arc;

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use crate::base::ids::{PartitionIndex, TopicId};
use crate::coordinator::group::{Committer, Group, Groups};
use crate::coordinator::records::{OffsetKey, OffsetValue, Record};
use crate::coordinator::step::Step;
use crate::metadata::image::{Image, Topic};

/// The first version that names topics by id.
const FIRST_TOPIC_IDS: i16 = 10;
/// The first version with an error of its own for a group that does not exist.
const FIRST_UNKNOWN_GROUP: i16 = 9;
/// As `retention_time_ms`: the broker's retention.
const DEFAULT_RETENTION: i64 = -1;

impl Groups {
    /// Stores offsets; each partition is answered for itself.
    pub(crate) fn commit_offsets(
        &mut self,
        step: &mut Step,
        request: &OffsetCommitRequest,
        version: i16,
    ) -> OffsetCommitResponse {
        let image = Arc::clone(&step.image);
        let allowed = self.may_commit(&image, request, version);
        if allowed.is_ok() {
            // What a classic member commits is a sign of its life.
            self.classic_committed(step, &request.group_id, &request.member_id);
        }
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let stored = find(&image, topic, partition.partition_index, version)
                    .and_then(|found| allowed.map(|()| found))
                    .and_then(|found| self.commit_offset(step, request, found, partition));
                answer(partition, stored)
            });
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions.collect())
        });
        OffsetCommitResponse::default().with_topics(topics.collect())
    }

    fn may_commit(
        &self,
        image: &Image,
        request: &OffsetCommitRequest,
        version: i16,
    ) -> Result<(), Code> {
        let committer = Committer {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation_or_epoch: request.generation_id_or_member_epoch,
            version,
        };
        let Some(group) = self.groups.get(request.group_id.as_str()) else {
            return match committer.generation_or_epoch {
                // An admin tool, or a consumer that assigns partitions to itself.
                ..0 => Ok(()),
                _ if version >= FIRST_UNKNOWN_GROUP => Err(Code::GroupIdNotFound),
                _ => Err(Code::IllegalGeneration),
            };
        };
        group.validate_commit(committer)?;
        // One partition that is not the member's any more refuses the whole request.
        for topic in &request.topics {
            for partition in &topic.partitions {
                let index = partition.partition_index;
                if let Ok(found) = find(image, topic, index, version) {
                    group.validate_commit_of(committer, found.id, index)?;
                }
            }
        }
        Ok(())
    }

    fn commit_offset(
        &mut self,
        step: &mut Step,
        request: &OffsetCommitRequest,
        topic: &Topic,
        partition: &OffsetCommitRequestPartition,
    ) -> Result<(), Code> {
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        if is_longer(metadata, self.settings.config.offset_metadata_max_bytes) {
            return Err(Code::OffsetMetadataTooLarge);
        }
        let now_ms = step.now.wall_ms;
        let expire_timestamp_ms = match request.retention_time_ms {
            DEFAULT_RETENTION => -1,
            retention_ms => now_ms.saturating_add(retention_ms),
        };
        let group = request.group_id.to_string();
        self.groups.entry(group.clone()).or_insert_with(Group::simple);
        let key =
            OffsetKey { group, topic: topic.name.clone(), partition: partition.partition_index };
        let value = OffsetValue {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: metadata.to_owned(),
            commit_timestamp_ms: now_ms,
            expire_timestamp_ms,
            topic_id: topic.id,
        };
        self.emit(step, Record::Offset { key, value: Some(value) });
        Ok(())
    }
}

/// The topic and that it has the partition.
fn find<'a>(
    image: &'a Image,
    topic: &OffsetCommitRequestTopic,
    partition: PartitionIndex,
    version: i16,
) -> Result<&'a Topic, Code> {
    let found = if version >= FIRST_TOPIC_IDS {
        let id = TopicId(topic.topic_id.into_bytes());
        image.topic_by_id(id).ok_or(Code::UnknownTopicId)?
    } else {
        image.topic(&topic.name).ok_or(Code::UnknownTopicOrPartition)?
    };
    if found.partitions.contains_key(&partition) {
        Ok(found)
    } else {
        Err(Code::UnknownTopicOrPartition)
    }
}

/// Kafka counts as Java does, in units of UTF-16, of which there are no more than bytes.
fn is_longer(text: &str, max: u32) -> bool {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    text.len() > max && text.encode_utf16().count() > max
}

fn answer(
    partition: &OffsetCommitRequestPartition,
    stored: Result<(), Code>,
) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition::default()
        .with_partition_index(partition.partition_index)
        .with_error_code(stored.err().map_or(0, |code| code.code()))
}

/// The answer when nothing was decided.
pub fn commit_refused(request: &OffsetCommitRequest, code: Code) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| answer(partition, Err(code)));
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

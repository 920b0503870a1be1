//! OffsetDelete and DeleteGroups.

use std::sync::Arc;

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::base::ids::PartitionIndex;
use crate::coordinator::group::Groups;
use crate::coordinator::records::{OffsetKey, Record};
use crate::coordinator::step::Step;

impl Groups {
    /// Forgets single offsets.
    pub(crate) fn delete_offsets(
        &mut self,
        step: &mut Step,
        request: &OffsetDeleteRequest,
    ) -> OffsetDeleteResponse {
        let refuse = |code: Code| OffsetDeleteResponse::default().with_error_code(code.code());
        let name = request.group_id.as_str();
        if name.is_empty() {
            return refuse(Code::InvalidGroupId);
        }
        let Some(group) = self.groups.get(name) else { return refuse(Code::GroupIdNotFound) };
        if let Err(code) = group.validate_offset_delete() {
            return refuse(code);
        }
        let subscribed: Vec<bool> =
            request.topics.iter().map(|topic| group.is_subscribed_to(&topic.name)).collect();
        let image = Arc::clone(&step.image);
        // A topic of which nothing is asked has no answer.
        let asked = request.topics.iter().zip(subscribed);
        let asked = asked.filter(|(topic, _)| !topic.partitions.is_empty());
        let topics = asked.map(|(topic, subscribed)| {
            let known = image.topic(&topic.name);
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let code = match known {
                    Some(known) if !known.partitions.contains_key(&index) => {
                        Some(Code::UnknownTopicOrPartition)
                    }
                    None => Some(Code::UnknownTopicOrPartition),
                    Some(_) if subscribed => Some(Code::GroupSubscribedToTopic),
                    Some(_) => {
                        self.forget_offset(step, name, &topic.name, index);
                        None
                    }
                };
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(code.map_or(0, |code| code.code()))
            });
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        OffsetDeleteResponse::default().with_topics(topics.collect())
    }

    pub(super) fn forget_offset(
        &mut self,
        step: &mut Step,
        group: &str,
        topic: &str,
        partition: PartitionIndex,
    ) {
        if self.offsets.get(group, topic, partition).is_some() {
            let (group, topic) = (group.to_owned(), topic.to_owned());
            let key = OffsetKey { group, topic, partition };
            self.emit(step, Record::Offset { key, value: None });
        }
    }

    /// Deletes a group and its offsets, if it has no members.
    pub(crate) fn delete_group(&mut self, step: &mut Step, name: &str) -> Result<(), Code> {
        self.groups.get(name).ok_or(Code::GroupIdNotFound)?.validate_delete()?;
        let offsets = self.offsets.of_group(name).into_iter().flatten();
        let keys = offsets.flat_map(|(topic, list)| {
            list.iter().map(|committed| OffsetKey {
                group: name.to_owned(),
                topic: topic.clone(),
                partition: committed.partition,
            })
        });
        let keys = keys.collect();
        self.forget(step, keys);
        self.bury_group(step, name);
        Ok(())
    }

    /// Removes a group that has neither members nor offsets.
    pub(super) fn bury_group(&mut self, step: &mut Step, name: &str) {
        let tombstones = self.groups.get(name).map(|group| group.tombstones(name));
        for tombstone in tombstones.into_iter().flatten() {
            self.emit(step, tombstone);
        }
        self.timers.cancel_group(name);
        self.groups.remove(name);
    }
}

//! ConsumerGroupDescribe: a group as it stands.

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::consumer_group_describe_response as told;
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::base::ids::{PartitionIndex, TopicId};
use crate::coordinator::group::consumer::{ConsumerGroup, Member, Refused};
use crate::coordinator::group::text;
use crate::coordinator::group::{Group, Groups};
use crate::coordinator::records::Partitions;
use crate::coordinator::step::Step;
use crate::metadata::image::Image;

const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

impl Groups {
    /// Describes a consumer group.
    pub fn consumer_describe(
        &self,
        step: &Step,
        name: &str,
    ) -> Result<told::DescribedGroup, Refused> {
        let group = self.known_consumer_group(name)?;
        let assignor = group.preferred_assignor(&self.settings);
        let members = group.members.iter().map(|(id, member)| group.told(id, member, &step.image));
        Ok(told::DescribedGroup::default()
            .with_group_id(GroupId(text(name)))
            .with_group_state(StrBytes::from_static_str(group.state_name()))
            .with_group_epoch(group.epoch)
            .with_assignment_epoch(group.assignment_epoch)
            .with_assignor_name(text(assignor))
            .with_members(members.collect()))
    }

    pub(super) fn known_consumer_group(&self, name: &str) -> Result<&ConsumerGroup, Refused> {
        match self.groups.get(name) {
            Some(Group::Consumer(group)) => Ok(group),
            Some(Group::Classic(_)) => Err(Refused::not_a_consumer_group(name)),
            None => Err(Refused::new(Code::GroupIdNotFound, format!("Group {name} not found."))),
        }
    }
}

impl ConsumerGroup {
    fn told(&self, id: &str, member: &Member, image: &Image) -> told::Member {
        let Member { value, current } = member;
        let names = value.topic_names.iter().map(|name| TopicName(text(name)));
        // What it has to give up is its own until it has done so.
        let mut assigned = Partitions::new();
        for (topic, partitions) in current.assigned.iter().chain(&current.pending_revocation) {
            assigned.entry(*topic).or_default().extend(partitions.keys());
        }
        let assigned = assigned.into_iter().map(|(topic, all)| (topic, all.into_iter()));
        let target = self.target.get(id).into_iter().flatten();
        let target = target.map(|(topic, partitions)| (*topic, partitions.iter().copied()));
        told::Member::default()
            .with_member_id(text(id))
            .with_instance_id(value.instance_id.as_deref().map(text))
            .with_rack_id(value.rack_id.as_deref().map(text))
            .with_member_epoch(current.member_epoch)
            .with_client_id(text(&value.client_id))
            .with_client_host(text(&value.client_host))
            .with_subscribed_topic_names(names.collect())
            .with_subscribed_topic_regex(value.topic_regex.as_deref().map(text))
            .with_assignment(assignment(assigned, image))
            .with_target_assignment(assignment(target, image))
            .with_member_type(if member.is_classic() { CLASSIC } else { CONSUMER })
    }
}

/// Topics that are gone have no name and are left out.
fn assignment<P: Iterator<Item = PartitionIndex>>(
    topics: impl Iterator<Item = (TopicId, P)>,
    image: &Image,
) -> told::Assignment {
    let known = topics.filter_map(|(topic, partitions)| {
        let name = &image.topic_by_id(topic)?.name;
        let told = told::TopicPartitions::default()
            .with_topic_id(Uuid::from_bytes(topic.0))
            .with_topic_name(TopicName(text(name)))
            .with_partitions(partitions.collect());
        Some(told)
    });
    told::Assignment::default().with_topic_partitions(known.collect())
}

//! The target assignment: who is to have what once everybody has caught up with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::ids::{PartitionIndex, TopicId};
use crate::coordinator::group::Groups;
use crate::coordinator::group::assignor::{Assignor, Spec, Subscriber};
use crate::coordinator::group::consumer::ConsumerGroup;
use crate::coordinator::records::{Record, TargetEpochValue};
use crate::coordinator::step::Step;
use crate::metadata::image::Image;

impl Groups {
    /// Computes the target of the group's epoch, unless that was done.
    pub(super) fn update_target(&mut self, step: &mut Step, name: &str) {
        let Some(group) = self.consumer_group(name) else { return };
        if group.assignment_epoch >= group.epoch {
            return;
        }
        let assignor = group.preferred_assignor(&self.settings);
        let assignor = Assignor::named(assignor).unwrap_or(Assignor::Uniform);
        let mut target = assignor.assign(&group.spec(&step.image));
        let mut records = Vec::new();
        for id in group.members.keys() {
            let now = target.remove(id).unwrap_or_default();
            // A member that has nothing to get is in the target all the same.
            if group.target.get(id) != Some(&now) {
                let (group, member) = (name.to_owned(), id.clone());
                records.push(Record::TargetMember { group, member, value: Some(now) });
            }
        }
        let (epoch, timestamp_ms) = (group.epoch, step.now.wall_ms);
        let value = Some(TargetEpochValue { epoch, timestamp_ms });
        records.push(Record::TargetEpoch { group: name.to_owned(), value });
        tracing::debug!(group = name, epoch, "target assignment");
        self.emit_all(step, records);
    }
}

impl ConsumerGroup {
    fn spec<'a>(&'a self, image: &Image) -> Spec<'a> {
        let mut partition_counts: BTreeMap<TopicId, PartitionIndex> = BTreeMap::new();
        // Mostly there is one subscription for all.
        let mut subscriptions = BTreeMap::<_, Arc<BTreeSet<TopicId>>>::new();
        let mut members = BTreeMap::new();
        for (id, member) in &self.members {
            let subscription = (&member.value.topic_names, member.regex());
            let topics = subscriptions.entry(subscription).or_insert_with(|| {
                let topics = self.topics_of(&member.value).filter_map(|name| image.topic(name));
                let counted = topics.map(|topic| {
                    let count = PartitionIndex::try_from(topic.partitions.len());
                    partition_counts.insert(topic.id, count.unwrap_or(PartitionIndex::MAX));
                    topic.id
                });
                Arc::new(counted.collect())
            });
            let subscriber = Subscriber {
                instance_id: member.value.instance_id.as_deref(),
                topics: Arc::clone(topics),
                previous: self.target.get(id),
            };
            members.insert(id.as_str(), subscriber);
        }
        Spec { members, partition_counts }
    }
}

//! The range assignor: each topic is cut into as many ranges as it has subscribers. Subscribers
//! come in one order for all topics, static members first, so topics of the same size with the same
//! subscribers are cut alike: records with the same key meet at one member.

use std::collections::BTreeMap;

use crate::base::ids::{PartitionIndex, TopicId};
use crate::coordinator::group::assignor::{Spec, Target};

/// The rest of a topic.
struct Cut {
    next: PartitionIndex,
    quota: PartitionIndex,
    /// So many members get one more.
    extra: PartitionIndex,
}

pub(super) fn assign(spec: &Spec<'_>) -> Target {
    let mut order: Vec<_> = spec.members.iter().collect();
    // Member ids change when a member restarts, instance ids don't.
    order.sort_by_key(|(id, member)| (member.instance_id.is_none(), member.instance_id, **id));
    let mut cuts = cuts(spec);
    let mut target = Target::new();
    for (id, member) in order {
        let assigned = target.entry((*id).to_owned()).or_default();
        for topic in member.topics.iter() {
            let Some(cut) = cuts.get_mut(topic) else { continue };
            let size = cut.quota + cut.extra.min(1);
            cut.extra -= cut.extra.min(1);
            let range = cut.next..cut.next + size;
            cut.next = range.end;
            if !range.is_empty() {
                assigned.insert(*topic, range.collect());
            }
        }
    }
    target
}

fn cuts(spec: &Spec<'_>) -> BTreeMap<TopicId, Cut> {
    let mut subscribers: BTreeMap<TopicId, PartitionIndex> = BTreeMap::new();
    for topic in spec.members.values().flat_map(|member| member.topics.iter()) {
        *subscribers.entry(*topic).or_default() += 1;
    }
    let cut = |(topic, members): (TopicId, PartitionIndex)| {
        let count = spec.partition_count(topic);
        (topic, Cut { next: 0, quota: count / members, extra: count % members })
    };
    subscribers.into_iter().map(cut).collect()
}

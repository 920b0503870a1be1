//! The limits of catching up that the metadata ask of this node. The metadata say which followers
//! are not in sync; topics say which of those are throttled, brokers to how much.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{NodeId, PartitionIndex, TopicPartition};
use crate::config::{FOLLOWER_THROTTLE, LEADER_THROTTLE, LOG_DIRS_THROTTLE};
use crate::metadata::image::{Configs, Image, Partition};
use crate::metadata::records::Resource;
use crate::replication::throttle::{Limit, Limits};

const LEADERS: &str = "leader.replication.throttled.replicas";
const FOLLOWERS: &str = "follower.replication.throttled.replicas";

/// The limits for what `node` leads. `catch_up_rate` holds for all followers that are behind, in
/// bytes per second; 0 is no limit.
pub(crate) fn limits(image: &Image, node: NodeId, catch_up_rate: u64) -> Limits {
    let mut limits = Limits::default();
    let mut leaders_of: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    for topic in image.topics() {
        let configs = image.configs(&Resource::Topic(topic.name.clone()));
        for (partition, place) in &topic.partitions {
            let Some(leader) = place.leader else { continue };
            for follower in behind(place, leader) {
                let mut of = BTreeSet::from([Limit::CatchUp]);
                if lists(&configs, LEADERS, *partition, leader) {
                    of.insert(Limit::Leader);
                }
                if lists(&configs, FOLLOWERS, *partition, follower) {
                    of.insert(Limit::Follower(follower));
                    leaders_of.entry(follower).or_default().insert(leader);
                }
                if leader == node {
                    let id = TopicPartition { topic_id: topic.id, partition: *partition };
                    limits.behind.insert((id, follower), of);
                }
            }
        }
    }
    if catch_up_rate > 0 {
        limits.rates.insert(Limit::CatchUp, catch_up_rate);
    }
    if let Some(rate) = rate(image, node, LEADER_THROTTLE) {
        limits.rates.insert(Limit::Leader, rate);
    }
    for (follower, leaders) in leaders_of {
        // Its leaders share what the follower takes.
        if let Some(rate) = rate(image, follower, FOLLOWER_THROTTLE) {
            let count = u64::try_from(leaders.len()).unwrap_or(u64::MAX).max(1);
            limits.rates.insert(Limit::Follower(follower), rate.div_ceil(count));
        }
    }
    limits
}

/// How fast replicas of `node` may be moved between its log dirs, in bytes per second.
pub(crate) fn of_log_dirs(image: &Image, node: NodeId) -> Option<u64> {
    rate(image, node, LOG_DIRS_THROTTLE)
}

fn behind(place: &Partition, leader: NodeId) -> impl Iterator<Item = NodeId> {
    let replicas = place.replicas.iter().copied();
    replicas.filter(move |node| *node != leader && !place.in_sync.contains(node))
}

/// Whether a topic throttles this replica: all of them, or by partition and broker.
fn lists(configs: &Configs, key: &str, partition: PartitionIndex, node: NodeId) -> bool {
    let Some(listed) = configs.get(key) else { return false };
    let is_this = |item: &str| {
        let Some((left, right)) = item.split_once(':') else { return item == "*" };
        left.parse() == Ok(partition) && right.parse() == Ok(node.0)
    };
    listed.split(',').map(str::trim).any(is_this)
}

/// What is set for a broker, else what is set for all.
fn rate(image: &Image, node: NodeId, key: &str) -> Option<u64> {
    let set = |name: String| image.configs(&Resource::Broker(name)).get(key)?.trim().parse().ok();
    set(node.to_string()).or_else(|| set(String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::TopicId;
    use crate::metadata::records::Record;

    const TOPIC: TopicId = TopicId([1; 16]);

    /// A topic with the leaders 1 and 2, whose replica on node 3 is behind.
    fn image(configs: &[(Resource, &str, &str)]) -> Image {
        let mut image = Image::default();
        image.replay(&Record::Topic { topic_id: TOPIC, name: "t".to_owned() });
        for (partition, leader) in [(0, 1), (1, 2)] {
            let replicas = [1, 2, 3].map(NodeId).to_vec();
            image.replay(&Record::Partition { topic_id: TOPIC, partition, replicas });
            let (leader, in_sync) = (Some(NodeId(leader)), [1, 2].map(NodeId).to_vec());
            let topic_id = TOPIC;
            image.replay(&Record::Leader { topic_id, partition, leader, epoch: 1, in_sync });
        }
        for (resource, key, value) in configs {
            let (resource, key) = (resource.clone(), (*key).to_owned());
            image.replay(&Record::Config { resource, key, value: Some((*value).to_owned()) });
        }
        image
    }

    fn topic() -> Resource {
        Resource::Topic("t".to_owned())
    }

    fn broker(name: &str) -> Resource {
        Resource::Broker(name.to_owned())
    }

    fn behind_of(limits: &Limits, partition: i32) -> Option<Vec<Limit>> {
        let id = TopicPartition { topic_id: TOPIC, partition };
        limits.behind.get(&(id, NodeId(3))).map(|of| of.iter().copied().collect())
    }

    #[test]
    fn who_is_behind_is_limited_by_default() {
        let found = limits(&image(&[]), NodeId(1), 100);
        assert_eq!(found.rates, BTreeMap::from([(Limit::CatchUp, 100)]));
        assert_eq!(found.behind.len(), 1);
        assert_eq!(behind_of(&found, 0), Some(vec![Limit::CatchUp]));
        // Node 3 leads nothing; and 0 is no limit.
        assert!(limits(&image(&[]), NodeId(3), 100).behind.is_empty());
        assert!(limits(&image(&[]), NodeId(1), 0).rates.is_empty());
    }

    #[test]
    fn throttles_are_those_of_topics_and_brokers() {
        let follower = Limit::Follower(NodeId(3));
        let image = image(&[
            (topic(), LEADERS, "1:1,0:1"),
            (topic(), FOLLOWERS, "*"),
            (broker("1"), LEADER_THROTTLE, "500"),
            (broker(""), LEADER_THROTTLE, "900"),
            (broker("3"), FOLLOWER_THROTTLE, "1001"),
        ]);
        let found = limits(&image, NodeId(1), 0);
        assert_eq!(behind_of(&found, 0), Some(vec![Limit::CatchUp, Limit::Leader, follower]));
        // Two leaders share what node 3 takes.
        assert_eq!(found.rates, BTreeMap::from([(Limit::Leader, 500), (follower, 501)]));
        let found = limits(&image, NodeId(2), 0);
        assert_eq!(behind_of(&found, 1), Some(vec![Limit::CatchUp, follower]));
        assert_eq!(found.rates, BTreeMap::from([(Limit::Leader, 900), (follower, 501)]));
    }
}

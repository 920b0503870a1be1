//! How the cluster stands, as this node sees it: its replicas, the partitions that it leads, their
//! followers, and the metadata. The meanings are Kafka's; what concerns a led partition is told by
//! its leader alone, so that sums over all brokers count each partition once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::api::context::Context;
use crate::base::ids::NodeId;
use crate::metadata::image::{self, Image};
use crate::metrics::names;
use crate::partition::Partition;
use crate::server::scrape::{head, line, single};

/// How long the controller has to say how far the metadata are.
const CONTROLLER_TIMEOUT: Duration = Duration::from_secs(2);

/// How far this node's metadata are behind; `None` without a controller that answers.
pub(super) async fn metadata_lag(context: &Context) -> Option<u64> {
    let asked = context.controller.quorum(context.now_ms());
    let view = tokio::time::timeout(CONTROLLER_TIMEOUT, asked).await.ok()?.ok()?;
    let committed = u64::try_from(view.high_watermark).unwrap_or(0);
    let applied = context.controller.group().log().applied;
    let own = applied.map_or(0, |id| id.index.saturating_add(1));
    Some(committed.saturating_sub(own))
}

/// Partitions by how they stand.
#[derive(Debug, Default, PartialEq, Eq)]
struct Led {
    count: usize,
    under_replicated: usize,
    under_min_in_sync: usize,
    at_min_in_sync: usize,
    reassigning: usize,
}

impl Led {
    fn add(&mut self, place: &image::Partition, min_in_sync: usize) {
        // Replicas that still get the data are not missed yet.
        let settled = place.members().count();
        let in_sync = place.in_sync.len();
        // A topic can not ask for more than it has.
        let min_in_sync = min_in_sync.min(place.replicas.len());
        self.count += 1;
        self.under_replicated += usize::from(in_sync < settled);
        self.under_min_in_sync += usize::from(in_sync < min_in_sync);
        self.at_min_in_sync += usize::from(in_sync == min_in_sync);
        self.reassigning += usize::from(is_moving(place));
    }
}

fn is_moving(place: &image::Partition) -> bool {
    !place.adding.is_empty() || !place.removing.is_empty()
}

fn has_leader(image: &Image, place: &image::Partition) -> bool {
    place.leader.is_some_and(|leader| image.is_alive(leader))
}

/// Partitions of the whole cluster.
#[derive(Debug, Default, PartialEq, Eq)]
struct All {
    offline: usize,
    not_preferred: usize,
}

impl All {
    fn of(image: &Image) -> Self {
        let mut all = Self::default();
        for place in image.topics().flat_map(|topic| topic.partitions.values()) {
            if !has_leader(image, place) {
                all.offline += 1;
            } else if place.leader != place.target().next() {
                all.not_preferred += 1;
            }
        }
        all
    }
}

/// Writes what there is to tell. `metadata_lag` is [`metadata_lag`]'s.
pub(super) fn write(
    text: &mut String,
    context: &Context,
    partitions: &[Arc<Partition>],
    metadata_lag: Option<u64>,
) {
    let image = context.image();
    write_nodes(text, &image);
    write_topics(text, &image);
    write_metadata(text, context, &image, metadata_lag);
    let led: Vec<(&Arc<Partition>, &image::Partition)> = partitions
        .iter()
        .filter(|partition| partition.leader_epoch().is_some())
        .filter_map(|partition| Some((partition, image.partition(partition.id)?)))
        .collect();
    write_led(text, &led);
    write_followers(text, &led);
    let all = All::of(&image);
    single(text, names::PARTITIONS_OFFLINE, all.offline);
    single(text, names::PARTITIONS_NOT_PREFERRED, all.not_preferred);
}

fn write_nodes(text: &mut String, image: &Image) {
    let brokers = image.brokers.values().filter(|broker| !broker.endpoints.is_empty());
    let alive = brokers.filter(|broker| image.is_alive(broker.node)).count();
    single(text, names::KAFKA_BROKERS, alive);
    single(text, names::BROKERS_FENCED, image.fenced.len());
    single(text, names::BROKERS_DRAINING, image.draining.len());
}

fn write_topics(text: &mut String, image: &Image) {
    single(text, names::TOPICS, image.topic_count());
    head(text, names::KAFKA_TOPIC_PARTITIONS);
    for topic in image.topics() {
        let labels = [("topic", topic.name.as_str())];
        line(text, names::KAFKA_TOPIC_PARTITIONS, &labels, topic.partitions.len());
    }
}

fn write_metadata(text: &mut String, context: &Context, image: &Image, lag: Option<u64>) {
    let controller = context.controller.leader();
    single(text, names::METADATA_OFFSET, image.offset);
    if let Some(lag) = lag {
        single(text, names::METADATA_LAG, lag);
    }
    single(text, names::METADATA_VOTERS, context.controller.group().status().voters.len());
    single(text, names::IS_CONTROLLER, u8::from(context.controller.is_active()));
    single(text, names::CONTROLLER_ID, controller.map_or(-1, |NodeId(id)| id));
}

fn write_led(text: &mut String, led: &[(&Arc<Partition>, &image::Partition)]) {
    let mut counts = Led::default();
    for (partition, place) in led {
        let min_in_sync = partition.config().min_insync_replicas;
        counts.add(place, usize::try_from(min_in_sync).unwrap_or(0));
    }
    single(text, names::PARTITIONS_LED, counts.count);
    single(text, names::PARTITIONS_UNDER_REPLICATED, counts.under_replicated);
    single(text, names::PARTITIONS_UNDER_MIN_ISR, counts.under_min_in_sync);
    single(text, names::PARTITIONS_AT_MIN_ISR, counts.at_min_in_sync);
    single(text, names::PARTITIONS_REASSIGNING, counts.reassigning);
}

/// The largest lag of any follower, by topic.
fn write_followers(text: &mut String, led: &[(&Arc<Partition>, &image::Partition)]) {
    let mut lags: BTreeMap<&str, u64> = BTreeMap::new();
    for (partition, _) in led {
        let end = |index: Option<u64>| index.map_or(0, |index| index.saturating_add(1));
        let own = end(partition.last_index());
        let followers = partition.progress().into_iter();
        let lag = followers
            .map(|follower| own.saturating_sub(end(follower.matched.map(|id| id.index))))
            .max();
        let largest = lags.entry(&partition.topic).or_default();
        *largest = lag.unwrap_or(0).max(*largest);
    }
    head(text, names::REPLICATION_LAG);
    for (topic, lag) in lags {
        line(text, names::REPLICATION_LAG, &[("topic", topic)], lag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::TopicId;
    use crate::metadata::records::{BrokerRecord, Record};

    fn place(replicas: &[i32], adding: &[i32], in_sync: &[i32]) -> image::Partition {
        let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        image::Partition {
            adding: nodes(adding),
            in_sync: nodes(in_sync),
            ..image::Partition::new(nodes(replicas))
        }
    }

    #[test]
    fn partitions_are_judged_as_kafka_does() {
        let judge = |place: &image::Partition, min_in_sync| {
            let mut led = Led::default();
            led.add(place, min_in_sync);
            let Led { count, under_replicated, under_min_in_sync, at_min_in_sync, reassigning } =
                led;
            assert_eq!(count, 1);
            [under_replicated, under_min_in_sync, at_min_in_sync, reassigning]
        };
        assert_eq!(judge(&place(&[1, 2, 3], &[], &[1, 2, 3]), 2), [0, 0, 0, 0]);
        assert_eq!(judge(&place(&[1, 2, 3], &[], &[1, 2]), 2), [1, 0, 1, 0]);
        assert_eq!(judge(&place(&[1, 2, 3], &[], &[1]), 2), [1, 1, 0, 0]);
        // One replica can not have two in sync.
        assert_eq!(judge(&place(&[1], &[], &[1]), 2), [0, 0, 1, 0]);
        // The fourth replica is still to get the data.
        assert_eq!(judge(&place(&[1, 2, 3, 4], &[4], &[1, 2, 3]), 1), [0, 0, 0, 1]);
        assert_eq!(judge(&place(&[1, 2, 3, 4], &[4], &[1, 2]), 1), [1, 0, 0, 1]);
    }

    #[test]
    fn a_leader_that_can_not_be_reached_is_none() {
        let mut image = Image::default();
        for node in [1, 2] {
            image.replay(&Record::Broker(BrokerRecord::new(NodeId(node))));
        }
        let topic_id = TopicId([1; 16]);
        image.replay(&Record::Topic { topic_id, name: "t".to_owned() });
        let replicas = vec![NodeId(1), NodeId(2)];
        let placed = Record::Partition { topic_id, partition: 0, replicas: replicas.clone() };
        image.replay(&placed);
        assert_eq!(All::of(&image), All { offline: 1, not_preferred: 0 });
        for (leader, not_preferred) in [(1, 0), (2, 1)] {
            let leader = Some(NodeId(leader));
            let in_sync = replicas.clone();
            image.replay(&Record::Leader { topic_id, partition: 0, leader, epoch: 1, in_sync });
            assert_eq!(All::of(&image), All { offline: 0, not_preferred });
        }
        let node = NodeId(2);
        image.replay(&Record::BrokerState { node, fenced: true, draining: false });
        assert_eq!(All::of(&image), All { offline: 1, not_preferred: 0 });
    }
}

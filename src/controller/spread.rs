//! Keeping replicas spread: emptying a node, filling a new one, giving the broker's own topics the
//! replicas that they could not have at first. Each call begins some moves; the next one goes on
//! when those are over, so that no more than a few copy at one time.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{NodeId, PartitionIndex, TopicId};
use crate::config::Config;
use crate::controller::moves::{self, is_moving};
use crate::controller::topic_name;
use crate::metadata::image::{Image, Partition, Topic};
use crate::metadata::records::Record;

/// What emptying a node has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    pub records: Vec<Record>,
    /// Partitions that the node still has.
    pub left_count: usize,
    /// Those of them that have nowhere to go: too few other brokers.
    pub stuck_count: usize,
}

/// Begins to move the replicas of a node elsewhere, so that at most so many partitions move.
pub fn drain(image: &Image, node: NodeId, moves_count_max: usize) -> Drained {
    let mut loads = Loads::of(image);
    let mut room = moves_count_max.saturating_sub(loads.moving_count);
    let mut drained = Drained { records: Vec::new(), left_count: 0, stuck_count: 0 };
    for (topic, partition, place) in places(image) {
        if !place.replicas.contains(&node) {
            continue;
        }
        drained.left_count += 1;
        let target: Vec<NodeId> = place.target().collect();
        if is_moving(place) || !target.contains(&node) {
            continue;
        }
        let Some(next) = loads.best(image, &target, node) else {
            drained.stuck_count += 1;
            continue;
        };
        if room > 0 {
            room -= 1;
            loads.shift(&target, node, next);
            drained.records.extend(replace(topic, partition, place, (node, next)));
        }
    }
    drained
}

/// Begins to move replicas from brokers with many to such with few, so that at most so many
/// partitions move. Nothing is moved that would stand in fewer racks afterwards, and nothing if no
/// two brokers differ by more than one replica.
pub fn balance(image: &Image, moves_count_max: usize) -> Vec<Record> {
    let mut loads = Loads::of(image);
    let mut room = moves_count_max.saturating_sub(loads.moving_count);
    let mut moved: BTreeSet<(TopicId, PartitionIndex)> = BTreeSet::new();
    let mut records = Vec::new();
    while room > 0 {
        let Some((topic, partition, place, change)) = next_move(image, &loads, &moved) else {
            break;
        };
        room -= 1;
        moved.insert((topic.id, partition));
        let target: Vec<NodeId> = place.target().collect();
        loads.shift(&target, change.0, change.1);
        records.extend(replace(topic, partition, place, change));
    }
    records
}

/// Gives the topics that the broker keeps for itself as many replicas as they are to have, now that
/// there are brokers for them: the first node of a cluster made them with one.
pub fn raise(image: &Image, config: &Config, moves_count_max: usize) -> Vec<Record> {
    let mut loads = Loads::of(image);
    let mut room = moves_count_max.saturating_sub(loads.moving_count);
    let mut records = Vec::new();
    for (topic, partition, place) in places(image) {
        let wanted = match topic.name.as_str() {
            topic_name::CONSUMER_OFFSETS => config.offsets_topic_replication_factor,
            topic_name::TRANSACTION_STATE => config.transaction_state_log_replication_factor,
            _ => continue,
        };
        let mut target: Vec<NodeId> = place.target().collect();
        let wanted = usize::try_from(wanted).unwrap_or(0).min(loads.by_node.len());
        if room == 0 || is_moving(place) || target.len() >= wanted {
            continue;
        }
        while target.len() < wanted {
            let Some(next) = loads.best(image, &target, NodeId(-1)) else { break };
            loads.add(next, target.len());
            target.push(next);
        }
        room -= 1;
        records.extend(moves::begin(topic.id, partition, place, &target));
    }
    records
}

/// Whether a broker has less than half of what the others have on average, as a new one has.
pub fn has_empty_node(image: &Image) -> bool {
    let loads = Loads::of(image);
    let all: usize = loads.by_node.values().map(|load| load.replicas).sum();
    loads.by_node.values().any(|load| load.replicas * loads.by_node.len() * 2 < all)
}

/// Whether any replica moves.
pub fn is_any_moving(image: &Image) -> bool {
    places(image).any(|(_, _, place)| is_moving(place))
}

fn places(image: &Image) -> impl Iterator<Item = (&Topic, PartitionIndex, &Partition)> {
    image.topics().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|(partition, place)| (topic.as_ref(), *partition, place))
    })
}

/// The record that puts one node in the place of another.
fn replace(
    topic: &Topic,
    partition: PartitionIndex,
    place: &Partition,
    (from, to): (NodeId, NodeId),
) -> Option<Record> {
    let target = place.target().map(|node| if node == from { to } else { node });
    moves::begin(topic.id, partition, place, &target.collect::<Vec<_>>())
}

/// One replica that evens the load out: from the fullest broker that has one to the emptiest that
/// can take it.
fn next_move<'a>(
    image: &'a Image,
    loads: &Loads,
    moved: &BTreeSet<(TopicId, PartitionIndex)>,
) -> Option<(&'a Topic, PartitionIndex, &'a Partition, (NodeId, NodeId))> {
    let mut order: Vec<(&NodeId, &Load)> = loads.by_node.iter().collect();
    order.sort_by_key(|(node, load)| (load.replicas, **node));
    for (from, full) in order.iter().rev() {
        for (to, empty) in &order {
            if full.replicas <= empty.replicas + 1 {
                break;
            }
            let can_move = |(topic, partition, place): &(&Topic, PartitionIndex, &Partition)| {
                !is_moving(place)
                    && !moved.contains(&(topic.id, *partition))
                    && place.replicas.contains(from)
                    && !place.replicas.contains(to)
                    && keeps_racks(image, &place.replicas, **from, **to)
            };
            // Leading is load as well: first replicas go where few are, the others else.
            let wants_first = full.first > empty.first;
            let is_first = |place: &Partition| place.replicas.first() == Some(*from);
            let candidates = places(image).filter(can_move);
            let best = candidates.max_by_key(|(topic, partition, place)| {
                (is_first(place) == wants_first, std::cmp::Reverse((topic.id, *partition)))
            });
            if let Some((topic, partition, place)) = best {
                return Some((topic, partition, place, (**from, **to)));
            }
        }
    }
    None
}

fn racks(image: &Image, nodes: impl Iterator<Item = NodeId>) -> BTreeSet<&str> {
    let racks = nodes.filter_map(|node| image.brokers.get(&node)?.rack.as_deref());
    racks.collect()
}

fn keeps_racks(image: &Image, replicas: &[NodeId], from: NodeId, to: NodeId) -> bool {
    let now = racks(image, replicas.iter().copied()).len();
    let then = replicas.iter().copied().filter(|node| *node != from).chain([to]);
    racks(image, then).len() >= now
}

/// How much a broker has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    replicas: usize,
    /// Partitions of which it is the first replica, so that it leads them.
    first: usize,
}

/// What the brokers have that can take replicas, once all moves are over.
struct Loads {
    by_node: BTreeMap<NodeId, Load>,
    moving_count: usize,
}

impl Loads {
    fn of(image: &Image) -> Self {
        let usable = image.brokers.keys().copied().filter(|node| image.is_usable(*node));
        let by_node = usable.map(|node| (node, Load::default())).collect();
        let mut loads = Self { by_node, moving_count: 0 };
        for (_, _, place) in places(image) {
            loads.moving_count += usize::from(is_moving(place));
            for (at, node) in place.target().enumerate() {
                loads.add(node, at);
            }
        }
        loads
    }

    fn add(&mut self, node: NodeId, at: usize) {
        if let Some(load) = self.by_node.get_mut(&node) {
            load.replicas += 1;
            load.first += usize::from(at == 0);
        }
    }

    fn shift(&mut self, target: &[NodeId], from: NodeId, to: NodeId) {
        let at = target.iter().position(|node| *node == from).unwrap_or(target.len());
        if let Some(load) = self.by_node.get_mut(&from) {
            load.replicas = load.replicas.saturating_sub(1);
            load.first = load.first.saturating_sub(usize::from(at == 0));
        }
        self.add(to, at);
    }

    /// The broker that is to take the place of `instead` beside the others: first one in a rack
    /// that has none of them, then the emptiest.
    fn best(&self, image: &Image, target: &[NodeId], instead: NodeId) -> Option<NodeId> {
        let others: Vec<NodeId> = target.iter().copied().filter(|node| *node != instead).collect();
        let taken = racks(image, others.iter().copied());
        let is_first = target.first() == Some(&instead);
        let free = self.by_node.iter().filter(|(node, _)| !target.contains(node));
        let best = free.min_by_key(|(node, load)| {
            let rack = image.brokers.get(node).and_then(|broker| broker.rack.as_deref());
            let is_double = rack.is_some_and(|rack| taken.contains(rack));
            (is_double, load.replicas, if is_first { load.first } else { 0 }, **node)
        });
        best.map(|(node, _)| *node)
    }
}

#[cfg(test)]
mod tests;

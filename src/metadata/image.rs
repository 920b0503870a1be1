//! The cluster's metadata at one moment. Immutable for its readers: a change makes a new image that
//! shares what stayed the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::ids::{LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicPartition};
use crate::metadata::records::{BrokerRecord, Record, Resource};

/// The overrides of one resource by key.
pub type Configs = BTreeMap<String, String>;

/// All metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// The index of the last entry with records that made it: two nodes with the same offset have
    /// the same image.
    pub offset: u64,
    pub cluster_id: String,
    /// All registered nodes, alive or not.
    pub brokers: BTreeMap<NodeId, Arc<BrokerRecord>>,
    /// Nodes that cannot be reached.
    pub fenced: BTreeSet<NodeId>,
    /// Nodes that are to be emptied.
    pub draining: BTreeSet<NodeId>,
    /// The first node id that has not been given.
    pub next_node_id: i32,
    /// The nodes that are to vote on metadata, also those that have not come yet.
    pub voters: Vec<NodeId>,
    /// Finalized feature levels by name.
    pub features: BTreeMap<String, i16>,
    topics: BTreeMap<String, Arc<Topic>>,
    names: BTreeMap<TopicId, String>,
    configs: BTreeMap<Resource, Arc<Configs>>,
    /// The first producer id that has not been handed out.
    pub next_producer_id: i64,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    pub name: String,
    pub partitions: BTreeMap<PartitionIndex, Partition>,
}

/// Where a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The preferred leader first; while the partition moves, those that come and those that go.
    pub replicas: Vec<NodeId>,
    /// Those of `replicas` that are still to get the data.
    pub adding: Vec<NodeId>,
    /// Those of `replicas` that are to go.
    pub removing: Vec<NodeId>,
    pub leader: Option<NodeId>,
    /// -1 until the first leader is known.
    pub leader_epoch: LeaderEpoch,
    pub in_sync: Vec<NodeId>,
    /// How often a replica had to go on without a majority.
    pub lineage: u32,
    /// The replica that is to go on, until somebody has led after that.
    pub recovered_on: Option<NodeId>,
}

impl Partition {
    /// A partition without a leader yet.
    pub fn new(replicas: Vec<NodeId>) -> Self {
        Self {
            in_sync: replicas.clone(),
            replicas,
            adding: Vec::new(),
            removing: Vec::new(),
            leader: None,
            leader_epoch: -1,
            lineage: 0,
            recovered_on: None,
        }
    }

    /// The replicas without those that are still to get the data.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        self.replicas.iter().copied().filter(|node| !self.adding.contains(node))
    }

    /// The replicas as they are to be, once a move is over.
    pub fn target(&self) -> impl Iterator<Item = NodeId> {
        self.replicas.iter().copied().filter(|node| !self.removing.contains(node))
    }
}

impl Image {
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
    }

    pub fn partition(&self, id: TopicPartition) -> Option<&Partition> {
        self.topic_by_id(id.topic_id)?.partitions.get(&id.partition)
    }

    /// All topics by name, in order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The overrides of a resource.
    pub fn configs(&self, resource: &Resource) -> Arc<Configs> {
        self.configs.get(resource).map_or_else(Arc::default, Arc::clone)
    }

    /// What has overrides.
    pub fn configured(&self) -> impl Iterator<Item = &Resource> {
        self.configs.keys()
    }

    /// Applies one record: the only way an image comes about.
    pub fn replay(&mut self, record: &Record) {
        match record {
            Record::Cluster { cluster_id } => self.cluster_id.clone_from(cluster_id),
            Record::Broker(broker) => {
                self.fenced.remove(&broker.node);
                self.next_node_id = self.next_node_id.max(broker.node.0.saturating_add(1));
                let known = self.brokers.insert(broker.node, Arc::new(broker.clone()));
                if known.is_some_and(|known| known.incarnation != broker.incarnation) {
                    self.forget_leader(broker.node);
                }
            }
            Record::BrokerState { node, fenced, draining } => {
                if self.brokers.contains_key(node) {
                    set_member(&mut self.fenced, *node, *fenced);
                    set_member(&mut self.draining, *node, *draining);
                }
            }
            Record::RemoveBroker { node } => {
                self.brokers.remove(node);
                self.fenced.remove(node);
                self.draining.remove(node);
                self.voters.retain(|voter| voter != node);
            }
            Record::NodeIds { next } => self.next_node_id = self.next_node_id.max(*next),
            Record::Voters { nodes } => self.voters.clone_from(nodes),
            Record::Feature { name, level: 0 } => {
                self.features.remove(name);
            }
            Record::Feature { name, level } => {
                self.features.insert(name.clone(), *level);
            }
            Record::Topic { topic_id, name } => self.add_topic(*topic_id, name),
            Record::RemoveTopic { topic_id } => self.remove_topic(*topic_id),
            Record::Partition { .. }
            | Record::Reassignment { .. }
            | Record::Recovery { .. }
            | Record::Leader { .. } => self.replay_place(record),
            Record::Config { resource, key, value } => {
                let configs = Arc::make_mut(self.configs.entry(resource.clone()).or_default());
                match value {
                    Some(value) => configs.insert(key.clone(), value.clone()),
                    None => configs.remove(key),
                };
                if configs.is_empty() {
                    self.configs.remove(resource);
                }
            }
            Record::ProducerIds { next } => {
                self.next_producer_id = self.next_producer_id.max(*next);
            }
        }
    }

    /// The records of one partition.
    fn replay_place(&mut self, record: &Record) {
        match record {
            Record::Partition { topic_id, partition, replicas } => {
                self.place(*topic_id, *partition, |place| {
                    place.in_sync.retain(|node| replicas.contains(node));
                    place.replicas.clone_from(replicas);
                    (place.adding, place.removing) = (Vec::new(), Vec::new());
                    // If it comes back it is a new replica, which has nothing to go on with.
                    place.recovered_on = place.recovered_on.filter(|on| replicas.contains(on));
                });
            }
            Record::Reassignment { topic_id, partition, replicas, adding, removing } => {
                self.place(*topic_id, *partition, |place| {
                    place.replicas.clone_from(replicas);
                    place.adding.clone_from(adding);
                    place.removing.clone_from(removing);
                });
            }
            Record::Leader { topic_id, partition, leader, epoch, in_sync } => {
                self.place(*topic_id, *partition, |place| {
                    place.leader = *leader;
                    place.leader_epoch = *epoch;
                    place.in_sync.clone_from(in_sync);
                    if leader.is_some() {
                        // It has happened: whoever went on does not do so again.
                        place.recovered_on = None;
                    }
                });
            }
            Record::Recovery { topic_id, partition, replica, lineage } => {
                self.place(*topic_id, *partition, |place| {
                    place.lineage = *lineage;
                    place.recovered_on = Some(*replica).filter(|replica| *replica != NOBODY);
                    (place.leader, place.in_sync) = (None, vec![*replica]);
                });
            }
            _ => {}
        }
    }

    /// What a node led before it was started again it does not lead any more.
    fn forget_leader(&mut self, node: NodeId) {
        for topic in self.topics.values_mut() {
            if topic.partitions.values().any(|place| place.leader == Some(node)) {
                let partitions = Arc::make_mut(topic).partitions.values_mut();
                let led = partitions.filter(|place| place.leader == Some(node));
                led.for_each(|place| place.leader = None);
            }
        }
    }

    /// Changes a partition of a topic that is known; a new one begins with the replicas that it is
    /// given.
    fn place(
        &mut self,
        topic_id: TopicId,
        partition: PartitionIndex,
        change: impl FnOnce(&mut Partition),
    ) {
        let topic = self.names.get(&topic_id).and_then(|name| self.topics.get_mut(name));
        let Some(topic) = topic else { return };
        let places = &mut Arc::make_mut(topic).partitions;
        let is_new = !places.contains_key(&partition);
        let place = places.entry(partition).or_insert_with(|| Partition::new(Vec::new()));
        change(place);
        if is_new && place.leader_epoch == -1 {
            place.in_sync.clone_from(&place.replicas);
        }
    }

    /// Whether replicas may be placed on a node.
    pub fn is_usable(&self, node: NodeId) -> bool {
        let is_broker = |broker: &Arc<BrokerRecord>| !broker.endpoints.is_empty();
        self.brokers.get(&node).is_some_and(is_broker)
            && !self.fenced.contains(&node)
            && !self.draining.contains(&node)
    }

    /// Whether a node is registered and can be reached.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.brokers.contains_key(&node) && !self.fenced.contains(&node)
    }

    fn add_topic(&mut self, id: TopicId, name: &str) {
        if let Some(old) = self.topics.get(name).map(|topic| topic.id) {
            self.remove_topic(old);
        }
        let topic = Topic { id, name: name.to_owned(), partitions: BTreeMap::new() };
        self.names.insert(id, name.to_owned());
        self.topics.insert(name.to_owned(), Arc::new(topic));
    }

    fn remove_topic(&mut self, id: TopicId) {
        if let Some(name) = self.names.remove(&id) {
            self.topics.remove(&name);
            self.configs.remove(&Resource::Topic(name));
        }
    }

    /// The records that make this image out of an empty one: a snapshot.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        if !self.cluster_id.is_empty() {
            records.push(Record::Cluster { cluster_id: self.cluster_id.clone() });
        }
        records.extend(self.brokers.values().map(|broker| Record::Broker((**broker).clone())));
        for node in self.fenced.union(&self.draining) {
            records.push(Record::BrokerState {
                node: *node,
                fenced: self.fenced.contains(node),
                draining: self.draining.contains(node),
            });
        }
        records.push(Record::NodeIds { next: self.next_node_id });
        records.push(Record::Voters { nodes: self.voters.clone() });
        let features = self.features.iter();
        records.extend(
            features.map(|(name, level)| Record::Feature { name: name.clone(), level: *level }),
        );
        for topic in self.topics.values() {
            records.push(Record::Topic { topic_id: topic.id, name: topic.name.clone() });
            for (partition, place) in &topic.partitions {
                records.extend(place_records(topic.id, *partition, place));
            }
        }
        for (resource, configs) in &self.configs {
            records.extend(configs.iter().map(|(key, value)| Record::Config {
                resource: resource.clone(),
                key: key.clone(),
                value: Some(value.clone()),
            }));
        }
        records.push(Record::ProducerIds { next: self.next_producer_id });
        records
    }
}

fn set_member(set: &mut BTreeSet<NodeId>, node: NodeId, is_member: bool) {
    if is_member {
        set.insert(node);
    } else {
        set.remove(&node);
    }
}

/// Of whom a snapshot says that it went on where nobody is to go on any more.
const NOBODY: NodeId = NodeId(-1);

/// The records that make one partition.
fn place_records(
    topic_id: TopicId,
    partition: PartitionIndex,
    place: &Partition,
) -> impl Iterator<Item = Record> {
    let Partition { replicas, adding, removing, .. } = place.clone();
    let placed = if adding.is_empty() && removing.is_empty() {
        Record::Partition { topic_id, partition, replicas }
    } else {
        Record::Reassignment { topic_id, partition, replicas, adding, removing }
    };
    let led = Record::Leader {
        topic_id,
        partition,
        leader: place.leader,
        epoch: place.leader_epoch,
        in_sync: place.in_sync.clone(),
    };
    let (lineage, replica) = (place.lineage, place.recovered_on.unwrap_or(NOBODY));
    let recovered = Record::Recovery { topic_id, partition, replica, lineage };
    let recovered = (lineage > 0).then_some(recovered);
    std::iter::once(placed).chain(recovered).chain([led])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metadata::records::tests::any_record;

    proptest! {
        #[test]
        fn a_snapshot_makes_the_same_image(records in prop::collection::vec(any_record(), 0..40)) {
            let mut image = Image::default();
            records.iter().for_each(|record| image.replay(record));
            prop_assert_eq!(image.names.len(), image.topics.len());
            let mut again = Image::default();
            image.records().iter().for_each(|record| again.replay(record));
            prop_assert_eq!(again, image);
        }
    }
}

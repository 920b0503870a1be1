//! The cluster's metadata at one moment. Immutable for its readers: a change makes a new image that
//! shares what stayed the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::ids::{NodeId, PartitionIndex, TopicId};
use crate::metadata::records::{BrokerRecord, Record, Resource};

/// The overrides of one resource by key.
pub type Configs = BTreeMap<String, String>;

/// All metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    pub cluster_id: String,
    pub brokers: BTreeMap<NodeId, Arc<BrokerRecord>>,
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
    pub replicas: Vec<NodeId>,
}

impl Image {
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
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
                self.brokers.insert(broker.node, Arc::new(broker.clone()));
            }
            Record::Topic { topic_id, name } => self.add_topic(*topic_id, name),
            Record::RemoveTopic { topic_id } => self.remove_topic(*topic_id),
            Record::Partition { topic_id, partition, replicas } => {
                let topic = self.names.get(topic_id).and_then(|name| self.topics.get_mut(name));
                if let Some(topic) = topic {
                    let place = Partition { replicas: replicas.clone() };
                    Arc::make_mut(topic).partitions.insert(*partition, place);
                }
            }
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
        for topic in self.topics.values() {
            records.push(Record::Topic { topic_id: topic.id, name: topic.name.clone() });
            records.extend(topic.partitions.iter().map(|(partition, place)| Record::Partition {
                topic_id: topic.id,
                partition: *partition,
                replicas: place.replicas.clone(),
            }));
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

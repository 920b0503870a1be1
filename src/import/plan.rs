//! What is imported of a broker, and what is not: decided before anything is written.

use std::collections::BTreeMap;

use crate::base::ids::{LeaderEpoch, PartitionIndex, TopicId};
use crate::config::Config;
use crate::config::{TopicConfig, validate_group_overrides, validate_topic_override};
use crate::controller::topic_name;
use crate::import::records::{GROUP, Metadata, TOPIC};
use crate::import::transactions;
use crate::metadata::image::Configs;
use crate::metadata::records::{Record, Resource};

/// Topics whose records are about that cluster, and mean nothing in another.
const NOT_IMPORTED: &[&str] = &[transactions::TOPIC, "__share_group_state"];

/// A topic that is imported.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Topic {
    pub(super) id: TopicId,
    pub(super) name: String,
    pub(super) overrides: Configs,
    pub(super) config: TopicConfig,
    /// With the last leader epoch; `None`: the broker does not have the partition.
    pub(super) partitions: BTreeMap<PartitionIndex, Option<LeaderEpoch>>,
}

/// What is done.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Plan {
    /// In the order of their names.
    pub(super) topics: Vec<Topic>,
    /// Configs of groups.
    pub(super) groups: Vec<Record>,
    /// Why the import would not be whole.
    pub(super) missing: Vec<String>,
    /// What is left out, and does not matter as much.
    pub(super) notes: Vec<String>,
}

/// `has` says which partitions the broker has.
pub(super) fn plan(
    metadata: &Metadata,
    config: &Config,
    has: impl Fn(TopicId, PartitionIndex) -> bool,
) -> Plan {
    let mut plan = Plan::default();
    for (id, topic) in &metadata.topics {
        let name = &topic.name;
        if NOT_IMPORTED.contains(&name.as_str()) {
            plan.notes.push(format!("topic {name} is not imported: it is about that cluster only"));
            continue;
        }
        if topic_name::validate(name).is_err() {
            plan.missing.push(format!("topic {name:?} has a name that is not valid"));
            continue;
        }
        let partitions: BTreeMap<PartitionIndex, Option<LeaderEpoch>> = topic
            .partitions
            .iter()
            .map(|(index, place)| (*index, has(*id, *index).then_some(place.epoch)))
            .collect();
        plan.note_missing(name, &partitions);
        if partitions.values().all(Option::is_none) {
            continue;
        }
        let (overrides, config) = plan.configs(metadata, name, &config.topic_defaults);
        plan.topics.push(Topic { id: *id, name: name.clone(), overrides, config, partitions });
    }
    plan.topics.sort_by(|a, b| a.name.cmp(&b.name));
    plan.note_replicas(metadata);
    plan.other_configs(metadata, config);
    if !metadata.foreign.is_empty() {
        let foreign: Vec<&str> = metadata.foreign.iter().copied().collect();
        plan.notes.push(format!("not imported: {}", foreign.join(", ")));
    }
    plan
}

impl Plan {
    fn note_missing(
        &mut self,
        name: &str,
        partitions: &BTreeMap<PartitionIndex, Option<LeaderEpoch>>,
    ) {
        let missing = partitions.iter().filter(|(_, epoch)| epoch.is_none());
        let missing: Vec<String> = missing.map(|(index, _)| index.to_string()).collect();
        if missing.is_empty() && !partitions.is_empty() {
            return;
        }
        self.missing.push(if missing.len() == partitions.len() {
            format!(
                "topic {name}: none of its {} partitions is here; it is left out",
                missing.len()
            )
        } else {
            let missing = missing.join(", ");
            format!("topic {name}: partitions {missing} are not here; they begin empty")
        });
    }

    /// What had several replicas has one now.
    fn note_replicas(&mut self, metadata: &Metadata) {
        let had_more = |topic: &&Topic| {
            let known = metadata.topics.get(&topic.id);
            let mut places = known.into_iter().flat_map(|topic| topic.partitions.values());
            places.any(|place| place.replicas.len() > 1)
        };
        let count = self.topics.iter().filter(had_more).count();
        if count > 0 {
            self.notes.push(format!(
                "topics that had more than one replica and have one now: {count}; \
                 kafka-reassign-partitions gives them more when other nodes have joined"
            ));
        }
        let refuses = |topic: &&Topic| topic.config.min_insync_replicas > 1;
        let names: Vec<&str> =
            self.topics.iter().filter(refuses).map(|topic| topic.name.as_str()).collect();
        if !names.is_empty() {
            self.notes.push(format!(
                "topics that refuse acks=all until they have min.insync.replicas: {}",
                names.join(", ")
            ));
        }
    }

    /// The overrides of a topic that are known here.
    fn configs(
        &mut self,
        metadata: &Metadata,
        name: &str,
        defaults: &TopicConfig,
    ) -> (Configs, TopicConfig) {
        let of = metadata.configs.get(&(TOPIC, name.to_owned()));
        let mut overrides = Configs::new();
        for (key, value) in of.into_iter().flatten() {
            if key == "remote.storage.enable" && value == "true" {
                self.missing
                    .push(format!("topic {name}: what only tiered storage has is not imported"));
            } else if let Err(error) = validate_topic_override(key, value) {
                self.notes.push(format!("topic {name}: {key}={value} is left out: {error}"));
            } else {
                overrides.insert(key.clone(), value.clone());
            }
        }
        match TopicConfig::resolve(defaults, &overrides) {
            Ok(config) => (overrides, config),
            Err(error) => {
                // As that broker has kept them.
                self.notes.push(format!("topic {name}: {error}"));
                let config = TopicConfig::resolve_kept(defaults, &overrides);
                (overrides, config)
            }
        }
    }

    fn other_configs(&mut self, metadata: &Metadata, config: &Config) {
        for ((kind, name), configs) in &metadata.configs {
            let is_valid = *kind == GROUP && validate_group_overrides(configs, config).is_ok();
            let is_of_topic = *kind == TOPIC;
            for (key, value) in configs {
                if is_valid {
                    self.groups.push(Record::Config {
                        resource: Resource::Group(name.clone()),
                        key: key.clone(),
                        value: Some(value.clone()),
                    });
                } else if !is_of_topic {
                    let of = match (*kind, name.as_str()) {
                        (4, "") => "all brokers".to_owned(),
                        (4, name) => format!("broker {name}"),
                        (GROUP, name) => format!("group {name}"),
                        (_, name) => format!("resource {name}"),
                    };
                    self.notes.push(format!("{of}: {key} is left out (it was {value})"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

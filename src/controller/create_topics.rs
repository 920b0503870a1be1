//! Creating topics: by a client's wish, or because one was used that is not there.

use std::collections::BTreeMap;

use crate::base::ids::{NodeId, PartitionIndex, TopicId};
use crate::config::{Config, TopicConfig, validate_topic_override};
use crate::controller::placement::{self, Placer};
use crate::controller::refusal::{Reason, Refusal};
use crate::controller::service::Decision;
use crate::controller::topic_name::{self, Collisions};
use crate::controller::{NEW_PARTITIONS_COUNT_MAX, RECORDS_COUNT_MAX};
use crate::metadata::image::{Configs, Image, Partition, Topic};
use crate::metadata::records::{Record, Resource};

/// Older versions of the protocol cannot tell a longer text.
const CONFIG_BYTES_MAX: usize = 32_767;

/// A topic that is to be.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Made outside, because a decision knows no chance.
    pub id: TopicId,
    pub name: String,
    /// -1: the default, or as many as there are assignments.
    pub partition_count: i32,
    /// -1: the default, or as the assignments have it.
    pub replication_factor: i16,
    /// Empty: the controller places the replicas.
    pub assignments: Vec<Assignment>,
    pub configs: Vec<(String, Option<String>)>,
}

/// Where a client wants a partition to be.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub partition: PartitionIndex,
    pub replicas: Vec<NodeId>,
}

/// A topic with its overrides, as it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub topic: Topic,
    pub overrides: Configs,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    pub fn of_defaults(id: TopicId, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            partition_count: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    }

    /// A topic that is created by being used. Those that the broker keeps for itself have settings
    /// of their own.
    pub fn automatic(id: TopicId, name: &str, config: &Config, image: &Image) -> Self {
        let plain = Self::of_defaults(id, name);
        // A single node is a whole cluster: it does not wait for brokers that never come.
        let usable = image.brokers.keys().filter(|node| image.is_usable(**node)).count();
        let brokers = i16::try_from(usable).unwrap_or(i16::MAX).max(1);
        let set = |key: &str, value: String| (key.to_owned(), Some(value));
        match name {
            topic_name::CONSUMER_OFFSETS => Self {
                partition_count: config.offsets_topic_num_partitions,
                replication_factor: config.offsets_topic_replication_factor.min(brokers),
                configs: vec![
                    set("cleanup.policy", "compact".to_owned()),
                    set("compression.type", "producer".to_owned()),
                    set("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
                ],
                ..plain
            },
            topic_name::TRANSACTION_STATE => {
                let factor = config.transaction_state_log_replication_factor.min(brokers);
                let in_sync = config.transaction_state_log_min_isr.min(i32::from(factor));
                let segment_bytes = config.transaction_state_log_segment_bytes;
                Self {
                    partition_count: config.transaction_state_log_num_partitions,
                    replication_factor: factor,
                    configs: vec![
                        set("cleanup.policy", "compact".to_owned()),
                        set("compression.type", "uncompressed".to_owned()),
                        set("min.insync.replicas", in_sync.to_string()),
                        set("segment.bytes", segment_bytes.to_string()),
                        set("unclean.leader.election.enable", "false".to_owned()),
                    ],
                    ..plain
                }
            }
            _ => plain,
        }
    }

    fn partitions_asked_for(&self, config: &Config) -> usize {
        let count = match self.partition_count {
            -1 if self.assignments.is_empty() => config.num_partitions,
            -1 => return self.assignments.len(),
            count => count,
        };
        usize::try_from(count).unwrap_or(0)
    }
}

/// Creates topics with different names; one answer for each.
pub fn decide(
    image: &Image,
    config: &Config,
    new_topics: &[NewTopic],
) -> Decision<Vec<Result<Created, Refusal>>> {
    let all_refused = |refusal: &Refusal| Decision {
        records: Vec::new(),
        answer: new_topics.iter().map(|_| Err(refusal.clone())).collect(),
    };
    let asked_for = new_topics.iter().map(|new| new.partitions_asked_for(config));
    if asked_for.fold(0, usize::saturating_add) > NEW_PARTITIONS_COUNT_MAX {
        return all_refused(&Refusal::too_many_partitions());
    }
    let collisions = Collisions::of(image, new_topics.iter().map(|new| new.name.as_str()));
    let create = |new: &NewTopic| {
        topic_name::check_new(image, &collisions, &new.name)?;
        let overrides = check_configs(&new.configs, &config.topic_defaults)?;
        Ok(Created { topic: lay_out(image, config, new)?, overrides })
    };
    let answer: Vec<_> = new_topics.iter().map(create).collect();
    let records: Vec<Record> = answer.iter().flatten().flat_map(records).collect();
    if records.len() > RECORDS_COUNT_MAX {
        return all_refused(&Refusal::too_many_records());
    }
    Decision { records, answer }
}

/// Creates a topic that was used, unless another request has done so meanwhile.
pub fn ensure(image: &Image, config: &Config, new: &NewTopic) -> Decision<Result<Topic, Refusal>> {
    if let Some(topic) = image.topic(&new.name) {
        return Decision { records: Vec::new(), answer: Ok(Topic::clone(topic)) };
    }
    let Decision { records, answer } = decide(image, config, std::slice::from_ref(new));
    let created = answer.into_iter().next();
    let refused = || Err(Refusal::bare(Reason::UnknownTopic));
    let answer = created.map_or_else(refused, |created| created.map(|created| created.topic));
    Decision { records, answer }
}

fn check_configs(
    configs: &[(String, Option<String>)],
    defaults: &TopicConfig,
) -> Result<Configs, Refusal> {
    let refuse = |message: String| Refusal::new(Reason::InvalidConfig, message);
    let without_value = configs.iter().filter(|(_, value)| value.is_none());
    let without_value: Vec<&str> = without_value.map(|(key, _)| key.as_str()).collect();
    if !without_value.is_empty() {
        return Err(refuse(format!(
            "Null value not supported for topic configs: {}",
            without_value.join(",")
        )));
    }
    // The last one counts when a key is given twice.
    let overrides: Configs =
        configs.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
    check_overrides(&overrides, defaults).map_err(refuse)?;
    Ok(overrides)
}

/// Whether a config may have a value of that size (`ConfigurationControlManager`).
pub(super) fn check_size(value: &str) -> Result<(), String> {
    if value.len() <= CONFIG_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "The configuration value cannot be added because it exceeds the maximum value size of \
         {CONFIG_BYTES_MAX} bytes."
    ))
}

/// Whether a topic may have these overrides.
pub(super) fn check_overrides(overrides: &Configs, defaults: &TopicConfig) -> Result<(), String> {
    overrides.values().try_for_each(|value| check_size(value))?;
    overrides.iter().try_for_each(|(key, value)| validate_topic_override(key, value))?;
    TopicConfig::resolve(defaults, overrides).map(drop)
}

fn lay_out(image: &Image, config: &Config, new: &NewTopic) -> Result<Topic, Refusal> {
    let partitions = if new.assignments.is_empty() {
        place(image, config, new)?
    } else {
        take_assignments(image, new)?
    };
    Ok(Topic { id: new.id, name: new.name.clone(), partitions })
}

type Places = BTreeMap<PartitionIndex, Partition>;

fn place(image: &Image, config: &Config, new: &NewTopic) -> Result<Places, Refusal> {
    let factor = match new.replication_factor {
        -1 => config.default_replication_factor,
        factor => factor,
    };
    let factor = usize::try_from(factor).ok().filter(|factor| *factor > 0).ok_or_else(|| {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        Refusal::new(Reason::InvalidReplicationFactor, message)
    })?;
    let count = match new.partition_count {
        -1 => config.num_partitions,
        count if count > 0 => count,
        _ => {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(Refusal::new(Reason::InvalidPartitions, message));
        }
    };
    let placer = Placer::new(image, new.id, factor)?;
    let partitions = (0..count).map(|index| (index, Partition::new(placer.place(index))));
    Ok(partitions.collect())
}

fn take_assignments(image: &Image, new: &NewTopic) -> Result<Places, Refusal> {
    let both = |what: &str| {
        let message =
            format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err(Refusal::new(Reason::InvalidRequest, message))
    };
    if new.replication_factor != -1 {
        return both("replication factor");
    }
    if new.partition_count != -1 {
        return both("numPartitions");
    }
    let mut places = BTreeMap::new();
    let mut factor = None;
    for Assignment { partition, replicas } in &new.assignments {
        if places.contains_key(partition) {
            let message =
                format!("Found multiple manual partition assignments for partition {partition}");
            return Err(Refusal::new(Reason::InvalidReplicaAssignment, message));
        }
        placement::check_manual(image, replicas, factor)?;
        placement::check_alive(image, *partition, replicas)?;
        factor = Some(replicas.len());
        places.insert(*partition, Partition::new(replicas.clone()));
    }
    if !(0..).zip(places.keys()).all(|(index, partition)| index == *partition) {
        let message = "partitions should be a consecutive 0-based integer sequence";
        return Err(Refusal::new(Reason::InvalidReplicaAssignment, message));
    }
    Ok(places)
}

fn records(created: &Created) -> Vec<Record> {
    let Topic { id, name, partitions } = &created.topic;
    let mut records = vec![Record::Topic { topic_id: *id, name: name.clone() }];
    records.extend(created.overrides.iter().map(|(key, value)| Record::Config {
        resource: Resource::Topic(name.clone()),
        key: key.clone(),
        value: Some(value.clone()),
    }));
    records.extend(partitions.iter().map(|(partition, place)| Record::Partition {
        topic_id: *id,
        partition: *partition,
        replicas: place.replicas.clone(),
    }));
    records
}

#[cfg(test)]
mod tests;

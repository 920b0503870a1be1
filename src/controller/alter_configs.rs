//! Changing configs, key by key or as a whole.
//!
//! A resource changes wholly or not at all; others in the same request change nevertheless. Topics
//! and groups have configs that can be changed, and so do brokers, for what they can change while
//! they run.

mod broker;

use std::collections::BTreeSet;

use crate::base::ids::NodeId;
use crate::config::{
    Loaded, append_list_value, is_list, list_default, subtract_list_value, validate_group_overrides,
};
use crate::controller::RECORDS_COUNT_MAX;
use crate::controller::create_topics::{check_overrides, check_size};
use crate::controller::refusal::{Reason, Refusal};
use crate::controller::service::Decision;
use crate::controller::topic_name;
use crate::metadata::image::{Configs, Image};
use crate::metadata::records::{Record, Resource};

/// What is to change. The numbers are those of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    Topic,
    Broker,
    BrokerLogger,
    ClientMetrics,
    Group,
    Unknown(i8),
}

impl From<i8> for ResourceKind {
    fn from(kind: i8) -> Self {
        match kind {
            2 => Self::Topic,
            4 => Self::Broker,
            8 => Self::BrokerLogger,
            16 => Self::ClientMetrics,
            32 => Self::Group,
            other => Self::Unknown(other),
        }
    }
}

impl ResourceKind {
    /// Its number in the protocol.
    pub fn id(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::BrokerLogger => 8,
            Self::ClientMetrics => 16,
            Self::Group => 32,
            Self::Unknown(id) => id,
        }
    }
}

/// The new configs of one resource.
#[derive(Debug, Clone)]
pub struct Alteration {
    pub kind: ResourceKind,
    pub name: String,
    pub changes: Vec<Change>,
    /// Keys without a change lose their override.
    pub replaces_all: bool,
}

/// The change of one key.
#[derive(Debug, Clone)]
pub struct Change {
    pub key: String,
    pub op: Op,
    pub value: Option<String>,
}

/// How a key changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Set,
    Delete,
    Append,
    Subtract,
    Unknown(i8),
}

impl From<i8> for Op {
    fn from(op: i8) -> Self {
        match op {
            0 => Self::Set,
            1 => Self::Delete,
            2 => Self::Append,
            3 => Self::Subtract,
            other => Self::Unknown(other),
        }
    }
}

/// The settings of the node that decides.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    pub node: NodeId,
    /// Those of its start.
    pub fixed: &'a Loaded,
    /// With what the image sets for brokers.
    pub now: &'a Loaded,
}

/// Changes configs; one answer for each alteration.
pub fn decide(
    image: &Image,
    settings: &Settings<'_>,
    alterations: &[Alteration],
) -> Decision<Vec<Result<(), Refusal>>> {
    let repeated = repeated(alterations);
    let mut records = Vec::new();
    let answer = alterations.iter().map(|alteration| {
        if repeated.contains(&(alteration.kind.id(), alteration.name.as_str())) {
            return invalid("Each resource must appear at most once.");
        }
        check_changes(&alteration.changes)?;
        match alteration.kind {
            ResourceKind::Topic | ResourceKind::Group | ResourceKind::Broker => {
                let changed = match alteration.kind {
                    ResourceKind::Group => alter_group(image, settings.now, alteration)?,
                    ResourceKind::Broker => broker::alter(image, settings, alteration)?,
                    _ => alter_topic(image, settings.now, alteration)?,
                };
                if records.len() + changed.len() > RECORDS_COUNT_MAX {
                    return Err(Refusal::too_many_records());
                }
                records.extend(changed);
                Ok(())
            }
            // These have nothing that could be changed yet.
            ResourceKind::BrokerLogger if !alteration.replaces_all => refuse_any(alteration),
            ResourceKind::ClientMetrics => refuse_any(alteration),
            ResourceKind::BrokerLogger => invalid("Unknown resource type 8"),
            ResourceKind::Unknown(kind) => invalid(format!("Unknown resource type {kind}")),
        }
    });
    let answer = answer.collect();
    Decision { records, answer }
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(Reason::InvalidRequest, message))
}

fn repeated(alterations: &[Alteration]) -> BTreeSet<(i8, &str)> {
    let mut seen = BTreeSet::new();
    let keys = alterations.iter().map(|one| (one.kind.id(), one.name.as_str()));
    keys.filter(|key| !seen.insert(*key)).collect()
}

fn check_changes(changes: &[Change]) -> Result<(), Refusal> {
    let mut keys = BTreeSet::new();
    if !changes.iter().all(|change| keys.insert(change.key.as_str())) {
        return invalid("Error due to duplicate config keys");
    }
    let without_value = changes.iter().filter(|c| c.op != Op::Delete && c.value.is_none());
    let without_value: Vec<&str> = without_value.map(|change| change.key.as_str()).collect();
    if !without_value.is_empty() {
        return invalid(format!("Null value not supported for : {}", without_value.join(", ")));
    }
    Ok(())
}

fn refuse_any(alteration: &Alteration) -> Result<(), Refusal> {
    if alteration.changes.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = alteration.changes.iter().map(|change| change.key.as_str()).collect();
    invalid(format!("Cannot update these configs dynamically: [{}]", keys.join(", ")))
}

fn alter_topic(
    image: &Image,
    settings: &Loaded,
    alteration: &Alteration,
) -> Result<Vec<Record>, Refusal> {
    let name = &alteration.name;
    let resource = Resource::Topic(name.clone());
    let old = image.configs(&resource);
    let new = altered(&old, alteration)?;
    if name.is_empty() {
        return invalid("Default topic resources are not allowed.");
    }
    topic_name::validate(name)?;
    check_overrides(&new, &settings.config.topic_defaults)
        .map_err(|message| Refusal::new(Reason::InvalidConfig, message))?;
    if image.topic(name).is_none() {
        let message = format!("The topic '{name}' does not exist.");
        return Err(Refusal::new(Reason::UnknownTopic, message));
    }
    Ok(difference(&resource, &old, &new))
}

/// A group has configs whether it exists or not.
fn alter_group(
    image: &Image,
    settings: &Loaded,
    alteration: &Alteration,
) -> Result<Vec<Record>, Refusal> {
    let resource = Resource::Group(alteration.name.clone());
    let old = image.configs(&resource);
    let new = altered(&old, alteration)?;
    if alteration.name.is_empty() {
        return invalid("Default group resources are not allowed.");
    }
    validate_group_overrides(&new, &settings.config)
        .map_err(|message| Refusal::new(Reason::InvalidConfig, message))?;
    Ok(difference(&resource, &old, &new))
}

/// The overrides after the alteration.
fn altered(old: &Configs, alteration: &Alteration) -> Result<Configs, Refusal> {
    let mut new = if alteration.replaces_all { Configs::new() } else { old.clone() };
    for change in &alteration.changes {
        match apply(old, change)? {
            Some(value) => {
                check_size(&value)
                    .map_err(|message| Refusal::new(Reason::InvalidConfig, message))?;
                new.insert(change.key.clone(), value)
            }
            None => new.remove(&change.key),
        };
    }
    Ok(new)
}

/// The records that make the new overrides out of the old ones.
fn difference(resource: &Resource, old: &Configs, new: &Configs) -> Vec<Record> {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key, None));
    let set = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    let set = set.map(|(key, value)| (key, Some(value.clone())));
    let records = gone.chain(set).map(|(key, value)| Record::Config {
        resource: resource.clone(),
        key: key.clone(),
        value,
    });
    records.collect()
}

/// The new value of a key; `None`: it loses its override.
fn apply(old: &Configs, change: &Change) -> Result<Option<String>, Refusal> {
    let operand = change.value.as_deref().unwrap_or_default();
    let (name, combine): (_, fn(&str, &str) -> String) = match change.op {
        Op::Set => return Ok(change.value.clone()),
        Op::Delete => return Ok(None),
        Op::Append => ("APPEND", append_list_value),
        Op::Subtract => ("SUBTRACT", subtract_list_value),
        Op::Unknown(op) => return invalid(format!("Unknown operations type {op}")),
    };
    let key = &change.key;
    if !is_list(key) {
        let message = format!("Can't {name} to key {key} because its type is not LIST.");
        return Err(Refusal::new(Reason::InvalidConfig, message));
    }
    let current = old.get(key).cloned().or_else(|| list_default(key));
    Ok(Some(combine(&current.unwrap_or_default(), operand)))
}

#[cfg(test)]
mod tests;

//! What can be set for brokers while they run (KIP-226): by clients, kept in the metadata, for one
//! broker or for all of them. One broker's own value goes before that of all, and both before the
//! file and the environment.
//!
//! Which keys these are is Kafka's choice (`DynamicBrokerConfig.java`), as far as they have an
//! effect here; a few have no other place and stand in the table below.

use std::collections::BTreeMap;

use super::entries::{ConfigEntry, ConfigSource};
use super::key::{Key, optional};
use super::keys::{Config, KEYS};
use super::load::{self, Loaded};
use super::value::ConfigKind::{Boolean, List, Long};
use super::value::Valid::{Any, AtLeast};
use super::value::Value;

/// Set on a broker, it is to be emptied: its replicas move to others.
pub const DRAINING: &str = "ottla.broker.draining";
/// How many bytes a second leaders give to replicas that are throttled.
pub const LEADER_THROTTLE: &str = "leader.replication.throttled.rate";
/// How many bytes a second replicas take that are throttled.
pub const FOLLOWER_THROTTLE: &str = "follower.replication.throttled.rate";
/// How many bytes a second are copied from one log dir to another.
pub const LOG_DIRS_THROTTLE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

/// The keys that brokers have only while they run, by name.
static RUNTIME_KEYS: &[Key] = &[
    optional(FOLLOWER_THROTTLE, Long, AtLeast(0)).dynamic().doc(
        "How many bytes a second this broker takes for replicas that are throttled \
         (`follower.replication.throttled.replicas` of their topics).",
    ),
    optional(LEADER_THROTTLE, Long, AtLeast(0)).dynamic().doc(
        "How many bytes a second this broker gives to replicas that are throttled \
         (`leader.replication.throttled.replicas` of their topics).",
    ),
    optional(LOG_DIRS_THROTTLE, Long, AtLeast(0))
        .dynamic()
        .doc("How many bytes a second this broker copies to move replicas between its log dirs."),
    optional(DRAINING, Boolean, Any)
        .dynamic()
        .ours()
        .doc("Empty this broker: its replicas move to others, and it leads nothing."),
];

/// What is set for one broker or for all of them, as it was written.
type Set = BTreeMap<String, String>;

/// What is set while the broker runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Dynamic {
    /// For this broker.
    pub(super) own: Layer,
    /// For all brokers.
    pub(super) all: Layer,
}

/// Values by key, with the texts that gave them.
pub(super) type Layer = BTreeMap<&'static str, SetValue>;

type SetValue = (String, Value);

impl Dynamic {
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.own.get(key).or_else(|| self.all.get(key)).map(|(_, value)| value)
    }
}

/// Whether a key can be set for brokers while they run.
pub fn is_dynamic(name: &str) -> bool {
    find(name).is_some()
}

/// What a list has that APPEND or SUBTRACT change before it is set. The error is Kafka's message.
pub fn dynamic_list_default(name: &str, operation: &str) -> Result<String, String> {
    let key = KEYS.get(name).or_else(|| find(name));
    let key = key.ok_or_else(|| format!("Unknown config name: {name}"))?;
    if key.kind != List {
        return Err(format!("Config value {operation} is not allowed for config key: {name}"));
    }
    Ok(key.default_value().map(|value| value.to_string()).unwrap_or_default())
}

impl Loaded {
    /// The settings with what is set for all brokers and for this one. What does not hold is left
    /// out, and told in the warnings: it was checked, but perhaps by a broker with other settings.
    #[must_use]
    pub fn with_dynamic(&self, all: &Set, own: &Set) -> Self {
        let mut warnings = Vec::new();
        let mut read = |set: &Set| {
            let values = set.iter().filter_map(|(name, text)| match read(name, text)? {
                Ok(value) => Some(value),
                Err(error) => {
                    warnings.push(error);
                    None
                }
            });
            values.collect::<Layer>()
        };
        let mut dynamic = Dynamic { own: read(own), all: read(all) };
        let config = self.layered(&dynamic).unwrap_or_else(|error| {
            warnings.push(error);
            let (holds, config, left) = self.what_holds(&dynamic);
            warnings.extend(left);
            dynamic = holds;
            config
        });
        Self { config, warnings, given: self.given.clone(), dynamic }
    }

    /// As much of what is set as goes with the rest, with the settings that this makes, and a
    /// warning for each value that is left out.
    fn what_holds(&self, wanted: &Dynamic) -> (Dynamic, Config, Vec<String>) {
        let (mut holds, mut config) = (Dynamic::default(), self.config.clone());
        let all = wanted.all.iter().map(|(key, value)| (false, *key, value));
        let own = wanted.own.iter().map(|(key, value)| (true, *key, value));
        let mut left: Vec<_> = all.chain(own).collect();
        // Some go only with others, which may come later.
        loop {
            let before = left.len();
            left.retain(|(is_own, key, value)| {
                let mut more = holds.clone();
                let layer = if *is_own { &mut more.own } else { &mut more.all };
                layer.insert(*key, (*value).clone());
                match self.layered(&more) {
                    Ok(with_it) => {
                        (holds, config) = (more, with_it);
                        false
                    }
                    Err(_) => true,
                }
            });
            if left.len() == before {
                let told =
                    left.iter().map(|(_, key, (text, _))| format!("{key}={text} is left out"));
                return (holds, config, told.collect());
            }
        }
    }

    fn layered(&self, dynamic: &Dynamic) -> Result<Config, String> {
        let given = |key: &Key| Some(self.given.get(key.name)?.value.clone());
        let set = |key: &Key| dynamic.value(key.name).cloned().or_else(|| given(key));
        let topic_defaults = load::topic_defaults(&set)?;
        let config = self.config.with(&|name| dynamic.value(name).cloned(), topic_defaults);
        load::check(&config)?;
        Ok(config)
    }

    /// Checks what is to be set for all brokers and for one, which has the settings `before` now;
    /// the error is Kafka's message.
    pub fn check_dynamic(&self, before: &Config, all: &Set, own: &Set) -> Result<(), String> {
        let read = |set: &Set| -> Result<Layer, String> {
            set.iter().filter_map(|(name, text)| read(name, text)).collect()
        };
        let dynamic = Dynamic { own: read(own)?, all: read(all)? };
        let config = self.layered(&dynamic)?;
        check_cleaners(config.log_cleaner_threads, before.log_cleaner_threads)?;
        if config.max_connections == 0 {
            return Err("Invalid max.connections 0".to_owned());
        }
        if config.max_connections_per_ip == 0 {
            return Err(
                "max.connections.per.ip can not be set to zero while the broker runs".into()
            );
        }
        let topics = &config.topic_defaults;
        check_local("ms", topics.local_retention_ms, topics.retention_ms)?;
        check_local("bytes", topics.local_retention_bytes, topics.retention_bytes)
    }
}

/// A value that is set; `None` for keys with an effect elsewhere.
fn read(name: &str, text: &str) -> Option<Result<(&'static str, SetValue), String>> {
    let key = find(name)?;
    Some(key.parse(text).map(|value| (key.name, (text.to_owned(), value))))
}

fn check_cleaners(count: i32, before: i32) -> Result<(), String> {
    let wrong = |text: &str| Err(format!("Log cleaner threads {text}"));
    match count {
        _ if count == before => Ok(()),
        ..1 => wrong("should be at least 1"),
        _ if count < before / 2 => {
            wrong(&format!("cannot be reduced to less than half the current value {before}"))
        }
        // Without any, there is nothing to double.
        _ if before > 0 && count > before.saturating_mul(2) => {
            wrong(&format!("cannot be increased to more than double the current value {before}"))
        }
        _ => Ok(()),
    }
}

/// What is kept locally may not be more than what is kept, although nothing is kept elsewhere here.
fn check_local(unit: &str, local: i64, whole: i64) -> Result<(), String> {
    let wrong = |text: &str| {
        Err(format!("Invalid value {local} for configuration log.local.retention.{unit}: {text}"))
    };
    if whole < 0 || local == -2 {
        return Ok(());
    }
    if local == -1 {
        return wrong(&format!(
            "Value must not be -1 as log.retention.{unit} value is set as {whole}."
        ));
    }
    if local > whole {
        return wrong(&format!(
            "Value must not be more than log.retention.{unit} property value: {whole}"
        ));
    }
    Ok(())
}

/// What is set for all brokers.
pub fn default_broker_entries(all: &Set) -> Vec<ConfigEntry> {
    let set = all.iter().filter_map(|(name, text)| Some((find(name)?, text)));
    set.map(|(key, text)| entry(key, text, ConfigSource::DynamicDefaultBroker)).collect()
}

/// The keys that a broker has only while it runs, as far as they are set for it or for all.
pub fn runtime_entries(all: &Set, own: &Set) -> Vec<ConfigEntry> {
    let entries = RUNTIME_KEYS.iter().filter_map(|key| {
        let of = |set: &Set, source| Some(entry(key, set.get(key.name)?, source));
        let default = of(all, ConfigSource::DynamicDefaultBroker);
        match (of(own, ConfigSource::DynamicBroker), default) {
            (Some(mut entry), Some(default)) => {
                entry.synonyms.extend(default.synonyms);
                Some(entry)
            }
            (own, default) => own.or(default),
        }
    });
    entries.collect()
}

fn entry(key: &'static Key, text: &str, source: ConfigSource) -> ConfigEntry {
    ConfigEntry {
        name: key.name,
        value: Some(text.to_owned()),
        source,
        kind: key.kind,
        read_only: false,
        sensitive: false,
        synonyms: vec![(key.name.to_owned(), Some(text.to_owned()), source)],
        doc: key.doc,
    }
}

fn find(name: &str) -> Option<&'static Key> {
    let of_table = KEYS.get(name).filter(|key| key.dynamic);
    of_table.or_else(|| RUNTIME_KEYS.iter().find(|key| key.name == name))
}

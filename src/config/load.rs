//! From texts to `Loaded`: who wins, what is refused, what is only warned of.

use std::collections::BTreeMap;
use std::io;

use super::dynamic::Dynamic;
use super::error::ConfigError;
use super::ignored::{self, Inert};
use super::key::{Key, Synonym};
use super::keys::{Config, KEYS, canonical};
use super::listener;
use super::quorum;
use super::read::{self, Origin, Prefix, Setting, Variable};
use super::topic::{self, TopicConfig};
use super::value::Value;

/// The settings, and where each value is from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// For the log, one sentence each: keys without effect and doubtful combinations.
    pub warnings: Vec<String>,
    pub(super) given: GivenValues,
    /// What was set while the broker runs.
    pub(super) dynamic: Dynamic,
}

/// What was given, by key.
pub(super) type GivenValues = BTreeMap<&'static str, Given>;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Config {
    /// The settings from the text of a file and from environment variables, of which the ones
    /// that do not begin with `KAFKA_` or `OTTLA_` are left alone. The path serves for messages,
    /// and its ending tells the format: `.properties`, or else TOML.
    pub fn load(
        file: Option<(&str, &str)>,
        env: &[(String, String)],
    ) -> Result<Loaded, ConfigError> {
        let mut warnings = Vec::new();
        let mut given = match file {
            Some((path, text)) => check_keys(read::file(path, text)?, &mut warnings)?,
            None => GivenValues::new(),
        };
        let variables = read_environment(env, &mut warnings)?;
        given.extend(check_keys(variables, &mut warnings)?);
        Loaded::new(given, warnings)
    }

    /// As `load`, with the file read by `read`.
    pub fn load_from(
        path: Option<&str>,
        read: impl FnOnce(&str) -> io::Result<String>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigError> {
        let text = match path.map(|path| (path, read(path))) {
            Some((path, Ok(text))) => Some((path, text)),
            Some((path, Err(error))) => {
                return Err(ConfigError::File { path: path.into(), reason: error.to_string() });
            }
            None => None,
        };
        let env: Vec<_> = env.into_iter().collect();
        Self::load(text.as_ref().map(|(path, text)| (*path, text.as_str())), &env)
    }
}

fn read_environment(
    env: &[(String, String)],
    warnings: &mut Vec<String>,
) -> Result<Vec<Setting>, ConfigError> {
    let mut settings = Vec::new();
    for (name, value) in env {
        let origin = Origin::Environment { variable: name.clone() };
        match read::variable(name) {
            Variable::Foreign => {}
            Variable::Other(reason) => warnings.push(format!("{origin} is ignored: {reason}")),
            Variable::Key(key, prefix) => {
                let other = |key: &&Key| Prefix::of(key.ours) != prefix;
                if KEYS.get(canonical(&key)).filter(other).is_some() {
                    return Err(ConfigError::unknown(&key, Some(&origin)));
                }
                settings.push(Setting { key, value: value.clone(), origin });
            }
        }
    }
    Ok(settings)
}

/// What one place gives, the file or the environment, by key.
fn check_keys(
    settings: Vec<Setting>,
    warnings: &mut Vec<String>,
) -> Result<GivenValues, ConfigError> {
    let mut given = GivenValues::new();
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    for Setting { key: name, value, origin } in settings {
        let Some(key) = KEYS.get(canonical(&name)) else {
            warnings.extend(check_inert(&name, &value, &origin)?);
            continue;
        };
        let value = key
            .parse(&value)
            .map_err(|reason| ConfigError::Value { place: origin.to_string(), reason })?;
        // Whoever repeats a default expects nothing of it.
        if let Some(reason) = ignored::not_yet(key.name)
            && key.default_value().as_ref() != Some(&value)
        {
            warnings.push(format!("{origin}: {name} has no effect yet: {reason}"));
        }
        if let Some(first) = given.get(key.name) {
            let is_other_name = names.get(key.name).is_some_and(|known| *known != name);
            // Both names are in files that have a history: Kafka takes equal ids, and of log dirs
            // the list.
            let is_dir = is_other_name && key.name == "log.dirs";
            if !(is_dir || is_other_name && first.value == value) {
                return Err(ConfigError::Duplicate {
                    key: key.name.to_owned(),
                    first: first.origin.to_string(),
                    second: origin.to_string(),
                });
            }
            if first.value != value {
                warnings.push(format!("{origin}: log.dirs is used, and log.dir is not"));
            }
            if name != key.name {
                continue;
            }
        }
        names.insert(key.name, name);
        given.insert(key.name, Given { value, origin });
    }
    Ok(given)
}

/// The warning for a key that has no effect.
fn check_inert(key: &str, value: &str, origin: &Origin) -> Result<Option<String>, ConfigError> {
    match ignored::find(key) {
        Some(Inert::Ignored(reason)) => Ok(Some(format!("{origin}: {key} is ignored: {reason}"))),
        Some(Inert::Refused(_)) if value.trim().is_empty() => Ok(None),
        Some(Inert::Refused(reason)) => {
            Err(ConfigError::Refused { key: key.to_owned(), place: origin.to_string(), reason })
        }
        None => Err(ConfigError::unknown(key, Some(origin))),
    }
}

impl Loaded {
    fn new(given: GivenValues, mut warnings: Vec<String>) -> Result<Self, ConfigError> {
        let conflict = |reason| ConfigError::Conflict { reason };
        let given_value = |key: &Key| Some(given.get(key.name)?.value.clone());
        let topic_defaults = topic_defaults(&given_value).map_err(conflict)?;
        let value = |name: &str| {
            KEYS.get(name).and_then(|key| given_value(key).or_else(|| key.default_value()))
        };
        let mut config = Config::from_values(&value, topic_defaults);
        check_roles(&config).map_err(conflict)?;
        listener::settle(&mut config).map_err(conflict)?;
        quorum::settle(&mut config).map_err(conflict)?;
        check(&config).map_err(conflict)?;
        warnings.extend(shadowed(&given));
        warnings.extend(doubts(&config));
        Ok(Self { config, warnings, given, dynamic: Dynamic::default() })
    }

    /// What `key` has: as it was set while the broker runs, else as it was given, else its default.
    pub(super) fn effective(&self, key: &Key) -> Option<Value> {
        self.set(key).or_else(|| key.default_value())
    }

    /// The same without the default.
    pub(super) fn set(&self, key: &Key) -> Option<Value> {
        let given = || Some(self.given.get(key.name)?.value.clone());
        self.dynamic.value(key.name).cloned().or_else(given)
    }

    pub(super) fn default_of(&self, key: &Key) -> Option<Value> {
        topic_default(&|key| self.set(key), key)
    }
}

/// What topics have that do not set a key themselves; `set` has what the broker's keys are set to.
pub(super) fn topic_defaults(set: &dyn Fn(&Key) -> Option<Value>) -> Result<TopicConfig, String> {
    let value = |name: &str| topic::find(name).and_then(|key| topic_default(set, key));
    let defaults = TopicConfig::from_values(&value, None);
    defaults.check()?;
    Ok(defaults)
}

/// What a topic has that does not set `key`: the first of its synonyms that has a value.
fn topic_default(set: &dyn Fn(&Key) -> Option<Value>, key: &Key) -> Option<Value> {
    let mut values = key.synonyms.iter().filter_map(|synonym| {
        let broker_key = KEYS.get(synonym.name)?;
        let value = set(broker_key).or_else(|| broker_key.default_value())?;
        Some(in_units_of_topic(value, *synonym))
    });
    values.next().or_else(|| key.default_value())
}

fn in_units_of_topic(value: Value, synonym: Synonym) -> Value {
    match value {
        // A negative number has a meaning of its own (no limit), not a size.
        Value::Int(number) if number > 0 => Value::Int(number.saturating_mul(synonym.unit)),
        // Where the broker's key takes any of them, the topic's takes one.
        Value::Int(number) if number < 0 && synonym.valid.is_some() => Value::Int(-1),
        value => value,
    }
}

/// The rules for listeners and addresses depend on what the node does.
fn check_roles(config: &Config) -> Result<(), String> {
    if !config.process_roles.broker && !config.process_roles.controller {
        return Err("process.roles names no role; the roles are broker and controller".to_owned());
    }
    Ok(())
}

/// The rules between keys that are neither listeners' nor topics'.
pub(super) fn check(config: &Config) -> Result<(), String> {
    if config.log_dirs.is_empty() {
        return Err("log.dirs names no directory".to_owned());
    }
    if config.queued_max_request_bytes < u64::from(config.socket_request_max_bytes) {
        return Err(format!(
            "queued.max.request.bytes ({}) < socket.request.max.bytes ({}): \
             the largest request could never be read",
            config.queued_max_request_bytes, config.socket_request_max_bytes
        ));
    }
    // Without threads there is no cleaner.
    let cleaners = i64::from(config.log_cleaner_threads.max(1));
    if config.log_cleaner_dedupe_buffer_size / cleaners <= DEDUPE_BYTES_MIN {
        return Err(
            "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.".into()
        );
    }
    check_group_limits(config)
}

/// What each of the cleaners must have more than of `log.cleaner.dedupe.buffer.size`, as in Kafka.
const DEDUPE_BYTES_MIN: i64 = 1024 * 1024;

fn check_group_limits(config: &Config) -> Result<(), String> {
    let session = "group.consumer.session.timeout.ms";
    let heartbeat = "group.consumer.heartbeat.interval.ms";
    let ordered = [
        (
            ("group.min.session.timeout.ms", config.group_min_session_timeout_ms),
            ("group.max.session.timeout.ms", config.group_max_session_timeout_ms),
        ),
        (
            ("group.consumer.min.session.timeout.ms", config.group_consumer_min_session_timeout_ms),
            (session, config.group_consumer_session_timeout_ms),
        ),
        (
            (session, config.group_consumer_session_timeout_ms),
            ("group.consumer.max.session.timeout.ms", config.group_consumer_max_session_timeout_ms),
        ),
        (
            (
                "group.consumer.min.heartbeat.interval.ms",
                config.group_consumer_min_heartbeat_interval_ms,
            ),
            (heartbeat, config.group_consumer_heartbeat_interval_ms),
        ),
        (
            (heartbeat, config.group_consumer_heartbeat_interval_ms),
            (
                "group.consumer.max.heartbeat.interval.ms",
                config.group_consumer_max_heartbeat_interval_ms,
            ),
        ),
    ];
    match ordered.into_iter().find(|((_, small), (_, large))| small > large) {
        Some(((small_key, small), (large_key, large))) => {
            Err(format!("{small_key} ({small}) > {large_key} ({large})"))
        }
        None => Ok(()),
    }
}

/// Keys that were given and have no effect, because a synonym that comes first is given, too.
fn shadowed(given: &GivenValues) -> Vec<String> {
    let mut warnings = Vec::new();
    for key in topic::TOPIC_KEYS {
        let mut chain = key.synonyms.iter().filter(|synonym| given.contains_key(synonym.name));
        let Some(first) = chain.next() else { continue };
        warnings.extend(chain.filter_map(|synonym| {
            let origin = &given.get(synonym.name)?.origin;
            Some(format!("{origin}: {} has no effect beside {}", synonym.name, first.name))
        }));
    }
    warnings
}

/// Combinations that are valid and most likely not meant.
fn doubts(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let needed = config.topic_defaults.min_insync_replicas;
    let replicas = config.default_replication_factor;
    if needed > i32::from(replicas) {
        warnings.push(format!(
            "min.insync.replicas ({needed}) > default.replication.factor ({replicas}): \
             topics with the default number of replicas refuse acks=all"
        ));
    }
    warnings
}

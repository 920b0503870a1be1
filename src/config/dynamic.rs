//! The keys that brokers have only while they run: set by clients, kept in the metadata.

use std::collections::BTreeMap;

use super::entries::{ConfigEntry, ConfigSource};
use super::key::{Key, optional};
use super::value::ConfigKind::{Boolean, Long};
use super::value::Valid::{Any, AtLeast};

/// Set on a broker, it is to be emptied: its replicas move to others.
pub const DRAINING: &str = "ottla.broker.draining";
/// How many bytes a second leaders give to replicas that are throttled.
pub const LEADER_THROTTLE: &str = "leader.replication.throttled.rate";
/// How many bytes a second replicas take that are throttled.
pub const FOLLOWER_THROTTLE: &str = "follower.replication.throttled.rate";
/// How many bytes a second are copied from one log dir to another.
pub const LOG_DIRS_THROTTLE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

/// Every such key, by name.
static DYNAMIC_KEYS: &[Key] = &[
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

/// Whether brokers have this key while they run.
pub fn is_dynamic(name: &str) -> bool {
    find(name).is_some()
}

/// Checks a value of such a key; the error is Kafka's message.
pub fn validate_dynamic(name: &str, value: &str) -> Result<(), String> {
    find(name).map_or(Ok(()), |key| key.parse(value).map(drop))
}

/// The keys that are set for a broker, or for all of them.
pub fn dynamic_entries(
    overrides: &BTreeMap<String, String>,
    source: ConfigSource,
) -> Vec<ConfigEntry> {
    let set = DYNAMIC_KEYS.iter().filter_map(|key| Some((key, overrides.get(key.name)?)));
    let entries = set.map(|(key, value)| ConfigEntry {
        name: key.name,
        value: Some(value.clone()),
        source,
        kind: key.kind,
        read_only: false,
        sensitive: false,
        synonyms: vec![(key.name.to_owned(), Some(value.clone()), source)],
        doc: key.doc,
    });
    entries.collect()
}

fn find(name: &str) -> Option<&'static Key> {
    DYNAMIC_KEYS.iter().find(|key| key.name == name)
}

//! The answers to `DescribeConfigs`: values with their sources and synonyms, as Kafka gives them.

use std::collections::BTreeMap;

use super::dynamic::Layer;
use super::group::GROUP_KEYS;
use super::key::Key;
use super::keys::KEYS;
use super::load::Loaded;
use super::topic::{self, TOPIC_KEYS};
use super::value::ConfigKind;

/// Where a value is from; the number is the one that `DescribeConfigs` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    DynamicTopic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    /// The file or the environment.
    StaticBroker = 4,
    Default = 5,
    DynamicGroup = 8,
}

impl ConfigSource {
    pub fn id(self) -> i8 {
        self as i8
    }
}

/// One key as `DescribeConfigs` tells it. Whether the value is the default is `source`'s to say.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigEntry {
    pub name: &'static str,
    /// `None` when there is no value, or when it is not to be shown.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub kind: ConfigKind,
    /// It can not be altered while the broker runs.
    pub read_only: bool,
    pub sensitive: bool,
    /// The places that give a value, the one that counts first.
    pub synonyms: Synonyms,
    pub doc: &'static str,
}

/// Names with their values and where those are from.
type Synonyms = Vec<(String, Option<String>, ConfigSource)>;

impl Loaded {
    /// Every broker key, by name.
    pub fn broker_entries(&self) -> Vec<ConfigEntry> {
        KEYS.values()
            .map(|key| {
                let value = self.effective(key).map(|value| value.to_string());
                let synonyms = self.broker_synonyms(key, &chain_of(key));
                entry(key, value, !key.dynamic, synonyms)
            })
            .collect()
    }

    /// First what was set for this broker under any of the names, then what was set for all, what
    /// was given, and the defaults. What stands before `key` itself is dropped, so when only a
    /// later name has a value there is no synonym at all: so does Kafka, and clients may go by it
    /// (`DynamicBrokerConfig.java`, `ConfigHelper.java`).
    fn broker_synonyms<'a>(&'a self, key: &Key, chain: &'a [&'static Key]) -> Synonyms {
        let set = |layer: &'a Layer, source| {
            chain.iter().filter_map(move |key| {
                let text = layer.get(key.name).map(|(text, _)| text.clone())?;
                Some((key.name.to_owned(), shown(key, Some(text)), source))
            })
        };
        let own = set(&self.dynamic.own, ConfigSource::DynamicBroker);
        let all = set(&self.dynamic.all, ConfigSource::DynamicDefaultBroker);
        let given = chain.iter().filter_map(|key| {
            let given = self.given.get(key.name)?;
            let value = shown(key, Some(given.value.to_string()));
            Some((key.name.to_owned(), value, ConfigSource::StaticBroker))
        });
        let defaults = chain.iter().filter_map(|key| {
            let value = shown(key, Some(key.default_value()?.to_string()));
            Some((key.name.to_owned(), value, ConfigSource::Default))
        });
        let synonyms = own.chain(all).chain(given).chain(defaults);
        synonyms.skip_while(|(name, ..)| name != key.name).collect()
    }
}

/// Every topic key, by name, for a topic with these overrides. Keys for tests appear only when
/// they are set.
pub fn topic_entries(defaults: &Loaded, overrides: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
    let told = |key: &&Key| !key.name.starts_with("internal.") || overrides.contains_key(key.name);
    TOPIC_KEYS
        .iter()
        .filter(told)
        .map(|key| {
            // Overrides were checked when they were set; one that is no longer valid is shown.
            let own = overrides.get(key.name).map(|text| {
                topic::parse_override(key.name, text)
                    .map_or_else(|_| text.clone(), |value| value.to_string())
            });
            overridable_entry(defaults, key, own, ConfigSource::DynamicTopic)
        })
        .collect()
}

/// Every group key, by name, for a group with these overrides.
pub fn group_entries(defaults: &Loaded, overrides: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
    GROUP_KEYS
        .iter()
        .map(|key| {
            let own = overrides.get(key.name).cloned();
            overridable_entry(defaults, key, own, ConfigSource::DynamicGroup)
        })
        .collect()
}

/// A key of a topic or a group: its own value, or else what the broker's keys give.
fn overridable_entry(
    defaults: &Loaded,
    key: &Key,
    own: Option<String>,
    source: ConfigSource,
) -> ConfigEntry {
    let chain = synonym_keys(key);
    let mut synonyms =
        chain.first().map_or_else(Vec::new, |first| defaults.broker_synonyms(first, &chain));
    if own.is_some() {
        synonyms.insert(0, (key.name.to_owned(), shown(key, own.clone()), source));
    }
    let default = || defaults.default_of(key).map(|value| value.to_string());
    entry(key, own.or_else(default), false, synonyms)
}

fn entry(key: &Key, value: Option<String>, read_only: bool, synonyms: Synonyms) -> ConfigEntry {
    ConfigEntry {
        name: key.name,
        value: shown(key, value),
        source: synonyms.first().map_or(ConfigSource::Default, |(_, _, source)| *source),
        kind: key.kind,
        read_only,
        sensitive: key.sensitive(),
        synonyms,
        doc: key.doc,
    }
}

fn shown(key: &Key, value: Option<String>) -> Option<String> {
    value.filter(|_| !key.sensitive())
}

/// The broker keys that set the default of a key of a topic or a group.
fn synonym_keys(key: &Key) -> Vec<&'static Key> {
    key.synonyms.iter().filter_map(|synonym| KEYS.get(synonym.name)).collect()
}

/// The broker key and those that stand for it: all that set the default of the same topic key.
fn chain_of(key: &'static Key) -> Vec<&'static Key> {
    match key.topic_key.and_then(topic::find) {
        Some(topic_key) => synonym_keys(topic_key),
        None => vec![key],
    }
}

//! Why a configuration is refused, in words for the person who wrote it.

use std::fmt;

use super::read::{Origin, Prefix, variable_of_key};
use super::{ignored, keys, topic};

/// Display gives the whole story: the key, the place, the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// The file can not be read as what it should be.
    Syntax { place: String, reason: String },
    /// No such key. `nearest` is the known key that looks most like it.
    UnknownKey { key: String, place: Option<String>, nearest: String },
    /// One key is given twice in one place.
    Duplicate { key: String, first: String, second: String },
    /// The value is not one that the key can have.
    Value { place: String, reason: String },
    /// The key is Kafka's, and leaving it out would be unsafe.
    Refused { key: String, place: String, reason: &'static str },
    /// Values that do not go together.
    Conflict { reason: String },
    /// The loader could not read the file.
    File { path: String, reason: String },
}

impl ConfigError {
    pub(super) fn syntax(origin: &Origin, reason: &str) -> Self {
        Self::Syntax { place: origin.to_string(), reason: reason.to_owned() }
    }

    pub(super) fn unknown(key: &str, origin: Option<&Origin>) -> Self {
        // In the environment, show the variable to write.
        let shown = |name: &'static str| match origin {
            Some(Origin::Environment { .. }) => {
                variable_of_key(name, Prefix::of(keys::KEYS.get(name).is_some_and(|key| key.ours)))
            }
            _ => name.to_owned(),
        };
        Self::UnknownKey {
            key: key.to_owned(),
            place: origin.map(ToString::to_string),
            nearest: shown(nearest(key)),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { place, reason } | Self::Value { place, reason } => {
                write!(f, "{place}: {reason}")
            }
            Self::UnknownKey { key, place: Some(place), nearest } => {
                write!(f, "{place}: unknown key {key}; the nearest known one is {nearest}")
            }
            Self::UnknownKey { key, place: None, nearest } => {
                write!(f, "unknown key {key}; the nearest known one is {nearest}")
            }
            Self::Duplicate { key, first, second } => {
                write!(f, "{second}: {key} is given a second time, first in {first}")
            }
            Self::Refused { key, place, reason } => {
                write!(f, "{place}: {key} can not be honoured: {reason}")
            }
            Self::Conflict { reason } => f.write_str(reason),
            Self::File { path, reason } => write!(f, "file {path}: {reason}"),
        }
    }
}

/// The known key that looks most like `key`. A topic key leads to the broker key that sets its
/// default.
pub(super) fn nearest(key: &str) -> &'static str {
    if let Some(synonym) = topic::find(key).and_then(|key| key.synonyms.first()) {
        return synonym.name;
    }
    let aliases = keys::ALIASES.iter().map(|(alias, _)| *alias);
    let known = keys::KEYS.keys().copied().chain(aliases).chain(ignored::names());
    known.min_by_key(|known| edit_distance(key, known)).unwrap_or_default()
}

/// How many characters must be put in, taken out or replaced to make `left` into `right`.
pub(super) fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    // The distances from what is read of `left` so far to every beginning of `right`.
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (read, from) in left.chars().enumerate() {
        let mut next = vec![read + 1];
        let mut before = read + 1;
        for ((diagonal, above), to) in row.iter().zip(row.iter().skip(1)).zip(&right) {
            let replaced = diagonal + usize::from(from != *to);
            before = replaced.min(above + 1).min(before + 1);
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

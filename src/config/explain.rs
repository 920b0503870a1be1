//! `ottla config explain`: every key with its value, its source and its meaning, for people.

use super::error::ConfigError;
use super::ignored::{self, Inert};
use super::key::Key;
use super::keys::{KEYS, canonical};
use super::load::Loaded;
use super::read::{Prefix, variable_of_key};
use super::topic;
use super::value::{ConfigKind, Value};

impl Loaded {
    /// All keys with a line about each, or all about one key.
    pub fn explain(&self, key: Option<&str>) -> Result<String, ConfigError> {
        let Some(name) = key else {
            return Ok(KEYS.values().map(|key| self.line(key)).collect());
        };
        if let Some(key) = KEYS.get(canonical(name)) {
            return Ok(self.page(key));
        }
        if let Some(key) = topic::find(name) {
            return Ok(self.topic_page(key));
        }
        match ignored::find(name) {
            Some(Inert::Ignored(reason)) => Ok(lay_out(name, &[("ignored", reason.to_owned())])),
            Some(Inert::Refused(reason)) => Ok(lay_out(name, &[("refused", reason.to_owned())])),
            None => Err(ConfigError::unknown(name, None)),
        }
    }

    fn line(&self, key: &Key) -> String {
        let value = value_text(key, self.effective(key));
        format!("{} = {value}  ({})\n    {}\n", key.name, self.source(key), key.summary())
    }

    fn source(&self, key: &Key) -> String {
        self.given
            .get(key.name)
            .map_or_else(|| "default".to_owned(), |given| given.origin.to_string())
    }

    fn page(&self, key: &Key) -> String {
        let title = format!("{} = {}", key.name, value_text(key, self.effective(key)));
        let mut rows = vec![
            ("source", self.source(key)),
            ("default", value_text(key, key.default_value())),
            ("type", key.kind.to_string()),
            ("valid", valid_text(key)),
            ("environment", variable_of_key(key.name, Prefix::of(key.ours))),
        ];
        if let Some(topic_key) = key.topic_key {
            rows.push(("default of", format!("the topic key {topic_key}")));
        }
        rows.push(("meaning", key.doc.to_owned()));
        lay_out(&title, &rows)
    }

    fn topic_page(&self, key: &Key) -> String {
        let broker_keys: Vec<_> = key.synonyms.iter().map(|synonym| synonym.name).collect();
        lay_out(
            &format!("{} (set on a topic)", key.name),
            &[
                ("default", value_text(key, self.default_of(key))),
                ("set by", broker_keys.join(", ")),
                ("type", key.kind.to_string()),
                ("valid", valid_text(key)),
                ("meaning", key.doc.to_owned()),
            ],
        )
    }
}

fn lay_out(title: &str, rows: &[(&str, String)]) -> String {
    let rows = rows.iter().filter(|(_, text)| !text.is_empty());
    let rows: String = rows.map(|(name, text)| format!("  {name:<12} {text}\n")).collect();
    format!("{title}\n{rows}")
}

fn valid_text(key: &Key) -> String {
    match key.kind {
        ConfigKind::Boolean => "true | false".to_owned(),
        _ => key.valid.to_string(),
    }
}

fn value_text(key: &Key, value: Option<Value>) -> String {
    match value {
        Some(_) if key.sensitive() => "(hidden)".to_owned(),
        Some(value) if value.to_string().is_empty() => "(empty)".to_owned(),
        Some(value) => value.to_string(),
        None => "(not set)".to_owned(),
    }
}

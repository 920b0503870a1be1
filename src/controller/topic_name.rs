//! The rules for topic names (`Topic.java`), and the names of the topics that the broker keeps for
//! itself.

use std::collections::HashMap;

use crate::controller::refusal::{Reason, Refusal};
use crate::metadata::image::Image;

pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// A name that Kafka needs for its log of metadata. A topic can not have it.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// The longest name; with a partition's number behind it, it must make a file name.
const LENGTH_MAX: usize = 249;

/// Whether a topic may have this name.
pub fn validate(name: &str) -> Result<(), Refusal> {
    match fault(name) {
        None => Ok(()),
        Some(fault) => {
            let message = format!("Topic name is invalid: {fault}");
            Err(Refusal::new(Reason::InvalidTopicName, message))
        }
    }
}

fn fault(name: &str) -> Option<String> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" => Some("the empty string is not allowed".to_owned()),
        "." | ".." => Some(format!("'{name}' is not allowed")),
        // Java counts UTF-16 units; names beyond ASCII are refused by the next rule anyway.
        _ if name.encode_utf16().count() > LENGTH_MAX => Some(format!(
            "the length of '{name}' is longer than the max allowed length {LENGTH_MAX}"
        )),
        _ if !name.chars().all(is_legal) => Some(format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'"
        )),
        _ => None,
    }
}

/// The names that a new one could be confused with: in the names of metrics a dot becomes an
/// underscore.
#[derive(Debug, Default)]
pub(super) struct Collisions<'a> {
    by_unified: HashMap<String, &'a str>,
}

impl<'a> Collisions<'a> {
    /// Looks at all topics of the image, if one of the new names needs it.
    pub(super) fn of<'b>(image: &'a Image, mut new_names: impl Iterator<Item = &'b str>) -> Self {
        if !new_names.any(has_collision_chars) {
            return Self::default();
        }
        let names = image.topics().map(|topic| topic.name.as_str());
        let names = names.filter(|name| has_collision_chars(name));
        Self { by_unified: names.map(|name| (unify(name), name)).collect() }
    }

    fn with(&self, name: &str) -> Option<&'a str> {
        has_collision_chars(name).then(|| self.by_unified.get(&unify(name)).copied()).flatten()
    }
}

fn has_collision_chars(name: &str) -> bool {
    name.contains(['.', '_'])
}

fn unify(name: &str) -> String {
    name.replace('.', "_")
}

/// Whether a topic of this name can be created.
pub(super) fn check_new(
    image: &Image,
    collisions: &Collisions<'_>,
    name: &str,
) -> Result<(), Refusal> {
    if name == CLUSTER_METADATA {
        let message = format!("Creation of internal topic {name} is prohibited.");
        return Err(Refusal::new(Reason::InvalidRequest, message));
    }
    validate(name)?;
    if image.topic(name).is_some() {
        return Err(Refusal::new(Reason::TopicExists, format!("Topic '{name}' already exists.")));
    }
    match collisions.with(name) {
        None => Ok(()),
        Some(existing) => {
            let message = format!("Topic '{name}' collides with existing topic: {existing}");
            Err(Refusal::new(Reason::InvalidTopicName, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::TopicId;
    use crate::metadata::records::Record;

    #[track_caller]
    fn check(name: &str, fault: &str) {
        let message = validate(name).unwrap_err().message.unwrap();
        assert_eq!(message, format!("Topic name is invalid: {fault}"));
    }

    #[test]
    fn names_are_checked_as_kafka_does() {
        check("", "the empty string is not allowed");
        check(".", "'.' is not allowed");
        check("..", "'..' is not allowed");
        let long = "a".repeat(250);
        check(&long, &format!("the length of '{long}' is longer than the max allowed length 249"));
        for name in ["a/b", "ä", "a b", "a\0", "../x"] {
            let fault = "contains one or more characters other than ASCII alphanumerics, '.', '_' \
                         and '-'";
            check(name, &format!("'{name}' {fault}"));
        }
        for name in ["...", "a", "A-z_0.9", &"a".repeat(249)] {
            assert_eq!(validate(name), Ok(()));
        }
    }

    #[test]
    fn names_that_metrics_confuse_collide() {
        let mut image = Image::default();
        image.replay(&Record::Topic { topic_id: TopicId([1; 16]), name: "a.b_c".to_owned() });
        let check = |name: &str| {
            check_new(&image, &Collisions::of(&image, std::iter::once(name)), name)
                .map_err(|refusal| (refusal.reason, refusal.message.unwrap()))
        };
        for name in ["a_b_c", "a_b.c", "a.b.c"] {
            let text = format!("Topic '{name}' collides with existing topic: a.b_c");
            assert_eq!(check(name), Err((Reason::InvalidTopicName, text)));
        }
        let text = "Topic 'a.b_c' already exists.".to_owned();
        assert_eq!(check("a.b_c"), Err((Reason::TopicExists, text)));
        let text = "Creation of internal topic __cluster_metadata is prohibited.".to_owned();
        assert_eq!(check("__cluster_metadata"), Err((Reason::InvalidRequest, text)));
        assert_eq!(check("a-b-c"), Ok(()));
        assert_eq!(check("a.b"), Ok(()));
    }
}

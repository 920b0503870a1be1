//! Deleting topics.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::TopicId;
use crate::controller::refusal::{Reason, Refusal};
use crate::controller::service::Decision;
use crate::metadata::image::Image;
use crate::metadata::records::Record;

/// A topic as a client names it: by name or by id. The zero id is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicKey {
    pub name: Option<String>,
    pub id: TopicId,
}

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub key: TopicKey,
    pub outcome: Result<(), Refusal>,
}

/// Deletes topics. One answer for each that was named; what was named twice is refused once.
pub fn decide(image: &Image, keys: &[TopicKey]) -> Decision<Vec<Deletion>> {
    let mut counts: BTreeMap<&TopicKey, usize> = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    let twice = named_both_ways(image, &counts);
    let mut decision = Decision { records: Vec::new(), answer: Vec::new() };
    let mut seen = BTreeSet::new();
    for key in keys.iter().filter(|key| seen.insert(*key)) {
        if key.name.is_none() && twice.contains(&key.id) {
            // Answered under its name.
            continue;
        }
        let is_single = counts.get(key) == Some(&1);
        let (key, outcome) = match find(image, key, is_single) {
            Ok(found) if twice.contains(&found.id) => {
                let message = "The provided topic name maps to an ID that was already supplied.";
                (found, Err(Refusal::new(Reason::InvalidRequest, message)))
            }
            Ok(found) => {
                decision.records.push(Record::RemoveTopic { topic_id: found.id });
                (found, Ok(()))
            }
            Err(refusal) => (key.clone(), Err(refusal)),
        };
        decision.answer.push(Deletion { key, outcome });
    }
    decision
}

fn named_both_ways(image: &Image, counts: &BTreeMap<&TopicKey, usize>) -> BTreeSet<TopicId> {
    let ids: BTreeSet<TopicId> =
        counts.keys().filter(|key| key.name.is_none()).map(|key| key.id).collect();
    let by_name = counts.keys().filter(|key| key.id == TopicId::ZERO);
    let topics = by_name.filter_map(|key| image.topic(key.name.as_deref()?));
    topics.map(|topic| topic.id).filter(|id| ids.contains(id)).collect()
}

/// The topic with both its name and its id.
fn find(image: &Image, key: &TopicKey, is_single: bool) -> Result<TopicKey, Refusal> {
    let invalid = |message: &str| Err(Refusal::new(Reason::InvalidRequest, message));
    let topic = match &key.name {
        None if key.id == TopicId::ZERO => {
            return invalid("Neither topic name nor id were specified.");
        }
        Some(_) if key.id != TopicId::ZERO => {
            return invalid("You may not specify both topic name and topic id.");
        }
        None if !is_single => return invalid("Duplicate topic id."),
        Some(_) if !is_single => return invalid("Duplicate topic name."),
        None => image.topic_by_id(key.id).ok_or_else(|| {
            Refusal::new(Reason::UnknownTopicId, "This server does not host this topic ID.")
        })?,
        Some(name) => image.topic(name).ok_or_else(|| {
            let message = "This server does not host this topic-partition.";
            Refusal::new(Reason::UnknownTopic, message)
        })?,
    };
    Ok(TopicKey { name: Some(topic.name.clone()), id: topic.id })
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TopicId = TopicId([1; 16]);
    const U: TopicId = TopicId([2; 16]);

    fn image() -> Image {
        let mut image = Image::default();
        for (topic_id, name) in [(T, "t"), (U, "u")] {
            image.replay(&Record::Topic { topic_id, name: name.to_owned() });
        }
        image
    }

    fn key(name: &str, id: TopicId) -> TopicKey {
        TopicKey { name: (!name.is_empty()).then(|| name.to_owned()), id }
    }

    fn run(keys: &[TopicKey]) -> (Vec<TopicId>, Vec<(TopicKey, Option<String>)>) {
        let Decision { records, answer } = decide(&image(), keys);
        let removed = records.iter().map(|record| match record {
            Record::RemoveTopic { topic_id } => *topic_id,
            other => panic!("{other:?}"),
        });
        let told = answer
            .into_iter()
            .map(|one| (one.key, one.outcome.err().map(|refusal| refusal.message.unwrap())));
        (removed.collect(), told.collect())
    }

    #[test]
    fn topics_go_by_name_and_by_id() {
        let (removed, told) = run(&[key("t", TopicId::ZERO), key("", U)]);
        assert_eq!(removed, [T, U]);
        assert_eq!(told, [(key("t", T), None), (key("u", U), None)]);
    }

    #[test]
    fn refusals_are_kafkas() {
        let none = TopicId([9; 16]);
        let cases = [
            (key("x", TopicId::ZERO), "This server does not host this topic-partition."),
            (key("", none), "This server does not host this topic ID."),
            (key("", TopicId::ZERO), "Neither topic name nor id were specified."),
            (key("t", T), "You may not specify both topic name and topic id."),
        ];
        for (key, message) in cases {
            let (removed, told) = run(std::slice::from_ref(&key));
            assert!(removed.is_empty());
            assert_eq!(told, [(key, Some(message.to_owned()))]);
        }
    }

    #[test]
    fn what_is_named_twice_stays() {
        let (removed, told) = run(&[key("t", TopicId::ZERO), key("", U), key("t", TopicId::ZERO)]);
        assert_eq!(removed, [U]);
        let duplicate = Some("Duplicate topic name.".to_owned());
        assert_eq!(told, [(key("t", TopicId::ZERO), duplicate), (key("u", U), None)]);

        let (removed, told) = run(&[key("", T), key("", T)]);
        assert!(removed.is_empty());
        assert_eq!(told, [(key("", T), Some("Duplicate topic id.".to_owned()))]);

        let (removed, told) = run(&[key("", T), key("t", TopicId::ZERO), key("", U)]);
        assert_eq!(removed, [U]);
        let both = "The provided topic name maps to an ID that was already supplied.";
        assert_eq!(told, [(key("t", T), Some(both.to_owned())), (key("u", U), None)]);
    }
}

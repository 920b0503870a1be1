//! What is told and what is taken of a cluster's metadata.

use super::*;
use crate::import::records::{self, Partition};

const NO_SETTINGS: [(String, String); 0] = [];

fn id(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn metadata(topics: &[(u8, &str, &[usize])]) -> Metadata {
    let mut metadata = Metadata::default();
    for (number, name, replicas) in topics {
        let place = |count: &usize| Partition { replicas: (0..).take(*count).collect(), epoch: 7 };
        let topic = records::Topic {
            name: (*name).to_owned(),
            partitions: (0..).zip(replicas.iter().map(place)).collect(),
        };
        metadata.topics.insert(id(*number), topic);
    }
    metadata
}

fn set(metadata: &mut Metadata, kind: i8, name: &str, key: &str, value: &str) {
    let configs = metadata.configs.entry((kind, name.to_owned())).or_default();
    configs.insert(key.to_owned(), value.to_owned());
}

fn plan_of(metadata: &Metadata, has: impl Fn(TopicId, PartitionIndex) -> bool) -> Plan {
    let config = Config::load(None, &NO_SETTINGS).expect("defaults").config;
    plan(metadata, &config, has)
}

#[test]
fn topics_come_in_order_with_their_epochs() {
    let metadata = metadata(&[(1, "b", &[1, 1]), (2, "a", &[1]), (3, "__consumer_offsets", &[1])]);
    let plan = plan_of(&metadata, |_, _| true);
    let names: Vec<&str> = plan.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["__consumer_offsets", "a", "b"]);
    assert_eq!(plan.topics[2].partitions, BTreeMap::from([(0, Some(7)), (1, Some(7))]));
    assert_eq!((plan.missing, plan.notes), (vec![], vec![]));
}

#[test]
fn what_is_elsewhere_is_missing() {
    let metadata = metadata(&[(1, "some", &[1, 1, 1]), (2, "none", &[1, 1])]);
    let plan = plan_of(&metadata, |topic, partition| topic == id(1) && partition == 1);
    assert_eq!(
        plan.missing,
        [
            "topic some: partitions 0, 2 are not here; they begin empty",
            "topic none: none of its 2 partitions is here; it is left out",
        ]
    );
    assert_eq!(plan.topics.len(), 1);
    let expected = BTreeMap::from([(0, None), (1, Some(7)), (2, None)]);
    assert_eq!(plan.topics[0].partitions, expected);
}

#[test]
fn a_name_that_could_be_a_path_is_not_taken() {
    let metadata = metadata(&[(1, "../x", &[1]), (2, "", &[1])]);
    let plan = plan_of(&metadata, |_, _| true);
    assert_eq!((plan.topics.len(), plan.missing.len()), (0, 2));
}

#[test]
fn topics_about_that_cluster_are_left_out() {
    let metadata = metadata(&[(1, "__transaction_state", &[1]), (2, "__share_group_state", &[1])]);
    let plan = plan_of(&metadata, |_, _| true);
    assert_eq!((plan.topics, plan.missing, plan.notes.len()), (vec![], vec![], 2));
}

#[test]
fn known_configs_are_taken_and_the_others_told() {
    let mut metadata = metadata(&[(1, "t", &[1])]);
    set(&mut metadata, TOPIC, "t", "retention.ms", "5");
    set(&mut metadata, TOPIC, "t", "what.is.this", "x");
    set(&mut metadata, GROUP, "g", "consumer.session.timeout.ms", "50000");
    set(&mut metadata, GROUP, "h", "share.session.timeout.ms", "50000");
    set(&mut metadata, 4, "", "log.retention.ms", "9");
    set(&mut metadata, 4, "1", "log.cleaner.threads", "2");
    metadata.foreign.insert("ACLs");
    let plan = plan_of(&metadata, |_, _| true);
    assert_eq!(plan.topics[0].config.retention_ms, 5);
    let keys: Vec<&String> = plan.topics[0].overrides.keys().collect();
    assert_eq!(keys, ["retention.ms"]);
    assert_eq!(plan.groups.len(), 1);
    assert_eq!(
        plan.notes,
        [
            "topic t: what.is.this=x is left out: Unknown topic config name: what.is.this",
            "all brokers: log.retention.ms is left out (it was 9)",
            "broker 1: log.cleaner.threads is left out (it was 2)",
            "group h: share.session.timeout.ms is left out (it was 50000)",
            "not imported: ACLs",
        ]
    );
}

#[test]
fn tiered_data_is_missing() {
    let mut metadata = metadata(&[(1, "t", &[1])]);
    set(&mut metadata, TOPIC, "t", "remote.storage.enable", "true");
    let plan = plan_of(&metadata, |_, _| true);
    assert_eq!(plan.missing, ["topic t: what only tiered storage has is not imported"]);
    assert!(plan.topics[0].overrides.is_empty());
}

#[test]
fn who_had_several_replicas_is_told_of() {
    let mut metadata = metadata(&[(1, "safe", &[3, 3]), (2, "plain", &[1])]);
    set(&mut metadata, TOPIC, "safe", "min.insync.replicas", "2");
    let plan = plan_of(&metadata, |_, _| true);
    assert_eq!(plan.notes.len(), 2);
    assert!(plan.notes[0].starts_with("topics that had more than one replica and have one now: 1"));
    let expected = "topics that refuse acks=all until they have min.insync.replicas: safe";
    assert_eq!(plan.notes[1], expected);
}

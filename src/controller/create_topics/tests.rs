//! Which topics come to be, and in what words others are refused.

use proptest::prelude::*;

use super::*;
use crate::controller::placement::tests::image_with;

fn config() -> Config {
    Config::load(None, &[]).unwrap().config
}

fn new(name: &str, partition_count: i32, replication_factor: i16) -> NewTopic {
    let plain = NewTopic::of_defaults(TopicId([7; 16]), name);
    NewTopic { partition_count, replication_factor, ..plain }
}

fn manual(assignments: &[(i32, &[i32])]) -> NewTopic {
    let assignments = assignments.iter().map(|(partition, nodes)| Assignment {
        partition: *partition,
        replicas: nodes.iter().copied().map(NodeId).collect(),
    });
    NewTopic { assignments: assignments.collect(), ..new("t", -1, -1) }
}

fn with_configs(configs: &[(&str, Option<&str>)]) -> NewTopic {
    let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)));
    NewTopic { configs: configs.collect(), ..new("t", -1, -1) }
}

#[track_caller]
fn check(new: &NewTopic, reason: Reason, message: &str) {
    let Decision { records, answer } =
        decide(&image_with(&[None, None]), &config(), std::slice::from_ref(new));
    assert!(records.is_empty());
    assert_eq!(answer, vec![Err(Refusal::new(reason, message))]);
}

#[test]
fn numbers_are_checked() {
    let zero = "Number of partitions was set to an invalid non-positive value.";
    check(&new("t", 0, 1), Reason::InvalidPartitions, zero);
    check(&new("t", -2, 1), Reason::InvalidPartitions, zero);
    let factor = "Replication factor must be larger than 0, or -1 to use the default value.";
    check(&new("t", 1, 0), Reason::InvalidReplicationFactor, factor);
    check(&new("t", 0, -3), Reason::InvalidReplicationFactor, factor);
    let brokers = "Unable to replicate the partition 3 time(s): The target replication factor of \
                   3 cannot be reached because only 2 broker(s) are registered.";
    check(&new("t", 1, 3), Reason::InvalidReplicationFactor, brokers);
    let many = "Excessively large number of partitions per request.";
    check(&new("t", 10_001, 1), Reason::PolicyViolation, many);
    let records = "Unable to perform excessively large batch operation.";
    check(&new("t", 10_000, 1), Reason::PolicyViolation, records);
}

#[test]
fn assignments_are_checked() {
    let reason = Reason::InvalidReplicaAssignment;
    let mut both = manual(&[(0, &[1])]);
    both.replication_factor = 1;
    let text = "A manual partition assignment was specified, but replication factor was not set \
                to -1.";
    check(&both, Reason::InvalidRequest, text);
    let mut both = manual(&[(0, &[1])]);
    both.partition_count = 1;
    let text = "A manual partition assignment was specified, but numPartitions was not set to -1.";
    check(&both, Reason::InvalidRequest, text);
    let text = "Found multiple manual partition assignments for partition 0";
    check(&manual(&[(0, &[1]), (0, &[1])]), reason, text);
    let text =
        "The manual partition assignment includes broker 9, but no such broker is registered.";
    check(&manual(&[(0, &[9])]), reason, text);
    let text = "The manual partition assignment includes an empty replica list.";
    check(&manual(&[(0, &[])]), reason, text);
    let text = "The manual partition assignment includes the broker 1 more than once.";
    check(&manual(&[(0, &[1, 1])]), reason, text);
    let text = "partitions should be a consecutive 0-based integer sequence";
    check(&manual(&[(1, &[1])]), reason, text);
    let text = "The manual partition assignment includes a partition with 1 replica(s), but this \
                is not consistent with previous partitions, which have 2 replica(s).";
    check(&manual(&[(0, &[1, 2]), (1, &[1])]), reason, text);
}

#[test]
fn configs_are_checked() {
    let reason = Reason::InvalidConfig;
    check(&with_configs(&[("no", Some("1"))]), reason, "Unknown topic config name: no");
    let nulls = with_configs(&[("retention.ms", None), ("cleanup.policy", None)]);
    let text = "Null value not supported for topic configs: retention.ms,cleanup.policy";
    check(&nulls, reason, text);
    let lags = with_configs(&[
        ("min.compaction.lag.ms", Some("100")),
        ("max.compaction.lag.ms", Some("10")),
    ]);
    let text =
        "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (10)";
    check(&lags, reason, text);
}

#[test]
fn a_manual_topic_is_laid_out_as_told() {
    let mut image = image_with(&[None, None]);
    let decision = decide(&image, &config(), &[manual(&[(1, &[2, 1]), (0, &[1, 2])])]);
    decision.records.iter().for_each(|record| image.replay(record));
    let topic = image.topic("t").unwrap();
    let replicas: Vec<_> = topic.partitions.values().map(|place| place.replicas.clone()).collect();
    assert_eq!(replicas, [[1, 2].map(NodeId), [2, 1].map(NodeId)]);
    assert_eq!(&decision.answer[0].as_ref().unwrap().topic, &**topic);
}

#[test]
fn a_topic_of_the_brokers_own_has_its_settings() {
    let mut image = image_with(&[None]);
    let new = NewTopic::automatic(TopicId([1; 16]), "__consumer_offsets", &config(), &image);
    let Decision { records, answer } = ensure(&image, &config(), &new);
    records.iter().for_each(|record| image.replay(record));
    assert_eq!(answer.unwrap().partitions.len(), 50);
    let overrides = image.configs(&Resource::Topic(new.name.clone()));
    assert_eq!(overrides["cleanup.policy"], "compact");
    assert_eq!(overrides["segment.bytes"], "104857600");
    let other = NewTopic { id: TopicId([2; 16]), ..new };
    let again = ensure(&image, &config(), &other);
    assert_eq!((again.records.len(), again.answer.unwrap().id), (0, TopicId([1; 16])));
}

proptest! {
    /// What the answer says is what replay makes of the records.
    #[test]
    fn answers_are_what_comes_to_be(
        names in prop::collection::btree_set("[ab._]{0,3}", 0..6),
        counts in prop::collection::vec((-2i32..4, -2i16..4), 6),
        brokers in 1usize..4,
    ) {
        let mut image = image_with(&vec![None; brokers]);
        image.replay(&Record::Topic { topic_id: TopicId([99; 16]), name: "a.".to_owned() });
        let all: Vec<NewTopic> = (0u8..)
            .zip(names.iter().zip(counts))
            .map(|(id, (name, (partitions, factor)))| NewTopic {
                id: TopicId([id; 16]),
                ..new(name, partitions, factor)
            })
            .collect();
        let before = image.topic_count();
        let Decision { records, answer } = decide(&image, &config(), &all);
        records.iter().for_each(|record| image.replay(record));
        let created: Vec<_> = answer.iter().flatten().collect();
        prop_assert_eq!(image.topic_count(), before + created.len());
        for one in created {
            prop_assert_eq!(&**image.topic(&one.topic.name).unwrap(), &one.topic);
            prop_assert!(!one.topic.partitions.is_empty());
        }
    }
}

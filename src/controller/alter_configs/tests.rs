//! What changes of configs come to.

use proptest::prelude::*;

use super::*;
use crate::base::ids::TopicId;
use crate::config::Config;

fn image() -> Image {
    let mut image = Image::default();
    image.replay(&Record::Topic { topic_id: TopicId([1; 16]), name: "t".to_owned() });
    image
}

fn settings() -> Loaded {
    Config::load(None, &[]).unwrap()
}

fn change(key: &str, op: Op, value: &str) -> Change {
    Change { key: key.to_owned(), op, value: (op != Op::Delete).then(|| value.to_owned()) }
}

fn topic(name: &str, changes: Vec<Change>) -> Alteration {
    let name = name.to_owned();
    Alteration { kind: ResourceKind::Topic, name, changes, replaces_all: false }
}

fn decide_here(image: &Image, alterations: &[Alteration]) -> Decision<Vec<Result<(), Refusal>>> {
    let (node, fixed) = (NodeId(1), &settings());
    decide(image, &Settings { node, fixed, now: fixed }, alterations)
}

fn run(image: &mut Image, alteration: Alteration) -> Result<(), Refusal> {
    let decision = decide_here(image, &[alteration]);
    decision.records.iter().for_each(|record| image.replay(record));
    decision.answer.into_iter().next().unwrap()
}

#[track_caller]
fn check(alteration: Alteration, reason: Reason, message: &str) {
    let refusal = run(&mut image(), alteration).unwrap_err();
    assert_eq!((refusal.reason, refusal.message.unwrap().as_str()), (reason, message));
}

fn overrides(image: &Image) -> Vec<(String, String)> {
    let configs = image.configs(&Resource::Topic("t".to_owned()));
    configs.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn keys_change_one_by_one() {
    let mut image = image();
    let set = vec![
        change("retention.ms", Op::Set, "1000"),
        change("cleanup.policy", Op::Append, "compact"),
    ];
    run(&mut image, topic("t", set)).unwrap();
    let both = [("cleanup.policy", "delete,compact"), ("retention.ms", "1000")];
    assert_eq!(overrides(&image), pairs(&both));
    let more = vec![
        change("retention.ms", Op::Delete, ""),
        change("cleanup.policy", Op::Subtract, "delete"),
    ];
    run(&mut image, topic("t", more)).unwrap();
    assert_eq!(overrides(&image), pairs(&[("cleanup.policy", "compact")]));
    run(&mut image, topic("t", vec![change("nope", Op::Delete, "")])).unwrap();
    let same = topic("t", vec![change("cleanup.policy", Op::Set, "compact")]);
    assert!(decide_here(&image, &[same]).records.is_empty());
}

#[test]
fn all_keys_are_replaced() {
    let mut image = image();
    run(&mut image, topic("t", vec![change("retention.ms", Op::Set, "1000")])).unwrap();
    let mut all = topic("t", vec![change("flush.ms", Op::Set, "5")]);
    all.replaces_all = true;
    run(&mut image, all).unwrap();
    assert_eq!(overrides(&image), pairs(&[("flush.ms", "5")]));
}

#[test]
fn refusals_are_kafkas() {
    let set = |key: &str, value: &str| vec![change(key, Op::Set, value)];
    let (request, config) = (Reason::InvalidRequest, Reason::InvalidConfig);
    check(topic("no", vec![]), Reason::UnknownTopic, "The topic 'no' does not exist.");
    check(topic("no", set("x", "1")), config, "Unknown topic config name: x");
    check(topic("", vec![]), request, "Default topic resources are not allowed.");
    let dots = "Topic name is invalid: '..' is not allowed";
    check(topic("..", vec![]), Reason::InvalidTopicName, dots);
    let number = "Invalid value abc for configuration retention.ms: Not a number of type LONG";
    check(topic("t", set("retention.ms", "abc")), config, number);
    let list = "Can't APPEND to key retention.ms because its type is not LIST.";
    check(topic("t", vec![change("retention.ms", Op::Append, "1")]), config, list);
    let list = "Can't SUBTRACT to key nope because its type is not LIST.";
    check(topic("t", vec![change("nope", Op::Subtract, "1")]), config, list);
    let twice = [set("retention.ms", "1"), set("retention.ms", "1")].concat();
    check(topic("t", twice), request, "Error due to duplicate config keys");
    let null = Change { key: "retention.ms".to_owned(), op: Op::Set, value: None };
    check(topic("t", vec![null]), request, "Null value not supported for : retention.ms");
    let broker = |name: &str| Alteration { kind: ResourceKind::Broker, ..topic(name, vec![]) };
    check(broker("7"), request, "Unexpected broker id, expected 1, but received 7");
    check(broker("x"), request, "Node id must be an integer, but it is: x");
    let threads = Alteration { changes: set("num.partitions", "2"), ..broker("1") };
    check(threads, request, "Cannot update these configs dynamically: [num.partitions]");
    let unknown = Alteration { kind: ResourceKind::from(7), ..topic("", vec![]) };
    check(unknown, request, "Unknown resource type 7");
}

fn group(name: &str, changes: Vec<Change>) -> Alteration {
    Alteration { kind: ResourceKind::Group, ..topic(name, changes) }
}

#[test]
fn groups_have_configs_within_the_brokers_bounds() {
    let set = |key: &str, value: &str| vec![change(key, Op::Set, value)];
    let (request, config) = (Reason::InvalidRequest, Reason::InvalidConfig);
    let (session, heartbeat) = ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms");
    check(group("", vec![]), request, "Default group resources are not allowed.");
    check(group("g", set("x", "1")), config, "Unknown group config name: x");
    for (key, value, message) in [
        (session, "abc", "Invalid value abc for configuration KEY: Not a number of type INT"),
        (session, "0", "Invalid value 0 for configuration KEY: Value must be at least 1"),
        (
            session,
            "44999",
            "KEY must be greater than or equal to group.consumer.min.session.timeout.ms",
        ),
        (
            session,
            "60001",
            "KEY must be less than or equal to group.consumer.max.session.timeout.ms",
        ),
        (
            heartbeat,
            "4999",
            "KEY must be greater than or equal to group.consumer.min.heartbeat.interval.ms",
        ),
        (
            heartbeat,
            "15001",
            "KEY must be less than or equal to group.consumer.max.heartbeat.interval.ms",
        ),
    ] {
        check(group("g", set(key, value)), config, &message.replace("KEY", key));
    }
    let mut image = image();
    let of_group = |image: &Image| (*image.configs(&Resource::Group("g".to_owned()))).clone();
    let both = [set(session, "50000"), set(heartbeat, "6000")].concat();
    run(&mut image, group("g", both)).unwrap();
    assert_eq!(
        of_group(&image),
        pairs(&[(heartbeat, "6000"), (session, "50000")]).into_iter().collect()
    );
    let deleted = vec![change(session, Op::Delete, ""), change("x", Op::Delete, "")];
    run(&mut image, group("g", deleted)).unwrap();
    assert_eq!(of_group(&image), pairs(&[(heartbeat, "6000")]).into_iter().collect());
}

#[test]
fn a_resource_appears_once_and_does_not_hold_up_others() {
    let image = image();
    let twice = topic("x", vec![]);
    let good = topic("t", vec![change("flush.ms", Op::Set, "5")]);
    let all = [twice.clone(), good, twice];
    let Decision { records, answer } = decide_here(&image, &all);
    assert_eq!(records.len(), 1);
    let once = Refusal::new(Reason::InvalidRequest, "Each resource must appear at most once.");
    assert_eq!(answer, vec![Err(once.clone()), Ok(()), Err(once)]);
}

proptest! {
    /// Whatever is asked for, what is in the image afterwards is valid.
    #[test]
    fn overrides_stay_valid(steps in prop::collection::vec((0i8..4, 0usize..5, 0usize..5), 0..30)) {
        let lags = ["min.compaction.lag.ms", "max.compaction.lag.ms"];
        let keys = ["cleanup.policy", lags[0], lags[1], "retention.ms", "x"];
        let values = ["compact", "delete,compact", "7", "100", ""];
        let mut image = image();
        for (op, key, value) in steps {
            let change = change(keys[key], Op::from(op), values[value]);
            let _ = run(&mut image, topic("t", vec![change]));
            let overrides = image.configs(&Resource::Topic("t".to_owned()));
            let defaults = &settings().config.topic_defaults;
            prop_assert_eq!(check_overrides(&overrides, defaults), Ok(()));
        }
    }
}

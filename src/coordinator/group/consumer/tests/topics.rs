//! Subscriptions and the topics that they are for.

use super::*;

fn regex(request: Request, regex: &str) -> Request {
    request.with_subscribed_topic_names(None).with_subscribed_topic_regex(Some(text(regex)))
}

#[test]
fn more_partitions_and_other_topics_are_assigned() {
    let mut world = World::new(&[]);
    assert_eq!(
        told(&world.heartbeat(&join("a", &["t"])).unwrap()),
        (2, Some(Partitions::new())),
        "the topic is not there"
    );
    world.topic("t", topic(1), 1);
    let one = Some(of_topic(topic(1), [0]));
    assert_eq!(told(&world.heartbeat(&request("a", 2)).unwrap()), (3, one));
    world.topic("u", topic(2), 1);
    assert_eq!(told(&world.heartbeat(&request("a", 3)).unwrap()), (3, None), "not subscribed");
    world.topic("t", topic(1), 2);
    let two = Some(of_topic(topic(1), [0, 1]));
    assert_eq!(told(&world.heartbeat(&request("a", 3)).unwrap()), (4, two));

    // The topic goes, and another one gets its name.
    world.change(&[MetadataRecord::RemoveTopic { topic_id: topic(1) }]);
    world.reload();
    let none = Some(Partitions::new());
    assert_eq!(told(&world.heartbeat(&request("a", 4)).unwrap()), (4, none));
    world.topic("t", topic(3), 1);
    let nothing = owning(request("a", 4), &Partitions::new());
    let again = Some(of_topic(topic(3), [0]));
    assert_eq!(told(&world.heartbeat(&nothing).unwrap()), (6, again));
}

#[test]
fn a_member_changes_its_topics() {
    let mut world = World::new(&[]);
    world.topic("t", topic(1), 2);
    world.topic("u", topic(2), 2);
    world.heartbeat(&join("a", &["t"])).unwrap();
    let other = request("a", 2).with_subscribed_topic_names(named(&["u"]));
    assert_eq!(told(&world.heartbeat(&other).unwrap()), (2, Some(Partitions::new())));
    assert_eq!(told(&world.heartbeat(&request("a", 2)).unwrap()), (2, None), "not revoked yet");
    let revoked = owning(request("a", 2), &Partitions::new());
    let has = Some(of_topic(topic(2), 0..2));
    assert_eq!(told(&world.heartbeat(&revoked).unwrap()), (3, has));
    let none = owning(request("a", 3).with_subscribed_topic_names(named(&[])), &Partitions::new());
    assert_eq!(told(&world.heartbeat(&none).unwrap()), (4, Some(Partitions::new())));
    assert_eq!(world.group().metadata_hash, 0);
    world.reload();
}

#[test]
fn members_without_topics_are_members() {
    let mut world = World::new(&[]);
    let answer = world.heartbeat(&join("a", &[])).unwrap();
    assert_eq!(told(&answer), (2, Some(Partitions::new())));
    assert_eq!(told(&world.heartbeat(&join("b", &[])).unwrap()).0, 2);
    assert_eq!(world.state(), "Stable");
    world.reload();
}

#[test]
fn the_assignor_is_the_one_that_most_prefer() {
    let mut world = World::new(&[]);
    world.topic("t", topic(1), 4);
    world.topic("u", topic(2), 4);
    let prefers = |request: Request, name: &str| request.with_server_assignor(Some(text(name)));
    world.heartbeat(&prefers(join("a", &["t", "u"]), "range")).unwrap();
    let assignor =
        |world: &World| Assignor::named(world.group().preferred_assignor(&world.settings)).unwrap();
    assert_eq!(assignor(&world), Assignor::Range);
    let epoch = world.group().epoch;
    world.heartbeat(&prefers(join("b", &["t", "u"]), "uniform")).unwrap();
    assert_eq!(assignor(&world), Assignor::Uniform, "the broker's default wins a tie");
    assert_eq!(world.group().epoch, epoch + 1);
    // Another winner makes the next target, and is no reason for one.
    for (id, epoch) in [("a", 2), ("b", 3)] {
        world.heartbeat(&prefers(request(id, epoch), "range")).unwrap();
    }
    assert_eq!((assignor(&world), world.group().epoch), (Assignor::Range, epoch + 1));
}

#[test]
fn a_regular_expression_follows_the_topics() {
    let mut world = World::new(&[]);
    world.topic("t1", topic(1), 1);
    world.topic("x", topic(9), 1);
    let joined = world.heartbeat(&regex(join("a", &[]), "t.*")).unwrap();
    assert_eq!(told(&joined), (2, Some(of_topic(topic(1), [0]))));
    assert!(world.group().is_subscribed_to("t1") && !world.group().is_subscribed_to("x"));

    world.topic("t2", topic(2), 1);
    assert_eq!(told(&world.heartbeat(&request("a", 2)).unwrap()), (2, None), "too soon");
    world.advance(1_000);
    let mut both = of_topic(topic(1), [0]);
    both.extend(of_topic(topic(2), [0]));
    assert_eq!(told(&world.heartbeat(&request("a", 2)).unwrap()), (3, Some(both)));
    let records = world.log.len();
    world.reload();
    world.topic("y", topic(8), 1);
    world.advance(1_000);
    assert_eq!(told(&world.heartbeat(&request("a", 3)).unwrap()), (3, None));
    assert_eq!(world.log.len(), records, "topics that do not match make no difference");

    // Names and an expression at once.
    let with_x = request("a", 3).with_subscribed_topic_names(named(&["x"]));
    assert_eq!(assigned(&world.heartbeat(&with_x).unwrap()).unwrap().len(), 3);
    // The last one to leave takes the expression along.
    world.heartbeat(&regex(join("b", &[]), "t.*")).unwrap();
    world.heartbeat(&request("a", 4).with_subscribed_topic_regex(Some(text("")))).unwrap();
    assert!(world.group().regexes.contains_key("t.*"));
    world.heartbeat(&request("b", LEAVE_EPOCH)).unwrap();
    assert!(world.group().regexes.is_empty());
    world.reload();
}

#[test]
fn a_bad_regular_expression_changes_nothing() {
    let mut world = World::new(&[]);
    assert_eq!(world.refusal(&regex(join("a", &[]), "(")), Code::InvalidRegularExpression);
    world.heartbeat(&join("a", &["t"])).unwrap();
    assert_eq!(world.refusal(&regex(request("a", 2), "(")), Code::InvalidRegularExpression);
    assert_eq!(world.refusal(&regex(join("b", &[]), "[")), Code::InvalidRegularExpression);
}

#[test]
fn a_static_member_comes_back_with_another_expression() {
    let mut world = World::new(&[]);
    world.topic("t", topic(1), 1);
    world.topic("u", topic(2), 1);
    let of = |request: Request| request.with_instance_id(Some(text("i")));
    world.heartbeat(&of(regex(join("a", &[]), "t"))).unwrap();
    world.heartbeat(&of(request("a", -2))).unwrap();
    let back = world.heartbeat(&of(regex(join("b", &[]), "u"))).unwrap();
    assert_eq!(told(&back), (3, Some(of_topic(topic(2), [0]))));
    world.reload();
}

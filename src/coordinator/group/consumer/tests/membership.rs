//! Members come, are fenced, and go.

use super::*;

/// A world with a topic of four partitions.
fn world() -> World {
    let mut world = World::new(&[]);
    world.topic("t", topic(1), 4);
    world
}

fn part(partitions: impl IntoIterator<Item = i32>) -> Option<Partitions> {
    Some(of_topic(topic(1), partitions))
}

#[test]
fn partitions_move_once_they_are_given_up() {
    let mut world = world();
    let first = world.heartbeat(&join("a", &["t"])).unwrap();
    assert_eq!((told(&first), first.heartbeat_interval_ms), ((2, part(0..4)), 5_000));
    assert_eq!(first.member_id.as_deref(), Some("a"));
    assert_eq!(world.state(), "Stable");
    assert_eq!(told(&world.heartbeat(&request("a", 2)).unwrap()), (2, None), "nothing is new");

    // The second gets nothing until the first gives up half.
    let second = world.heartbeat(&join("b", &["t"])).unwrap();
    assert_eq!(told(&second), (3, Some(Partitions::new())));
    assert_eq!(world.state(), "Reconciling");
    assert_eq!(told(&world.heartbeat(&request("a", 2)).unwrap()), (2, part(0..2)));
    assert_eq!(told(&world.heartbeat(&request("a", 2)).unwrap()), (2, None), "not yet");
    let all = owning(request("a", 2), &of_topic(topic(1), 0..4));
    assert_eq!(told(&world.heartbeat(&all).unwrap()), (2, None), "it still has them");
    assert_eq!(told(&world.heartbeat(&request("b", 3)).unwrap()), (3, None));
    world.reload();
    let half = owning(request("a", 2), &of_topic(topic(1), 0..2));
    assert_eq!(told(&world.heartbeat(&half).unwrap()), (3, None));
    assert_eq!(told(&world.heartbeat(&request("b", 3)).unwrap()), (3, part(2..4)));
    assert_eq!(world.state(), "Stable");

    // Who asks for all is told.
    let full = owning(join("b", &["t"]).with_member_epoch(3), &of_topic(topic(1), 2..4));
    assert_eq!(told(&world.heartbeat(&full).unwrap()), (3, part(2..4)));

    let left = world.heartbeat(&request("a", LEAVE_EPOCH)).unwrap();
    assert_eq!((left.member_id.as_deref(), told(&left)), (Some("a"), (-1, None)));
    assert_eq!(told(&world.heartbeat(&request("b", 3)).unwrap()), (4, part(0..4)));
    world.heartbeat(&request("b", LEAVE_EPOCH)).unwrap();
    assert_eq!(world.state(), "Empty");
    assert_eq!((world.group().epoch, world.group().assignment_epoch), (5, 4));
    world.reload();
    assert_eq!(told(&world.heartbeat(&join("c", &["t"])).unwrap()), (6, part(0..4)));
}

#[test]
fn the_broker_makes_up_ids_for_old_clients() {
    let mut world = world();
    let join = join("", &["t"]);
    let answer = world
        .decide(|groups, step| groups.consumer_heartbeat(step, (&join, 0), &Client::default()));
    let id = answer.unwrap().member_id.unwrap();
    assert_eq!(id.len(), 22);
    assert!(world.heartbeat(&request(&id, 2)).is_ok());
    assert_eq!(world.refusal(&join), Code::InvalidRequest);
}

#[test]
fn invalid_requests_are_told_what_is_wrong() {
    let mut world = world();
    let text = |value: &str| Some(text(value));
    let epoch = |epoch| request("a", epoch);
    for (request, message) in [
        (request("", 1), "MemberId can't be empty."),
        (request("a", 2).with_group_id(GroupId::default()), "GroupId can't be empty."),
        (epoch(1).with_instance_id(text(" ")), "InstanceId can't be empty."),
        (epoch(1).with_rack_id(text("")), "RackId can't be empty."),
        (
            join("a", &["t"]).with_rebalance_timeout_ms(-1),
            "RebalanceTimeoutMs must be provided in first request.",
        ),
        (
            join("a", &["t"]).with_topic_partitions(None),
            "TopicPartitions must be empty when (re-)joining.",
        ),
        (
            owning(join("a", &["t"]), &of_topic(topic(1), [0])),
            "TopicPartitions must be empty when (re-)joining.",
        ),
        (
            join("a", &["t"]).with_subscribed_topic_names(None),
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
             (re-)joining.",
        ),
        (epoch(-2), "InstanceId can't be null."),
        (epoch(-3), "MemberEpoch is invalid."),
    ] {
        let refused = world.heartbeat(&request).unwrap_err();
        assert_eq!(refused, Refused::new(Code::InvalidRequest, message));
    }
    let refused = world.heartbeat(&epoch(1).with_server_assignor(text("best"))).unwrap_err();
    let message = "ServerAssignor best is not supported. Supported assignors: uniform, range.";
    assert_eq!(refused, Refused::new(Code::UnsupportedAssignor, message));
    assert!(world.log.is_empty());
}

#[test]
fn strangers_are_refused() {
    let mut world = world();
    assert_eq!(world.refusal(&request("a", 2)), Code::GroupIdNotFound);
    assert_eq!(world.refusal(&request("a", LEAVE_EPOCH)), Code::GroupIdNotFound);
    world.heartbeat(&join("a", &["t"])).unwrap();
    assert_eq!(world.refusal(&request("b", 2)), Code::UnknownMemberId);
    assert_eq!(world.refusal(&request("b", LEAVE_EPOCH)), Code::UnknownMemberId);
    for epoch in [1, 3, 5] {
        assert_eq!(world.refusal(&request("a", epoch)), Code::FencedMemberEpoch);
    }
}

#[test]
fn an_answer_may_be_lost() {
    let mut world = world();
    world.heartbeat(&join("a", &["t"])).unwrap();
    world.topic("t", topic(1), 6);
    assert_eq!(told(&world.heartbeat(&request("a", 2)).unwrap()), (3, part(0..6)));
    // It did not hear of epoch 2.
    let again = owning(request("a", 2), &of_topic(topic(1), 0..4));
    assert_eq!(told(&world.heartbeat(&again).unwrap()), (3, None));
    assert_eq!(world.refusal(&request("a", 2)), Code::FencedMemberEpoch, "has it more?");
    let more = owning(request("a", 2), &of_topic(topic(1), 0..7));
    assert_eq!(world.refusal(&more), Code::FencedMemberEpoch);
    // Whoever is fenced begins anew, with the same id.
    assert_eq!(told(&world.heartbeat(&join("a", &["t"])).unwrap()), (3, part(0..6)));
}

#[test]
fn the_silent_and_the_slow_are_removed() {
    let mut world = world();
    world.heartbeat(&join("a", &["t"])).unwrap();
    world.heartbeat(&join("b", &["t"])).unwrap();
    // It is asked to revoke, keeps in touch and does nothing.
    world.heartbeat(&request("a", 2)).unwrap();
    world.advance(i64::from(REBALANCE_TIMEOUT_MS) - 1);
    world.heartbeat(&request("a", 2)).unwrap();
    assert_eq!(world.group().members.len(), 2);
    world.reload();
    world.advance(i64::from(REBALANCE_TIMEOUT_MS) - 1);
    assert_eq!(world.group().members.len(), 2, "a new coordinator gives it all the time again");
    world.advance(1);
    assert_eq!(world.refusal(&request("a", 2)), Code::UnknownMemberId);
    assert_eq!(told(&world.heartbeat(&request("b", 3)).unwrap()), (4, part(0..4)));

    world.advance(SESSION_TIMEOUT_MS - 1);
    world.heartbeat(&request("b", 4)).unwrap();
    world.advance(SESSION_TIMEOUT_MS - 1);
    assert_eq!(world.state(), "Stable");
    world.advance(1);
    assert_eq!(world.state(), "Empty");
    world.reload();
}

#[test]
fn revoking_in_time_stops_the_clock() {
    let mut world = world();
    world.heartbeat(&join("a", &["t"])).unwrap();
    world.heartbeat(&join("b", &["t"])).unwrap();
    world.heartbeat(&request("a", 2)).unwrap();
    world.heartbeat(&owning(request("a", 2), &of_topic(topic(1), 0..2))).unwrap();
    world.advance(i64::from(REBALANCE_TIMEOUT_MS));
    assert_eq!(world.group().members.len(), 2);
}

#[test]
fn a_group_has_timeouts_of_its_own() {
    let mut world = world();
    world.configure("consumer.session.timeout.ms", "50000");
    world.configure("consumer.heartbeat.interval.ms", "7000");
    let answer = world.heartbeat(&join("a", &["t"])).unwrap();
    assert_eq!(answer.heartbeat_interval_ms, 7_000);
    world.advance(49_999);
    assert_eq!(world.state(), "Stable");
    world.advance(1);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn there_may_be_no_more_members() {
    let mut world = World::new(&[("KAFKA_GROUP_CONSUMER_MAX_SIZE", "1")]);
    world.topic("t", topic(1), 1);
    let instance = Some(text("i"));
    world.heartbeat(&join("a", &["t"]).with_instance_id(instance.clone())).unwrap();
    assert_eq!(world.refusal(&join("b", &["t"])), Code::GroupMaxSizeReached);
    // Neither those who are in nor those who come back are kept out.
    world.heartbeat(&request("a", 2)).unwrap();
    world.heartbeat(&request("a", -2).with_instance_id(instance.clone())).unwrap();
    world.heartbeat(&join("b", &["t"]).with_instance_id(instance)).unwrap();
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut world = world();
    let of = |request: Request| request.with_instance_id(Some(text("i")));
    world.heartbeat(&of(join("a", &["t"]))).unwrap();
    world.heartbeat(&join("b", &["t"])).unwrap();
    world.heartbeat(&request("a", 2)).unwrap();
    world.heartbeat(&owning(request("a", 2), &of_topic(topic(1), 0..2))).unwrap();
    world.heartbeat(&request("b", 3)).unwrap();
    assert_eq!(world.state(), "Stable");

    assert_eq!(world.refusal(&of(join("c", &["t"]))), Code::UnreleasedInstanceId);
    assert_eq!(world.refusal(&of(request("c", 3))), Code::FencedInstanceId);
    assert_eq!(world.refusal(&of(request("c", -2))), Code::FencedInstanceId);
    let other = request("a", 3).with_instance_id(Some(text("j")));
    assert_eq!(world.refusal(&other), Code::UnknownMemberId);
    assert_eq!(world.refusal(&other.with_member_epoch(-1)), Code::UnknownMemberId);

    let left = world.heartbeat(&of(request("a", -2))).unwrap();
    assert_eq!(told(&left), (-2, None));
    assert_eq!(world.refusal(&of(request("a", 3))), Code::FencedMemberEpoch);
    world.reload();
    assert_eq!(told(&world.heartbeat(&request("b", 3)).unwrap()), (3, None), "nothing moves");
    assert_eq!(world.state(), "Reconciling");
    assert_eq!(told(&world.heartbeat(&of(join("c", &["t"]))).unwrap()), (3, part(0..2)));
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.refusal(&of(request("a", 3))), Code::FencedInstanceId);
    // What it has was assigned before any epoch of it.
    let epochs = &world.group().members["c"].current.assigned[&topic(1)];
    assert_eq!(*epochs, BTreeMap::from([(0, 0), (1, 0)]));

    // It may also not come back.
    world.heartbeat(&of(request("c", -2))).unwrap();
    world.advance(SESSION_TIMEOUT_MS - 1);
    world.heartbeat(&request("b", 3)).unwrap();
    world.advance(1);
    assert_eq!(told(&world.heartbeat(&request("b", 3)).unwrap()), (4, part(0..4)));
    world.reload();
}

#[test]
fn a_static_member_can_leave_for_good() {
    let mut world = world();
    let of = |request: Request| request.with_instance_id(Some(text("i")));
    world.heartbeat(&of(join("a", &["t"]))).unwrap();
    assert_eq!(told(&world.heartbeat(&of(request("a", -1))).unwrap()), (-1, None));
    assert_eq!(world.state(), "Empty");
    assert_eq!(told(&world.heartbeat(&of(join("b", &["t"]))).unwrap()).0, 4);
}

#[test]
fn a_leave_for_now_frees_what_was_to_be_revoked() {
    let mut world = world();
    let of = |request: Request| request.with_instance_id(Some(text("i")));
    world.heartbeat(&of(join("a", &["t"]))).unwrap();
    world.heartbeat(&join("b", &["t"])).unwrap();
    assert_eq!(told(&world.heartbeat(&request("a", 2)).unwrap()), (2, part(0..2)));
    world.heartbeat(&of(request("a", -2))).unwrap();
    assert_eq!(told(&world.heartbeat(&request("b", 3)).unwrap()), (3, part(2..4)));
    // The time to revoke is moot.
    world.advance(i64::from(REBALANCE_TIMEOUT_MS));
    assert_eq!(told(&world.heartbeat(&of(join("c", &["t"]))).unwrap()), (3, part(0..2)));
}

#[test]
fn a_member_of_an_unknown_state_has_to_begin_anew() {
    let mut world = world();
    world.heartbeat(&join("a", &["t"])).unwrap();
    let current = world.group().members["a"].current.clone();
    let current = CurrentValue { state: MemberState::Unknown.value(), ..current };
    let (group, member) = (GROUP.to_owned(), "a".to_owned());
    let record = Record::Current { group, member, value: Some(current) };
    world.decide(|groups, step| groups.emit(step, record));
    assert_eq!(world.refusal(&request("a", 2)), Code::FencedMemberEpoch);
    assert_eq!(told(&world.heartbeat(&join("a", &["t"])).unwrap()), (2, part(0..4)));
    assert_eq!(world.state(), "Stable");
}

#[test]
fn a_commit_may_be_late_for_partitions_that_are_kept() {
    let mut world = world();
    world.heartbeat(&join("a", &["t"])).unwrap();
    world.heartbeat(&join("b", &["t"])).unwrap();
    world.heartbeat(&request("a", 2)).unwrap();
    let commit = |world: &World, member_id, generation_or_epoch, partition| {
        let committer = Committer { member_id, instance_id: None, generation_or_epoch, version: 9 };
        let group = world.group();
        group.validate_commit(committer)?;
        group.validate_commit_of(committer, topic(1), partition)
    };
    let stale = Err(Code::StaleMemberEpoch);
    for partition in 0..4 {
        assert_eq!(
            commit(&world, "a", 2, partition),
            Ok(()),
            "half of them is still to be revoked"
        );
    }
    let half = owning(request("a", 2), &of_topic(topic(1), 0..2));
    assert_eq!(world.heartbeat(&half).unwrap().member_epoch, 3);
    world.heartbeat(&request("b", 3)).unwrap();
    assert_eq!(commit(&world, "a", 2, 0), Ok(()), "it has had it since epoch 2");
    assert_eq!(commit(&world, "a", 2, 2), stale, "it is another's");
    assert_eq!(commit(&world, "a", 1, 0), stale, "it was not there yet");
    assert_eq!(commit(&world, "a", 4, 0), stale, "nobody is there yet");
    assert_eq!(commit(&world, "b", 2, 2), stale, "it did not have it then");
    assert_eq!(commit(&world, "b", 3, 2), Ok(()));
}

#[test]
fn offsets_are_committed_and_fetched_by_members() {
    let mut world = world();
    world.heartbeat(&join("a", &["t"])).unwrap();
    let commit = |world: &World, member_id, generation_or_epoch, version| {
        let instance_id = None;
        let committer = Committer { member_id, instance_id, generation_or_epoch, version };
        let partition = |index| world.group().validate_commit_of(committer, topic(1), index);
        world.group().validate_commit(committer).and_then(|()| partition(0))
    };
    assert_eq!(commit(&world, "a", 2, 9), Ok(()));
    assert_eq!(commit(&world, "a", 2, 8), Err(Code::UnsupportedVersion));
    assert_eq!(commit(&world, "a", 3, 9), Err(Code::StaleMemberEpoch));
    assert_eq!(commit(&world, "a", 1, 9), Err(Code::StaleMemberEpoch));
    assert_eq!(commit(&world, "b", 2, 9), Err(Code::UnknownMemberId));
    assert_eq!(commit(&world, "", -1, 9), Err(Code::UnknownMemberId));
    assert_eq!(world.group().validate_fetch(None, -1), Ok(()));
    assert_eq!(world.group().validate_fetch(Some("a"), 2), Ok(()));
    assert_eq!(world.group().validate_fetch(Some("a"), 3), Err(Code::StaleMemberEpoch));
    assert_eq!(world.group().validate_fetch(Some("b"), 2), Err(Code::UnknownMemberId));
    assert_eq!(world.group().validate_delete(), Err(Code::NonEmptyGroup));
    assert!(world.group().is_subscribed_to("t") && !world.group().is_subscribed_to("u"));

    world.heartbeat(&request("a", LEAVE_EPOCH)).unwrap();
    assert_eq!(commit(&world, "", -1, 2), Ok(()), "nobody is there to mind");
    assert_eq!(world.group().validate_delete(), Ok(()));
    assert!(!world.group().is_subscribed_to("t"));
    let records = world.group().tombstones(GROUP);
    world.decide(|groups, step| groups.emit_all(step, records));
    assert_eq!(world.state(), "Dead");
    world.reload();
}

#[test]
fn groups_are_described() {
    let mut world = world();
    let describe =
        |world: &mut World| world.decide(|groups, step| groups.consumer_describe(step, GROUP));
    let refused = describe(&mut world).unwrap_err();
    assert_eq!(refused, Refused::new(Code::GroupIdNotFound, "Group g not found."));
    world.heartbeat(&join("a", &["t"]).with_rack_id(Some(text("r")))).unwrap();
    world.heartbeat(&join("b", &["t"])).unwrap();
    let group = describe(&mut world).unwrap();
    assert_eq!((group.group_epoch, group.assignment_epoch), (3, 3));
    assert_eq!((&*group.group_state, &*group.assignor_name), ("Reconciling", "uniform"));
    let [a, b] = &group.members[..] else { panic!("two members") };
    assert_eq!((&*a.member_id, a.member_epoch, a.member_type), ("a", 2, 1));
    assert_eq!((&*a.client_id, &*a.client_host), ("me", "/127.0.0.1"));
    assert_eq!(a.rack_id.as_deref(), Some("r"));
    assert_eq!(a.subscribed_topic_names, named(&["t"]).unwrap());
    let has = &a.assignment.topic_partitions[0];
    assert_eq!((&**has.topic_name, &has.partitions[..]), ("t", &[0, 1, 2, 3][..]));
    assert_eq!(a.target_assignment.topic_partitions[0].partitions, [0, 1]);
    assert!(b.assignment.topic_partitions.is_empty());
    assert_eq!(b.target_assignment.topic_partitions[0].partitions, [2, 3]);
}

#[test]
fn a_member_may_be_late_with_what_it_still_has() {
    let mut world = world();
    world.heartbeat(&join("a", &["t"])).unwrap();
    let commit = |world: &World, epoch, partition| {
        let (member_id, instance_id) = ("a", None);
        let committer =
            Committer { member_id, instance_id, generation_or_epoch: epoch, version: 9 };
        let one = || world.group().validate_commit_of(committer, topic(1), partition);
        world.group().validate_commit(committer).and_then(|()| one())
    };
    world.topic("t", topic(1), 6);
    world.heartbeat(&join("b", &["t"])).unwrap();
    world.heartbeat(&request("a", 2)).unwrap();
    assert_eq!(commit(&world, 2, 3), Ok(()), "to be revoked");
    world.heartbeat(&owning(request("a", 2), &of_topic(topic(1), 0..2))).unwrap();
    world.heartbeat(&request("b", 3)).unwrap();
    assert_eq!(world.group().members["a"].epoch(), 3);
    let stale = Err(Code::StaleMemberEpoch);
    for (epoch, partition, expected) in [
        (3, 0, Ok(())),
        (2, 0, Ok(())),
        (2, 3, stale),
        (1, 0, stale),
        (4, 0, stale),
        (-1, 0, stale),
    ] {
        assert_eq!(commit(&world, epoch, partition), expected, "{epoch} {partition}");
    }
    // What came with epoch 3 was not there in epoch 2.
    let new = world.group().members["a"].current.assigned[&topic(1)].iter();
    for (partition, since) in new {
        assert_eq!(commit(&world, 2, *partition).is_ok(), *since == 2);
    }
}

//! Dynamic members: joins, generations, timeouts, commits.

use kafka_protocol::ResponseError as Code;

use super::rig::*;
use crate::coordinator::group::Group;
use crate::coordinator::group::classic::{ClassicGroup, Join};
use crate::coordinator::group::text;
use crate::coordinator::group::timers::{TimerKey, TimerKind};
use crate::coordinator::records::Record;

fn code(code: Code) -> i16 {
    code.code()
}

#[test]
fn members_that_start_together_come_into_one_generation() {
    let mut rig = Rig::new();
    let (a, mut join_a) = rig.join_in_two("a");
    assert!(a.starts_with("a-") && a.len() == "a-".len() + 36);
    rig.advance(INITIAL_DELAY_MS - 1);
    let (b, mut join_b) = rig.join_in_two("b");
    rig.advance(1);
    assert_waits(&mut join_a);
    assert_eq!(rig.state(), "PreparingRebalance");
    rig.advance(INITIAL_DELAY_MS);
    let (to_a, to_b) = (answer(&mut join_a), answer(&mut join_b));
    assert_eq!((to_a.generation_id, to_b.generation_id), (1, 1));
    assert_eq!((&*to_a.leader, &*to_b.leader), (&*a, &*a));
    assert_eq!(to_a.protocol_name.as_deref(), Some("range"));
    assert_eq!(to_a.protocol_type.as_deref(), Some("consumer"));
    let members: Vec<&str> = to_a.members.iter().map(|member| &*member.member_id).collect();
    assert_eq!(members, [&*a, &*b]);
    assert_eq!(to_a.members[0].metadata, subscription(&["t", "range"]));
    assert_eq!(to_b.members, []);
    assert_eq!(rig.state(), "CompletingRebalance");

    // The follower waits for the leader.
    let mut sync_b = rig.sync(&sync(Who::member(&b, 1), &[]));
    assert_waits(&mut sync_b);
    let mut sync_a = rig.sync(&sync(Who::member(&a, 1), &[(&a, "0"), (&b, "1"), ("c", "2")]));
    let (to_a, to_b) = (answer(&mut sync_a), answer(&mut sync_b));
    assert_eq!((to_a.error_code, &to_a.assignment[..]), (0, &b"0"[..]));
    assert_eq!((to_b.error_code, &to_b.assignment[..]), (0, &b"1"[..]));
    assert_eq!(to_b.protocol_name.as_deref(), Some("range"));
    assert_eq!(rig.state(), "Stable");
    assert_eq!(rig.heartbeat(Who::member(&b, 1)), Ok(()));
    assert!(rig.group().is_subscribed_to("t") && !rig.group().is_subscribed_to("u"));
}

#[test]
fn the_first_generation_waits_no_longer_than_the_rebalance_timeout() {
    let mut rig = Rig::new();
    let mut joins = Vec::new();
    let mut waited_ms = 0;
    while rig.groups.classic_group(GROUP).is_none_or(|group| group.generation == 0) {
        joins.push(rig.join_in_two("c"));
        rig.advance(1_000);
        waited_ms += 1_000;
    }
    assert_eq!(waited_ms, i64::from(REBALANCE_MS));
    assert!(joins.iter_mut().all(|(_, waiting)| answer(waiting).generation_id == 1));
}

#[test]
fn without_a_delay_the_first_one_begins_at_once() {
    let mut rig = Rig::with(|config| config.group_initial_rebalance_delay_ms = 0);
    let mut join = new("a");
    join.version = 3;
    let mut waiting = rig.join(&join);
    rig.advance(0);
    let joined = answer(&mut waiting);
    assert_eq!((joined.generation_id, &joined.leader), (1, &joined.member_id));
}

#[test]
fn a_group_is_stored_when_it_is_made_and_when_it_is_stable() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    let records = rig
        .log
        .iter()
        .map(|record| Record::decode(record.key.clone(), record.value.clone()).expect("a record"));
    let values: Vec<_> = records
        .map(|record| match record {
            Record::ClassicGroup { group, value } if group == GROUP => value.expect("a value"),
            other => panic!("{other:?}"),
        })
        .collect();
    let [made, stable] = &values[..] else { panic!("{values:?}") };
    assert_eq!((made.generation, &*made.protocol_type, &made.members[..]), (0, "", &[][..]));
    assert_eq!((stable.generation, &*stable.protocol_type), (1, "consumer"));
    assert_eq!(stable.leader.as_ref(), Some(&ids[0]));
    assert_eq!(stable.members[0].client_host, "/127.0.0.1");
    assert_eq!(stable.members[0].assignment, ids[0].as_bytes());
    assert_eq!(stable.state_timestamp_ms, 1_000_000 + INITIAL_DELAY_MS);
}

#[test]
fn a_loaded_group_goes_on_until_sessions_end() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    rig.reload();
    assert_eq!((rig.state(), rig.group().generation), ("Stable", 1));
    assert!(rig.group().is_leader(&ids[0]) && rig.group().is_subscribed_to("range"));
    rig.advance(i64::from(SESSION_MS) - 1);
    assert_eq!(rig.heartbeat(Who::member(&ids[0], 1)), Ok(()));
    let mut synced = rig.sync(&sync(Who::member(&ids[0], 1), &[]));
    assert_eq!(answer(&mut synced).assignment, ids[0].as_bytes());
    rig.advance(1);
    assert_eq!(rig.heartbeat(Who::member(&ids[1], 1)), Err(Code::UnknownMemberId));
    assert_eq!(rig.heartbeat(Who::member(&ids[0], 1)), Err(Code::RebalanceInProgress));

    // Nobody comes back: the group is empty, which is stored, too.
    rig.advance(i64::from(REBALANCE_MS));
    assert_eq!((rig.state(), rig.group().generation), ("Empty", 2));
    assert_eq!(rig.group().validate_delete(), Ok(()));
    rig.reload();
    assert_eq!((rig.state(), rig.group().generation), ("Empty", 2));
    assert_eq!(rig.group().protocol_type.as_deref(), Some("consumer"));
    assert!(!rig.group().is_subscribed_to("t"));
}

#[test]
fn a_newcomer_has_all_join_again() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let (c, mut join_c) = rig.join_in_two("c");
    assert_eq!(rig.state(), "PreparingRebalance");
    assert_eq!(rig.heartbeat(Who::member(&ids[1], 1)), Err(Code::RebalanceInProgress));
    assert_eq!(rig.commit_offsets(Who::member(&ids[1], 1)), Ok(()), "before it joins again");
    let mut synced = rig.sync(&sync(Who::member(&ids[1], 1), &[]));
    assert_eq!(answer(&mut synced).error_code, code(Code::RebalanceInProgress));
    let mut join_b = rig.join(&known(&ids[1]));
    assert_waits(&mut join_b);
    let mut join_a = rig.join(&known(&ids[0]));
    // The last one was awaited: no timer is needed.
    for waiting in [&mut join_a, &mut join_b, &mut join_c] {
        let joined = answer(waiting);
        assert_eq!((joined.error_code, joined.generation_id, &*joined.leader), (0, 2, &*ids[0]));
    }
    assert_eq!(rig.commit_offsets(Who::member(&c, 2)), Err(Code::RebalanceInProgress));
    assert_eq!(rig.commit_offsets(Who::member(&c, 1)), Err(Code::IllegalGeneration));
    assert_eq!(rig.heartbeat(Who::member(&c, 2)), Ok(()));
    rig.sync_all(2, &[ids[0].clone(), ids[1].clone(), c]);
}

#[test]
fn who_does_not_join_again_in_time_is_out_and_another_one_leads() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let (_, mut join_c) = rig.join_in_two("c");
    let mut join_b = rig.join(&known(&ids[1]));
    for _ in 0..6 {
        // It is alive, but does not join.
        rig.advance(i64::from(REBALANCE_MS) / 6);
        let _ = rig.heartbeat(Who::member(&ids[0], 1));
    }
    let (to_b, to_c) = (answer(&mut join_b), answer(&mut join_c));
    assert_eq!((to_b.error_code, to_c.error_code), (0, 0));
    assert_eq!(to_b.leader, to_c.leader);
    assert_ne!(&*to_b.leader, &*ids[0]);
    assert_eq!(to_b.members.len() + to_c.members.len(), 2);
    assert_eq!(rig.heartbeat(Who::member(&ids[0], 2)), Err(Code::UnknownMemberId));
}

#[test]
fn who_does_not_sync_in_time_is_out() {
    let mut rig = Rig::new();
    let (a, mut join_a) = rig.join_in_two("a");
    let (b, _) = rig.join_in_two("b");
    rig.advance(2 * INITIAL_DELAY_MS);
    assert_eq!(&*answer(&mut join_a).leader, &*a);
    // The leader is alive, but never brings an assignment.
    let mut sync_b = rig.sync(&sync(Who::member(&b, 1), &[]));
    for _ in 0..6 {
        rig.advance(i64::from(REBALANCE_MS) / 6);
        let _ = rig.heartbeat(Who::member(&a, 1));
    }
    assert_eq!(answer(&mut sync_b).error_code, code(Code::RebalanceInProgress));
    assert!(!rig.group().members.contains_key(&a));
    let mut join_b = rig.join(&known(&b));
    assert_eq!(&*answer(&mut join_b).leader, &*b);
}

/// Lets a time of three sessions go by in which one member alone is heard.
fn advance_with(rig: &mut Rig, who: Who<'_>) {
    for _ in 0..6 {
        rig.advance(i64::from(SESSION_MS) / 2);
        let beaten = rig.heartbeat(who);
        assert!(matches!(beaten, Ok(()) | Err(Code::RebalanceInProgress)), "{beaten:?}");
    }
}

#[test]
fn a_session_that_ended_while_the_member_waited_begins_anew() {
    let mut rig = Rig::with(|config| config.group_initial_rebalance_delay_ms = 0);
    let patient = |mut join: Join| {
        join.request.rebalance_timeout_ms = 10 * SESSION_MS;
        join
    };
    let mut join = patient(new("c"));
    join.version = 3;
    let mut joins = [rig.join(&join), rig.join(&join)];
    rig.advance(0);
    let mut ids = joins.each_mut().map(|waiting| answer(waiting).member_id.to_string());
    ids.sort_by_key(|id| !rig.group().is_leader(id));
    let [a, b] = ids;

    // The leader takes its time.
    let mut sync_b = rig.sync(&sync(Who::member(&b, 1), &[]));
    advance_with(&mut rig, Who::member(&a, 1));
    assert_eq!(answer(&mut rig.sync(&sync(Who::member(&a, 1), &[]))).error_code, 0);
    assert_eq!(answer(&mut sync_b).error_code, 0);
    let kind = TimerKind::Session { member: b.clone() };
    let timer = TimerKey { group: GROUP.to_owned(), kind };
    assert!(rig.groups.timers.is_set(&timer));
    rig.advance(i64::from(SESSION_MS) - 1);
    assert_eq!(rig.heartbeat(Who::member(&b, 1)), Ok(()));
    assert_eq!(rig.heartbeat(Who::member(&a, 1)), Ok(()));

    // So it does with joining again; then the other one syncs late, and falls silent.
    let mut changed = patient(known(&b));
    changed.request.protocols = protocols(&["range", "sticky"]);
    let mut join_b = rig.join(&changed);
    advance_with(&mut rig, Who::member(&a, 1));
    let mut join_a = rig.join(&patient(known(&a)));
    assert_eq!((answer(&mut join_a).generation_id, answer(&mut join_b).generation_id), (2, 2));
    assert_eq!(answer(&mut rig.sync(&sync(Who::member(&a, 2), &[]))).error_code, 0);
    assert_eq!(answer(&mut rig.sync(&sync(Who::member(&b, 2), &[]))).error_code, 0);
    rig.advance(i64::from(SESSION_MS) - 1);
    assert_eq!(rig.heartbeat(Who::member(&a, 2)), Ok(()));
    rig.advance(1);
    assert_eq!(rig.heartbeat(Who::member(&a, 2)), Err(Code::RebalanceInProgress));
    assert_eq!(rig.heartbeat(Who::member(&b, 2)), Err(Code::UnknownMemberId));
}

#[test]
fn an_id_that_is_not_joined_with_is_forgotten() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    let given = answer(&mut rig.join(&new("b")));
    assert_eq!(rig.state(), "Stable", "an id alone disturbs nobody");
    // While it is pending, a rebalance waits for it.
    let mut join_a = rig.join(&known(&ids[0]));
    assert_waits(&mut join_a);
    rig.advance(i64::from(SESSION_MS));
    assert_eq!(answer(&mut join_a).generation_id, 2);
    let mut late = rig.join(&known(&given.member_id));
    assert_eq!(answer(&mut late).error_code, code(Code::UnknownMemberId));
}

#[test]
fn an_old_client_joins_in_one() {
    let mut rig = Rig::new();
    let mut old = new("old");
    old.version = 2;
    let mut waiting = rig.join(&old);
    rig.advance(INITIAL_DELAY_MS);
    let joined = answer(&mut waiting);
    assert!(joined.member_id.starts_with("old-"));
    assert_eq!(joined.generation_id, 1);
}

#[test]
fn a_repeated_join_changes_nothing_unless_the_leader_asks_or_metadata_changed() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let again = answer(&mut rig.join(&known(&ids[1])));
    assert_eq!((again.error_code, again.generation_id), (0, 1));
    assert_eq!((&*again.leader, again.members.len()), (&*ids[0], 0));
    assert_eq!(rig.state(), "Stable");

    let mut changed = known(&ids[1]);
    changed.request.protocols = protocols(&["range", "sticky"]);
    let mut join_b = rig.join(&changed);
    assert_eq!(rig.state(), "PreparingRebalance");
    let mut join_a = rig.join(&known(&ids[0]));
    assert_eq!((answer(&mut join_a).generation_id, answer(&mut join_b).generation_id), (2, 2));

    // In the middle of a rebalance the same metadata gives the same answer.
    let again = answer(&mut rig.join(&known(&ids[0])));
    assert_eq!((again.error_code, again.generation_id, again.members.len()), (0, 2, 2));
    assert_eq!(rig.state(), "CompletingRebalance");
    rig.sync_all(2, &ids);
    let mut join_a = rig.join(&known(&ids[0]));
    assert_waits(&mut join_a);
    assert_eq!(rig.state(), "PreparingRebalance");
}

#[test]
fn whoever_waits_in_two_places_is_answered_in_both() {
    let mut rig = Rig::new();
    let (a, mut lost) = rig.join_in_two("a");
    let mut join_a = rig.join(&known(&a));
    assert_eq!(answer(&mut lost).error_code, code(Code::RebalanceInProgress));
    let (b, _) = rig.join_in_two("b");
    rig.advance(3 * INITIAL_DELAY_MS);
    assert_eq!(&*answer(&mut join_a).leader, &*a);
    let mut lost = rig.sync(&sync(Who::member(&b, 1), &[]));
    let mut sync_b = rig.sync(&sync(Who::member(&b, 1), &[]));
    assert_eq!(answer(&mut lost).error_code, code(Code::RebalanceInProgress));
    assert_eq!(rig.leave(&[(&b, None)]), [Ok(())]);
    assert_eq!(answer(&mut sync_b).error_code, code(Code::UnknownMemberId));
}

#[test]
fn the_protocol_with_most_votes_among_the_common_ones_wins() {
    let mut rig = Rig::new();
    let mut joins = Vec::new();
    for names in [&["a", "b", "c"][..], &["b", "c"], &["c", "b", "x"]] {
        let mut join = new("c");
        join.version = 3;
        join.request.protocols = protocols(names);
        joins.push(rig.join(&join));
    }
    for (protocol_type, names) in
        [("consumer", &["a", "x"][..]), ("connect", &["b"]), ("consumer", &[]), ("", &["b"])]
    {
        let mut join = new("c");
        join.request.protocol_type = text(protocol_type);
        join.request.protocols = protocols(names);
        let refused = answer(&mut rig.join(&join));
        assert_eq!(refused.error_code, code(Code::InconsistentGroupProtocol), "{names:?}");
    }
    rig.advance(2 * INITIAL_DELAY_MS);
    for waiting in &mut joins {
        assert_eq!(answer(waiting).protocol_name.as_deref(), Some("b"));
    }
    let leader = rig.group().leader.clone().unwrap();
    let mut other = sync(Who::member(&leader, 1), &[]);
    other.protocol_name = Some(text("c"));
    let refused = answer(&mut rig.sync(&other));
    assert_eq!(refused.error_code, code(Code::InconsistentGroupProtocol));
}

#[test]
fn leaving_ends_a_membership_at_once() {
    let mut rig = Rig::new();
    let ids = rig.stable(3);
    let given = answer(&mut rig.join(&new("pending")));
    let left = rig.leave(&[
        (&ids[0], None),
        ("nobody", None),
        ("", Some("instance")),
        (&given.member_id, None),
        (&ids[0], None),
    ]);
    let unknown = Err(Code::UnknownMemberId);
    assert_eq!(left, [Ok(()), unknown, unknown, Ok(()), unknown]);
    assert_eq!(rig.state(), "PreparingRebalance");
    let mut joins = [rig.join(&known(&ids[1])), rig.join(&known(&ids[2]))];
    let answers = joins.each_mut().map(answer);
    assert!(answers.iter().all(|joined| joined.generation_id == 2));
    assert_eq!(rig.leave(&[(&ids[1], None), (&ids[2], None)]), [Ok(()), Ok(())]);
    assert_eq!((rig.state(), rig.group().generation), ("Empty", 3));
    assert_eq!(rig.group().protocol, None);

    // The next member begins the next generation, with a delay again.
    let (_, mut waiting) = rig.join_in_two("c");
    rig.advance(INITIAL_DELAY_MS - 1);
    assert_waits(&mut waiting);
    rig.advance(1);
    assert_eq!(answer(&mut waiting).generation_id, 4);
}

#[test]
fn a_full_group_keeps_those_who_came_first() {
    let mut rig = Rig::with(|config| config.group_max_size = 2);
    let mut old = new("c");
    old.version = 3;
    let mut joins = [rig.join(&old), rig.join(&old), rig.join(&old)];
    assert_eq!(answer(&mut joins[2]).error_code, code(Code::GroupMaxSizeReached));
    rig.advance(2 * INITIAL_DELAY_MS);
    let ids: Vec<String> =
        joins[..2].iter_mut().map(|waiting| answer(waiting).member_id.to_string()).collect();
    let full = answer(&mut rig.join(&new("d")));
    assert_eq!((full.error_code, &*full.member_id), (code(Code::GroupMaxSizeReached), ""));
    let again = answer(&mut rig.join(&known(&ids[1])));
    assert_eq!(again.error_code, 0, "it is in already");
}

#[test]
fn a_group_over_its_new_limit_is_made_smaller() {
    let mut rig = Rig::new();
    let ids = rig.stable(3);
    let mut smaller = Rig::with(|config| config.group_max_size = 2);
    smaller.log = rig.log;
    smaller.reload();
    assert_eq!(smaller.state(), "PreparingRebalance");
    let mut joins: Vec<_> = ids.iter().map(|id| smaller.join(&known(id))).collect();
    assert_eq!(answer(&mut joins[2]).error_code, code(Code::GroupMaxSizeReached));
    smaller.advance(i64::from(REBALANCE_MS));
    assert!(joins[..2].iter_mut().all(|waiting| answer(waiting).generation_id == 2));
}

#[test]
fn an_assignment_that_cannot_be_stored_is_told() {
    let mut rig = Rig::with(|config| config.topic_defaults.max_message_bytes = 1_000);
    let (a, mut join_a) = rig.join_in_two("a");
    rig.advance(INITIAL_DELAY_MS);
    assert_eq!(answer(&mut join_a).error_code, 0);
    let part = "x".repeat(1_000);
    let mut synced = rig.sync(&sync(Who::member(&a, 1), &[(&a, &part)]));
    assert_eq!(answer(&mut synced).error_code, code(Code::UnknownServerError));
    assert_eq!(rig.state(), "PreparingRebalance");
    let mut join_a = rig.join(&known(&a));
    assert_eq!(answer(&mut join_a).generation_id, 2);
    rig.sync_all(2, &[a]);
}

#[test]
fn strangers_get_nothing() {
    let mut rig = Rig::new();
    let stranger = Who::member("nobody", 1);
    let check = |rig: &mut Rig| {
        let joined = answer(&mut rig.join(&known("nobody")));
        assert_eq!(joined.error_code, code(Code::UnknownMemberId));
        let synced = answer(&mut rig.sync(&sync(stranger, &[])));
        assert_eq!(synced.error_code, code(Code::UnknownMemberId));
        assert_eq!(rig.heartbeat(stranger), Err(Code::UnknownMemberId));
        assert_eq!(rig.leave(&[("nobody", None)]), [Err(Code::UnknownMemberId)]);
    };
    check(&mut rig);
    assert!(rig.groups.groups.is_empty() && rig.log.is_empty());
    let ids = rig.stable(1);
    check(&mut rig);
    let synced = answer(&mut rig.sync(&sync(Who::member(&ids[0], 2), &[])));
    assert_eq!(synced.error_code, code(Code::IllegalGeneration));
    assert_eq!(rig.heartbeat(Who::member(&ids[0], 0)), Err(Code::IllegalGeneration));
}

#[test]
fn who_may_commit() {
    let mut rig = Rig::new();
    rig.groups.groups.insert(GROUP.to_owned(), Group::Classic(ClassicGroup::simple()));
    let nobody = Who::member("", -1);
    assert!(rig.group().is_simple());
    assert_eq!(rig.commit_offsets(nobody), Ok(()));
    assert_eq!(rig.commit_offsets(Who::member("a", 1)), Err(Code::UnknownMemberId));

    let ids = rig.stable(1);
    assert_eq!(rig.commit_offsets(nobody), Err(Code::UnknownMemberId));
    assert_eq!(rig.commit_offsets(Who::member(&ids[0], -1)), Err(Code::IllegalGeneration));
    let stranger = Who { instance_id: Some("i"), ..Who::member(&ids[0], 1) };
    assert_eq!(rig.commit_offsets(stranger), Err(Code::UnknownMemberId));
    assert_eq!(rig.group().validate_delete(), Err(Code::NonEmptyGroup));
    assert_eq!(rig.group().validate_offset_delete(), Ok(()));
    // It keeps a member alive.
    for _ in 0..3 {
        rig.advance(i64::from(SESSION_MS) - 1);
        assert_eq!(rig.commit_offsets(Who::member(&ids[0], 1)), Ok(()));
    }
}

#[test]
fn metadata_that_cannot_be_read_means_any_topic() {
    let mut rig = Rig::new();
    let mut join = new("c");
    join.version = 3;
    join.request.protocols[0].metadata = bytes::Bytes::from_static(&[0, 1, 0, 0, 0, 9]);
    rig.join(&join);
    rig.advance(INITIAL_DELAY_MS);
    assert!(rig.group().is_subscribed_to("whatever"));

    let mut rig = Rig::new();
    join.request.protocol_type = text("connect");
    rig.join(&join);
    rig.advance(INITIAL_DELAY_MS);
    assert!(!rig.group().is_subscribed_to("whatever"));
    assert_eq!(rig.group().validate_offset_delete(), Err(Code::NonEmptyGroup));
}

#[test]
fn a_group_is_described_as_it_stands() {
    let mut rig = Rig::new();
    assert_eq!(rig.groups.describe_classic(GROUP).unwrap_err(), "Group g not found.");
    let (a, _) = rig.join_in_two("a");
    let seen = rig.groups.describe_classic(GROUP).unwrap();
    assert_eq!((&*seen.group_state, &*seen.protocol_data), ("PreparingRebalance", ""));
    assert_eq!(&*seen.protocol_type, "consumer");
    assert!(seen.members[0].member_metadata.is_empty());
    rig.advance(INITIAL_DELAY_MS);
    rig.sync_all(1, std::slice::from_ref(&a));
    let seen = rig.groups.describe_classic(GROUP).unwrap();
    assert_eq!((&*seen.group_state, &*seen.protocol_data), ("Stable", "range"));
    let member = &seen.members[0];
    assert_eq!((&*member.member_id, &*member.client_host), (&*a, "/127.0.0.1"));
    assert_eq!(member.member_metadata, subscription(&["t", "range"]));
    assert_eq!(member.member_assignment, a.as_bytes());
}

#[test]
fn a_tombstone_ends_a_group_and_its_timers() {
    let mut rig = Rig::new();
    answer(&mut rig.join(&new("pending")));
    let gone = Record::ClassicGroup { group: GROUP.to_owned(), value: None };
    rig.step(|groups, step| groups.emit(step, gone));
    assert!(rig.groups.groups.is_empty());
    assert_eq!(rig.groups.timers.next_ms(), None);
    rig.reload();
    assert!(rig.groups.groups.is_empty());
}

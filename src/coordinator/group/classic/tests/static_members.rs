//! Static members (KIP-345): they come back without disturbing the others, and fence who was there
//! before.

use kafka_protocol::ResponseError as Code;

use super::rig::*;

/// A stable group of two static members `a` and `b`, of which `a` leads, and their ids.
fn stable() -> (Rig, [String; 2]) {
    let mut rig = Rig::new();
    let mut joins = [rig.join(&static_member("a")), rig.join(&static_member("b"))];
    rig.advance(2 * INITIAL_DELAY_MS);
    let ids = joins.each_mut().map(|waiting| {
        let joined = answer(waiting);
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        joined.member_id.to_string()
    });
    assert!(ids[0].starts_with("a-") && ids[1].starts_with("b-"));
    assert!(rig.group().is_leader(&ids[0]));
    rig.sync_all(1, &ids);
    (rig, ids)
}

fn who<'a>(member_id: &'a str, instance_id: &'a str, generation: i32) -> Who<'a> {
    Who { member_id, instance_id: Some(instance_id), generation }
}

#[test]
fn a_restart_is_no_rebalance_and_the_old_id_is_fenced() {
    let (mut rig, [a, b]) = stable();
    let records = rig.log.len();
    let joined = answer(&mut rig.join(&static_member("b")));
    let new_b = joined.member_id.to_string();
    assert_ne!(new_b, b);
    assert_eq!((joined.error_code, joined.generation_id, &*joined.leader), (0, 1, &*a));
    assert!(!joined.skip_assignment && joined.members.is_empty());
    assert_eq!((rig.state(), rig.log.len()), ("Stable", records + 1));
    let mut synced = rig.sync(&sync(who(&new_b, "b", 1), &[]));
    assert_eq!(answer(&mut synced).assignment, b.as_bytes(), "it has what it had");

    let fenced = |rig: &mut Rig| {
        let old = who(&b, "b", 1);
        assert_eq!(rig.heartbeat(old), Err(Code::FencedInstanceId));
        assert_eq!(rig.commit_offsets(old), Err(Code::FencedInstanceId));
        assert_eq!(rig.leave(&[(&b, Some("b"))]), [Err(Code::FencedInstanceId)]);
        let synced = answer(&mut rig.sync(&sync(old, &[])));
        assert_eq!(synced.error_code, Code::FencedInstanceId.code());
        let mut join = static_member("b");
        join.request.member_id = known(&b).request.member_id;
        assert_eq!(answer(&mut rig.join(&join)).error_code, Code::FencedInstanceId.code());
    };
    fenced(&mut rig);
    rig.reload();
    fenced(&mut rig);
    assert_eq!(rig.heartbeat(who(&new_b, "b", 1)), Ok(()));
    assert_eq!(rig.heartbeat(Who::member(&b, 1)), Err(Code::UnknownMemberId));
}

#[test]
fn whoever_comes_back_and_falls_silent_is_out() {
    let (mut rig, [a, _]) = stable();
    let b = answer(&mut rig.join(&static_member("b"))).member_id.to_string();
    rig.advance(i64::from(SESSION_MS) - 1);
    assert_eq!(rig.heartbeat(who(&a, "a", 1)), Ok(()));
    rig.advance(1);
    assert_eq!(rig.heartbeat(who(&a, "a", 1)), Err(Code::RebalanceInProgress));
    assert_eq!(rig.heartbeat(who(&b, "b", 1)), Err(Code::UnknownMemberId));
}

#[test]
fn a_leader_that_comes_back_is_told_that_nothing_is_to_be_assigned() {
    let (mut rig, [a, b]) = stable();
    let joined = answer(&mut rig.join(&static_member("a")));
    assert_eq!(joined.leader, joined.member_id);
    assert!(joined.skip_assignment);
    assert_eq!(joined.members.len(), 2);
    assert_eq!(rig.state(), "Stable");

    // Older clients must not take themselves for the leader.
    let mut old = static_member("a");
    old.version = 8;
    let before = joined.member_id;
    let joined = answer(&mut rig.join(&old));
    assert_eq!(joined.leader, before);
    assert_ne!(joined.member_id, before);
    assert!(!joined.skip_assignment && joined.members.is_empty());
    assert!(rig.group().is_leader(&joined.member_id));
    assert!(!rig.group().members.contains_key(&a) && rig.group().members.contains_key(&b));
}

#[test]
fn another_protocol_is_a_rebalance() {
    let mut rig = Rig::new();
    let both = |instance: &str| {
        let mut join = static_member(instance);
        join.request.protocols = protocols(&["range", "sticky"]);
        join
    };
    let mut waiting = rig.join(&both("a"));
    rig.advance(INITIAL_DELAY_MS);
    let a = answer(&mut waiting).member_id.to_string();
    rig.sync_all(1, &[a]);
    let mut changed = both("a");
    changed.request.protocols = protocols(&["sticky", "range"]);
    let joined = answer(&mut rig.join(&changed));
    assert_eq!((joined.generation_id, joined.protocol_name.as_deref()), (2, Some("sticky")));
    assert_eq!(rig.state(), "CompletingRebalance");
}

#[test]
fn whoever_waits_under_the_old_id_is_fenced() {
    let mut rig = Rig::new();
    let mut first = rig.join(&static_member("a"));
    let mut second = rig.join(&static_member("a"));
    let fenced = answer(&mut first);
    assert_eq!(fenced.error_code, Code::FencedInstanceId.code());
    assert!(!fenced.member_id.is_empty());
    let mut other = rig.join(&static_member("b"));
    rig.advance(3 * INITIAL_DELAY_MS);
    let a = answer(&mut second).member_id.to_string();
    let b = answer(&mut other).member_id.to_string();

    // While the leader computes, a replacement has all join again: it was told the old id.
    let leads_a = rig.group().is_leader(&a);
    let (follower, instance) = if leads_a { (&b, "b") } else { (&a, "a") };
    let mut synced = rig.sync(&sync(who(follower, instance, 1), &[]));
    let mut third = rig.join(&static_member(instance));
    assert_eq!(answer(&mut synced).error_code, Code::FencedInstanceId.code());
    assert_eq!(rig.state(), "PreparingRebalance");
    assert_waits(&mut third);
}

#[test]
fn whoever_comes_back_while_waiting_may_wait_longer_than_a_session() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    let mut lost = rig.join(&static_member("a"));
    let mut again = rig.join(&static_member("a"));
    assert_eq!(answer(&mut lost).error_code, Code::FencedInstanceId.code());
    for _ in 0..3 {
        rig.advance(i64::from(SESSION_MS) / 2);
        let beaten = rig.heartbeat(Who::member(&ids[0], 1));
        assert_eq!(beaten, Err(Code::RebalanceInProgress));
    }
    assert_waits(&mut again);
    let mut leader = rig.join(&known(&ids[0]));
    assert_eq!((answer(&mut leader).generation_id, answer(&mut again).generation_id), (2, 2));
}

#[test]
fn static_members_stay_until_their_session_ends() {
    let (mut rig, [a, b]) = stable();
    // A newcomer: one static member joins again, the other one is away for a moment.
    let (_, mut join_c) = rig.join_in_two("c");
    let mut again = static_member("a");
    again.request.member_id = known(&a).request.member_id;
    let mut join_a = rig.join(&again);
    for _ in 0..6 {
        rig.advance(i64::from(REBALANCE_MS) / 6);
        let _ = rig.heartbeat(who(&b, "b", 1));
    }
    let joined = answer(&mut join_a);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 3));
    assert_eq!(answer(&mut join_c).generation_id, 2);
    assert_eq!(rig.heartbeat(who(&b, "b", 1)), Err(Code::IllegalGeneration));
    rig.advance(i64::from(SESSION_MS));
    assert_eq!(rig.heartbeat(who(&b, "b", 2)), Err(Code::UnknownMemberId));
}

#[test]
fn static_members_of_whom_none_joins_are_waited_for_until_their_sessions_end() {
    let (mut rig, [a, b]) = stable();
    assert_eq!(rig.leave(&[("", Some("a"))]), [Ok(())]);
    assert!(!rig.group().members.contains_key(&a));
    for _ in 0..20 {
        rig.advance(i64::from(SESSION_MS) / 2);
        assert_eq!(rig.heartbeat(who(&b, "b", 1)), Err(Code::RebalanceInProgress));
    }
    rig.advance(i64::from(SESSION_MS));
    assert_eq!((rig.state(), rig.group().generation), ("Empty", 2));
}

#[test]
fn members_without_patience_are_no_busy_loop() {
    let (mut rig, [_, b]) = stable();
    let mut hasty = static_member("a");
    hasty.request.rebalance_timeout_ms = -5;
    let a = answer(&mut rig.join(&hasty)).member_id.to_string();
    assert_eq!(rig.leave(&[(&b, Some("b"))]), [Ok(())]);
    // The rebalance is over at once, and nobody has joined: it is tried again, but not at once.
    rig.advance(1_000);
    assert_eq!(rig.heartbeat(who(&a, "a", 1)), Err(Code::RebalanceInProgress));
    rig.advance(i64::from(SESSION_MS));
    assert_eq!(rig.state(), "Empty");
}

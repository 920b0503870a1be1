//! JoinGroup, and classic groups from end to end.

use crate::harness::groups::*;
use crate::harness::{Broker, eventually, run, text};

#[test]
fn every_version_joins() {
    run(async {
        let broker = Broker::start_quick().await;
        for version in 0..=9 {
            let mut member = Member::new(&broker, &format!("g{version}")).await;
            let joined = member.join(version).await;
            assert_eq!((joined.error_code, joined.generation_id), (0, 1), "version {version}");
            assert_eq!(joined.leader, joined.member_id);
            assert!(joined.member_id.starts_with("it-"));
            assert_eq!(joined.protocol_name.as_deref(), Some("range"));
            let protocol_type = if version >= 7 { Some("consumer") } else { None };
            assert_eq!(joined.protocol_type.as_deref(), protocol_type);
            assert!(!joined.skip_assignment);
            let [own] = &joined.members[..] else { panic!("{:?}", joined.members) };
            assert_eq!((&*own.member_id, &own.metadata[..]), (&*member.id, METADATA));
        }
    });
}

#[test]
fn two_clients_go_through_a_rebalance() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut a = Member::new(&broker, "g").await;
        a.settle().await;

        let mut b = Member::new(&broker, "g").await;
        let waiting = b.begin_join(9).await;
        eventually(async || a.heartbeat(4).await == REBALANCE_IN_PROGRESS).await;
        let to_a = a.join(9).await;
        let to_b = b.end_join(9, waiting).await;
        for joined in [&to_a, &to_b] {
            assert_eq!((joined.error_code, joined.generation_id), (0, 2));
            assert_eq!(&*joined.leader, &*a.id);
        }
        assert_eq!((to_a.members.len(), to_b.members.len()), (2, 0));

        let request = b.sync_request(5, &[]);
        let waiting = b.client.send(5, &request).await;
        let (id_a, id_b) = (a.id.clone(), b.id.clone());
        let to_a = a.sync(5, &[(&id_a, "0,1"), (&id_b, "2,3")]).await;
        let to_b = b.client.receive::<kafka_protocol::messages::SyncGroupRequest>(5, waiting).await;
        assert_eq!((to_a.error_code, &to_a.assignment[..]), (0, &b"0,1"[..]));
        assert_eq!((to_b.error_code, &to_b.assignment[..]), (0, &b"2,3"[..]));
        assert_eq!((a.heartbeat(4).await, b.heartbeat(4).await), (0, 0));
    });
}

#[test]
fn a_member_that_falls_silent_is_thrown_out() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut a = Member::new(&broker, "g").await;
        a.settle().await;
        let mut b = Member::new(&broker, "g").await;
        b.session_ms = 300;
        let waiting = b.begin_join(9).await;
        eventually(async || a.heartbeat(4).await == REBALANCE_IN_PROGRESS).await;
        assert_eq!(a.join(9).await.error_code, 0);
        assert_eq!(b.end_join(9, waiting).await.generation_id, 2);
        assert_eq!(a.sync(5, &[]).await.error_code, 0);

        eventually(async || a.heartbeat(4).await == REBALANCE_IN_PROGRESS).await;
        let joined = a.join(9).await;
        assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (0, 3, 1));
        assert_eq!(b.heartbeat(4).await, UNKNOWN_MEMBER_ID);
    });
}

#[test]
fn a_group_survives_a_restart() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut member = Member::new(&broker, "g").await;
        member.instance = Some("i");
        member.settle().await;
        let broker = broker.restart().await;
        broker.serve_groups().await;
        member.client = broker.client().await;
        assert_eq!(member.heartbeat(4).await, 0);
        let synced = member.sync(5, &[]).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));

        // Its process restarts, too: no rebalance, and the old one is fenced.
        let mut again = Member::new(&broker, "g").await;
        again.instance = Some("i");
        let joined = again.join(9).await;
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        assert!(joined.skip_assignment);
        assert_eq!(joined.leader, joined.member_id);
        assert_eq!(member.heartbeat(4).await, FENCED_INSTANCE_ID);
        assert_eq!(again.heartbeat(4).await, 0);
        assert_eq!(again.sync(5, &[]).await.assignment, synced.assignment);
    });
}

/// What kcat and older Go clients send: JoinGroup 2 and 5, SyncGroup 0 and 3, LeaveGroup 0 and 1.
#[test]
fn old_clients_come_and_go() {
    run(async {
        let broker = Broker::start_quick().await;
        for (join, sync, heartbeat, leave) in [(2, 0, 0, 0), (5, 3, 3, 1)] {
            let mut member = Member::new(&broker, &format!("g{join}")).await;
            let joined = member.join(join).await;
            assert_eq!((joined.error_code, joined.leader), (0, joined.member_id));
            let id = member.id.clone();
            let synced = member.sync(sync, &[(&id, "part")]).await;
            assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"part"[..]));
            assert_eq!(member.heartbeat(heartbeat).await, 0);
            assert_eq!(member.leave(leave).await, (0, vec![]));
            assert_eq!(member.heartbeat(heartbeat).await, UNKNOWN_MEMBER_ID);
            // The next one need not wait for it.
            member.id.clear();
            assert_eq!(member.join(join).await.generation_id, 3);
        }
    });
}

#[test]
fn the_answer_to_a_lost_connection_is_given_to_the_next() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut a = Member::new(&broker, "g").await;
        a.settle().await;
        let mut b = Member::new(&broker, "g").await;
        b.begin_join(9).await;
        // Two connections are not read in any order: the first join must have come.
        eventually(async || a.heartbeat(4).await == REBALANCE_IN_PROGRESS).await;
        b.client = broker.client().await;
        let waiting = b.begin_join(9).await;
        assert_eq!(a.join(9).await.generation_id, 2);
        assert_eq!(b.end_join(9, waiting).await.generation_id, 2);
    });
}

#[test]
fn bad_joins_are_refused() {
    run(async {
        let broker = Broker::start_with(&QUICK[..2]).await;
        broker.serve_groups().await;
        let mut member = Member::new(&broker, "g").await;
        for version in 0..=9 {
            // Before version 7 there is always a protocol; its name is empty.
            let no_protocol = (version < 7).then(|| text(""));
            let good = member.join_request();
            let mut long = good.clone();
            long.session_timeout_ms = 1_800_001;
            let mut short = good.clone();
            short.session_timeout_ms = 5_999;
            let empty = good.clone().with_group_id(group_id(""));
            let unknown = good.clone().with_member_id(text("x"));
            let no_protocols = good.clone().with_protocols(vec![]);
            let no_type = good.clone().with_protocol_type(text(""));
            for (request, code) in [
                (long, INVALID_SESSION_TIMEOUT),
                (short, INVALID_SESSION_TIMEOUT),
                (empty, INVALID_GROUP_ID),
                (unknown, UNKNOWN_MEMBER_ID),
                (no_protocols, INCONSISTENT_GROUP_PROTOCOL),
                (no_type, INCONSISTENT_GROUP_PROTOCOL),
            ] {
                let refused = member.client.call(version, &request).await;
                assert_eq!((refused.error_code, refused.generation_id), (code, -1), "{request:?}");
                assert_eq!(refused.member_id, request.member_id);
                assert_eq!(refused.protocol_name, no_protocol);
                assert_eq!((&*refused.leader, refused.members.len()), ("", 0));
            }
        }
        // The last two made the group nevertheless, as they do in Kafka.
        member.settle().await;
        let mut other = Member::new(&broker, "g").await;
        let request = other.join_request().with_protocol_type(text("connect"));
        let refused = other.client.call(9, &request).await;
        assert_eq!(refused.error_code, INCONSISTENT_GROUP_PROTOCOL);
        assert_eq!(member.heartbeat(4).await, 0);
    });
}

#[test]
fn a_name_that_is_too_long_for_a_member_id_is_refused() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut member = Member::new(&broker, "g").await;
        let longest = "i".repeat(0x7fff - 37);
        for (instance, code) in [(longest.clone(), 0), (longest + "i", 42)] {
            let request = member.join_request().with_group_instance_id(Some(text(&instance)));
            assert_eq!(member.client.call(9, &request).await.error_code, code);
        }
    });
}

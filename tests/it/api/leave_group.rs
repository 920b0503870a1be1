//! LeaveGroup.

use kafka_protocol::messages::LeaveGroupRequest;
use kafka_protocol::messages::leave_group_request::MemberIdentity;

use crate::harness::groups::*;
use crate::harness::{Broker, run, text};

#[test]
fn every_version_leaves() {
    run(async {
        let broker = Broker::start_quick().await;
        for version in 0..=5 {
            let mut member = Member::new(&broker, &format!("g{version}")).await;
            member.settle().await;
            let (left, unknown) = match version {
                0..3 => ((0, vec![]), (UNKNOWN_MEMBER_ID, vec![])),
                _ => ((0, vec![0]), (0, vec![UNKNOWN_MEMBER_ID])),
            };
            assert_eq!(member.leave(version).await, left, "version {version}");
            assert_eq!(member.heartbeat(4).await, UNKNOWN_MEMBER_ID);
            assert_eq!(member.leave(version).await, unknown);
            member.group = "nowhere".to_owned();
            assert_eq!(member.leave(version).await, unknown);
            member.group = String::new();
            assert_eq!(member.leave(version).await, (INVALID_GROUP_ID, vec![]));
        }
    });
}

#[test]
fn several_leave_at_once() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut fixed = Member::new(&broker, "g").await;
        fixed.instance = Some("i");
        fixed.settle().await;
        let mut pending = Member::new(&broker, "g").await;
        let given = pending.client.call(9, &pending.join_request()).await;
        assert_eq!(given.error_code, MEMBER_ID_REQUIRED);

        let identity = |id: &str, instance: Option<&str>| {
            MemberIdentity::default()
                .with_member_id(text(id))
                .with_group_instance_id(instance.map(text))
        };
        let request = LeaveGroupRequest::default().with_group_id(group_id("g")).with_members(vec![
            identity("other", Some("i")),
            identity("", Some("i")),
            identity(&given.member_id, None),
            identity("", None),
            identity("nobody", Some("j")),
        ]);
        let left = pending.client.call(5, &request).await;
        assert_eq!(left.error_code, 0);
        let members = left.members.iter();
        let told: Vec<_> = members
            .map(|one| (&*one.member_id, one.group_instance_id.as_deref(), one.error_code))
            .collect();
        assert_eq!(
            told,
            [
                ("other", Some("i"), FENCED_INSTANCE_ID),
                ("", Some("i"), 0),
                (&*given.member_id, None, 0),
                ("", None, UNKNOWN_MEMBER_ID),
                ("nobody", Some("j"), UNKNOWN_MEMBER_ID),
            ]
        );
        assert_eq!(fixed.heartbeat(4).await, UNKNOWN_MEMBER_ID);
        pending.id = given.member_id.to_string();
        assert_eq!(pending.join(9).await.error_code, UNKNOWN_MEMBER_ID);
    });
}

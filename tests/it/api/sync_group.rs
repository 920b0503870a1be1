//! SyncGroup.

use crate::harness::groups::*;
use crate::harness::{Broker, run, text};

#[test]
fn every_version_brings_and_fetches() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut member = Member::new(&broker, "g").await;
        for version in 0..=5 {
            // A leader that joins again asks for the next generation.
            assert_eq!(member.join(9).await.error_code, 0);
            let id = member.id.clone();
            let brought = member.sync(version, &[(&id, "part")]).await;
            let fetched = member.sync(version, &[]).await;
            for synced in [brought, fetched] {
                assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"part"[..]));
                let told = (version >= 5).then_some(("consumer", "range"));
                let protocol = synced.protocol_type.as_deref().zip(synced.protocol_name.as_deref());
                assert_eq!(protocol, told);
            }
        }
        assert_eq!(member.generation, 6);
    });
}

#[test]
fn bad_syncs_are_refused() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut member = Member::new(&broker, "g").await;
        member.settle().await;
        for version in 0..=5 {
            let good = member.sync_request(version, &[]);
            let stale = good.clone().with_generation_id(7);
            let nobody = good.clone().with_member_id(text("nobody"));
            let nowhere = good.clone().with_group_id(group_id("nowhere"));
            let unnamed = good.clone().with_group_id(group_id(""));
            for (request, code) in [
                (stale, ILLEGAL_GENERATION),
                (nobody, UNKNOWN_MEMBER_ID),
                (nowhere, UNKNOWN_MEMBER_ID),
                (unnamed, INVALID_GROUP_ID),
            ] {
                let refused = member.client.call(version, &request).await;
                assert_eq!((refused.error_code, refused.assignment.len()), (code, 0));
            }
        }
        let good = member.sync_request(5, &[]);
        for request in [
            good.clone().with_protocol_type(None),
            good.clone().with_protocol_name(None),
            good.clone().with_protocol_type(Some(text("connect"))),
            good.clone().with_protocol_name(Some(text("sticky"))),
        ] {
            let refused = member.client.call(5, &request).await;
            assert_eq!(refused.error_code, INCONSISTENT_GROUP_PROTOCOL);
        }
        for version in 3..=5 {
            let request = good.clone().with_group_instance_id(Some(text("i")));
            let refused = member.client.call(version, &request).await;
            assert_eq!(refused.error_code, UNKNOWN_MEMBER_ID);
        }
        assert_eq!(member.heartbeat(4).await, 0);
    });
}

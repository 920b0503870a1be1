//! Heartbeat.

use kafka_protocol::messages::HeartbeatRequest;

use crate::harness::groups::*;
use crate::harness::{Broker, run};

#[test]
fn every_version_keeps_a_member() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut member = Member::new(&broker, "g").await;
        member.settle().await;
        for version in 0..=4 {
            assert_eq!(member.heartbeat(version).await, 0, "version {version}");
            member.generation += 1;
            assert_eq!(member.heartbeat(version).await, ILLEGAL_GENERATION);
            member.generation -= 1;
        }
        for version in 3..=4 {
            member.instance = Some("i");
            assert_eq!(member.heartbeat(version).await, UNKNOWN_MEMBER_ID);
            member.instance = None;
        }
    });
}

#[test]
fn strangers_are_told_so() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut member = Member::new(&broker, "g").await;
        for version in 0..=4 {
            assert_eq!(member.heartbeat(version).await, UNKNOWN_MEMBER_ID);
            let unnamed = HeartbeatRequest::default();
            let refused = member.client.call(version, &unnamed).await;
            assert_eq!(refused.error_code, INVALID_GROUP_ID);
        }
        member.settle().await;
        member.id = "nobody".to_owned();
        assert_eq!(member.heartbeat(4).await, UNKNOWN_MEMBER_ID);
    });
}

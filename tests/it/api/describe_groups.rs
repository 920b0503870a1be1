//! DescribeGroups.

use kafka_protocol::messages::DescribeGroupsRequest;

use crate::harness::groups::*;
use crate::harness::{Broker, Client, run};

const GROUP_ID_NOT_FOUND: i16 = 69;
/// Kafka's bits for READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS.
const OPERATIONS: i32 = 3400;

async fn describe(
    client: &mut Client,
    version: i16,
    groups: &[&str],
) -> Vec<kafka_protocol::messages::describe_groups_response::DescribedGroup> {
    let request = DescribeGroupsRequest::default()
        .with_groups(groups.iter().map(|group| group_id(group)).collect())
        .with_include_authorized_operations(version >= 3);
    client.call(version, &request).await.groups
}

#[test]
fn every_version_describes() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut member = Member::new(&broker, "stable").await;
        member.instance = Some("i");
        member.settle().await;
        let mut joined = Member::new(&broker, "completing").await;
        assert_eq!(joined.join(9).await.error_code, 0);
        let mut left = Member::new(&broker, "empty").await;
        left.settle().await;
        assert_eq!(left.leave(5).await, (0, vec![0]));

        let mut client = broker.client().await;
        for version in 0..=6 {
            let names = ["stable", "completing", "empty", "none", ""];
            let groups = describe(&mut client, version, &names).await;
            let seen: Vec<_> = groups
                .iter()
                .map(|group| {
                    assert_eq!(group.members.len(), usize::from(!group.members.is_empty()));
                    (&*group.group_state, &*group.protocol_type, &*group.protocol_data)
                })
                .collect();
            assert_eq!(
                seen,
                [
                    ("Stable", "consumer", "range"),
                    ("CompletingRebalance", "consumer", ""),
                    ("Empty", "consumer", ""),
                    ("Dead", "", ""),
                    ("Dead", "", ""),
                ]
            );
            let own = &groups[0].members[0];
            assert_eq!((&*own.member_id, &*own.client_id), (&*member.id, "it"));
            assert_eq!(&*own.client_host, "/127.0.0.1");
            assert_eq!(own.group_instance_id.as_deref(), (version >= 4).then_some("i"));
            assert_eq!(&own.member_metadata[..], METADATA);
            assert_eq!(&own.member_assignment[..], b"all");
            let other = &groups[1].members[0];
            assert_eq!(&*other.member_id, &*joined.id);
            assert!(other.member_metadata.is_empty() && other.member_assignment.is_empty());

            for (group, name) in groups.iter().zip(names) {
                assert_eq!(&*group.group_id.0, name);
                let is_missing = version >= 6 && &*group.group_state == "Dead";
                assert_eq!(group.error_code, if is_missing { GROUP_ID_NOT_FOUND } else { 0 });
                let message = is_missing.then(|| format!("Group {name} not found."));
                assert_eq!(group.error_message.as_deref(), message.as_deref());
                let is_told = version >= 3 && !is_missing;
                let operations = if is_told { OPERATIONS } else { i32::MIN };
                assert_eq!(group.authorized_operations, operations);
            }
        }
    });
}

#[test]
fn nothing_is_described_where_nothing_is_asked() {
    run(async {
        let broker = Broker::start_quick().await;
        let mut client = broker.client().await;
        assert!(describe(&mut client, 0, &[]).await.is_empty());
        assert!(describe(&mut client, 6, &[]).await.is_empty());
        // Nothing is there to be coordinated yet in a broker that nobody asked for a coordinator.
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let groups = describe(&mut client, 6, &["g"]).await;
        assert_eq!(groups[0].error_code, 15, "COORDINATOR_NOT_AVAILABLE");
    });
}

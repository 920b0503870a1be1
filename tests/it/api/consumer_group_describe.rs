//! ConsumerGroupDescribe.

use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, GroupId};

use crate::api::consumer_group_heartbeat::{SETTINGS, beat, call, find_coordinator, join};
use crate::harness::{Broker, Client, run, text};

async fn describe(client: &mut Client, version: i16, groups: &[&str]) -> Vec<DescribedGroup> {
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(groups.iter().map(|name| GroupId(text(name))).collect())
        .with_include_authorized_operations(version == 1);
    client.call(version, &request).await.groups
}

#[test]
fn every_version_describes_groups() {
    run(async {
        let broker = Broker::start_with(SETTINGS).await;
        let topic = broker.create_topic("t", 2, &[]).await;
        let mut client = broker.client().await;
        find_coordinator(&mut client).await;
        call(&mut client, 1, &join("g", "a", &["t"])).await;
        call(&mut client, 1, &join("g", "b", &["t"])).await;
        call(&mut client, 1, &join("h", "c", &["t"])).await;
        call(&mut client, 1, &beat("h", "c", -1)).await;
        for version in 0..=1 {
            let groups = describe(&mut client, version, &["g", "h"]).await;
            let [g, h] = &groups[..] else { panic!("two groups") };
            assert_eq!((g.error_code, &*g.group_id.0, &*g.group_state), (0, "g", "Reconciling"));
            assert_eq!((g.group_epoch, g.assignment_epoch, &*g.assignor_name), (3, 3, "uniform"));
            let operations = if version == 1 { 0b1101_0100_1000 } else { i32::MIN };
            assert_eq!(g.authorized_operations, operations);
            let [a, b] = &g.members[..] else { panic!("two members") };
            let (has, target) = (&a.assignment.topic_partitions, &a.target_assignment);
            assert_eq!((has[0].topic_id, &**has[0].topic_name), (topic, "t"));
            assert_eq!((&has[0].partitions[..], a.member_epoch), (&[0, 1][..], 2));
            assert_eq!(target.topic_partitions[0].partitions, [0]);
            assert_eq!((&*a.client_id, &*a.client_host), ("it", "/127.0.0.1"));
            assert_eq!((&*b.member_id, b.member_epoch), ("b", 3));
            assert_eq!(b.member_type, if version == 1 { 1 } else { -1 });
            assert_eq!((&*h.group_state, h.members.len()), ("Empty", 0));
        }
    });
}

#[test]
fn what_is_not_there_is_told() {
    run(async {
        let broker = Broker::start_with(SETTINGS).await;
        let mut client = broker.client().await;
        for version in 0..=1 {
            let group = describe(&mut client, version, &["g"]).await.remove(0);
            assert_eq!(group.error_code, 15, "there are no groups at all");
        }
        find_coordinator(&mut client).await;
        call(&mut client, 1, &join("g", "a", &[])).await;
        call(&mut client, 1, &join("h", "a", &[])).await;
        for version in 0..=1 {
            let groups = describe(&mut client, version, &["x", ""]).await;
            let told: Vec<_> =
                groups.iter().map(|one| (one.error_code, one.error_message.as_deref())).collect();
            assert_eq!(told, [(69, Some("Group x not found.")), (24, None)]);
        }
    });
}

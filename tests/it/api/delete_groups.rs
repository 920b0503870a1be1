//! DeleteGroups.

use kafka_protocol::messages::{DeleteGroupsRequest, ListGroupsRequest};

use crate::api::consumer_group_heartbeat::{beat, call, join};
use crate::harness::groups::{Member, group_id};
use crate::harness::records::Topic;
use crate::harness::{Broker, Client, run};

const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;

async fn delete(client: &mut Client, version: i16, groups: &[&str]) -> Vec<(String, i16)> {
    let names = groups.iter().map(|name| group_id(name)).collect();
    let request = DeleteGroupsRequest::default().with_groups_names(names);
    let results = client.call(version, &request).await.results.into_iter();
    results.map(|result| (result.group_id.to_string(), result.error_code)).collect()
}

#[test]
fn every_version_deletes_groups_with_their_offsets() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 2, &[]).await;
        let mut client = broker.client().await;
        client.commit(9, "kept", &topic, &[(0, 1)]).await;
        for version in 0..=2 {
            client.commit(9, "g", &topic, &[(0, 1), (1, 2)]).await;
            let found = delete(&mut client, version, &["g", "nobody", "g"]).await;
            let expected = [("g".to_owned(), 0), ("nobody".to_owned(), GROUP_ID_NOT_FOUND)];
            assert_eq!(found, expected);
            assert_eq!(client.committed(9, "g", &topic, &[0, 1]).await, [-1, -1]);
        }
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        client.coordinator().await;
        let groups = client.call(5, &ListGroupsRequest::default()).await.groups;
        let groups: Vec<&str> = groups.iter().map(|group| group.group_id.as_str()).collect();
        assert_eq!(groups, ["kept"]);
        assert_eq!(client.committed(9, "g", &topic, &[0, 1]).await, [-1, -1]);
    });
}

#[test]
fn without_a_coordinator_nothing_is_deleted() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 0..=2 {
            let found = delete(&mut client, version, &["g"]).await;
            assert_eq!(found, [("g".to_owned(), COORDINATOR_NOT_AVAILABLE)]);
        }
    });
}

#[test]
fn groups_with_members_stay() {
    run(async {
        let quick = ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0");
        let broker = Broker::with_groups(&[quick]).await;
        broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        let mut member = Member::new(&broker, "old").await;
        member.settle().await;
        call(&mut client, 1, &join("new", "m", &["t"])).await;
        let told = |code| ["old", "new"].map(|name| (name.to_owned(), code));
        assert_eq!(delete(&mut client, 2, &["old", "new"]).await, told(NON_EMPTY_GROUP));
        member.leave(5).await;
        call(&mut client, 1, &beat("new", "m", -1)).await;
        assert_eq!(delete(&mut client, 2, &["old", "new"]).await, told(0));
        assert_eq!(delete(&mut client, 2, &["old", "new"]).await, told(GROUP_ID_NOT_FOUND));
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        client.coordinator().await;
        assert!(client.call(5, &ListGroupsRequest::default()).await.groups.is_empty());
    });
}

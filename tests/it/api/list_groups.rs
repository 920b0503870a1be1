//! ListGroups.

use kafka_protocol::messages::ListGroupsRequest;

use crate::api::consumer_group_heartbeat::{call, join};
use crate::harness::groups::Member;
use crate::harness::records::Topic;
use crate::harness::{Broker, Client, run, text};

/// Names, protocol types, states and types, by name.
async fn list(
    client: &mut Client,
    version: i16,
    states: &[&str],
    types: &[&str],
) -> Vec<[String; 4]> {
    let request = ListGroupsRequest::default()
        .with_states_filter(states.iter().map(|state| text(state)).collect())
        .with_types_filter(types.iter().map(|kind| text(kind)).collect());
    let answer = client.call(version, &request).await;
    assert_eq!(answer.error_code, 0);
    let groups = answer.groups.into_iter().map(|group| {
        let state = group.group_state.to_string();
        let (name, protocol) = (group.group_id.to_string(), group.protocol_type.to_string());
        [name, protocol, state, group.group_type.to_string()]
    });
    let mut groups: Vec<[String; 4]> = groups.collect();
    groups.sort();
    groups
}

#[test]
fn every_version_lists_all_groups() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for version in 0..=5 {
            assert!(list(&mut client, version, &[], &[]).await.is_empty());
        }
        // So many that every partition has some.
        let names: Vec<String> = (0..20).map(|number| format!("g{number:02}")).collect();
        for name in &names {
            client.commit(9, name, &topic, &[(0, 1)]).await;
        }
        for version in 0..=5 {
            let state = if version >= 4 { "Empty" } else { "" };
            let kind = if version >= 5 { "classic" } else { "" };
            let expected: Vec<[String; 4]> =
                names.iter().map(|name| [name, "", state, kind].map(str::to_owned)).collect();
            assert_eq!(list(&mut client, version, &[], &[]).await, expected, "v{version}");
        }
    });
}

#[test]
fn groups_are_filtered_by_state_and_type() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        client.commit(9, "g", &topic, &[(0, 1)]).await;
        for (states, types, count) in [
            (&["Empty"][..], &[][..], 1),
            (&["Stable", " eMPTY "], &[], 1),
            (&["Stable", "Dead"], &[], 0),
            (&["no such state"], &[], 0),
            (&[], &["Classic"], 1),
            (&[], &["consumer", "classic"], 1),
            (&[], &["consumer"], 0),
            (&[], &["no such type"], 0),
            (&["Stable"], &["classic"], 0),
        ] {
            let found = list(&mut client, 5, states, types).await;
            assert_eq!(found.len(), count, "{states:?} {types:?}");
        }
        assert_eq!(list(&mut client, 4, &["Empty"], &[]).await.len(), 1);
        assert_eq!(list(&mut client, 4, &["Stable"], &[]).await.len(), 0);
    });
}

#[test]
fn a_broker_without_groups_has_an_empty_list() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 0..=5 {
            assert!(list(&mut client, version, &[], &[]).await.is_empty());
        }
    });
}

#[test]
fn groups_of_every_kind_are_listed() {
    run(async {
        let quick = ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0");
        let broker = Broker::with_groups(&[quick]).await;
        broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        let mut member = Member::new(&broker, "old").await;
        member.settle().await;
        call(&mut client, 1, &join("new", "m", &["t"])).await;
        let row = |row: [&str; 4]| row.map(str::to_owned);
        let old = row(["old", "consumer", "Stable", "classic"]);
        let new = row(["new", "consumer", "Stable", "consumer"]);
        assert_eq!(list(&mut client, 5, &[], &[]).await, [new.clone(), old.clone()]);
        assert_eq!(list(&mut client, 5, &["stable"], &["consumer"]).await, [new]);
        assert_eq!(member.leave(5).await.0, 0);
        let old = row(["old", "consumer", "Empty", "classic"]);
        assert_eq!(list(&mut client, 5, &["empty"], &[]).await, [old]);
    });
}

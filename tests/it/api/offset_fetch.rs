//! OffsetFetch.

use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use uuid::Uuid;

use crate::api::consumer_group_heartbeat::{call, join};
use crate::harness::offsets::fetch_of;
use crate::harness::records::Topic;
use crate::harness::{Broker, Client, eventually, run, text, topic_name};

const VERSIONS: std::ops::RangeInclusive<i16> = 1..=10;

const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const UNKNOWN_MEMBER_ID: i16 = 25;
const UNKNOWN_TOPIC_ID: i16 = 100;
const STALE_MEMBER_EPOCH: i16 = 113;

async fn delete_topic(client: &mut Client, name: &str) {
    let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
    assert_eq!(client.call(6, &request).await.responses[0].error_code, 0);
}

#[test]
fn every_version_fetches() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 3, &[]).await;
        let mut client = broker.client().await;
        client.commit(9, "g", &topic, &[(0, 10), (2, 0)]).await;
        for version in VERSIONS {
            let found = client.fetch_offsets(version, "g", Some((&topic, &[2, 1, 0, 9]))).await;
            assert_eq!((found.error_code, found.topics.len()), (0, 1));
            let one = &found.topics[0];
            if version >= 10 {
                assert_eq!(one.topic_id, topic.id);
            } else {
                assert_eq!(one.name.as_str(), "t");
            }
            let partitions = one.partitions.iter().map(|one| {
                assert_eq!((one.error_code, one.committed_leader_epoch), (0, -1));
                assert_eq!(one.metadata.as_deref(), Some(""));
                (one.partition_index, one.committed_offset)
            });
            let partitions: Vec<(i32, i64)> = partitions.collect();
            assert_eq!(partitions, [(2, 0), (1, -1), (0, 10), (9, -1)], "v{version}");
            assert_eq!(client.committed(version, "nobody", &topic, &[0]).await, [-1]);
        }
    });
}

#[test]
fn no_topics_means_all() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let t = Topic::create(&broker, "t", 2, &[]).await;
        let u = Topic::create(&broker, "u", 1, &[]).await;
        let mut client = broker.client().await;
        client.commit(9, "g", &t, &[(0, 1), (1, 2)]).await;
        client.commit(9, "g", &u, &[(0, 3)]).await;
        for version in 2..=10 {
            let found = client.fetch_offsets(version, "g", None).await;
            assert_eq!(found.error_code, 0);
            let offsets = found.topics.iter().map(|topic| {
                let offsets = topic.partitions.iter().map(|one| one.committed_offset);
                (topic.name.to_string(), topic.topic_id, offsets.collect::<Vec<i64>>())
            });
            let offsets: Vec<(String, Uuid, Vec<i64>)> = offsets.collect();
            let name = |name: &str| if version < 10 { name.to_owned() } else { String::new() };
            let id = |id: Uuid| if version < 10 { Uuid::nil() } else { id };
            let expected = [(name("t"), id(t.id), vec![1, 2]), (name("u"), id(u.id), vec![3])];
            assert_eq!(offsets, expected, "v{version}");
            assert!(client.fetch_offsets(version, "nobody", None).await.topics.is_empty());
        }
    });
}

#[test]
fn several_groups_at_once() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        client.commit(9, "g", &topic, &[(0, 1)]).await;
        client.commit(9, "h", &topic, &[(0, 2)]).await;
        for version in 8..=10 {
            let wanted = Some((&topic, &[0][..]));
            let request = fetch_of(version, &[("h", wanted), ("g", None), ("nobody", wanted)]);
            let answer = client.fetch_offsets_as(version, &request).await;
            let groups = answer.groups.iter().map(|group| {
                let offset = group.topics[0].partitions[0].committed_offset;
                (group.group_id.to_string(), group.error_code, offset)
            });
            let groups: Vec<(String, i16, i64)> = groups.collect();
            let expected = [("h", 0, 2), ("g", 0, 1), ("nobody", 0, -1)]
                .map(|(name, error, offset)| (name.to_owned(), error, offset));
            assert_eq!(groups, expected);
        }
    });
}

#[test]
fn an_unknown_topic_id_is_told() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let unknown = Topic { name: "", id: Uuid::from_bytes([7; 16]) };
        let mut client = broker.client().await;
        let found = client.fetch_offsets(10, "g", Some((&unknown, &[0, 1]))).await;
        assert_eq!((found.error_code, found.topics[0].topic_id), (0, unknown.id));
        let partitions = found.topics[0].partitions.iter();
        let partitions: Vec<(i16, i64)> =
            partitions.map(|one| (one.error_code, one.committed_offset)).collect();
        assert_eq!(partitions, [(UNKNOWN_TOPIC_ID, -1); 2]);
    });
}

#[test]
fn offsets_end_with_their_topic() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let first = Topic::create(&broker, "t", 1, &[]).await;
        let kept = Topic::create(&broker, "kept", 1, &[]).await;
        let mut client = broker.client().await;
        client.commit(9, "g", &first, &[(0, 10)]).await;
        client.commit(9, "g", &kept, &[(0, 11)]).await;
        delete_topic(&mut client, "t").await;
        eventually(async || client.fetch_offsets(9, "g", None).await.topics.len() == 1).await;
        let second = Topic::create(&broker, "t", 1, &[]).await;
        assert_ne!(first.id, second.id);
        for version in VERSIONS {
            assert_eq!(client.committed(version, "g", &second, &[0]).await, [-1]);
            assert_eq!(client.committed(version, "g", &kept, &[0]).await, [11]);
        }
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        client.coordinator().await;
        assert_eq!(client.committed(9, "g", &second, &[0]).await, [-1]);
    });
}

#[test]
fn without_a_coordinator_there_is_no_answer() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let found = client.fetch_offsets(1, "g", Some((&topic, &[0]))).await;
        let partition = &found.topics[0].partitions[0];
        let told = (partition.error_code, partition.committed_offset);
        assert_eq!(told, (COORDINATOR_NOT_AVAILABLE, -1));
        for version in 2..=10 {
            let found = client.fetch_offsets(version, "g", Some((&topic, &[0]))).await;
            assert_eq!(found.error_code, COORDINATOR_NOT_AVAILABLE);
            assert!(found.topics.is_empty());
        }
    });
}

#[test]
fn members_ask_with_their_epoch() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        client.commit(9, "g", &topic, &[(0, 5)]).await;
        call(&mut client, 1, &join("g", "m", &["t"])).await;
        for version in 9..=10 {
            for (member, epoch, code) in [
                (None, -1, 0),
                (Some("m"), 2, 0),
                (Some("m"), 3, STALE_MEMBER_EPOCH),
                (Some("n"), 1, UNKNOWN_MEMBER_ID),
            ] {
                let mut request = fetch_of(version, &[("g", Some((&topic, &[0])))]);
                request.groups[0].member_id = member.map(text);
                request.groups[0].member_epoch = epoch;
                let group = client.fetch_offsets_as(version, &request).await.groups.remove(0);
                assert_eq!(group.error_code, code, "{member:?} {epoch}");
                let offsets = group.topics.iter().map(|one| one.partitions[0].committed_offset);
                let offsets: Vec<i64> = offsets.collect();
                assert_eq!(offsets, if code == 0 { vec![5] } else { vec![] });
            }
        }
    });
}

//! OffsetCommit.

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use uuid::Uuid;

use crate::api::consumer_group_heartbeat::{call, join};
use crate::harness::offsets::commit_of;
use crate::harness::records::Topic;
use crate::harness::{Broker, run, text};

const VERSIONS: std::ops::RangeInclusive<i16> = 2..=10;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const UNSUPPORTED_VERSION: i16 = 35;
const GROUP_ID_NOT_FOUND: i16 = 69;
const UNKNOWN_TOPIC_ID: i16 = 100;
const STALE_MEMBER_EPOCH: i16 = 113;

#[test]
fn every_version_commits_and_a_restart_keeps_it() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 11, &[]).await;
        let mut client = broker.client().await;
        for version in VERSIONS {
            let place = (i32::from(version), i64::from(version) * 100);
            assert_eq!(client.commit(version, "g", &topic, &[place]).await, [0], "v{version}");
        }
        assert_eq!(client.commit(9, "h", &topic, &[(0, 1), (11, 1)]).await, [0, 3]);
        let partitions: Vec<i32> = (0..11).collect();
        let expected: Vec<i64> = (0..11).map(|p| if p < 2 { -1 } else { 100 * p }).collect();
        assert_eq!(client.committed(9, "g", &topic, &partitions).await, expected);

        let broker = broker.restart().await;
        let mut client = broker.client().await;
        client.coordinator().await;
        assert_eq!(client.committed(9, "g", &topic, &partitions).await, expected);
        assert_eq!(client.committed(9, "h", &topic, &[0]).await, [1]);
        // Now from the store, and what came after it.
        assert_eq!(client.commit(10, "g", &topic, &[(0, 5)]).await, [0]);
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        client.coordinator().await;
        assert_eq!(client.committed(9, "g", &topic, &[0, 2]).await, [5, 200]);
    });
}

#[test]
fn metadata_and_epoch_are_kept() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 2, &[]).await;
        let mut client = broker.client().await;
        for version in VERSIONS {
            let mut request = commit_of("g", &topic, &[(0, 7), (1, 8)]);
            let partitions = &mut request.topics[0].partitions;
            partitions[0].committed_metadata = Some(text("wörds"));
            partitions[1].committed_metadata = None;
            if version >= 6 {
                partitions[0].committed_leader_epoch = 3;
            }
            let answer = client.commit_as(version, &request).await;
            assert_eq!(answer.topics[0].partitions.len(), 2);
            let found = client.fetch_offsets(9, "g", Some((&topic, &[0, 1]))).await;
            let found = &found.topics[0].partitions;
            assert_eq!(found[0].metadata.as_deref(), Some("wörds"));
            assert_eq!(found[0].committed_leader_epoch, if version >= 6 { 3 } else { -1 });
            assert_eq!((found[1].metadata.as_deref(), found[1].committed_offset), (Some(""), 8));
        }
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::with_groups(&[("KAFKA_OFFSET_METADATA_MAX_BYTES", "3")]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let unknown = Topic { name: "unknown", id: Uuid::from_bytes([7; 16]) };
        let mut client = broker.client().await;
        for version in VERSIONS {
            let code = if version >= 10 { UNKNOWN_TOPIC_ID } else { UNKNOWN_TOPIC_OR_PARTITION };
            assert_eq!(client.commit(version, "g", &unknown, &[(0, 1)]).await, [code]);
            let found = client.commit(version, "g", &topic, &[(-1, 1), (0, 1), (1, 1)]).await;
            assert_eq!(found, [UNKNOWN_TOPIC_OR_PARTITION, 0, UNKNOWN_TOPIC_OR_PARTITION]);

            let mut large = commit_of("g", &topic, &[(0, 2)]);
            large.topics[0].partitions[0].committed_metadata = Some(text("four"));
            let answer = client.commit_as(version, &large).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, OFFSET_METADATA_TOO_LARGE);
            assert_eq!(client.committed(9, "g", &topic, &[0]).await, [1], "it stays");

            let member = commit_of("nobody", &topic, &[(0, 1)])
                .with_generation_id_or_member_epoch(4)
                .with_member_id(text("m"));
            let code = if version >= 9 { GROUP_ID_NOT_FOUND } else { ILLEGAL_GENERATION };
            let answer = client.commit_as(version, &member).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, code);
        }
    });
}

#[test]
fn answers_name_the_topics_as_the_requests_do() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for version in VERSIONS {
            let mut request = commit_of("g", &topic, &[(0, 7)]);
            request.topics.push(OffsetCommitRequestTopic::default());
            let answer = client.commit_as(version, &request).await;
            assert_eq!(answer.topics.len(), 2);
            if version >= 10 {
                assert_eq!(answer.topics[0].topic_id, topic.id);
            } else {
                assert_eq!(answer.topics[0].name.as_str(), "t");
            }
        }
    });
}

#[test]
fn without_a_coordinator_nothing_is_stored() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for version in VERSIONS {
            let found = client.commit(version, "g", &topic, &[(0, 1)]).await;
            assert_eq!(found, [COORDINATOR_NOT_AVAILABLE]);
        }
    });
}

#[test]
fn members_commit_with_their_epoch() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        assert_eq!(call(&mut client, 1, &join("g", "m", &["t"])).await.member_epoch, 2);
        for version in 9..=10 {
            for (member, epoch, code) in [
                ("m", 2, 0),
                ("m", 1, STALE_MEMBER_EPOCH),
                ("m", 3, STALE_MEMBER_EPOCH),
                ("n", 1, UNKNOWN_MEMBER_ID),
                ("", -1, UNKNOWN_MEMBER_ID),
            ] {
                let request = commit_of("g", &topic, &[(0, 1)])
                    .with_generation_id_or_member_epoch(epoch)
                    .with_member_id(text(member));
                let answer = client.commit_as(version, &request).await;
                let found = answer.topics[0].partitions[0].error_code;
                assert_eq!(found, code, "{member} {epoch}");
            }
        }
        let old = commit_of("g", &topic, &[(0, 1)])
            .with_generation_id_or_member_epoch(2)
            .with_member_id(text("m"));
        let answer = client.commit_as(8, &old).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, UNSUPPORTED_VERSION);
    });
}

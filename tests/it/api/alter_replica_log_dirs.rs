//! AlterReplicaLogDirs.

use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest};

use crate::harness::records::Topic;
use crate::harness::{Broker, Client, batch, eventually, run, text, topic_name};

const TWO_DIRS: (&str, &str) = ("KAFKA_LOG_DIRS", "{dir}/one,{dir}/two");
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LOG_DIR_NOT_FOUND: i16 = 57;

/// The codes of one topic's partitions.
pub async fn alter(
    client: &mut Client,
    version: i16,
    dir: &str,
    topic: &str,
    partitions: &[i32],
) -> Vec<i16> {
    let topic = AlterReplicaLogDirTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(partitions.to_vec());
    let dir = AlterReplicaLogDir::default().with_path(text(dir)).with_topics(vec![topic]);
    let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]);
    let answer = client.call(version, &request).await.results.remove(0);
    answer.partitions.iter().map(|partition| partition.error_code).collect()
}

/// Has partition 0 moved to the other log dir of a broker; the one it is in, and that one.
pub async fn move_away(
    broker: &Broker,
    client: &mut Client,
    version: i16,
    topic: &str,
) -> (String, String) {
    let here = places(client, topic, 0).await.remove(0).0;
    let other = if here.ends_with("one") { "two" } else { "one" };
    let other = broker.dir.path().join(other).display().to_string();
    assert_eq!(alter(client, version, &other, topic, &[0]).await, [0]);
    (here, other)
}

/// In which log dirs a partition is: the path, and whether it is only on its way there.
pub async fn places(client: &mut Client, topic: &str, partition: i32) -> Vec<(String, bool)> {
    let all = DescribeLogDirsRequest::default().with_topics(None);
    let mut found = Vec::new();
    for dir in client.call(4, &all).await.results {
        for described in dir.topics.iter().filter(|described| described.name.as_str() == topic) {
            let replicas = described.partitions.iter();
            let replicas = replicas.filter(|replica| replica.partition_index == partition);
            found.extend(replicas.map(|replica| (dir.log_dir.to_string(), replica.is_future_key)));
        }
    }
    found
}

#[test]
fn every_version_moves_a_replica_and_its_records() {
    run(async {
        let broker = Broker::start_with(&[TWO_DIRS]).await;
        let mut client = broker.client().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        for number in 0..3 {
            assert_eq!(client.produce(&topic, batch::of(&[b"value"])).await.base_offset, number);
        }
        for version in [1, 2, 1] {
            let (here, other) = move_away(&broker, &mut client, version, "t").await;
            eventually(async || places(&mut client, "t", 0).await == [(other.clone(), false)])
                .await;
            assert!(!std::path::Path::new(&here).join("t-0").exists());
            // To where it is already.
            assert_eq!(alter(&mut client, version, &other, "t", &[0]).await, [0]);
            eventually(async || client.fetch(&topic, 2).await.error_code == 0).await;
            assert!(!client.fetch(&topic, 0).await.records.unwrap().is_empty());
            let end = client.fetch(&topic, 0).await.high_watermark;
            eventually(async || {
                client.produce(&topic, batch::of(&[b"more"])).await.error_code == 0
            })
            .await;
            assert!(client.fetch(&topic, 0).await.high_watermark > end);
        }
        broker.stop().await;
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start_with(&[TWO_DIRS]).await;
        let mut client = broker.client().await;
        Topic::create(&broker, "t", 2, &[]).await;
        let one = broker.dir.path().join("one").display().to_string();
        let nowhere = broker.dir.path().display().to_string();
        assert_eq!(alter(&mut client, 2, &nowhere, "t", &[0, 1]).await, [LOG_DIR_NOT_FOUND; 2]);
        assert_eq!(alter(&mut client, 2, &nowhere, "none", &[0]).await, [LOG_DIR_NOT_FOUND]);
        assert_eq!(alter(&mut client, 2, &one, "t", &[7]).await, [UNKNOWN_TOPIC_OR_PARTITION]);
        broker.stop().await;
    });
}

#[test]
fn a_log_dir_is_remembered_for_a_partition_that_is_not_there_yet() {
    run(async {
        let broker = Broker::start_with(&[TWO_DIRS]).await;
        let mut client = broker.client().await;
        let two = broker.dir.path().join("two").display().to_string();
        let wanted = [0, 1, 2];
        let told = alter(&mut client, 2, &two, "later", &wanted).await;
        assert_eq!(told, [UNKNOWN_TOPIC_OR_PARTITION; 3]);
        Topic::create(&broker, "later", 3, &[]).await;
        for partition in wanted {
            assert_eq!(places(&mut client, "later", partition).await, [(two.clone(), false)]);
        }
        broker.stop().await;
    });
}

const LIMIT: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

/// A topic of which a move takes an hour.
async fn topic_that_is_moved_slowly(broker: &Broker) -> Topic {
    let mut client = broker.client().await;
    client.set_config((4, "1"), LIMIT, "1000").await;
    // What opens this topic has seen the limit before.
    let topic = Topic::create(broker, "t", 1, &[]).await;
    let value = vec![b'x'; 900_000];
    for _ in 0..4 {
        assert_eq!(client.produce(&topic, batch::of(&[&value])).await.error_code, 0);
    }
    topic
}

#[test]
fn a_move_goes_on_after_a_restart() {
    run(async {
        let broker = Broker::start_with(&[TWO_DIRS]).await;
        let topic = topic_that_is_moved_slowly(&broker).await;
        let mut client = broker.client().await;
        let (here, other) = move_away(&broker, &mut client, 2, "t").await;
        let broker = broker.restart_with(&[TWO_DIRS]).await;
        let mut client = broker.client().await;
        let mut both = [(here, false), (other.clone(), true)];
        both.sort();
        eventually(async || places(&mut client, "t", 0).await == both).await;
        client.set_config((4, "1"), LIMIT, "1000000000").await;
        eventually(async || places(&mut client, "t", 0).await == [(other.clone(), false)]).await;
        eventually(async || client.fetch(&topic, 3).await.high_watermark == 4).await;
        // It is over for good.
        let broker = broker.restart_with(&[TWO_DIRS]).await;
        let mut client = broker.client().await;
        eventually(async || client.fetch(&topic, 3).await.error_code == 0).await;
        assert_eq!(places(&mut client, "t", 0).await, [(other, false)]);
        broker.stop().await;
    });
}

#[test]
fn a_move_is_told_is_limited_and_can_be_taken_back() {
    run(async {
        let broker = Broker::start_with(&[TWO_DIRS]).await;
        let topic = topic_that_is_moved_slowly(&broker).await;
        let mut client = broker.client().await;
        let (here, other) = move_away(&broker, &mut client, 2, "t").await;
        let mut both = [(here.clone(), false), (other.clone(), true)];
        both.sort();
        assert_eq!(places(&mut client, "t", 0).await, both);
        assert_eq!(client.produce(&topic, batch::of(&[b"meanwhile"])).await.error_code, 0);
        assert_eq!(alter(&mut client, 2, &here, "t", &[0]).await, [0]);
        assert_eq!(places(&mut client, "t", 0).await, [(here.clone(), false)]);
        eventually(async || {
            let names = std::fs::read_dir(&other).unwrap();
            let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            !names.any(|name| name.starts_with("t-0"))
        })
        .await;
        assert_eq!(client.produce(&topic, batch::of(&[b"after"])).await.error_code, 0);
        broker.stop().await;
    });
}

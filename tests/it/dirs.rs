//! Several log dirs, one of which fails: its partitions are offline, all others are served.

use std::path::Path;
use std::sync::Arc;

use kafka_protocol::messages::DescribeLogDirsRequest;

use crate::api::alter_replica_log_dirs::{move_away, places};
use crate::harness::cluster::Cluster;
use crate::harness::records::Topic;
use crate::harness::scarce::{self, ScarceDisk};
use crate::harness::{Broker, Client, batch, eventually, run};

const STORAGE_ERROR: i16 = 56;
const NOT_LEADER: i16 = 6;
const TWO_DIRS: (&str, &str) = ("KAFKA_LOG_DIRS", "{dir}/one,{dir}/two");
const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

async fn codes(client: &mut Client) -> Vec<(String, i16, usize)> {
    let all = DescribeLogDirsRequest::default().with_topics(None);
    let dirs = client.call(4, &all).await.results.into_iter();
    let name = |path: &str| Path::new(path).file_name().unwrap().to_string_lossy().into_owned();
    dirs.map(|dir| (name(&dir.log_dir), dir.error_code, dir.topics.len())).collect()
}

async fn is_served(client: &mut Client, topic: &Topic) -> bool {
    let data = client.fetch(topic, 0).await;
    data.error_code == 0 && !data.records.unwrap_or_default().is_empty()
}

async fn topics_with_a_value(broker: &Broker) -> Vec<Topic> {
    let (mut client, mut topics) = (broker.client().await, Vec::new());
    for name in TOPICS {
        let topic = Topic::create(broker, name, 1, &[]).await;
        assert_eq!(client.produce(&topic, batch::of(&[b"value"])).await.error_code, 0);
        topics.push(topic);
    }
    topics
}

/// Those with their partition in a log dir, and the others.
fn split(topics: Vec<Topic>, dir: &Path) -> (Vec<Topic>, Vec<Topic>) {
    topics.into_iter().partition(|topic| dir.join(format!("{}-0", topic.name)).exists())
}

#[test]
fn a_log_dir_that_fails_takes_only_its_partitions_offline() {
    run(async {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let paths = ["one", "two"].map(|name| dir.path().join(name));
        let list = format!("{},{}", paths[0].display(), paths[1].display());
        let settings = [("KAFKA_LOG_DIRS", list.as_str())];
        let broker = Broker::start_in(Arc::clone(&dir), &settings).await;
        let mut client = broker.client().await;
        let topics = topics_with_a_value(&broker).await;
        let both = [("one".to_owned(), 0, 2), ("two".to_owned(), 0, 2)];
        assert_eq!(codes(&mut client).await, both);
        broker.stop().await;

        // Its disk is gone: what is in its place is no folder.
        let kept = dir.path().join("kept");
        std::fs::rename(&paths[1], &kept).unwrap();
        std::fs::write(&paths[1], b"").unwrap();
        let broker = Broker::start_in(Arc::clone(&dir), &settings).await;
        let mut client = broker.client().await;
        eventually(async || {
            let mut served = 0;
            for topic in &topics {
                served += usize::from(is_served(&mut client, topic).await);
            }
            served == 2
        })
        .await;
        let one = [("one".to_owned(), 0, 2), ("two".to_owned(), STORAGE_ERROR, 0)];
        assert_eq!(codes(&mut client).await, one);
        for topic in &topics {
            let is_here = paths[0].join(format!("{}-0", topic.name)).exists();
            assert_eq!(is_served(&mut client, topic).await, is_here);
            let produced = client.produce(topic, batch::of(&[b"more"])).await.error_code;
            assert_eq!(produced == 0, is_here, "{produced}");
        }
        // New partitions go where there is a place.
        let new = Topic::create(&broker, "new", 2, &[]).await;
        assert_eq!(client.produce(&new, batch::of(&[b"value"])).await.error_code, 0);
        broker.stop().await;

        std::fs::remove_file(&paths[1]).unwrap();
        std::fs::rename(&kept, &paths[1]).unwrap();
        let broker = Broker::start_in(Arc::clone(&dir), &settings).await;
        let mut client = broker.client().await;
        for topic in &topics {
            eventually(async || is_served(&mut client, topic).await).await;
        }
        assert!(codes(&mut client).await.iter().all(|(_, code, _)| *code == 0));
        broker.stop().await;
    });
}

#[test]
fn a_log_dir_that_fails_while_the_broker_runs_takes_all_its_partitions_offline_at_once() {
    run(async {
        let disk = ScarceDisk::default();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let settings = [TWO_DIRS, ("OTTLA_METRICS_LISTENER", "127.0.0.1:0")];
        let broker = Broker::start_on(disk.env(), Arc::clone(&dir), &settings).await;
        let mut client = broker.client().await;
        let topics = topics_with_a_value(&broker).await;
        let two = dir.path().join("two");
        let (lost, kept) = split(topics, &two);
        assert_eq!((lost.len(), kept.len()), (2, 2));

        // Only one of them is written to.
        disk.break_dir(&two);
        let refused = client.produce(&lost[0], batch::of(&[b"lost"])).await.error_code;
        assert!([STORAGE_ERROR, NOT_LEADER].contains(&refused), "{refused}");
        for topic in &lost {
            eventually(async || client.fetch(topic, 0).await.error_code == STORAGE_ERROR).await;
            let refused = client.produce(topic, batch::of(&[b"lost"])).await.error_code;
            assert_eq!(refused, STORAGE_ERROR);
            let told = client.topic(topic.name).await.partitions.remove(0);
            assert_eq!((told.leader_id.0, told.offline_replicas.len()), (-1, 1));
        }
        let one = [("one".to_owned(), 0, 2), ("two".to_owned(), STORAGE_ERROR, 0)];
        assert_eq!(codes(&mut client).await, one);
        assert!(broker.scrape().await.contains("ottla_log_dirs_offline 1"));
        for topic in &kept {
            assert!(is_served(&mut client, topic).await);
            assert_eq!(client.produce(topic, batch::of(&[b"more"])).await.error_code, 0);
        }
        // New partitions go where there is a place, and old ones can be deleted.
        let new = Topic::create(&broker, "new", 2, &[]).await;
        assert_eq!(client.produce(&new, batch::of(&[b"value"])).await.error_code, 0);
        assert!(!two.join("new-0").exists() && !two.join("new-1").exists());
        broker.stop().await;

        disk.repair();
        let broker = Broker::start_on(disk.env(), Arc::clone(&dir), &settings).await;
        let mut client = broker.client().await;
        for topic in lost.iter().chain(&kept) {
            eventually(async || is_served(&mut client, topic).await).await;
            assert_eq!(client.produce(topic, batch::of(&[b"again"])).await.error_code, 0);
        }
        assert!(codes(&mut client).await.iter().all(|(_, code, _)| *code == 0));
        broker.stop().await;
    });
}

#[test]
fn a_broker_whose_first_log_dir_fails_can_not_go_on() {
    run(async {
        let disk = ScarceDisk::default();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let broker = Broker::start_on(disk.env(), Arc::clone(&dir), &[TWO_DIRS]).await;
        let mut client = broker.client().await;
        let topics =
            [Topic::create(&broker, "a", 1, &[]).await, Topic::create(&broker, "b", 1, &[]).await];
        disk.break_dir(&dir.path().join("one"));
        for topic in &topics {
            client.produce(topic, batch::of(&[b"value"])).await;
        }
        assert!(broker.failed().await.contains("first log dir"));
        broker.stop().await;
    });
}

#[test]
fn others_lead_what_is_in_a_failed_log_dir() {
    run(async {
        let (disks, mut cluster) = scarce::cluster(&[TWO_DIRS]).await;
        let mut topics = Vec::new();
        for name in ["a", "b", "c", "d", "e", "f"] {
            topics.push(Topic::create(cluster.broker(1), name, 1, &[]).await);
        }
        // The node leads some of those in the dir that fails; only one of them is written to.
        let two = cluster.broker(1).dir.path().join("two");
        let (lost, kept) = split(topics, &two);
        assert!(!lost.is_empty() && !kept.is_empty());
        disks[0].break_dir(&two);
        let mut client = cluster.client(2).await;
        let leader = cluster.leader(lost[0].name, 0).await;
        cluster.client(leader).await.produce(&lost[0], batch::of(&[b"value"])).await;
        for topic in &lost {
            let leader = cluster.leader(topic.name, 1).await;
            let mut there = cluster.client(leader).await;
            eventually(async || there.produce(topic, batch::of(&[b"value"])).await.error_code == 0)
                .await;
            // The replica there is out of sync, and its node says that it is offline.
            eventually(async || {
                let told = client.topic(topic.name).await.partitions.remove(0);
                !told.isr_nodes.iter().any(|node| node.0 == 1)
            })
            .await;
            let mut failed = cluster.client(1).await;
            let told = failed.topic(topic.name).await.partitions.remove(0);
            assert!(told.offline_replicas.iter().any(|node| node.0 == 1));
        }
        for topic in &kept {
            eventually(async || {
                client.topic(topic.name).await.partitions.remove(0).isr_nodes.len() == 3
            })
            .await;
        }
        cluster.stop().await;
    });
}

/// Has partition 0 moved to the other log dir of a broker, and writes to it until it is there; the
/// offsets and values that were acknowledged.
async fn move_under_load(broker: &Broker, topic: &Topic, round: usize) -> Vec<(i64, String)> {
    let mut client = broker.client().await;
    let mut writer = broker.client().await;
    let mut acknowledged = Vec::new();
    let (_, other) = move_away(broker, &mut client, 2, topic.name).await;
    eventually(async || {
        for _ in 0..20 {
            let value = format!("round {round} number {}", acknowledged.len());
            let answer = writer.produce(topic, batch::of(&[value.as_bytes()])).await;
            match answer.error_code {
                0 => acknowledged.push((answer.base_offset, value)),
                code => assert!([STORAGE_ERROR, NOT_LEADER].contains(&code), "{code}"),
            }
        }
        places(&mut client, topic.name, 0).await == [(other.clone(), false)]
    })
    .await;
    acknowledged
}

async fn has_all(client: &mut Client, topic: &Topic, acknowledged: &[(i64, String)]) {
    for (offset, value) in acknowledged {
        eventually(async || client.fetch(topic, *offset).await.error_code == 0).await;
        let records = client.fetch(topic, *offset).await.records.unwrap_or_default();
        let first = &records[..records.len().min(200)];
        let is_there = first.windows(value.len()).any(|part| part == value.as_bytes());
        assert!(is_there, "{value} is not at {offset}");
    }
}

#[test]
fn a_replica_moves_between_log_dirs_under_load() {
    run(async {
        let configs = [("internal.segment.bytes", "10000")];
        let mut broker = Broker::start_with(&[TWO_DIRS]).await;
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let mut acknowledged = Vec::new();
        for round in 0..3 {
            acknowledged.extend(move_under_load(&broker, &topic, round).await);
            let mut client = broker.client().await;
            has_all(&mut client, &topic, &acknowledged).await;
            broker = broker.restart_with(&[TWO_DIRS]).await;
            has_all(&mut broker.client().await, &topic, &acknowledged).await;
        }
        assert!(acknowledged.len() > 3);
        broker.stop().await;
    });
}

#[test]
fn the_replica_of_a_leader_moves_between_its_log_dirs() {
    run(async {
        let settings = [
            TWO_DIRS,
            ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3"),
            ("KAFKA_MIN_INSYNC_REPLICAS", "2"),
        ];
        let mut cluster = Cluster::start_with(3, &settings).await;
        let topic = Topic::create(cluster.broker(1), "t", 1, &[]).await;
        let leader = cluster.leader("t", 0).await;
        for node in [leader, leader % 3 + 1] {
            let broker = cluster.broker(node);
            let mut client = broker.client().await;
            let (_, other) = move_away(broker, &mut client, 2, "t").await;
            eventually(async || places(&mut client, "t", 0).await == [(other.clone(), false)])
                .await;
            eventually(async || {
                let leads = cluster.leader("t", 0).await;
                let mut client = cluster.client(leads).await;
                client.produce(&topic, batch::of(&[b"value"])).await.error_code == 0
            })
            .await;
            eventually(async || client.topic("t").await.partitions.remove(0).isr_nodes.len() == 3)
                .await;
        }
        cluster.stop().await;
    });
}

#[test]
fn the_last_folder_of_a_replica_is_kept_whatever_has_become_of_the_other() {
    run(async {
        let broker = Broker::start_with(&[TWO_DIRS]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        assert_eq!(client.produce(&topic, batch::of(&[b"value"])).await.error_code, 0);
        let (here, other) = move_away(&broker, &mut client, 2, "t").await;
        eventually(async || places(&mut client, "t", 0).await == [(other.clone(), false)]).await;
        let dir = broker.stop().await;
        let (old, new) = (Path::new(&here).join("t-0"), Path::new(&other).join("t-0"));
        std::fs::rename(&new, &old).unwrap();
        let broker = Broker::start_in(dir, &[TWO_DIRS]).await;
        let mut client = broker.client().await;
        eventually(async || client.fetch(&topic, 0).await.error_code == STORAGE_ERROR).await;
        let dir = broker.stop().await;
        std::fs::rename(&old, &new).unwrap();
        let broker = Broker::start_in(dir, &[TWO_DIRS]).await;
        let mut client = broker.client().await;
        eventually(async || is_served(&mut client, &topic).await).await;
        broker.stop().await;
    });
}

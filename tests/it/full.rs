//! A log dir without room: records are refused, everything else goes on, and it heals by itself.

use std::sync::Arc;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{DeleteTopicsRequest, ProduceRequest};

use crate::harness::offsets::{SETTINGS, commit_of};
use crate::harness::records::{PRODUCE, Topic, produce};
use crate::harness::scarce::{self, ScarceDisk};
use crate::harness::{Broker, Client, batch, eventually, run, topic_name};

const NOT_LEADER: i16 = 6;
const NOT_ENOUGH: i16 = 19;
const NOT_ENOUGH_AFTER_APPEND: i16 = 20;
const STORAGE_ERROR: i16 = 56;

#[test]
fn a_full_broker_refuses_records_until_there_is_room_again() {
    run(async {
        let disk = ScarceDisk::default();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let broker = Broker::start_on(disk.env(), dir, SETTINGS).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        client.coordinator().await;
        let produce = async |client: &mut Client| {
            client.produce(&topic, batch::of(&[b"value"])).await.error_code
        };
        assert_eq!(produce(&mut client).await, 0);
        assert_eq!(client.commit(9, "g", &topic, &[(0, 1)]).await, [0]);
        disk.fill(true);
        eventually(async || produce(&mut client).await == STORAGE_ERROR).await;
        let end = client.fetch(&topic, 0).await.high_watermark;
        for _ in 0..20 {
            assert_eq!(produce(&mut client).await, STORAGE_ERROR);
        }
        // Consumers go on, and so does metadata.
        let data = client.fetch(&topic, 0).await;
        assert_eq!((data.error_code, data.high_watermark), (0, end));
        assert!(!data.records.unwrap_or_default().is_empty());
        assert_eq!(client.committed(9, "g", &topic, &[0]).await, [1]);
        Topic::create(&broker, "another", 3, &[]).await;
        assert_ne!(client.commit(9, "g", &topic, &[(0, 2)]).await, [0]);

        disk.fill(false);
        eventually(async || produce(&mut client).await == 0).await;
        assert_eq!(client.fetch(&topic, end).await.high_watermark, end + 1);
        eventually(async || client.commit(9, "g", &topic, &[(0, 3)]).await == [0]).await;
        assert_eq!(client.committed(9, "g", &topic, &[0]).await, [3]);
        broker.stop().await;
    });
}

#[test]
fn a_full_follower_waits_while_the_others_go_on() {
    run(async {
        let (disks, mut cluster) = scarce::cluster(&[]).await;
        let topic = Topic::create(cluster.broker(1), "t", 1, &[]).await;
        let leader = cluster.leader("t", 0).await;
        let mut client = cluster.client(leader).await;
        assert_eq!(client.produce(&topic, batch::of(&[b"before"])).await.error_code, 0);
        let full = leader % 3 + 1;
        let in_sync = async |client: &mut Client| {
            let told = client.topic("t").await.partitions.remove(0);
            told.isr_nodes.iter().any(|node| usize::try_from(node.0) == Ok(full))
        };
        eventually(async || in_sync(&mut client).await).await;
        disks[full - 1].fill(true);
        let mut count = 0;
        eventually(async || {
            // On a busy machine the third one may be late as well, for a moment.
            let code = client.produce(&topic, batch::of(&[b"meanwhile"])).await.error_code;
            assert!([0, NOT_ENOUGH, NOT_ENOUGH_AFTER_APPEND].contains(&code), "{code}");
            count += i64::from(code == 0);
            count > 0 && !in_sync(&mut client).await
        })
        .await;
        let size = async |node: usize| {
            let file = "data/t-0/00000000000000000000.log";
            std::fs::metadata(cluster.broker(node).dir.path().join(file)).unwrap().len()
        };
        assert!(size(full).await < size(leader).await);
        disks[full - 1].fill(false);
        eventually(async || in_sync(&mut client).await).await;
        eventually(async || size(full).await == size(leader).await).await;
        assert!(client.fetch(&topic, 0).await.high_watermark > count);
        cluster.stop().await;
    });
}

/// Sends a batch to partition 0 without waiting for the answer; the id of the request.
async fn begin(client: &mut Client, topic: &Topic) -> i32 {
    client.send(PRODUCE, &produce(vec![topic.produce(&[(0, batch::of(&[b"waits"]))])])).await
}

async fn end(client: &mut Client, id: i32) -> i16 {
    let mut answer = client.receive::<ProduceRequest>(PRODUCE, id).await;
    answer.responses.remove(0).partition_responses.remove(0).error_code
}

/// Does not wait for long.
async fn produce_now(client: &mut Client, topic: &Topic) -> i16 {
    let request = produce(vec![topic.produce(&[(0, batch::of(&[b"now"]))])]).with_timeout_ms(50);
    let mut answer = client.call(PRODUCE, &request).await;
    answer.responses.remove(0).partition_responses.remove(0).error_code
}

async fn delete_topic(client: &mut Client, name: &str) {
    let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
    assert_eq!(client.call(6, &request).await.responses[0].error_code, 0);
}

/// A broker with groups and metrics on a disk of its own.
async fn scarce_broker() -> (ScarceDisk, Broker) {
    let (disk, dir) = (ScarceDisk::default(), Arc::new(tempfile::tempdir().unwrap()));
    let settings = [SETTINGS, &[("OTTLA_METRICS_LISTENER", "127.0.0.1:0")]].concat();
    let broker = Broker::start_on(disk.env(), dir, &settings).await;
    (disk, broker)
}

/// Waits until the metrics say that there is no room.
async fn told_full(broker: &Broker) {
    let is_full = format!("dir=\"{}\"}} 1", broker.dir.path().join("data").display());
    eventually(async || broker.scrape().await.contains(&is_full)).await;
}

#[test]
fn what_finds_no_room_is_written_when_there_is_some() {
    run(async {
        let (disk, broker) = scarce_broker().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let gone = Topic::create(&broker, "gone", 1, &[]).await;
        let mut client = broker.client().await;
        assert_eq!(client.produce(&topic, batch::of(&[b"before"])).await.error_code, 0);
        // Somebody else takes all there is, whatever was to be kept.
        disk.use_up(true);
        let (mut waits, mut lost) = (broker.client().await, broker.client().await);
        let waiting = begin(&mut waits, &topic).await;
        told_full(&broker).await;
        assert_eq!(produce_now(&mut client, &topic).await, STORAGE_ERROR);
        begin(&mut lost, &gone).await;
        let mut offset = 0;
        while !client.fetch(&topic, offset).await.records.unwrap_or_default().is_empty() {
            offset += 1;
        }
        assert_eq!(offset, 1, "nothing is acknowledged or shown that is not written");
        // What frees room goes on.
        delete_topic(&mut client, "gone").await;
        let gone = broker.dir.path().join("data/gone-0");
        eventually(async || !gone.exists()).await;
        // So does a partition that is made meanwhile, later.
        Topic::create(&broker, "made", 1, &[]).await;
        disk.use_up(false);
        assert_eq!(end(&mut waits, waiting).await, 0);
        eventually(async || client.produce(&topic, batch::of(&[b"after"])).await.error_code == 0)
            .await;
        let made = Topic { name: "made", id: client.topic("made").await.topic_id };
        eventually(async || client.produce(&made, batch::of(&[b"value"])).await.error_code == 0)
            .await;
        let before = client.fetch(&topic, 0).await;
        let dir = broker.stop().await;
        let broker = Broker::start_on(disk.env(), dir, SETTINGS).await;
        let mut client = broker.client().await;
        eventually(async || client.fetch(&topic, 0).await.records == before.records).await;
        broker.stop().await;
    });
}

#[test]
fn a_broker_without_room_stops() {
    run(async {
        let disk = ScarceDisk::default();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let broker = Broker::start_on(disk.env(), Arc::clone(&dir), SETTINGS).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        assert_eq!(client.produce(&topic, batch::of(&[b"kept"])).await.error_code, 0);
        disk.use_up(true);
        begin(&mut client, &topic).await;
        let mut other = broker.client().await;
        eventually(async || produce_now(&mut other, &topic).await == STORAGE_ERROR).await;
        broker.stop().await;
        disk.use_up(false);
        let broker = Broker::start_on(disk.env(), dir, SETTINGS).await;
        let mut client = broker.client().await;
        eventually(async || client.produce(&topic, batch::of(&[b"more"])).await.error_code == 0)
            .await;
        assert!(client.fetch(&topic, 0).await.high_watermark >= 2);
        broker.stop().await;
    });
}

#[test]
fn a_broker_stops_while_offsets_wait_for_room() {
    run(async {
        let (disk, broker) = scarce_broker().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        client.coordinator().await;
        assert_eq!(client.commit(9, "g", &topic, &[(0, 1)]).await, [0]);
        disk.use_up(true);
        let commit = commit_of("g", &topic, &[(0, 2)]);
        client.send(9, &commit).await;
        told_full(&broker).await;
        let dir = broker.stop().await;
        disk.use_up(false);
        let broker = Broker::start_on(disk.env(), dir, SETTINGS).await;
        let mut client = broker.client().await;
        client.coordinator().await;
        eventually(async || client.committed(9, "g", &topic, &[0]).await >= vec![1]).await;
        broker.stop().await;
    });
}

#[test]
fn a_leader_without_room_hands_over_to_one_that_has_some() {
    run(async {
        let (disks, mut cluster) = scarce::cluster(&[]).await;
        let topic = Topic::create(cluster.broker(1), "t", 1, &[]).await;
        let first = cluster.leader("t", 0).await;
        let mut client = cluster.client(first).await;
        assert_eq!(client.produce(&topic, batch::of(&[b"before"])).await.error_code, 0);
        disks[first - 1].use_up(true);
        let waiting = begin(&mut client, &topic).await;
        let next = cluster.leader("t", first).await;
        // The others have it, so it counts.
        // But whoever has sent it may hear that this one does not lead any more, or can not write.
        let told = end(&mut client, waiting).await;
        let may_be = [0, NOT_LEADER, NOT_ENOUGH_AFTER_APPEND, STORAGE_ERROR];
        assert!(may_be.contains(&told), "{told}");
        let mut client = cluster.client(next).await;
        eventually(async || client.produce(&topic, batch::of(&[b"after"])).await.error_code == 0)
            .await;
        disks[first - 1].use_up(false);
        eventually(async || {
            let told = client.topic("t").await.partitions.remove(0);
            told.isr_nodes.len() == 3
        })
        .await;
        cluster.stop().await;
    });
}

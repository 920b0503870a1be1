//! Several requests in flight on one connection.

use bytes::Bytes;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ListOffsetsRequest, MetadataRequest, ProduceRequest};

use crate::harness::records::{PRODUCE, Topic, produce};
use crate::harness::{Broker, batch, frame, run, topic_name};

fn append(topic: &Topic, records: Bytes) -> ProduceRequest {
    produce(vec![topic.produce(&[(0, records)])])
}

#[test]
fn answers_come_in_order() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let mut ids = Vec::new();
        for sequence in 0..100 {
            let record = batch::with(&[b"a"], (1, 0, sequence), 1_700_000_000_000);
            let acks = if sequence % 3 == 0 { 1 } else { -1 };
            ids.push(client.send(PRODUCE, &append(&topic, record).with_acks(acks)).await);
        }
        for (offset, id) in (0..).zip(ids) {
            let answer = client.receive::<ProduceRequest>(PRODUCE, id).await;
            let partition = &answer.responses[0].partition_responses[0];
            assert_eq!((partition.error_code, partition.base_offset), (0, offset));
        }
    });
}

#[test]
fn a_request_sees_what_was_asked_for_before_it() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let latest = ListOffsetsPartition::default().with_timestamp(-1);
        let latest =
            ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![latest]);
        let latest = ListOffsetsRequest::default().with_topics(vec![latest]);
        let mut client = broker.client().await;
        let one = append(&topic, batch::of(&[b"a"]));
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push((
                client.send(PRODUCE, &one).await,
                client.send(PRODUCE, &one).await,
                client.send(1, &latest).await,
                client.send(1, &MetadataRequest::default()).await,
            ));
        }
        for (round, (first, second, latest, metadata)) in (1..).zip(ids) {
            client.receive::<ProduceRequest>(PRODUCE, first).await;
            client.receive::<ProduceRequest>(PRODUCE, second).await;
            let latest = client.receive::<ListOffsetsRequest>(1, latest).await;
            assert_eq!(latest.topics[0].partitions[0].offset, 2 * round);
            client.receive::<MetadataRequest>(1, metadata).await;
        }
    });
}

#[test]
fn frames_may_arrive_in_one_piece_or_byte_by_byte() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let one = append(&topic, batch::of(&[b"a"]));
        let frames: Vec<Bytes> = (0..5).map(|id| frame(id, PRODUCE, &one)).collect();
        client.send_raw(&frames.concat()).await;
        for byte in frames.concat() {
            client.send_raw(&[byte]).await;
        }
        for (offset, id) in (0..5).chain(0..5).enumerate() {
            let answer = client.receive::<ProduceRequest>(PRODUCE, id).await;
            let found = answer.responses[0].partition_responses[0].base_offset;
            assert_eq!(found, i64::try_from(offset).unwrap());
        }
    });
}

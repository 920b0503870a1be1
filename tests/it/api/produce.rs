//! Produce.

mod idempotent;
mod pipelining;
mod refused;

use kafka_protocol::messages::ProduceRequest;
use uuid::Uuid;

use crate::harness::records::{PRODUCE, Topic, produce};
use crate::harness::{Broker, batch, run};

#[test]
fn every_version_appends_by_name_or_id() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for version in 3..=PRODUCE {
            let request = produce(vec![topic.produce(&[(0, batch::of(&[b"a", b"b"]))])]);
            let answer = client.call(version, &request).await;
            let of_topic = &answer.responses[0];
            assert_eq!(of_topic.name.as_str(), if version < 13 { "t" } else { "" });
            assert_eq!(of_topic.topic_id, if version < 13 { Uuid::nil() } else { topic.id });
            let partition = &of_topic.partition_responses[0];
            assert_eq!((partition.index, partition.error_code), (0, 0), "v{version}");
            assert_eq!(partition.base_offset, i64::from(version - 3) * 2);
            assert_eq!(partition.log_append_time_ms, -1);
            assert_eq!(partition.log_start_offset, if version < 5 { -1 } else { 0 });
        }
    });
}

#[test]
fn the_versions_that_are_advertised_only_end_the_connection() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        for version in 0..=2i16 {
            let request = produce(vec![topic.produce(&[(0, batch::of(&[b"a"]))])]);
            let mut frame = crate::harness::frame(1, 3, &request).to_vec();
            frame[6..8].copy_from_slice(&version.to_be_bytes());
            let mut client = broker.client().await;
            client.send_raw(&frame).await;
            assert_eq!(client.receive_frame().await, None);
        }
    });
}

#[test]
fn each_kind_of_acks_appends() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let one = || produce(vec![topic.produce(&[(0, batch::of(&[b"a"]))])]);
        // No answer; the next one on the connection belongs to the next request.
        client.send(PRODUCE, &one().with_acks(0)).await;
        for (acks, base_offset) in [(1, 1), (-1, 2)] {
            let answer = client.call(PRODUCE, &one().with_acks(acks)).await;
            let partition = &answer.responses[0].partition_responses[0];
            assert_eq!((partition.error_code, partition.base_offset), (0, base_offset));
        }
        assert_eq!(client.fetch(&topic, 0).await.high_watermark, 3);
    });
}

#[test]
fn other_acks_are_refused() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for acks in [2, -2, i16::MAX] {
            let request = produce(vec![topic.produce(&[(0, batch::of(&[b"a"]))])]);
            let answer = client.call(PRODUCE, &request.with_acks(acks)).await;
            let code = answer.responses[0].partition_responses[0].error_code;
            assert_eq!(code, 21, "INVALID_REQUIRED_ACKS");
        }
        assert_eq!(client.fetch(&topic, 0).await.high_watermark, 0);
    });
}

#[test]
fn an_error_without_acks_ends_the_connection() {
    run(async {
        let broker = Broker::start().await;
        let unknown = Topic { name: "unknown", id: Uuid::from_bytes([7; 16]) };
        let mut client = broker.client().await;
        let request = produce(vec![unknown.produce(&[(0, batch::of(&[b"a"]))])]);
        client.send(PRODUCE, &request.with_acks(0)).await;
        assert_eq!(client.receive_frame().await, None);
    });
}

#[test]
fn each_partition_is_answered_in_its_place() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 2, &[]).await;
        let unknown = Topic { name: "unknown", id: Uuid::from_bytes([7; 16]) };
        let mut client = broker.client().await;
        for (version, of_unknown_topic) in [(12, 3), (13, 100)] {
            let a = || batch::of(&[b"a"]);
            let request = produce(vec![
                unknown.produce(&[(0, a())]),
                topic.produce(&[(1, a()), (2, a()), (-1, a()), (0, a())]),
            ]);
            let answer = client.call(version, &request).await;
            assert_eq!(codes(&answer.responses[0].partition_responses), [(0, of_unknown_topic)]);
            let expected = [(1, 0), (2, 3), (-1, 3), (0, 0)];
            assert_eq!(codes(&answer.responses[1].partition_responses), expected);
        }
    });
}

fn codes(
    partitions: &[kafka_protocol::messages::produce_response::PartitionProduceResponse],
) -> Vec<(i32, i16)> {
    partitions.iter().map(|partition| (partition.index, partition.error_code)).collect()
}

#[test]
fn the_broker_sets_the_time_where_that_is_wanted() {
    run(async {
        let broker = Broker::start().await;
        let configs = [("message.timestamp.type", "LogAppendTime")];
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let mut client = broker.client().await;
        let answer = client.produce(&topic, batch::of(&[b"a", b"b"])).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, 0));
        let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let age_ms = i64::try_from(now_ms).unwrap() - answer.log_append_time_ms;
        assert!((0..60_000).contains(&age_ms), "{age_ms} ms old");

        let (_, own) = batch::parts(client.fetch(&topic, 0).await.records).remove(0);
        assert_eq!(own[6] & 0x08, 0x08, "the attribute of LogAppendTime");
        assert_eq!(own[19..27], answer.log_append_time_ms.to_be_bytes(), "the largest timestamp");
    });
}

#[test]
fn records_outlive_a_restart() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let sent = [batch::of(&[b"a", b"b"]), batch::of(&[b"c"])];
        let mut client = broker.client().await;
        for batch in &sent {
            assert_eq!(client.produce(&topic, batch.clone()).await.error_code, 0);
        }
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        let fetched = client.fetch(&topic, 0).await;
        let expected = [(0, batch::own(&sent[0])), (2, batch::own(&sent[1]))];
        assert_eq!(fetched.high_watermark, 3);
        assert_eq!(batch::parts(fetched.records), expected);
        assert_eq!(client.produce(&topic, batch::of(&[b"d"])).await.base_offset, 3);
    });
}

#[test]
fn a_request_without_topics_is_answered() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in [3, PRODUCE] {
            let empty = ProduceRequest::default().with_acks(-1);
            assert_eq!(client.call(version, &empty).await.responses.len(), 0);
        }
    });
}

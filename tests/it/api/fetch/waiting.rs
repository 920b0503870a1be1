//! Fetches that park until there is something, or until their time is over.

use std::time::{Duration, Instant};

use kafka_protocol::messages::{FetchRequest, MetadataRequest};

use crate::harness::records::{FETCH, Topic, fetch};
use crate::harness::{Broker, batch, run};

const LONG_MS: i32 = 30_000;
const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_record_wakes_a_parked_fetch() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 2, &[]).await;
        let mut producer = broker.client().await;
        let mut consumer = broker.client().await;
        for (offset, version) in (0..).zip([4, 12, 13, FETCH]) {
            let begun = Instant::now();
            let request = fetch(vec![topic.fetch(&[(1, 0), (0, offset)])]);
            let id = consumer.send(version, &request.with_max_wait_ms(LONG_MS)).await;
            producer.produce(&topic, batch::of(&[b"a"])).await;
            let answer = consumer.receive::<FetchRequest>(version, id).await;
            assert!(begun.elapsed() < LONG, "not woken");
            let found = answer.responses[0].partitions[1].clone();
            assert_eq!(batch::parts(found.records)[0].0, offset);
        }
    });
}

#[test]
fn it_waits_for_as_many_bytes_as_are_wanted() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let batch = batch::of(&[&[b'x'; 1_000]]);
        let min_bytes = i32::try_from(3 * batch.len()).unwrap();
        let (mut producer, mut consumer) = (broker.client().await, broker.client().await);
        let begun = Instant::now();
        let request = fetch(vec![topic.fetch(&[(0, 0)])]).with_min_bytes(min_bytes);
        let id = consumer.send(FETCH, &request.with_max_wait_ms(LONG_MS)).await;
        for _ in 0..3 {
            producer.produce(&topic, batch.clone()).await;
        }
        let answer = consumer.receive::<FetchRequest>(FETCH, id).await;
        assert!(begun.elapsed() < LONG, "not woken");
        assert_eq!(batch::parts(answer.responses[0].partitions[0].records.clone()).len(), 3);
    });
}

#[test]
fn the_wait_ends_with_what_there_is() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        client.produce(&topic, batch::of(&[b"a"])).await;
        for (offset, count) in [(0, 1), (1, 0)] {
            let begun = Instant::now();
            let request = fetch(vec![topic.fetch(&[(0, offset)])]).with_max_wait_ms(200);
            let answer = client.call(FETCH, &request.with_min_bytes(1_000)).await;
            assert!(begun.elapsed() >= Duration::from_millis(200));
            let found = answer.responses[0].partitions[0].clone();
            assert_eq!((found.error_code, batch::parts(found.records).len()), (0, count));
        }
    });
}

#[test]
fn a_parked_fetch_lets_later_requests_pass_but_not_their_answers() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let begun = Instant::now();
        let request = fetch(vec![topic.fetch(&[(0, 0)])]).with_max_wait_ms(LONG_MS);
        let fetch = client.send(FETCH, &request).await;
        let metadata = client.send(1, &MetadataRequest::default()).await;
        let append =
            crate::harness::records::produce(vec![topic.produce(&[(0, batch::of(&[b"a"]))])]);
        let append = client.send(13, &append).await;
        let answer = client.receive::<FetchRequest>(FETCH, fetch).await;
        assert!(begun.elapsed() < LONG, "the append behind the fetch did not wake it");
        assert_eq!(answer.responses[0].partitions[0].high_watermark, 1);
        client.receive::<MetadataRequest>(1, metadata).await;
        client.receive::<kafka_protocol::messages::ProduceRequest>(13, append).await;
    });
}

#[test]
fn errors_are_told_at_once() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let begun = Instant::now();
        let request = fetch(vec![topic.fetch(&[(0, 0), (9, 0)])]).with_max_wait_ms(LONG_MS);
        let answer = client.call(FETCH, &request).await;
        assert!(begun.elapsed() < LONG, "it waited");
        let codes: Vec<i16> =
            answer.responses[0].partitions.iter().map(|one| one.error_code).collect();
        assert_eq!(codes, [0, 3]);
    });
}

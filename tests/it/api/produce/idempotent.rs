//! Producers whose batches are counted: no batch twice, and none left out.

use bytes::Bytes;

use crate::harness::records::Topic;
use crate::harness::{Broker, Client, batch, run};

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;

const PRODUCER: i64 = 4711;

/// Two records.
fn pair(epoch: i16, sequence: i32) -> Bytes {
    batch::with(&[b"a", b"b"], (PRODUCER, epoch, sequence), 1_700_000_000_000)
}

/// Error and base offset.
async fn produce(client: &mut Client, topic: &Topic, batch: Bytes) -> (i16, i64) {
    let answer = client.produce(topic, batch).await;
    (answer.error_code, answer.base_offset)
}

#[test]
fn a_duplicate_is_answered_with_its_first_offset() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for sequence in [0, 2, 4, 6, 8] {
            let offset = i64::from(sequence);
            assert_eq!(produce(&mut client, &topic, pair(0, sequence)).await, (0, offset));
        }
        for sequence in [8, 0, 4] {
            let offset = i64::from(sequence);
            assert_eq!(produce(&mut client, &topic, pair(0, sequence)).await, (0, offset));
        }
        assert_eq!(client.fetch(&topic, 0).await.high_watermark, 10);

        // Five batches are remembered.
        assert_eq!(produce(&mut client, &topic, pair(0, 10)).await, (0, 10));
        let forgotten = produce(&mut client, &topic, pair(0, 0)).await;
        assert_eq!(forgotten, (OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    });
}

#[test]
fn a_gap_is_refused() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        assert_eq!(produce(&mut client, &topic, pair(0, 0)).await, (0, 0));
        for sequence in [1, 3, 4, 100] {
            let refused = produce(&mut client, &topic, pair(0, sequence)).await;
            assert_eq!(refused, (OUT_OF_ORDER_SEQUENCE_NUMBER, -1), "{sequence}");
        }
        assert_eq!(produce(&mut client, &topic, pair(0, 2)).await, (0, 2));
    });
}

#[test]
fn an_older_epoch_is_refused() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        assert_eq!(produce(&mut client, &topic, pair(1, 0)).await, (0, 0));
        let refused = produce(&mut client, &topic, pair(0, 0)).await;
        assert_eq!(refused, (INVALID_PRODUCER_EPOCH, -1));
        // A new epoch counts from 0.
        let refused = produce(&mut client, &topic, pair(2, 2)).await;
        assert_eq!(refused, (OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
        assert_eq!(produce(&mut client, &topic, pair(2, 0)).await, (0, 2));
    });
}

#[test]
fn sequences_begin_anew_after_the_largest() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        // A producer that nobody remembers may begin anywhere.
        assert_eq!(produce(&mut client, &topic, pair(0, i32::MAX - 2)).await, (0, 0));
        assert_eq!(produce(&mut client, &topic, pair(0, i32::MAX)).await, (0, 2));
        assert_eq!(produce(&mut client, &topic, pair(0, 1)).await, (0, 4));
        assert_eq!(produce(&mut client, &topic, pair(0, i32::MAX)).await, (0, 2));
    });
}

#[test]
fn producers_are_remembered_after_a_restart() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        for sequence in [0, 2] {
            let offset = i64::from(sequence);
            assert_eq!(produce(&mut client, &topic, pair(1, sequence)).await, (0, offset));
        }
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        for sequence in [2, 0] {
            let offset = i64::from(sequence);
            assert_eq!(produce(&mut client, &topic, pair(1, sequence)).await, (0, offset));
        }
        let gap = produce(&mut client, &topic, pair(1, 6)).await;
        assert_eq!(gap, (OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
        assert_eq!(produce(&mut client, &topic, pair(0, 0)).await.0, INVALID_PRODUCER_EPOCH);
        assert_eq!(produce(&mut client, &topic, pair(1, 4)).await, (0, 4));
    });
}

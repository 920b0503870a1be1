//! Fetch.

mod large;
mod refused;
mod sessions;
mod waiting;

use crate::harness::records::{FETCH, Topic, fetch, fetch_from};
use crate::harness::{Broker, batch, run};

#[test]
fn every_version_gives_what_was_produced() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let sent = [batch::of(&[b"a", b"b"]), batch::of(&[b"c"])];
        for batch in &sent {
            assert_eq!(client.produce(&topic, batch.clone()).await.error_code, 0);
        }
        let expected = [(0, batch::own(&sent[0])), (2, batch::own(&sent[1]))];
        for version in 4..=FETCH {
            let found = client.fetch_as(version, &topic, fetch_from(0, 0)).await;
            assert_eq!((found.partition_index, found.error_code), (0, 0), "v{version}");
            assert_eq!((found.high_watermark, found.last_stable_offset), (3, 3));
            assert_eq!(found.log_start_offset, if version < 5 { -1 } else { 0 });
            assert_eq!(batch::parts(found.records), expected);

            // A batch is given whole, wherever in it the client begins.
            let found = client.fetch_as(version, &topic, fetch_from(0, 1)).await;
            assert_eq!(batch::parts(found.records), expected);
            let found = client.fetch_as(version, &topic, fetch_from(0, 2)).await;
            assert_eq!(batch::parts(found.records), expected[1..]);
            let found = client.fetch_as(version, &topic, fetch_from(0, 3)).await;
            assert_eq!((found.error_code, batch::parts(found.records).len()), (0, 0));
        }
    });
}

#[test]
fn the_first_batch_is_given_beyond_the_limits() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 3, &[]).await;
        let mut client = broker.client().await;
        let batch = batch::of(&[&[b'x'; 1_000]]);
        for partition in [1, 1, 2] {
            let data = topic.produce(&[(partition, batch.clone())]);
            client.call(13, &crate::harness::records::produce(vec![data])).await;
        }
        let all = topic.fetch(&[(0, 0), (1, 0), (2, 0)]);
        let counts = |max_bytes: i32, partition_max_bytes: i32| {
            let mut all = all.clone();
            for partition in &mut all.partitions {
                partition.partition_max_bytes = partition_max_bytes;
            }
            fetch(vec![all]).with_max_bytes(max_bytes)
        };
        let size = i32::try_from(batch.len()).unwrap();
        for (max_bytes, partition_max_bytes, expected) in [
            (1, 1, [0, 1, 0]),
            (0, 0, [0, 1, 0]),
            (i32::MAX, 1, [0, 1, 0]),
            (i32::MAX, size, [0, 1, 1]),
            (i32::MAX, 2 * size - 1, [0, 1, 1]),
            (2 * size, i32::MAX, [0, 2, 0]),
            (3 * size, i32::MAX, [0, 2, 1]),
            (i32::MAX, i32::MAX, [0, 2, 1]),
        ] {
            let answer = client.call(FETCH, &counts(max_bytes, partition_max_bytes)).await;
            let partitions = answer.responses[0].partitions.iter();
            let found: Vec<usize> =
                partitions.map(|one| batch::parts(one.records.clone()).len()).collect();
            assert_eq!(found, expected, "{max_bytes} and {partition_max_bytes} bytes");
        }
    });
}

#[test]
fn segments_are_read_one_after_the_other() {
    run(async {
        let broker = Broker::start().await;
        let configs = [("internal.segment.bytes", "1000")];
        let topic = Topic::create(&broker, "t", 1, &configs).await;
        let mut client = broker.client().await;
        let batches: Vec<_> =
            (0..30u8).map(|number| batch::of(&[&[number; 300], &[number; 20]])).collect();
        for batch in &batches {
            assert_eq!(client.produce(&topic, batch.clone()).await.error_code, 0);
        }
        for _ in 0..2 {
            let mut found = Vec::new();
            while found.len() < batches.len() {
                let offset = 2 * i64::try_from(found.len()).unwrap();
                let parts = batch::parts(client.fetch(&topic, offset).await.records);
                assert!(!parts.is_empty(), "nothing at {offset}");
                found.extend(parts);
            }
            let expected = batches.iter().zip(0..).map(|(batch, at)| (2 * at, batch::own(batch)));
            assert!(found.iter().cloned().eq(expected));
        }
        // And from any offset.
        for offset in 0..60 {
            let parts = batch::parts(client.fetch(&topic, offset).await.records);
            assert_eq!(parts[0].0, offset / 2 * 2);
        }
    });
}

//! Records beyond what is copied go from the file to the socket.

use bytes::Bytes;

use crate::harness::records::{FETCH, Topic, fetch, produce};
use crate::harness::{Broker, batch, run};

/// Bytes that never repeat with a period that a page or buffer has.
fn noise(size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(size).collect()
}

#[test]
fn large_values_come_back_byte_by_byte() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 2, &[]).await;
        let mut client = broker.client().await;
        // Around the size from which on records are not copied, and far beyond.
        let sizes = [1, 32_600, 32_700, 32_768, 40_000, 65_536, 300_000, 1_000_000];
        let sent: Vec<Bytes> =
            sizes.iter().zip(1..).map(|(size, seed)| batch::of(&[&noise(*size, seed)])).collect();
        for batch in &sent {
            let data = topic.produce(&[(0, batch.clone()), (1, batch.clone())]);
            client.call(13, &produce(vec![data])).await;
        }
        // All at once, partitions and frames one behind the other.
        let request = fetch(vec![topic.fetch(&[(0, 0), (1, 0)])]);
        let ids = [client.send(FETCH, &request).await, client.send(4, &request).await];
        for (id, version) in ids.into_iter().zip([FETCH, 4]) {
            let answer =
                client.receive::<kafka_protocol::messages::FetchRequest>(version, id).await;
            for partition in &answer.responses[0].partitions {
                let found = batch::parts(partition.records.clone());
                assert_eq!(found.len(), sent.len());
                for ((offset, found), (at, sent)) in found.into_iter().zip((0..).zip(&sent)) {
                    assert_eq!(offset, at);
                    assert!(found == batch::own(sent), "batch {at} differs");
                }
            }
        }
        // One by one.
        for (offset, sent) in (0..).zip(&sent) {
            let wanted = topic.fetch(&[(1, offset)]);
            let request = fetch(vec![wanted]).with_max_bytes(1);
            let mut answer = client.call(FETCH, &request).await;
            let found = batch::parts(answer.responses[0].partitions[0].records.take());
            assert!(found == [(offset, batch::own(sent))], "batch {offset} differs");
        }
    });
}

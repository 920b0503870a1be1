//! Fetches with errors.

use uuid::Uuid;

use crate::harness::records::{FETCH, Topic, fetch_from};
use crate::harness::{Broker, batch, run};

#[test]
fn unknown_topics_and_partitions() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let unknown = Topic { name: "unknown", id: Uuid::from_bytes([7; 16]) };
        let mut client = broker.client().await;
        for version in 4..=FETCH {
            let found = client.fetch_as(version, &unknown, fetch_from(0, 0)).await;
            assert_eq!(found.error_code, if version < 13 { 3 } else { 100 }, "v{version}");
            assert_eq!(found.high_watermark, -1);
            let found = client.fetch_as(version, &topic, fetch_from(1, 0)).await;
            assert_eq!(found.error_code, 3, "UNKNOWN_TOPIC_OR_PARTITION");
        }
    });
}

#[test]
fn offsets_out_of_range() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        client.produce(&topic, batch::of(&[b"a", b"b"])).await;
        for version in [4, FETCH] {
            for (offset, code) in [(-1, 1), (0, 0), (2, 0), (3, 1), (i64::MAX, 1)] {
                let found = client.fetch_as(version, &topic, fetch_from(0, offset)).await;
                assert_eq!(found.error_code, code, "OFFSET_OUT_OF_RANGE for {offset}");
            }
        }
    });
}

#[test]
fn other_leader_epochs() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        // Each start begins a new epoch, so that there is an older one.
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        let epoch = client.topic("t").await.partitions[0].leader_epoch;
        assert!(epoch > 0);
        for version in [9, 12, FETCH] {
            for (known, code) in [(-1, 0), (epoch - 1, 74), (epoch, 0), (epoch + 1, 75)] {
                let wanted = fetch_from(0, 0).with_current_leader_epoch(known);
                let found = client.fetch_as(version, &topic, wanted).await;
                assert_eq!(found.error_code, code, "epoch {known} of {epoch}");
            }
        }
    });
}

#[test]
fn a_log_that_went_another_way_is_told_where() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        client.produce(&topic, batch::of(&[b"a", b"b"])).await;
        let older = client.topic("t").await.partitions[0].leader_epoch;
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        client.produce(&topic, batch::of(&[b"c"])).await;
        for version in [12, FETCH] {
            let wanted = fetch_from(0, 2).with_last_fetched_epoch(older);
            let found = client.fetch_as(version, &topic, wanted).await;
            assert_eq!(batch::parts(found.records)[0].0, 2);

            let wanted = fetch_from(0, 3).with_last_fetched_epoch(older);
            let found = client.fetch_as(version, &topic, wanted).await;
            assert_eq!(found.error_code, 0);
            let diverging = (found.diverging_epoch.epoch, found.diverging_epoch.end_offset);
            assert_eq!(diverging, (older, 2));
            assert_eq!(batch::parts(found.records), []);
        }
    });
}

//! A log dir without room: records are refused, everything else goes on, and it heals by itself.

use std::sync::Arc;

use crate::harness::cluster::Cluster;
use crate::harness::offsets::SETTINGS;
use crate::harness::records::Topic;
use crate::harness::scarce::ScarceDisk;
use crate::harness::{Broker, batch, eventually, run};

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
        let produce = async |client: &mut crate::harness::Client| {
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
        let settings = [
            ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3"),
            ("KAFKA_MIN_INSYNC_REPLICAS", "2"),
            ("KAFKA_REPLICA_LAG_TIME_MAX_MS", "1000"),
        ];
        let disks = [(); 3].map(|()| ScarceDisk::default());
        let envs: Vec<_> = disks.iter().map(ScarceDisk::env).collect();
        let mut cluster = Cluster::start_on(envs, &settings).await;
        let topic = Topic::create(cluster.broker(1), "t", 1, &[]).await;
        let leader = cluster.leader("t", 0).await;
        let mut client = cluster.client(leader).await;
        assert_eq!(client.produce(&topic, batch::of(&[b"before"])).await.error_code, 0);
        let full = leader % 3 + 1;
        let in_sync = async |client: &mut crate::harness::Client| {
            let told = client.topic("t").await.partitions.remove(0);
            told.isr_nodes.iter().any(|node| usize::try_from(node.0) == Ok(full))
        };
        eventually(async || in_sync(&mut client).await).await;
        disks[full - 1].fill(true);
        let mut count = 1;
        eventually(async || {
            assert_eq!(client.produce(&topic, batch::of(&[b"meanwhile"])).await.error_code, 0);
            count += 1;
            !in_sync(&mut client).await
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
        assert_eq!(client.fetch(&topic, 0).await.high_watermark, count);
        cluster.stop().await;
    });
}

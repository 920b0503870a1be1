//! Several log dirs, one of which fails: its partitions are offline, all others are served.

use std::path::Path;
use std::sync::Arc;

use kafka_protocol::messages::DescribeLogDirsRequest;

use crate::harness::records::Topic;
use crate::harness::{Broker, Client, batch, eventually, run};

const STORAGE_ERROR: i16 = 56;
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

#[test]
fn a_log_dir_that_fails_takes_only_its_partitions_offline() {
    run(async {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let paths = ["one", "two"].map(|name| dir.path().join(name));
        let list = format!("{},{}", paths[0].display(), paths[1].display());
        let settings = [("KAFKA_LOG_DIRS", list.as_str())];
        let broker = Broker::start_in(Arc::clone(&dir), &settings).await;
        let mut client = broker.client().await;
        let mut topics = Vec::new();
        for name in TOPICS {
            let topic = Topic::create(&broker, name, 1, &[]).await;
            assert_eq!(client.produce(&topic, batch::of(&[b"value"])).await.error_code, 0);
            topics.push(topic);
        }
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

//! DescribeLogDirs.

use kafka_protocol::messages::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;

use crate::harness::{Broker, frame, run, topic_name};

#[test]
fn every_version_tells_where_partitions_lie() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 2, &[]).await;
        broker.create_topic("u", 1, &[]).await;
        let mut client = broker.client().await;
        let dir = broker.dir.path().join("data").display().to_string();
        for version in 1..=4 {
            let all = DescribeLogDirsRequest::default().with_topics(None);
            let answer = client.call(version, &all).await;
            let found = &answer.results[0];
            assert_eq!((answer.error_code, found.error_code), (0, 0));
            assert_eq!(found.log_dir.as_str(), dir);
            let counts: Vec<usize> = found.topics.iter().map(|t| t.partitions.len()).collect();
            assert_eq!(counts, [2, 1]);
            assert_eq!(found.total_bytes > found.usable_bytes, version >= 4);
            assert_eq!(found.usable_bytes > 0, version >= 4);

            let topics = [("t", vec![1, 7]), ("x", vec![0])].map(|(name, partitions)| {
                DescribableLogDirTopic::default()
                    .with_topic(topic_name(name))
                    .with_partitions(partitions)
            });
            let some = DescribeLogDirsRequest::default().with_topics(Some(topics.to_vec()));
            let answer = client.call(version, &some).await;
            let topics = &answer.results[0].topics;
            assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));
            assert_eq!(topics[0].partitions[0].partition_index, 1);
        }
    });
}

#[test]
fn version_5_is_version_4_with_a_byte_for_each_log_dir() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let known = frame(9, 4, &DescribeLogDirsRequest::default().with_topics(None));
        client.send_raw(&known).await;
        let four = client.receive_frame().await.unwrap();
        let mut newer = known.to_vec();
        newer[6..8].copy_from_slice(&5i16.to_be_bytes());
        client.send_raw(&newer).await;
        let five = client.receive_frame().await.unwrap();
        assert_eq!(five.len(), four.len() + 1);
    });
}

//! DescribeQuorum.

use kafka_protocol::messages::DescribeQuorumRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};

use crate::harness::{Broker, run, topic_name};

fn request(topic: &str, partition: i32) -> DescribeQuorumRequest {
    let partition = PartitionData::default().with_partition_index(partition);
    let topic =
        TopicData::default().with_topic_name(topic_name(topic)).with_partitions(vec![partition]);
    DescribeQuorumRequest::default().with_topics(vec![topic])
}

#[test]
fn every_version_tells_the_leader_and_the_voters() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 0..=2 {
            let answer = client.call(version, &request("__cluster_metadata", 0)).await;
            assert_eq!(answer.error_code, 0);
            let quorum = &answer.topics[0].partitions[0];
            assert_eq!((quorum.error_code, quorum.leader_id.0), (0, 1));
            assert!(quorum.leader_epoch > 0 && quorum.high_watermark > 0);
            assert_eq!((quorum.current_voters.len(), quorum.observers.len()), (1, 0));
            let voter = &quorum.current_voters[0];
            assert_eq!((voter.replica_id.0, voter.log_end_offset), (1, quorum.high_watermark));
            assert_eq!(voter.last_caught_up_timestamp > 0, version >= 1);
            assert_eq!(answer.nodes.len(), usize::from(version >= 2));
        }
    });
}

#[test]
fn other_partitions_have_no_quorum() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for (topic, partition) in [("__cluster_metadata", 1), ("t", 0)] {
            let answer = client.call(2, &request(topic, partition)).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, 3);
        }
    });
}

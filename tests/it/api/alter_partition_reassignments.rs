//! AlterPartitionReassignments.

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, BrokerId};

use crate::harness::{Broker, Client, run, topic_name};

/// The code and the message for one partition.
async fn reassign(
    client: &mut Client,
    version: i16,
    topic: &str,
    replicas: Option<&[i32]>,
) -> (i16, Option<String>) {
    let replicas = replicas.map(|ids| ids.iter().copied().map(BrokerId).collect());
    let partition = ReassignablePartition::default().with_replicas(replicas);
    let topic =
        ReassignableTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(60_000)
        .with_allow_replication_factor_change(version == 0)
        .with_topics(vec![topic]);
    let answer = client.call(version, &request).await;
    assert_eq!((answer.error_code, answer.responses.len()), (0, 1));
    let found = &answer.responses[0].partitions[0];
    (found.error_code, found.error_message.as_ref().map(ToString::to_string))
}

#[test]
fn wishes_are_checked_in_kafkas_words() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        for version in 0..=1 {
            assert_eq!(reassign(&mut client, version, "t", Some(&[1])).await, (0, None));
            let (code, message) = reassign(&mut client, version, "t", Some(&[1, 7])).await;
            assert_eq!(code, 39);
            assert!(message.unwrap().contains("broker 7, but no such broker"));
            let (code, message) = reassign(&mut client, version, "t", None).await;
            let text = "No partition reassignment is in progress.";
            assert_eq!((code, message.as_deref()), (85, Some(text)));
            let (code, message) = reassign(&mut client, version, "x", Some(&[1])).await;
            assert_eq!((code, message.as_deref()), (3, Some("Unable to find a topic named x.")));
        }
    });
}

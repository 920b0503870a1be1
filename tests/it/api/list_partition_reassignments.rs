//! ListPartitionReassignments.

use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, list_partition_reassignments_request as asked,
};

use crate::harness::{Broker, run, topic_name};

#[test]
fn what_does_not_move_is_left_out() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 2, &[]).await;
        let mut client = broker.client().await;
        let some = ["t", "x"].map(|name| {
            asked::ListPartitionReassignmentsTopics::default()
                .with_name(topic_name(name))
                .with_partition_indexes(vec![0, 1, 7])
        });
        for topics in [None, Some(some.to_vec())] {
            let request = ListPartitionReassignmentsRequest::default().with_topics(topics);
            let answer = client.call(0, &request).await;
            assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
        }
    });
}

//! RemoveRaftVoter.

use kafka_protocol::messages::RemoveRaftVoterRequest;

use crate::harness::{Broker, run, text};

#[test]
fn only_voters_are_removed() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let request = RemoveRaftVoterRequest::default().with_cluster_id(None).with_voter_id(7);
        let answer = client.call(0, &request).await;
        assert_eq!(answer.error_code, 127);
        assert!(answer.error_message.unwrap().contains("not in the set of voters"));
        let other = request.with_cluster_id(Some(text("another")));
        assert_eq!(client.call(0, &other).await.error_code, 104);
    });
}

//! AddRaftVoter.

use kafka_protocol::messages::AddRaftVoterRequest;

use crate::harness::{Broker, run, text};

#[test]
fn strangers_do_not_vote() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let request = AddRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_voter_id(7)
            .with_timeout_ms(60_000);
        let answer = client.call(0, &request).await;
        assert_eq!(answer.error_code, 42);
        assert!(answer.error_message.unwrap().contains("Node 7 can not vote"));
        let other = request.with_cluster_id(Some(text("another")));
        assert_eq!(client.call(0, &other).await.error_code, 104);
    });
}

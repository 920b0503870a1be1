//! AddRaftVoter.

use bytes::BytesMut;
use kafka_protocol::messages::AddRaftVoterRequest;
use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::protocol::{Encodable, Request};

use crate::harness::{Broker, Client, run, text};

/// The error code and text that a request gets in a version.
async fn add(
    client: &mut Client,
    version: i16,
    request: &AddRaftVoterRequest,
) -> (i16, Option<String>) {
    let answer = if version == 0 {
        client.call(0, request).await
    } else {
        let mut body = BytesMut::new();
        request.encode(&mut body, 0).unwrap();
        // Before the tagged fields: whether to wait until it is decided.
        body.truncate(body.len() - 1);
        body.extend_from_slice(&[1, 0]);
        let id = client.send_body(version, AddRaftVoterRequest::KEY, &body).await;
        client.receive::<AddRaftVoterRequest>(0, id).await
    };
    (answer.error_code, answer.error_message.map(|message| message.to_string()))
}

#[test]
fn strangers_do_not_vote() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 0..=1 {
            let listener = Listener::default().with_name(text("CONTROLLER")).with_port(9093);
            let request = AddRaftVoterRequest::default()
                .with_cluster_id(None)
                .with_voter_id(7)
                .with_listeners(vec![listener.with_host(text("host"))])
                .with_timeout_ms(60_000);
            let (code, message) = add(&mut client, version, &request).await;
            assert_eq!(code, 42);
            assert!(message.unwrap().contains("Node 7 can not vote"));
            let other = request.with_cluster_id(Some(text("another")));
            assert_eq!(add(&mut client, version, &other).await.0, 104);
        }
    });
}

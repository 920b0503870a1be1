//! FindCoordinator.

use kafka_protocol::messages::FindCoordinatorRequest;

use crate::harness::{Broker, run, text};

const SETTINGS: &[(&str, &str)] = &[("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "3")];
const INVALID_REQUEST: i16 = 42;

fn single(key: &str, key_type: i8) -> FindCoordinatorRequest {
    FindCoordinatorRequest::default().with_key(text(key)).with_key_type(key_type)
}

fn several(keys: &[&str], key_type: i8) -> FindCoordinatorRequest {
    let keys = keys.iter().map(|key| text(key)).collect();
    FindCoordinatorRequest::default().with_coordinator_keys(keys).with_key_type(key_type)
}

#[test]
fn every_version_finds_the_broker() {
    run(async {
        let broker = Broker::start_with(SETTINGS).await;
        let mut client = broker.client().await;
        let port = i32::from(broker.address.port());
        for version in 0..=3 {
            let answer = client.call(version, &single("g", 0)).await;
            assert_eq!((answer.error_code, answer.node_id.0, answer.port), (0, 1, port));
            assert_eq!(answer.host.as_str(), "127.0.0.1");
        }
        for version in 4..=6 {
            let answer = client.call(version, &several(&["g", "h"], 0)).await;
            let keys: Vec<&str> = answer.coordinators.iter().map(|one| one.key.as_str()).collect();
            assert_eq!(keys, ["g", "h"]);
            for one in &answer.coordinators {
                assert_eq!((one.error_code, one.node_id.0, one.port), (0, 1, port));
            }
        }
        let topic = client.topic("__consumer_offsets").await;
        assert_eq!((topic.error_code, topic.partitions.len(), topic.is_internal), (0, 3, true));
    });
}

#[test]
fn what_is_not_served_is_refused() {
    run(async {
        let broker = Broker::start_with(SETTINGS).await;
        let mut client = broker.client().await;
        for key_type in [1, 2, 3, -1] {
            for version in 1..=3 {
                let answer = client.call(version, &single("x", key_type)).await;
                assert_eq!((answer.error_code, answer.node_id.0), (INVALID_REQUEST, -1));
            }
            for version in 4..=6 {
                let answer = client.call(version, &several(&["x"], key_type)).await;
                let one = &answer.coordinators[0];
                assert_eq!((one.error_code, one.node_id.0, one.port), (INVALID_REQUEST, -1, -1));
                assert!(one.error_message.is_some());
            }
        }
        assert_eq!(client.topic("__consumer_offsets").await.error_code, 3, "not made for nothing");
    });
}

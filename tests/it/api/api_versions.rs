//! ApiVersions.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::Decodable;

use crate::harness::{Broker, frame, run, text};

#[test]
fn every_version_lists_what_is_served() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 0..=4 {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(text("it"))
                .with_client_software_version(text("1.0"));
            let answer = client.call(version, &request).await;
            assert_eq!(answer.error_code, 0);
            let produce = answer.api_keys.iter().find(|api| api.api_key == 0).unwrap();
            // From 0, so that librdkafka goes on compressing (KAFKA-18659).
            assert_eq!((produce.min_version, produce.max_version), (0, 13));
            assert!(answer.api_keys.is_sorted_by_key(|api| api.api_key));
        }
    });
}

#[test]
fn an_unknown_version_is_answered_in_version_0_and_the_connection_lives() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in [5i16, 77, i16::MAX] {
            let known = frame(9, 4, &ApiVersionsRequest::default());
            let mut unknown = known.to_vec();
            unknown[6..8].copy_from_slice(&version.to_be_bytes());
            client.send_raw(&unknown).await;
            let mut body: Bytes = client.receive_frame().await.unwrap();
            assert_eq!(body.get_i32(), 9);
            let answer = ApiVersionsResponse::decode(&mut body, 0).unwrap();
            assert_eq!(answer.error_code, 35);
            let own = &answer.api_keys[0];
            assert_eq!((own.api_key, own.min_version, own.max_version), (18, 0, 4));
        }
        let answer = client.call(0, &ApiVersionsRequest::default()).await;
        assert_eq!(answer.error_code, 0);
    });
}

#[test]
fn client_software_is_checked_from_version_3_on() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for bad in ["", "-a", "a b", "a_b"] {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(text(bad))
                .with_client_software_version(text("1"));
            assert_eq!(client.call(3, &request).await.error_code, 42, "{bad:?}");
        }
    });
}

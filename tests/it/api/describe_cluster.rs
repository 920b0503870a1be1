//! DescribeCluster.

use kafka_protocol::messages::{DescribeClusterRequest, MetadataRequest};

use crate::harness::{Broker, run};

#[test]
fn every_version_tells_cluster_and_brokers() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let metadata = client.call(13, &MetadataRequest::default()).await;
        for version in 0..=2 {
            for asked in [false, true] {
                let request = DescribeClusterRequest::default()
                    .with_include_cluster_authorized_operations(asked);
                let answer = client.call(version, &request).await;
                assert_eq!((answer.error_code, answer.controller_id.0), (0, 1));
                assert_eq!(Some(&answer.cluster_id), metadata.cluster_id.as_ref());
                let found = &answer.brokers[0];
                assert_eq!((found.broker_id.0, found.is_fenced), (1, false));
                assert_eq!(found.host.as_str(), "127.0.0.1");
                assert_eq!(found.port, i32::from(broker.address.port()));
                assert_eq!(answer.cluster_authorized_operations == i32::MIN, !asked);
            }
        }
    });
}

#[test]
fn other_endpoints_are_refused() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 1..=2 {
            for (kind, code) in [(2, 114), (0, 115), (3, 115), (-1, 115)] {
                let request = DescribeClusterRequest::default().with_endpoint_type(kind);
                let answer = client.call(version, &request).await;
                assert_eq!((answer.error_code, answer.brokers.len()), (code, 0));
                assert!(answer.error_message.is_some());
            }
        }
    });
}

//! DescribeCluster (key 60), versions 0 to 2: the cluster's id and brokers (KIP-700).
//!
//! Behaviour
//! * Brokers are told with the addresses of the listener that the caller came by.
//! * The controllers' endpoints are not told here: asking for them is refused as Kafka does.
//!
//! * Brokers that can not be reached are told from version 2 on, when they are asked for.
//!
//! Versions: 1 endpoint type (KIP-919), 2 fenced brokers (KIP-1073).

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::Caller;
use crate::api::errors::{Code, NONE};
use crate::api::metadata::ALL_CLUSTER_OPERATIONS;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;

pub(super) async fn handle(
    caller: &Caller,
    request: DescribeClusterRequest,
    version: i16,
) -> DescribeClusterResponse {
    match request.endpoint_type {
        BROKERS => describe(caller, &request),
        CONTROLLERS => refused(
            if version == 0 { Code::InvalidRequest } else { Code::MismatchedEndpointType },
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type \
             CONTROLLER"
                .to_owned(),
        ),
        other => refused(
            if version == 0 { Code::InvalidRequest } else { Code::UnsupportedEndpointType },
            format!("Unsupported endpoint type {other}"),
        ),
    }
}

/// The codes in a response.
pub(super) fn errors(response: &DescribeClusterResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

fn describe(caller: &Caller, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    let image = caller.context.image();
    let told = image
        .brokers
        .keys()
        .filter(|node| image.is_alive(**node) || request.include_fenced_brokers);
    let brokers = told.filter_map(|node| {
        let broker = caller.endpoint(&image, *node)?;
        let told = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(broker.node.0))
            .with_host(StrBytes::from_string(broker.endpoint.host.clone()))
            .with_port(i32::from(broker.endpoint.port))
            .with_rack(broker.rack.map(|rack| StrBytes::from_string(rack.to_owned())));
        Some(told.with_is_fenced(!image.is_alive(*node)))
    });
    let brokers = brokers.collect();
    let asked = request.include_cluster_authorized_operations;
    DescribeClusterResponse::default()
        .with_error_code(NONE)
        .with_error_message(None)
        .with_cluster_id(StrBytes::from_string(image.cluster_id.clone()))
        .with_controller_id(BrokerId(caller.controller(&image).map_or(-1, |node| node.0)))
        .with_brokers(brokers)
        .with_cluster_authorized_operations(if asked {
            ALL_CLUSTER_OPERATIONS
        } else {
            NO_OPERATIONS
        })
}

fn refused(code: Code, message: String) -> DescribeClusterResponse {
    DescribeClusterResponse::default()
        .with_error_code(code.code())
        .with_error_message(Some(StrBytes::from_string(message)))
        .with_controller_id(BrokerId(-1))
}

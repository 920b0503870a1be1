//! UnregisterBroker (key 64), version 0: take a node out of the cluster that does not come back
//! (KIP-631).
//!
//! Behaviour
//! * Replicas that the node has stay assigned to it until they are moved, as in Kafka: let it be
//!   emptied first (`ottla.broker.draining`).
//! * A node that votes on metadata loses its vote; the only one that has one stays.
//!
//! Versions: 0 is the first.

use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use crate::api::alter_configs::WAIT_MS_MAX;
use crate::api::context::{Caller, Deadline};
use crate::api::errors::Told;
use crate::base::ids::NodeId;
use crate::controller::nodes;
use crate::metadata::image::Image;

pub(super) async fn handle(
    caller: &Caller,
    request: UnregisterBrokerRequest,
    _version: i16,
) -> UnregisterBrokerResponse {
    let node = NodeId(request.broker_id.0);
    let decide = |image: &Image| nodes::forget(image, node);
    let told = match caller.context.decide(Deadline::after_ms(WAIT_MS_MAX), decide).await {
        Ok(outcome) => Told::from(outcome),
        Err(code) => code.into(),
    };
    UnregisterBrokerResponse::default().with_error_code(told.code).with_error_message(told.message)
}

/// The codes in a response.
pub(super) fn errors(response: &UnregisterBrokerResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

//! ConsumerGroupHeartbeat (key 68), versions 0 to 1: members of consumer groups join, report, learn
//! what is assigned to them, and leave (KIP-848).
//!
//! Behaviour
//! * Epoch 0 joins, -1 leaves, -2 leaves as a static member that will be back.
//! * The assignment is told when it has changed, when the member joins, and when it says all of
//!   itself.
//! * A new target is computed when it is needed; Kafka waits for a second after the last one
//!   (`group.consumer.assignment.interval.ms`).
//! * Regular expressions are resolved at once; Kafka does so aside and tells of it later. New
//!   topics are found within a second; Kafka looks every ten.
//!
//! Versions: 1 regular expressions, and the client makes up its member id.

use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::Caller;
use crate::api::errors;
use crate::coordinator::group::consumer::Client;

pub(super) async fn handle(
    caller: &Caller,
    request: ConsumerGroupHeartbeatRequest,
    version: i16,
) -> ConsumerGroupHeartbeatResponse {
    let client = Client { id: caller.client_id(), host: caller.client_host() };
    let name = request.group_id.clone();
    let decided = caller.context.groups.run(&name, move |groups, step| {
        groups.consumer_heartbeat(step, (&request, version), &client)
    });
    let refused = ConsumerGroupHeartbeatResponse::default();
    match decided.await {
        Ok(Ok(response)) => response,
        Ok(Err(why)) => refused
            .with_error_code(why.code.code())
            .with_error_message(Some(StrBytes::from_string(why.message))),
        Err(unavailable) => refused.with_error_code(errors::of_coordinator(unavailable).code()),
    }
}

/// The codes in a response.
pub(super) fn errors(response: &ConsumerGroupHeartbeatResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

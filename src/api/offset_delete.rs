//! OffsetDelete (key 47), version 0: forget single offsets of a group (KIP-496).
//!
//! Behaviour
//! * Topics that a member of the group is subscribed to are refused with
//!   GROUP_SUBSCRIBED_TO_TOPIC. A classic group with members that are no consumers is refused as a
//!   whole.
//! * What was not committed is deleted with success.

use std::sync::Arc;

use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::api::context::Caller;
use crate::api::errors;

pub(super) async fn handle(
    caller: &Caller,
    request: OffsetDeleteRequest,
    _version: i16,
) -> OffsetDeleteResponse {
    let request = Arc::new(request);
    let asked = Arc::clone(&request);
    let decided = caller
        .context
        .groups
        .run(&request.group_id, move |groups, step| groups.delete_offsets(step, &asked));
    decided.await.unwrap_or_else(|unavailable| {
        let code = errors::of_coordinator(unavailable);
        OffsetDeleteResponse::default().with_error_code(code.code())
    })
}

/// The codes in a response.
pub(super) fn errors(response: &OffsetDeleteResponse) -> impl Iterator<Item = i16> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).chain(std::iter::once(response.error_code))
}

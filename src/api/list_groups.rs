//! ListGroups (key 16), versions 0 to 5: the groups whose coordinator this broker is.
//!
//! Behaviour
//! * States and types are compared without regard to case; one that nobody knows has no groups.
//! * While a part of the groups is being loaded the answer is COORDINATOR_LOAD_IN_PROGRESS, as a
//!   list that lacks some would be taken for all. So it is while a part waits for the disk.
//!
//! Versions: 1 throttle time, 3 flexible, 4 states (KIP-518), 5 types (KIP-848).

use std::time::Duration;

use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use crate::api::context::Caller;
use crate::api::errors;
use crate::coordinator::group::admin::Filter;
use crate::coordinator::runtime::Unavailable;

/// How long a part of the groups may wait for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn handle(
    caller: &Caller,
    request: ListGroupsRequest,
    _version: i16,
) -> ListGroupsResponse {
    let filter = Filter::of(&request);
    let groups = &caller.context.groups;
    let everywhere = groups.run_everywhere(PATIENCE, move |groups, _| groups.list(&filter));
    let mut listed = Vec::new();
    for part in everywhere.await {
        match part {
            Ok(groups) => listed.extend(groups),
            // It has just moved away: its new coordinator tells.
            Err(Unavailable::NotCoordinator) => {}
            Err(unavailable) => {
                let code = errors::of_coordinator(unavailable);
                return ListGroupsResponse::default().with_error_code(code.code());
            }
        }
    }
    ListGroupsResponse::default().with_groups(listed)
}

/// The codes in a response.
pub(super) fn errors(response: &ListGroupsResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

//! Heartbeat (key 12), versions 0 to 4: a member of a classic group is alive.
//!
//! Behaviour
//! * REBALANCE_IN_PROGRESS tells a member to join again; it counts as a heartbeat all the same.
//! * While the group is being loaded, members are told that all is well.
//!
//! Versions: 3 static members, 4 flexible.

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::api::context::Caller;
use crate::api::errors::{self, Code, Told};

pub(super) async fn handle(
    caller: &Caller,
    request: HeartbeatRequest,
    _version: i16,
) -> HeartbeatResponse {
    let told = match beat(caller, request).await {
        // Its session begins anew when the group is loaded.
        Err(Code::CoordinatorLoadInProgress) => Told::none(),
        outcome => outcome.into(),
    };
    HeartbeatResponse::default().with_error_code(told.code)
}

/// The codes in a response.
pub(super) fn errors(response: &HeartbeatResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

async fn beat(caller: &Caller, request: HeartbeatRequest) -> Result<(), Code> {
    if request.group_id.is_empty() {
        return Err(Code::InvalidGroupId);
    }
    let group_id = request.group_id.to_string();
    let groups = &caller.context.groups;
    let beaten = groups.run(&group_id, move |groups, step| groups.heartbeat(step, &request));
    beaten.await.map_err(errors::of_coordinator)?
}

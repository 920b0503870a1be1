//! SyncGroup (key 14), versions 0 to 5: the leader of a classic group brings what everybody is
//! assigned, the others ask for it.
//!
//! Behaviour
//! * The answer comes when the leader has brought the assignment and it is committed.
//! * From version 5 on a request without protocol type and name is refused with
//!   INCONSISTENT_GROUP_PROTOCOL.
//!
//! Versions: 3 static members, 4 flexible, 5 protocol type and name.

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::api::context::Caller;
use crate::api::errors::{self, Code};

const FIRST_WITH_PROTOCOL: i16 = 5;

pub(super) async fn handle(
    caller: &Caller,
    request: SyncGroupRequest,
    version: i16,
) -> SyncGroupResponse {
    match sync(caller, request, version).await {
        Ok(response) => response,
        Err(code) => SyncGroupResponse::default().with_error_code(code.code()),
    }
}

/// The codes in a response.
pub(super) fn errors(response: &SyncGroupResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

async fn sync(
    caller: &Caller,
    request: SyncGroupRequest,
    version: i16,
) -> Result<SyncGroupResponse, Code> {
    let tells_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= FIRST_WITH_PROTOCOL && !tells_protocol {
        return Err(Code::InconsistentGroupProtocol);
    }
    if request.group_id.is_empty() {
        return Err(Code::InvalidGroupId);
    }
    let group_id = request.group_id.to_string();
    let groups = &caller.context.groups;
    let synced = groups.run_later(&group_id, move |groups, step, reply| {
        groups.sync_group(step, &request, reply);
    });
    synced.await.map_err(errors::of_coordinator)
}

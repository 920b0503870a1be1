//! JoinGroup (key 11), versions 0 to 9: become a member of a classic group, or stay one.
//!
//! Behaviour
//! * The answer comes when the group's next generation begins; its leader is told all members.
//! * From version 4 on a member without an id is given one with MEMBER_ID_REQUIRED and joins with
//!   that (KIP-394), unless it is a static one.
//! * The first generation of a group waits for `group.initial.rebalance.delay.ms`.
//! * Session timeouts outside `group.min.session.timeout.ms` to `group.max.session.timeout.ms` are
//!   refused with INVALID_SESSION_TIMEOUT.
//!
//! Versions: 1 rebalance timeout (before, the session timeout counts), 4 member id required, 5
//! static members, 6 flexible, 7 protocol type in the answer, 8 reason, 9 leaders that have nothing
//! to assign.

use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use crate::api::context::Caller;
use crate::api::errors::{self, Code};
use crate::coordinator::group::classic::Join;

const FIRST_REBALANCE_TIMEOUT: i16 = 1;
/// What a member id is made of may have so many bytes, that it stays a text with the random part.
const MEMBER_ID_PREFIX_BYTES_MAX: usize = 0x7fff - 37;
/// The first version in which there may be no protocol.
const FIRST_NULLABLE_PROTOCOL: i16 = 7;

pub(super) async fn handle(
    caller: &Caller,
    request: JoinGroupRequest,
    version: i16,
) -> JoinGroupResponse {
    let member_id = request.member_id.clone();
    let mut response = match join(caller, request, version).await {
        Ok(response) => response,
        Err(code) => {
            JoinGroupResponse::default().with_member_id(member_id).with_error_code(code.code())
        }
    };
    let protocol = response.protocol_name.take().unwrap_or_default();
    let is_told = version < FIRST_NULLABLE_PROTOCOL || !protocol.is_empty();
    response.protocol_name = is_told.then_some(protocol);
    response
}

/// The codes in a response.
pub(super) fn errors(response: &JoinGroupResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

async fn join(
    caller: &Caller,
    mut request: JoinGroupRequest,
    version: i16,
) -> Result<JoinGroupResponse, Code> {
    let config = &caller.context.settings.config;
    let sessions = config.group_min_session_timeout_ms..=config.group_max_session_timeout_ms;
    if request.group_id.is_empty() {
        return Err(Code::InvalidGroupId);
    }
    if !sessions.contains(&request.session_timeout_ms) {
        return Err(Code::InvalidSessionTimeout);
    }
    if version < FIRST_REBALANCE_TIMEOUT {
        request.rebalance_timeout_ms = request.session_timeout_ms;
    }
    let group_id = request.group_id.to_string();
    let (client_id, client_host) = (caller.client_id(), caller.client_host());
    let prefix = request.group_instance_id.as_deref().unwrap_or(&client_id);
    if prefix.len() > MEMBER_ID_PREFIX_BYTES_MAX {
        return Err(Code::InvalidRequest);
    }
    let join = Join { request, version, client_id, client_host };
    let groups = &caller.context.groups;
    let joined = groups.run_later(&group_id, move |groups, step, reply| {
        groups.join_group(step, &join, reply);
    });
    joined.await.map_err(errors::of_coordinator)
}

//! LeaveGroup (key 13), versions 0 to 5: members leave a classic group.
//!
//! Behaviour
//! * From version 3 on several members leave at once, each with an error of its own. One that is
//!   told by its instance id alone is taken out by an admin client.
//!
//! Versions: 3 several members, 4 flexible, 5 reason.

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::api::context::Caller;
use crate::api::errors::{self, Code, Told};
use crate::coordinator::group::classic::Left;

const FIRST_BATCHED: i16 = 3;

pub(super) async fn handle(
    caller: &Caller,
    mut request: LeaveGroupRequest,
    version: i16,
) -> LeaveGroupResponse {
    if version < FIRST_BATCHED {
        let member_id = std::mem::take(&mut request.member_id);
        request.members = vec![MemberIdentity::default().with_member_id(member_id)];
    }
    match leave(caller, request).await {
        Ok(left) => answer(left, version),
        Err(code) => LeaveGroupResponse::default().with_error_code(code.code()),
    }
}

/// The codes in a response.
pub(super) fn errors(response: &LeaveGroupResponse) -> impl Iterator<Item = i16> {
    let members = response.members.iter().map(|member| member.error_code);
    std::iter::once(response.error_code).chain(members)
}

async fn leave(caller: &Caller, request: LeaveGroupRequest) -> Result<Left, Code> {
    if request.group_id.is_empty() {
        return Err(Code::InvalidGroupId);
    }
    let group_id = request.group_id.to_string();
    let groups = &caller.context.groups;
    let left = groups.run(&group_id, move |groups, step| groups.leave_group(step, request));
    left.await.map_err(errors::of_coordinator)
}

fn answer(left: Left, version: i16) -> LeaveGroupResponse {
    let members = left.into_iter().map(|(member, left)| {
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(Told::from(left).code)
    });
    let mut members: Vec<MemberResponse> = members.collect();
    if version >= FIRST_BATCHED {
        return LeaveGroupResponse::default().with_members(members);
    }
    let code = members.pop().map_or(errors::NONE, |member| member.error_code);
    LeaveGroupResponse::default().with_error_code(code)
}

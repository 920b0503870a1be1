//! ConsumerGroupDescribe (key 69), versions 0 to 1: the members of consumer groups with what they
//! have and are to have (KIP-848).
//!
//! Behaviour
//! * A group that is not there, or of another kind, is answered with GROUP_ID_NOT_FOUND.
//!
//! Versions: 1 the type of members.

use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId,
};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::Caller;
use crate::api::errors::{self, Code};

/// All of a group's operations: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(super) async fn handle(
    caller: &Caller,
    request: ConsumerGroupDescribeRequest,
    _version: i16,
) -> ConsumerGroupDescribeResponse {
    let mut groups = Vec::with_capacity(request.group_ids.len());
    for id in request.group_ids {
        let group = describe(caller, id).await;
        groups.push(if request.include_authorized_operations && group.error_code == errors::NONE {
            group.with_authorized_operations(ALL_OPERATIONS)
        } else {
            group
        });
    }
    ConsumerGroupDescribeResponse::default().with_groups(groups)
}

/// The codes in a response.
pub(super) fn errors(response: &ConsumerGroupDescribeResponse) -> impl Iterator<Item = i16> {
    response.groups.iter().map(|group| group.error_code)
}

async fn describe(caller: &Caller, id: GroupId) -> DescribedGroup {
    let refused = |code: Code| {
        DescribedGroup::default().with_group_id(id.clone()).with_error_code(code.code())
    };
    if id.is_empty() {
        return refused(Code::InvalidGroupId);
    }
    let name = id.clone();
    let described =
        caller.context.groups.run(&id, move |groups, step| groups.consumer_describe(step, &name));
    match described.await {
        Ok(Ok(group)) => group,
        Ok(Err(why)) => {
            refused(why.code).with_error_message(Some(StrBytes::from_string(why.message)))
        }
        Err(unavailable) => refused(errors::of_coordinator(unavailable)),
    }
}

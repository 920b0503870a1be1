//! DescribeGroups (key 15), versions 0 to 6: state and members of classic groups.
//!
//! Behaviour
//! * A group that is not there, or is of another kind, is "Dead"; from version 6 on that is the
//!   error GROUP_ID_NOT_FOUND with a message.
//! * Members' metadata and the protocol are told of a stable group alone.
//!
//! Versions: 3 authorized operations, 4 static members, 5 flexible, 6 error message.

use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::{Caller, Context, do_all};
use crate::api::errors::{self, NONE};

/// The first version that tells a missing group by an error.
const FIRST_WITH_NOT_FOUND: i16 = 6;
/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS as bits
/// (`AclEntry.supportedOperations`).
pub(super) const ALL_GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

pub(super) async fn handle(
    caller: &Caller,
    request: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let work = request.groups.into_iter().map(|id| describe(&caller.context, id, version));
    let mut groups = do_all(work).await;
    if request.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| group.error_code == NONE) {
            group.authorized_operations = ALL_GROUP_OPERATIONS;
        }
    }
    DescribeGroupsResponse::default().with_groups(groups)
}

/// The codes in a response.
pub(super) fn errors(response: &DescribeGroupsResponse) -> impl Iterator<Item = i16> {
    response.groups.iter().map(|group| group.error_code)
}

async fn describe(context: &Context, id: GroupId, version: i16) -> DescribedGroup {
    let name = id.to_string();
    let found = context.groups.run(&id, move |groups, _| groups.describe_classic(&name)).await;
    match found {
        Ok(Ok(group)) => group,
        Ok(Err(message)) => dead(id, message, version),
        Err(unavailable) => {
            let code = errors::of_coordinator(unavailable).code();
            DescribedGroup::default().with_group_id(id).with_error_code(code)
        }
    }
}

fn dead(id: GroupId, message: String, version: i16) -> DescribedGroup {
    let dead = DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(StrBytes::from_static_str("Dead"));
    if version < FIRST_WITH_NOT_FOUND {
        return dead;
    }
    dead.with_error_code(errors::Code::GroupIdNotFound.code())
        .with_error_message(Some(StrBytes::from_string(message)))
}

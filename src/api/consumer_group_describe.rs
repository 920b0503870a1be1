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

use crate::api::context::{Caller, do_all};
use crate::api::describe_groups::ALL_GROUP_OPERATIONS;
use crate::api::errors::{self, Code};

pub(super) async fn handle(
    caller: &Caller,
    request: ConsumerGroupDescribeRequest,
    _version: i16,
) -> ConsumerGroupDescribeResponse {
    let mut groups = do_all(request.group_ids.into_iter().map(|id| describe(caller, id))).await;
    if request.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| group.error_code == errors::NONE) {
            group.authorized_operations = ALL_GROUP_OPERATIONS;
        }
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

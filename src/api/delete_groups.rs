//! DeleteGroups (key 42), versions 0 to 2: delete groups with their offsets (KIP-229).
//!
//! Behaviour
//! * A group with members is refused with NON_EMPTY_GROUP.
//! * A group that stands more than once in a request is deleted and answered once.
//!
//! Versions: 2 flexible.

use std::collections::BTreeSet;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};

use crate::api::context::{Caller, Context, do_all};
use crate::api::errors::{self, NONE};

pub(super) async fn handle(
    caller: &Caller,
    request: DeleteGroupsRequest,
    _version: i16,
) -> DeleteGroupsResponse {
    let mut seen = BTreeSet::new();
    let once = request.groups_names.into_iter().filter(|name| seen.insert(name.clone()));
    let work = once.map(|name| delete(&caller.context, name));
    DeleteGroupsResponse::default().with_results(do_all(work).await)
}

/// The codes in a response.
pub(super) fn errors(response: &DeleteGroupsResponse) -> impl Iterator<Item = i16> {
    response.results.iter().map(|result| result.error_code)
}

async fn delete(context: &Context, name: GroupId) -> DeletableGroupResult {
    let group = name.to_string();
    let decided =
        context.groups.run(&name, move |groups, step| groups.delete_group(step, &group)).await;
    let code = match decided {
        Ok(Ok(())) => NONE,
        Ok(Err(code)) => code.code(),
        Err(unavailable) => errors::of_coordinator(unavailable).code(),
    };
    DeletableGroupResult::default().with_group_id(name).with_error_code(code)
}

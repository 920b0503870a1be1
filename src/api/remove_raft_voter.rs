//! RemoveRaftVoter (key 81), version 0: end a node's vote on metadata (KIP-853).
//!
//! Behaviour
//! * The last voter stays. The zero directory stands for any.
//! * It is answered when the change is decided; the metadata group makes it at once.
//! * Another cluster's id is refused with INCONSISTENT_CLUSTER_ID.
//!
//! Versions: 0 is the first.

use kafka_protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};

use crate::api::add_raft_voter::is_other_cluster;
use crate::api::alter_configs::WAIT_MS_MAX;
use crate::api::context::{Caller, Deadline};
use crate::api::errors::{Code, Told};
use crate::base::ids::{DirectoryId, NodeId};
use crate::controller::nodes::{self, VoterKey};
use crate::metadata::image::Image;

pub(super) async fn handle(
    caller: &Caller,
    request: RemoveRaftVoterRequest,
    _version: i16,
) -> RemoveRaftVoterResponse {
    let key = VoterKey {
        node: NodeId(request.voter_id),
        directory: DirectoryId(*request.voter_directory_id.as_bytes()),
    };
    let cluster = request.cluster_id.as_deref();
    let told = if is_other_cluster(caller, cluster) {
        Code::InconsistentClusterId.into()
    } else {
        let decide = |image: &Image| nodes::remove_voter(image, key);
        match caller.context.decide(Deadline::after_ms(WAIT_MS_MAX), decide).await {
            Ok(outcome) => Told::from(outcome),
            Err(code) => code.into(),
        }
    };
    RemoveRaftVoterResponse::default().with_error_code(told.code).with_error_message(told.message)
}

/// The codes in a response.
pub(super) fn errors(response: &RemoveRaftVoterResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

//! AddRaftVoter (key 80), version 0: let a node vote on metadata (KIP-853).
//!
//! Behaviour
//! * The node must have joined: then its listeners are known, and what the request says of them is
//!   not needed. The zero directory stands for the one that it joined with.
//! * It is answered when the change is decided; the metadata group makes it at once.
//! * Another cluster's id is refused with INCONSISTENT_CLUSTER_ID.
//!
//! Versions: 0; 1 of Kafka 4.3 may be answered before the change is decided (KIP-1186), and is not
//! served.

use kafka_protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};

use crate::api::context::{Caller, Deadline};
use crate::api::errors::{Code, Told};
use crate::base::ids::{DirectoryId, NodeId};
use crate::controller::nodes::{self, VoterKey};
use crate::metadata::image::Image;

pub(super) async fn handle(
    caller: &Caller,
    request: AddRaftVoterRequest,
    _version: i16,
) -> AddRaftVoterResponse {
    let key = VoterKey {
        node: NodeId(request.voter_id),
        directory: DirectoryId(*request.voter_directory_id.as_bytes()),
    };
    let cluster = request.cluster_id.as_deref();
    let told = if is_other_cluster(caller, cluster) {
        Code::InconsistentClusterId.into()
    } else {
        let decide = |image: &Image| nodes::add_voter(image, key);
        let deadline = Deadline::after_ms(request.timeout_ms);
        match caller.context.decide(deadline, decide).await {
            Ok(outcome) => Told::from(outcome),
            Err(code) => code.into(),
        }
    };
    AddRaftVoterResponse::default().with_error_code(told.code).with_error_message(told.message)
}

/// Whether a request is meant for another cluster.
pub(super) fn is_other_cluster(caller: &Caller, cluster_id: Option<&str>) -> bool {
    cluster_id.is_some_and(|id| id != caller.context.image().cluster_id)
}

/// The codes in a response.
pub(super) fn errors(response: &AddRaftVoterResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

//! AddRaftVoter (key 80), versions 0 to 1: let a node vote on metadata (KIP-853).
//!
//! Behaviour
//! * The node must have joined: then its listeners are known, and what the request says of them is
//!   not needed. The zero directory stands for the one that it joined with.
//! * It is answered when the change is decided; the metadata group makes it at once. A client that
//!   would not wait for that much (version 1) is told no sooner.
//! * Another cluster's id is refused with INCONSISTENT_CLUSTER_ID.
//!
//! Versions: 1 adds whether the answer is to wait until the change is decided (KIP-1186); its
//! requests are read by hand.

use bytes::Bytes;
use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::{Caller, Deadline};
use crate::api::errors::{Code, Told};
use crate::base::ids::{DirectoryId, NodeId};
use crate::base::primitives::Reader;
use crate::controller::nodes::{self, VoterKey};
use crate::metadata::image::Image;

/// Two empty names, a port, and no tagged fields.
const LISTENER_BYTES_MIN: usize = 5;

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

/// Reads version 1.
pub(super) fn decode(body: &Bytes) -> Option<AddRaftVoterRequest> {
    let mut read = Reader::new(body.clone(), true);
    let text = |text: String| StrBytes::from_string(text);
    let request = AddRaftVoterRequest::default()
        .with_cluster_id(read.nullable_string()?.map(text))
        .with_timeout_ms(read.i32()?)
        .with_voter_id(read.i32()?)
        .with_voter_directory_id(Uuid::from_bytes(read.uuid()?));
    let listeners = read.array(LISTENER_BYTES_MIN, |read| {
        let listener = Listener::default()
            .with_name(text(read.string()?))
            .with_host(text(read.string()?))
            .with_port(u16::from_be_bytes(read.i16()?.to_be_bytes()));
        read.skip_tagged()?;
        Some(listener)
    })?;
    let _ack_when_committed = read.i8()?;
    read.skip_tagged()?;
    Some(request.with_listeners(listeners))
}

/// Whether a request is meant for another cluster.
pub(super) fn is_other_cluster(caller: &Caller, cluster_id: Option<&str>) -> bool {
    cluster_id.is_some_and(|id| id != caller.context.image().cluster_id)
}

/// The codes in a response.
pub(super) fn errors(response: &AddRaftVoterResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

//! AlterPartitionReassignments (key 45), versions 0 to 1: move replicas, or take that back
//! (KIP-455).
//!
//! Behaviour
//! * A move is answered when it is begun. The partition's leader lets the new replicas catch up,
//!   then changes the group's members, and then the move is over.
//! * Null replicas take the move back that is under way. The replicas that were to go have stayed.
//!   Kafka forgets the new ones at once, here they go in order, like any that are to go.
//!
//! Versions: 1 may insist on as many replicas as before (KIP-860).

use kafka_protocol::messages::alter_partition_reassignments_request::ReassignableTopic;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};

use crate::api::context::{Caller, Deadline};
use crate::api::errors::Told;
use crate::base::ids::NodeId;
use crate::controller::reassign::{self, Factor, Wish};
use crate::metadata::image::Image;

pub(super) async fn handle(
    caller: &Caller,
    request: AlterPartitionReassignmentsRequest,
    _version: i16,
) -> AlterPartitionReassignmentsResponse {
    let may_change = request.allow_replication_factor_change;
    let factor = if may_change { Factor::MayChange } else { Factor::Stays };
    let response = AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(may_change);
    let wishes: Vec<Wish> = request.topics.iter().flat_map(wishes).collect();
    let decide = |image: &Image| reassign::decide(image, factor, &wishes);
    let deadline = Deadline::after_ms(request.timeout_ms);
    let outcomes = match caller.context.decide(deadline, decide).await {
        Ok(outcomes) => outcomes,
        Err(code) => return response.with_error_code(code.code()),
    };
    let mut outcomes = outcomes.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let answered = topic.partitions.iter().zip(&mut outcomes).map(|(partition, outcome)| {
            let told = Told::from(outcome);
            ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(told.code)
                .with_error_message(told.message)
        });
        let answered = answered.collect();
        ReassignableTopicResponse::default().with_name(topic.name).with_partitions(answered)
    });
    response.with_error_message(None).with_responses(topics.collect())
}

/// The codes in a response.
pub(super) fn errors(response: &AlterPartitionReassignmentsResponse) -> impl Iterator<Item = i16> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    std::iter::once(response.error_code).chain(partitions.map(|partition| partition.error_code))
}

fn wishes(topic: &ReassignableTopic) -> impl Iterator<Item = Wish> {
    topic.partitions.iter().map(|partition| Wish {
        topic: topic.name.to_string(),
        partition: partition.partition_index,
        replicas: partition
            .replicas
            .as_ref()
            .map(|replicas| replicas.iter().map(|id| NodeId(id.0)).collect()),
    })
}

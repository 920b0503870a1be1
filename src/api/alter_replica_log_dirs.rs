//! AlterReplicaLogDirs (key 34), versions 1 to 2: moves replicas of this broker from one of its log
//! dirs to another while they are in use (KIP-113).
//!
//! Behaviour
//! * A move is answered when it is begun; DescribeLogDirs tells how far it is. One that is altered
//!   is given up, also back to where the replica is.
//! * For a partition that is not here the log dir is remembered until the broker stops, and the
//!   answer is REPLICA_NOT_AVAILABLE, or UNKNOWN_TOPIC_OR_PARTITION if there is none.
//! * LOG_DIR_NOT_FOUND for a folder that is no log dir, KAFKA_STORAGE_ERROR for one that is offline
//!   and for a replica whose log has failed.
//! * A move that is under way when the broker stops is begun anew at the next start.
//!
//! Versions: 2 flexible.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName,
};

use crate::api::context::{Caller, Context};
use crate::api::errors::{self, Code, NONE};
use crate::base::ids::PartitionIndex;
use crate::partition::registry::Status;

pub(super) async fn handle(
    caller: &Caller,
    request: AlterReplicaLogDirsRequest,
    _version: i16,
) -> AlterReplicaLogDirsResponse {
    let mut results: BTreeMap<TopicName, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            let answers = results.entry(topic.name.clone()).or_default();
            for partition in &topic.partitions {
                let code = alter(&caller.context, &topic.name, *partition, &dir.path).await;
                answers.push(
                    AlterReplicaLogDirPartitionResult::default()
                        .with_partition_index(*partition)
                        .with_error_code(code.map_or(NONE, |code| code.code())),
                );
            }
        }
    }
    let results = results.into_iter().map(|(name, partitions)| {
        AlterReplicaLogDirTopicResult::default().with_topic_name(name).with_partitions(partitions)
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}

/// The codes in a response.
pub(super) fn errors(response: &AlterReplicaLogDirsResponse) -> impl Iterator<Item = i16> {
    let partitions = response.results.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code)
}

/// The error, if there is one.
async fn alter(
    context: &Context,
    topic: &str,
    partition: PartitionIndex,
    dir: &str,
) -> Option<Code> {
    let image = context.image();
    let status = image.topic(topic).map(|topic| context.partition(topic.id, partition));
    let id = match status {
        Some(Status::Open(found)) => Some(found.id),
        Some(Status::Failed) => return Some(Code::KafkaStorageError),
        Some(Status::Absent) | None => None,
    };
    let moved = context.registry.move_to(topic, partition, id, dir).await;
    let is_known =
        image.topic(topic).is_some_and(|topic| topic.partitions.contains_key(&partition));
    moved.err().map(|error| match errors::of_move(error) {
        // The log dir is remembered all the same.
        Code::ReplicaNotAvailable if !is_known => Code::UnknownTopicOrPartition,
        code => code,
    })
}

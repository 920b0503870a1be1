//! The APIs: one file per key, one line per key in [`TABLE`]. The table gives ApiVersions,
//! decoding, dispatch and the metric label. A handler holds no state and does no IO of its own: it
//! validates, calls one service, and translates the answer.

pub mod context;
pub mod elections;
pub mod errors;
mod leader_hint;
mod leaders;
pub mod response;

mod add_raft_voter;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
pub mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
pub mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod remove_raft_voter;
mod sync_group;
mod unregister_broker;
mod update_features;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use kafka_protocol::messages as msg;
use kafka_protocol::protocol::Request;

use crate::api::context::Caller;
use crate::api::response::Response;

/// A request whose header has been read and whose shape has been checked.
#[derive(Debug)]
pub struct RawRequest {
    pub version: i16,
    pub correlation_id: i32,
    /// What the client calls itself, in UTF-8.
    pub client_id: Option<Bytes>,
    pub body: Bytes,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    Answer(Response),
    /// `acks=0`.
    Silence,
    /// The connection ends; the reason is logged there.
    Close(&'static str),
}

/// An answer under way.
pub type Pending = BoxFuture<'static, Outcome>;

/// How a request is run with respect to the others of its connection.
#[derive(Clone, Copy)]
pub enum Run {
    /// After all earlier requests but parked fetches, before all later ones.
    InTurn(fn(Arc<Caller>, RawRequest) -> Pending),
    /// In two stages: the first is run in turn, the second (the wait for the majority, or for
    /// records) lets later requests begin.
    Staged(fn(Arc<Caller>, RawRequest) -> BoxFuture<'static, Pending>),
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InTurn(_) => "InTurn",
            Self::Staged(_) => "Staged",
        })
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    pub key: i16,
    pub name: &'static str,
    /// The versions that are served.
    pub min: i16,
    pub max: i16,
    /// What ApiVersions tells.
    pub advertised_min: i16,
    pub run: Run,
}

/// A handler of one message type, run in turn, and beside it `errors`, the codes in its response.
/// A version above `$coded` has the same bytes as it. Requests from version `$hand` on are unknown
/// to kafka-protocol and read by `decode` beside the handler.
macro_rules! in_turn {
    ($key:literal, $name:literal, $module:ident, $request:ty, $min:literal..=$max:literal) => {
        in_turn!($key, $name, $module, $request, $min..=$max, coded as $max)
    };
    (
        $key:literal, $name:literal, $module:ident, $request:ty, $min:literal..=$max:literal,
        coded as $coded:literal
    ) => {
        in_turn!(@ $key, $name, $module, $request, $min..=$max, $coded,
            |raw: &RawRequest| decode(raw, raw.version.min($coded)))
    };
    (
        $key:literal, $name:literal, $module:ident, $request:ty, $min:literal..=$max:literal,
        read by hand from $hand:literal
    ) => {
        in_turn!($key, $name, $module, $request, $min..=$max, coded as $max,
            read by hand from $hand)
    };
    (
        $key:literal, $name:literal, $module:ident, $request:ty, $min:literal..=$max:literal,
        coded as $coded:literal, read by hand from $hand:literal
    ) => {
        in_turn!(@ $key, $name, $module, $request, $min..=$max, $coded,
            |raw: &RawRequest| match raw.version {
                $hand.. => $module::decode(&raw.body).ok_or(UNDECODED),
                version => decode(raw, version),
            })
    };
    (
        @ $key:literal, $name:literal, $module:ident, $request:ty, $min:literal..=$max:literal,
        $coded:literal, $read:expr
    ) => {
        Api {
            key: $key,
            name: $name,
            min: $min,
            max: $max,
            advertised_min: $min,
            run: Run::InTurn(|caller, raw| {
                Box::pin(async move {
                    let request: $request = match $read(&raw) {
                        Ok(request) => request,
                        Err(close) => return close,
                    };
                    let caller = caller.of(&raw);
                    let response = $module::handle(&caller, request, raw.version).await;
                    let errors = $module::errors(&response);
                    encode::<$request>(&raw, raw.version.min($coded), &response, errors)
                })
            }),
        }
    };
}

/// A handler that reads and writes its frames by hand, in two stages.
macro_rules! staged {
    ($key:literal, $name:literal, $module:ident, $min:literal..=$max:literal, $from:literal) => {
        Api {
            key: $key,
            name: $name,
            min: $min,
            max: $max,
            advertised_min: $from,
            run: Run::Staged(|caller, raw| Box::pin($module::start(caller, raw))),
        }
    };
}

/// Every API that this broker serves, by key.
pub static TABLE: &[Api] = &[
    // Advertised from 0 although 0 to 2 are refused: librdkafka otherwise takes the broker for one
    // without compression (KAFKA-18659).
    staged!(0, "Produce", produce, 3..=13, 0),
    staged!(1, "Fetch", fetch, 4..=18, 4),
    // 11 only adds a timestamp with a meaning of its own.
    in_turn!(2, "ListOffsets", list_offsets, msg::ListOffsetsRequest, 1..=11, coded as 10),
    in_turn!(3, "Metadata", metadata, msg::MetadataRequest, 0..=13),
    in_turn!(
        8,
        "OffsetCommit",
        offset_commit,
        msg::OffsetCommitRequest,
        2..=10,
        read by hand from 10
    ),
    in_turn!(
        9,
        "OffsetFetch",
        offset_fetch,
        msg::OffsetFetchRequest,
        1..=10,
        read by hand from 10
    ),
    in_turn!(10, "FindCoordinator", find_coordinator, msg::FindCoordinatorRequest, 0..=6),
    in_turn!(11, "JoinGroup", join_group, msg::JoinGroupRequest, 0..=9),
    in_turn!(12, "Heartbeat", heartbeat, msg::HeartbeatRequest, 0..=4),
    in_turn!(13, "LeaveGroup", leave_group, msg::LeaveGroupRequest, 0..=5),
    in_turn!(14, "SyncGroup", sync_group, msg::SyncGroupRequest, 0..=5),
    in_turn!(15, "DescribeGroups", describe_groups, msg::DescribeGroupsRequest, 0..=6),
    in_turn!(16, "ListGroups", list_groups, msg::ListGroupsRequest, 0..=5),
    in_turn!(18, "ApiVersions", api_versions, msg::ApiVersionsRequest, 0..=4),
    in_turn!(19, "CreateTopics", create_topics, msg::CreateTopicsRequest, 2..=7),
    in_turn!(20, "DeleteTopics", delete_topics, msg::DeleteTopicsRequest, 1..=6),
    in_turn!(21, "DeleteRecords", delete_records, msg::DeleteRecordsRequest, 0..=2),
    in_turn!(22, "InitProducerId", init_producer_id, msg::InitProducerIdRequest, 0..=5),
    in_turn!(
        23,
        "OffsetForLeaderEpoch",
        offset_for_leader_epoch,
        msg::OffsetForLeaderEpochRequest,
        2..=4
    ),
    in_turn!(32, "DescribeConfigs", describe_configs, msg::DescribeConfigsRequest, 1..=4),
    in_turn!(33, "AlterConfigs", alter_configs, msg::AlterConfigsRequest, 0..=2),
    in_turn!(
        34,
        "AlterReplicaLogDirs",
        alter_replica_log_dirs,
        msg::AlterReplicaLogDirsRequest,
        1..=2
    ),
    staged!(35, "DescribeLogDirs", describe_log_dirs, 1..=5, 1),
    in_turn!(37, "CreatePartitions", create_partitions, msg::CreatePartitionsRequest, 0..=3),
    in_turn!(42, "DeleteGroups", delete_groups, msg::DeleteGroupsRequest, 0..=2),
    in_turn!(43, "ElectLeaders", elect_leaders, msg::ElectLeadersRequest, 0..=2),
    in_turn!(
        44,
        "IncrementalAlterConfigs",
        incremental_alter_configs,
        msg::IncrementalAlterConfigsRequest,
        0..=1
    ),
    in_turn!(
        45,
        "AlterPartitionReassignments",
        alter_partition_reassignments,
        msg::AlterPartitionReassignmentsRequest,
        0..=1
    ),
    in_turn!(
        46,
        "ListPartitionReassignments",
        list_partition_reassignments,
        msg::ListPartitionReassignmentsRequest,
        0..=0
    ),
    in_turn!(47, "OffsetDelete", offset_delete, msg::OffsetDeleteRequest, 0..=0),
    in_turn!(55, "DescribeQuorum", describe_quorum, msg::DescribeQuorumRequest, 0..=2),
    in_turn!(57, "UpdateFeatures", update_features, msg::UpdateFeaturesRequest, 0..=2),
    in_turn!(60, "DescribeCluster", describe_cluster, msg::DescribeClusterRequest, 0..=2),
    in_turn!(64, "UnregisterBroker", unregister_broker, msg::UnregisterBrokerRequest, 0..=0),
    in_turn!(
        68,
        "ConsumerGroupHeartbeat",
        consumer_group_heartbeat,
        msg::ConsumerGroupHeartbeatRequest,
        0..=1
    ),
    in_turn!(
        69,
        "ConsumerGroupDescribe",
        consumer_group_describe,
        msg::ConsumerGroupDescribeRequest,
        0..=1
    ),
    in_turn!(
        74,
        "ListConfigResources",
        list_config_resources,
        msg::ListConfigResourcesRequest,
        0..=1
    ),
    in_turn!(
        75,
        "DescribeTopicPartitions",
        describe_topic_partitions,
        msg::DescribeTopicPartitionsRequest,
        0..=0
    ),
    in_turn!(
        80,
        "AddRaftVoter",
        add_raft_voter,
        msg::AddRaftVoterRequest,
        0..=1,
        coded as 0,
        read by hand from 1
    ),
    in_turn!(81, "RemoveRaftVoter", remove_raft_voter, msg::RemoveRaftVoterRequest, 0..=0),
];

/// The line of an API key.
pub fn find(key: i16) -> Option<&'static Api> {
    TABLE.binary_search_by_key(&key, |api| api.key).ok().and_then(|at| TABLE.get(at))
}

const UNDECODED: Outcome = Outcome::Close("request could not be decoded");

fn decode<R: Request>(raw: &RawRequest, version: i16) -> Result<R, Outcome> {
    R::decode(&mut raw.body.clone(), version).map_err(|_| UNDECODED)
}

fn encode<R: Request>(
    raw: &RawRequest,
    version: i16,
    response: &R::Response,
    errors: impl Iterator<Item = i16>,
) -> Outcome {
    match Response::encode::<R>(raw.correlation_id, version, response) {
        Ok(response) => Outcome::Answer(response.with_errors(errors)),
        Err(error) => {
            tracing::error!(key = R::KEY, version, %error, "response not encoded");
            Outcome::Close("response could not be encoded")
        }
    }
}

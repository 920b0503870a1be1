//! Shapes of the requests below key 45, one line per field. Generated, do not edit:
//! `compat-tests/schemas/shapes.py path/to/kafka-clients-4.3.1.jar src/wire/shape`
//!
//! A struct is sized as kafka-protocol holds it in memory, as that is what decoding will allocate.
//! Fields of fixed size that follow one another in the same versions share a line.

use kafka_protocol::messages as m;

use super::schema::Kind::{Blob, Fixed, FixedArray, Struct, StructArray, Text, TextArray};
use super::schema::{END, Shape, field, nullable, shape, tag};

// 0 Produce
static PRODUCE_TOPIC_DATA_PARTITION_DATA: Shape =
    shape::<m::produce_request::PartitionProduceData>(&[
    field(0, END, Fixed(4)),             // Index
    nullable(0, END, 0, Blob),           // Records
], &[]);
static PRODUCE_TOPIC_DATA: Shape = shape::<m::produce_request::TopicProduceData>(&[
    field(0, 12, Text),                  // Name
    field(13, END, Fixed(16)),           // TopicId
    field(0, END, StructArray(&PRODUCE_TOPIC_DATA_PARTITION_DATA)),
], &[]);
pub(super) static PRODUCE: Shape = shape::<m::produce_request::ProduceRequest>(&[
    nullable(3, END, 3, Text),           // TransactionalId
    field(0, END, Fixed(6)),             // Acks, TimeoutMs
    field(0, END, StructArray(&PRODUCE_TOPIC_DATA)),
], &[]);

// 1 Fetch
static FETCH_REPLICA_STATE: Shape = shape::<m::fetch_request::ReplicaState>(&[
    field(15, END, Fixed(12)),           // ReplicaId, ReplicaEpoch
], &[]);
static FETCH_TOPICS_PARTITIONS: Shape = shape::<m::fetch_request::FetchPartition>(&[
    field(0, END, Fixed(4)),             // Partition
    field(9, END, Fixed(4)),             // CurrentLeaderEpoch
    field(0, END, Fixed(8)),             // FetchOffset
    field(12, END, Fixed(4)),            // LastFetchedEpoch
    field(5, END, Fixed(8)),             // LogStartOffset
    field(0, END, Fixed(4)),             // PartitionMaxBytes
], &[
    tag(0, field(17, END, Fixed(16))),   // ReplicaDirectoryId
    tag(1, field(18, END, Fixed(8))),    // HighWatermark
]);
static FETCH_TOPICS: Shape = shape::<m::fetch_request::FetchTopic>(&[
    field(0, 12, Text),                  // Topic
    field(13, END, Fixed(16)),           // TopicId
    field(0, END, StructArray(&FETCH_TOPICS_PARTITIONS)),
], &[]);
static FETCH_FORGOTTEN_TOPICS_DATA: Shape = shape::<m::fetch_request::ForgottenTopic>(&[
    field(7, 12, Text),                  // Topic
    field(13, END, Fixed(16)),           // TopicId
    field(7, END, FixedArray(4)),        // Partitions
], &[]);
pub(super) static FETCH: Shape = shape::<m::fetch_request::FetchRequest>(&[
    field(0, 14, Fixed(4)),              // ReplicaId
    field(0, END, Fixed(8)),             // MaxWaitMs, MinBytes
    field(3, END, Fixed(4)),             // MaxBytes
    field(4, END, Fixed(1)),             // IsolationLevel
    field(7, END, Fixed(8)),             // SessionId, SessionEpoch
    field(0, END, StructArray(&FETCH_TOPICS)),
    field(7, END, StructArray(&FETCH_FORGOTTEN_TOPICS_DATA)),
    field(11, END, Text),                // RackId
], &[
    tag(0, nullable(12, END, 12, Text)), // ClusterId
    tag(1, field(15, END, Struct(&FETCH_REPLICA_STATE))),
]);

// 2 ListOffsets
static LIST_OFFSETS_TOPICS_PARTITIONS: Shape =
    shape::<m::list_offsets_request::ListOffsetsPartition>(&[
    field(0, END, Fixed(4)),             // PartitionIndex
    field(4, END, Fixed(4)),             // CurrentLeaderEpoch
    field(0, END, Fixed(8)),             // Timestamp
], &[]);
static LIST_OFFSETS_TOPICS: Shape = shape::<m::list_offsets_request::ListOffsetsTopic>(&[
    field(0, END, Text),                 // Name
    field(0, END, StructArray(&LIST_OFFSETS_TOPICS_PARTITIONS)),
], &[]);
pub(super) static LIST_OFFSETS: Shape = shape::<m::list_offsets_request::ListOffsetsRequest>(&[
    field(0, END, Fixed(4)),             // ReplicaId
    field(2, END, Fixed(1)),             // IsolationLevel
    field(0, END, StructArray(&LIST_OFFSETS_TOPICS)),
    field(10, END, Fixed(4)),            // TimeoutMs
], &[]);

// 3 Metadata
static METADATA_TOPICS: Shape = shape::<m::metadata_request::MetadataRequestTopic>(&[
    field(10, END, Fixed(16)),           // TopicId
    nullable(0, END, 10, Text),          // Name
], &[]);
pub(super) static METADATA: Shape = shape::<m::metadata_request::MetadataRequest>(&[
    nullable(0, END, 1, StructArray(&METADATA_TOPICS)),
    field(4, END, Fixed(1)),             // AllowAutoTopicCreation
    field(8, 10, Fixed(1)),              // IncludeClusterAuthorizedOperations
    field(8, END, Fixed(1)),             // IncludeTopicAuthorizedOperations
], &[]);

// 8 OffsetCommit
static OFFSET_COMMIT_TOPICS_PARTITIONS: Shape =
    shape::<m::offset_commit_request::OffsetCommitRequestPartition>(&[
    field(0, END, Fixed(12)),            // PartitionIndex, CommittedOffset
    field(6, END, Fixed(4)),             // CommittedLeaderEpoch
    nullable(0, END, 0, Text),           // CommittedMetadata
], &[]);
static OFFSET_COMMIT_TOPICS: Shape = shape::<m::offset_commit_request::OffsetCommitRequestTopic>(&[
    field(0, 9, Text),                   // Name
    field(10, END, Fixed(16)),           // TopicId
    field(0, END, StructArray(&OFFSET_COMMIT_TOPICS_PARTITIONS)),
], &[]);
pub(super) static OFFSET_COMMIT: Shape = shape::<m::offset_commit_request::OffsetCommitRequest>(&[
    field(0, END, Text),                 // GroupId
    field(1, END, Fixed(4)),             // GenerationIdOrMemberEpoch
    field(1, END, Text),                 // MemberId
    nullable(7, END, 7, Text),           // GroupInstanceId
    field(2, 4, Fixed(8)),               // RetentionTimeMs
    field(0, END, StructArray(&OFFSET_COMMIT_TOPICS)),
], &[]);

// 9 OffsetFetch
static OFFSET_FETCH_TOPICS: Shape = shape::<m::offset_fetch_request::OffsetFetchRequestTopic>(&[
    field(0, 7, Text),                   // Name
    field(0, 7, FixedArray(4)),          // PartitionIndexes
], &[]);
static OFFSET_FETCH_GROUPS_TOPICS: Shape =
    shape::<m::offset_fetch_request::OffsetFetchRequestTopics>(&[
    field(8, 9, Text),                   // Name
    field(10, END, Fixed(16)),           // TopicId
    field(8, END, FixedArray(4)),        // PartitionIndexes
], &[]);
static OFFSET_FETCH_GROUPS: Shape = shape::<m::offset_fetch_request::OffsetFetchRequestGroup>(&[
    field(8, END, Text),                 // GroupId
    nullable(9, END, 9, Text),           // MemberId
    field(9, END, Fixed(4)),             // MemberEpoch
    nullable(8, END, 8, StructArray(&OFFSET_FETCH_GROUPS_TOPICS)),
], &[]);
pub(super) static OFFSET_FETCH: Shape = shape::<m::offset_fetch_request::OffsetFetchRequest>(&[
    field(0, 7, Text),                   // GroupId
    nullable(0, 7, 2, StructArray(&OFFSET_FETCH_TOPICS)),
    field(8, END, StructArray(&OFFSET_FETCH_GROUPS)),
    field(7, END, Fixed(1)),             // RequireStable
], &[]);

// 10 FindCoordinator
pub(super) static FIND_COORDINATOR: Shape =
    shape::<m::find_coordinator_request::FindCoordinatorRequest>(&[
    field(0, 3, Text),                   // Key
    field(1, END, Fixed(1)),             // KeyType
    field(4, END, TextArray),            // CoordinatorKeys
], &[]);

// 11 JoinGroup
static JOIN_GROUP_PROTOCOLS: Shape = shape::<m::join_group_request::JoinGroupRequestProtocol>(&[
    field(0, END, Text),                 // Name
    field(0, END, Blob),                 // Metadata
], &[]);
pub(super) static JOIN_GROUP: Shape = shape::<m::join_group_request::JoinGroupRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, Fixed(4)),             // SessionTimeoutMs
    field(1, END, Fixed(4)),             // RebalanceTimeoutMs
    field(0, END, Text),                 // MemberId
    nullable(5, END, 5, Text),           // GroupInstanceId
    field(0, END, Text),                 // ProtocolType
    field(0, END, StructArray(&JOIN_GROUP_PROTOCOLS)),
    nullable(8, END, 8, Text),           // Reason
], &[]);

// 12 Heartbeat
pub(super) static HEARTBEAT: Shape = shape::<m::heartbeat_request::HeartbeatRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, Fixed(4)),             // GenerationId
    field(0, END, Text),                 // MemberId
    nullable(3, END, 3, Text),           // GroupInstanceId
], &[]);

// 13 LeaveGroup
static LEAVE_GROUP_MEMBERS: Shape = shape::<m::leave_group_request::MemberIdentity>(&[
    field(3, END, Text),                 // MemberId
    nullable(3, END, 3, Text),           // GroupInstanceId
    nullable(5, END, 5, Text),           // Reason
], &[]);
pub(super) static LEAVE_GROUP: Shape = shape::<m::leave_group_request::LeaveGroupRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, 2, Text),                   // MemberId
    field(3, END, StructArray(&LEAVE_GROUP_MEMBERS)),
], &[]);

// 14 SyncGroup
static SYNC_GROUP_ASSIGNMENTS: Shape = shape::<m::sync_group_request::SyncGroupRequestAssignment>(&[
    field(0, END, Text),                 // MemberId
    field(0, END, Blob),                 // Assignment
], &[]);
pub(super) static SYNC_GROUP: Shape = shape::<m::sync_group_request::SyncGroupRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, Fixed(4)),             // GenerationId
    field(0, END, Text),                 // MemberId
    nullable(3, END, 3, Text),           // GroupInstanceId
    nullable(5, END, 5, Text),           // ProtocolType
    nullable(5, END, 5, Text),           // ProtocolName
    field(0, END, StructArray(&SYNC_GROUP_ASSIGNMENTS)),
], &[]);

// 15 DescribeGroups
pub(super) static DESCRIBE_GROUPS: Shape =
    shape::<m::describe_groups_request::DescribeGroupsRequest>(&[
    field(0, END, TextArray),            // Groups
    field(3, END, Fixed(1)),             // IncludeAuthorizedOperations
], &[]);

// 16 ListGroups
pub(super) static LIST_GROUPS: Shape = shape::<m::list_groups_request::ListGroupsRequest>(&[
    field(4, END, TextArray),            // StatesFilter
    field(5, END, TextArray),            // TypesFilter
], &[]);

// 17 SaslHandshake
pub(super) static SASL_HANDSHAKE: Shape =
    shape::<m::sasl_handshake_request::SaslHandshakeRequest>(&[
    field(0, END, Text),                 // Mechanism
], &[]);

// 18 ApiVersions
pub(super) static API_VERSIONS: Shape = shape::<m::api_versions_request::ApiVersionsRequest>(&[
    field(3, END, Text),                 // ClientSoftwareName
    field(3, END, Text),                 // ClientSoftwareVersion
], &[]);

// 19 CreateTopics
static CREATE_TOPICS_TOPICS_ASSIGNMENTS: Shape =
    shape::<m::create_topics_request::CreatableReplicaAssignment>(&[
    field(0, END, Fixed(4)),             // PartitionIndex
    field(0, END, FixedArray(4)),        // BrokerIds
], &[]);
static CREATE_TOPICS_TOPICS_CONFIGS: Shape =
    shape::<m::create_topics_request::CreatableTopicConfig>(&[
    field(0, END, Text),                 // Name
    nullable(0, END, 0, Text),           // Value
], &[]);
static CREATE_TOPICS_TOPICS: Shape = shape::<m::create_topics_request::CreatableTopic>(&[
    field(0, END, Text),                 // Name
    field(0, END, Fixed(6)),             // NumPartitions, ReplicationFactor
    field(0, END, StructArray(&CREATE_TOPICS_TOPICS_ASSIGNMENTS)),
    field(0, END, StructArray(&CREATE_TOPICS_TOPICS_CONFIGS)),
], &[]);
pub(super) static CREATE_TOPICS: Shape = shape::<m::create_topics_request::CreateTopicsRequest>(&[
    field(0, END, StructArray(&CREATE_TOPICS_TOPICS)),
    field(0, END, Fixed(4)),             // timeoutMs
    field(1, END, Fixed(1)),             // validateOnly
], &[]);

// 20 DeleteTopics
static DELETE_TOPICS_TOPICS: Shape = shape::<m::delete_topics_request::DeleteTopicState>(&[
    nullable(6, END, 6, Text),           // Name
    field(6, END, Fixed(16)),            // TopicId
], &[]);
pub(super) static DELETE_TOPICS: Shape = shape::<m::delete_topics_request::DeleteTopicsRequest>(&[
    field(6, END, StructArray(&DELETE_TOPICS_TOPICS)),
    field(0, 5, TextArray),              // TopicNames
    field(0, END, Fixed(4)),             // TimeoutMs
], &[]);

// 21 DeleteRecords
static DELETE_RECORDS_TOPICS_PARTITIONS: Shape =
    shape::<m::delete_records_request::DeleteRecordsPartition>(&[
    field(0, END, Fixed(12)),            // PartitionIndex, Offset
], &[]);
static DELETE_RECORDS_TOPICS: Shape = shape::<m::delete_records_request::DeleteRecordsTopic>(&[
    field(0, END, Text),                 // Name
    field(0, END, StructArray(&DELETE_RECORDS_TOPICS_PARTITIONS)),
], &[]);
pub(super) static DELETE_RECORDS: Shape =
    shape::<m::delete_records_request::DeleteRecordsRequest>(&[
    field(0, END, StructArray(&DELETE_RECORDS_TOPICS)),
    field(0, END, Fixed(4)),             // TimeoutMs
], &[]);

// 22 InitProducerId
pub(super) static INIT_PRODUCER_ID: Shape =
    shape::<m::init_producer_id_request::InitProducerIdRequest>(&[
    nullable(0, END, 0, Text),           // TransactionalId
    field(0, END, Fixed(4)),             // TransactionTimeoutMs
    field(3, END, Fixed(10)),            // ProducerId, ProducerEpoch
    field(6, END, Fixed(2)),             // Enable2Pc, KeepPreparedTxn
], &[]);

// 23 OffsetForLeaderEpoch
static OFFSET_FOR_LEADER_EPOCH_TOPICS_PARTITIONS: Shape =
    shape::<m::offset_for_leader_epoch_request::OffsetForLeaderPartition>(&[
    field(0, END, Fixed(4)),             // Partition
    field(2, END, Fixed(4)),             // CurrentLeaderEpoch
    field(0, END, Fixed(4)),             // LeaderEpoch
], &[]);
static OFFSET_FOR_LEADER_EPOCH_TOPICS: Shape =
    shape::<m::offset_for_leader_epoch_request::OffsetForLeaderTopic>(&[
    field(0, END, Text),                 // Topic
    field(0, END, StructArray(&OFFSET_FOR_LEADER_EPOCH_TOPICS_PARTITIONS)),
], &[]);
pub(super) static OFFSET_FOR_LEADER_EPOCH: Shape =
    shape::<m::offset_for_leader_epoch_request::OffsetForLeaderEpochRequest>(&[
    field(3, END, Fixed(4)),             // ReplicaId
    field(0, END, StructArray(&OFFSET_FOR_LEADER_EPOCH_TOPICS)),
], &[]);

// 24 AddPartitionsToTxn
static ADD_PARTITIONS_TO_TXN_ADD_PARTITIONS_TO_TXN_TOPIC: Shape =
    shape::<m::add_partitions_to_txn_request::AddPartitionsToTxnTopic>(&[
    field(0, END, Text),                 // Name
    field(0, END, FixedArray(4)),        // Partitions
], &[]);
static ADD_PARTITIONS_TO_TXN_TRANSACTIONS: Shape =
    shape::<m::add_partitions_to_txn_request::AddPartitionsToTxnTransaction>(&[
    field(4, END, Text),                 // TransactionalId
    field(4, END, Fixed(11)),            // ProducerId, ProducerEpoch, VerifyOnly
    field(4, END, StructArray(&ADD_PARTITIONS_TO_TXN_ADD_PARTITIONS_TO_TXN_TOPIC)),
], &[]);
pub(super) static ADD_PARTITIONS_TO_TXN: Shape =
    shape::<m::add_partitions_to_txn_request::AddPartitionsToTxnRequest>(&[
    field(4, END, StructArray(&ADD_PARTITIONS_TO_TXN_TRANSACTIONS)),
    field(0, 3, Text),                   // V3AndBelowTransactionalId
    field(0, 3, Fixed(10)),              // V3AndBelowProducerId, V3AndBelowProducerEpoch
    field(0, 3, StructArray(&ADD_PARTITIONS_TO_TXN_ADD_PARTITIONS_TO_TXN_TOPIC)),
], &[]);

// 25 AddOffsetsToTxn
pub(super) static ADD_OFFSETS_TO_TXN: Shape =
    shape::<m::add_offsets_to_txn_request::AddOffsetsToTxnRequest>(&[
    field(0, END, Text),                 // TransactionalId
    field(0, END, Fixed(10)),            // ProducerId, ProducerEpoch
    field(0, END, Text),                 // GroupId
], &[]);

// 26 EndTxn
pub(super) static END_TXN: Shape = shape::<m::end_txn_request::EndTxnRequest>(&[
    field(0, END, Text),                 // TransactionalId
    field(0, END, Fixed(11)),            // ProducerId, ProducerEpoch, Committed
], &[]);

// 27 WriteTxnMarkers
static WRITE_TXN_MARKERS_MARKERS_TOPICS: Shape =
    shape::<m::write_txn_markers_request::WritableTxnMarkerTopic>(&[
    field(0, END, Text),                 // Name
    field(0, END, FixedArray(4)),        // PartitionIndexes
], &[]);
static WRITE_TXN_MARKERS_MARKERS: Shape =
    shape::<m::write_txn_markers_request::WritableTxnMarker>(&[
    field(0, END, Fixed(11)),            // ProducerId, ProducerEpoch, TransactionResult
    field(0, END, StructArray(&WRITE_TXN_MARKERS_MARKERS_TOPICS)),
    field(0, END, Fixed(4)),             // CoordinatorEpoch
    field(2, END, Fixed(1)),             // TransactionVersion
], &[]);
pub(super) static WRITE_TXN_MARKERS: Shape =
    shape::<m::write_txn_markers_request::WriteTxnMarkersRequest>(&[
    field(0, END, StructArray(&WRITE_TXN_MARKERS_MARKERS)),
], &[]);

// 28 TxnOffsetCommit
static TXN_OFFSET_COMMIT_TOPICS_PARTITIONS: Shape =
    shape::<m::txn_offset_commit_request::TxnOffsetCommitRequestPartition>(&[
    field(0, END, Fixed(12)),            // PartitionIndex, CommittedOffset
    field(2, END, Fixed(4)),             // CommittedLeaderEpoch
    nullable(0, END, 0, Text),           // CommittedMetadata
], &[]);
static TXN_OFFSET_COMMIT_TOPICS: Shape =
    shape::<m::txn_offset_commit_request::TxnOffsetCommitRequestTopic>(&[
    field(0, END, Text),                 // Name
    field(0, END, StructArray(&TXN_OFFSET_COMMIT_TOPICS_PARTITIONS)),
], &[]);
pub(super) static TXN_OFFSET_COMMIT: Shape =
    shape::<m::txn_offset_commit_request::TxnOffsetCommitRequest>(&[
    field(0, END, Text),                 // TransactionalId
    field(0, END, Text),                 // GroupId
    field(0, END, Fixed(10)),            // ProducerId, ProducerEpoch
    field(3, END, Fixed(4)),             // GenerationId
    field(3, END, Text),                 // MemberId
    nullable(3, END, 3, Text),           // GroupInstanceId
    field(0, END, StructArray(&TXN_OFFSET_COMMIT_TOPICS)),
], &[]);

// 29 DescribeAcls
pub(super) static DESCRIBE_ACLS: Shape = shape::<m::describe_acls_request::DescribeAclsRequest>(&[
    field(0, END, Fixed(1)),             // ResourceTypeFilter
    nullable(0, END, 0, Text),           // ResourceNameFilter
    field(1, END, Fixed(1)),             // PatternTypeFilter
    nullable(0, END, 0, Text),           // PrincipalFilter
    nullable(0, END, 0, Text),           // HostFilter
    field(0, END, Fixed(2)),             // Operation, PermissionType
], &[]);

// 30 CreateAcls
static CREATE_ACLS_CREATIONS: Shape = shape::<m::create_acls_request::AclCreation>(&[
    field(0, END, Fixed(1)),             // ResourceType
    field(0, END, Text),                 // ResourceName
    field(1, END, Fixed(1)),             // ResourcePatternType
    field(0, END, Text),                 // Principal
    field(0, END, Text),                 // Host
    field(0, END, Fixed(2)),             // Operation, PermissionType
], &[]);
pub(super) static CREATE_ACLS: Shape = shape::<m::create_acls_request::CreateAclsRequest>(&[
    field(0, END, StructArray(&CREATE_ACLS_CREATIONS)),
], &[]);

// 31 DeleteAcls
static DELETE_ACLS_FILTERS: Shape = shape::<m::delete_acls_request::DeleteAclsFilter>(&[
    field(0, END, Fixed(1)),             // ResourceTypeFilter
    nullable(0, END, 0, Text),           // ResourceNameFilter
    field(1, END, Fixed(1)),             // PatternTypeFilter
    nullable(0, END, 0, Text),           // PrincipalFilter
    nullable(0, END, 0, Text),           // HostFilter
    field(0, END, Fixed(2)),             // Operation, PermissionType
], &[]);
pub(super) static DELETE_ACLS: Shape = shape::<m::delete_acls_request::DeleteAclsRequest>(&[
    field(0, END, StructArray(&DELETE_ACLS_FILTERS)),
], &[]);

// 32 DescribeConfigs
static DESCRIBE_CONFIGS_RESOURCES: Shape =
    shape::<m::describe_configs_request::DescribeConfigsResource>(&[
    field(0, END, Fixed(1)),             // ResourceType
    field(0, END, Text),                 // ResourceName
    nullable(0, END, 0, TextArray),      // ConfigurationKeys
], &[]);
pub(super) static DESCRIBE_CONFIGS: Shape =
    shape::<m::describe_configs_request::DescribeConfigsRequest>(&[
    field(0, END, StructArray(&DESCRIBE_CONFIGS_RESOURCES)),
    field(1, END, Fixed(1)),             // IncludeSynonyms
    field(3, END, Fixed(1)),             // IncludeDocumentation
], &[]);

// 33 AlterConfigs
static ALTER_CONFIGS_RESOURCES_CONFIGS: Shape =
    shape::<m::alter_configs_request::AlterableConfig>(&[
    field(0, END, Text),                 // Name
    nullable(0, END, 0, Text),           // Value
], &[]);
static ALTER_CONFIGS_RESOURCES: Shape = shape::<m::alter_configs_request::AlterConfigsResource>(&[
    field(0, END, Fixed(1)),             // ResourceType
    field(0, END, Text),                 // ResourceName
    field(0, END, StructArray(&ALTER_CONFIGS_RESOURCES_CONFIGS)),
], &[]);
pub(super) static ALTER_CONFIGS: Shape = shape::<m::alter_configs_request::AlterConfigsRequest>(&[
    field(0, END, StructArray(&ALTER_CONFIGS_RESOURCES)),
    field(0, END, Fixed(1)),             // ValidateOnly
], &[]);

// 34 AlterReplicaLogDirs
static ALTER_REPLICA_LOG_DIRS_DIRS_TOPICS: Shape =
    shape::<m::alter_replica_log_dirs_request::AlterReplicaLogDirTopic>(&[
    field(0, END, Text),                 // Name
    field(0, END, FixedArray(4)),        // Partitions
], &[]);
static ALTER_REPLICA_LOG_DIRS_DIRS: Shape =
    shape::<m::alter_replica_log_dirs_request::AlterReplicaLogDir>(&[
    field(0, END, Text),                 // Path
    field(0, END, StructArray(&ALTER_REPLICA_LOG_DIRS_DIRS_TOPICS)),
], &[]);
pub(super) static ALTER_REPLICA_LOG_DIRS: Shape =
    shape::<m::alter_replica_log_dirs_request::AlterReplicaLogDirsRequest>(&[
    field(0, END, StructArray(&ALTER_REPLICA_LOG_DIRS_DIRS)),
], &[]);

// 35 DescribeLogDirs
static DESCRIBE_LOG_DIRS_TOPICS: Shape =
    shape::<m::describe_log_dirs_request::DescribableLogDirTopic>(&[
    field(0, END, Text),                 // Topic
    field(0, END, FixedArray(4)),        // Partitions
], &[]);
pub(super) static DESCRIBE_LOG_DIRS: Shape =
    shape::<m::describe_log_dirs_request::DescribeLogDirsRequest>(&[
    nullable(0, END, 0, StructArray(&DESCRIBE_LOG_DIRS_TOPICS)),
], &[]);

// 36 SaslAuthenticate
pub(super) static SASL_AUTHENTICATE: Shape =
    shape::<m::sasl_authenticate_request::SaslAuthenticateRequest>(&[
    field(0, END, Blob),                 // AuthBytes
], &[]);

// 37 CreatePartitions
static CREATE_PARTITIONS_TOPICS_ASSIGNMENTS: Shape =
    shape::<m::create_partitions_request::CreatePartitionsAssignment>(&[
    field(0, END, FixedArray(4)),        // BrokerIds
], &[]);
static CREATE_PARTITIONS_TOPICS: Shape =
    shape::<m::create_partitions_request::CreatePartitionsTopic>(&[
    field(0, END, Text),                 // Name
    field(0, END, Fixed(4)),             // Count
    nullable(0, END, 0, StructArray(&CREATE_PARTITIONS_TOPICS_ASSIGNMENTS)),
], &[]);
pub(super) static CREATE_PARTITIONS: Shape =
    shape::<m::create_partitions_request::CreatePartitionsRequest>(&[
    field(0, END, StructArray(&CREATE_PARTITIONS_TOPICS)),
    field(0, END, Fixed(5)),             // TimeoutMs, ValidateOnly
], &[]);

// 38 CreateDelegationToken
static CREATE_DELEGATION_TOKEN_RENEWERS: Shape =
    shape::<m::create_delegation_token_request::CreatableRenewers>(&[
    field(0, END, Text),                 // PrincipalType
    field(0, END, Text),                 // PrincipalName
], &[]);
pub(super) static CREATE_DELEGATION_TOKEN: Shape =
    shape::<m::create_delegation_token_request::CreateDelegationTokenRequest>(&[
    nullable(3, END, 3, Text),           // OwnerPrincipalType
    nullable(3, END, 3, Text),           // OwnerPrincipalName
    field(0, END, StructArray(&CREATE_DELEGATION_TOKEN_RENEWERS)),
    field(0, END, Fixed(8)),             // MaxLifetimeMs
], &[]);

// 39 RenewDelegationToken
pub(super) static RENEW_DELEGATION_TOKEN: Shape =
    shape::<m::renew_delegation_token_request::RenewDelegationTokenRequest>(&[
    field(0, END, Blob),                 // Hmac
    field(0, END, Fixed(8)),             // RenewPeriodMs
], &[]);

// 40 ExpireDelegationToken
pub(super) static EXPIRE_DELEGATION_TOKEN: Shape =
    shape::<m::expire_delegation_token_request::ExpireDelegationTokenRequest>(&[
    field(0, END, Blob),                 // Hmac
    field(0, END, Fixed(8)),             // ExpiryTimePeriodMs
], &[]);

// 41 DescribeDelegationToken
static DESCRIBE_DELEGATION_TOKEN_OWNERS: Shape =
    shape::<m::describe_delegation_token_request::DescribeDelegationTokenOwner>(&[
    field(0, END, Text),                 // PrincipalType
    field(0, END, Text),                 // PrincipalName
], &[]);
pub(super) static DESCRIBE_DELEGATION_TOKEN: Shape =
    shape::<m::describe_delegation_token_request::DescribeDelegationTokenRequest>(&[
    nullable(0, END, 0, StructArray(&DESCRIBE_DELEGATION_TOKEN_OWNERS)),
], &[]);

// 42 DeleteGroups
pub(super) static DELETE_GROUPS: Shape = shape::<m::delete_groups_request::DeleteGroupsRequest>(&[
    field(0, END, TextArray),            // GroupsNames
], &[]);

// 43 ElectLeaders
static ELECT_LEADERS_TOPIC_PARTITIONS: Shape = shape::<m::elect_leaders_request::TopicPartitions>(&[
    field(0, END, Text),                 // Topic
    field(0, END, FixedArray(4)),        // Partitions
], &[]);
pub(super) static ELECT_LEADERS: Shape = shape::<m::elect_leaders_request::ElectLeadersRequest>(&[
    field(1, END, Fixed(1)),             // ElectionType
    nullable(0, END, 0, StructArray(&ELECT_LEADERS_TOPIC_PARTITIONS)),
    field(0, END, Fixed(4)),             // TimeoutMs
], &[]);

// 44 IncrementalAlterConfigs
static INCREMENTAL_ALTER_CONFIGS_RESOURCES_CONFIGS: Shape =
    shape::<m::incremental_alter_configs_request::AlterableConfig>(&[
    field(0, END, Text),                 // Name
    field(0, END, Fixed(1)),             // ConfigOperation
    nullable(0, END, 0, Text),           // Value
], &[]);
static INCREMENTAL_ALTER_CONFIGS_RESOURCES: Shape =
    shape::<m::incremental_alter_configs_request::AlterConfigsResource>(&[
    field(0, END, Fixed(1)),             // ResourceType
    field(0, END, Text),                 // ResourceName
    field(0, END, StructArray(&INCREMENTAL_ALTER_CONFIGS_RESOURCES_CONFIGS)),
], &[]);
pub(super) static INCREMENTAL_ALTER_CONFIGS: Shape =
    shape::<m::incremental_alter_configs_request::IncrementalAlterConfigsRequest>(&[
    field(0, END, StructArray(&INCREMENTAL_ALTER_CONFIGS_RESOURCES)),
    field(0, END, Fixed(1)),             // ValidateOnly
], &[]);

//! Shapes of the requests from key 45 on, one line per field. Generated, do not edit:
//! `compat-tests/schemas/shapes.py path/to/kafka-clients-4.3.1.jar src/wire/shape`
//!
//! A struct is sized as kafka-protocol holds it in memory, as that is what decoding will allocate.
//! Fields of fixed size that follow one another in the same versions share a line.

use kafka_protocol::messages as m;

use super::schema::Kind::{Blob, Fixed, FixedArray, Struct, StructArray, Text, TextArray};
use super::schema::{END, Shape, field, nullable, shape, sketch, tag};

// 45 AlterPartitionReassignments
static ALTER_PARTITION_REASSIGNMENTS_TOPICS_PARTITIONS: Shape =
    shape::<m::alter_partition_reassignments_request::ReassignablePartition>(&[
    field(0, END, Fixed(4)),             // PartitionIndex
    nullable(0, END, 0, FixedArray(4)),  // Replicas
], &[]);
static ALTER_PARTITION_REASSIGNMENTS_TOPICS: Shape =
    shape::<m::alter_partition_reassignments_request::ReassignableTopic>(&[
    field(0, END, Text),                 // Name
    field(0, END, StructArray(&ALTER_PARTITION_REASSIGNMENTS_TOPICS_PARTITIONS)),
], &[]);
pub(super) static ALTER_PARTITION_REASSIGNMENTS: Shape =
    shape::<m::alter_partition_reassignments_request::AlterPartitionReassignmentsRequest>(&[
    field(0, END, Fixed(4)),             // TimeoutMs
    field(1, END, Fixed(1)),             // AllowReplicationFactorChange
    field(0, END, StructArray(&ALTER_PARTITION_REASSIGNMENTS_TOPICS)),
], &[]);

// 46 ListPartitionReassignments
static LIST_PARTITION_REASSIGNMENTS_TOPICS: Shape =
    shape::<m::list_partition_reassignments_request::ListPartitionReassignmentsTopics>(&[
    field(0, END, Text),                 // Name
    field(0, END, FixedArray(4)),        // PartitionIndexes
], &[]);
pub(super) static LIST_PARTITION_REASSIGNMENTS: Shape =
    shape::<m::list_partition_reassignments_request::ListPartitionReassignmentsRequest>(&[
    field(0, END, Fixed(4)),             // TimeoutMs
    nullable(0, END, 0, StructArray(&LIST_PARTITION_REASSIGNMENTS_TOPICS)),
], &[]);

// 47 OffsetDelete
static OFFSET_DELETE_TOPICS_PARTITIONS: Shape =
    shape::<m::offset_delete_request::OffsetDeleteRequestPartition>(&[
    field(0, END, Fixed(4)),             // PartitionIndex
], &[]);
static OFFSET_DELETE_TOPICS: Shape = shape::<m::offset_delete_request::OffsetDeleteRequestTopic>(&[
    field(0, END, Text),                 // Name
    field(0, END, StructArray(&OFFSET_DELETE_TOPICS_PARTITIONS)),
], &[]);
pub(super) static OFFSET_DELETE: Shape = shape::<m::offset_delete_request::OffsetDeleteRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, StructArray(&OFFSET_DELETE_TOPICS)),
], &[]);

// 48 DescribeClientQuotas
static DESCRIBE_CLIENT_QUOTAS_COMPONENTS: Shape =
    shape::<m::describe_client_quotas_request::ComponentData>(&[
    field(0, END, Text),                 // EntityType
    field(0, END, Fixed(1)),             // MatchType
    nullable(0, END, 0, Text),           // Match
], &[]);
pub(super) static DESCRIBE_CLIENT_QUOTAS: Shape =
    shape::<m::describe_client_quotas_request::DescribeClientQuotasRequest>(&[
    field(0, END, StructArray(&DESCRIBE_CLIENT_QUOTAS_COMPONENTS)),
    field(0, END, Fixed(1)),             // Strict
], &[]);

// 49 AlterClientQuotas
static ALTER_CLIENT_QUOTAS_ENTRIES_ENTITY: Shape =
    shape::<m::alter_client_quotas_request::EntityData>(&[
    field(0, END, Text),                 // EntityType
    nullable(0, END, 0, Text),           // EntityName
], &[]);
static ALTER_CLIENT_QUOTAS_ENTRIES_OPS: Shape = shape::<m::alter_client_quotas_request::OpData>(&[
    field(0, END, Text),                 // Key
    field(0, END, Fixed(9)),             // Value, Remove
], &[]);
static ALTER_CLIENT_QUOTAS_ENTRIES: Shape = shape::<m::alter_client_quotas_request::EntryData>(&[
    field(0, END, StructArray(&ALTER_CLIENT_QUOTAS_ENTRIES_ENTITY)),
    field(0, END, StructArray(&ALTER_CLIENT_QUOTAS_ENTRIES_OPS)),
], &[]);
pub(super) static ALTER_CLIENT_QUOTAS: Shape =
    shape::<m::alter_client_quotas_request::AlterClientQuotasRequest>(&[
    field(0, END, StructArray(&ALTER_CLIENT_QUOTAS_ENTRIES)),
    field(0, END, Fixed(1)),             // ValidateOnly
], &[]);

// 50 DescribeUserScramCredentials
static DESCRIBE_USER_SCRAM_CREDENTIALS_USERS: Shape =
    shape::<m::describe_user_scram_credentials_request::UserName>(&[
    field(0, END, Text),                 // Name
], &[]);
pub(super) static DESCRIBE_USER_SCRAM_CREDENTIALS: Shape =
    shape::<m::describe_user_scram_credentials_request::DescribeUserScramCredentialsRequest>(&[
    nullable(0, END, 0, StructArray(&DESCRIBE_USER_SCRAM_CREDENTIALS_USERS)),
], &[]);

// 51 AlterUserScramCredentials
static ALTER_USER_SCRAM_CREDENTIALS_DELETIONS: Shape =
    shape::<m::alter_user_scram_credentials_request::ScramCredentialDeletion>(&[
    field(0, END, Text),                 // Name
    field(0, END, Fixed(1)),             // Mechanism
], &[]);
static ALTER_USER_SCRAM_CREDENTIALS_UPSERTIONS: Shape =
    shape::<m::alter_user_scram_credentials_request::ScramCredentialUpsertion>(&[
    field(0, END, Text),                 // Name
    field(0, END, Fixed(5)),             // Mechanism, Iterations
    field(0, END, Blob),                 // Salt
    field(0, END, Blob),                 // SaltedPassword
], &[]);
pub(super) static ALTER_USER_SCRAM_CREDENTIALS: Shape =
    shape::<m::alter_user_scram_credentials_request::AlterUserScramCredentialsRequest>(&[
    field(0, END, StructArray(&ALTER_USER_SCRAM_CREDENTIALS_DELETIONS)),
    field(0, END, StructArray(&ALTER_USER_SCRAM_CREDENTIALS_UPSERTIONS)),
], &[]);

// 52 Vote
static VOTE_TOPICS_PARTITIONS: Shape = shape::<m::vote_request::PartitionData>(&[
    field(0, END, Fixed(12)),            // PartitionIndex, ReplicaEpoch, ReplicaId
    field(1, END, Fixed(32)),            // ReplicaDirectoryId, VoterDirectoryId
    field(0, END, Fixed(12)),            // LastOffsetEpoch, LastOffset
    field(2, END, Fixed(1)),             // PreVote
], &[]);
static VOTE_TOPICS: Shape = shape::<m::vote_request::TopicData>(&[
    field(0, END, Text),                 // TopicName
    field(0, END, StructArray(&VOTE_TOPICS_PARTITIONS)),
], &[]);
pub(super) static VOTE: Shape = shape::<m::vote_request::VoteRequest>(&[
    nullable(0, END, 0, Text),           // ClusterId
    field(1, END, Fixed(4)),             // VoterId
    field(0, END, StructArray(&VOTE_TOPICS)),
], &[]);

// 53 BeginQuorumEpoch
static BEGIN_QUORUM_EPOCH_TOPICS_PARTITIONS: Shape =
    shape::<m::begin_quorum_epoch_request::PartitionData>(&[
    field(0, END, Fixed(4)),             // PartitionIndex
    field(1, END, Fixed(16)),            // VoterDirectoryId
    field(0, END, Fixed(8)),             // LeaderId, LeaderEpoch
], &[]);
static BEGIN_QUORUM_EPOCH_TOPICS: Shape = shape::<m::begin_quorum_epoch_request::TopicData>(&[
    field(0, END, Text),                 // TopicName
    field(0, END, StructArray(&BEGIN_QUORUM_EPOCH_TOPICS_PARTITIONS)),
], &[]);
static BEGIN_QUORUM_EPOCH_LEADER_ENDPOINTS: Shape =
    shape::<m::begin_quorum_epoch_request::LeaderEndpoint>(&[
    field(1, END, Text),                 // Name
    field(1, END, Text),                 // Host
    field(1, END, Fixed(2)),             // Port
], &[]);
pub(super) static BEGIN_QUORUM_EPOCH: Shape =
    shape::<m::begin_quorum_epoch_request::BeginQuorumEpochRequest>(&[
    nullable(0, END, 0, Text),           // ClusterId
    field(1, END, Fixed(4)),             // VoterId
    field(0, END, StructArray(&BEGIN_QUORUM_EPOCH_TOPICS)),
    field(1, END, StructArray(&BEGIN_QUORUM_EPOCH_LEADER_ENDPOINTS)),
], &[]);

// 54 EndQuorumEpoch
static END_QUORUM_EPOCH_TOPICS_PARTITIONS_PREFERRED_CANDIDATES: Shape =
    shape::<m::end_quorum_epoch_request::ReplicaInfo>(&[
    field(1, END, Fixed(20)),            // CandidateId, CandidateDirectoryId
], &[]);
static END_QUORUM_EPOCH_TOPICS_PARTITIONS: Shape =
    shape::<m::end_quorum_epoch_request::PartitionData>(&[
    field(0, END, Fixed(12)),            // PartitionIndex, LeaderId, LeaderEpoch
    field(0, 0, FixedArray(4)),          // PreferredSuccessors
    field(1, END, StructArray(&END_QUORUM_EPOCH_TOPICS_PARTITIONS_PREFERRED_CANDIDATES)),
], &[]);
static END_QUORUM_EPOCH_TOPICS: Shape = shape::<m::end_quorum_epoch_request::TopicData>(&[
    field(0, END, Text),                 // TopicName
    field(0, END, StructArray(&END_QUORUM_EPOCH_TOPICS_PARTITIONS)),
], &[]);
static END_QUORUM_EPOCH_LEADER_ENDPOINTS: Shape =
    shape::<m::end_quorum_epoch_request::LeaderEndpoint>(&[
    field(1, END, Text),                 // Name
    field(1, END, Text),                 // Host
    field(1, END, Fixed(2)),             // Port
], &[]);
pub(super) static END_QUORUM_EPOCH: Shape =
    shape::<m::end_quorum_epoch_request::EndQuorumEpochRequest>(&[
    nullable(0, END, 0, Text),           // ClusterId
    field(0, END, StructArray(&END_QUORUM_EPOCH_TOPICS)),
    field(1, END, StructArray(&END_QUORUM_EPOCH_LEADER_ENDPOINTS)),
], &[]);

// 55 DescribeQuorum
static DESCRIBE_QUORUM_TOPICS_PARTITIONS: Shape =
    shape::<m::describe_quorum_request::PartitionData>(&[
    field(0, END, Fixed(4)),             // PartitionIndex
], &[]);
static DESCRIBE_QUORUM_TOPICS: Shape = shape::<m::describe_quorum_request::TopicData>(&[
    field(0, END, Text),                 // TopicName
    field(0, END, StructArray(&DESCRIBE_QUORUM_TOPICS_PARTITIONS)),
], &[]);
pub(super) static DESCRIBE_QUORUM: Shape =
    shape::<m::describe_quorum_request::DescribeQuorumRequest>(&[
    field(0, END, StructArray(&DESCRIBE_QUORUM_TOPICS)),
], &[]);

// 56 AlterPartition
static ALTER_PARTITION_TOPICS_PARTITIONS_NEW_ISR_WITH_EPOCHS: Shape =
    shape::<m::alter_partition_request::BrokerState>(&[
    field(3, END, Fixed(12)),            // BrokerId, BrokerEpoch
], &[]);
static ALTER_PARTITION_TOPICS_PARTITIONS: Shape =
    shape::<m::alter_partition_request::PartitionData>(&[
    field(0, END, Fixed(8)),             // PartitionIndex, LeaderEpoch
    field(0, 2, FixedArray(4)),          // NewIsr
    field(3, END, StructArray(&ALTER_PARTITION_TOPICS_PARTITIONS_NEW_ISR_WITH_EPOCHS)),
    field(1, END, Fixed(1)),             // LeaderRecoveryState
    field(0, END, Fixed(4)),             // PartitionEpoch
], &[]);
static ALTER_PARTITION_TOPICS: Shape = shape::<m::alter_partition_request::TopicData>(&[
    field(2, END, Fixed(16)),            // TopicId
    field(0, END, StructArray(&ALTER_PARTITION_TOPICS_PARTITIONS)),
], &[]);
pub(super) static ALTER_PARTITION: Shape =
    shape::<m::alter_partition_request::AlterPartitionRequest>(&[
    field(0, END, Fixed(12)),            // BrokerId, BrokerEpoch
    field(0, END, StructArray(&ALTER_PARTITION_TOPICS)),
], &[]);

// 57 UpdateFeatures
static UPDATE_FEATURES_FEATURE_UPDATES: Shape =
    shape::<m::update_features_request::FeatureUpdateKey>(&[
    field(0, END, Text),                 // Feature
    field(0, END, Fixed(2)),             // MaxVersionLevel
    field(0, 0, Fixed(1)),               // AllowDowngrade
    field(1, END, Fixed(1)),             // UpgradeType
], &[]);
pub(super) static UPDATE_FEATURES: Shape =
    shape::<m::update_features_request::UpdateFeaturesRequest>(&[
    field(0, END, Fixed(4)),             // timeoutMs
    field(0, END, StructArray(&UPDATE_FEATURES_FEATURE_UPDATES)),
    field(1, END, Fixed(1)),             // ValidateOnly
], &[]);

// 58 Envelope
pub(super) static ENVELOPE: Shape = shape::<m::envelope_request::EnvelopeRequest>(&[
    field(0, END, Blob),                 // RequestData
    nullable(0, END, 0, Blob),           // RequestPrincipal
    field(0, END, Blob),                 // ClientHostAddress
], &[]);

// 59 FetchSnapshot
static FETCH_SNAPSHOT_TOPICS_PARTITIONS_SNAPSHOT_ID: Shape =
    shape::<m::fetch_snapshot_request::SnapshotId>(&[
    field(0, END, Fixed(12)),            // EndOffset, Epoch
], &[]);
static FETCH_SNAPSHOT_TOPICS_PARTITIONS: Shape =
    shape::<m::fetch_snapshot_request::PartitionSnapshot>(&[
    field(0, END, Fixed(8)),             // Partition, CurrentLeaderEpoch
    field(0, END, Struct(&FETCH_SNAPSHOT_TOPICS_PARTITIONS_SNAPSHOT_ID)),
    field(0, END, Fixed(8)),             // Position
], &[
    tag(0, field(1, END, Fixed(16))),    // ReplicaDirectoryId
]);
static FETCH_SNAPSHOT_TOPICS: Shape = shape::<m::fetch_snapshot_request::TopicSnapshot>(&[
    field(0, END, Text),                 // Name
    field(0, END, StructArray(&FETCH_SNAPSHOT_TOPICS_PARTITIONS)),
], &[]);
pub(super) static FETCH_SNAPSHOT: Shape =
    shape::<m::fetch_snapshot_request::FetchSnapshotRequest>(&[
    field(0, END, Fixed(8)),             // ReplicaId, MaxBytes
    field(0, END, StructArray(&FETCH_SNAPSHOT_TOPICS)),
], &[
    tag(0, nullable(0, END, 0, Text)),   // ClusterId
]);

// 60 DescribeCluster
pub(super) static DESCRIBE_CLUSTER: Shape =
    shape::<m::describe_cluster_request::DescribeClusterRequest>(&[
    field(0, END, Fixed(1)),             // IncludeClusterAuthorizedOperations
    field(1, END, Fixed(1)),             // EndpointType
    field(2, END, Fixed(1)),             // IncludeFencedBrokers
], &[]);

// 61 DescribeProducers
static DESCRIBE_PRODUCERS_TOPICS: Shape = shape::<m::describe_producers_request::TopicRequest>(&[
    field(0, END, Text),                 // Name
    field(0, END, FixedArray(4)),        // PartitionIndexes
], &[]);
pub(super) static DESCRIBE_PRODUCERS: Shape =
    shape::<m::describe_producers_request::DescribeProducersRequest>(&[
    field(0, END, StructArray(&DESCRIBE_PRODUCERS_TOPICS)),
], &[]);

// 62 BrokerRegistration
static BROKER_REGISTRATION_LISTENERS: Shape = shape::<m::broker_registration_request::Listener>(&[
    field(0, END, Text),                 // Name
    field(0, END, Text),                 // Host
    field(0, END, Fixed(4)),             // Port, SecurityProtocol
], &[]);
static BROKER_REGISTRATION_FEATURES: Shape = shape::<m::broker_registration_request::Feature>(&[
    field(0, END, Text),                 // Name
    field(0, END, Fixed(4)),             // MinSupportedVersion, MaxSupportedVersion
], &[]);
pub(super) static BROKER_REGISTRATION: Shape =
    shape::<m::broker_registration_request::BrokerRegistrationRequest>(&[
    field(0, END, Fixed(4)),             // BrokerId
    field(0, END, Text),                 // ClusterId
    field(0, END, Fixed(16)),            // IncarnationId
    field(0, END, StructArray(&BROKER_REGISTRATION_LISTENERS)),
    field(0, END, StructArray(&BROKER_REGISTRATION_FEATURES)),
    nullable(0, END, 0, Text),           // Rack
    field(1, END, Fixed(1)),             // IsMigratingZkBroker
    field(2, END, FixedArray(16)),       // LogDirs
    field(3, END, Fixed(8)),             // PreviousBrokerEpoch
], &[]);

// 63 BrokerHeartbeat
pub(super) static BROKER_HEARTBEAT: Shape =
    shape::<m::broker_heartbeat_request::BrokerHeartbeatRequest>(&[
    field(0, END, Fixed(22)),            // BrokerId, BrokerEpoch, CurrentMetadataOffset, …
], &[
    tag(0, field(1, END, FixedArray(16))), // OfflineLogDirs
    tag(1, nullable(2, END, 2, FixedArray(16))), // CordonedLogDirs
]);

// 64 UnregisterBroker
pub(super) static UNREGISTER_BROKER: Shape =
    shape::<m::unregister_broker_request::UnregisterBrokerRequest>(&[
    field(0, END, Fixed(4)),             // BrokerId
], &[]);

// 65 DescribeTransactions
pub(super) static DESCRIBE_TRANSACTIONS: Shape =
    shape::<m::describe_transactions_request::DescribeTransactionsRequest>(&[
    field(0, END, TextArray),            // TransactionalIds
], &[]);

// 66 ListTransactions
pub(super) static LIST_TRANSACTIONS: Shape =
    shape::<m::list_transactions_request::ListTransactionsRequest>(&[
    field(0, END, TextArray),            // StateFilters
    field(0, END, FixedArray(8)),        // ProducerIdFilters
    field(1, END, Fixed(8)),             // DurationFilter
    nullable(2, END, 2, Text),           // TransactionalIdPattern
], &[]);

// 67 AllocateProducerIds
pub(super) static ALLOCATE_PRODUCER_IDS: Shape =
    shape::<m::allocate_producer_ids_request::AllocateProducerIdsRequest>(&[
    field(0, END, Fixed(12)),            // BrokerId, BrokerEpoch
], &[]);

// 68 ConsumerGroupHeartbeat
static CONSUMER_GROUP_HEARTBEAT_TOPIC_PARTITIONS: Shape =
    shape::<m::consumer_group_heartbeat_request::TopicPartitions>(&[
    field(0, END, Fixed(16)),            // TopicId
    field(0, END, FixedArray(4)),        // Partitions
], &[]);
pub(super) static CONSUMER_GROUP_HEARTBEAT: Shape =
    shape::<m::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, Text),                 // MemberId
    field(0, END, Fixed(4)),             // MemberEpoch
    nullable(0, END, 0, Text),           // InstanceId
    nullable(0, END, 0, Text),           // RackId
    field(0, END, Fixed(4)),             // RebalanceTimeoutMs
    nullable(0, END, 0, TextArray),      // SubscribedTopicNames
    nullable(1, END, 1, Text),           // SubscribedTopicRegex
    nullable(0, END, 0, Text),           // ServerAssignor
    nullable(0, END, 0, StructArray(&CONSUMER_GROUP_HEARTBEAT_TOPIC_PARTITIONS)),
], &[]);

// 69 ConsumerGroupDescribe
pub(super) static CONSUMER_GROUP_DESCRIBE: Shape =
    shape::<m::consumer_group_describe_request::ConsumerGroupDescribeRequest>(&[
    field(0, END, TextArray),            // GroupIds
    field(0, END, Fixed(1)),             // IncludeAuthorizedOperations
], &[]);

// 70 ControllerRegistration
static CONTROLLER_REGISTRATION_LISTENERS: Shape =
    shape::<m::controller_registration_request::Listener>(&[
    field(0, END, Text),                 // Name
    field(0, END, Text),                 // Host
    field(0, END, Fixed(4)),             // Port, SecurityProtocol
], &[]);
static CONTROLLER_REGISTRATION_FEATURES: Shape =
    shape::<m::controller_registration_request::Feature>(&[
    field(0, END, Text),                 // Name
    field(0, END, Fixed(4)),             // MinSupportedVersion, MaxSupportedVersion
], &[]);
pub(super) static CONTROLLER_REGISTRATION: Shape =
    shape::<m::controller_registration_request::ControllerRegistrationRequest>(&[
    field(0, END, Fixed(21)),            // ControllerId, IncarnationId, ZkMigrationReady
    field(0, END, StructArray(&CONTROLLER_REGISTRATION_LISTENERS)),
    field(0, END, StructArray(&CONTROLLER_REGISTRATION_FEATURES)),
], &[]);

// 71 GetTelemetrySubscriptions
pub(super) static GET_TELEMETRY_SUBSCRIPTIONS: Shape =
    shape::<m::get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequest>(&[
    field(0, END, Fixed(16)),            // ClientInstanceId
], &[]);

// 72 PushTelemetry
pub(super) static PUSH_TELEMETRY: Shape =
    shape::<m::push_telemetry_request::PushTelemetryRequest>(&[
    field(0, END, Fixed(22)),            // ClientInstanceId, SubscriptionId, Terminating, …
    field(0, END, Blob),                 // Metrics
], &[]);

// 73 AssignReplicasToDirs
static ASSIGN_REPLICAS_TO_DIRS_DIRECTORIES_TOPICS_PARTITIONS: Shape =
    shape::<m::assign_replicas_to_dirs_request::PartitionData>(&[
    field(0, END, Fixed(4)),             // PartitionIndex
], &[]);
static ASSIGN_REPLICAS_TO_DIRS_DIRECTORIES_TOPICS: Shape =
    shape::<m::assign_replicas_to_dirs_request::TopicData>(&[
    field(0, END, Fixed(16)),            // TopicId
    field(0, END, StructArray(&ASSIGN_REPLICAS_TO_DIRS_DIRECTORIES_TOPICS_PARTITIONS)),
], &[]);
static ASSIGN_REPLICAS_TO_DIRS_DIRECTORIES: Shape =
    shape::<m::assign_replicas_to_dirs_request::DirectoryData>(&[
    field(0, END, Fixed(16)),            // Id
    field(0, END, StructArray(&ASSIGN_REPLICAS_TO_DIRS_DIRECTORIES_TOPICS)),
], &[]);
pub(super) static ASSIGN_REPLICAS_TO_DIRS: Shape =
    shape::<m::assign_replicas_to_dirs_request::AssignReplicasToDirsRequest>(&[
    field(0, END, Fixed(12)),            // BrokerId, BrokerEpoch
    field(0, END, StructArray(&ASSIGN_REPLICAS_TO_DIRS_DIRECTORIES)),
], &[]);

// 74 ListConfigResources
pub(super) static LIST_CONFIG_RESOURCES: Shape =
    shape::<m::list_config_resources_request::ListConfigResourcesRequest>(&[
    field(1, END, FixedArray(1)),        // ResourceTypes
], &[]);

// 75 DescribeTopicPartitions
static DESCRIBE_TOPIC_PARTITIONS_TOPICS: Shape =
    shape::<m::describe_topic_partitions_request::TopicRequest>(&[
    field(0, END, Text),                 // Name
], &[]);
static DESCRIBE_TOPIC_PARTITIONS_CURSOR: Shape =
    shape::<m::describe_topic_partitions_request::Cursor>(&[
    field(0, END, Text),                 // TopicName
    field(0, END, Fixed(4)),             // PartitionIndex
], &[]);
pub(super) static DESCRIBE_TOPIC_PARTITIONS: Shape =
    shape::<m::describe_topic_partitions_request::DescribeTopicPartitionsRequest>(&[
    field(0, END, StructArray(&DESCRIBE_TOPIC_PARTITIONS_TOPICS)),
    field(0, END, Fixed(4)),             // ResponsePartitionLimit
    nullable(0, END, 0, Struct(&DESCRIBE_TOPIC_PARTITIONS_CURSOR)),
], &[]);

// 76 ShareGroupHeartbeat
pub(super) static SHARE_GROUP_HEARTBEAT: Shape =
    shape::<m::share_group_heartbeat_request::ShareGroupHeartbeatRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, Text),                 // MemberId
    field(0, END, Fixed(4)),             // MemberEpoch
    nullable(0, END, 0, Text),           // RackId
    nullable(0, END, 0, TextArray),      // SubscribedTopicNames
], &[]);

// 77 ShareGroupDescribe
pub(super) static SHARE_GROUP_DESCRIBE: Shape =
    shape::<m::share_group_describe_request::ShareGroupDescribeRequest>(&[
    field(0, END, TextArray),            // GroupIds
    field(0, END, Fixed(1)),             // IncludeAuthorizedOperations
], &[]);

// 78 ShareFetch
static SHARE_FETCH_TOPICS_PARTITIONS_ACKNOWLEDGEMENT_BATCHES: Shape =
    shape::<m::share_fetch_request::AcknowledgementBatch>(&[
    field(0, END, Fixed(16)),            // FirstOffset, LastOffset
    field(0, END, FixedArray(1)),        // AcknowledgeTypes
], &[]);
static SHARE_FETCH_TOPICS_PARTITIONS: Shape = shape::<m::share_fetch_request::FetchPartition>(&[
    field(0, END, Fixed(4)),             // PartitionIndex
    field(0, 0, Fixed(4)),               // PartitionMaxBytes
    field(0, END, StructArray(&SHARE_FETCH_TOPICS_PARTITIONS_ACKNOWLEDGEMENT_BATCHES)),
], &[]);
static SHARE_FETCH_TOPICS: Shape = shape::<m::share_fetch_request::FetchTopic>(&[
    field(0, END, Fixed(16)),            // TopicId
    field(0, END, StructArray(&SHARE_FETCH_TOPICS_PARTITIONS)),
], &[]);
static SHARE_FETCH_FORGOTTEN_TOPICS_DATA: Shape = shape::<m::share_fetch_request::ForgottenTopic>(&[
    field(0, END, Fixed(16)),            // TopicId
    field(0, END, FixedArray(4)),        // Partitions
], &[]);
pub(super) static SHARE_FETCH: Shape = shape::<m::share_fetch_request::ShareFetchRequest>(&[
    nullable(0, END, 0, Text),           // GroupId
    nullable(0, END, 0, Text),           // MemberId
    field(0, END, Fixed(16)),            // ShareSessionEpoch, MaxWaitMs, MinBytes, MaxBytes
    field(1, END, Fixed(8)),             // MaxRecords, BatchSize
    field(2, END, Fixed(2)),             // ShareAcquireMode, IsRenewAck
    field(0, END, StructArray(&SHARE_FETCH_TOPICS)),
    field(0, END, StructArray(&SHARE_FETCH_FORGOTTEN_TOPICS_DATA)),
], &[]);

// 79 ShareAcknowledge
static SHARE_ACKNOWLEDGE_TOPICS_PARTITIONS_ACKNOWLEDGEMENT_BATCHES: Shape =
    shape::<m::share_acknowledge_request::AcknowledgementBatch>(&[
    field(0, END, Fixed(16)),            // FirstOffset, LastOffset
    field(0, END, FixedArray(1)),        // AcknowledgeTypes
], &[]);
static SHARE_ACKNOWLEDGE_TOPICS_PARTITIONS: Shape =
    shape::<m::share_acknowledge_request::AcknowledgePartition>(&[
    field(0, END, Fixed(4)),             // PartitionIndex
    field(0, END, StructArray(&SHARE_ACKNOWLEDGE_TOPICS_PARTITIONS_ACKNOWLEDGEMENT_BATCHES)),
], &[]);
static SHARE_ACKNOWLEDGE_TOPICS: Shape = shape::<m::share_acknowledge_request::AcknowledgeTopic>(&[
    field(0, END, Fixed(16)),            // TopicId
    field(0, END, StructArray(&SHARE_ACKNOWLEDGE_TOPICS_PARTITIONS)),
], &[]);
pub(super) static SHARE_ACKNOWLEDGE: Shape =
    shape::<m::share_acknowledge_request::ShareAcknowledgeRequest>(&[
    nullable(0, END, 0, Text),           // GroupId
    nullable(0, END, 0, Text),           // MemberId
    field(0, END, Fixed(4)),             // ShareSessionEpoch
    field(2, END, Fixed(1)),             // IsRenewAck
    field(0, END, StructArray(&SHARE_ACKNOWLEDGE_TOPICS)),
], &[]);

// 80 AddRaftVoter
static ADD_RAFT_VOTER_LISTENERS: Shape = shape::<m::add_raft_voter_request::Listener>(&[
    field(0, END, Text),                 // Name
    field(0, END, Text),                 // Host
    field(0, END, Fixed(2)),             // Port
], &[]);
pub(super) static ADD_RAFT_VOTER: Shape = shape::<m::add_raft_voter_request::AddRaftVoterRequest>(&[
    nullable(0, END, 0, Text),           // ClusterId
    field(0, END, Fixed(24)),            // TimeoutMs, VoterId, VoterDirectoryId
    field(0, END, StructArray(&ADD_RAFT_VOTER_LISTENERS)),
    field(1, END, Fixed(1)),             // AckWhenCommitted
], &[]);

// 81 RemoveRaftVoter
pub(super) static REMOVE_RAFT_VOTER: Shape =
    shape::<m::remove_raft_voter_request::RemoveRaftVoterRequest>(&[
    nullable(0, END, 0, Text),           // ClusterId
    field(0, END, Fixed(20)),            // VoterId, VoterDirectoryId
], &[]);

// 82 UpdateRaftVoter
static UPDATE_RAFT_VOTER_LISTENERS: Shape = shape::<m::update_raft_voter_request::Listener>(&[
    field(0, END, Text),                 // Name
    field(0, END, Text),                 // Host
    field(0, END, Fixed(2)),             // Port
], &[]);
static UPDATE_RAFT_VOTER_K_RAFT_VERSION_FEATURE: Shape =
    shape::<m::update_raft_voter_request::KRaftVersionFeature>(&[
    field(0, END, Fixed(4)),             // MinSupportedVersion, MaxSupportedVersion
], &[]);
pub(super) static UPDATE_RAFT_VOTER: Shape =
    shape::<m::update_raft_voter_request::UpdateRaftVoterRequest>(&[
    nullable(0, END, 0, Text),           // ClusterId
    field(0, END, Fixed(24)),            // CurrentLeaderEpoch, VoterId, VoterDirectoryId
    field(0, END, StructArray(&UPDATE_RAFT_VOTER_LISTENERS)),
    field(0, END, Struct(&UPDATE_RAFT_VOTER_K_RAFT_VERSION_FEATURE)),
], &[]);

// 83 InitializeShareGroupState
static INITIALIZE_SHARE_GROUP_STATE_TOPICS_PARTITIONS: Shape =
    shape::<m::initialize_share_group_state_request::PartitionData>(&[
    field(0, END, Fixed(16)),            // Partition, StateEpoch, StartOffset
], &[]);
static INITIALIZE_SHARE_GROUP_STATE_TOPICS: Shape =
    shape::<m::initialize_share_group_state_request::InitializeStateData>(&[
    field(0, END, Fixed(16)),            // TopicId
    field(0, END, StructArray(&INITIALIZE_SHARE_GROUP_STATE_TOPICS_PARTITIONS)),
], &[]);
pub(super) static INITIALIZE_SHARE_GROUP_STATE: Shape =
    shape::<m::initialize_share_group_state_request::InitializeShareGroupStateRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, StructArray(&INITIALIZE_SHARE_GROUP_STATE_TOPICS)),
], &[]);

// 84 ReadShareGroupState
static READ_SHARE_GROUP_STATE_TOPICS_PARTITIONS: Shape =
    shape::<m::read_share_group_state_request::PartitionData>(&[
    field(0, END, Fixed(8)),             // Partition, LeaderEpoch
], &[]);
static READ_SHARE_GROUP_STATE_TOPICS: Shape =
    shape::<m::read_share_group_state_request::ReadStateData>(&[
    field(0, END, Fixed(16)),            // TopicId
    field(0, END, StructArray(&READ_SHARE_GROUP_STATE_TOPICS_PARTITIONS)),
], &[]);
pub(super) static READ_SHARE_GROUP_STATE: Shape =
    shape::<m::read_share_group_state_request::ReadShareGroupStateRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, StructArray(&READ_SHARE_GROUP_STATE_TOPICS)),
], &[]);

// 85 WriteShareGroupState
static WRITE_SHARE_GROUP_STATE_TOPICS_PARTITIONS_STATE_BATCHES: Shape =
    shape::<m::write_share_group_state_request::StateBatch>(&[
    field(0, END, Fixed(19)),            // FirstOffset, LastOffset, DeliveryState, DeliveryCount
], &[]);
static WRITE_SHARE_GROUP_STATE_TOPICS_PARTITIONS: Shape =
    shape::<m::write_share_group_state_request::PartitionData>(&[
    field(0, END, Fixed(20)),            // Partition, StateEpoch, LeaderEpoch, StartOffset
    field(1, END, Fixed(4)),             // DeliveryCompleteCount
    field(0, END, StructArray(&WRITE_SHARE_GROUP_STATE_TOPICS_PARTITIONS_STATE_BATCHES)),
], &[]);
static WRITE_SHARE_GROUP_STATE_TOPICS: Shape =
    shape::<m::write_share_group_state_request::WriteStateData>(&[
    field(0, END, Fixed(16)),            // TopicId
    field(0, END, StructArray(&WRITE_SHARE_GROUP_STATE_TOPICS_PARTITIONS)),
], &[]);
pub(super) static WRITE_SHARE_GROUP_STATE: Shape =
    shape::<m::write_share_group_state_request::WriteShareGroupStateRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, StructArray(&WRITE_SHARE_GROUP_STATE_TOPICS)),
], &[]);

// 86 DeleteShareGroupState
static DELETE_SHARE_GROUP_STATE_TOPICS_PARTITIONS: Shape =
    shape::<m::delete_share_group_state_request::PartitionData>(&[
    field(0, END, Fixed(4)),             // Partition
], &[]);
static DELETE_SHARE_GROUP_STATE_TOPICS: Shape =
    shape::<m::delete_share_group_state_request::DeleteStateData>(&[
    field(0, END, Fixed(16)),            // TopicId
    field(0, END, StructArray(&DELETE_SHARE_GROUP_STATE_TOPICS_PARTITIONS)),
], &[]);
pub(super) static DELETE_SHARE_GROUP_STATE: Shape =
    shape::<m::delete_share_group_state_request::DeleteShareGroupStateRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, StructArray(&DELETE_SHARE_GROUP_STATE_TOPICS)),
], &[]);

// 87 ReadShareGroupStateSummary
static READ_SHARE_GROUP_STATE_SUMMARY_TOPICS_PARTITIONS: Shape =
    shape::<m::read_share_group_state_summary_request::PartitionData>(&[
    field(0, END, Fixed(8)),             // Partition, LeaderEpoch
], &[]);
static READ_SHARE_GROUP_STATE_SUMMARY_TOPICS: Shape =
    shape::<m::read_share_group_state_summary_request::ReadStateSummaryData>(&[
    field(0, END, Fixed(16)),            // TopicId
    field(0, END, StructArray(&READ_SHARE_GROUP_STATE_SUMMARY_TOPICS_PARTITIONS)),
], &[]);
pub(super) static READ_SHARE_GROUP_STATE_SUMMARY: Shape =
    shape::<m::read_share_group_state_summary_request::ReadShareGroupStateSummaryRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, StructArray(&READ_SHARE_GROUP_STATE_SUMMARY_TOPICS)),
], &[]);

// 88 StreamsGroupHeartbeat
static STREAMS_GROUP_HEARTBEAT_KEY_VALUE: Shape = sketch(88, &[
    field(0, END, Text),                 // Key
    field(0, END, Text),                 // Value
], &[]);
static STREAMS_GROUP_HEARTBEAT_TOPIC_INFO: Shape = sketch(88, &[
    field(0, END, Text),                 // Name
    field(0, END, Fixed(6)),             // Partitions, ReplicationFactor
    field(0, END, StructArray(&STREAMS_GROUP_HEARTBEAT_KEY_VALUE)),
], &[]);
static STREAMS_GROUP_HEARTBEAT_TOPOLOGY_SUBTOPOLOGIES_COPARTITION_GROUPS: Shape = sketch(96, &[
    field(0, END, FixedArray(2)),        // SourceTopics
    field(0, END, FixedArray(2)),        // SourceTopicRegex
    field(0, END, FixedArray(2)),        // RepartitionSourceTopics
], &[]);
static STREAMS_GROUP_HEARTBEAT_TOPOLOGY_SUBTOPOLOGIES: Shape = sketch(200, &[
    field(0, END, Text),                 // SubtopologyId
    field(0, END, TextArray),            // SourceTopics
    field(0, END, TextArray),            // SourceTopicRegex
    field(0, END, StructArray(&STREAMS_GROUP_HEARTBEAT_TOPIC_INFO)),
    field(0, END, TextArray),            // RepartitionSinkTopics
    field(0, END, StructArray(&STREAMS_GROUP_HEARTBEAT_TOPIC_INFO)),
    field(0, END, StructArray(&STREAMS_GROUP_HEARTBEAT_TOPOLOGY_SUBTOPOLOGIES_COPARTITION_GROUPS)),
], &[]);
static STREAMS_GROUP_HEARTBEAT_TOPOLOGY: Shape = sketch(56, &[
    field(0, END, Fixed(4)),             // Epoch
    field(0, END, StructArray(&STREAMS_GROUP_HEARTBEAT_TOPOLOGY_SUBTOPOLOGIES)),
], &[]);
static STREAMS_GROUP_HEARTBEAT_TASK_IDS: Shape = sketch(80, &[
    field(0, END, Text),                 // SubtopologyId
    field(0, END, FixedArray(4)),        // Partitions
], &[]);
static STREAMS_GROUP_HEARTBEAT_ENDPOINT: Shape = sketch(64, &[
    field(0, END, Text),                 // Host
    field(0, END, Fixed(2)),             // Port
], &[]);
static STREAMS_GROUP_HEARTBEAT_TASK_OFFSET: Shape = sketch(72, &[
    field(0, END, Text),                 // SubtopologyId
    field(0, END, Fixed(12)),            // Partition, Offset
], &[]);
pub(super) static STREAMS_GROUP_HEARTBEAT: Shape = sketch(480, &[
    field(0, END, Text),                 // GroupId
    field(0, END, Text),                 // MemberId
    field(0, END, Fixed(8)),             // MemberEpoch, EndpointInformationEpoch
    nullable(0, END, 0, Text),           // InstanceId
    nullable(0, END, 0, Text),           // RackId
    field(0, END, Fixed(4)),             // RebalanceTimeoutMs
    nullable(0, END, 0, Struct(&STREAMS_GROUP_HEARTBEAT_TOPOLOGY)),
    nullable(0, END, 0, StructArray(&STREAMS_GROUP_HEARTBEAT_TASK_IDS)),
    nullable(0, END, 0, StructArray(&STREAMS_GROUP_HEARTBEAT_TASK_IDS)),
    nullable(0, END, 0, StructArray(&STREAMS_GROUP_HEARTBEAT_TASK_IDS)),
    nullable(0, END, 0, Text),           // ProcessId
    nullable(0, END, 0, Struct(&STREAMS_GROUP_HEARTBEAT_ENDPOINT)),
    nullable(0, END, 0, StructArray(&STREAMS_GROUP_HEARTBEAT_KEY_VALUE)),
    nullable(0, END, 0, StructArray(&STREAMS_GROUP_HEARTBEAT_TASK_OFFSET)),
    nullable(0, END, 0, StructArray(&STREAMS_GROUP_HEARTBEAT_TASK_OFFSET)),
    field(0, END, Fixed(1)),             // ShutdownApplication
], &[]);

// 89 StreamsGroupDescribe
pub(super) static STREAMS_GROUP_DESCRIBE: Shape = sketch(56, &[
    field(0, END, TextArray),            // GroupIds
    field(0, END, Fixed(1)),             // IncludeAuthorizedOperations
], &[]);

// 90 DescribeShareGroupOffsets
static DESCRIBE_SHARE_GROUP_OFFSETS_GROUPS_TOPICS: Shape =
    shape::<m::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestTopic>(&[
    field(0, END, Text),                 // TopicName
    field(0, END, FixedArray(4)),        // Partitions
], &[]);
static DESCRIBE_SHARE_GROUP_OFFSETS_GROUPS: Shape =
    shape::<m::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup>(&[
    field(0, END, Text),                 // GroupId
    nullable(0, END, 0, StructArray(&DESCRIBE_SHARE_GROUP_OFFSETS_GROUPS_TOPICS)),
], &[]);
pub(super) static DESCRIBE_SHARE_GROUP_OFFSETS: Shape =
    shape::<m::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequest>(&[
    field(0, END, StructArray(&DESCRIBE_SHARE_GROUP_OFFSETS_GROUPS)),
], &[]);

// 91 AlterShareGroupOffsets
static ALTER_SHARE_GROUP_OFFSETS_TOPICS_PARTITIONS: Shape =
    shape::<m::alter_share_group_offsets_request::AlterShareGroupOffsetsRequestPartition>(&[
    field(0, END, Fixed(12)),            // PartitionIndex, StartOffset
], &[]);
static ALTER_SHARE_GROUP_OFFSETS_TOPICS: Shape =
    shape::<m::alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic>(&[
    field(0, END, Text),                 // TopicName
    field(0, END, StructArray(&ALTER_SHARE_GROUP_OFFSETS_TOPICS_PARTITIONS)),
], &[]);
pub(super) static ALTER_SHARE_GROUP_OFFSETS: Shape =
    shape::<m::alter_share_group_offsets_request::AlterShareGroupOffsetsRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, StructArray(&ALTER_SHARE_GROUP_OFFSETS_TOPICS)),
], &[]);

// 92 DeleteShareGroupOffsets
static DELETE_SHARE_GROUP_OFFSETS_TOPICS: Shape =
    shape::<m::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic>(&[
    field(0, END, Text),                 // TopicName
], &[]);
pub(super) static DELETE_SHARE_GROUP_OFFSETS: Shape =
    shape::<m::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequest>(&[
    field(0, END, Text),                 // GroupId
    field(0, END, StructArray(&DELETE_SHARE_GROUP_OFFSETS_TOPICS)),
], &[]);

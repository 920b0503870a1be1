//! Every message of kafka-protocol behind one type, so that tests can go through all of them.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Message, VersionRange};

/// What tests do with one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codec {
    pub(crate) versions: VersionRange,
    /// The bytes of the default value.
    pub(crate) default: fn(i16) -> Vec<u8>,
    /// Decodes from the front of the bytes, then drops the value.
    pub(crate) decode: fn(&mut Bytes, i16) -> Result<(), String>,
    /// Decodes from the front of the bytes and encodes again.
    pub(crate) recode: fn(&mut Bytes, i16) -> Result<Vec<u8>, String>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Codecs {
    pub(crate) key: i16,
    pub(crate) request: Codec,
    pub(crate) response: Codec,
}

const fn codec<T: Message + Encodable + Decodable + Default>() -> Codec {
    Codec {
        versions: T::VERSIONS,
        default: |version| encode(&T::default(), version).unwrap(),
        decode: |bytes, version| {
            T::decode(bytes, version).map(drop).map_err(|error| error.to_string())
        },
        recode: |bytes, version| {
            let value = T::decode(bytes, version).map_err(|error| error.to_string())?;
            encode(&value, version)
        },
    }
}

fn encode<T: Encodable>(value: &T, version: i16) -> Result<Vec<u8>, String> {
    let mut out = BytesMut::new();
    value.encode(&mut out, version).map_err(|error| error.to_string())?;
    Ok(out.to_vec())
}

macro_rules! codecs {
    ($($key:literal $request:ident $response:ident,)*) => {
        /// In the order of the API keys.
        pub(crate) const CODECS: &[Codecs] = &[$(Codecs {
            key: $key,
            request: codec::<$request>(),
            response: codec::<$response>(),
        }),*];
    };
}

codecs! {
    0 ProduceRequest ProduceResponse,
    1 FetchRequest FetchResponse,
    2 ListOffsetsRequest ListOffsetsResponse,
    3 MetadataRequest MetadataResponse,
    8 OffsetCommitRequest OffsetCommitResponse,
    9 OffsetFetchRequest OffsetFetchResponse,
    10 FindCoordinatorRequest FindCoordinatorResponse,
    11 JoinGroupRequest JoinGroupResponse,
    12 HeartbeatRequest HeartbeatResponse,
    13 LeaveGroupRequest LeaveGroupResponse,
    14 SyncGroupRequest SyncGroupResponse,
    15 DescribeGroupsRequest DescribeGroupsResponse,
    16 ListGroupsRequest ListGroupsResponse,
    17 SaslHandshakeRequest SaslHandshakeResponse,
    18 ApiVersionsRequest ApiVersionsResponse,
    19 CreateTopicsRequest CreateTopicsResponse,
    20 DeleteTopicsRequest DeleteTopicsResponse,
    21 DeleteRecordsRequest DeleteRecordsResponse,
    22 InitProducerIdRequest InitProducerIdResponse,
    23 OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
    24 AddPartitionsToTxnRequest AddPartitionsToTxnResponse,
    25 AddOffsetsToTxnRequest AddOffsetsToTxnResponse,
    26 EndTxnRequest EndTxnResponse,
    27 WriteTxnMarkersRequest WriteTxnMarkersResponse,
    28 TxnOffsetCommitRequest TxnOffsetCommitResponse,
    29 DescribeAclsRequest DescribeAclsResponse,
    30 CreateAclsRequest CreateAclsResponse,
    31 DeleteAclsRequest DeleteAclsResponse,
    32 DescribeConfigsRequest DescribeConfigsResponse,
    33 AlterConfigsRequest AlterConfigsResponse,
    34 AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse,
    35 DescribeLogDirsRequest DescribeLogDirsResponse,
    36 SaslAuthenticateRequest SaslAuthenticateResponse,
    37 CreatePartitionsRequest CreatePartitionsResponse,
    38 CreateDelegationTokenRequest CreateDelegationTokenResponse,
    39 RenewDelegationTokenRequest RenewDelegationTokenResponse,
    40 ExpireDelegationTokenRequest ExpireDelegationTokenResponse,
    41 DescribeDelegationTokenRequest DescribeDelegationTokenResponse,
    42 DeleteGroupsRequest DeleteGroupsResponse,
    43 ElectLeadersRequest ElectLeadersResponse,
    44 IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse,
    45 AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse,
    46 ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse,
    47 OffsetDeleteRequest OffsetDeleteResponse,
    48 DescribeClientQuotasRequest DescribeClientQuotasResponse,
    49 AlterClientQuotasRequest AlterClientQuotasResponse,
    50 DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse,
    51 AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse,
    52 VoteRequest VoteResponse,
    53 BeginQuorumEpochRequest BeginQuorumEpochResponse,
    54 EndQuorumEpochRequest EndQuorumEpochResponse,
    55 DescribeQuorumRequest DescribeQuorumResponse,
    56 AlterPartitionRequest AlterPartitionResponse,
    57 UpdateFeaturesRequest UpdateFeaturesResponse,
    58 EnvelopeRequest EnvelopeResponse,
    59 FetchSnapshotRequest FetchSnapshotResponse,
    60 DescribeClusterRequest DescribeClusterResponse,
    61 DescribeProducersRequest DescribeProducersResponse,
    62 BrokerRegistrationRequest BrokerRegistrationResponse,
    63 BrokerHeartbeatRequest BrokerHeartbeatResponse,
    64 UnregisterBrokerRequest UnregisterBrokerResponse,
    65 DescribeTransactionsRequest DescribeTransactionsResponse,
    66 ListTransactionsRequest ListTransactionsResponse,
    67 AllocateProducerIdsRequest AllocateProducerIdsResponse,
    68 ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse,
    69 ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse,
    70 ControllerRegistrationRequest ControllerRegistrationResponse,
    71 GetTelemetrySubscriptionsRequest GetTelemetrySubscriptionsResponse,
    72 PushTelemetryRequest PushTelemetryResponse,
    73 AssignReplicasToDirsRequest AssignReplicasToDirsResponse,
    74 ListConfigResourcesRequest ListConfigResourcesResponse,
    75 DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse,
    76 ShareGroupHeartbeatRequest ShareGroupHeartbeatResponse,
    77 ShareGroupDescribeRequest ShareGroupDescribeResponse,
    78 ShareFetchRequest ShareFetchResponse,
    79 ShareAcknowledgeRequest ShareAcknowledgeResponse,
    80 AddRaftVoterRequest AddRaftVoterResponse,
    81 RemoveRaftVoterRequest RemoveRaftVoterResponse,
    82 UpdateRaftVoterRequest UpdateRaftVoterResponse,
    83 InitializeShareGroupStateRequest InitializeShareGroupStateResponse,
    84 ReadShareGroupStateRequest ReadShareGroupStateResponse,
    85 WriteShareGroupStateRequest WriteShareGroupStateResponse,
    86 DeleteShareGroupStateRequest DeleteShareGroupStateResponse,
    87 ReadShareGroupStateSummaryRequest ReadShareGroupStateSummaryResponse,
    90 DescribeShareGroupOffsetsRequest DescribeShareGroupOffsetsResponse,
    91 AlterShareGroupOffsetsRequest AlterShareGroupOffsetsResponse,
    92 DeleteShareGroupOffsetsRequest DeleteShareGroupOffsetsResponse,
}

//! DescribeQuorum (key 55), versions 0 to 2: how the nodes stand that keep the metadata (KIP-595).
//!
//! Behaviour
//! * The metadata is partition 0 of `__cluster_metadata`; for any other the answer is
//!   UNKNOWN_TOPIC_OR_PARTITION.
//! * Offsets count the entries of the metadata's log.
//!
//! Versions: 1 timestamps of replicas (KIP-836), 2 directory ids, addresses and messages (KIP-853).

use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{
    BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::Caller;
use crate::api::errors::{Code, NONE};
use crate::base::ids::NodeId;
use crate::controller::quorum::{QuorumView, ReplicaView};
use crate::metadata::image::Image;

/// The first version that tells directories, and where the voters are.
const FIRST_ADDRESSES: i16 = 2;
const METADATA_TOPIC: &str = "__cluster_metadata";

pub(super) async fn handle(
    caller: &Caller,
    request: DescribeQuorumRequest,
    version: i16,
) -> DescribeQuorumResponse {
    let is_metadata = match request.topics.as_slice() {
        [topic] => {
            let indexes = topic.partitions.iter().map(|partition| partition.partition_index);
            topic.topic_name.as_str() == METADATA_TOPIC && indexes.eq([0])
        }
        _ => false,
    };
    if !is_metadata {
        return unknown(request);
    }
    let context = &caller.context;
    let image = context.image();
    match context.controller.quorum(context.now_ms()).await {
        Ok(quorum) => told(&image, &quorum, version),
        Err(_) => DescribeQuorumResponse::default()
            .with_error_code(Code::NotLeaderOrFollower.code())
            .with_error_message(None),
    }
}

/// The codes in a response.
pub(super) fn errors(response: &DescribeQuorumResponse) -> impl Iterator<Item = i16> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    std::iter::once(response.error_code).chain(partitions.map(|partition| partition.error_code))
}

fn unknown(request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            PartitionData::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(Code::UnknownTopicOrPartition.code())
        });
        let partitions = partitions.collect();
        TopicData::default().with_topic_name(topic.topic_name).with_partitions(partitions)
    });
    DescribeQuorumResponse::default().with_topics(topics.collect()).with_error_message(None)
}

fn told(image: &Image, quorum: &QuorumView, version: i16) -> DescribeQuorumResponse {
    let states = |replicas: &[ReplicaView]| {
        replicas.iter().map(|replica| state(image, replica, version)).collect::<Vec<_>>()
    };
    let partition = PartitionData::default()
        .with_error_code(NONE)
        .with_error_message(None)
        .with_leader_id(BrokerId(quorum.leader.0))
        .with_leader_epoch(quorum.epoch)
        .with_high_watermark(quorum.high_watermark)
        .with_current_voters(states(&quorum.voters))
        .with_observers(states(&quorum.observers));
    let name = TopicName(StrBytes::from_static_str(METADATA_TOPIC));
    let topic = TopicData::default().with_topic_name(name).with_partitions(vec![partition]);
    let voters = quorum.voters.iter().filter(|_| version >= FIRST_ADDRESSES);
    let nodes = voters.map(|voter| address(image, voter.node));
    DescribeQuorumResponse::default()
        .with_error_message(None)
        .with_topics(vec![topic])
        .with_nodes(nodes.collect())
}

fn state(image: &Image, replica: &ReplicaView, version: i16) -> ReplicaState {
    let broker = image.brokers.get(&replica.node).filter(|_| version >= FIRST_ADDRESSES);
    let directory = broker.map(|broker| broker.directory.0);
    ReplicaState::default()
        .with_replica_id(BrokerId(replica.node.0))
        .with_replica_directory_id(Uuid::from_bytes(directory.unwrap_or_default()))
        .with_log_end_offset(replica.log_end_offset)
        .with_last_fetch_timestamp(replica.last_fetch_ms)
        .with_last_caught_up_timestamp(replica.last_caught_up_ms)
}

/// Where other nodes reach a voter.
fn address(image: &Image, node: NodeId) -> Node {
    let peer = image.brokers.get(&node).and_then(|broker| broker.peer.as_ref());
    let listeners = peer.into_iter().map(|peer| {
        Listener::default()
            .with_name(StrBytes::from_string(peer.listener.clone()))
            .with_host(StrBytes::from_string(peer.host.clone()))
            .with_port(peer.port)
    });
    Node::default().with_node_id(BrokerId(node.0)).with_listeners(listeners.collect())
}

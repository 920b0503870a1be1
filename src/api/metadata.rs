//! Metadata (key 3), versions 0 to 13: brokers, topics, partitions and their leaders.
//!
//! Behaviour
//! * Topics null (from version 1) or empty (version 0) means all; empty (from 1) means none.
//! * A topic that is not there is created if broker and request allow it; the answer then waits
//!   until it is served. Kafka answers LEADER_NOT_AVAILABLE first and lets the client ask again.
//! * Leaders, epochs and replicas are the metadata's, so that every broker tells the same. A leader
//!   that can not be reached is none. The controller is named if clients can reach it; any broker
//!   takes what is the controller's.
//! * Version 0 leaves out replicas that can not be reached, and says so by REPLICA_NOT_AVAILABLE.
//!
//! Versions: 1 controller and racks, 2 cluster id, 4 `allow_auto_topic_creation`, 5 offline
//! replicas, 7 leader epochs, 8 authorized operations (when asked for), 9 flexible, 10 topic ids,
//! 11 no cluster operations, 12 topics by id (null names), 13 top-level error code.

use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::Caller;
use crate::api::errors::{Code, NONE};
use crate::base::ids::{NodeId, TopicId};
use crate::metadata::image::{Image, Topic};

/// The first version whose clients know that error.
const FIRST_LISTENER_NOT_FOUND: i16 = 6;
/// "Not asked for, or not known" in the fields of authorized operations.
const NO_OPERATIONS: i32 = i32::MIN;
/// All of topic's operations: READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS,
/// ALTER_CONFIGS as bits (`AclEntry.supportedOperations`).
pub(crate) const ALL_TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
pub(crate) const ALL_CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

pub(super) async fn handle(
    caller: &Caller,
    request: MetadataRequest,
    version: i16,
) -> MetadataResponse {
    let context = &caller.context;
    let image = context.image();
    let operations = if request.include_topic_authorized_operations {
        ALL_TOPIC_OPERATIONS
    } else {
        NO_OPERATIONS
    };
    let found = Finder { caller, version, operations };
    let topics = match &request.topics {
        None => all(&found, &image),
        Some(topics) if topics.is_empty() && version == 0 => all(&found, &image),
        Some(topics) => {
            let may_create = version < 4 || request.allow_auto_topic_creation;
            some(&found, topics, may_create).await
        }
    };
    let cluster_operations = if request.include_cluster_authorized_operations {
        ALL_CLUSTER_OPERATIONS
    } else {
        NO_OPERATIONS
    };
    MetadataResponse::default()
        .with_brokers(brokers(caller, &image))
        .with_cluster_id(Some(StrBytes::from_string(image.cluster_id.clone())))
        .with_controller_id(BrokerId(caller.controller(&image).map_or(-1, |node| node.0)))
        .with_topics(topics)
        .with_cluster_authorized_operations(cluster_operations)
}

/// The codes in a response.
pub(super) fn errors(response: &MetadataResponse) -> impl Iterator<Item = i16> {
    let topics = response.topics.iter();
    let errors = topics.flat_map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| partition.error_code);
        std::iter::once(topic.error_code).chain(partitions)
    });
    errors.chain(std::iter::once(response.error_code))
}

fn brokers(caller: &Caller, image: &Image) -> Vec<MetadataResponseBroker> {
    let brokers = caller.brokers(image).map(|broker| {
        let rack = broker.rack.map(|rack| StrBytes::from_string(rack.to_owned()));
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(broker.node.0))
            .with_host(StrBytes::from_string(broker.endpoint.host.clone()))
            .with_port(i32::from(broker.endpoint.port))
            .with_rack(rack)
    });
    brokers.collect()
}

/// How topics that are there are told.
struct Finder<'a> {
    caller: &'a Caller,
    version: i16,
    operations: i32,
}

fn all(found: &Finder<'_>, image: &Image) -> Vec<MetadataResponseTopic> {
    image.topics().map(|topic| found.topic(image, topic)).collect()
}

async fn some(
    found: &Finder<'_>,
    wanted: &[MetadataRequestTopic],
    may_create: bool,
) -> Vec<MetadataResponseTopic> {
    let context = &found.caller.context;
    let mut topics = Vec::with_capacity(wanted.len());
    for want in wanted {
        let image = context.image();
        // The Java client sends an empty name beside an id.
        let by_id = !want.topic_id.is_nil();
        let by_name = want.name.as_ref().map(|name| name.as_str()).filter(|_| !by_id);
        let topic = match by_name {
            Some(name) => match image.topic(name) {
                Some(topic) => Ok(Arc::clone(topic)),
                None if may_create => context.create_automatically(name).await,
                None => Err(Code::UnknownTopicOrPartition),
            },
            None => {
                let id = TopicId(*want.topic_id.as_bytes());
                image.topic_by_id(id).cloned().ok_or(Code::UnknownTopicId)
            }
        };
        topics.push(match topic {
            // It may be younger than the image was.
            Ok(topic) => found.topic(&context.image(), &topic),
            Err(code) => MetadataResponseTopic::default()
                .with_error_code(code.code())
                .with_name(want.name.clone())
                .with_topic_id(want.topic_id)
                .with_topic_authorized_operations(NO_OPERATIONS),
        });
    }
    topics
}

impl Finder<'_> {
    fn topic(&self, image: &Image, topic: &Topic) -> MetadataResponseTopic {
        let partitions = topic.partitions.keys().map(|index| self.partition(image, topic, *index));
        MetadataResponseTopic::default()
            .with_error_code(NONE)
            .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
            .with_topic_id(Uuid::from_bytes(topic.id.0))
            .with_is_internal(is_internal(&topic.name))
            .with_partitions(partitions.collect())
            .with_topic_authorized_operations(self.operations)
    }

    fn partition(&self, image: &Image, topic: &Topic, index: i32) -> MetadataResponsePartition {
        let view = self.caller.view(image, topic, index);
        let (mut replicas, mut in_sync) = (view.replicas, view.in_sync);
        let told = replicas.len() + in_sync.len();
        if self.version == 0 {
            replicas.retain(|node| !view.offline.contains(node));
            in_sync.retain(|node| !view.offline.contains(node));
        }
        let error = match view.leader {
            Err(Code::ListenerNotFound) if self.version < FIRST_LISTENER_NOT_FOUND => {
                Code::LeaderNotAvailable.code()
            }
            Err(code) => code.code(),
            Ok(_) if replicas.len() + in_sync.len() < told => Code::ReplicaNotAvailable.code(),
            Ok(_) => NONE,
        };
        MetadataResponsePartition::default()
            .with_error_code(error)
            .with_partition_index(index)
            .with_leader_id(BrokerId(view.leader.map_or(-1, |node| node.0)))
            .with_leader_epoch(view.leader_epoch)
            .with_replica_nodes(broker_ids(&replicas))
            .with_isr_nodes(broker_ids(&in_sync))
            .with_offline_replicas(broker_ids(&view.offline))
    }
}

/// Topics that the broker keeps for itself.
pub(crate) fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

pub(crate) fn broker_ids(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().map(|node| BrokerId(node.0)).collect()
}

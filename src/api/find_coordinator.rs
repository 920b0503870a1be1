//! FindCoordinator (key 10), versions 0 to 6: which broker keeps a group.
//!
//! Behaviour
//! * A group's coordinator is the leader of the partition of `__consumer_offsets` that the group's
//!   name hashes to. The topic is created when it is first needed, whatever
//!   `auto.create.topics.enable` says; Kafka answers COORDINATOR_NOT_AVAILABLE meanwhile, here the
//!   answer waits.
//! * Transactions and share groups are not served yet. They are refused with INVALID_REQUEST, as
//!   Kafka refuses share groups where they are off: clients would ask again for ever after
//!   COORDINATOR_NOT_AVAILABLE.
//!
//! Versions: 1 key type and error message, 3 flexible, 4 several keys at once (KIP-699), 5
//! TRANSACTION_ABORTABLE (KIP-890), 6 share groups (KIP-932).

use std::sync::Arc;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::{Caller, Deadline, Reachable};
use crate::api::errors::{Code, NONE};
use crate::controller::topic_name::CONSUMER_OFFSETS;
use crate::coordinator::partition_for;
use crate::metadata::image::{Image, Topic};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// How long an answer waits for the coordinator to be loaded.
const LOAD_WAIT_MS_MAX: i32 = 5_000;

/// The first version with several keys, and with share groups.
const FIRST_BATCHED: i16 = 4;
const FIRST_SHARE: i16 = 6;

/// Why there is no coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unavailable {
    code: Code,
    message: &'static str,
}

const NOT_AVAILABLE: Unavailable = Unavailable {
    code: Code::CoordinatorNotAvailable,
    message: "The coordinator is not available.",
};

pub(super) async fn handle(
    caller: &Caller,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let image = caller.context.image();
    let topic = find_topic(caller, &image, request.key_type, version).await;
    let keys = match version < FIRST_BATCHED {
        true => std::slice::from_ref(&request.key),
        false => &request.coordinator_keys,
    };
    if let Ok(topic) = &topic {
        wait_for_shards(caller, &image, topic, keys).await;
    }
    // The topic may be younger than the image.
    let image = caller.context.image();
    let found = |key: &str| find(caller, &image, topic.as_ref().map_err(|error| *error)?, key);
    if version < FIRST_BATCHED {
        return single(found(&request.key));
    }
    let coordinators = request.coordinator_keys.iter().map(|key| {
        let (node, error, message) = fields(found(key), "");
        Coordinator::default()
            .with_key(key.clone())
            .with_node_id(node.id)
            .with_host(node.host)
            .with_port(node.port)
            .with_error_code(error)
            .with_error_message(message)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

/// A client that is told its coordinator asks it at once: it should be loaded then. After a while
/// the client is told all the same, and hears from the coordinator that it is loading.
async fn wait_for_shards(caller: &Caller, image: &Image, topic: &Topic, keys: &[StrBytes]) {
    let context = &caller.context;
    let deadline = Deadline::after_ms(LOAD_WAIT_MS_MAX);
    for key in keys {
        let partition = partition_for(key, topic.partitions.len());
        if context.view(image, topic, partition).leader == Some(context.node)
            && deadline.bound(context.groups.serving(partition)).await.is_err()
        {
            return;
        }
    }
}

/// The codes in a response.
pub(super) fn errors(response: &FindCoordinatorResponse) -> impl Iterator<Item = i16> {
    let coordinators = response.coordinators.iter();
    let several = coordinators.map(|coordinator| coordinator.error_code);
    several.chain(std::iter::once(response.error_code))
}

fn single(found: Result<Reachable<'_>, Unavailable>) -> FindCoordinatorResponse {
    // Without an error, Kafka's message is the name of that.
    let (node, error, message) = fields(found, "NONE");
    FindCoordinatorResponse::default()
        .with_error_code(error)
        .with_error_message(message)
        .with_node_id(node.id)
        .with_host(node.host)
        .with_port(node.port)
}

/// A broker as it stands in the answer.
struct Node {
    id: BrokerId,
    host: StrBytes,
    port: i32,
}

fn fields(
    found: Result<Reachable<'_>, Unavailable>,
    success: &'static str,
) -> (Node, i16, Option<StrBytes>) {
    match found {
        Ok(broker) => {
            let host = StrBytes::from_string(broker.endpoint.host.clone());
            let port = i32::from(broker.endpoint.port);
            let node = Node { id: BrokerId(broker.node.0), host, port };
            (node, NONE, Some(StrBytes::from_static_str(success)))
        }
        Err(Unavailable { code, message }) => {
            let nowhere = Node { id: BrokerId(-1), host: StrBytes::default(), port: -1 };
            (nowhere, code.code(), Some(StrBytes::from_static_str(message)))
        }
    }
}

/// The topic in which coordinators of this kind keep their state.
async fn find_topic(
    caller: &Caller,
    image: &Image,
    key_type: i8,
    version: i16,
) -> Result<Arc<Topic>, Unavailable> {
    let refuse = |message| Err(Unavailable { code: Code::InvalidRequest, message });
    match key_type {
        GROUP => {}
        TRANSACTION => return refuse("Transactions are not served by this broker yet."),
        SHARE if version < FIRST_SHARE => return refuse("Share groups need a newer version."),
        SHARE => return refuse("Share groups are not served by this broker yet."),
        _ => return refuse("Unknown coordinator type."),
    }
    if let Some(topic) = image.topic(CONSUMER_OFFSETS) {
        return Ok(Arc::clone(topic));
    }
    caller.context.ensure_topic(CONSUMER_OFFSETS).await.map_err(|code| {
        tracing::warn!(?code, topic = CONSUMER_OFFSETS, "topic not created");
        NOT_AVAILABLE
    })
}

fn find<'a>(
    caller: &Caller,
    image: &'a Image,
    topic: &Topic,
    key: &str,
) -> Result<Reachable<'a>, Unavailable> {
    let partition = partition_for(key, topic.partitions.len());
    let leader = caller.view(image, topic, partition).leader.map_err(|_| NOT_AVAILABLE)?;
    caller.endpoint(image, leader).ok_or(NOT_AVAILABLE)
}

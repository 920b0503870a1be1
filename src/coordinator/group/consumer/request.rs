//! What is wrong with a heartbeat, whatever the group.

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

use crate::base::ids::TopicId;
use crate::coordinator::group::consumer::{JOIN_EPOCH, LEAVE_EPOCH, Refused, STATIC_LEAVE_EPOCH};
use crate::coordinator::records::{EpochedPartitions, Partitions};

/// The first version in which members make up their ids.
const FIRST_WITH_OWN_MEMBER_ID: i16 = 1;

/// The checks and messages of Kafka, in its order.
pub(super) fn validate(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    assignors: &[String],
) -> Result<(), Refused> {
    let invalid = |message: &str| Err(Refused::new(Code::InvalidRequest, message));
    let is_blank = |text: Option<&str>| text.is_some_and(|text| text.trim().is_empty());
    let epoch = request.member_epoch;
    let needs_id =
        version >= FIRST_WITH_OWN_MEMBER_ID || epoch > JOIN_EPOCH || epoch == LEAVE_EPOCH;
    if needs_id && is_blank(Some(&request.member_id)) {
        return invalid("MemberId can't be empty.");
    }
    for (text, message) in [
        (Some(request.group_id.as_str()), "GroupId can't be empty."),
        (request.instance_id.as_deref(), "InstanceId can't be empty."),
        (request.rack_id.as_deref(), "RackId can't be empty."),
    ] {
        if is_blank(text) {
            return invalid(message);
        }
    }
    if epoch == JOIN_EPOCH {
        if request.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                 (re-)joining.",
            );
        }
    } else if epoch == STATIC_LEAVE_EPOCH && request.instance_id.is_none() {
        return invalid("InstanceId can't be null.");
    } else if epoch < STATIC_LEAVE_EPOCH {
        return invalid("MemberEpoch is invalid.");
    }
    match request.server_assignor.as_deref() {
        Some(name) if !assignors.iter().any(|known| known == name) => {
            let known = assignors.join(", ");
            let message =
                format!("ServerAssignor {name} is not supported. Supported assignors: {known}.");
            Err(Refused::new(Code::UnsupportedAssignor, message))
        }
        _ => Ok(()),
    }
}

/// The partitions that the member says it has; `None` if it says nothing.
pub(super) fn owned(request: &ConsumerGroupHeartbeatRequest) -> Option<Partitions> {
    let mut owned = Partitions::new();
    for topic in request.topic_partitions.as_ref()? {
        let partitions = owned.entry(TopicId(*topic.topic_id.as_bytes())).or_default();
        partitions.extend(topic.partitions.iter().copied());
    }
    Some(owned)
}

/// Whether the member says all of itself: it does when it joins, and after errors.
pub(super) fn is_full(request: &ConsumerGroupHeartbeatRequest) -> bool {
    request.rebalance_timeout_ms != -1
        && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
        && request.topic_partitions.is_some()
}

/// Whether the member has nothing but what was assigned to it.
pub(super) fn is_within(owned: &Partitions, assigned: &EpochedPartitions) -> bool {
    owned.iter().all(|(topic, partitions)| {
        let Some(assigned) = assigned.get(topic) else { return false };
        partitions.iter().all(|partition| assigned.contains_key(partition))
    })
}

/// Whether the member has one of these.
pub(super) fn has_any(owned: &Partitions, of: &EpochedPartitions) -> bool {
    owned.iter().any(|(topic, partitions)| {
        let of = of.get(topic);
        of.is_some_and(|of| partitions.iter().any(|partition| of.contains_key(partition)))
    })
}

//! The one place that knows Kafka's error codes for the errors of the layers below.

pub use kafka_protocol::ResponseError as Code;

use std::sync::LazyLock;

use kafka_protocol::protocol::StrBytes;

use crate::controller::refusal::{Reason, Refusal};
use crate::coordinator::runtime::Unavailable;
use crate::log::partition_log::ReadError;
use crate::log::producer_state::SequenceError;
use crate::partition::AppendError;
use crate::partition::mover::MoveError;
use crate::partition::validate::Invalid;
use crate::replication::partition_group::ProposeError;

/// "No error".
pub const NONE: i16 = 0;

pub fn of_append(error: AppendError) -> Code {
    match error {
        AppendError::NotLeader | AppendError::CutOff | AppendError::CutOffAfterAppend => {
            Code::NotLeaderOrFollower
        }
        AppendError::NotEnoughReplicas => Code::NotEnoughReplicas,
        AppendError::NotEnoughReplicasAfterAppend => Code::NotEnoughReplicasAfterAppend,
        AppendError::Unavailable | AppendError::NoRoom => Code::KafkaStorageError,
        AppendError::Sequence(SequenceError::OutOfOrder) => Code::OutOfOrderSequenceNumber,
        AppendError::Sequence(SequenceError::StaleEpoch) => Code::InvalidProducerEpoch,
        AppendError::Sequence(SequenceError::OutsideTransaction) => Code::InvalidTxnState,
        AppendError::Sequence(SequenceError::CoordinatorFenced) => {
            Code::TransactionCoordinatorFenced
        }
    }
}

/// The code of a refused batch and its message.
pub fn of_invalid(invalid: Invalid) -> (Code, String) {
    match invalid {
        Invalid::Corrupt(text) => (Code::CorruptMessage, text),
        Invalid::Request(text) | Invalid::Record(text) => (Code::InvalidRecord, text),
        Invalid::TooLarge(text) => (Code::MessageTooLarge, text),
        Invalid::TooLargeForSegment(text) => (Code::RecordListTooLarge, text),
        Invalid::Timestamp(text) => (Code::InvalidTimestamp, text),
        Invalid::Codec(text) => (Code::UnsupportedCompressionType, text),
        Invalid::Records(wrong) if wrong.has_timestamp() => {
            let text = "One or more records have been rejected due to invalid timestamp";
            (Code::InvalidTimestamp, text.to_owned())
        }
        Invalid::Records(wrong) => {
            let count = wrong.count;
            let text = format!(
                "One or more records have been rejected due to {count} record errors in total"
            );
            (Code::InvalidRecord, text)
        }
    }
}

pub fn of_move(error: MoveError) -> Code {
    match error {
        MoveError::UnknownDir => Code::LogDirNotFound,
        MoveError::Offline => Code::KafkaStorageError,
        MoveError::NoReplica => Code::ReplicaNotAvailable,
    }
}

pub fn of_read(error: &ReadError) -> Code {
    match error {
        ReadError::OutOfRange => Code::OffsetOutOfRange,
        ReadError::Damaged | ReadError::Io(_) => Code::KafkaStorageError,
    }
}

/// What a client is told when the controller did not take a change.
pub fn of_controller(error: ProposeError) -> Code {
    match error {
        ProposeError::NotLeader => Code::NotController,
        ProposeError::Stopped => Code::UnknownServerError,
        ProposeError::Unknown => Code::RequestTimedOut,
    }
}

/// What a client is told when there was no decision about its group.
pub fn of_coordinator(unavailable: Unavailable) -> Code {
    match unavailable {
        Unavailable::NoTopic => Code::CoordinatorNotAvailable,
        Unavailable::NotCoordinator => Code::NotCoordinator,
        Unavailable::Loading => Code::CoordinatorLoadInProgress,
    }
}

pub fn of_refusal(refusal: &Refusal) -> Code {
    match refusal.reason {
        Reason::InvalidTopicName => Code::InvalidTopicException,
        Reason::TopicExists => Code::TopicAlreadyExists,
        Reason::UnknownTopic => Code::UnknownTopicOrPartition,
        Reason::UnknownTopicId => Code::UnknownTopicId,
        Reason::InvalidRequest => Code::InvalidRequest,
        Reason::InvalidPartitions => Code::InvalidPartitions,
        Reason::InvalidReplicationFactor => Code::InvalidReplicationFactor,
        Reason::InvalidReplicaAssignment => Code::InvalidReplicaAssignment,
        Reason::InvalidConfig => Code::InvalidConfig,
        Reason::PolicyViolation => Code::PolicyViolation,
        Reason::NoReassignment => Code::NoReassignmentInProgress,
        Reason::UnknownBroker => Code::BrokerIdNotRegistered,
        Reason::ElectionNotNeeded => Code::ElectionNotNeeded,
        Reason::PreferredLeaderUnavailable => Code::PreferredLeaderNotAvailable,
        Reason::EligibleLeadersUnavailable => Code::EligibleLeadersNotAvailable,
        Reason::InvalidUpdateVersion => Code::InvalidUpdateVersion,
        Reason::DuplicateVoter => Code::DuplicateVoter,
        Reason::UnknownVoter => Code::VoterNotFound,
    }
}

/// The name that a code has in Kafka's `Errors`, for metrics. What Kafka has no name for is called
/// UNKNOWN, so that there are never more names than errors.
pub fn name(code: i16) -> &'static str {
    /// From -1 on, without a gap.
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let name = |code| match Code::try_from_code(code) {
            None => Some("NONE".to_owned()),
            Some(Code::Unknown(_)) => None,
            Some(known) => Some(upper_snake(&known.to_string())),
        };
        (-1..).map_while(name).collect()
    });
    let at = usize::try_from(i32::from(code) + 1).ok();
    at.and_then(|at| NAMES.get(at)).map_or("UNKNOWN", String::as_str)
}

fn upper_snake(camel: &str) -> String {
    let mut name = String::with_capacity(camel.len() + 8);
    for (at, letter) in camel.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// An answer's error fields: code and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub code: i16,
    pub message: Option<StrBytes>,
}

impl Told {
    pub fn none() -> Self {
        Self { code: NONE, message: None }
    }
}

impl From<Code> for Told {
    fn from(code: Code) -> Self {
        Self { code: code.code(), message: None }
    }
}

impl From<Refusal> for Told {
    fn from(refusal: Refusal) -> Self {
        let code = of_refusal(&refusal).code();
        Self { code, message: refusal.message.map(StrBytes::from_string) }
    }
}

impl<E: Into<Self>> From<Result<(), E>> for Told {
    fn from(outcome: Result<(), E>) -> Self {
        outcome.map_or_else(Into::into, |()| Self::none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kafka() {
        for (code, expected) in [
            (i16::MIN, "UNKNOWN"),
            (-2, "UNKNOWN"),
            (-1, "UNKNOWN_SERVER_ERROR"),
            (0, "NONE"),
            (1, "OFFSET_OUT_OF_RANGE"),
            (2, "CORRUPT_MESSAGE"),
            (3, "UNKNOWN_TOPIC_OR_PARTITION"),
            (6, "NOT_LEADER_OR_FOLLOWER"),
            (10, "MESSAGE_TOO_LARGE"),
            (17, "INVALID_TOPIC_EXCEPTION"),
            (100, "UNKNOWN_TOPIC_ID"),
            (133, "SHARE_SESSION_LIMIT_REACHED"),
            (i16::MAX, "UNKNOWN"),
        ] {
            assert_eq!(name(code), expected, "{code}");
        }
    }
}

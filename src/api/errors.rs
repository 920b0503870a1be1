//! The one place that knows Kafka's error codes for the errors of the layers below.

pub use kafka_protocol::ResponseError as Code;

use kafka_protocol::protocol::StrBytes;

use crate::controller::refusal::{Reason, Refusal};
use crate::log::partition_log::ReadError;
use crate::log::producer_state::SequenceError;
use crate::partition::AppendError;
use crate::partition::validate::Invalid;
use crate::replication::partition_group::ProposeError;

/// "No error".
pub const NONE: i16 = 0;

pub fn of_append(error: AppendError) -> Code {
    match error {
        AppendError::NotLeader => Code::NotLeaderOrFollower,
        AppendError::Unavailable => Code::KafkaStorageError,
        AppendError::Sequence(SequenceError::OutOfOrder) => Code::OutOfOrderSequenceNumber,
        AppendError::Sequence(SequenceError::StaleEpoch) => Code::InvalidProducerEpoch,
    }
}

/// The code of a refused batch and its message.
pub fn of_invalid(invalid: Invalid) -> (Code, String) {
    match invalid {
        Invalid::Corrupt(text) => (Code::CorruptMessage, text),
        Invalid::Record(text) => (Code::InvalidRecord, text),
        Invalid::TooLarge(text) => (Code::MessageTooLarge, text),
        Invalid::Format(text) => (Code::UnsupportedForMessageFormat, text),
        Invalid::Timestamp(text) => (Code::InvalidTimestamp, text),
        Invalid::Codec(text) => (Code::UnsupportedCompressionType, text),
    }
}

pub fn of_read(error: &ReadError) -> Code {
    match error {
        ReadError::OutOfRange => Code::OffsetOutOfRange,
        ReadError::Io(_) => Code::KafkaStorageError,
    }
}

/// What a client is told when the controller did not take a change.
pub fn of_controller(error: ProposeError) -> Code {
    match error {
        ProposeError::NotLeader => Code::NotController,
        ProposeError::Stopped => Code::UnknownServerError,
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
    }
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

//! Why the controller refuses a change.

/// The kind of a refusal. Kafka's code for it is `api::errors`' to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    InvalidTopicName,
    TopicExists,
    UnknownTopic,
    UnknownTopicId,
    InvalidRequest,
    InvalidPartitions,
    InvalidReplicationFactor,
    InvalidReplicaAssignment,
    InvalidConfig,
    PolicyViolation,
    NoReassignment,
    UnknownBroker,
    ElectionNotNeeded,
    PreferredLeaderUnavailable,
    EligibleLeadersUnavailable,
    InvalidUpdateVersion,
    DuplicateVoter,
    UnknownVoter,
}

/// A change that is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// For the client, in Kafka's words where it has some.
    pub message: Option<String>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: Some(message.into()) }
    }

    pub(crate) fn bare(reason: Reason) -> Self {
        Self { reason, message: None }
    }

    pub(crate) fn too_many_partitions() -> Self {
        Self::new(Reason::PolicyViolation, "Excessively large number of partitions per request.")
    }

    pub(crate) fn too_many_records() -> Self {
        Self::new(Reason::PolicyViolation, "Unable to perform excessively large batch operation.")
    }
}

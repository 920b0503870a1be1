//! Why a request was refused.

use kafka_protocol::ResponseError as Code;

/// An error code, and what is told beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub code: Code,
    pub message: String,
}

impl Refused {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn unknown_member(group: &str, member: &str) -> Self {
        let message = format!("Member {member} is not a member of group {group}.");
        Self::new(Code::UnknownMemberId, message)
    }

    pub(super) fn not_a_consumer_group(group: &str) -> Self {
        Self::new(Code::GroupIdNotFound, format!("Group {group} is not a consumer group."))
    }
}

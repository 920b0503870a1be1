//! Classic groups: JoinGroup, SyncGroup, Heartbeat and LeaveGroup, where a member assigns
//! (`ClassicGroup.java` and the classic half of `GroupMetadataManager.java`).
//!
//! What is durable of a group is its last complete generation, in one record that is appended when
//! the leader's assignment comes, when a static member is replaced, and when the group becomes
//! empty. All else is in memory and changes without records, so these records are appended and not
//! applied.
//!
//! Invariants, checked by `check_invariants` after each step of the tests: an empty group has no
//! members; `static_members` has each member's instance id once; the leader is a member; whoever
//! waits for a join is in a group that prepares a rebalance, with its timer running.

mod describe;
mod join;
mod leave;
mod load;
mod migration;
mod rebalance;
mod sync;
mod turn;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};

use crate::base::primitives::Reader;
use crate::coordinator::group::classic::rebalance::InitialDelay;
use crate::coordinator::group::{Committer, ExpiryBase, Group, Groups};
use crate::coordinator::reply::Reply;
use crate::coordinator::step::Step;

pub use crate::coordinator::group::classic::join::Join;
pub use crate::coordinator::group::classic::leave::Left;

/// The protocol type of consumers; of its metadata the broker reads the topics.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Where a classic group stands. One that is not there is told as "Dead".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClassicState {
    #[default]
    Empty,
    /// Members have to join, or to join again.
    PreparingRebalance,
    /// The leader's assignment is awaited.
    CompletingRebalance,
    Stable,
}

impl ClassicState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A classic group. The default is one that only has offsets, without members.
#[derive(Debug, Default)]
pub struct ClassicGroup {
    pub(crate) state: ClassicState,
    /// Since when it is in that state, in wall time; `None` is unknown.
    pub(crate) state_timestamp_ms: Option<i64>,
    /// `None` for a group that never had members.
    pub(crate) protocol_type: Option<String>,
    /// The protocol that the members of this generation use.
    pub(crate) protocol: Option<String>,
    pub(crate) generation: i32,
    pub(crate) leader: Option<String>,
    pub(crate) members: BTreeMap<String, ClassicMember>,
    /// The ids of static members by instance id.
    pub(crate) static_members: BTreeMap<String, String>,
    /// Ids that were given out and have not been joined with (KIP-394).
    pub(crate) pending_join: BTreeSet<String>,
    /// Members of this generation that have not asked for their assignment.
    pub(crate) pending_sync: BTreeSet<String>,
    /// `None` if that cannot be told.
    pub(crate) subscribed_topics: Option<BTreeSet<String>>,
    /// Set while the first rebalance of a group waits for more members.
    pub(crate) initial_delay: Option<InitialDelay>,
}

/// A member of a classic group.
#[derive(Debug)]
pub struct ClassicMember {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// Names and metadata, the preferred one first.
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<Reply<JoinGroupResponse>>,
    pub(crate) awaiting_sync: Option<Reply<SyncGroupResponse>>,
    /// It has not been in a generation yet: it may be removed although it waits.
    pub(crate) is_new: bool,
}

impl ClassicMember {
    pub(crate) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    /// What it said for a protocol.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// Whether silence is no sign of death: it waits for us.
    fn is_waiting(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

impl ClassicGroup {
    /// A group without members, which only has offsets.
    pub fn simple() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.state == ClassicState::Empty
    }

    /// Whether nothing but its offsets makes it a group.
    pub fn is_simple(&self) -> bool {
        self.protocol_type.is_none() && self.is_empty() && self.pending_join.is_empty()
    }

    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    pub(crate) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Members that wait for the rebalance to begin.
    fn joined_count(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    fn have_all_joined(&self) -> bool {
        self.pending_join.is_empty() && self.joined_count() == self.members.len()
    }

    /// The most patient member's timeout.
    pub(crate) fn rebalance_timeout_ms(&self) -> i64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        i64::from(longest.unwrap_or(0).max(0))
    }

    /// Whether someone with this id, and this instance id if there is one, is a member
    /// (`ClassicGroup.validateMember`).
    pub(crate) fn validate_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), Code> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(Code::UnknownMemberId),
                Some(known) if known != id => return Err(Code::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(Code::UnknownMemberId) }
    }

    pub(crate) fn validate_commit(&self, committer: Committer<'_>) -> Result<(), Code> {
        let Committer { member_id, instance_id, generation_or_epoch: generation, .. } = committer;
        if generation < 0 && self.is_empty() {
            // An admin client, or a consumer that assigns partitions to itself.
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && instance_id.is_none() {
            return Err(Code::UnknownMemberId);
        }
        self.validate_member(member_id, instance_id)?;
        if generation != self.generation {
            return Err(Code::IllegalGeneration);
        }
        if self.state == ClassicState::CompletingRebalance {
            // It knows of the new generation and not yet what it has in there.
            return Err(Code::RebalanceInProgress);
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "the other kinds of groups look at themselves")]
    pub(crate) fn validate_fetch(&self, _member: Option<&str>, _epoch: i32) -> Result<(), Code> {
        Ok(())
    }

    pub(crate) fn validate_delete(&self) -> Result<(), Code> {
        if self.is_empty() { Ok(()) } else { Err(Code::NonEmptyGroup) }
    }

    /// Whether single offsets may be deleted: of a group that is no group of consumers it is not
    /// known which ones are in use.
    pub fn validate_offset_delete(&self) -> Result<(), Code> {
        if self.is_empty() || self.uses_consumer_protocol() {
            Ok(())
        } else {
            Err(Code::NonEmptyGroup)
        }
    }

    /// From when on its offsets grow old (`ClassicGroup.offsetExpirationCondition`).
    pub(crate) fn offset_expiry(&self) -> Option<ExpiryBase> {
        if self.protocol_type.is_none() {
            return Some(ExpiryBase::Commit);
        }
        match self.state {
            ClassicState::Empty => {
                Some(self.state_timestamp_ms.map_or(ExpiryBase::Commit, ExpiryBase::At))
            }
            ClassicState::Stable if self.subscribed_topics.is_some() => Some(ExpiryBase::Commit),
            _ => None,
        }
    }

    /// Consumers whose topics are not known may use any.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// The topics of all members, if they can be told (`ClassicGroup.computeSubscribedTopics`).
    pub(crate) fn compute_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(member.metadata(protocol))?);
        }
        Some(topics)
    }

    /// Whether the members have such a type, and one of these protocols in common.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let all_support = |name: &str| self.members.values().all(|member| member.supports(name));
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| all_support(name))
    }

    /// The protocol with the most votes among those that all members support. Each member votes for
    /// the first of its own.
    pub(crate) fn select_protocol(&self) -> Option<String> {
        let all_support = |name: &str| self.members.values().all(|member| member.supports(name));
        let mut candidates: BTreeMap<&str, usize> = BTreeMap::new();
        if let Some(first) = self.members.values().next() {
            let names = first.protocols.iter().map(|(name, _)| name.as_str());
            candidates.extend(names.filter(|name| all_support(name)).map(|name| (name, 0)));
        }
        for member in self.members.values() {
            let mut names = member.protocols.iter().map(|(name, _)| name.as_str());
            let vote = names.find(|name| candidates.contains_key(name));
            if let Some(votes) = vote.and_then(|name| candidates.get_mut(name)) {
                *votes += 1;
            }
        }
        let elected = candidates.into_iter().max_by_key(|(_, votes)| *votes);
        elected.map(|(name, _)| name.to_owned())
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        assert!(!self.is_empty() || self.members.is_empty(), "an empty group has no members");
        let instances: BTreeMap<String, String> = self
            .members
            .values()
            .filter_map(|member| Some((member.instance_id.clone()?, member.id.clone())))
            .collect();
        let static_count = self.members.values().filter(|member| member.is_static()).count();
        assert_eq!(instances.len(), static_count, "each instance once");
        assert_eq!(instances, self.static_members);
        if let Some(leader) = &self.leader {
            assert!(self.members.contains_key(leader), "the leader is a member");
        }
        assert_eq!(self.leader.is_none(), self.members.is_empty(), "members have a leader");
        for id in &self.pending_sync {
            assert!(self.members.contains_key(id), "who has to sync is a member");
        }
        for (id, member) in &self.members {
            assert_eq!(*id, member.id);
            assert!(!self.pending_join.contains(id), "a member is not pending");
            let joins = member.awaiting_join.is_some();
            assert!(!joins || self.state == ClassicState::PreparingRebalance, "{id} joins");
            let syncs = member.awaiting_sync.is_some();
            assert!(!syncs || self.state == ClassicState::CompletingRebalance, "{id} syncs");
        }
    }
}

impl Groups {
    /// A member has committed offsets: that counts as a heartbeat.
    pub fn classic_committed(&mut self, step: &mut Step, group: &str, member: &str) {
        if let Some(mut turn) = self.turn(step, group)
            && matches!(turn.group.state, ClassicState::Stable | ClassicState::PreparingRebalance)
        {
            turn.extend_session(member);
        }
    }

    /// The classic group of that name.
    pub fn classic_group(&self, name: &str) -> Option<&ClassicGroup> {
        match self.groups.get(name)? {
            Group::Classic(group) => Some(group),
            Group::Consumer(_) => None,
        }
    }
}

/// The topics in a consumer's metadata, read as its first version, which all others begin with.
fn subscribed_topics(metadata: Bytes) -> Option<Vec<String>> {
    let mut read = Reader::new(metadata, false);
    let _version = read.i16()?;
    let topics = read.array(2, Reader::string)?;
    let _user_data = read.nullable_bytes()?;
    Some(topics)
}

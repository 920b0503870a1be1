//! Consumer groups (KIP-848): the broker assigns, members heartbeat.
//!
//! Three epochs lead to each other. The *group epoch* is bumped when subscriptions or their topics
//! change; then a *target assignment* of that epoch is computed; and each member is led there at
//! its own pace: it gives up partitions, its *member epoch* becomes the target's, and it gets new
//! partitions once their owners have given them up.
//!
//! Invariants: all of it comes from records, by `ConsumerGroup::replay` alone, but for `seen` and
//! the timers. A partition has one owner at most: the member in whose current assignment it is, be
//! it assigned or still to be revoked.

mod classic_members;
mod describe;
mod downgrade;
mod embedded;
mod error;
mod heartbeat;
mod leave;
mod pattern;
mod reconcile;
mod request;
mod subscription;
mod target;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;

use kafka_protocol::ResponseError as Code;

use crate::base::ids::{PartitionIndex, TopicId};
use crate::coordinator::group::timers::{TimerKey, TimerKind};
use crate::coordinator::group::{Committer, Group, Groups};
use crate::coordinator::records::{
    CurrentValue, MemberValue, Partitions, Record, RegexValue, TargetEpochValue,
};
use crate::coordinator::step::Step;
use crate::metadata::image::Image;

pub use error::Refused;
pub use heartbeat::Client;

/// A member that wants to join.
pub(crate) const JOIN_EPOCH: i32 = 0;
/// A member that leaves.
pub(crate) const LEAVE_EPOCH: i32 = -1;
/// A static member that leaves and will be back.
pub(crate) const STATIC_LEAVE_EPOCH: i32 = -2;

/// The epoch of a group that nobody has joined yet, and of its target (KAFKA-20268).
const FIRST_EPOCH: i32 = 1;

/// A consumer group.
#[derive(Debug)]
pub struct ConsumerGroup {
    epoch: i32,
    /// Of the topics that the members subscribe to; 0 is none.
    metadata_hash: i64,
    assignment_epoch: i32,
    members: BTreeMap<String, Member>,
    /// Member ids by instance id.
    static_members: BTreeMap<String, String>,
    target: BTreeMap<String, Partitions>,
    /// Who has a partition, assigned or to be revoked.
    owners: BTreeMap<(TopicId, PartitionIndex), String>,
    regexes: BTreeMap<String, RegexValue>,
    seen: Seen,
}

impl Default for ConsumerGroup {
    fn default() -> Self {
        Self {
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            assignment_epoch: FIRST_EPOCH,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            target: BTreeMap::new(),
            owners: BTreeMap::new(),
            regexes: BTreeMap::new(),
            seen: Seen::default(),
        }
    }
}

/// The metadata that was looked at last. It is looked at again when there is other, and after a
/// reload.
#[derive(Debug, Default)]
struct Seen {
    image: Weak<Image>,
    /// For the regular expressions, and when that was.
    regex_image: Weak<Image>,
    regex_at_ms: Option<i64>,
}

/// A member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) value: MemberValue,
    pub(crate) current: CurrentValue,
}

/// Where a member is on its way to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberState {
    Stable,
    /// It has partitions to give up.
    Unrevoked,
    /// It waits for partitions of others.
    Unreleased,
    /// Written by a newer version of the software.
    Unknown,
}

impl MemberState {
    fn of(value: i8) -> Self {
        match value {
            0 => Self::Stable,
            1 => Self::Unrevoked,
            2 => Self::Unreleased,
            _ => Self::Unknown,
        }
    }

    fn value(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
            Self::Unknown => 127,
        }
    }
}

impl Default for Member {
    fn default() -> Self {
        let value = MemberValue {
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            topic_names: BTreeSet::new(),
            topic_regex: Some(String::new()),
            rebalance_timeout_ms: -1,
            assignor: None,
            classic: None,
        };
        Self { value, current: no_assignment(JOIN_EPOCH) }
    }
}

/// The state of a member that has nothing.
fn no_assignment(epoch: i32) -> CurrentValue {
    CurrentValue {
        member_epoch: epoch,
        previous_member_epoch: epoch,
        state: MemberState::Stable.value(),
        assigned: BTreeMap::new(),
        pending_revocation: BTreeMap::new(),
    }
}

impl Member {
    pub(crate) fn state(&self) -> MemberState {
        MemberState::of(self.current.state)
    }

    pub(crate) fn epoch(&self) -> i32 {
        self.current.member_epoch
    }

    fn is_classic(&self) -> bool {
        self.value.classic.is_some()
    }

    /// The regular expression that it subscribes with.
    fn regex(&self) -> Option<&str> {
        regex_of(&self.value)
    }

    fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state() == MemberState::Stable && self.epoch() == epoch
    }
}

/// An empty expression is none.
fn regex_of(member: &MemberValue) -> Option<&str> {
    member.topic_regex.as_deref().filter(|regex| !regex.is_empty())
}

impl ConsumerGroup {
    /// The name of its state.
    pub fn state_name(&self) -> &'static str {
        let is_reconciled = |member: &Member| member.is_reconciled_to(self.assignment_epoch);
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.assignment_epoch {
            "Assigning"
        } else if self.members.values().all(is_reconciled) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// The member of this instance id with its own.
    fn static_member(&self, instance_id: &str) -> Option<(&str, &Member)> {
        let (id, member) = self.members.get_key_value(self.static_members.get(instance_id)?)?;
        Some((id, member))
    }

    fn owner(&self, topic: TopicId, partition: PartitionIndex) -> Option<&str> {
        self.owners.get(&(topic, partition)).map(String::as_str)
    }

    pub(crate) fn validate_commit(&self, committer: Committer<'_>) -> Result<(), Code> {
        let epoch = committer.generation_or_epoch;
        // An admin client, or a consumer that assigns partitions to itself.
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(committer.member_id).ok_or(Code::UnknownMemberId)?;
        if !member.is_classic() && committer.version < FIRST_COMMIT_WITH_EPOCH {
            return Err(Code::UnsupportedVersion);
        }
        // An epoch before will do for what the member had then and still has: that is looked at for
        // each partition.
        let is_before = !member.is_classic() && (0..member.epoch()).contains(&epoch);
        if is_before { Ok(()) } else { validate_epoch(member, epoch) }
    }

    /// Whether the member may commit for this partition: at an epoch since which it has had it
    /// (KIP-1251).
    pub(crate) fn validate_commit_of(
        &self,
        committer: Committer<'_>,
        topic: TopicId,
        partition: PartitionIndex,
    ) -> Result<(), Code> {
        let epoch = committer.generation_or_epoch;
        let Some(member) = self.members.get(committer.member_id) else { return Ok(()) };
        if member.epoch() == epoch {
            return Ok(());
        }
        let current = &member.current;
        let since = [&current.assigned, &current.pending_revocation]
            .into_iter()
            .find_map(|of| of.get(&topic)?.get(&partition));
        match since {
            Some(since) if *since <= epoch => Ok(()),
            _ => Err(stale(member)),
        }
    }

    pub(crate) fn validate_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), Code> {
        let Some(id) = member else {
            return if epoch < 0 { Ok(()) } else { Err(Code::UnknownMemberId) };
        };
        validate_epoch(self.members.get(id).ok_or(Code::UnknownMemberId)?, epoch)
    }

    pub(crate) fn validate_delete(&self) -> Result<(), Code> {
        if self.members.is_empty() { Ok(()) } else { Err(Code::NonEmptyGroup) }
    }

    /// The records that end the group.
    pub(crate) fn tombstones(&self, group: &str) -> Vec<Record> {
        let group = || group.to_owned();
        let members = || self.members.keys().cloned();
        let mut records = Vec::new();
        let current = |member| Record::Current { group: group(), member, value: None };
        records.extend(members().map(current));
        let target = |member: &String| Record::TargetMember {
            group: group(),
            member: member.clone(),
            value: None,
        };
        records.extend(self.target.keys().map(target));
        records.push(Record::TargetEpoch { group: group(), value: None });
        let subscription = |member| Record::Member { group: group(), member, value: None };
        records.extend(members().map(subscription));
        let regexes = self.regexes.keys().cloned();
        records.extend(regexes.map(|regex| Record::Regex { group: group(), regex, value: None }));
        records.push(Record::Group { group: group(), value: None });
        records
    }

    /// Applies a record of this group, but for the one that ends it. Records may come in the order
    /// of their keys as well as in that of the log.
    fn replay(&mut self, record: Record) {
        match record {
            Record::Group { value: Some(value), .. } => {
                (self.epoch, self.metadata_hash) = (value.epoch, value.metadata_hash);
            }
            Record::Member { member, value: Some(value), .. } => self.replay_member(&member, value),
            Record::Member { member, value: None, .. } => {
                self.disown(&member);
                if let Some(removed) = self.members.remove(&member) {
                    self.forget_instance(&member, removed.value.instance_id.as_deref());
                }
            }
            Record::TargetEpoch { value, .. } => {
                self.assignment_epoch = value.map_or(-1, |TargetEpochValue { epoch, .. }| epoch);
            }
            Record::TargetMember { member, value: Some(value), .. } => {
                self.target.insert(member, value);
            }
            Record::TargetMember { member, value: None, .. } => {
                self.target.remove(&member);
            }
            Record::Current { member, value: Some(value), .. } => {
                self.disown(&member);
                self.own(&member, &value);
                self.members.entry(member).or_default().current = value;
            }
            Record::Current { member, value: None, .. } => {
                self.disown(&member);
                if let Some(member) = self.members.get_mut(&member) {
                    member.current = no_assignment(LEAVE_EPOCH);
                }
            }
            Record::Regex { regex, value: Some(value), .. } => {
                self.regexes.insert(regex, value);
            }
            Record::Regex { regex, value: None, .. } => {
                self.regexes.remove(&regex);
            }
            Record::Offset { .. }
            | Record::ClassicGroup { .. }
            | Record::Group { value: None, .. }
            | Record::Metadata { .. } => {}
        }
    }

    fn replay_member(&mut self, id: &str, value: MemberValue) {
        if let Some(instance_id) = value.instance_id.clone() {
            self.static_members.insert(instance_id, id.to_owned());
        }
        let member = self.members.entry(id.to_owned()).or_default();
        let before = std::mem::replace(&mut member.value, value);
        if before.instance_id != member.value.instance_id {
            self.forget_instance(id, before.instance_id.as_deref());
        }
    }

    /// The instance id may have another member by now.
    fn forget_instance(&mut self, member: &str, instance_id: Option<&str>) {
        if let Some(instance_id) = instance_id
            && self.static_members.get(instance_id).is_some_and(|id| id == member)
        {
            self.static_members.remove(instance_id);
        }
    }

    fn own(&mut self, member: &str, current: &CurrentValue) {
        for (topic, partition) in partitions_of(current) {
            self.owners.insert((topic, partition), member.to_owned());
        }
    }

    /// When older records are gone, a partition may have its next owner already.
    fn disown(&mut self, member: &str) {
        let Self { members, owners, .. } = self;
        let Some(before) = members.get(member) else { return };
        for key in partitions_of(&before.current) {
            if owners.get(&key).is_some_and(|owner| owner == member) {
                owners.remove(&key);
            }
        }
    }
}

/// The first version of OffsetCommit that can say a member epoch.
const FIRST_COMMIT_WITH_EPOCH: i16 = 9;

fn validate_epoch(member: &Member, epoch: i32) -> Result<(), Code> {
    if member.epoch() == epoch { Ok(()) } else { Err(stale(member)) }
}

/// What a member is told that is not up to date.
fn stale(member: &Member) -> Code {
    if member.is_classic() { Code::IllegalGeneration } else { Code::StaleMemberEpoch }
}

fn partitions_of(current: &CurrentValue) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
    let topics = current.assigned.iter().chain(&current.pending_revocation);
    topics.flat_map(|(topic, indexes)| indexes.keys().map(|index| (*topic, *index)))
}

fn is_tombstone(record: &Record) -> bool {
    matches!(
        record,
        Record::Group { value: None, .. }
            | Record::Member { value: None, .. }
            | Record::TargetEpoch { value: None, .. }
            | Record::TargetMember { value: None, .. }
            | Record::Current { value: None, .. }
            | Record::Regex { value: None, .. }
            | Record::Metadata { .. }
    )
}

impl Groups {
    /// Replays the records of consumer groups.
    pub(crate) fn apply_consumer(&mut self, record: Record) {
        match self.groups.get_mut(record.group()) {
            Some(Group::Consumer(group)) => match record {
                Record::Group { group, value: None } => {
                    self.groups.remove(&group);
                }
                other => group.replay(other),
            },
            // What ends without having begun is of a time that was compacted away. What begins
            // takes the place of a classic group: one that had members was ended before.
            Some(Group::Classic(_)) | None if !is_tombstone(&record) => {
                let name = record.group().to_owned();
                let mut group = ConsumerGroup::default();
                group.replay(record);
                self.groups.insert(name, Group::Consumer(group));
            }
            Some(Group::Classic(_)) | None => {}
        }
    }

    /// The consumer group of that name.
    pub fn consumer_group(&self, name: &str) -> Option<&ConsumerGroup> {
        match self.groups.get(name)? {
            Group::Consumer(group) => Some(group),
            Group::Classic(_) => None,
        }
    }

    /// Everybody has a whole timeout again.
    pub(crate) fn consumer_loaded(&mut self, step: &mut Step, group: &str) {
        let Some(found) = self.consumer_group(group) else { return };
        let unrevoked = |member: &Member| {
            let is_unrevoked = member.state() == MemberState::Unrevoked && !member.is_classic();
            is_unrevoked.then_some(member.value.rebalance_timeout_ms)
        };
        let members: Vec<(String, Option<i32>, Option<i32>)> = found
            .members
            .iter()
            .map(|(id, member)| {
                let session_ms = member.value.classic.as_ref().map(|own| own.session_timeout_ms);
                (id.clone(), session_ms, unrevoked(member))
            })
            .collect();
        let default_ms = self.settings.session_timeout_ms(&step.image, group);
        for (member, session_ms, revocation_ms) in members {
            if let Some(timeout_ms) = revocation_ms {
                let kind = TimerKind::Rebalance { member: member.clone() };
                self.set_consumer_timer(step, group, kind, timeout_ms);
            }
            let kind = TimerKind::Session { member };
            self.set_consumer_timer(step, group, kind, session_ms.unwrap_or(default_ms));
        }
    }

    fn set_consumer_timer(&mut self, step: &Step, group: &str, kind: TimerKind, after_ms: i32) {
        let key = TimerKey { group: group.to_owned(), kind };
        let at_ms = step.now.monotonic_ms.saturating_add(i64::from(after_ms.max(0)));
        self.timers.set(key, at_ms);
    }

    fn cancel_consumer_timer(&mut self, group: &str, kind: TimerKind) {
        self.timers.cancel(&TimerKey { group: group.to_owned(), kind });
    }
}

#[cfg(test)]
mod tests;

//! Groups: the state of one partition of `__consumer_offsets`. Pure: requests, time and metadata
//! come in, records and answers go out.
//!
//! What is durable changes by `Groups::emit` alone: a record is appended and replayed at once,
//! and a restart replays the same records. What is not (who waits for a rebalance, when a session
//! ends) lives in the groups beside it.

pub mod admin;
pub mod assignor;
pub mod classic;
pub mod consumer;
pub mod offsets;
pub mod settings;
pub mod timers;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::protocol::StrBytes;

use crate::base::ids::{PartitionIndex, TopicId};
use crate::base::rng::Rng;
use crate::coordinator::group::classic::ClassicGroup;
use crate::coordinator::group::consumer::ConsumerGroup;
use crate::coordinator::group::offsets::Offsets;
use crate::coordinator::group::settings::GroupSettings;
use crate::coordinator::group::timers::{TimerKey, Timers};
use crate::coordinator::records::{DecodeError, Record};
use crate::coordinator::runtime::Machine;
use crate::coordinator::step::Step;

/// All groups of a partition.
#[derive(Debug)]
pub struct Groups {
    pub(crate) settings: Arc<GroupSettings>,
    pub(crate) rng: Arc<Rng>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) offsets: Offsets,
    pub(crate) timers: Timers,
}

/// A group. One that only commits offsets, without members, is a classic one.
#[derive(Debug)]
pub enum Group {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

/// Who commits or fetches offsets.
#[derive(Debug, Clone, Copy)]
pub struct Committer<'a> {
    /// Empty: nobody in particular.
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    /// The generation of a classic group or the epoch of a member; negative: none.
    pub generation_or_epoch: i32,
    /// The version of OffsetCommit.
    pub version: i16,
}

/// From when on the offsets of a group grow old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryBase {
    /// Each from its commit.
    Commit,
    /// All from this moment, in milliseconds since the Unix epoch.
    At(i64),
}

impl Groups {
    pub fn new(settings: Arc<GroupSettings>, rng: Arc<Rng>) -> Self {
        Self {
            settings,
            rng,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
        }
    }

    /// Appends a record and applies it.
    pub(crate) fn emit(&mut self, step: &mut Step, record: Record) {
        step.append(&record);
        self.apply(record);
    }

    /// The one place where durable state changes.
    pub(crate) fn apply(&mut self, record: Record) {
        match record {
            Record::Offset { key, value } => self.apply_offset(key, value),
            Record::ClassicGroup { group, value } => self.apply_classic(group, value),
            other => self.apply_consumer(other),
        }
    }

    fn on_timer(&mut self, step: &mut Step, key: TimerKey) {
        match self.groups.get(&key.group) {
            Some(Group::Classic(_)) => self.on_classic_timer(step, key),
            Some(Group::Consumer(_)) => self.on_consumer_timer(step, key),
            None => {}
        }
    }
}

/// A text of an answer.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Machine for Groups {
    fn replay(&mut self, key: Bytes, value: Option<Bytes>) {
        match Record::decode(key, value) {
            Ok(record) => self.apply(record),
            Err(DecodeError::UnknownKind(kind)) => {
                tracing::debug!(kind, "group record of an unknown kind");
            }
            Err(DecodeError::Damaged) => tracing::warn!("damaged group record skipped"),
        }
    }

    fn loaded(&mut self, step: &mut Step) {
        let names: Vec<String> = self.groups.keys().cloned().collect();
        for name in names {
            match self.groups.get(&name) {
                Some(Group::Classic(_)) => self.classic_loaded(step, &name),
                Some(Group::Consumer(_)) => self.consumer_loaded(step, &name),
                None => {}
            }
        }
        self.offsets_loaded();
    }

    fn tick(&mut self, step: &mut Step) {
        while let Some(key) = self.timers.pop_due(step.now.monotonic_ms) {
            self.on_timer(step, key);
        }
        self.expire_offsets(step);
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        self.timers.next_ms().into_iter().chain(self.next_expiry_ms()).min()
    }
}

impl Group {
    /// Whether offsets may be committed by this member.
    pub(crate) fn validate_commit(&self, committer: Committer<'_>) -> Result<(), Code> {
        match self {
            Self::Classic(group) => group.validate_commit(committer),
            Self::Consumer(group) => group.validate_commit(committer),
        }
    }

    /// The same for one partition: a member of a consumer group may be late with a partition that
    /// it still has.
    pub(crate) fn validate_commit_of(
        &self,
        committer: Committer<'_>,
        topic: TopicId,
        partition: PartitionIndex,
    ) -> Result<(), Code> {
        match self {
            Self::Classic(_) => Ok(()),
            Self::Consumer(group) => group.validate_commit_of(committer, topic, partition),
        }
    }

    /// Whether offsets may be fetched by this member (OffsetFetch 9 and later tell who asks).
    pub(crate) fn validate_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), Code> {
        match self {
            Self::Classic(group) => group.validate_fetch(member_id, epoch),
            Self::Consumer(group) => group.validate_fetch(member_id, epoch),
        }
    }

    /// Whether single offsets may be deleted.
    pub(crate) fn validate_offset_delete(&self) -> Result<(), Code> {
        match self {
            Self::Classic(group) => group.validate_offset_delete(),
            Self::Consumer(_) => Ok(()),
        }
    }

    /// Whether the group may be deleted: it must have no members.
    pub(crate) fn validate_delete(&self) -> Result<(), Code> {
        match self {
            Self::Classic(group) => group.validate_delete(),
            Self::Consumer(group) => group.validate_delete(),
        }
    }

    /// Whether a member uses the topic; its offsets may be neither deleted nor expired then.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// From when on offsets expire; `None`: they do not as long as the group is what it is.
    pub(crate) fn offset_expiry(&self) -> Option<ExpiryBase> {
        match self {
            Self::Classic(group) => group.offset_expiry(),
            Self::Consumer(_) => Some(ExpiryBase::Commit),
        }
    }
}

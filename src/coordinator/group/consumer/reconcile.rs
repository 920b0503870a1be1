//! One step of a member towards the target: what it has to give up, then what it gets
//! (`CurrentAssignmentBuilder.java`).

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{PartitionIndex, TopicId};
use crate::coordinator::group::consumer::request::has_any;
use crate::coordinator::group::consumer::{ConsumerGroup, Member, MemberState};
use crate::coordinator::records::{CurrentValue, EpochedPartitions, Partitions};
use crate::metadata::image::Image;

/// A member with its group and what it said of itself.
pub(super) struct Reconciliation<'a> {
    pub(super) group: &'a ConsumerGroup,
    pub(super) id: &'a str,
    pub(super) member: &'a Member,
    pub(super) image: &'a Image,
    /// The partitions that the member says it has, if it says so.
    pub(super) owned: Option<&'a Partitions>,
}

/// How far the target is from what the member has.
#[derive(Default)]
struct Difference {
    kept: EpochedPartitions,
    to_revoke: EpochedPartitions,
    to_assign: Partitions,
    /// Some are still with others.
    has_unreleased: bool,
}

impl Reconciliation<'_> {
    /// Where the member stands next. It is where it stands already if nothing can be done.
    pub(super) fn next(&self) -> CurrentValue {
        let Self { group, member, .. } = self;
        let is_consistent = self.is_consistent();
        if is_consistent && member.is_reconciled_to(group.assignment_epoch) {
            return member.current.clone();
        }
        match member.state() {
            MemberState::Stable if member.epoch() == group.assignment_epoch => self.unsubscribe(),
            MemberState::Unrevoked if self.still_owns(&member.current.pending_revocation) => {
                if is_consistent {
                    member.current.clone()
                } else {
                    self.unsubscribe()
                }
            }
            // A member of an unknown state has said that it has nothing.
            MemberState::Unknown => self.advance(group.assignment_epoch),
            MemberState::Stable | MemberState::Unrevoked | MemberState::Unreleased => {
                self.advance(member.epoch())
            }
        }
    }

    /// Whether the member subscribes to all that it has.
    fn is_consistent(&self) -> bool {
        self.member.current.assigned.keys().all(|topic| self.subscribes(*topic))
    }

    /// Topics that are gone count as not subscribed to.
    fn subscribes(&self, topic: TopicId) -> bool {
        let topic = self.image.topic_by_id(topic);
        topic.is_some_and(|topic| self.group.subscribes(&self.member.value, &topic.name))
    }

    /// A member that says nothing has all that it had.
    fn still_owns(&self, of: &EpochedPartitions) -> bool {
        self.owned.is_none_or(|owned| has_any(owned, of))
    }

    fn moved(&self, state: MemberState, epoch: i32, assigned: EpochedPartitions) -> CurrentValue {
        CurrentValue {
            member_epoch: epoch,
            previous_member_epoch: self.member.epoch(),
            state: state.value(),
            assigned,
            pending_revocation: BTreeMap::new(),
        }
    }

    /// Takes away what the member does not subscribe to any more, without going on to a new epoch.
    fn unsubscribe(&self) -> CurrentValue {
        let member = self.member;
        let assigned = member.current.assigned.iter();
        let (kept, gone): (EpochedPartitions, EpochedPartitions) = assigned
            .map(|(topic, partitions)| (*topic, partitions.clone()))
            .partition(|(topic, _)| self.subscribes(*topic));
        if gone.is_empty() {
            return member.current.clone();
        }
        let mut pending_revocation = member.current.pending_revocation.clone();
        for (topic, partitions) in gone {
            pending_revocation.entry(topic).or_default().extend(partitions);
        }
        if self.still_owns(&pending_revocation) {
            let next = self.moved(MemberState::Unrevoked, member.epoch(), kept);
            CurrentValue { pending_revocation, ..next }
        } else {
            // It has given them up already.
            let next = self.moved(member.state(), member.epoch(), kept);
            let pending_revocation = member.current.pending_revocation.clone();
            CurrentValue { pending_revocation, ..next }
        }
    }

    /// Goes on towards the target. While there is something to revoke the epoch stays.
    fn advance(&self, epoch: i32) -> CurrentValue {
        let target_epoch = self.group.assignment_epoch;
        let Difference { mut kept, to_revoke, to_assign, has_unreleased } = self.difference();
        if !to_revoke.is_empty() && self.still_owns(&to_revoke) {
            let next = self.moved(MemberState::Unrevoked, epoch, kept);
            return CurrentValue { pending_revocation: to_revoke, ..next };
        }
        for (topic, partitions) in to_assign {
            let assigned = partitions.into_iter().map(|partition| (partition, target_epoch));
            kept.entry(topic).or_default().extend(assigned);
        }
        let state = if has_unreleased { MemberState::Unreleased } else { MemberState::Stable };
        self.moved(state, target_epoch, kept)
    }

    fn difference(&self) -> Difference {
        let current = &self.member.current.assigned;
        let target = self.group.target.get(self.id);
        let targeted = target.into_iter().flat_map(BTreeMap::keys);
        let topics: BTreeSet<TopicId> = targeted.chain(current.keys()).copied().collect();
        let mut difference = Difference::default();
        for topic in topics {
            let target = target.and_then(|target| target.get(&topic));
            let target = target.filter(|_| self.subscribes(topic));
            self.compare(topic, target, &mut difference);
        }
        difference
    }

    fn compare(
        &self,
        topic: TopicId,
        target: Option<&BTreeSet<PartitionIndex>>,
        difference: &mut Difference,
    ) {
        let current = self.member.current.assigned.get(&topic);
        for (partition, epoch) in current.into_iter().flatten() {
            let stays = target.is_some_and(|target| target.contains(partition));
            let side = if stays { &mut difference.kept } else { &mut difference.to_revoke };
            side.entry(topic).or_default().insert(*partition, *epoch);
        }
        for partition in target.into_iter().flatten() {
            if current.is_some_and(|current| current.contains_key(partition)) {
                continue;
            }
            // What it was to revoke itself it may have again.
            if self.group.owner(topic, *partition).is_some_and(|owner| owner != self.id) {
                difference.has_unreleased = true;
            } else {
                difference.to_assign.entry(topic).or_default().insert(*partition);
            }
        }
    }
}

//! Members that leave, or are made to.

use std::collections::BTreeSet;

use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;

use crate::coordinator::group::Groups;
use crate::coordinator::group::consumer::heartbeat::{fenced_instance, removal, unknown_instance};
use crate::coordinator::group::consumer::{Member, MemberState, Refused, STATIC_LEAVE_EPOCH};
use crate::coordinator::group::timers::{TimerKey, TimerKind};
use crate::coordinator::records::{CurrentValue, GroupValue, Record};
use crate::coordinator::step::Step;

impl Groups {
    pub(super) fn consumer_leave(
        &mut self,
        step: &mut Step,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
        let name = request.group_id.as_str();
        let group = self.known_consumer_group(name)?;
        let id = match request.instance_id.as_deref() {
            None => request.member_id.as_str(),
            Some(instance_id) => {
                let found = group.static_member(instance_id);
                let (id, _) = found.ok_or_else(|| unknown_instance(instance_id))?;
                if id != request.member_id.as_str() {
                    return Err(fenced_instance(&request.member_id, instance_id, id));
                }
                id
            }
        };
        let member = group.member(id).ok_or_else(|| Refused::unknown_member(name, id))?;
        if request.member_epoch == STATIC_LEAVE_EPOCH {
            let left = left_for_now(member);
            let (group, member) = (name.to_owned(), id.to_owned());
            self.emit(step, Record::Current { group, member, value: Some(left) });
        } else {
            let id = id.to_owned();
            self.fence_members(step, name, &BTreeSet::from([id.as_str()]));
        }
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(StrBytes::from_string(request.member_id.to_string())))
            .with_member_epoch(request.member_epoch))
    }

    /// Removes members: their partitions are free at once.
    pub(super) fn fence_members(&mut self, step: &mut Step, name: &str, members: &BTreeSet<&str>) {
        let Some(group) = self.consumer_group(name) else { return };
        if self.can_downgrade(group, members) {
            let reason = "the last member of the new protocol has left";
            return self.downgrade(step, name, (members, Some(reason)));
        }
        let regexes = members.iter().filter_map(|id| group.member(id)?.regex());
        let regexes: BTreeSet<String> = regexes.map(str::to_owned).collect();
        for member in members {
            self.cancel_member_timers(name, member);
            self.emit_all(step, removal(name, member));
        }
        for regex in &regexes {
            self.forget_regex(step, name, regex);
        }

        let Some(group) = self.consumer_group(name) else { return };
        let epoch = group.epoch.saturating_add(1);
        let metadata_hash = group.compute_metadata_hash(&step.image);
        let value = Some(GroupValue { epoch, metadata_hash });
        self.emit(step, Record::Group { group: name.to_owned(), value });
    }

    pub(super) fn cancel_member_timers(&mut self, group: &str, member: &str) {
        let member = || member.to_owned();
        for kind in [
            TimerKind::Session { member: member() },
            TimerKind::Rebalance { member: member() },
            TimerKind::ClassicJoin { member: member() },
            TimerKind::ClassicSync { member: member() },
        ] {
            self.cancel_consumer_timer(group, kind);
        }
    }

    pub(crate) fn on_consumer_timer(&mut self, step: &mut Step, key: TimerKey) {
        let TimerKey { group, kind } = key;
        let (id, reason) = match &kind {
            TimerKind::Session { member } => (member, "its session expired"),
            TimerKind::Rebalance { member } => (member, "it did not revoke its partitions in time"),
            TimerKind::ClassicJoin { member } => (member, "it did not join again in time"),
            TimerKind::ClassicSync { member } => (member, "it did not sync in time"),
            TimerKind::Pending { .. } | TimerKind::Join | TimerKind::Sync => return,
        };
        let Some(member) = self.consumer_group(&group).and_then(|group| group.member(id)) else {
            return;
        };
        let is_moot = match kind {
            // One that has left for now has given up what it was to revoke.
            TimerKind::Rebalance { .. } => {
                member.state() != MemberState::Unrevoked || member.epoch() == STATIC_LEAVE_EPOCH
            }
            TimerKind::ClassicJoin { .. } | TimerKind::ClassicSync { .. } => !member.is_classic(),
            _ => false,
        };
        if !is_moot {
            tracing::info!(group, member = id, reason, "member removed");
            self.fence_members(step, &group, &BTreeSet::from([id.as_str()]));
        }
    }
}

/// A static member that will be back keeps what it has. Whoever comes in its place may commit for
/// that whatever its epoch.
fn left_for_now(member: &Member) -> CurrentValue {
    let mut current = member.current.clone();
    current.member_epoch = STATIC_LEAVE_EPOCH;
    current.pending_revocation.clear();
    for epoch in current.assigned.values_mut().flat_map(|partitions| partitions.values_mut()) {
        *epoch = 0;
    }
    current
}

//! A classic group from its record, and what begins when all records are read.

use std::collections::btree_map::Entry;

use crate::coordinator::group::classic::{ClassicGroup, ClassicMember, ClassicState};
use crate::coordinator::group::{Group, Groups};
use crate::coordinator::records::{ClassicGroupValue, ClassicMemberValue};
use crate::coordinator::step::Step;

impl Groups {
    pub(crate) fn apply_classic(&mut self, group: String, value: Option<ClassicGroupValue>) {
        match value {
            Some(value) => {
                self.groups.insert(group, Group::Classic(ClassicGroup::from_record(value)));
            }
            None if self.classic_group(&group).is_some() => {
                self.timers.cancel_group(&group);
                self.groups.remove(&group);
            }
            None => {}
        }
    }

    /// Members have a whole session from now on. When the limit was lowered, a rebalance lets those
    /// commit who have to go.
    pub(crate) fn classic_loaded(&mut self, step: &mut Step, group: &str) {
        let Some(mut turn) = self.turn(step, group) else { return };
        let ids: Vec<String> = turn.group.members.keys().cloned().collect();
        ids.iter().for_each(|id| turn.extend_session(id));
        let size_max = usize::try_from(turn.settings.config.group_max_size).unwrap_or(0);
        if ids.len() > size_max {
            turn.prepare_rebalance("the group is over capacity");
        }
    }
}

impl ClassicGroup {
    /// The group as it was in its last complete generation.
    pub(crate) fn from_record(value: ClassicGroupValue) -> Self {
        let mut group = Self {
            state_timestamp_ms: Some(value.state_timestamp_ms).filter(|at| *at != -1),
            protocol_type: Some(value.protocol_type).filter(|name| !name.is_empty()),
            protocol: value.protocol,
            generation: value.generation,
            ..Self::default()
        };
        for member in value.members {
            group.restore(member);
        }
        if !group.members.is_empty() {
            group.state = ClassicState::Stable;
        }
        let is_member = |id: &String| group.members.contains_key(id);
        let leader = value.leader.filter(is_member);
        group.leader = leader.or_else(|| group.members.keys().next().cloned());
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// Adds a member; an id or instance id that stands twice in a record counts once.
    fn restore(&mut self, value: ClassicMemberValue) {
        if self.members.contains_key(&value.member_id) {
            return;
        }
        if let Some(instance_id) = &value.instance_id {
            match self.static_members.entry(instance_id.clone()) {
                Entry::Vacant(free) => free.insert(value.member_id.clone()),
                Entry::Occupied(_) => return,
            };
        }
        let protocol = self.protocol.clone().unwrap_or_default();
        let member = ClassicMember {
            id: value.member_id.clone(),
            instance_id: value.instance_id,
            client_id: value.client_id,
            client_host: value.client_host,
            rebalance_timeout_ms: match value.rebalance_timeout_ms {
                -1 => value.session_timeout_ms,
                timeout_ms => timeout_ms,
            },
            session_timeout_ms: value.session_timeout_ms,
            protocols: vec![(protocol, value.subscription)],
            assignment: value.assignment,
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        };
        self.members.insert(value.member_id, member);
    }
}

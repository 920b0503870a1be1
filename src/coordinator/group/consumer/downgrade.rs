//! A consumer group becomes a classic one when the last member that speaks the new protocol goes
//! and others stay.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::group::Groups;
use crate::coordinator::group::classic::{
    CONSUMER_PROTOCOL_TYPE, ClassicGroup, ClassicMember, ClassicState,
};
use crate::coordinator::group::consumer::embedded::{Subscription, encode_assignment};
use crate::coordinator::group::consumer::{ConsumerGroup, Member};
use crate::coordinator::step::Step;
use crate::metadata::image::Image;

impl Groups {
    /// Whether only members that speak the classic protocol are left when these go.
    pub(super) fn can_downgrade(&self, group: &ConsumerGroup, leaving: &BTreeSet<&str>) -> bool {
        let mut stay = group.members.iter().filter(|(id, _)| !leaving.contains(id.as_str()));
        let count = group.members.len().saturating_sub(leaving.len());
        let has_room =
            i32::try_from(count).is_ok_and(|count| count <= self.settings.config.group_max_size);
        let may = self.settings.config.group_consumer_migration_policy.may_downgrade();
        may && count > 0 && has_room && stay.all(|(_, member)| member.is_classic())
    }

    /// Makes the group a classic one without these members. The reason for a rebalance is the
    /// reason to have one.
    pub(super) fn downgrade(
        &mut self,
        step: &mut Step,
        name: &str,
        (leaving, rebalance): (&BTreeSet<&str>, Option<&str>),
    ) {
        let Some(group) = self.consumer_group(name) else { return };
        tracing::info!(group = name, "consumer group becomes a classic group");
        let classic = classic_group(group, leaving, &step.image);
        let records = group.tombstones(name);
        self.timers.cancel_group(name);
        self.emit_all(step, records);
        self.begin_classic(step, name, classic, rebalance);
    }
}

fn classic_group(group: &ConsumerGroup, leaving: &BTreeSet<&str>, image: &Image) -> ClassicGroup {
    let stay = group.members.iter().filter(|(id, _)| !leaving.contains(id.as_str()));
    let members: BTreeMap<String, ClassicMember> =
        stay.map(|(id, member)| (id.clone(), classic_member(id, member))).collect();
    let instance = |member: &ClassicMember| Some((member.instance_id.clone()?, member.id.clone()));
    let mut classic = ClassicGroup {
        state: ClassicState::Stable,
        protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
        generation: group.epoch,
        leader: members.keys().next().cloned(),
        static_members: members.values().filter_map(instance).collect(),
        members,
        ..ClassicGroup::default()
    };
    classic.protocol = classic.select_protocol();
    classic.subscribed_topics = classic.compute_subscribed_topics();
    let protocol = classic.protocol.clone().unwrap_or_default();
    for (id, member) in &mut classic.members {
        let version = Subscription::decode(member.metadata(&protocol)).map_or(0, |of| of.version);
        if let Some(target) = group.target.get(id) {
            member.assignment = encode_assignment(version, target, image);
        }
    }
    classic
}

fn classic_member(id: &str, member: &Member) -> ClassicMember {
    let value = &member.value;
    let classic = value.classic.as_ref();
    ClassicMember {
        id: id.to_owned(),
        instance_id: value.instance_id.clone(),
        client_id: value.client_id.clone(),
        client_host: value.client_host.clone(),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        session_timeout_ms: classic.map_or(0, |classic| classic.session_timeout_ms),
        protocols: classic.map(|classic| classic.protocols.clone()).unwrap_or_default(),
        assignment: bytes::Bytes::new(),
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    }
}

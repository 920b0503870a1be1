//! Members of a consumer group that speak the classic protocol: what they ask for by JoinGroup,
//! SyncGroup, Heartbeat and LeaveGroup (`classicGroupJoinToConsumerGroup` and the like). The group
//! leads them to the target as it does the others; for them each step is a rebalance.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::base::ids::TopicId;
use crate::coordinator::group::Groups;
use crate::coordinator::group::classic::{CONSUMER_PROTOCOL_TYPE, Join, Left};
use crate::coordinator::group::consumer::embedded::{Subscription, by_id, encode_assignment};
use crate::coordinator::group::consumer::{ConsumerGroup, Member, MemberState};
use crate::coordinator::group::text;
use crate::coordinator::group::timers::{TimerKey, TimerKind};
use crate::coordinator::records::{ClassicMetadata, MemberValue, Partitions};
use crate::coordinator::step::Step;

/// The first version in which a member is given its id before it joins (KIP-394).
const FIRST_MEMBER_ID_REQUIRED: i16 = 4;

/// A classic member that is let in.
struct Admitted {
    id: String,
    subscription: Subscription,
    /// The static member whose place it takes.
    replaces: Option<String>,
    /// It takes the place of the last one that spoke the new protocol.
    is_downgrade: bool,
}

impl Groups {
    /// Handles JoinGroup to a consumer group.
    pub(crate) fn join_consumer_group(
        &mut self,
        step: &mut Step,
        join: &Join,
    ) -> JoinGroupResponse {
        let admitted = match self.admit_classic(join) {
            Ok(admitted) => admitted,
            Err((id, code)) => return refused_join(&id, code),
        };
        let (name, id) = (join.request.group_id.as_str(), admitted.id.as_str());
        if let Some(old_id) = &admitted.replaces {
            self.replace_member(step, name, old_id, id);
        }
        let mut value = self.member_value(name, id);
        say(&mut value, join, &admitted.subscription);
        let mut bump = self.set_member(step, (name, id), value);
        bump |= self.refresh_regexes(step, name);
        self.update_epoch(step, name, bump);

        let owned = by_id(&admitted.subscription.owned, &step.image);
        if !admitted.is_downgrade {
            self.update_target(step, name);
        }
        self.reconcile_member(step, (name, id), Some(&owned));
        let Some(group) = self.consumer_group(name) else {
            return refused_join(id, Code::UnknownMemberId);
        };
        let epoch = group.member(id).map_or(-1, Member::epoch);
        let is_settled = group.state_name() == "Stable";
        if admitted.is_downgrade {
            // What the members have must be what they are to have, or they have to agree anew.
            let reason = (!is_settled).then_some("a member of the new protocol was replaced");
            self.downgrade(step, name, (&BTreeSet::new(), reason));
        } else {
            self.has_joined(step, join, id);
        }
        let protocol = join.request.protocols.first();
        let protocol = protocol.map(|protocol| text(&protocol.name));
        JoinGroupResponse::default()
            .with_member_id(text(id))
            .with_generation_id(epoch)
            .with_protocol_type(Some(StrBytes::from_static_str(CONSUMER_PROTOCOL_TYPE)))
            .with_protocol_name(protocol)
    }

    fn has_joined(&mut self, step: &Step, join: &Join, id: &str) {
        let (name, member) = (join.request.group_id.as_str(), || id.to_owned());
        self.cancel_consumer_timer(name, TimerKind::ClassicJoin { member: member() });
        let session = TimerKind::Session { member: member() };
        self.set_consumer_timer(step, name, session, join.request.session_timeout_ms);
        let sync = TimerKind::ClassicSync { member: member() };
        self.set_consumer_timer(step, name, sync, join.request.rebalance_timeout_ms);
    }

    /// Decides whether the member is let in. Nothing changes.
    fn admit_classic(&self, join: &Join) -> Result<Admitted, (String, Code)> {
        let request = &join.request;
        let told = request.member_id.to_string();
        let group = self.consumer_group(&request.group_id);
        let group = group.ok_or_else(|| (told.clone(), Code::UnknownMemberId))?;
        let instance_id = request.group_instance_id.as_deref();
        let refuse = |code| Err((told.clone(), code));
        if self.check_size(group, &told, instance_id).is_err() {
            return refuse(Code::GroupMaxSizeReached);
        }
        let names: Vec<&str> = request.protocols.iter().map(|one| one.name.as_str()).collect();
        if !group.supports_classic(&request.protocol_type, &names) {
            return refuse(Code::InconsistentGroupProtocol);
        }
        let is_unknown = told.is_empty();
        let id = if is_unknown { TopicId::random(&self.rng).to_string() } else { told.clone() };
        if is_unknown && instance_id.is_none() && join.version >= FIRST_MEMBER_ID_REQUIRED {
            return Err((id, Code::MemberIdRequired));
        }
        let metadata = request.protocols.first().map(|one| copied(&one.metadata));
        let Some(subscription) = metadata.and_then(Subscription::decode) else {
            return refuse(Code::InconsistentGroupProtocol);
        };
        let known = instance_id.map(|instance_id| group.static_member(instance_id));
        let replaces = match known {
            Some(None) if !is_unknown => return refuse(Code::UnknownMemberId),
            Some(Some((known, _))) if !is_unknown && known != id => {
                return refuse(Code::FencedInstanceId);
            }
            Some(Some((known, _))) if is_unknown => Some(known.to_owned()),
            _ => None,
        };
        let is_downgrade = known.flatten().is_some_and(|(known, member)| {
            let others = BTreeSet::from([known]);
            let policy = self.settings.config.group_consumer_migration_policy;
            let only_it = group.members.len() == 1 && policy.may_downgrade();
            !member.is_classic() && (only_it || self.can_downgrade(group, &others))
        });
        Ok(Admitted { id, subscription, replaces, is_downgrade })
    }

    /// Handles SyncGroup to a consumer group.
    pub(crate) fn sync_consumer_group(
        &mut self,
        step: &mut Step,
        request: &SyncGroupRequest,
    ) -> SyncGroupResponse {
        match self.assignment_of(step, request) {
            Ok(assignment) => SyncGroupResponse::default()
                .with_protocol_type(request.protocol_type.clone())
                .with_protocol_name(request.protocol_name.clone())
                .with_assignment(assignment),
            Err(code) => SyncGroupResponse::default().with_error_code(code.code()),
        }
    }

    fn assignment_of(
        &mut self,
        step: &mut Step,
        request: &SyncGroupRequest,
    ) -> Result<Bytes, Code> {
        let name = request.group_id.as_str();
        let group = self.consumer_group(name).ok_or(Code::UnknownMemberId)?;
        let (id, instance_id) = (&*request.member_id, request.group_instance_id.as_deref());
        let (member, classic) = group.classic_member(id, instance_id)?;
        if member.epoch() != request.generation_id {
            return Err(Code::IllegalGeneration);
        }
        let (protocol, metadata) = classic.protocols.first().ok_or(Code::UnknownMemberId)?;
        let differs = |told: Option<&str>, own: &str| told.is_some_and(|told| told != own);
        if differs(request.protocol_type.as_deref(), CONSUMER_PROTOCOL_TYPE)
            || differs(request.protocol_name.as_deref(), protocol)
        {
            return Err(Code::InconsistentGroupProtocol);
        }
        // Who has partitions to revoke has joined already, and will join again when it has.
        let is_late = group.epoch > member.epoch() && member.state() != MemberState::Unrevoked;
        if is_late {
            let timeout_ms = member.value.rebalance_timeout_ms;
            self.expect_join(step, name, id, timeout_ms);
            return Err(Code::RebalanceInProgress);
        }
        let assigned = member.current.assigned.iter();
        let assigned: Partitions = assigned
            .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
            .collect();
        let version = Subscription::decode(metadata.clone()).map_or(0, |of| of.version);
        let session_ms = classic.session_timeout_ms;
        self.cancel_consumer_timer(name, TimerKind::ClassicSync { member: id.to_owned() });
        let session = TimerKind::Session { member: id.to_owned() };
        self.set_consumer_timer(step, name, session, session_ms);
        Ok(encode_assignment(version, &assigned, &step.image))
    }

    /// Handles Heartbeat to a consumer group: the member learns when it has to join again.
    pub(crate) fn heartbeat_of_classic(
        &mut self,
        step: &mut Step,
        request: &HeartbeatRequest,
    ) -> Result<(), Code> {
        let name = request.group_id.as_str();
        let group = self.consumer_group(name).ok_or(Code::UnknownMemberId)?;
        let (id, instance_id) = (&*request.member_id, request.group_instance_id.as_deref());
        let (member, _) = group.classic_member(id, instance_id)?;
        if member.epoch() != request.generation_id {
            return Err(Code::IllegalGeneration);
        }
        // Nobody else may be there to see that topics have changed.
        self.update_epoch(step, name, false);
        let group = self.consumer_group(name).ok_or(Code::UnknownMemberId)?;
        let (member, classic) = group.classic_member(id, instance_id)?;
        let has_to_join = member.epoch() < group.epoch
            || match member.state() {
                MemberState::Unrevoked => true,
                MemberState::Unreleased => !group.waits_for_others(id, member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        let rebalance_ms = member.value.rebalance_timeout_ms;
        let session_ms = classic.session_timeout_ms;
        let session = TimerKind::Session { member: id.to_owned() };
        self.set_consumer_timer(step, name, session, session_ms);
        if has_to_join {
            self.expect_join(step, name, id, rebalance_ms);
            return Err(Code::RebalanceInProgress);
        }
        Ok(())
    }

    /// A member was told to join again: from the first time on it has so long.
    fn expect_join(&mut self, step: &Step, name: &str, id: &str, timeout_ms: i32) {
        let kind = TimerKind::ClassicJoin { member: id.to_owned() };
        let key = TimerKey { group: name.to_owned(), kind };
        if !self.timers.is_set(&key) {
            self.set_consumer_timer(step, name, key.kind, timeout_ms);
        }
    }

    /// Handles LeaveGroup to a consumer group.
    pub(crate) fn leave_of_classic(
        &mut self,
        step: &mut Step,
        name: &str,
        members: Vec<MemberIdentity>,
    ) -> Left {
        let Some(group) = self.consumer_group(name) else { return Vec::new() };
        let mut leaving = BTreeSet::new();
        let mut left = Left::new();
        for member in members {
            let found = group.leaving_member(&member).map(str::to_owned);
            // The answer names the member as the request did: admin clients look for that.
            left.push((member, found.as_ref().map(|_| ()).map_err(|code| *code)));
            leaving.extend(found);
        }
        if !leaving.is_empty() {
            let leaving: BTreeSet<&str> = leaving.iter().map(String::as_str).collect();
            self.fence_members(step, name, &leaving);
        }
        left
    }
}

impl ConsumerGroup {
    /// Whether the members that speak the classic protocol have one of these in common.
    fn supports_classic(&self, protocol_type: &str, names: &[&str]) -> bool {
        let has = |classic: &ClassicMetadata, name: &str| {
            classic.protocols.iter().any(|(known, _)| known == name)
        };
        let all_have = |name: &str| {
            let mut classic = self.members.values().filter_map(|one| one.value.classic.as_ref());
            classic.all(|classic| has(classic, name))
        };
        protocol_type == CONSUMER_PROTOCOL_TYPE && names.iter().any(|name| all_have(name))
    }

    /// A member that speaks the classic protocol.
    fn classic_member(
        &self,
        id: &str,
        instance_id: Option<&str>,
    ) -> Result<(&Member, &ClassicMetadata), Code> {
        if let Some(instance_id) = instance_id {
            let (known, _) = self.static_member(instance_id).ok_or(Code::UnknownMemberId)?;
            if known != id {
                return Err(Code::FencedInstanceId);
            }
        }
        let member = self.members.get(id).ok_or(Code::UnknownMemberId)?;
        let classic = member.value.classic.as_ref().ok_or(Code::UnknownMemberId)?;
        Ok((member, classic))
    }

    /// Who is meant by somebody that leaves, a member of either protocol. An admin client may know
    /// the instance id alone.
    fn leaving_member(&self, leaving: &MemberIdentity) -> Result<&str, Code> {
        let id = &*leaving.member_id;
        if let Some(instance_id) = leaving.group_instance_id.as_deref() {
            let (known, _) = self.static_member(instance_id).ok_or(Code::UnknownMemberId)?;
            return if id.is_empty() || id == known {
                Ok(known)
            } else {
                Err(Code::FencedInstanceId)
            };
        }
        self.members.get_key_value(id).map(|(id, _)| id.as_str()).ok_or(Code::UnknownMemberId)
    }

    /// Whether a partition of the member's target is with somebody else.
    fn waits_for_others(&self, id: &str, member: &Member) -> bool {
        let target = self.target.get(id).into_iter().flatten();
        let mut all = target.flat_map(|(topic, list)| list.iter().map(|index| (*topic, *index)));
        all.any(|(topic, index)| {
            let own = member.current.assigned.get(&topic);
            !own.is_some_and(|own| own.contains_key(&index)) && self.owner(topic, index).is_some()
        })
    }
}

/// Takes over what the member says of itself.
fn say(value: &mut MemberValue, join: &Join, subscription: &Subscription) {
    let request = &join.request;
    if let Some(instance_id) = &request.group_instance_id {
        value.instance_id = Some(instance_id.to_string());
    }
    if subscription.rack_id.is_some() {
        value.rack_id.clone_from(&subscription.rack_id);
    }
    if request.rebalance_timeout_ms != -1 {
        value.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    value.topic_names = subscription.topics.iter().cloned().collect();
    value.topic_regex = Some(String::new());
    value.client_id.clone_from(&join.client_id);
    value.client_host.clone_from(&join.client_host);
    value.classic = Some(ClassicMetadata {
        session_timeout_ms: request.session_timeout_ms,
        protocols: join.protocols(),
    });
}

fn refused_join(member_id: &str, code: Code) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_member_id(text(member_id))
        .with_protocol_name(None)
        .with_error_code(code.code())
}

/// A copy, so that the frame can go.
fn copied(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

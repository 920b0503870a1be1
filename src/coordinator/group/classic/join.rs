//! JoinGroup: who gets in, under which id.

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use uuid::Uuid;

use crate::coordinator::group::classic::turn::{Turn, refused_join, refused_sync};
use crate::coordinator::group::classic::{ClassicGroup, ClassicMember, ClassicState};
use crate::coordinator::group::text;
use crate::coordinator::group::timers::TimerKind;
use crate::coordinator::group::{Group, Groups};
use crate::coordinator::records::{ClassicGroupValue, Record};
use crate::coordinator::reply::Reply;
use crate::coordinator::step::Step;

/// The first version in which a member is given its id before it joins (KIP-394), and the first in
/// which a leader can be told that nothing is to be assigned (KIP-814).
const FIRST_MEMBER_ID_REQUIRED: i16 = 4;
const FIRST_SKIP_ASSIGNMENT: i16 = 9;
/// How long a member waits for its first generation before it has to ask again. It cannot send
/// heartbeats meanwhile, and whether its client still is there cannot be seen.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// A JoinGroup request, and who sent it.
#[derive(Debug, Clone)]
pub struct Join {
    pub request: JoinGroupRequest,
    pub version: i16,
    pub client_id: String,
    /// As Java prints it: `/127.0.0.1`.
    pub client_host: String,
}

type JoinReply = Reply<JoinGroupResponse>;

impl Join {
    fn member_id(&self) -> &str {
        &self.request.member_id
    }

    fn instance_id(&self) -> Option<&str> {
        self.request.group_instance_id.as_deref()
    }

    fn reason(&self) -> &str {
        self.request.reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("not provided")
    }

    /// Copies, so that the frame can go.
    pub(crate) fn protocols(&self) -> Vec<(String, Bytes)> {
        let protocols = self.request.protocols.iter();
        protocols.map(|one| (one.name.to_string(), Bytes::copy_from_slice(&one.metadata))).collect()
    }
}

impl Groups {
    /// Lets a member into a group. The answer comes when the group's next generation begins.
    pub fn join_group(&mut self, step: &mut Step, join: &Join, reply: JoinReply) {
        let name = join.request.group_id.as_str();
        match self.groups.get(name) {
            Some(Group::Classic(_)) => {}
            Some(Group::Consumer(_)) => {
                let answer = self.join_consumer_group(step, join);
                return step.answer(reply, answer);
            }
            None if join.member_id().is_empty() => self.create_classic(step, name),
            None => {
                let answer = refused_join(join.member_id(), Code::UnknownMemberId);
                return step.answer(reply, answer);
            }
        }
        if let Some(mut turn) = self.turn(step, name) {
            turn.join(join, reply);
        }
    }

    /// Makes a group, and a record of it, so that it is there after a restart.
    fn create_classic(&mut self, step: &mut Step, name: &str) {
        let state_timestamp_ms = step.now.wall_ms;
        let value = ClassicGroupValue {
            protocol_type: String::new(),
            generation: 0,
            protocol: None,
            leader: None,
            state_timestamp_ms,
            members: Vec::new(),
        };
        self.emit(step, Record::ClassicGroup { group: name.to_owned(), value: Some(value) });
    }
}

impl ClassicGroup {
    /// Whether there is room for this member (`acceptJoiningMember`).
    fn accepts(&self, member_id: &str, size_max: i32) -> bool {
        let size_max = usize::try_from(size_max).unwrap_or(0);
        let member = self.members.get(member_id);
        match self.state {
            ClassicState::Empty => true,
            // Those who joined first stay, also when the limit was lowered.
            ClassicState::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || self.joined_count() < size_max
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                member.is_some() || self.members.len() < size_max
            }
        }
    }

    /// What a member is told of the generation that holds.
    pub(super) fn joined(&self, member_id: &str) -> JoinGroupResponse {
        let members =
            if self.is_leader(member_id) { self.members_for_leader() } else { Vec::new() };
        JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(self.protocol_type.as_deref().map(text))
            .with_protocol_name(self.protocol.as_deref().map(text))
            .with_leader(text(self.leader.as_deref().unwrap_or_default()))
            .with_member_id(text(member_id))
            .with_members(members)
    }

    fn members_for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let told = |member: &ClassicMember| {
            JoinGroupResponseMember::default()
                .with_member_id(text(&member.id))
                .with_group_instance_id(member.instance_id.as_deref().map(text))
                .with_metadata(member.metadata(protocol))
        };
        self.members.values().map(told).collect()
    }
}

impl Turn<'_> {
    fn join(&mut self, join: &Join, reply: JoinReply) {
        let member_id = join.member_id();
        if !self.group.accepts(member_id, self.settings.config.group_max_size) {
            self.remove(member_id);
            return self.refuse(reply, "", Code::GroupMaxSizeReached);
        }
        if !self.group.supports(&join.request.protocol_type, &join.protocols()) {
            return self.refuse(reply, member_id, Code::InconsistentGroupProtocol);
        }
        if member_id.is_empty() {
            self.join_as_new(join, reply);
        } else {
            self.join_as_known(join, reply);
        }
    }

    fn refuse(&mut self, reply: JoinReply, member_id: &str, code: Code) {
        self.step.answer(reply, refused_join(member_id, code));
    }

    fn join_as_new(&mut self, join: &Join, reply: JoinReply) {
        let prefix = join.instance_id().unwrap_or(&join.client_id);
        let member_id = format!("{prefix}-{}", Uuid::from_bytes(self.rng.uuid()));
        if let Some(instance_id) = join.instance_id() {
            return match self.group.static_members.get(instance_id).cloned() {
                Some(old_id) => self.replace_static(join, &old_id, &member_id, reply),
                None => self.add_member(join, member_id, reply),
            };
        }
        if join.version < FIRST_MEMBER_ID_REQUIRED {
            return self.add_member(join, member_id, reply);
        }
        let timeout_ms = i64::from(join.request.session_timeout_ms);
        self.set_timer(TimerKind::Pending { member: member_id.clone() }, timeout_ms);
        self.refuse(reply, &member_id, Code::MemberIdRequired);
        self.group.pending_join.insert(member_id);
    }

    fn join_as_known(&mut self, join: &Join, reply: JoinReply) {
        let (member_id, instance_id) = (join.member_id(), join.instance_id());
        if self.group.pending_join.contains(member_id) {
            return match instance_id {
                None => self.add_member(join, member_id.to_owned(), reply),
                // Static members are never given an id to come back with.
                Some(_) => self.refuse(reply, "", Code::UnknownServerError),
            };
        }
        if let Err(code) = self.group.validate_member(member_id, instance_id) {
            return self.refuse(reply, member_id, code);
        }
        let is_same = |member: &ClassicMember| member.protocols == join.protocols();
        let is_same = self.group.members.get(member_id).is_some_and(is_same);
        let stays = match self.group.state {
            ClassicState::Empty => return self.refuse(reply, member_id, Code::UnknownMemberId),
            ClassicState::PreparingRebalance => false,
            // Perhaps the answer to the last request was lost.
            ClassicState::CompletingRebalance => is_same,
            // By joining again a leader asks for a rebalance, as when there are more partitions.
            ClassicState::Stable => is_same && !self.group.is_leader(member_id),
        };
        if stays {
            self.step.answer(reply, self.group.joined(member_id));
        } else {
            self.update_member(member_id, join, reply);
            self.prepare_or_complete(join.reason());
        }
    }

    fn add_member(&mut self, join: &Join, member_id: String, reply: JoinReply) {
        let request = &join.request;
        self.cancel_timer(TimerKind::Pending { member: member_id.clone() });
        let group = &mut *self.group;
        group.pending_join.remove(&member_id);
        if group.members.is_empty() {
            group.protocol_type = Some(request.protocol_type.to_string());
        }
        if let Some(instance_id) = join.instance_id() {
            group.static_members.insert(instance_id.to_owned(), member_id.clone());
        }
        group.leader.get_or_insert_with(|| member_id.clone());
        if let Some(delay) = &mut group.initial_delay {
            delay.has_new_member = true;
        }
        let member = ClassicMember {
            id: member_id.clone(),
            instance_id: join.instance_id().map(str::to_owned),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: join.protocols(),
            assignment: Bytes::new(),
            awaiting_join: Some(reply),
            awaiting_sync: None,
            is_new: true,
        };
        group.members.insert(member_id.clone(), member);
        self.set_timer(TimerKind::Session { member: member_id }, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.prepare_or_complete(join.reason());
    }

    /// Notes what a member says of itself now, and that it waits. If somebody else waits as this
    /// member, which is mostly the same client over a lost connection, that one is sent to join
    /// again.
    fn update_member(&mut self, member_id: &str, join: &Join, reply: JoinReply) {
        let Some(member) = self.group.members.get_mut(member_id) else { return };
        member.protocols = join.protocols();
        member.rebalance_timeout_ms = join.request.rebalance_timeout_ms;
        member.session_timeout_ms = join.request.session_timeout_ms;
        let before = member.awaiting_join.replace(reply);
        self.answer_join(before, refused_join(member_id, Code::RebalanceInProgress));
    }

    /// A static member comes back, from a restart mostly, and does not know its id: it gets a new
    /// one, and whoever uses the old one is fenced.
    fn replace_static(&mut self, join: &Join, old_id: &str, new_id: &str, reply: JoinReply) {
        let leader_before = self.group.leader.clone();
        self.rename(old_id, new_id);
        self.extend_session(new_id);
        self.update_member(new_id, join, reply);
        match self.group.state {
            ClassicState::Stable => self.settle_static(join, new_id, leader_before.as_deref()),
            // The leader may have been told the old id already, and would assign to that.
            ClassicState::CompletingRebalance => self.prepare_rebalance(join.reason()),
            ClassicState::PreparingRebalance | ClassicState::Empty => self.complete_if_joined(),
        }
    }

    /// Gives a member another id, and fences who waits under the old one.
    fn rename(&mut self, old_id: &str, new_id: &str) {
        let Some(mut member) = self.group.members.remove(old_id) else { return };
        let (join, sync) = (member.awaiting_join.take(), member.awaiting_sync.take());
        self.answer_join(join, refused_join(old_id, Code::FencedInstanceId));
        self.answer_sync(sync, refused_sync(Code::FencedInstanceId));
        self.cancel_timer(TimerKind::Session { member: old_id.to_owned() });
        let group = &mut *self.group;
        if let Some(instance_id) = &member.instance_id {
            group.static_members.insert(instance_id.clone(), new_id.to_owned());
        }
        if group.is_leader(old_id) {
            group.leader = Some(new_id.to_owned());
        }
        if group.pending_sync.remove(old_id) {
            group.pending_sync.insert(new_id.to_owned());
        }
        new_id.clone_into(&mut member.id);
        member.is_new = false;
        group.members.insert(new_id.to_owned(), member);
    }

    /// A static member came back to a stable group: that goes on with its new id, unless another
    /// protocol wins now.
    fn settle_static(&mut self, join: &Join, member_id: &str, leader_before: Option<&str>) {
        let record = self.record(|id| self.assignment(id));
        if self.group.select_protocol() != self.group.protocol || !self.fits(&record) {
            return self.prepare_rebalance(join.reason());
        }
        self.step.append(&record);
        let mut answer = self.group.joined(member_id);
        if join.version >= FIRST_SKIP_ASSIGNMENT {
            answer.skip_assignment = self.group.is_leader(member_id);
        } else {
            // It must not take itself for the leader: what it would assign is not wanted.
            answer.members.clear();
            answer.leader = text(leader_before.unwrap_or_default());
        }
        let member = self.group.members.get_mut(member_id);
        let waiting = member.and_then(|member| member.awaiting_join.take());
        self.answer_join(waiting, answer);
    }

    pub(super) fn assignment(&self, member_id: &str) -> Bytes {
        self.group.members.get(member_id).map(|one| one.assignment.clone()).unwrap_or_default()
    }
}

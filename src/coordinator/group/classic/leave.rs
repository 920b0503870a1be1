//! Heartbeat and LeaveGroup.

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{HeartbeatRequest, LeaveGroupRequest};

use crate::coordinator::group::classic::ClassicState;
use crate::coordinator::group::classic::turn::Turn;
use crate::coordinator::group::{Group, Groups};
use crate::coordinator::step::Step;

/// What each member of a LeaveGroup request is told.
pub type Left = Vec<(MemberIdentity, Result<(), Code>)>;

impl Groups {
    /// Notes that a member is alive, and tells it if it has to join again.
    pub fn heartbeat(&mut self, step: &mut Step, request: &HeartbeatRequest) -> Result<(), Code> {
        let name = request.group_id.as_str();
        if let Some(Group::Consumer(_)) = self.groups.get(name) {
            return self.heartbeat_of_classic(step, request);
        }
        let mut turn = self.turn(step, name).ok_or(Code::UnknownMemberId)?;
        turn.heartbeat(request)
    }

    /// Takes members out of a group, each by its id or its instance id.
    pub fn leave_group(&mut self, step: &mut Step, request: LeaveGroupRequest) -> Left {
        let LeaveGroupRequest { group_id, members, .. } = request;
        if let Some(Group::Consumer(_)) = self.groups.get(group_id.as_str()) {
            return self.leave_of_classic(step, &group_id, members);
        }
        match self.turn(step, &group_id) {
            Some(mut turn) => turn.leave(members),
            None => nobody_left(members),
        }
    }
}

fn nobody_left(members: Vec<MemberIdentity>) -> Left {
    members.into_iter().map(|member| (member, Err(Code::UnknownMemberId))).collect()
}

impl Turn<'_> {
    fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<(), Code> {
        let member_id = request.member_id.as_str();
        self.group.validate_member(member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.group.generation {
            return Err(Code::IllegalGeneration);
        }
        self.extend_session(member_id);
        match self.group.state {
            ClassicState::PreparingRebalance => Err(Code::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    fn leave(&mut self, members: Vec<MemberIdentity>) -> Left {
        let left: Left = members
            .into_iter()
            .map(|member| {
                let left = self.leave_one(&member);
                (member, left)
            })
            .collect();
        if left.iter().any(|(_, left)| left.is_ok()) {
            match self.group.state {
                ClassicState::Stable | ClassicState::CompletingRebalance => {
                    self.prepare_rebalance("members have left");
                }
                ClassicState::PreparingRebalance => self.complete_if_joined(),
                ClassicState::Empty => {}
            }
        }
        left
    }

    fn leave_one(&mut self, member: &MemberIdentity) -> Result<(), Code> {
        let (member_id, instance_id) = (&*member.member_id, member.group_instance_id.as_deref());
        let leaving = if member_id.is_empty() {
            // An admin client, which knows the instance id alone.
            let known = instance_id.and_then(|id| self.group.static_members.get(id));
            known.cloned().ok_or(Code::UnknownMemberId)?
        } else {
            if !self.group.pending_join.contains(member_id) {
                self.group.validate_member(member_id, instance_id)?;
            }
            member_id.to_owned()
        };
        let reason = member.reason.as_deref().unwrap_or("not provided");
        tracing::info!(group = self.name, member_id = leaving, reason, "member leaves");
        self.remove(&leaving);
        Ok(())
    }
}

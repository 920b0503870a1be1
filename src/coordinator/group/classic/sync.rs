//! SyncGroup: the leader brings everybody's assignment, the others fetch theirs.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::coordinator::group::classic::turn::{Turn, refused_sync};
use crate::coordinator::group::classic::{ClassicGroup, ClassicState};
use crate::coordinator::group::text;
use crate::coordinator::group::timers::TimerKind;
use crate::coordinator::group::{Group, Groups};
use crate::coordinator::reply::Reply;
use crate::coordinator::step::Step;

type SyncReply = Reply<SyncGroupResponse>;

impl Groups {
    /// Gives a member its assignment, when the leader has brought it and it is committed.
    pub fn sync_group(&mut self, step: &mut Step, request: &SyncGroupRequest, reply: SyncReply) {
        let name = request.group_id.as_str();
        if let Some(Group::Consumer(_)) = self.groups.get(name) {
            let answer = self.sync_consumer_group(step, request);
            return step.answer(reply, answer);
        }
        match self.turn(step, name) {
            Some(mut turn) => turn.sync(request, reply),
            None => step.answer(reply, refused_sync(Code::UnknownMemberId)),
        }
    }
}

impl ClassicGroup {
    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), Code> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(Code::IllegalGeneration);
        }
        let differ = |told: Option<&str>, own: Option<&str>| {
            told.zip(own).is_some_and(|(told, own)| told != own)
        };
        if differ(request.protocol_type.as_deref(), self.protocol_type.as_deref())
            || differ(request.protocol_name.as_deref(), self.protocol.as_deref())
        {
            return Err(Code::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn synced(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.as_deref().map(text))
            .with_protocol_name(self.protocol.as_deref().map(text))
            .with_assignment(assignment)
    }
}

impl Turn<'_> {
    fn sync(&mut self, request: &SyncGroupRequest, reply: SyncReply) {
        let member_id = request.member_id.as_str();
        if let Err(code) = self.group.validate_sync(request) {
            return self.step.answer(reply, refused_sync(code));
        }
        match self.group.state {
            ClassicState::Empty => self.step.answer(reply, refused_sync(Code::UnknownMemberId)),
            ClassicState::PreparingRebalance => {
                self.step.answer(reply, refused_sync(Code::RebalanceInProgress));
            }
            ClassicState::CompletingRebalance => {
                self.has_synced(member_id);
                self.await_sync(member_id, reply);
                if self.group.is_leader(member_id) {
                    self.assign(&request.assignments);
                }
            }
            ClassicState::Stable => {
                self.has_synced(member_id);
                let answer = self.group.synced(self.assignment(member_id));
                self.step.answer(reply, answer);
            }
        }
    }

    fn has_synced(&mut self, member_id: &str) {
        self.group.pending_sync.remove(member_id);
        if self.group.pending_sync.is_empty() {
            self.cancel_timer(TimerKind::Sync);
        }
    }

    /// As with joins, whoever waited as this member before is sent to join again.
    fn await_sync(&mut self, member_id: &str, reply: SyncReply) {
        let member = self.group.members.get_mut(member_id);
        let before = member.and_then(|member| member.awaiting_sync.replace(reply));
        self.answer_sync(before, refused_sync(Code::RebalanceInProgress));
    }

    /// The generation is complete: it is stored, and everybody who waits gets their part.
    fn assign(&mut self, assignments: &[SyncGroupRequestAssignment]) {
        let told = assignments.iter().map(|one| (one.member_id.as_str(), &one.assignment));
        let told: BTreeMap<&str, &Bytes> = told.collect();
        let part = |id: &str| told.get(id).map_or_else(Bytes::new, |part| copied(part));
        let record = self.record(part);
        if !self.fits(&record) {
            let group = self.name;
            tracing::warn!(group, "the group's record is larger than message.max.bytes");
            self.forget_assignments(Code::UnknownServerError);
            return self.prepare_rebalance("the assignment is too large to be stored");
        }
        self.step.append(&record);
        for (id, member) in &mut self.group.members {
            member.assignment = part(id);
        }
        self.transition_to(ClassicState::Stable);
        self.answer_syncs(|group| group.synced(Bytes::new()));
    }

    /// Answers those who wait for their assignment, each with its own, and begins their sessions
    /// anew: one that ended meanwhile did not count.
    pub(super) fn answer_syncs(&mut self, answer: impl Fn(&ClassicGroup) -> SyncGroupResponse) {
        let members = self.group.members.values_mut();
        let waiting = members.filter_map(|member| {
            let reply = member.awaiting_sync.take()?;
            Some((member.id.clone(), member.assignment.clone(), reply))
        });
        for (id, assignment, reply) in waiting.collect::<Vec<_>>() {
            self.step.answer(reply, answer(self.group).with_assignment(assignment));
            self.extend_session(&id);
        }
    }
}

/// A copy, so that the frame can go.
fn copied(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

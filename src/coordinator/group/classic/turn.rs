//! One decision about a classic group: the group, what the decision reaches, and the steps that
//! several decisions share.

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};

use crate::base::rng::Rng;
use crate::coordinator::group::classic::{ClassicGroup, ClassicState};
use crate::coordinator::group::settings::GroupSettings;
use crate::coordinator::group::text;
use crate::coordinator::group::timers::{TimerKey, TimerKind, Timers};
use crate::coordinator::group::{Group, Groups};
use crate::coordinator::records::{ClassicGroupValue, ClassicMemberValue, Record};
use crate::coordinator::reply::Reply;
use crate::coordinator::step::Step;

/// A group in hand.
pub(super) struct Turn<'a> {
    pub(super) name: &'a str,
    pub(super) group: &'a mut ClassicGroup,
    pub(super) timers: &'a mut Timers,
    pub(super) settings: &'a GroupSettings,
    pub(super) rng: &'a Rng,
    pub(super) step: &'a mut Step,
}

impl Groups {
    /// Takes a classic group in hand, if there is one of that name.
    pub(super) fn turn<'a>(&'a mut self, step: &'a mut Step, name: &'a str) -> Option<Turn<'a>> {
        let Self { settings, rng, groups, timers, .. } = self;
        match groups.get_mut(name)? {
            Group::Classic(group) => Some(Turn { name, group, timers, settings, rng, step }),
            Group::Consumer(_) => None,
        }
    }
}

impl Turn<'_> {
    pub(super) fn key(&self, kind: TimerKind) -> TimerKey {
        TimerKey { group: self.name.to_owned(), kind }
    }

    pub(super) fn set_timer(&mut self, kind: TimerKind, after_ms: i64) {
        let at_ms = self.step.now.monotonic_ms.saturating_add(after_ms);
        let key = self.key(kind);
        self.timers.set(key, at_ms);
    }

    pub(super) fn cancel_timer(&mut self, kind: TimerKind) {
        let key = self.key(kind);
        self.timers.cancel(&key);
    }

    /// A member has been heard: it has another session timeout.
    pub(super) fn extend_session(&mut self, member_id: &str) {
        if let Some(member) = self.group.members.get(member_id) {
            let timeout_ms = i64::from(member.session_timeout_ms);
            self.set_timer(TimerKind::Session { member: member_id.to_owned() }, timeout_ms);
        }
    }

    pub(super) fn transition_to(&mut self, state: ClassicState) {
        self.group.state = state;
        self.group.state_timestamp_ms = Some(self.step.now.wall_ms);
    }

    /// Takes out a member, or an id that somebody was to join with. Whoever waits as this member is
    /// told so that it can begin anew.
    pub(super) fn remove(&mut self, member_id: &str) {
        for kind in [
            TimerKind::Session { member: member_id.to_owned() },
            TimerKind::Pending { member: member_id.to_owned() },
        ] {
            self.cancel_timer(kind);
        }
        self.group.pending_join.remove(member_id);
        self.group.pending_sync.remove(member_id);
        let Some(mut member) = self.group.members.remove(member_id) else { return };
        self.answer_join(member.awaiting_join.take(), refused_join("", Code::UnknownMemberId));
        self.answer_sync(member.awaiting_sync.take(), refused_sync(Code::UnknownMemberId));
        if let Some(instance_id) = &member.instance_id {
            self.group.static_members.remove(instance_id);
        }
        if self.group.is_leader(member_id) {
            self.group.leader = self.group.members.keys().next().cloned();
        }
    }

    pub(super) fn answer_join(
        &mut self,
        waiting: Option<Reply<JoinGroupResponse>>,
        with: JoinGroupResponse,
    ) {
        if let Some(reply) = waiting {
            self.step.answer(reply, with);
        }
    }

    pub(super) fn answer_sync(
        &mut self,
        waiting: Option<Reply<SyncGroupResponse>>,
        with: SyncGroupResponse,
    ) {
        if let Some(reply) = waiting {
            self.step.answer(reply, with);
        }
    }

    /// The group's record as it stands, with these assignments.
    pub(super) fn record(&self, assignment_of: impl Fn(&str) -> Bytes) -> Record {
        let group = &self.group;
        let protocol = group.protocol.as_deref().unwrap_or_default();
        let members = group.members.values().map(|member| ClassicMemberValue {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: assignment_of(&member.id),
        });
        let value = ClassicGroupValue {
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            generation: group.generation,
            protocol: group.protocol.clone(),
            leader: group.leader.clone(),
            state_timestamp_ms: group.state_timestamp_ms.unwrap_or(-1),
            members: members.collect(),
        };
        Record::ClassicGroup { group: self.name.to_owned(), value: Some(value) }
    }

    /// Whether a record is as small as what anybody may produce.
    pub(super) fn fits(&self, record: &Record) -> bool {
        let size_max = self.settings.record_bytes_max(&self.step.image);
        usize::try_from(size_max).is_ok_and(|size_max| record.encode().size() <= size_max)
    }
}

pub(super) fn refused_join(member_id: &str, code: Code) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_member_id(text(member_id))
        .with_protocol_name(None)
        .with_error_code(code.code())
}

pub(super) fn refused_sync(code: Code) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code.code())
}

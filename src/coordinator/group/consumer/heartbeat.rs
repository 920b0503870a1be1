//! ConsumerGroupHeartbeat, but for those who leave: who is let in, what changes with that, and
//! where the member stands then (`GroupMetadataManager.consumerGroupHeartbeat`).
//!
//! All that can be refused is refused before anything changes.

use std::sync::Arc;

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::base::ids::TopicId;
use crate::coordinator::group::consumer::reconcile::Reconciliation;
use crate::coordinator::group::consumer::upgrade::Upgrade;
use crate::coordinator::group::consumer::{
    ConsumerGroup, FIRST_EPOCH, JOIN_EPOCH, LEAVE_EPOCH, Member, MemberState, Refused,
    STATIC_LEAVE_EPOCH, pattern, regex_of, request,
};
use crate::coordinator::group::timers::TimerKind;
use crate::coordinator::group::{Group, Groups};
use crate::coordinator::records::{
    CurrentValue, EpochedPartitions, GroupValue, MemberValue, Partitions, Record, RegexValue,
};
use crate::coordinator::step::Step;

/// How long the topics of regular expressions may lag behind the topics there are.
const REGEX_REFRESH_INTERVAL_MS: i64 = 1_000;

/// Who sent a request.
#[derive(Debug, Clone, Default)]
pub struct Client {
    pub id: String,
    /// As Java prints it: `/127.0.0.1`.
    pub host: String,
}

/// A heartbeat that is let in.
struct Admitted {
    member_id: String,
    /// The static member whose place it takes.
    replaces: Option<String>,
    /// What the classic group becomes that it joins.
    upgrade: Option<Upgrade>,
}

impl Groups {
    /// Handles a ConsumerGroupHeartbeat request.
    pub fn consumer_heartbeat(
        &mut self,
        step: &mut Step,
        (request, version): (&ConsumerGroupHeartbeatRequest, i16),
        client: &Client,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
        request::validate(request, version, &self.settings.config.group_consumer_assignors)?;
        if [LEAVE_EPOCH, STATIC_LEAVE_EPOCH].contains(&request.member_epoch) {
            return self.consumer_leave(step, request);
        }
        let name = request.group_id.as_str();
        let owned = request::owned(request);
        let admitted = self.admit(step, request, owned.as_ref())?;
        // Before a classic group has agreed on everything, nobody computes what is missing.
        let lacks = |upgrade: &Upgrade| upgrade.group.lacks_owners(&step.image);
        let mut bump = admitted.upgrade.as_ref().is_some_and(lacks);
        match admitted.upgrade {
            Some(upgrade) => self.upgrade(step, name, upgrade),
            None => self.end_empty_classic(step, name),
        }
        if let Some(old_id) = &admitted.replaces {
            self.replace_member(step, name, old_id, &admitted.member_id);
        }
        let id = admitted.member_id.as_str();
        bump |= self.update_member(step, id, request, client);
        bump |= self.refresh_regexes(step, name);
        self.update_epoch(step, name, bump);
        self.update_target(step, name);
        let before = self.assigned(name, id);
        self.reconcile_member(step, (name, id), owned.as_ref());
        let timeout_ms = self.settings.session_timeout_ms(&step.image, name);
        let kind = TimerKind::Session { member: id.to_owned() };
        self.set_consumer_timer(step, name, kind, timeout_ms);

        let member = self.consumer_group(name).and_then(|group| group.member(id));
        let member = member.ok_or_else(|| Refused::unknown_member(name, id))?;
        let is_asked = request.member_epoch == JOIN_EPOCH || request::is_full(request);
        let is_told = is_asked || before != member.current.assigned;
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(StrBytes::from_string(id.to_owned())))
            .with_member_epoch(member.epoch())
            .with_heartbeat_interval_ms(self.settings.heartbeat_interval_ms(&step.image, name))
            .with_assignment(is_told.then(|| assignment(&member.current.assigned))))
    }

    /// A classic group without members makes room. Its offsets stay.
    fn end_empty_classic(&mut self, step: &mut Step, name: &str) {
        if let Some(Group::Classic(_)) = self.groups.get(name) {
            self.emit(step, Record::ClassicGroup { group: name.to_owned(), value: None });
        }
    }

    fn assigned(&self, group: &str, member: &str) -> EpochedPartitions {
        let member = self.consumer_group(group).and_then(|group| group.member(member));
        member.map(|member| member.current.assigned.clone()).unwrap_or_default()
    }

    pub(super) fn emit_all(&mut self, step: &mut Step, records: Vec<Record>) {
        records.into_iter().for_each(|record| self.emit(step, record));
    }

    /// Decides whether the heartbeat is let in. Nothing changes.
    fn admit(
        &self,
        step: &Step,
        request: &ConsumerGroupHeartbeatRequest,
        owned: Option<&Partitions>,
    ) -> Result<Admitted, Refused> {
        let name = request.group_id.as_str();
        let joins = request.member_epoch == JOIN_EPOCH;
        let new = ConsumerGroup::default();
        let upgrade = match self.groups.get(name) {
            Some(Group::Classic(group)) if joins && !group.is_empty() => {
                Some(self.plan_upgrade(name, group, &step.image)?)
            }
            _ => None,
        };
        let group = match self.groups.get(name) {
            Some(Group::Consumer(group)) => group,
            Some(Group::Classic(_)) if joins => upgrade.as_ref().map_or(&new, |plan| &plan.group),
            Some(Group::Classic(_)) => return Err(Refused::not_a_consumer_group(name)),
            None if joins => &new,
            None => {
                let message = format!("Consumer group {name} not found.");
                return Err(Refused::new(Code::GroupIdNotFound, message));
            }
        };
        self.check_size(group, &request.member_id, request.instance_id.as_deref())?;
        let member_id = if request.member_id.is_empty() {
            TopicId::random(&self.rng).to_string()
        } else {
            request.member_id.to_string()
        };
        let admission = Admission { group, name, member_id: &member_id, request, owned };
        let replaces = admission.check()?.map(str::to_owned);
        let member = group.member(replaces.as_ref().unwrap_or(&member_id));
        let before = member.and_then(Member::regex);
        let regex = request.subscribed_topic_regex.as_deref().filter(|regex| !regex.is_empty());
        if let Some(regex) = regex.filter(|regex| before != Some(*regex))
            && !group.regexes.contains_key(regex)
        {
            pattern::compile(regex)?;
        }
        Ok(Admitted { member_id, replaces, upgrade })
    }

    pub(super) fn check_size(
        &self,
        group: &ConsumerGroup,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), Refused> {
        let size_max = self.settings.config.group_consumer_max_size;
        if instance_id.is_some_and(|id| group.static_members.contains_key(id))
            || group.members.contains_key(member_id)
            || i32::try_from(group.members.len()).is_ok_and(|size| size < size_max)
        {
            return Ok(());
        }
        let message =
            format!("The consumer group has reached its maximum capacity of {size_max} members.");
        Err(Refused::new(Code::GroupMaxSizeReached, message))
    }

    /// Gives a static member's place to the one that has come back, under its new id.
    pub(super) fn replace_member(
        &mut self,
        step: &mut Step,
        name: &str,
        old_id: &str,
        new_id: &str,
    ) {
        let Some(group) = self.consumer_group(name) else { return };
        let Some(Member { value, current }) = group.member(old_id).cloned() else { return };
        let target = group.target.get(old_id).cloned().unwrap_or_default();
        let current = CurrentValue { member_epoch: 0, previous_member_epoch: 0, ..current };
        let mut records = removal(name, old_id);
        let (group, member) = (|| name.to_owned(), || new_id.to_owned());
        records.push(Record::Member { group: group(), member: member(), value: Some(value) });
        let value = Some(target);
        records.push(Record::TargetMember { group: group(), member: member(), value });
        records.push(Record::Current { group: group(), member: member(), value: Some(current) });
        self.cancel_member_timers(name, old_id);
        self.emit_all(step, records);
    }

    /// Notes what the member says of itself. Whether there has to be a new target for it.
    fn update_member(
        &mut self,
        step: &mut Step,
        id: &str,
        request: &ConsumerGroupHeartbeatRequest,
        client: &Client,
    ) -> bool {
        let name = request.group_id.as_str();
        let mut value = self.member_value(name, id);
        say(&mut value, request);
        value.client_id.clone_from(&client.id);
        value.client_host.clone_from(&client.host);
        value.classic = None;
        self.set_member(step, (name, id), value)
    }

    /// What the member has said so far, or what stands for it in one that has said nothing.
    pub(super) fn member_value(&self, name: &str, id: &str) -> MemberValue {
        let known = self.consumer_group(name).and_then(|group| group.member(id));
        known.map_or_else(|| Member::default().value, |member| member.value.clone())
    }

    /// Notes what a member is now. Whether there has to be a new target for it.
    pub(super) fn set_member(
        &mut self,
        step: &mut Step,
        (name, id): (&str, &str),
        value: MemberValue,
    ) -> bool {
        let before = self.member_value(name, id);
        let known = self.consumer_group(name).and_then(|group| group.member(id));
        if known.is_some() && value == before {
            return false;
        }
        let regex_changes = regex_of(&before) != regex_of(&value);
        let bump = before.topic_names != value.topic_names || regex_changes;
        let (group, member) = (name.to_owned(), id.to_owned());
        self.emit(step, Record::Member { group, member, value: Some(value) });
        if regex_changes && let Some(regex) = regex_of(&before) {
            self.forget_regex(step, name, regex);
        }
        bump
    }

    /// Removes an expression with which nobody subscribes any more.
    pub(super) fn forget_regex(&mut self, step: &mut Step, name: &str, regex: &str) {
        let Some(group) = self.consumer_group(name) else { return };
        let is_used = group.members.values().any(|member| member.regex() == Some(regex));
        if !is_used && group.regexes.contains_key(regex) {
            let (group, regex) = (name.to_owned(), regex.to_owned());
            self.emit(step, Record::Regex { group, regex, value: None });
        }
    }

    /// Resolves regular expressions: new ones, and all of them if there may be other topics.
    /// Whether that made a difference.
    pub(super) fn refresh_regexes(&mut self, step: &mut Step, name: &str) -> bool {
        let Some(Group::Consumer(group)) = self.groups.get_mut(name) else { return false };
        let now_ms = step.now.monotonic_ms;
        let is_other = group.seen.regex_image.as_ptr() != Arc::as_ptr(&step.image);
        let is_time = |at_ms| now_ms >= at_ms + REGEX_REFRESH_INTERVAL_MS;
        let all = is_other && group.seen.regex_at_ms.is_none_or(is_time);
        let mut records = Vec::new();
        for regex in group.subscribed_regexes() {
            let known = group.regexes.get(regex);
            if known.is_some() && !all {
                continue;
            }
            let topics = pattern::resolve(regex, &step.image);
            if known.is_none_or(|known| known.topics != topics) {
                let (group, regex) = (name.to_owned(), regex.to_owned());
                let value = RegexValue { topics, version: 0, timestamp_ms: step.now.wall_ms };
                records.push(Record::Regex { group, regex, value: Some(value) });
            }
        }
        if all {
            group.seen.regex_image = Arc::downgrade(&step.image);
            group.seen.regex_at_ms = Some(now_ms);
        }
        let is_changed = !records.is_empty();
        self.emit_all(step, records);
        is_changed
    }

    /// Bumps the group's epoch if that is wanted or the topics have changed.
    pub(super) fn update_epoch(&mut self, step: &mut Step, name: &str, bump: bool) {
        let Some(Group::Consumer(group)) = self.groups.get_mut(name) else { return };
        let is_seen = group.seen.image.as_ptr() == Arc::as_ptr(&step.image);
        // The first member leaves the first epoch, whatever it wants.
        let bump = bump || (group.epoch == FIRST_EPOCH && group.metadata_hash == 0);
        if !bump && is_seen {
            return;
        }
        group.seen.image = Arc::downgrade(&step.image);
        let metadata_hash = group.compute_metadata_hash(&step.image);
        if bump || metadata_hash != group.metadata_hash {
            let epoch = group.epoch.saturating_add(1);
            tracing::debug!(group = name, epoch, "group epoch");
            let value = Some(GroupValue { epoch, metadata_hash });
            self.emit(step, Record::Group { group: name.to_owned(), value });
        }
    }

    /// Leads the member towards the target.
    pub(super) fn reconcile_member(
        &mut self,
        step: &mut Step,
        (name, id): (&str, &str),
        owned: Option<&Partitions>,
    ) {
        let Some(group) = self.consumer_group(name) else { return };
        let Some(member) = group.member(id) else { return };
        let next = Reconciliation { group, id, member, image: &step.image, owned }.next();
        if next == member.current {
            return;
        }
        let is_classic = member.is_classic();
        let timeout_ms = member.value.rebalance_timeout_ms;
        let state = MemberState::of(next.state);
        let (group, member) = (name.to_owned(), id.to_owned());
        self.emit(step, Record::Current { group, member: member.clone(), value: Some(next) });
        // Those who speak the classic protocol have time to join, and to sync, instead.
        let kind = TimerKind::Rebalance { member };
        if state == MemberState::Unrevoked && !is_classic {
            self.set_consumer_timer(step, name, kind, timeout_ms);
        } else {
            self.cancel_consumer_timer(name, kind);
        }
    }
}

/// What a heartbeat is checked against.
struct Admission<'a> {
    group: &'a ConsumerGroup,
    name: &'a str,
    member_id: &'a str,
    request: &'a ConsumerGroupHeartbeatRequest,
    owned: Option<&'a Partitions>,
}

impl<'a> Admission<'a> {
    /// The id of the static member that is replaced, if one is.
    fn check(&self) -> Result<Option<&'a str>, Refused> {
        let joins = self.request.member_epoch == JOIN_EPOCH;
        let member = match self.request.instance_id.as_deref() {
            Some(instance_id) => match (self.group.static_member(instance_id), joins) {
                (Some((old_id, old)), true) => {
                    self.check_released(instance_id, old_id, old)?;
                    return Ok(Some(old_id));
                }
                (Some((id, _)), false) if id != self.member_id => {
                    return Err(self.fenced_instance(instance_id, id));
                }
                (Some((_, member)), false) => Some(member),
                (None, true) => self.group.member(self.member_id),
                (None, false) => return Err(unknown_instance(instance_id)),
            },
            None => self.group.member(self.member_id),
        };
        match member {
            Some(member) => {
                self.check_epoch(member)?;
                self.check_state(member)?;
            }
            None if joins => {}
            None => return Err(Refused::unknown_member(self.name, self.member_id)),
        }
        Ok(None)
    }

    /// A static member can be replaced once it has left, or if it spoke the classic protocol, where
    /// members don't tell.
    fn check_released(&self, instance_id: &str, id: &str, old: &Member) -> Result<(), Refused> {
        if old.is_classic() || old.epoch() == STATIC_LEAVE_EPOCH {
            return Ok(());
        }
        let message = format!(
            "Static member {} with instance id {instance_id} cannot join the group because the \
             instance id is owned by {id} member.",
            self.member_id
        );
        Err(Refused::new(Code::UnreleasedInstanceId, message))
    }

    fn fenced_instance(&self, instance_id: &str, by: &str) -> Refused {
        fenced_instance(self.member_id, instance_id, by)
    }

    fn check_epoch(&self, member: &Member) -> Result<(), Refused> {
        let (told, known) = (self.request.member_epoch, member.epoch());
        if told == JOIN_EPOCH || told == known {
            return Ok(());
        }
        // The answer with the new epoch may have been lost.
        let current = &member.current;
        let owns_no_other =
            || self.owned.is_some_and(|owned| request::is_within(owned, &current.assigned));
        if told < known && told == current.previous_member_epoch && owns_no_other() {
            return Ok(());
        }
        let relation = if told > known { "greater" } else { "smaller" };
        let message = format!(
            "The consumer group member has a {relation} member epoch ({told}) than the one known \
             by the group coordinator ({known}). The member must abandon all its partitions and \
             rejoin."
        );
        Err(Refused::new(Code::FencedMemberEpoch, message))
    }

    fn check_state(&self, member: &Member) -> Result<(), Refused> {
        let has_nothing = self.owned.is_some_and(Partitions::is_empty);
        if member.state() != MemberState::Unknown || has_nothing {
            return Ok(());
        }
        let message = "The consumer group member is in a unknown state. The member must abandon \
                       all its partitions and rejoin.";
        Err(Refused::new(Code::FencedMemberEpoch, message))
    }
}

pub(super) fn unknown_instance(instance_id: &str) -> Refused {
    Refused::new(Code::UnknownMemberId, format!("Instance id {instance_id} is unknown."))
}

pub(super) fn fenced_instance(member_id: &str, instance_id: &str, by: &str) -> Refused {
    let message = format!(
        "Static member {member_id} with instance id {instance_id} was fenced by member {by}."
    );
    Refused::new(Code::FencedInstanceId, message)
}

/// The records that remove a member.
pub(super) fn removal(group: &str, member: &str) -> Vec<Record> {
    let (group, member) = (|| group.to_owned(), || member.to_owned());
    vec![
        Record::Current { group: group(), member: member(), value: None },
        Record::TargetMember { group: group(), member: member(), value: None },
        Record::Member { group: group(), member: member(), value: None },
    ]
}

/// Takes over what the member says; what it leaves out is as before.
fn say(value: &mut MemberValue, request: &ConsumerGroupHeartbeatRequest) {
    let text = |text: &StrBytes| text.to_string();
    if let Some(instance_id) = &request.instance_id {
        value.instance_id = Some(text(instance_id));
    }
    if let Some(rack_id) = &request.rack_id {
        value.rack_id = Some(text(rack_id));
    }
    if request.rebalance_timeout_ms != -1 {
        value.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(assignor) = &request.server_assignor {
        value.assignor = Some(text(assignor));
    }
    if let Some(names) = &request.subscribed_topic_names {
        value.topic_names = names.iter().map(|name| name.to_string()).collect();
    }
    if let Some(regex) = &request.subscribed_topic_regex {
        value.topic_regex = Some(text(regex));
    }
}

fn assignment(assigned: &EpochedPartitions) -> Assignment {
    let topics = assigned.iter().map(|(topic, partitions)| {
        TopicPartitions::default()
            .with_topic_id(Uuid::from_bytes(topic.0))
            .with_partitions(partitions.keys().copied().collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

//! The rebalance of a classic group: preparing, where members join again; completing, where they
//! wait for the leader's assignment; and the timers of both.

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;

use crate::coordinator::group::Groups;
use crate::coordinator::group::classic::turn::{Turn, refused_sync};
use crate::coordinator::group::classic::{ClassicGroup, ClassicState};
use crate::coordinator::group::timers::{TimerKey, TimerKind};
use crate::coordinator::step::Step;

/// How long it takes at least before a rebalance is tried again that nobody joined. Members may say
/// that they have no time at all.
const REJOIN_WAIT_MS_MIN: i64 = 100;

/// The first rebalance of a group waits a little, so that members which start together come into
/// one generation; and longer while more come, up to the rebalance timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InitialDelay {
    delay_ms: i64,
    remaining_ms: i64,
    /// Since the delay began.
    pub(crate) has_new_member: bool,
}

impl Groups {
    pub(crate) fn on_classic_timer(&mut self, step: &mut Step, key: TimerKey) {
        let TimerKey { group, kind } = key;
        let Some(mut turn) = self.turn(step, &group) else { return };
        match kind {
            TimerKind::Session { member } => turn.expire_session(&member),
            TimerKind::Pending { member } => turn.expire_pending(&member),
            TimerKind::Join => turn.expire_join(),
            TimerKind::Sync => turn.expire_sync(),
            // Of members of a consumer group; the group has become a classic one since.
            TimerKind::Rebalance { .. }
            | TimerKind::ClassicJoin { .. }
            | TimerKind::ClassicSync { .. } => {}
        }
    }
}

impl ClassicGroup {
    /// Sees to it that the leader is one of those who joined, if anybody did.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined =
            |id: &str| self.members.get(id).is_some_and(|member| member.awaiting_join.is_some());
        match self.leader.as_deref() {
            None => false,
            Some(leader) if has_joined(leader) => true,
            Some(_) => {
                let mut joined = self.members.keys().filter(|id| has_joined(id));
                let elected = joined.next().cloned();
                let found = elected.is_some();
                self.leader = elected.or_else(|| self.leader.take());
                found
            }
        }
    }
}

impl Turn<'_> {
    /// Begins a rebalance if none is being prepared, and else sees whether that one is complete.
    pub(super) fn prepare_or_complete(&mut self, reason: &str) {
        match self.group.state {
            ClassicState::PreparingRebalance => self.complete_if_joined(),
            ClassicState::Empty | ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.prepare_rebalance(reason);
            }
        }
    }

    /// Has all members join again.
    pub(super) fn prepare_rebalance(&mut self, reason: &str) {
        if self.group.state == ClassicState::CompletingRebalance {
            self.forget_assignments(Code::RebalanceInProgress);
        }
        self.group.pending_sync.clear();
        self.cancel_timer(TimerKind::Sync);
        let is_initial = self.group.is_empty();
        self.transition_to(ClassicState::PreparingRebalance);
        let (group, generation) = (self.name, self.group.generation);
        tracing::info!(group, generation, reason, "rebalance begins");
        let timeout_ms = self.group.rebalance_timeout_ms();
        if is_initial {
            let delay_ms = self.initial_delay_ms();
            let remaining_ms = (timeout_ms - delay_ms).max(0);
            self.delay_initial(InitialDelay { delay_ms, remaining_ms, has_new_member: false });
        } else if self.group.have_all_joined() {
            self.complete_join();
        } else {
            self.set_timer(TimerKind::Join, timeout_ms);
        }
    }

    fn initial_delay_ms(&self) -> i64 {
        self.settings.config.group_initial_rebalance_delay_ms.into()
    }

    fn delay_initial(&mut self, delay: InitialDelay) {
        self.group.initial_delay = Some(delay);
        self.set_timer(TimerKind::Join, delay.delay_ms);
    }

    /// Goes on to the next generation if everybody has joined; the first one has its time.
    pub(super) fn complete_if_joined(&mut self) {
        if self.group.state == ClassicState::PreparingRebalance
            && self.group.initial_delay.is_none()
            && self.group.have_all_joined()
        {
            self.complete_join();
        }
    }

    fn expire_join(&mut self) {
        if self.group.state != ClassicState::PreparingRebalance {
            return;
        }
        match self.group.initial_delay {
            Some(before) if before.has_new_member && before.remaining_ms != 0 => {
                let delay = InitialDelay {
                    delay_ms: self.initial_delay_ms().min(before.remaining_ms),
                    remaining_ms: (before.remaining_ms - before.delay_ms).max(0),
                    has_new_member: false,
                };
                self.delay_initial(delay);
            }
            _ => self.complete_join(),
        }
    }

    /// Removes members that have not joined, but for static ones, and begins the next generation.
    fn complete_join(&mut self) {
        self.cancel_timer(TimerKind::Join);
        self.group.initial_delay = None;
        let members = self.group.members.values();
        let failed = members.filter(|one| one.awaiting_join.is_none() && !one.is_static());
        let failed: Vec<String> = failed.map(|member| member.id.clone()).collect();
        failed.iter().for_each(|id| self.remove(id));
        if !self.group.elect_joined_leader() && !self.group.members.is_empty() {
            // Static members alone are left, and none of them joined: their sessions will end.
            let timeout_ms = self.group.rebalance_timeout_ms().max(REJOIN_WAIT_MS_MIN);
            return self.set_timer(TimerKind::Join, timeout_ms);
        }
        let group = &mut *self.group;
        group.generation = group.generation.checked_add(1).unwrap_or(1);
        group.protocol = group.select_protocol();
        group.subscribed_topics = group.compute_subscribed_topics();
        if group.members.is_empty() {
            self.become_empty();
        } else {
            self.begin_generation();
        }
    }

    fn become_empty(&mut self) {
        self.transition_to(ClassicState::Empty);
        tracing::info!(group = self.name, generation = self.group.generation, "group is empty");
        let record = self.record(|_| Bytes::new());
        self.step.append(&record);
    }

    fn begin_generation(&mut self) {
        self.transition_to(ClassicState::CompletingRebalance);
        let (group, generation) = (self.name, self.group.generation);
        tracing::info!(group, generation, members = self.group.members.len(), "generation begins");
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            let answer = self.group.joined(&id);
            let member = self.group.members.get_mut(&id);
            let waiting = member.and_then(|member| {
                member.is_new = false;
                member.awaiting_join.take()
            });
            self.answer_join(waiting, answer);
            self.extend_session(&id);
            self.group.pending_sync.insert(id);
        }
        let timeout_ms = self.group.rebalance_timeout_ms();
        self.set_timer(TimerKind::Sync, timeout_ms);
    }

    /// Drops the assignments and tells those who wait for theirs.
    pub(super) fn forget_assignments(&mut self, code: Code) {
        for member in self.group.members.values_mut() {
            member.assignment = Bytes::new();
        }
        self.answer_syncs(|_| refused_sync(code));
    }

    /// Members that have not asked for their assignment are taken for dead.
    fn expire_sync(&mut self) {
        let late = std::mem::take(&mut self.group.pending_sync);
        let has_generation =
            matches!(self.group.state, ClassicState::CompletingRebalance | ClassicState::Stable);
        if has_generation && !late.is_empty() {
            late.iter().for_each(|id| self.remove(id));
            self.prepare_rebalance("members have not synced in time");
        }
    }

    fn expire_session(&mut self, member_id: &str) {
        if self.group.members.get(member_id).is_none_or(|member| member.is_waiting()) {
            // Its session begins anew when it is answered.
            return;
        }
        tracing::info!(group = self.name, member_id, "member's session has ended");
        self.remove(member_id);
        match self.group.state {
            ClassicState::Stable | ClassicState::CompletingRebalance => {
                self.prepare_rebalance("a member's session has ended");
            }
            ClassicState::PreparingRebalance => self.complete_without_delay(),
            ClassicState::Empty => {}
        }
    }

    fn expire_pending(&mut self, member_id: &str) {
        self.remove(member_id);
        self.complete_without_delay();
    }

    /// Who was waited for is gone: that ends the wait of a first generation, too.
    fn complete_without_delay(&mut self) {
        let is_preparing = self.group.state == ClassicState::PreparingRebalance;
        if is_preparing && self.group.have_all_joined() {
            self.complete_join();
        }
    }
}

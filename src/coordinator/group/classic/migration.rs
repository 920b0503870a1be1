//! Classic groups that become consumer groups, and the other way round.

use kafka_protocol::ResponseError as Code;

use crate::coordinator::group::classic::ClassicGroup;
use crate::coordinator::group::classic::turn::{refused_join, refused_sync};
use crate::coordinator::group::{Group, Groups};
use crate::coordinator::step::Step;

impl Groups {
    /// Tells everybody who waits for a rebalance that there will be another one.
    pub(crate) fn send_to_rejoin(&mut self, step: &mut Step, name: &str) {
        let Some(mut turn) = self.turn(step, name) else { return };
        turn.answer_syncs(|_| refused_sync(Code::RebalanceInProgress));
        let members = turn.group.members.values_mut();
        let waiting = members.map(|member| (member.id.clone(), member.awaiting_join.take()));
        for (id, reply) in waiting.collect::<Vec<_>>() {
            turn.answer_join(reply, refused_join(&id, Code::RebalanceInProgress));
        }
    }

    /// Goes on with a group that was of another kind; a reason for a rebalance begins one.
    pub(crate) fn begin_classic(
        &mut self,
        step: &mut Step,
        name: &str,
        group: ClassicGroup,
        rebalance: Option<&str>,
    ) {
        self.groups.insert(name.to_owned(), Group::Classic(group));
        let Some(mut turn) = self.turn(step, name) else { return };
        turn.transition_to(turn.group.state);
        let record = turn.record(|id| turn.assignment(id));
        turn.step.append(&record);
        let ids: Vec<String> = turn.group.members.keys().cloned().collect();
        ids.iter().for_each(|id| turn.extend_session(id));
        if let Some(reason) = rebalance {
            turn.prepare_rebalance(reason);
        }
    }
}

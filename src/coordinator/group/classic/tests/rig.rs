//! A partition of groups with a log in memory, and requests with the fields that matter.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest, SyncGroupResponse,
};

use crate::base::ids::NodeId;
use crate::base::primitives::Writer;
use crate::base::rng::Rng;
use crate::config::Config;
use crate::coordinator::group::classic::{ClassicGroup, ClassicState, Join};
use crate::coordinator::group::settings::GroupSettings;
use crate::coordinator::group::text;
use crate::coordinator::group::{Committer, Groups};
use crate::coordinator::reply::{Reply, Waiting};
use crate::coordinator::runtime::Machine;
use crate::coordinator::step::{Now, Step};
use crate::log::records::build::NewRecord;
use crate::metadata::image::Image;
use crate::metadata::settings::LiveSettings;

pub(super) const GROUP: &str = "g";
pub(super) const SESSION_MS: i32 = 10_000;
pub(super) const REBALANCE_MS: i32 = 30_000;
pub(super) const INITIAL_DELAY_MS: i64 = 3_000;
/// Timers that are run at most before a test gives up.
const TIMERS_COUNT_MAX: usize = 10_000;

pub(super) struct Rig {
    pub(super) groups: Groups,
    pub(super) now_ms: i64,
    pub(super) log: Vec<NewRecord>,
    settings: Arc<GroupSettings>,
    rng: Arc<Rng>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut loaded = Config::load(None, &[]).unwrap();
        change(&mut loaded.config);
        let settings = Arc::new(GroupSettings::new(LiveSettings::new(NodeId(1), loaded)));
        let rng = Arc::new(Rng::seeded(7));
        let groups = Groups::new(Arc::clone(&settings), Arc::clone(&rng));
        Self { groups, now_ms: 0, log: Vec::new(), settings, rng }
    }

    fn begin(&self) -> Step {
        let now = Now { wall_ms: 1_000_000 + self.now_ms, monotonic_ms: self.now_ms };
        Step::new(now, Arc::new(Image::default()))
    }

    fn commit(&mut self, mut step: Step) {
        self.log.extend(step.take_records());
        step.finish();
        if let Some(group) = self.groups.classic_group(GROUP) {
            group.check_invariants();
        }
    }

    /// Decides something, and commits.
    pub(super) fn step<T>(&mut self, decide: impl FnOnce(&mut Groups, &mut Step) -> T) -> T {
        let mut step = self.begin();
        let decided = decide(&mut self.groups, &mut step);
        self.commit(step);
        decided
    }

    /// Decides something; then the broker dies, and nobody is told.
    pub(super) fn step_in_vain(&mut self, decide: impl FnOnce(&mut Groups, &mut Step)) {
        let mut step = self.begin();
        decide(&mut self.groups, &mut step);
        drop(step);
        self.reload();
    }

    /// Begins anew from the records.
    pub(super) fn reload(&mut self) {
        self.groups = Groups::new(Arc::clone(&self.settings), Arc::clone(&self.rng));
        for NewRecord { key, value } in &self.log {
            self.groups.replay(key.clone(), value.clone());
        }
        self.step(Machine::loaded);
    }

    /// Lets time go by, timer by timer.
    pub(super) fn advance(&mut self, by_ms: i64) {
        let until_ms = self.now_ms + by_ms;
        for _ in 0..TIMERS_COUNT_MAX {
            match self.groups.timers.next_ms() {
                Some(at_ms) if at_ms <= until_ms => self.now_ms = self.now_ms.max(at_ms),
                _ => {
                    self.now_ms = until_ms;
                    return;
                }
            }
            self.step(Machine::tick);
        }
        panic!("timers go on for ever");
    }

    pub(super) fn group(&self) -> &ClassicGroup {
        self.groups.classic_group(GROUP).expect("the group is there")
    }

    pub(super) fn state(&self) -> &'static str {
        self.group().state.name()
    }

    /// Asks to join, and sees whether there is an answer already.
    pub(super) fn join(&mut self, join: &Join) -> Waiting<JoinGroupResponse> {
        let (reply, waiting) = Reply::channel();
        self.step(|groups, step| groups.join_group(step, join, reply));
        waiting
    }

    pub(super) fn sync(&mut self, request: &SyncGroupRequest) -> Waiting<SyncGroupResponse> {
        let (reply, waiting) = Reply::channel();
        self.step(|groups, step| groups.sync_group(step, request, reply));
        waiting
    }

    pub(super) fn heartbeat(&mut self, who: Who<'_>) -> Result<(), Code> {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id())
            .with_generation_id(who.generation)
            .with_member_id(text(who.member_id))
            .with_group_instance_id(who.instance_id.map(text));
        self.step(|groups, step| groups.heartbeat(step, &request))
    }

    /// Commits offsets as far as the group is asked.
    pub(super) fn commit_offsets(&mut self, who: Who<'_>) -> Result<(), Code> {
        let committer = Committer {
            member_id: who.member_id,
            instance_id: who.instance_id,
            generation_or_epoch: who.generation,
            version: 9,
        };
        self.step(|groups, step| {
            groups.classic_group(GROUP).ok_or(Code::GroupIdNotFound)?.validate_commit(committer)?;
            groups.classic_committed(step, GROUP, who.member_id);
            Ok(())
        })
    }

    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<Result<(), Code>> {
        let members = members.iter().map(|(id, instance_id)| {
            MemberIdentity::default()
                .with_member_id(text(id))
                .with_group_instance_id(instance_id.map(text))
        });
        let request =
            LeaveGroupRequest::default().with_group_id(group_id()).with_members(members.collect());
        let left = self.step(|groups, step| groups.leave_group(step, request));
        left.into_iter().map(|(_, left)| left).collect()
    }

    /// A member that was given its id and joined with it, and waits.
    pub(super) fn join_in_two(&mut self, client: &str) -> (String, Waiting<JoinGroupResponse>) {
        let given = answer(&mut self.join(&new(client)));
        assert_eq!(given.error_code, Code::MemberIdRequired.code());
        let id = given.member_id.to_string();
        let waiting = self.join(&known(&id));
        (id, waiting)
    }

    /// A stable group of so many dynamic members; the first one leads.
    pub(super) fn stable(&mut self, count: usize) -> Vec<String> {
        let mut joins: Vec<_> = (0..count).map(|_| self.join_in_two("c")).collect();
        while self.group().state == ClassicState::PreparingRebalance {
            self.advance(INITIAL_DELAY_MS);
        }
        let answers: Vec<_> = joins.iter_mut().map(|(_, waiting)| answer(waiting)).collect();
        assert!(answers.iter().all(|answer| answer.error_code == 0));
        let leader = answers[0].leader.to_string();
        let mut ids: Vec<String> = joins.into_iter().map(|(id, _)| id).collect();
        ids.sort_by_key(|id| *id != leader);
        let generation = answers[0].generation_id;
        self.sync_all(generation, &ids);
        ids
    }

    /// All sync, the leader first; everybody is assigned their own id.
    pub(super) fn sync_all(&mut self, generation: i32, ids: &[String]) {
        let parts: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        for (at, id) in ids.iter().enumerate() {
            let parts = if at == 0 { &parts[..] } else { &[] };
            let mut waiting = self.sync(&sync(Who::member(id, generation), parts));
            let synced = answer(&mut waiting);
            assert_eq!((synced.error_code, &synced.assignment[..]), (0, id.as_bytes()));
        }
        assert_eq!(self.state(), "Stable");
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) member_id: &'a str,
    pub(super) instance_id: Option<&'a str>,
    pub(super) generation: i32,
}

impl<'a> Who<'a> {
    pub(super) fn member(member_id: &'a str, generation: i32) -> Self {
        Self { member_id, instance_id: None, generation }
    }
}

pub(super) fn group_id() -> GroupId {
    GroupId(text(GROUP))
}

/// The answer that is there.
#[track_caller]
pub(super) fn answer<T>(waiting: &mut Waiting<T>) -> T {
    waiting.try_recv().expect("there is an answer")
}

#[track_caller]
pub(super) fn assert_waits<T>(waiting: &mut Waiting<T>) {
    assert!(matches!(waiting.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty)));
}

/// A join of somebody who was never here.
pub(super) fn new(client: &str) -> Join {
    let request = JoinGroupRequest::default()
        .with_group_id(group_id())
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols(&["range"]));
    let (client_id, client_host) = (client.to_owned(), "/127.0.0.1".to_owned());
    Join { request, version: 9, client_id, client_host }
}

pub(super) fn known(member_id: &str) -> Join {
    let mut join = new("c");
    join.request.member_id = text(member_id);
    join
}

pub(super) fn static_member(instance_id: &str) -> Join {
    let mut join = new("c");
    join.request.group_instance_id = Some(text(instance_id));
    join
}

pub(super) fn protocols(names: &[&str]) -> Vec<JoinGroupRequestProtocol> {
    let protocol = |name: &&str| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(subscription(&["t", name]))
    };
    names.iter().map(protocol).collect()
}

/// A consumer's metadata.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut out = Writer::new(BytesMut::new(), false);
    out.out.put_i16(1);
    out.array(topics.iter(), |out, topic| out.string(topic));
    out.nullable_bytes(None);
    out.array_length(0);
    out.out.freeze()
}

/// A SyncGroup with what the leader assigns.
pub(super) fn sync(who: Who<'_>, parts: &[(&str, &str)]) -> SyncGroupRequest {
    let assignment = |(id, part): &(&str, &str)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(id))
            .with_assignment(Bytes::copy_from_slice(part.as_bytes()))
    };
    SyncGroupRequest::default()
        .with_group_id(group_id())
        .with_generation_id(who.generation)
        .with_member_id(text(who.member_id))
        .with_group_instance_id(who.instance_id.map(text))
        .with_protocol_type(Some(text("consumer")))
        .with_assignments(parts.iter().map(assignment).collect())
}

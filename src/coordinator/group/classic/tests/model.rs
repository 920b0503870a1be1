//! Random joins, leaves, crashes and restarts, with clients that behave as real ones do.
//!
//! A leader assigns each member a name of its own: its instance id, or its member id. So it can be
//! seen that no two members ever own the same in one generation, unless one of them is fenced.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::rig::*;
use crate::coordinator::group::classic::{ClassicState, Join};
use crate::coordinator::group::text;
use crate::coordinator::reply::Waiting;

const INSTANCES: [&str; 3] = ["i0", "i1", "i2"];

#[derive(Debug, Clone)]
enum Op {
    Start {
        instance: Option<usize>,
        version: i16,
    },
    /// The client does what comes next for it.
    Act(usize),
    /// It joins again, with other metadata perhaps.
    Rejoin(usize, bool),
    Leave(usize),
    /// It is never heard again.
    Crash(usize),
    Commit(usize),
    /// An admin takes out a static member.
    Expel(usize),
    Advance(i64),
    /// The broker restarts.
    Reload,
    /// It restarts while a client's request is being worked on.
    ReloadDuringJoin(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let instance = prop_oneof![2 => Just(None), 2 => (0usize..3).prop_map(Some)];
    prop_oneof![
        3 => (instance, prop_oneof![Just(3i16), Just(5), Just(9)])
            .prop_map(|(instance, version)| Op::Start { instance, version }),
        20 => (0usize..8).prop_map(Op::Act),
        2 => (0usize..8, any::<bool>()).prop_map(|(at, other)| Op::Rejoin(at, other)),
        1 => (0usize..8).prop_map(Op::Leave),
        1 => (0usize..8).prop_map(Op::Crash),
        2 => (0usize..8).prop_map(Op::Commit),
        1 => (0usize..3).prop_map(Op::Expel),
        4 => prop_oneof![0i64..4_000, 4_000i64..40_000].prop_map(Op::Advance),
        1 => Just(Op::Reload),
        1 => (0usize..8).prop_map(Op::ReloadDuringJoin),
    ]
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum Phase {
    #[default]
    Out,
    Joining,
    Joined,
    Syncing,
    Stable,
    /// Crashed, left, or fenced: it asks for nothing more.
    Gone,
}

#[derive(Debug, Default)]
struct Client {
    instance: Option<&'static str>,
    version: i16,
    member_id: String,
    generation: i32,
    names: &'static [&'static str],
    phase: Phase,
    /// The members to assign to, if it leads.
    to_assign: Vec<(String, String)>,
    join: Option<Waiting<JoinGroupResponse>>,
    sync: Option<Waiting<SyncGroupResponse>>,
}

impl Client {
    fn who(&self) -> Who<'_> {
        let Self { member_id, instance, generation, .. } = self;
        Who { member_id, instance_id: *instance, generation: *generation }
    }

    fn join(&self) -> Join {
        let mut join = known(&self.member_id);
        join.version = self.version;
        join.request.group_instance_id = self.instance.map(text);
        join.request.protocols = protocols(self.names);
        join
    }

    /// As `ConsumerCoordinator` does.
    fn take_error(&mut self, code: i16) {
        self.phase = match Code::try_from_code(code) {
            None => return,
            Some(Code::UnknownMemberId) => {
                self.member_id.clear();
                Phase::Out
            }
            Some(Code::FencedInstanceId) => Phase::Gone,
            Some(Code::IllegalGeneration | Code::RebalanceInProgress) => Phase::Out,
            Some(other) => panic!("{other:?} for {self:?}"),
        };
    }
}

#[derive(Default)]
struct World {
    clients: Vec<Client>,
    /// Who owned what, by generation and name.
    owners: BTreeMap<(i32, String), BTreeSet<String>>,
}

impl World {
    fn run(&mut self, rig: &mut Rig, op: &Op) {
        let count = self.clients.len().max(1);
        let at = |at: usize| at % count;
        match *op {
            Op::Start { instance, version } => {
                let instance = instance.map(|at| INSTANCES[at]);
                let version = if instance.is_some() { version.max(5) } else { version };
                let names = &["range", "sticky"];
                self.clients.push(Client { instance, version, names, ..Client::default() });
            }
            Op::Advance(ms) => rig.advance(ms),
            Op::Reload => rig.reload(),
            Op::Expel(instance) => {
                rig.leave(&[("", Some(INSTANCES[instance]))]);
            }
            Op::Act(who) => self.act(rig, at(who)),
            Op::Rejoin(who, other) => self.with(at(who), |client| {
                if matches!(client.phase, Phase::Joined | Phase::Stable) {
                    client.names = if other { &["sticky", "range"] } else { &["range", "sticky"] };
                    client.phase = Phase::Out;
                }
            }),
            Op::Leave(who) => self.with(at(who), |client| {
                if !matches!(client.phase, Phase::Joining | Phase::Syncing | Phase::Gone) {
                    rig.leave(&[(&client.member_id, client.instance)]);
                    client.phase = Phase::Gone;
                }
            }),
            Op::Crash(who) => self.with(at(who), |client| client.phase = Phase::Gone),
            Op::Commit(who) => self.with(at(who), |client| {
                if client.phase == Phase::Stable
                    && let Err(code) = rig.commit_offsets(client.who())
                {
                    client.take_error(code.code());
                }
            }),
            Op::ReloadDuringJoin(who) => self.with(at(who), |client| {
                let join = client.join();
                let (reply, _) = crate::coordinator::reply::Reply::channel();
                rig.step_in_vain(|groups, step| groups.join_group(step, &join, reply));
            }),
        }
        self.hear(rig);
    }

    fn with(&mut self, at: usize, act: impl FnOnce(&mut Client)) {
        if let Some(client) = self.clients.get_mut(at) {
            act(client);
        }
    }

    fn act(&mut self, rig: &mut Rig, at: usize) {
        self.with(at, |client| match client.phase {
            Phase::Out => {
                client.join = Some(rig.join(&client.join()));
                client.phase = Phase::Joining;
            }
            Phase::Joined => {
                let parts = std::mem::take(&mut client.to_assign);
                let parts: Vec<(&str, &str)> =
                    parts.iter().map(|(id, part)| (id.as_str(), part.as_str())).collect();
                client.sync = Some(rig.sync(&sync(client.who(), &parts)));
                client.phase = Phase::Syncing;
            }
            Phase::Stable => {
                if let Err(code) = rig.heartbeat(client.who()) {
                    client.take_error(code.code());
                }
            }
            Phase::Joining | Phase::Syncing | Phase::Gone => {}
        });
    }

    /// Takes the answers that are there. Those to clients that are gone count, too: what they own
    /// they own until they are fenced.
    fn hear(&mut self, rig: &mut Rig) {
        for client in &mut self.clients {
            let is_gone = client.phase == Phase::Gone;
            match client.join.as_mut().map(Waiting::try_recv) {
                None | Some(Err(TryRecvError::Empty)) => {}
                Some(Err(TryRecvError::Closed)) => {
                    client.join = None;
                    client.phase = Phase::Out;
                }
                Some(Ok(joined)) => {
                    client.join = None;
                    take_joined(client, &joined);
                }
            }
            match client.sync.as_mut().map(Waiting::try_recv) {
                None | Some(Err(TryRecvError::Empty)) => {}
                Some(Err(TryRecvError::Closed)) => {
                    client.sync = None;
                    client.phase = Phase::Out;
                }
                Some(Ok(synced)) if synced.error_code == 0 => {
                    client.sync = None;
                    client.phase = Phase::Stable;
                    let part = String::from_utf8(synced.assignment.to_vec()).unwrap();
                    let own = client.instance.unwrap_or(&client.member_id);
                    assert!(part == own || part.is_empty(), "{own} is given {part}");
                    if !part.is_empty() {
                        let owners = self.owners.entry((client.generation, part)).or_default();
                        owners.insert(client.member_id.clone());
                    }
                }
                Some(Ok(synced)) => {
                    client.sync = None;
                    client.take_error(synced.error_code);
                }
            }
            if is_gone {
                client.phase = Phase::Gone;
            }
        }
        self.check_fencing(rig);
    }

    /// Of all that ever owned the same in one generation, one at most may still say so.
    fn check_fencing(&self, rig: &Rig) {
        let Some(group) = rig.groups.classic_group(GROUP) else { return };
        for ((generation, part), owners) in &self.owners {
            let instance = INSTANCES.contains(&part.as_str()).then_some(part.as_str());
            assert!(owners.len() == 1 || instance.is_some(), "{part} has owners {owners:?}");
            let accepted = owners.iter().filter(|id| {
                *generation == group.generation && group.validate_member(id, instance).is_ok()
            });
            assert!(accepted.count() <= 1, "{part} in {generation}: {owners:?}");
        }
    }

    /// Clients that are there do what they should, each half a second.
    fn settle(&mut self, rig: &mut Rig) {
        for _ in 0..600 {
            for at in 0..self.clients.len() {
                self.act(rig, at);
                self.hear(rig);
            }
            rig.advance(500);
            self.hear(rig);
        }
    }
}

fn take_joined(client: &mut Client, joined: &JoinGroupResponse) {
    match Code::try_from_code(joined.error_code) {
        None => {
            assert!(client.member_id.is_empty() || *client.member_id == *joined.member_id);
            client.phase = Phase::Joined;
            client.generation = joined.generation_id;
            client.member_id = joined.member_id.to_string();
            let members = joined.members.iter().filter(|_| !joined.skip_assignment);
            client.to_assign = members
                .map(|member| {
                    let name = member.group_instance_id.as_ref().unwrap_or(&member.member_id);
                    (member.member_id.to_string(), name.to_string())
                })
                .collect();
        }
        Some(Code::MemberIdRequired) => {
            client.member_id = joined.member_id.to_string();
            client.phase = Phase::Out;
        }
        Some(_) => client.take_error(joined.error_code),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Those who are there come into one generation. Of two with the same instance id, one wins.
    #[test]
    fn clients_come_into_one_generation(ops in proptest::collection::vec(op(), 1..120)) {
        let mut rig = Rig::new();
        let mut world = World::default();
        ops.iter().for_each(|op| world.run(&mut rig, op));
        world.settle(&mut rig);
        let there: Vec<&Client> =
            world.clients.iter().filter(|client| client.phase != Phase::Gone).collect();
        let mut names: Vec<&str> =
            there.iter().map(|client| client.instance.unwrap_or(&client.member_id)).collect();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), there.len(), "an instance is there twice: {:?}", there);
        let Some(group) = rig.groups.classic_group(GROUP) else {
            prop_assert!(there.is_empty());
            return Ok(());
        };
        let expected = if there.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        prop_assert_eq!(group.state, expected, "{:?}", there);
        prop_assert_eq!(group.members.len(), there.len());
        for client in &there {
            prop_assert_eq!(client.phase, Phase::Stable);
            prop_assert_eq!(client.generation, group.generation);
            let member = &group.members[&client.member_id];
            let own = client.instance.unwrap_or(&client.member_id);
            prop_assert_eq!(&member.assignment[..], own.as_bytes());
        }
    }

    /// When nobody is heard any more, the group is empty after all timers have run, and nobody
    /// waits for an answer.
    #[test]
    fn groups_come_to_rest(ops in proptest::collection::vec(op(), 1..120)) {
        let mut rig = Rig::new();
        let mut world = World::default();
        ops.iter().for_each(|op| world.run(&mut rig, op));
        rig.advance(60 * 60 * 1000);
        world.hear(&mut rig);
        prop_assert_eq!(rig.groups.timers.next_ms(), None);
        for client in &world.clients {
            prop_assert!(client.join.is_none() && client.sync.is_none(), "{:?} waits", client);
        }
        if let Some(group) = rig.groups.classic_group(GROUP) {
            prop_assert!(group.is_empty() && group.pending_join.is_empty());
        }
    }
}

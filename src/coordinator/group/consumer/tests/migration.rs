//! Groups that change their kind, and members of both protocols in one.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupResponse,
};

use super::*;
use crate::base::primitives::Writer;
use crate::coordinator::group::classic::Join;
use crate::coordinator::group::consumer::embedded::{Assigned, by_id, encode_assignment};
use crate::coordinator::reply::{Reply, Waiting};

const SESSION_MS: i32 = 30_000;

/// What a consumer of the classic protocol says of itself.
pub(super) fn subscription(version: i16, topics: &[&str], owned: &[(&str, &[i32])]) -> Bytes {
    let mut out = Writer::new(BytesMut::new(), false);
    out.out.put_i16(version);
    out.array(topics.iter(), |out, topic| out.string(topic));
    out.nullable_bytes(None);
    if version >= 1 {
        out.array(owned.iter(), |out, (topic, partitions)| {
            out.string(topic);
            out.array(partitions.iter(), |out, partition| out.out.put_i32(*partition));
        });
    }
    out.out.freeze()
}

pub(super) fn classic_join(id: &str, instance_id: Option<&str>, metadata: Bytes) -> Join {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(metadata);
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
        .with_member_id(text(id))
        .with_group_instance_id(instance_id.map(text))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    Join { request, version: 9, client_id: "old".to_owned(), client_host: "/127.0.0.1".to_owned() }
}

pub(super) fn classic_sync(
    id: &str,
    generation: i32,
    assignments: Vec<(String, Bytes)>,
) -> SyncGroupRequest {
    let assignments = assignments.into_iter().map(|(id, assignment)| {
        SyncGroupRequestAssignment::default().with_member_id(text(&id)).with_assignment(assignment)
    });
    SyncGroupRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(id))
        .with_generation_id(generation)
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(assignments.collect())
}

pub(super) fn classic_beat(id: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(id))
        .with_generation_id(generation)
}

pub(super) fn classic_leave(id: &str, instance_id: Option<&str>) -> LeaveGroupRequest {
    let member = MemberIdentity::default()
        .with_member_id(text(id))
        .with_group_instance_id(instance_id.map(text));
    LeaveGroupRequest::default().with_group_id(GroupId(text(GROUP))).with_members(vec![member])
}

impl World {
    pub(super) fn begin_join(&mut self, join: &Join) -> Waiting<JoinGroupResponse> {
        let (reply, waiting) = Reply::channel();
        self.decide(|groups, step| groups.join_group(step, join, reply));
        waiting
    }

    /// Joins where the answer comes at once, but for the time that groups wait at the start.
    pub(super) fn join(&mut self, join: &Join) -> JoinGroupResponse {
        let mut waiting = self.begin_join(join);
        self.decide(|_, _| ());
        waiting.try_recv().expect("there is nobody to wait for")
    }

    pub(super) fn begin_sync(&mut self, sync: &SyncGroupRequest) -> Waiting<SyncGroupResponse> {
        let (reply, waiting) = Reply::channel();
        self.decide(|groups, step| groups.sync_group(step, sync, reply));
        waiting
    }

    /// The assignment, or the error.
    fn sync(&mut self, id: &str, generation: i32) -> Result<Partitions, i16> {
        let mut waiting = self.begin_sync(&classic_sync(id, generation, Vec::new()));
        self.told(waiting.try_recv().expect("there is nobody to wait for"))
    }

    pub(super) fn told(&self, answer: SyncGroupResponse) -> Result<Partitions, i16> {
        if answer.error_code != 0 {
            return Err(answer.error_code);
        }
        let assigned = Assigned::decode(answer.assignment).unwrap();
        let partitions = by_id(&assigned.partitions, &self.image);
        Ok(partitions.into_iter().filter(|(_, list)| !list.is_empty()).collect())
    }

    pub(super) fn beat(&mut self, id: &str, generation: i32) -> Result<(), Code> {
        self.decide(|groups, step| groups.heartbeat(step, &classic_beat(id, generation)))
    }

    pub(super) fn leave(&mut self, id: &str, instance_id: Option<&str>) -> Result<(), Code> {
        let request = classic_leave(id, instance_id);
        self.decide(|groups, step| groups.leave_group(step, request)).remove(0).1
    }

    /// A classic group of one member, who has all four partitions of `t`. Its id.
    fn classic(&mut self, metadata: &Bytes, instance_id: Option<&str>) -> String {
        self.topic("t", topic(1), 4);
        let mut joined = self.join(&classic_join("", instance_id, metadata.clone()));
        if joined.error_code == Code::MemberIdRequired.code() {
            joined = self.join(&classic_join(&joined.member_id, None, metadata.clone()));
        }
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        let id = joined.member_id.to_string();
        let all = encode_assignment(1, &of_topic(topic(1), 0..4), &self.image);
        let sync = classic_sync(&id, 1, vec![(id.clone(), all)]);
        self.begin_sync(&sync).try_recv().unwrap();
        id
    }
}

fn world() -> World {
    World::new(&[("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")])
}

fn part(partitions: impl IntoIterator<Item = i32>) -> Partitions {
    of_topic(topic(1), partitions)
}

const REBALANCE: Result<(), Code> = Err(Code::RebalanceInProgress);

#[test]
fn a_group_moves_to_the_new_protocol_and_back() {
    let mut world = world();
    let old = world.classic(&subscription(1, &["t"], &[]), None);
    let joined = world.heartbeat(&join("new", &["t"])).unwrap();
    assert_eq!(told(&joined), (2, Some(Partitions::new())));
    assert_eq!(world.state(), "Reconciling");
    world.reload();
    let types: Vec<i8> = world
        .decide(|groups, step| groups.consumer_describe(step, GROUP))
        .unwrap()
        .members
        .iter()
        .map(|member| member.member_type)
        .collect();
    assert_eq!(types, [1, 0], "the broker made up an id that comes later");

    // The old one has to join again, to give up half and once more when it has.
    assert_eq!(world.beat(&old, 1), REBALANCE);
    let has = |owned: &[i32]| classic_join(&old, None, subscription(1, &["t"], &[("t", owned)]));
    let joined = world.join(&has(&[0, 1, 2, 3]));
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!((joined.protocol_name.as_deref(), &*joined.leader), (Some("range"), ""));
    assert_eq!(world.sync(&old, 1), Ok(part(0..2)));
    assert_eq!(world.beat(&old, 1), REBALANCE);
    assert_eq!(told(&world.heartbeat(&request("new", 2)).unwrap()), (2, None));
    assert_eq!(world.join(&has(&[0, 1])).generation_id, 2);
    assert_eq!(world.sync(&old, 2), Ok(part(0..2)));
    assert_eq!(world.beat(&old, 2), Ok(()));
    assert_eq!(told(&world.heartbeat(&request("new", 2)).unwrap()), (2, Some(part(2..4))));
    assert_eq!(world.state(), "Stable");

    let commit = |world: &World, generation_or_epoch| {
        let (member_id, instance_id) = (old.as_str(), None);
        let committer = Committer { member_id, instance_id, generation_or_epoch, version: 2 };
        world.group().validate_commit(committer)?;
        world.group().validate_commit_of(committer, topic(1), 2)
    };
    assert_eq!(commit(&world, 2), Ok(()));
    assert_eq!(commit(&world, 1), Err(Code::IllegalGeneration), "it has another one by now");

    // The last one of the new protocol goes, and the others agree among themselves again.
    world.heartbeat(&request("new", LEAVE_EPOCH)).unwrap();
    assert!(world.groups.consumer_group(GROUP).is_none());
    assert_eq!(world.beat(&old, 2), REBALANCE);
    world.reload();
    assert_eq!(world.beat(&old, 2), Ok(()), "it is stored as it was before the rebalance");
    let joined = world.join(&has(&[0, 1]));
    assert_eq!((joined.generation_id, &*joined.leader), (3, old.as_str()));
}

#[test]
fn partitions_of_the_old_protocol_are_free_once_it_has_none() {
    let mut world = world();
    let old = world.classic(&subscription(0, &["t"], &[]), None);
    world.heartbeat(&join("new", &["t"])).unwrap();
    assert_eq!(world.beat(&old, 1), REBALANCE);
    // An eager member has given up all when it joins.
    let again = classic_join(&old, None, subscription(0, &["t"], &[]));
    assert_eq!(world.join(&again).generation_id, 2);
    assert_eq!(world.sync(&old, 2), Ok(part(0..2)));
    assert_eq!(told(&world.heartbeat(&request("new", 2)).unwrap()), (2, Some(part(2..4))));
    assert_eq!(world.beat(&old, 2), Ok(()));

    // A third one, of the old protocol, waits for what others have.
    let third = classic_join("", None, subscription(0, &["t"], &[]));
    let id = world.join(&third);
    assert_eq!(id.error_code, Code::MemberIdRequired.code());
    let third = classic_join(&id.member_id, None, subscription(0, &["t"], &[]));
    assert_eq!(world.join(&third).generation_id, 3);
    assert_eq!(world.sync(&id.member_id, 3), Ok(Partitions::new()));
    assert_eq!(world.beat(&id.member_id, 3), Ok(()), "not yet");
    for member in [old.as_str(), "new"] {
        let has = world.group().members[member].current.assigned.clone();
        assert!(has[&topic(1)].len() <= 2);
    }
    assert_eq!(world.beat(&old, 2), REBALANCE);
    world.join(&again);
    world.heartbeat(&request("new", 2)).unwrap();
    let rest: Partitions = world.group().target["new"].clone();
    world.heartbeat(&owning(request("new", 2), &rest)).unwrap();
    assert_eq!(world.beat(&id.member_id, 3), REBALANCE, "now there is something to get");
    world.join(&third);
    assert_eq!(world.sync(&id.member_id, 3).unwrap(), world.group().target[&*id.member_id]);
}

#[test]
fn groups_that_cannot_change_are_left_alone() {
    let refusal = |world: &mut World| world.heartbeat(&join("new", &["t"])).unwrap_err();
    let told = |why: &str| {
        let message = format!("Cannot upgrade classic group g to consumer group because {why}");
        Refused::new(Code::GroupIdNotFound, message)
    };

    let mut other = world();
    let mut join_as = classic_join("", Some("i"), Bytes::new());
    join_as.request.protocol_type = text("connect");
    other.join(&join_as);
    let why = "the group does not use the consumer embedded protocol.";
    assert_eq!(refusal(&mut other), told(why));

    let mut damaged = world();
    damaged.classic(&Bytes::from_static(b"?"), None);
    assert_eq!(refusal(&mut damaged), told("the embedded consumer protocol is malformed."));

    let mut large = World::new(&[
        ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
        ("KAFKA_GROUP_CONSUMER_MAX_SIZE", "1"),
    ]);
    let old = large.classic(&subscription(0, &["t"], &[]), None);
    assert_eq!(refusal(&mut large).code, Code::GroupMaxSizeReached);
    assert_eq!(large.beat(&old, 1), Ok(()), "it is a classic group still");
    assert_eq!(large.refusal(&request("new", 1)), Code::GroupIdNotFound);

    let mut custom = world();
    let old = custom.classic(&subscription(0, &["t"], &[]), None);
    assert_eq!(
        custom.join(&classic_join(&old, None, subscription(0, &["t"], &[]))).generation_id,
        2
    );
    let mut assignment = BytesMut::new();
    assignment.put_i16(0);
    assignment.put_i32(0);
    assignment.put_i32(1);
    assignment.put_u8(7);
    let sync = classic_sync(&old, 2, vec![(old.clone(), assignment.freeze())]);
    custom.begin_sync(&sync);
    assert!(refusal(&mut custom).message.contains("an unsupported custom assignor is in use"));
}

#[test]
fn the_policy_says_which_way_groups_may_go() {
    for (policy, upgrades, downgrades) in [
        ("disabled", false, false),
        ("upgrade", true, false),
        ("downgrade", false, true),
        ("bidirectional", true, true),
    ] {
        let mut world = World::new(&[
            ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
            ("KAFKA_GROUP_CONSUMER_MIGRATION_POLICY", policy),
        ]);
        world.classic(&subscription(0, &["t"], &[]), None);
        let joined = world.heartbeat(&join("new", &["t"]));
        if let Err(refused) = &joined {
            assert_eq!(refused.code, Code::GroupIdNotFound);
            assert!(
                refused.message.ends_with("because online upgrade is disabled."),
                "{refused:?}"
            );
        }
        assert_eq!(joined.is_ok(), upgrades, "{policy}");

        let mut world = World::new(&[
            ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
            ("KAFKA_GROUP_CONSUMER_MIGRATION_POLICY", policy),
        ]);
        world.heartbeat(&join("new", &["t"])).unwrap();
        let old = |id: &str| classic_join(id, None, subscription(0, &["t"], &[]));
        let id = world.join(&old("")).member_id;
        assert_eq!(world.join(&old(&id)).error_code, 0);
        assert!(world.groups.consumer_group(GROUP).is_some(), "{policy}");
        world.heartbeat(&request("new", LEAVE_EPOCH)).unwrap();
        assert_eq!(world.groups.consumer_group(GROUP).is_none(), downgrades, "{policy}");
    }
}

#[test]
fn whoever_waits_in_a_classic_group_is_sent_to_join_again() {
    let mut world = world();
    let old = world.classic(&subscription(0, &["t"], &[]), None);
    let second = world.join(&classic_join("", None, subscription(0, &["t"], &[])));
    let second = classic_join(&second.member_id, None, subscription(0, &["t"], &[]));
    let mut waiting = world.begin_join(&second);
    assert!(waiting.try_recv().is_err());
    world.heartbeat(&join("new", &["t"])).unwrap();
    assert_eq!(waiting.try_recv().unwrap().error_code, Code::RebalanceInProgress.code());
    assert_eq!(world.group().members.len(), 3);
    assert_eq!(world.beat(&old, 1), REBALANCE);
    assert_eq!(world.join(&second).error_code, 0);
    world.reload();
}

#[test]
fn static_members_change_the_protocol_in_place() {
    let mut world = world();
    let old = world.classic(&subscription(0, &["t"], &[]), Some("i"));
    let new = join("new", &["t"]).with_instance_id(Some(text("i")));
    let joined = world.heartbeat(&new).unwrap();
    assert_eq!(told(&joined), (1, Some(part(0..4))), "in the old one's place");
    assert_eq!(world.beat(&old, 1), Err(Code::UnknownMemberId));
    assert_eq!(world.group().members.len(), 1);

    // Back again: it is the only one, so nothing has to be agreed on.
    let back = classic_join("", Some("i"), subscription(0, &["t"], &[]));
    let joined = world.join(&back);
    assert_eq!(joined.error_code, 0);
    assert!(world.groups.consumer_group(GROUP).is_none());
    assert_eq!(world.sync(&joined.member_id, joined.generation_id), Ok(part(0..4)));
    assert_eq!(world.beat(&joined.member_id, joined.generation_id), Ok(()));
    assert_eq!(world.refusal(&request("new", 1)), Code::GroupIdNotFound);
    world.reload();
    assert_eq!(world.beat(&joined.member_id, joined.generation_id), Ok(()));
}

#[test]
fn members_of_the_old_protocol_are_checked() {
    let mut world = world();
    let old = world.classic(&subscription(0, &["t"], &[]), Some("i"));
    world.heartbeat(&join("new", &["t"])).unwrap();
    for (id, generation, code) in [
        ("x", 1, Code::UnknownMemberId),
        ("new", 2, Code::UnknownMemberId),
        (&old, 2, Code::IllegalGeneration),
    ] {
        assert_eq!(world.beat(id, generation), Err(code));
        assert_eq!(world.sync(id, generation), Err(code.code()));
    }
    let with_instance = |id: &str, instance_id: &str| {
        classic_beat(id, 1).with_group_instance_id(Some(text(instance_id)))
    };
    for (request, code) in [
        (with_instance("x", "i"), Code::FencedInstanceId),
        (with_instance(&old, "j"), Code::UnknownMemberId),
    ] {
        assert_eq!(world.decide(|groups, step| groups.heartbeat(step, &request)), Err(code));
    }
    assert_eq!(world.sync(&old, 1), Err(Code::RebalanceInProgress.code()));

    let mut other = classic_join("", None, subscription(0, &["t"], &[]));
    other.request.protocols[0].name = text("roundrobin");
    assert_eq!(world.join(&other).error_code, Code::InconsistentGroupProtocol.code());
    other.request.protocol_type = text("connect");
    assert_eq!(world.join(&other).error_code, Code::InconsistentGroupProtocol.code());
    let damaged = classic_join("y", None, Bytes::new());
    assert_eq!(world.join(&damaged).error_code, Code::InconsistentGroupProtocol.code());
    for (id, instance_id, code) in
        [("x", "i", Code::FencedInstanceId), ("x", "j", Code::UnknownMemberId)]
    {
        let join = classic_join(id, Some(instance_id), subscription(0, &["t"], &[]));
        assert_eq!(world.join(&join).error_code, code.code());
    }
    for (id, instance_id, code) in [
        ("x", None, Code::UnknownMemberId),
        ("", Some("j"), Code::UnknownMemberId),
        ("x", Some("i"), Code::FencedInstanceId),
    ] {
        assert_eq!(world.leave(id, instance_id), Err(code));
    }
    assert_eq!(world.leave("", Some("i")), Ok(()), "as an admin client does");
    assert_eq!(told(&world.heartbeat(&request("new", 2)).unwrap()), (3, Some(part(0..4))));
}

#[test]
fn members_of_the_old_protocol_have_their_time() {
    let mut world = world();
    let old = world.classic(&subscription(0, &["t"], &[]), None);
    world.heartbeat(&join("new", &["t"])).unwrap();
    assert_eq!(world.beat(&old, 1), REBALANCE);
    world.advance(5_000);
    assert_eq!(world.beat(&old, 1), REBALANCE);
    world.advance(5_000);
    assert_eq!(world.beat(&old, 1), Err(Code::UnknownMemberId), "it has not joined");

    let again = classic_join(&old, None, subscription(0, &["t"], &[]));
    assert_eq!(world.join(&again).error_code, 0);
    world.advance(i64::from(REBALANCE_TIMEOUT_MS));
    assert_eq!(world.beat(&old, 3), Err(Code::UnknownMemberId), "it has not synced");

    let generation = world.join(&again).generation_id;
    assert!(world.sync(&old, generation).is_ok());
    world.heartbeat(&join("new", &["t"])).unwrap();
    world.advance(i64::from(SESSION_MS) - 1);
    assert_eq!(world.group().members.len(), 2);
    world.reload();
    world.advance(i64::from(SESSION_MS) - 1);
    assert_eq!(world.group().members.len(), 2);
    world.advance(1);
    assert_eq!(world.group().members.len(), 1, "it was silent");
}

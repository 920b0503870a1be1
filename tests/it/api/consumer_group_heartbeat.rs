//! ConsumerGroupHeartbeat.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FindCoordinatorRequest, GroupId,
    HeartbeatRequest, JoinGroupRequest, SyncGroupRequest,
};
use uuid::Uuid;

use crate::harness::{Broker, Client, eventually, run, text, topic_name};

pub const SETTINGS: &[(&str, &str)] = &[("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "2")];

/// While a coordinator is not there yet: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE,
/// NOT_COORDINATOR.
const NOT_YET: [i16; 3] = [14, 15, 16];

/// What a member that joins says.
pub fn join(group: &str, member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    beat(group, member, 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(topics.iter().map(|name| topic_name(name)).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

pub fn beat(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
}

fn owning(
    request: ConsumerGroupHeartbeatRequest,
    topic: Uuid,
    partitions: &[i32],
) -> ConsumerGroupHeartbeatRequest {
    let owned =
        TopicPartitions::default().with_topic_id(topic).with_partitions(partitions.to_vec());
    request.with_topic_partitions(Some(vec![owned]))
}

/// Asks until the coordinator is there.
pub async fn call(
    client: &mut Client,
    version: i16,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let mut found = None;
    eventually(async || {
        let answer = client.call(version, request).await;
        let is_there = !NOT_YET.contains(&answer.error_code);
        found = is_there.then_some(answer);
        is_there
    })
    .await;
    found.unwrap()
}

/// Makes the topic of groups.
pub async fn find_coordinator(client: &mut Client) {
    let request = FindCoordinatorRequest::default().with_key(text("g"));
    assert_eq!(client.call(0, &request).await.error_code, 0);
}

/// Error, epoch, and the partitions of the one topic there is.
fn told(answer: &ConsumerGroupHeartbeatResponse) -> (i16, i32, Option<Vec<i32>>) {
    let assigned = answer.assignment.as_ref().map(|assignment| {
        let topics = assignment.topic_partitions.iter();
        topics.flat_map(|topic| topic.partitions.iter().copied()).collect()
    });
    (answer.error_code, answer.member_epoch, assigned)
}

#[test]
fn two_members_share_a_topic_in_every_version() {
    run(async {
        let broker = Broker::start_with(SETTINGS).await;
        let topic = broker.create_topic("t", 4, &[]).await;
        let (mut one, mut other) = (broker.client().await, broker.client().await);
        find_coordinator(&mut one).await;
        for version in 0..=1 {
            let group = format!("g{version}");
            let beat = |member: &str, epoch| beat(&group, member, epoch);
            let first = call(&mut one, version, &join(&group, "a", &["t"])).await;
            assert_eq!(told(&first), (0, 2, Some(vec![0, 1, 2, 3])));
            assert_eq!(
                (first.member_id.as_deref(), first.heartbeat_interval_ms),
                (Some("a"), 5000)
            );
            assert_eq!(first.assignment.unwrap().topic_partitions[0].topic_id, topic);
            let second = call(&mut other, version, &join(&group, "b", &["t"])).await;
            assert_eq!(told(&second), (0, 3, Some(vec![])));
            assert_eq!(
                told(&call(&mut one, version, &beat("a", 2)).await),
                (0, 2, Some(vec![0, 1]))
            );
            assert_eq!(told(&call(&mut other, version, &beat("b", 3)).await), (0, 3, None));
            let revoked = owning(beat("a", 2), topic, &[0, 1]);
            assert_eq!(told(&call(&mut one, version, &revoked).await), (0, 3, None));
            let got = call(&mut other, version, &beat("b", 3)).await;
            assert_eq!(told(&got), (0, 3, Some(vec![2, 3])));
            assert_eq!(told(&call(&mut one, version, &beat("a", -1)).await), (0, -1, None));
            let all = call(&mut other, version, &beat("b", 3)).await;
            assert_eq!(told(&all), (0, 4, Some(vec![0, 1, 2, 3])));
        }
    });
}

#[test]
fn the_broker_makes_up_member_ids_in_version_0_alone() {
    run(async {
        let broker = Broker::start_with(SETTINGS).await;
        let mut client = broker.client().await;
        find_coordinator(&mut client).await;
        let join = join("g", "", &["t"]);
        let answer = call(&mut client, 0, &join).await;
        assert_eq!(told(&answer), (0, 2, Some(vec![])));
        assert_eq!(answer.member_id.unwrap().len(), 22);
        let refused = call(&mut client, 1, &join).await;
        assert_eq!(refused.error_code, 42);
        assert_eq!(refused.error_message.as_deref(), Some("MemberId can't be empty."));
    });
}

#[test]
fn a_group_survives_a_restart() {
    run(async {
        let broker = Broker::start_with(SETTINGS).await;
        broker.create_topic("t", 2, &[]).await;
        let mut client = broker.client().await;
        find_coordinator(&mut client).await;
        let joined = call(&mut client, 1, &join("g", "a", &["t"])).await;
        assert_eq!(told(&joined), (0, 2, Some(vec![0, 1])));
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        assert_eq!(told(&call(&mut client, 1, &beat("g", "a", 2)).await), (0, 2, None));
        let fenced = call(&mut client, 1, &beat("g", "a", 3)).await;
        assert_eq!(fenced.error_code, 110);
    });
}

#[test]
fn silence_ends_a_membership() {
    run(async {
        let quick = [
            ("KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS", "200"),
            ("KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS", "200"),
            SETTINGS[0],
        ];
        let broker = Broker::start_with(&quick).await;
        broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        find_coordinator(&mut client).await;
        call(&mut client, 1, &join("g", "a", &["t"])).await;
        // Another one keeps asking, until the silent one's partition is free.
        let mut epoch = call(&mut client, 1, &join("g", "b", &["t"])).await.member_epoch;
        eventually(async || {
            let answer = call(&mut client, 1, &beat("g", "b", epoch)).await;
            epoch = answer.member_epoch;
            told(&answer).2 == Some(vec![0])
        })
        .await;
        assert_eq!(call(&mut client, 1, &beat("g", "a", 2)).await.error_code, 25);
    });
}

#[test]
fn regular_expressions_are_checked() {
    run(async {
        let broker = Broker::start_with(SETTINGS).await;
        broker.create_topic("topic-1", 1, &[]).await;
        let mut client = broker.client().await;
        find_coordinator(&mut client).await;
        let with = |regex: &str| {
            let join = join("g", "a", &[]).with_subscribed_topic_names(None);
            join.with_subscribed_topic_regex(Some(text(regex)))
        };
        let refused = call(&mut client, 1, &with("topic-(")).await;
        assert_eq!(refused.error_code, 128);
        assert!(
            refused.error_message.unwrap().starts_with("SubscribedTopicRegex `topic-(` is not")
        );
        assert_eq!(told(&call(&mut client, 1, &with("topic-.*")).await), (0, 2, Some(vec![0])));
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start_with(SETTINGS).await;
        broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        find_coordinator(&mut client).await;
        let instance =
            |request: ConsumerGroupHeartbeatRequest| request.with_instance_id(Some(text("i")));
        call(&mut client, 0, &instance(join("g", "a", &["t"]))).await;
        for version in 0..=1 {
            for (request, code) in [
                (beat("", "a", 1), 42),
                (beat("g", "a", -3), 42),
                (beat("unknown", "a", 2), 69),
                (beat("g", "b", 2), 25),
                (beat("g", "a", 6), 110),
                (instance(join("g", "b", &["t"])), 111),
                (instance(beat("g", "b", 2)), 82),
                (beat("g", "a", 2).with_server_assignor(Some(text("best"))), 112),
            ] {
                let answer = call(&mut client, version, &request).await;
                assert_eq!(told(&answer), (code, 0, None), "{request:?}");
                assert!(answer.error_message.is_some());
            }
        }
    });
}

/// A subscription to `t` in the form of `ConsumerProtocolSubscription`, version 1.
fn subscription(owned: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(1);
    put_text(&mut out, "t");
    out.put_i32(-1);
    put_partitions(&mut out, owned);
    out.freeze()
}

fn assignment(partitions: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    put_partitions(&mut out, partitions);
    out.put_i32(-1);
    out.freeze()
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).unwrap());
    out.put_slice(text.as_bytes());
}

fn put_partitions(out: &mut BytesMut, partitions: &[i32]) {
    out.put_i32(1);
    put_text(out, "t");
    out.put_i32(i32::try_from(partitions.len()).unwrap());
    partitions.iter().for_each(|partition| out.put_i32(*partition));
}

/// A consumer of the classic protocol, which only gives up what it has to.
struct Old {
    client: Client,
    id: String,
    generation: i32,
}

impl Old {
    /// The error of JoinGroup.
    async fn join(&mut self, owned: &[i32]) -> i16 {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("cooperative-sticky"))
            .with_metadata(subscription(owned));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_session_timeout_ms(60_000)
            .with_rebalance_timeout_ms(60_000)
            .with_member_id(text(&self.id))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let joined = self.client.call(9, &request).await;
        self.id = joined.member_id.to_string();
        self.generation = joined.generation_id;
        joined.error_code
    }

    /// Error and assignment of SyncGroup.
    async fn sync(&mut self, assigns: &[i32]) -> (i16, Bytes) {
        let part = SyncGroupRequestAssignment::default()
            .with_member_id(text(&self.id))
            .with_assignment(assignment(assigns));
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("cooperative-sticky")))
            .with_assignments(vec![part]);
        let synced = self.client.call(5, &request).await;
        (synced.error_code, synced.assignment)
    }

    async fn beat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id));
        self.client.call(4, &request).await.error_code
    }
}

#[test]
fn a_classic_group_moves_to_the_new_protocol_and_back() {
    const REBALANCE_IN_PROGRESS: i16 = 27;
    run(async {
        let quick = [("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"), SETTINGS[0]];
        let broker = Broker::start_with(&quick).await;
        let topic = broker.create_topic("t", 4, &[]).await;
        let mut new = broker.client().await;
        find_coordinator(&mut new).await;
        // The coordinator is there once it lets a member into another group.
        for group in ["g", "other"] {
            let refused = call(&mut new, 1, &beat(group, "x", 1)).await;
            assert_eq!(refused.error_code, 69);
        }
        let mut old = Old { client: broker.client().await, id: String::new(), generation: -1 };
        assert_eq!(old.join(&[]).await, 79, "it is given an id");
        assert_eq!((old.join(&[]).await, old.generation), (0, 1));
        assert_eq!(old.sync(&[0, 1, 2, 3]).await, (0, assignment(&[0, 1, 2, 3])));

        let joined = call(&mut new, 1, &join("g", "new", &["t"])).await;
        assert_eq!(told(&joined), (0, 2, Some(vec![])));
        assert_eq!(old.beat().await, REBALANCE_IN_PROGRESS);
        assert_eq!((old.join(&[0, 1, 2, 3]).await, old.generation), (0, 1));
        assert_eq!(old.sync(&[]).await, (0, assignment(&[0, 1])));
        assert_eq!(old.beat().await, REBALANCE_IN_PROGRESS, "it has to say that it has revoked");
        assert_eq!(told(&call(&mut new, 1, &beat("g", "new", 2)).await), (0, 2, None));
        assert_eq!((old.join(&[0, 1]).await, old.generation), (0, 2));
        assert_eq!(old.sync(&[]).await, (0, assignment(&[0, 1])));
        assert_eq!(old.beat().await, 0);
        let got = call(&mut new, 1, &beat("g", "new", 2)).await;
        assert_eq!(told(&got), (0, 2, Some(vec![2, 3])));
        assert_eq!(got.assignment.unwrap().topic_partitions[0].topic_id, topic);

        call(&mut new, 1, &beat("g", "new", -1)).await;
        assert_eq!(old.beat().await, REBALANCE_IN_PROGRESS);
        assert_eq!((old.join(&[0, 1]).await, old.generation), (0, 3));
        assert_eq!(old.sync(&[0, 1, 2, 3]).await, (0, assignment(&[0, 1, 2, 3])), "it leads again");
        assert_eq!(call(&mut new, 1, &beat("g", "new", 2)).await.error_code, 69);
    });
}

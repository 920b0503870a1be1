//! Members of classic groups.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse,
};

use crate::harness::{Broker, Client, eventually, text};

/// Groups that begin at once, and sessions as short as a test wants them.
pub const QUICK: &[(&str, &str)] = &[
    ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "1"),
    ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
    ("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", "1"),
];

/// A consumer's subscription to the topic `t`. Kafka does not get past one that it cannot read.
pub const METADATA: &[u8] = b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff";

pub const ILLEGAL_GENERATION: i16 = 22;
pub const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
pub const INVALID_GROUP_ID: i16 = 24;
pub const UNKNOWN_MEMBER_ID: i16 = 25;
pub const INVALID_SESSION_TIMEOUT: i16 = 26;
pub const REBALANCE_IN_PROGRESS: i16 = 27;
pub const MEMBER_ID_REQUIRED: i16 = 79;
pub const FENCED_INSTANCE_ID: i16 = 82;

pub fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

impl Broker {
    /// A broker that serves groups.
    pub async fn start_quick() -> Self {
        let broker = Self::start_with(QUICK).await;
        broker.serve_groups().await;
        broker
    }

    /// Waits until the broker has loaded all groups.
    pub async fn serve_groups(&self) {
        let mut client = self.client().await;
        let any = FindCoordinatorRequest::default().with_key(text("any"));
        let describe = DescribeGroupsRequest::default().with_groups(vec![group_id("any")]);
        eventually(async || {
            client.call(0, &any).await.error_code == 0
                && client.call(0, &describe).await.groups[0].error_code == 0
        })
        .await;
    }
}

/// A client that is, or wants to be, a member.
pub struct Member {
    pub client: Client,
    pub group: String,
    pub id: String,
    pub instance: Option<&'static str>,
    pub generation: i32,
    pub session_ms: i32,
}

impl Member {
    pub async fn new(broker: &Broker, group: &str) -> Self {
        Self {
            client: broker.client().await,
            group: group.to_owned(),
            id: String::new(),
            instance: None,
            generation: -1,
            session_ms: 60_000,
        }
    }

    pub fn join_request(&self) -> JoinGroupRequest {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(METADATA));
        JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_session_timeout_ms(self.session_ms)
            .with_rebalance_timeout_ms(60_000)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    }

    /// Asks to join, first for an id where that is the way; the answer comes later.
    pub async fn begin_join(&mut self, version: i16) -> i32 {
        if version >= 4 && self.id.is_empty() && self.instance.is_none() {
            let given = self.client.call(version, &self.join_request()).await;
            assert_eq!(given.error_code, MEMBER_ID_REQUIRED);
            assert!(given.member_id.starts_with("it-"), "{}", given.member_id.as_str());
            self.id = given.member_id.to_string();
        }
        self.client.send(version, &self.join_request()).await
    }

    pub async fn end_join(&mut self, version: i16, id: i32) -> JoinGroupResponse {
        let joined = self.client.receive::<JoinGroupRequest>(version, id).await;
        if joined.error_code == 0 {
            self.id = joined.member_id.to_string();
            self.generation = joined.generation_id;
        }
        joined
    }

    pub async fn join(&mut self, version: i16) -> JoinGroupResponse {
        let id = self.begin_join(version).await;
        self.end_join(version, id).await
    }

    /// The request for an assignment; a leader brings what everybody gets.
    pub fn sync_request(&self, version: i16, parts: &[(&str, &'static str)]) -> SyncGroupRequest {
        let parts = parts.iter().map(|(id, part)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(id))
                .with_assignment(Bytes::from_static(part.as_bytes()))
        });
        SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(text))
            .with_protocol_type((version >= 5).then(|| text("consumer")))
            .with_protocol_name((version >= 5).then(|| text("range")))
            .with_assignments(parts.collect())
    }

    pub async fn sync(
        &mut self,
        version: i16,
        parts: &[(&str, &'static str)],
    ) -> SyncGroupResponse {
        let request = self.sync_request(version, parts);
        self.client.call(version, &request).await
    }

    /// Its error.
    pub async fn heartbeat(&mut self, version: i16) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(text));
        self.client.call(version, &request).await.error_code
    }

    /// The error of the request and those of its members.
    pub async fn leave(&mut self, version: i16) -> (i16, Vec<i16>) {
        let request = LeaveGroupRequest::default().with_group_id(group_id(&self.group));
        let request = if version < 3 {
            request.with_member_id(text(&self.id))
        } else {
            let member = MemberIdentity::default()
                .with_member_id(text(&self.id))
                .with_group_instance_id(self.instance.map(text));
            request.with_members(vec![member])
        };
        let left = self.client.call(version, &request).await;
        (left.error_code, left.members.iter().map(|member| member.error_code).collect())
    }

    /// Joins a group of its own and syncs.
    pub async fn settle(&mut self) {
        let joined = self.join(9).await;
        assert_eq!((joined.error_code, joined.leader), (0, joined.member_id));
        let id = self.id.clone();
        let synced = self.sync(5, &[(&id, "all")]).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
    }
}

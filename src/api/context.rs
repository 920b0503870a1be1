//! What handlers work with.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;

use crate::api::RawRequest;
use crate::api::elections::Elections;
use crate::api::errors::{self, Code};
use crate::api::fetch::sessions::FetchSessions;
use crate::api::leaders::{CallersView, Own, PartitionView};
use crate::base::env::Env;
use crate::base::ids::{LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicPartition};
use crate::config::Loaded;
use crate::controller::create_topics::{self, NewTopic};
use crate::controller::service::{Controller, Decision};
use crate::controller::topic_name;
use crate::coordinator::group::Groups;
use crate::coordinator::runtime::Coordinator;
use crate::metadata::image::{Image, Topic};
use crate::metadata::publisher::Images;
use crate::metadata::records::Endpoint;
use crate::metadata::settings::LiveSettings;
use crate::partition::Partition;
use crate::partition::registry::{Registry, Status};

/// How long a request waits for a topic that it creates by using it.
const AUTO_CREATE_WAIT_MS_MAX: i32 = 10_000;

/// Partitions or groups of one request that are worked on at one time.
const WORK_AT_ONCE_COUNT: usize = 32;

/// Does the parts of a request's work, several at one time; the results in their order.
pub(super) async fn do_all<W: Future>(work: impl Iterator<Item = W>) -> Vec<W::Output> {
    stream::iter(work).buffered(WORK_AT_ONCE_COUNT).collect().await
}

/// The broker's services.
#[derive(Debug)]
pub struct Context {
    pub env: Env,
    pub node: NodeId,
    /// What the broker was started with. What can be set while it runs is asked of `live`.
    pub settings: Loaded,
    pub live: Arc<LiveSettings>,
    pub images: Images,
    pub registry: Arc<Registry>,
    pub controller: Arc<Controller>,
    /// The groups whose coordinator this broker is.
    pub groups: Arc<Coordinator<Groups>>,
    pub sessions: FetchSessions,
    pub elections: Arc<dyn Elections>,
}

/// Who asks, over which listener.
#[derive(Debug, Clone)]
pub struct Caller {
    pub context: Arc<Context>,
    /// The listener's name: clients are told the addresses of the one that they came by.
    pub listener: Arc<str>,
    pub peer: SocketAddr,
    /// What the client calls itself, as the request in hand has it.
    pub client_id: Option<Bytes>,
}

impl Context {
    pub fn image(&self) -> Arc<Image> {
        self.images.current()
    }

    pub fn now_ms(&self) -> i64 {
        self.env.clock.now_ms()
    }

    /// How it stands with a partition here.
    pub fn partition(&self, topic_id: TopicId, partition: i32) -> Status {
        self.registry.status(TopicPartition { topic_id, partition })
    }

    /// Waits until the partitions of a topic have leaders, or can not have one.
    pub async fn settled(&self, topic: &Topic) {
        let here = topic.partitions.iter().filter(|(_, place)| place.replicas.contains(&self.node));
        let ids: Vec<TopicPartition> = here
            .map(|(partition, _)| TopicPartition { topic_id: topic.id, partition: *partition })
            .collect();
        self.registry.settled(&ids).await;
        let mut images = self.images.clone();
        while !self.is_led(&self.image(), topic.id) {
            if images.changed().await.is_none() {
                return;
            }
        }
    }

    /// Whether all partitions of a topic have leaders; one that is gone waits for none.
    fn is_led(&self, image: &Image, topic: TopicId) -> bool {
        let Some(topic) = image.topic_by_id(topic) else { return true };
        topic.partitions.iter().all(|(partition, place)| {
            let is_lost = place.replicas == [self.node]
                && matches!(self.partition(topic.id, *partition), Status::Failed);
            is_lost || self.view(image, topic, *partition).leader.is_some()
        })
    }

    /// The node that is the controller.
    pub fn controller_node(&self) -> Option<NodeId> {
        self.controller.leader()
    }
}

impl Context {
    /// The partition, if this broker leads it and the client does not know another epoch than the
    /// one that holds. An epoch of -1 is none.
    pub fn led(
        &self,
        topic: &Topic,
        partition: PartitionIndex,
        known_epoch: LeaderEpoch,
    ) -> Result<Arc<Partition>, Code> {
        let found = match self.partition(topic.id, partition) {
            Status::Open(found) => found,
            Status::Failed => return Err(Code::KafkaStorageError),
            Status::Absent if topic.partitions.contains_key(&partition) => {
                return Err(Code::NotLeaderOrFollower);
            }
            Status::Absent => return Err(Code::UnknownTopicOrPartition),
        };
        let epoch = found.leader_epoch().ok_or(Code::NotLeaderOrFollower)?;
        match known_epoch {
            ..0 => Ok(found),
            known if known < epoch => Err(Code::FencedLeaderEpoch),
            known if known > epoch => Err(Code::UnknownLeaderEpoch),
            _ => Ok(found),
        }
    }

    /// How a partition looks: as the metadata has it, and as its leader knows if that is here.
    pub fn view(&self, image: &Image, topic: &Topic, partition: PartitionIndex) -> PartitionView {
        let Some(place) = topic.partitions.get(&partition) else { return PartitionView::nowhere() };
        let own = match self.partition(topic.id, partition) {
            Status::Open(partition) => Own::Open(partition.leader_epoch()),
            Status::Failed => Own::Failed,
            Status::Absent => Own::Open(None),
        };
        PartitionView::new(image, place, self.node, own)
    }

    /// Lets the controller decide, and waits for the change until the deadline.
    pub async fn decide<A>(
        &self,
        deadline: Deadline,
        decide: impl FnMut(&Image) -> Decision<A>,
    ) -> Result<A, Code> {
        let decided = deadline.bound(self.controller.run(decide)).await?;
        decided.map_err(errors::of_controller)
    }

    /// Creates a topic that a client asked for by using it, if that is wanted; resolves when it is
    /// served.
    pub async fn create_automatically(&self, name: &str) -> Result<Arc<Topic>, Code> {
        if !self.settings.config.auto_create_topics_enable {
            // A name that no topic can have is told as such all the same.
            return Err(topic_name::validate(name).map_or_else(
                |refusal| errors::of_refusal(&refusal),
                |()| Code::UnknownTopicOrPartition,
            ));
        }
        self.ensure_topic(name).await
    }

    /// The topic, which is created if it is not there; resolves when it is served. Two clients that
    /// come at once get the same one.
    pub async fn ensure_topic(&self, name: &str) -> Result<Arc<Topic>, Code> {
        let deadline = Deadline::after_ms(AUTO_CREATE_WAIT_MS_MAX);
        let id = TopicId::random(&self.env.rng);
        let decide = |image: &Image| {
            let settings = self.live.at(image);
            let new = NewTopic::automatic(id, name, &settings.config, image);
            create_topics::ensure(image, &settings.config, &new)
        };
        let topic = self.decide(deadline, decide).await?;
        let topic = topic.map_err(|refusal| errors::of_refusal(&refusal))?;
        let settled = deadline.bound(self.settled(&topic)).await;
        settled.map_err(|_| Code::LeaderNotAvailable)?;
        // Now with its leaders.
        let served = self.image().topic_by_id(topic.id).cloned();
        Ok(served.unwrap_or_else(|| Arc::new(topic)))
    }
}

/// A broker as clients of one listener reach it.
#[derive(Debug, Clone, Copy)]
pub struct Reachable<'a> {
    pub node: NodeId,
    pub rack: Option<&'a str>,
    pub endpoint: &'a Endpoint,
}

impl Caller {
    /// Who sent this request.
    pub(super) fn of(&self, request: &RawRequest) -> Self {
        Self { client_id: request.client_id.clone(), ..self.clone() }
    }

    /// What the client calls itself; empty if it does not say.
    pub fn client_id(&self) -> String {
        String::from_utf8_lossy(self.client_id.as_deref().unwrap_or_default()).into_owned()
    }

    /// The client's address as Java prints it: `/127.0.0.1`.
    pub fn client_host(&self) -> String {
        java_text(self.peer.ip())
    }

    /// The brokers that are alive and can be reached over the caller's listener.
    pub fn brokers<'a>(&self, image: &'a Image) -> impl Iterator<Item = Reachable<'a>> {
        let alive = image.brokers.keys().filter(|node| image.is_alive(**node));
        alive.filter_map(|node| self.endpoint(image, *node))
    }

    /// A broker, alive or not, where the caller's listener reaches it.
    pub fn endpoint<'a>(&self, image: &'a Image, node: NodeId) -> Option<Reachable<'a>> {
        let broker = image.brokers.get(&node)?;
        let endpoint = broker.endpoints.iter().find(|e| e.listener == *self.listener)?;
        Some(Reachable { node, rack: broker.rack.as_deref(), endpoint })
    }

    /// The controller, if the caller can reach it. Any broker takes what is the controller's.
    pub fn controller(&self, image: &Image) -> Option<NodeId> {
        let controller = self.context.controller_node()?;
        self.brokers(image).find(|broker| broker.node == controller).map(|broker| broker.node)
    }

    /// How a partition looks to the caller.
    pub fn view(&self, image: &Image, topic: &Topic, partition: PartitionIndex) -> CallersView {
        let view = self.context.view(image, topic, partition);
        let is_told = |node: &NodeId| self.endpoint(image, *node).is_some();
        let hidden = view.replicas.iter().filter(|node| !is_told(node));
        let offline = hidden.chain(&view.offline).copied().collect::<BTreeSet<NodeId>>();
        let leader = match view.leader {
            None => Err(Code::LeaderNotAvailable),
            Some(leader) if is_told(&leader) => Ok(leader),
            Some(_) => Err(Code::ListenerNotFound),
        };
        let in_order = view.replicas.iter().copied().filter(|node| offline.contains(node));
        CallersView {
            leader,
            leader_epoch: view.leader_epoch,
            offline: in_order.collect(),
            in_sync: view.in_sync,
            replicas: view.replicas,
        }
    }
}

/// `InetAddress.toString` of an address without a name.
fn java_text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}"),
        IpAddr::V6(ip) => {
            let parts = ip.segments().map(|segment| format!("{segment:x}"));
            format!("/{}", parts.as_slice().join(":"))
        }
    }
}

/// When the client's patience with a request ends.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// A timeout as it stands in requests.
    pub fn after_ms(timeout_ms: i32) -> Self {
        Self(Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)))
    }

    /// What `work` comes to, if in time. Cancels it otherwise.
    pub async fn bound<T>(self, work: impl Future<Output = T>) -> Result<T, Code> {
        tokio::time::timeout_at(self.0, work).await.map_err(|_| Code::RequestTimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_in_java() {
        for (address, expected) in [
            ("127.0.0.1", "/127.0.0.1"),
            ("::1", "/0:0:0:0:0:0:0:1"),
            ("::ffff:10.0.0.1", "/10.0.0.1"),
            ("2001:db8::a:0", "/2001:db8:0:0:0:0:a:0"),
        ] {
            assert_eq!(java_text(address.parse().unwrap()), expected);
        }
    }
}

//! Consumer groups without a broker: requests, time and metadata are made up, records are kept and
//! replayed.

mod membership;
mod migration;
mod random;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest as Request, ConsumerGroupHeartbeatResponse as Response, GroupId,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::*;
use crate::base::ids::NodeId;
use crate::base::rng::Rng;
use crate::config::Config;
use crate::coordinator::group::assignor::Assignor;
use crate::coordinator::group::settings::GroupSettings;
use crate::coordinator::runtime::Machine;
use crate::coordinator::step::Now;
use crate::log::records::build::NewRecord;
use crate::metadata::image::Image;
use crate::metadata::records::{Record as MetadataRecord, Resource};
use crate::metadata::settings::LiveSettings;

const GROUP: &str = "g";
const SESSION_TIMEOUT_MS: i64 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 10_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic(number: u8) -> TopicId {
    TopicId([number; 16])
}

/// A partition's groups, and all around them.
pub(super) struct World {
    groups: Groups,
    settings: Arc<GroupSettings>,
    rng: Arc<Rng>,
    image: Arc<Image>,
    now: Now,
    log: Vec<NewRecord>,
}

impl World {
    fn new(settings: &[(&str, &str)]) -> Self {
        let env: Vec<(String, String)> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let loaded = Config::load(None, &env).unwrap();
        let settings = Arc::new(GroupSettings::new(LiveSettings::new(NodeId(1), loaded)));
        let rng = Arc::new(Rng::seeded(1));
        let groups = Groups::new(Arc::clone(&settings), Arc::clone(&rng));
        let now = Now { wall_ms: 1_700_000_000_000, monotonic_ms: 1_000 };
        Self { groups, settings, rng, image: Arc::default(), now, log: Vec::new() }
    }

    fn change(&mut self, records: &[MetadataRecord]) {
        let mut image = Image::clone(&self.image);
        records.iter().for_each(|record| image.replay(record));
        self.image = Arc::new(image);
    }

    /// Makes a topic of that many partitions, or gives it more.
    fn topic(&mut self, name: &str, topic_id: TopicId, partition_count: i32) {
        let mut records = Vec::new();
        if self.image.topic_by_id(topic_id).is_none() {
            records.push(MetadataRecord::Topic { topic_id, name: name.to_owned() });
        }
        let partition =
            |partition| MetadataRecord::Partition { topic_id, partition, replicas: Vec::new() };
        records.extend((0..partition_count).map(partition));
        self.change(&records);
    }

    fn configure(&mut self, key: &str, value: &str) {
        let resource = Resource::Group(GROUP.to_owned());
        let (key, value) = (key.to_owned(), Some(value.to_owned()));
        self.change(&[MetadataRecord::Config { resource, key, value }]);
    }

    fn decide<T>(&mut self, decide: impl FnOnce(&mut Groups, &mut Step) -> T) -> T {
        let mut step = Step::new(self.now, Arc::clone(&self.image));
        self.groups.tick(&mut step);
        let answer = decide(&mut self.groups, &mut step);
        self.log.extend(step.take_records());
        step.finish();
        self.check();
        answer
    }

    fn heartbeat(&mut self, request: &Request) -> Result<Response, Refused> {
        let client = Client { id: "me".to_owned(), host: "/127.0.0.1".to_owned() };
        self.decide(|groups, step| groups.consumer_heartbeat(step, (request, 1), &client))
    }

    fn refusal(&mut self, request: &Request) -> Code {
        let before = self.log.len();
        let code = self.heartbeat(request).unwrap_err().code;
        assert_eq!(self.log.len(), before, "a refusal changes nothing");
        code
    }

    fn advance(&mut self, ms: i64) {
        self.now.wall_ms += ms;
        self.now.monotonic_ms += ms;
        self.decide(|_, _| ());
    }

    fn group(&self) -> &ConsumerGroup {
        self.groups.consumer_group(GROUP).expect("the group is there")
    }

    fn state(&self) -> &'static str {
        self.groups.consumer_group(GROUP).map_or("Dead", ConsumerGroup::state_name)
    }

    /// Starts over from the records, as a new coordinator does.
    fn reload(&mut self) {
        let before = durable(&self.groups);
        let empty = || Groups::new(Arc::clone(&self.settings), Arc::clone(&self.rng));
        let mut whole = empty();
        let mut latest: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        for NewRecord { key, value } in &self.log {
            whole.replay(key.clone(), value.clone());
            match value {
                Some(value) => latest.insert(key.clone(), value.clone()),
                None => latest.remove(key),
            };
        }
        assert_eq!(durable(&whole), before, "from all records");
        let mut compacted = empty();
        for (key, value) in latest {
            compacted.replay(key, Some(value));
        }
        assert_eq!(durable(&compacted), before, "from the latest record of each key");
        self.groups = compacted;
        self.decide(|groups, step| groups.loaded(step));
    }

    /// What holds at any time.
    fn check(&self) {
        let Some(group) = self.groups.consumer_group(GROUP) else { return };
        let mut owners = BTreeMap::new();
        for (id, member) in &group.members {
            for partition in partitions_of(&member.current) {
                let other = owners.insert(partition, id.clone());
                assert_eq!(other, None, "{partition:?} has two owners");
            }
            assert!(member.epoch() <= group.assignment_epoch);
            let is_in = member.epoch() > 0 || member.is_classic();
            assert!(is_in || member.epoch() == STATIC_LEAVE_EPOCH);
            let session = TimerKind::Session { member: id.clone() };
            let key = TimerKey { group: GROUP.to_owned(), kind: session };
            assert!(self.groups.timers.is_set(&key), "{id} may be silent for ever");
        }
        assert_eq!(owners, group.owners);
        assert!(group.assignment_epoch <= group.epoch);
        assert!(group.target.keys().all(|id| group.members.contains_key(id)));
        let instances = group
            .members
            .iter()
            .filter_map(|(id, member)| Some((member.value.instance_id.clone()?, id.clone())));
        assert_eq!(instances.collect::<BTreeMap<_, _>>(), group.static_members);
        let used: BTreeSet<String> =
            group.subscribed_regexes().into_iter().map(str::to_owned).collect();
        assert_eq!(group.regexes.keys().cloned().collect::<BTreeSet<_>>(), used);
    }
}

/// All that must survive.
fn durable(groups: &Groups) -> BTreeMap<String, String> {
    let of = |group: &ConsumerGroup| {
        let epochs = (group.epoch, group.metadata_hash, group.assignment_epoch);
        let members = (&group.members, &group.static_members, &group.owners);
        format!("{:#?}", (epochs, members, &group.target, &group.regexes))
    };
    let consumer = groups.groups.iter().filter_map(|(name, group)| match group {
        Group::Consumer(group) => Some((name.clone(), of(group))),
        Group::Classic(_) => None,
    });
    consumer.collect()
}

fn request(member_id: &str, epoch: i32) -> Request {
    Request::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(member_id))
        .with_member_epoch(epoch)
}

fn named(topics: &[&str]) -> Option<Vec<TopicName>> {
    Some(topics.iter().map(|name| TopicName(text(name))).collect())
}

fn join(member_id: &str, topics: &[&str]) -> Request {
    request(member_id, JOIN_EPOCH)
        .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
        .with_subscribed_topic_names(named(topics))
        .with_topic_partitions(Some(Vec::new()))
}

fn owning(request: Request, owned: &Partitions) -> Request {
    let owned = owned.iter().map(|(topic, partitions)| {
        TopicPartitions::default()
            .with_topic_id(Uuid::from_bytes(topic.0))
            .with_partitions(partitions.iter().copied().collect())
    });
    request.with_topic_partitions(Some(owned.collect()))
}

/// What a response assigns, if it does.
fn assigned(response: &Response) -> Option<Partitions> {
    let topics = &response.assignment.as_ref()?.topic_partitions;
    let partitions = |list: &[i32]| list.iter().copied().collect();
    let topics =
        topics.iter().map(|of| (TopicId(*of.topic_id.as_bytes()), partitions(&of.partitions)));
    Some(topics.collect())
}

fn of_topic(topic_id: TopicId, partitions: impl IntoIterator<Item = i32>) -> Partitions {
    Partitions::from([(topic_id, partitions.into_iter().collect())])
}

/// Epoch and assignment.
fn told(response: &Response) -> (i32, Option<Partitions>) {
    (response.member_epoch, assigned(response))
}

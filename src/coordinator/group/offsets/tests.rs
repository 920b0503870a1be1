//! Offsets without a broker: what is committed is there, until it expires or goes with its topic.

mod model;

use std::sync::Arc;

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetDeleteRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::*;
use crate::base::ids::NodeId;
use crate::base::rng::Rng;
use crate::config::Config;
use crate::coordinator::group::settings::GroupSettings;
use crate::coordinator::runtime::Machine;
use crate::coordinator::step::{Now, Step};
use crate::log::records::build::NewRecord;
use crate::metadata::records::Record as MetadataRecord;
use crate::metadata::settings::LiveSettings;

const MINUTE_MS: i64 = 60_000;

/// A partition's groups, the world around them, and all that they have appended.
struct Rig {
    groups: Groups,
    image: Image,
    /// The image of the last step.
    shown: Arc<Image>,
    now_ms: i64,
    log: Vec<NewRecord>,
}

fn empty(settings: &[(&str, &str)]) -> Groups {
    let env: Vec<(String, String)> =
        settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let loaded = Config::load(None, &env).unwrap();
    let settings = GroupSettings::new(LiveSettings::new(NodeId(1), loaded));
    Groups::new(Arc::new(settings), Arc::new(Rng::seeded(1)))
}

fn topic_id(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Rig {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let mut rig = Self {
            groups: empty(settings),
            image: Image::default(),
            shown: Arc::default(),
            now_ms: 0,
            log: Vec::new(),
        };
        rig.step(|groups, step| groups.loaded(step));
        rig.tick();
        rig
    }

    fn create_topic(&mut self, name: &str, id: u8, partitions: i32) {
        let (topic_id, name) = (topic_id(id), name.to_owned());
        self.image.replay(&MetadataRecord::Topic { topic_id, name });
        for partition in 0..partitions {
            let replicas = vec![NodeId(1)];
            self.image.replay(&MetadataRecord::Partition { topic_id, partition, replicas });
        }
    }

    fn delete_topic(&mut self, id: u8) {
        self.image.replay(&MetadataRecord::RemoveTopic { topic_id: topic_id(id) });
    }

    /// One decision; its records go to the log.
    fn step<T>(&mut self, decide: impl FnOnce(&mut Groups, &mut Step) -> T) -> T {
        let now = Now { wall_ms: 1_000_000 + self.now_ms, monotonic_ms: self.now_ms };
        // The image is the same one as long as it does not change.
        if *self.shown != self.image {
            self.shown = Arc::new(self.image.clone());
        }
        let mut step = Step::new(now, Arc::clone(&self.shown));
        let answer = decide(&mut self.groups, &mut step);
        self.log.extend(step.take_records());
        step.finish();
        answer
    }

    fn tick(&mut self) {
        self.step(|groups, step| groups.tick(step));
    }

    /// Lets time pass, with a tick at the end.
    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.tick();
    }

    /// Commits one offset; its error code.
    fn commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) -> i16 {
        let request = commit_of(group, topic, partition, offset);
        self.commit_as(&request, 9)
    }

    fn commit_as(&mut self, request: &OffsetCommitRequest, version: i16) -> i16 {
        let answer = self.step(|groups, step| groups.commit_offsets(step, request, version));
        answer.topics[0].partitions[0].error_code
    }

    /// What OffsetFetch tells of one partition.
    fn fetch(&mut self, group: &str, topic: &str, partition: i32) -> i64 {
        let wanted = OffsetFetchRequestTopics::default()
            .with_name(TopicName(text(topic)))
            .with_partition_indexes(vec![partition]);
        let wanted = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(Some(vec![wanted]));
        let answer = self.step(|groups, step| groups.fetch_offsets(&step.image, &wanted, 9));
        assert_eq!(answer.error_code, 0);
        answer.topics[0].partitions[0].committed_offset
    }

    fn has_group(&self, group: &str) -> bool {
        self.groups.groups.contains_key(group)
    }
}

fn commit_of(group: &str, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![topic])
}

#[test]
fn what_is_committed_is_fetched() {
    let mut rig = Rig::new();
    rig.create_topic("t", 1, 3);
    for (partition, offset) in [(2, 20), (0, 0), (1, 10), (2, 21)] {
        assert_eq!(rig.commit("g", "t", partition, offset), 0);
    }
    let found: Vec<i64> = (0..4).map(|partition| rig.fetch("g", "t", partition)).collect();
    assert_eq!(found, [0, 10, 21, -1]);
    assert_eq!(rig.fetch("h", "t", 0), -1, "another group has nothing");
    assert_eq!(rig.fetch("g", "u", 0), -1, "another topic has nothing");
    let of_topic = &rig.groups.offsets.topics[&topic_id(1)];
    assert_eq!((of_topic.name.as_str(), of_topic.offset_count), ("t", 3));
}

#[test]
fn topics_and_partitions_must_exist() {
    let mut rig = Rig::new();
    rig.create_topic("t", 1, 1);
    assert_eq!(rig.commit("g", "u", 0, 1), Code::UnknownTopicOrPartition.code());
    assert_eq!(rig.commit("g", "t", 1, 1), Code::UnknownTopicOrPartition.code());
    assert_eq!(rig.commit("g", "t", -1, 1), Code::UnknownTopicOrPartition.code());
    for (id, code) in [(1, 0), (2, Code::UnknownTopicId.code())] {
        let mut request = commit_of("h", "", 0, 1);
        request.topics[0].topic_id = Uuid::from_bytes(topic_id(id).0);
        assert_eq!(rig.commit_as(&request, 10), code);
    }
    assert!(!rig.has_group("g"), "nothing was stored for it");
    assert_eq!(rig.fetch("h", "t", 0), 1);
}

#[test]
fn a_generation_needs_a_group() {
    let mut rig = Rig::new();
    rig.create_topic("t", 1, 1);
    let request = commit_of("g", "t", 0, 1).with_generation_id_or_member_epoch(0);
    assert_eq!(rig.commit_as(&request, 8), Code::IllegalGeneration.code());
    assert_eq!(rig.commit_as(&request, 9), Code::GroupIdNotFound.code());
    assert!(rig.log.is_empty());
}

#[test]
fn metadata_has_a_limit_in_utf_16() {
    let mut rig = Rig::with(&[("KAFKA_OFFSET_METADATA_MAX_BYTES", "4")]);
    rig.create_topic("t", 1, 1);
    let too_large = Code::OffsetMetadataTooLarge.code();
    for (metadata, code) in [
        (Some("abcd"), 0),
        (Some("abcde"), too_large),
        (Some("äöüß"), 0),
        (Some("😀😀"), 0),
        (Some("😀😀a"), too_large),
        (None, 0),
    ] {
        let mut request = commit_of("g", "t", 0, 1);
        request.topics[0].partitions[0].committed_metadata = metadata.map(text);
        assert_eq!(rig.commit_as(&request, 9), code, "{metadata:?}");
        if code == 0 {
            let stored = rig.groups.offsets.get("g", "t", 0).unwrap();
            assert_eq!(stored.metadata(), metadata.unwrap_or_default());
        }
    }
}

#[test]
fn an_offset_belongs_to_the_topic_that_it_was_committed_for() {
    let mut rig = Rig::new();
    rig.create_topic("t", 1, 1);
    rig.commit("g", "t", 0, 5);
    rig.delete_topic(1);
    rig.create_topic("t", 2, 1);
    assert_eq!(rig.fetch("g", "t", 0), -1, "even before it is forgotten");
    rig.commit("g", "t", 0, 6);
    let appended = rig.log.len();
    rig.tick();
    assert_eq!((rig.fetch("g", "t", 0), rig.log.len()), (6, appended));
}

#[test]
fn offsets_go_with_their_topic() {
    let mut rig = Rig::new();
    rig.create_topic("t", 1, 2);
    rig.create_topic("u", 2, 1);
    for (group, topic, partition) in [("g", "t", 0), ("g", "t", 1), ("h", "t", 0), ("h", "u", 0)] {
        rig.commit(group, topic, partition, 7);
    }
    rig.tick();
    let appended = rig.log.len();
    rig.delete_topic(1);
    rig.tick();
    let tombstones = &rig.log[appended..];
    assert_eq!(tombstones.len(), 3);
    assert!(tombstones.iter().all(|record| record.value.is_none()));
    assert_eq!(rig.groups.offsets.of_group("g"), None);
    assert_eq!(rig.fetch("h", "u", 0), 7);
    assert!(rig.has_group("g"), "the next check takes it");
}

#[test]
fn a_topic_that_is_not_known_yet_is_not_deleted() {
    let mut rig = Rig::new();
    rig.create_topic("t", 1, 1);
    rig.commit("g", "t", 0, 7);
    let later = std::mem::take(&mut rig.image);
    // A start with metadata from before the topic.
    rig.reload_from_log();
    rig.tick();
    rig.image = later;
    rig.tick();
    assert_eq!(rig.fetch("g", "t", 0), 7);
}

#[test]
fn what_was_orphaned_by_a_crash_goes_with_a_check() {
    let mut rig = Rig::new();
    rig.create_topic("t", 1, 1);
    rig.commit("g", "t", 0, 7);
    rig.delete_topic(1);
    rig.reload_from_log();
    rig.tick();
    assert!(rig.groups.offsets.of_group("g").is_some());
    rig.pass(10 * MINUTE_MS);
    assert_eq!(rig.groups.offsets.of_group("g"), None);
    assert!(!rig.has_group("g"));
}

#[test]
fn offsets_of_simple_groups_expire_after_their_commit() {
    let mut rig = Rig::with(&[("KAFKA_OFFSETS_RETENTION_MINUTES", "60")]);
    rig.create_topic("t", 1, 2);
    rig.commit("g", "t", 0, 1);
    rig.pass(30 * MINUTE_MS);
    rig.commit("g", "t", 1, 2);
    rig.pass(29 * MINUTE_MS);
    assert_eq!(rig.fetch("g", "t", 0), 1);
    rig.pass(10 * MINUTE_MS);
    assert_eq!((rig.fetch("g", "t", 0), rig.fetch("g", "t", 1)), (-1, 2));
    assert!(rig.has_group("g"));
    let appended = rig.log.len();
    rig.pass(60 * MINUTE_MS);
    assert!(!rig.has_group("g"));
    assert_eq!(rig.log.len(), appended + 2, "a tombstone for the offset, one for the group");
    rig.reload_from_log();
    assert!(!rig.has_group("g"));
}

#[test]
fn old_clients_set_their_own_retention() {
    let mut rig = Rig::new();
    rig.create_topic("t", 1, 1);
    let request = commit_of("g", "t", 0, 1).with_retention_time_ms(15 * MINUTE_MS);
    assert_eq!(rig.commit_as(&request, 4), 0);
    rig.reload_from_log();
    rig.pass(10 * MINUTE_MS);
    assert_eq!(rig.fetch("g", "t", 0), 1);
    rig.pass(10 * MINUTE_MS);
    assert_eq!(rig.fetch("g", "t", 0), -1);
}

#[test]
fn much_work_is_done_in_pieces() {
    let mut rig = Rig::with(&[("KAFKA_OFFSETS_RETENTION_MINUTES", "1")]);
    rig.create_topic("t", 1, 12_000);
    for partition in 0..12_000 {
        rig.commit("g", "t", partition, 1);
    }
    rig.commit("h", "t", 0, 1);
    assert_eq!(rig.groups.next_expiry_ms(), Some(10 * MINUTE_MS));
    let mut pieces = Vec::new();
    rig.now_ms = 10 * MINUTE_MS;
    while rig.groups.next_expiry_ms() <= Some(rig.now_ms) && !rig.groups.groups.is_empty() {
        let appended = rig.log.len();
        rig.tick();
        pieces.push(rig.log.len() - appended);
    }
    // The last one has the offset of the other group, and both groups.
    assert_eq!(pieces, [5_000, 5_000, 2_003]);
    assert_eq!(rig.groups.next_expiry_ms(), None, "nobody is there to be checked");

    for partition in 0..12_000 {
        rig.commit("g", "t", partition, 1);
    }
    rig.delete_topic(1);
    rig.tick();
    assert_eq!(rig.groups.next_expiry_ms(), Some(0));
    rig.tick();
    rig.tick();
    assert_eq!(rig.groups.offsets.of_group("g"), None);
    assert_eq!(rig.groups.next_expiry_ms(), Some(20 * MINUTE_MS));
}

#[test]
fn single_offsets_are_deleted() {
    let mut rig = Rig::new();
    rig.create_topic("t", 1, 2);
    rig.commit("g", "t", 0, 1);
    rig.commit("g", "t", 1, 2);
    let delete = |rig: &mut Rig, group: &str, topic: &str| {
        let partitions =
            [0, 2].map(|index| OffsetDeleteRequestPartition::default().with_partition_index(index));
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(partitions.to_vec());
        let request = OffsetDeleteRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(vec![topic]);
        let answer = rig.step(|groups, step| groups.delete_offsets(step, &request));
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        (answer.error_code, partitions.map(|one| one.error_code).collect::<Vec<i16>>())
    };
    let unknown = Code::UnknownTopicOrPartition.code();
    assert_eq!(delete(&mut rig, "", "t").0, Code::InvalidGroupId.code());
    assert_eq!(delete(&mut rig, "h", "t"), (Code::GroupIdNotFound.code(), vec![]));
    assert_eq!(delete(&mut rig, "g", "u"), (0, vec![unknown; 2]));
    let appended = rig.log.len();
    assert_eq!(delete(&mut rig, "g", "t"), (0, vec![0, unknown]));
    assert_eq!(delete(&mut rig, "g", "t"), (0, vec![0, unknown]), "again");
    assert_eq!(rig.log.len(), appended + 1);
    assert_eq!((rig.fetch("g", "t", 0), rig.fetch("g", "t", 1)), (-1, 2));
}

#[test]
fn groups_are_deleted_with_their_offsets() {
    let mut rig = Rig::new();
    rig.create_topic("t", 1, 2);
    let delete = |rig: &mut Rig| rig.step(|groups, step| groups.delete_group(step, "g"));
    assert_eq!(delete(&mut rig), Err(Code::GroupIdNotFound));
    rig.commit("g", "t", 0, 1);
    rig.commit("g", "t", 1, 2);
    rig.commit("gg", "t", 1, 3);
    assert_eq!(delete(&mut rig), Ok(()));
    assert_eq!(delete(&mut rig), Err(Code::GroupIdNotFound));
    rig.reload_from_log();
    assert!(!rig.has_group("g"));
    assert_eq!((rig.fetch("g", "t", 0), rig.fetch("gg", "t", 1)), (-1, 3));
}

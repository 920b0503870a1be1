//! Offsets against a plain map, through commits, deletions, deleted topics, expiry and reloads from
//! the log and from the store: what was confirmed is neither lost nor rolled back.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::rng::Rng;

const GROUPS: [&str; 3] = ["a", "aa", "b"];
const TOPICS: [&str; 2] = ["t", "tt"];
const PARTITIONS: i32 = 3;
const RETENTION_MS: i64 = 60 * MINUTE_MS;

#[derive(Debug, Clone, Copy)]
enum Op {
    Commit {
        group: usize,
        topic: usize,
        partition: i32,
        offset: i64,
        metadata: bool,
    },
    Delete {
        group: usize,
        topic: usize,
        partition: i32,
    },
    DeleteGroup {
        group: usize,
    },
    /// A topic is deleted and created again.
    Replace {
        topic: usize,
    },
    Pass {
        minutes: i64,
    },
    /// The store is written as of now.
    Materialise,
    ReloadFromLog,
    /// From the store, and what the log has after it.
    ReloadFromStore,
}

fn any_op() -> impl Strategy<Value = Op> {
    let (group, topic, partition) = (0..GROUPS.len(), 0..TOPICS.len(), 0..PARTITIONS);
    let place = (group.clone(), topic.clone(), partition);
    prop_oneof![
        10 => (place.clone(), 0..100i64, any::<bool>()).prop_map(
            |((group, topic, partition), offset, metadata)| {
                Op::Commit { group, topic, partition, offset, metadata }
            }
        ),
        2 => place.prop_map(|(group, topic, partition)| Op::Delete { group, topic, partition }),
        1 => group.prop_map(|group| Op::DeleteGroup { group }),
        1 => topic.prop_map(|topic| Op::Replace { topic }),
        2 => (0..40i64).prop_map(|minutes| Op::Pass { minutes }),
        2 => Just(Op::Materialise),
        2 => Just(Op::ReloadFromLog),
        2 => Just(Op::ReloadFromStore),
    ]
}

/// Records by key, as the store keeps them, and how much of the log is in there.
#[derive(Default)]
struct Store {
    records: BTreeMap<Bytes, Bytes>,
    position: usize,
}

impl Rig {
    pub(super) fn reload_from_log(&mut self) {
        self.reload(&Store::default());
    }

    fn reload(&mut self, store: &Store) {
        let settings = Arc::clone(&self.groups.settings);
        self.groups = Groups::new(settings, Arc::new(Rng::seeded(1)));
        for (key, value) in &store.records {
            self.groups.replay(key.clone(), Some(value.clone()));
        }
        for record in &self.log[store.position..] {
            self.groups.replay(record.key.clone(), record.value.clone());
        }
        self.step(|groups, step| groups.loaded(step));
        self.tick();
    }

    fn materialise(&self, store: &mut Store) {
        for record in &self.log[store.position..] {
            match &record.value {
                Some(value) => store.records.insert(record.key.clone(), value.clone()),
                None => store.records.remove(&record.key),
            };
        }
        store.position = self.log.len();
    }

    fn all(&self) -> BTreeMap<(String, String, i32), (i64, String)> {
        let groups = self.groups.offsets.by_group.iter();
        let lists = groups.flat_map(|(group, topics)| {
            topics.iter().map(move |(topic, list)| (group, topic, list))
        });
        let all = lists.flat_map(|(group, topic, list)| {
            list.iter().map(|one| {
                let key = (group.clone(), topic.clone(), one.partition);
                (key, (one.offset, one.metadata().to_owned()))
            })
        });
        all.collect()
    }

    /// What the indexes say follows from the offsets.
    fn check_invariants(&self) {
        let offsets = &self.groups.offsets;
        let mut counts: BTreeMap<TopicId, usize> = BTreeMap::new();
        for (group, topics) in &offsets.by_group {
            assert!(self.has_group(group) && !topics.is_empty());
            for list in topics.values() {
                assert!(!list.is_empty() && list.is_sorted_by_key(|one| one.partition));
                list.iter().for_each(|one| *counts.entry(one.topic_id).or_default() += 1);
            }
        }
        let known = offsets.topics.iter().map(|(id, topic)| (*id, topic.offset_count));
        assert_eq!(known.collect::<BTreeMap<TopicId, usize>>(), counts);
    }
}

/// Offsets with metadata and commit time, by group, topic and partition.
type Model = BTreeMap<(String, String, i32), (i64, String, i64)>;

struct World {
    rig: Rig,
    model: Model,
    store: Store,
    /// The number of the identity that each topic has.
    ids: [u8; TOPICS.len()],
}

impl World {
    fn new() -> Self {
        let mut rig = Rig::with(&[("KAFKA_OFFSETS_RETENTION_MINUTES", "60")]);
        for (id, topic) in (1..).zip(TOPICS) {
            rig.create_topic(topic, id, PARTITIONS);
        }
        rig.tick();
        Self { rig, model: Model::new(), store: Store::default(), ids: [1, 2] }
    }

    fn apply(&mut self, op: Op) {
        let place = |group: usize, topic: usize, partition: i32| {
            (GROUPS[group].to_owned(), TOPICS[topic].to_owned(), partition)
        };
        match op {
            Op::Commit { group, topic, partition, offset, metadata } => {
                let metadata = if metadata { "m" } else { "" };
                let mut request = commit_of(GROUPS[group], TOPICS[topic], partition, offset);
                request.topics[0].partitions[0].committed_metadata = Some(text(metadata));
                assert_eq!(self.rig.commit_as(&request, 9), 0);
                let value = (offset, metadata.to_owned(), self.rig.now_ms);
                self.model.insert(place(group, topic, partition), value);
            }
            Op::Delete { group, topic, partition } => {
                let (group, topic) = (GROUPS[group], TOPICS[topic]);
                self.rig.step(|groups, step| groups.forget_offset(step, group, topic, partition));
                self.model.remove(&(group.to_owned(), topic.to_owned(), partition));
            }
            Op::DeleteGroup { group } => {
                let name = GROUPS[group];
                let known = self.rig.has_group(name);
                let deleted = self.rig.step(|groups, step| groups.delete_group(step, name));
                assert_eq!(deleted.is_ok(), known);
                self.model.retain(|(group, ..), _| group != name);
            }
            Op::Replace { topic } => {
                self.rig.delete_topic(self.ids[topic]);
                self.ids[topic] += 2;
                self.rig.create_topic(TOPICS[topic], self.ids[topic], PARTITIONS);
                self.rig.tick();
                self.model.retain(|(_, name, _), _| name != TOPICS[topic]);
            }
            Op::Pass { minutes } => {
                // A check is due whatever has been before.
                self.rig.pass(minutes * MINUTE_MS);
                self.rig.pass(10 * MINUTE_MS);
                let now_ms = self.rig.now_ms;
                self.model.retain(|_, (.., since_ms)| now_ms - *since_ms < RETENTION_MS);
            }
            Op::Materialise => self.rig.materialise(&mut self.store),
            Op::ReloadFromLog => self.rig.reload_from_log(),
            Op::ReloadFromStore => self.rig.reload(&self.store),
        }
    }

    fn check(&self) {
        self.rig.check_invariants();
        let expected = self
            .model
            .iter()
            .map(|(key, (offset, metadata, _))| (key.clone(), (*offset, metadata.clone())));
        assert_eq!(self.rig.all(), expected.collect());
    }
}

proptest! {
    #[test]
    fn a_confirmed_commit_is_never_lost_or_rolled_back(
        ops in prop::collection::vec(any_op(), 1..60),
    ) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
            world.check();
        }
    }
}

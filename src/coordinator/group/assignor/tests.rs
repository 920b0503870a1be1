//! Assignors over random groups.

use proptest::prelude::*;

use super::*;

const ASSIGNORS: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

fn topic(number: u8) -> TopicId {
    TopicId([number; 16])
}

/// Members with their subscriptions and instance ids, and the partition counts of topics.
#[derive(Debug, Clone)]
struct World {
    members: BTreeMap<String, (Option<String>, Arc<BTreeSet<TopicId>>)>,
    partition_counts: BTreeMap<TopicId, PartitionIndex>,
}

impl World {
    fn spec<'a>(&'a self, previous: &'a Target) -> Spec<'a> {
        let members = self.members.iter().map(|(id, (instance_id, topics))| {
            let instance_id = instance_id.as_deref();
            let topics: BTreeSet<TopicId> = topics
                .iter()
                .filter(|id| self.partition_counts.contains_key(id))
                .copied()
                .collect();
            let previous = previous.get(id);
            (id.as_str(), Subscriber { instance_id, topics: Arc::new(topics), previous })
        });
        Spec { members: members.collect(), partition_counts: self.partition_counts.clone() }
    }
}

fn world(same_subscriptions: bool) -> impl Strategy<Value = World> {
    let counts = prop::collection::btree_map((0u8..5).prop_map(topic), 1i32..12, 0..5);
    let topics = || prop::collection::btree_set((0u8..5).prop_map(topic), 0..5).prop_map(Arc::new);
    let member = (proptest::option::of("[a-z]{3}"), topics());
    let members = prop::collection::btree_map("[a-z]{4}", member, 1..9);
    (counts, members, topics()).prop_map(move |(partition_counts, mut members, all)| {
        if same_subscriptions {
            members.values_mut().for_each(|(_, topics)| *topics = Arc::clone(&all));
        }
        World { members, partition_counts }
    })
}

/// Each partition that somebody subscribes to has one owner, who subscribes to it.
fn check_valid(spec: &Spec<'_>, target: &Target) {
    let mut owners = BTreeSet::new();
    for (id, partitions) in target {
        for (topic, indexes) in partitions {
            assert!(spec.members[id.as_str()].topics.contains(topic), "{id} wants no {topic}");
            for index in indexes {
                assert!((0..spec.partition_count(*topic)).contains(index));
                assert!(owners.insert((*topic, *index)), "{topic}-{index} is assigned twice");
            }
        }
    }
    let wanted: BTreeSet<TopicId> =
        spec.members.values().flat_map(|member| member.topics.iter().copied()).collect();
    let all = wanted.into_iter().map(|topic| spec.partition_count(topic)).sum::<i32>();
    assert_eq!(owners.len(), usize::try_from(all).unwrap());
}

fn size(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

fn loads(spec: &Spec<'_>, target: &Target) -> Vec<usize> {
    spec.members.keys().map(|id| target.get(*id).map_or(0, size)).collect()
}

/// How many partitions stayed with their member.
fn kept(before: &Target, after: &Target) -> usize {
    let same = |(id, partitions): (&String, &Partitions)| -> usize {
        let after = after.get(id);
        let of_topic = |topic| after.and_then(|after| after.get(topic));
        let both = partitions.iter().filter_map(|(topic, own)| Some((own, of_topic(topic)?)));
        both.map(|(own, now)| own.intersection(now).count()).sum()
    };
    before.iter().map(same).sum()
}

fn spread(loads: &[usize]) -> usize {
    loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0)
}

proptest! {
    #[test]
    fn every_partition_has_one_owner(
        (before, after) in (any::<bool>(), any::<bool>())
            .prop_flat_map(|(a, b)| (world(a), world(b)))
    ) {
        for assignor in ASSIGNORS {
            let none = Target::new();
            let spec = before.spec(&none);
            let first = assignor.assign(&spec);
            check_valid(&spec, &first);
            let spec = after.spec(&first);
            let second = assignor.assign(&spec);
            check_valid(&spec, &second);
            // Nothing changed, nothing moves.
            let spec = after.spec(&second);
            let all = loads(&spec, &second).iter().sum::<usize>();
            prop_assert_eq!(kept(&second, &assignor.assign(&spec)), all);
        }
    }

    #[test]
    fn uniform_is_even_and_moves_what_it_must(before in world(true), mut after in world(true)) {
        // The second group has members of the first.
        after.members.extend(before.members.clone().into_iter().skip(1));
        let all = Arc::clone(&before.members.values().next().unwrap().1);
        after.members.values_mut().for_each(|(_, topics)| *topics = Arc::clone(&all));
        let none = Target::new();
        let first = Assignor::Uniform.assign(&before.spec(&none));
        let spec = after.spec(&first);
        let second = Assignor::Uniform.assign(&spec);
        check_valid(&spec, &second);
        let now = loads(&spec, &second);
        prop_assert!(spread(&now) <= 1, "{now:?}");

        // What a member had, up to its share; as many as have too much get the bigger share.
        let (total, count) = (now.iter().sum::<usize>(), now.len());
        let mut had: Vec<usize> = spec.members.keys().map(|id| {
            let before = first.get(*id).into_iter().flatten();
            before.map(|(topic, indexes)| match all.contains(topic) {
                true => indexes.range(..spec.partition_count(*topic)).count(),
                false => 0,
            }).sum()
        }).collect();
        had.sort_unstable_by(|a, b| b.cmp(a));
        let share = |place: usize| total / count + usize::from(place < total % count);
        let possible: usize = had.iter().enumerate().map(|(at, had)| *had.min(&share(at))).sum();
        prop_assert_eq!(kept(&first, &second), possible);
    }

    #[test]
    fn uniform_with_different_subscriptions_can_not_be_evened_out(world in world(false)) {
        let none = Target::new();
        let spec = world.spec(&none);
        let target = Assignor::Uniform.assign(&spec);
        let load = |id: &str| target.get(id).map_or(0, size);
        for (id, partitions) in &target {
            for topic in partitions.keys() {
                let others = spec.members.iter().filter(|(_, other)| other.topics.contains(topic));
                for (other, _) in others {
                    prop_assert!(load(id) <= load(other) + 1, "{id} {other} {target:?}");
                }
            }
        }
    }

    #[test]
    fn range_cuts_topics_of_one_size_alike(mut world in world(true)) {
        world.partition_counts.values_mut().for_each(|count| *count = 7);
        let none = Target::new();
        let spec = world.spec(&none);
        let target = Assignor::Range.assign(&spec);
        for partitions in target.values() {
            let mut ranges = partitions.values();
            if let Some(first) = ranges.next() {
                prop_assert!(ranges.all(|range| range == first));
                let (from, to) = (first.first().unwrap(), first.last().unwrap());
                prop_assert_eq!(usize::try_from(to - from + 1).unwrap(), first.len());
            }
        }
        prop_assert!(spread(&loads(&spec, &target)) <= world.partition_counts.len());
    }
}

#[test]
fn range_puts_static_members_first() {
    let topics = Arc::new(BTreeSet::from([topic(1)]));
    let member = |instance_id: Option<&str>| (instance_id.map(str::to_owned), Arc::clone(&topics));
    let members = [("a", None), ("b", Some("2")), ("c", Some("1"))];
    let world = World {
        members: members.into_iter().map(|(id, of)| (id.to_owned(), member(of))).collect(),
        partition_counts: BTreeMap::from([(topic(1), 5)]),
    };
    let none = Target::new();
    let target = Assignor::Range.assign(&world.spec(&none));
    let of = |id: &str| target[id][&topic(1)].iter().copied().collect::<Vec<_>>();
    assert_eq!([of("c"), of("b"), of("a")], [vec![0, 1], vec![2, 3], vec![4]]);
}

#[test]
fn uniform_hands_topics_out_side_by_side() {
    let topics = Arc::new(BTreeSet::from([topic(1), topic(2)]));
    let world = World {
        members: ["a", "b"].map(|id| (id.to_owned(), (None, Arc::clone(&topics)))).into(),
        partition_counts: BTreeMap::from([(topic(1), 4), (topic(2), 4)]),
    };
    let none = Target::new();
    let target = Assignor::Uniform.assign(&world.spec(&none));
    let half = |indexes: [i32; 2]| BTreeMap::from([1, 2].map(|n| (topic(n), indexes.into())));
    assert_eq!(target, Target::from([("a".into(), half([0, 1])), ("b".into(), half([2, 3]))]));
}

#[test]
fn a_thousand_members_take_no_time() {
    // The worst shape: everybody's subscription differs, and all partitions pile up at one member.
    let topics: BTreeSet<TopicId> = (0..100).map(topic).collect();
    let members = (0u16..1000).map(|number| {
        let mut own = topics.clone();
        own.remove(&topic(u8::try_from(number % 100).unwrap()));
        (format!("member-{number:04}"), (None, Arc::new(own)))
    });
    let world = World {
        members: members.collect(),
        partition_counts: topics.iter().map(|topic| (*topic, 10)).collect(),
    };
    let all = topics.iter().map(|topic| (*topic, (0..10).collect())).collect();
    let piled = Target::from([("member-0000".to_owned(), all)]);
    for assignor in ASSIGNORS {
        let spec = world.spec(&piled);
        check_valid(&spec, &assignor.assign(&spec));
    }
    let spec = world.spec(&piled);
    let loads = loads(&spec, &Assignor::Uniform.assign(&spec));
    // Single moves can end with one who has two of a topic that the one without does not want.
    assert!(loads.iter().filter(|load| **load == 1).count() >= 998, "{loads:?}");
}

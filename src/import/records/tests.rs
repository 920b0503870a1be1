//! Records as Kafka writes them, and what is made of them.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::base::primitives::Writer;

/// A record's value, in the version that is given.
fn encode(kind: u8, version: u8, fields: impl FnOnce(&mut Writer)) -> Bytes {
    let mut out = Writer::new(BytesMut::new(), true);
    out.out.put_slice(&[1, kind, version]);
    fields(&mut out);
    out.out.freeze()
}

fn put_nodes(out: &mut Writer, nodes: &[i32]) {
    out.array(nodes.iter(), |out, node| out.out.put_i32(*node));
}

/// The value that Kafka writes for a record, with other fields than those that are read.
pub(in crate::import) fn value_of(record: &Record) -> Bytes {
    match record {
        Record::Topic { name, id } => encode(2, 0, |out| {
            out.string(name);
            out.out.put_slice(&id.0);
            out.tagged(&[]);
        }),
        Record::Partition { topic, partition, replicas, epoch } => encode(3, 1, |out| {
            out.out.put_i32(*partition);
            out.out.put_slice(&topic.0);
            for nodes in [replicas, &vec![], &vec![3], &vec![]] {
                put_nodes(out, nodes);
            }
            out.out.put_i32(7);
            out.out.put_i32(*epoch);
            out.out.put_i32(9);
            out.array(replicas.iter(), |out, _| out.out.put_slice(&[5; 16]));
            out.tagged(&[(0, &[1])]);
        }),
        Record::PartitionChange { topic, partition, replicas, has_other_leader } => {
            encode(5, 2, |out| {
                out.out.put_i32(*partition);
                out.out.put_slice(&topic.0);
                let mut nodes = Writer::new(BytesMut::new(), true);
                put_nodes(&mut nodes, replicas.as_deref().unwrap_or_default());
                let mut tags: Vec<(u32, &[u8])> = vec![(0, &[1])];
                if *has_other_leader {
                    tags.push((1, &[0, 0, 0, 1]));
                }
                if replicas.is_some() {
                    tags.push((2, &nodes.out));
                }
                out.tagged(&tags);
            })
        }
        Record::RemoveTopic { id } => encode(9, 0, |out| out.out.put_slice(&id.0)),
        Record::Config { resource: (kind, name), key, value } => encode(4, 0, |out| {
            out.out.put_i8(*kind);
            out.string(name);
            out.string(key);
            out.nullable_string(value.as_deref());
            out.tagged(&[]);
        }),
        Record::ProducerIds { next } => encode(15, 0, |out| {
            out.out.put_i32(1);
            out.out.put_i64(2);
            out.out.put_i64(*next);
        }),
        Record::Begin => encode(23, 0, |out| out.tagged(&[(0, b"\x05name")])),
        Record::End => encode(24, 0, |out| out.tagged(&[])),
        Record::Abort => encode(25, 0, |out| out.tagged(&[])),
        Record::Foreign(_) => encode(18, 0, |out| out.tagged(&[])),
        // A NoOpRecord.
        Record::Other => encode(20, 0, |out| out.tagged(&[])),
    }
}

fn any_record() -> impl Strategy<Value = Record> {
    let topic = (0u8..3).prop_map(|id| TopicId([id; 16]));
    let name = "[ab]{1,2}";
    let replicas = proptest::collection::vec(0i32..5, 0..4);
    prop_oneof![
        (name, topic.clone()).prop_map(|(name, id)| Record::Topic { name, id }),
        (topic.clone(), 0i32..3, replicas.clone(), 0i32..9).prop_map(
            |(topic, partition, replicas, epoch)| Record::Partition {
                topic,
                partition,
                replicas,
                epoch
            }
        ),
        (topic.clone(), 0i32..3, proptest::option::of(replicas), any::<bool>()).prop_map(
            |(topic, partition, replicas, has_other_leader)| Record::PartitionChange {
                topic,
                partition,
                replicas,
                has_other_leader
            }
        ),
        topic.prop_map(|id| Record::RemoveTopic { id }),
        (0i8..5, name, name, proptest::option::of(name)).prop_map(|(kind, name, key, value)| {
            Record::Config { resource: (kind, name), key, value }
        }),
        any::<i64>().prop_map(|next| Record::ProducerIds { next }),
        Just(Record::Begin),
        Just(Record::End),
        Just(Record::Abort),
        Just(Record::Foreign("ACLs")),
        Just(Record::Other),
    ]
}

proptest! {
    #[test]
    fn records_are_read_as_kafka_writes_them(record in any_record()) {
        let value = value_of(&record);
        prop_assert_eq!(Record::decode(value.clone()), Ok(record));
        // Only tagged fields may be missing at the end without notice, and no shorter value panics.
        for size in 0..value.len() {
            let _ = Record::decode(value.slice(..size));
        }
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Record::decode(bytes.clone().into());
        let _ = Record::decode([&[1, 3, 1][..], &bytes].concat().into());
        let _ = Record::decode([&[1, 5, 1][..], &bytes].concat().into());
    }

    #[test]
    fn an_aborted_transaction_leaves_nothing(
        before in proptest::collection::vec(any_record(), 0..20),
        within in proptest::collection::vec(any_record(), 0..20),
    ) {
        let is_plain = |record: &Record| {
            !matches!(record, Record::Begin | Record::End | Record::Abort)
        };
        let (mut with, mut without) = (Metadata::default(), Metadata::default());
        for record in before.into_iter().filter(is_plain) {
            with.replay(record.clone());
            without.replay(record);
        }
        with.replay(Record::Begin);
        within.iter().filter(|record| is_plain(record)).for_each(|one| with.replay(one.clone()));
        with.replay(Record::Abort);
        prop_assert_eq!(&with, &without);
        with.replay(Record::Begin);
        within.iter().filter(|record| is_plain(record)).for_each(|one| with.replay(one.clone()));
        with.replay(Record::End);
        within.iter().filter(|record| is_plain(record)).for_each(|one| without.replay(one.clone()));
        prop_assert_eq!(with, without);
    }
}

#[test]
fn newer_versions_are_refused() {
    let value = |kind, version| encode(kind, version, |out| out.out.put_bytes(0, 80));
    for (kind, version) in [(2, 1), (3, 3), (4, 1), (5, 3), (9, 1), (15, 1)] {
        let expected = DecodeError::Version { kind: kind.into(), version: version.into() };
        assert_eq!(Record::decode(value(kind, version)), Err(expected));
    }
    assert_eq!(Record::decode(value(27, 9)), Ok(Record::Other));
    let other_frame = Bytes::from_static(&[2, 20, 0, 0]);
    assert_eq!(Record::decode(other_frame), Err(DecodeError::Damaged));
}

#[test]
fn a_new_leader_is_a_new_epoch() {
    let topic = TopicId([1; 16]);
    let change = |replicas, has_other_leader| Record::PartitionChange {
        topic,
        partition: 0,
        replicas,
        has_other_leader,
    };
    let mut metadata = Metadata::default();
    metadata.replay(Record::Topic { name: "t".to_owned(), id: topic });
    metadata.replay(Record::Partition { topic, partition: 0, replicas: vec![1], epoch: 4 });
    metadata.replay(change(None, true));
    metadata.replay(change(Some(vec![1, 2]), false));
    let expected = Partition { replicas: vec![1, 2], epoch: 5 };
    assert_eq!(metadata.topics[&topic].partitions[&0], expected);
}

#[test]
fn a_topic_goes_with_its_configs() {
    let config = |key: &str, value: Option<&str>| Record::Config {
        resource: (TOPIC, "t".to_owned()),
        key: key.to_owned(),
        value: value.map(str::to_owned),
    };
    let id = TopicId([1; 16]);
    let mut metadata = Metadata::default();
    metadata.replay(Record::Topic { name: "t".to_owned(), id });
    metadata.replay(config("retention.ms", Some("1")));
    metadata.replay(config("segment.ms", Some("2")));
    metadata.replay(config("segment.ms", None));
    let configs = &metadata.configs[&(TOPIC, "t".to_owned())];
    assert_eq!(configs.keys().collect::<Vec<_>>(), ["retention.ms"]);
    metadata.replay(Record::RemoveTopic { id });
    assert_eq!(metadata, Metadata::default());
}

//! Round trips, Kafka's own records, and damage.

use proptest::prelude::*;

use super::*;
use crate::base::ids::TopicId;
use crate::coordinator::records::classic::CLASSIC_GROUP_VERSION;

fn text() -> impl Strategy<Value = String> {
    "[a-zé]{0,12}"
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn topic_id() -> impl Strategy<Value = TopicId> {
    any::<[u8; 16]>().prop_map(TopicId)
}

fn epoched() -> impl Strategy<Value = EpochedPartitions> {
    let partitions = prop::collection::btree_map(any::<i32>(), any::<i32>(), 0..4);
    prop::collection::btree_map(topic_id(), partitions, 0..3)
}

fn offset_value() -> impl Strategy<Value = OffsetValue> {
    (
        any::<(i64, i32, i64)>(),
        text(),
        prop_oneof![
            // Every version keeps one of the two at most.
            (Just(-1i64), topic_id()),
            (Just(-1i64), Just(TopicId::ZERO)),
            (0..i64::MAX, Just(TopicId::ZERO)),
        ],
    )
        .prop_map(|((offset, epoch, time), metadata, (expire_timestamp_ms, topic_id))| {
            OffsetValue {
                offset,
                leader_epoch: if expire_timestamp_ms >= 0 { -1 } else { epoch },
                metadata,
                commit_timestamp_ms: time,
                expire_timestamp_ms,
                topic_id,
            }
        })
}

fn classic_member() -> impl Strategy<Value = ClassicMemberValue> {
    let texts = (text(), prop::option::of(text()), text(), text());
    (texts, any::<(i32, i32)>(), bytes(), bytes()).prop_map(
        |((member_id, instance_id, client_id, client_host), timeouts, subscription, assignment)| {
            ClassicMemberValue {
                member_id,
                instance_id,
                client_id,
                client_host,
                rebalance_timeout_ms: timeouts.0,
                session_timeout_ms: timeouts.1,
                subscription,
                assignment,
            }
        },
    )
}

fn member_value() -> impl Strategy<Value = MemberValue> {
    let classic = (any::<i32>(), prop::collection::vec((text(), bytes()), 0..3)).prop_map(
        |(session_timeout_ms, protocols)| ClassicMetadata { session_timeout_ms, protocols },
    );
    let options = (prop::option::of(text()), prop::option::of(text()), prop::option::of(text()));
    let topics = prop::collection::btree_set(text(), 0..4);
    (
        options,
        text(),
        text(),
        topics,
        any::<i32>(),
        prop::option::of(text()),
        prop::option::of(classic),
    )
        .prop_map(
            |(options, client_id, client_host, topic_names, timeout, assignor, classic)| {
                MemberValue {
                    instance_id: options.0,
                    rack_id: options.1,
                    client_id,
                    client_host,
                    topic_names,
                    topic_regex: options.2,
                    rebalance_timeout_ms: timeout,
                    assignor,
                    classic,
                }
            },
        )
}

fn record() -> impl Strategy<Value = Record> {
    let offset = (text(), text(), any::<i32>(), prop::option::of(offset_value())).prop_map(
        |(group, topic, partition, value)| Record::Offset {
            key: OffsetKey { group, topic, partition },
            value,
        },
    );
    let classic = (
        any::<(i32, i64)>(),
        text(),
        prop::option::of(text()),
        prop::option::of(text()),
        prop::collection::vec(classic_member(), 0..3),
    )
        .prop_map(|((generation, time), protocol_type, protocol, leader, members)| {
            ClassicGroupValue {
                protocol_type,
                generation,
                protocol,
                leader,
                state_timestamp_ms: time,
                members,
            }
        });
    let current = (any::<(i32, i32, i8)>(), epoched(), epoched()).prop_map(
        |((member_epoch, previous_member_epoch, state), assigned, pending_revocation)| {
            CurrentValue {
                member_epoch,
                previous_member_epoch,
                state,
                assigned,
                pending_revocation,
            }
        },
    );
    let target = prop::collection::btree_map(
        topic_id(),
        prop::collection::btree_set(any::<i32>(), 0..4),
        0..3,
    );
    let regex = (prop::collection::btree_set(text(), 0..4), any::<(i64, i64)>())
        .prop_map(|(topics, (version, timestamp_ms))| RegexValue { topics, version, timestamp_ms });
    prop_oneof![
        offset,
        (text(), prop::option::of(classic))
            .prop_map(|(group, value)| Record::ClassicGroup { group, value }),
        (text(), prop::option::of(any::<(i32, i64)>())).prop_map(|(group, value)| Record::Group {
            group,
            value: value.map(|(epoch, metadata_hash)| GroupValue { epoch, metadata_hash }),
        }),
        (text(), text(), prop::option::of(member_value()))
            .prop_map(|(group, member, value)| Record::Member { group, member, value }),
        (text(), prop::option::of(any::<(i32, i64)>())).prop_map(|(group, value)| {
            let value = value.map(|(epoch, timestamp_ms)| TargetEpochValue { epoch, timestamp_ms });
            Record::TargetEpoch { group, value }
        }),
        (text(), text(), prop::option::of(target))
            .prop_map(|(group, member, value)| Record::TargetMember { group, member, value }),
        (text(), text(), prop::option::of(current))
            .prop_map(|(group, member, value)| Record::Current { group, member, value }),
        (text(), text(), prop::option::of(regex)).prop_map(|(group, regex, value)| Record::Regex {
            group,
            regex,
            value
        }),
        text().prop_map(|group| Record::Metadata { group }),
    ]
}

proptest! {
    #[test]
    fn records_round_trip(record in record()) {
        let NewRecord { key, value } = record.encode();
        prop_assert_eq!(Record::decode(key, value), Ok(record));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic(
        record in record(), cut in 0usize..60, garbage in bytes(),
    ) {
        let NewRecord { key, value } = record.encode();
        let _ = Record::decode(garbage.clone(), value.clone());
        let _ = Record::decode(key.clone(), Some(garbage));
        if let Some(value) = value {
            let _ = Record::decode(key, Some(value.slice(..cut.min(value.len()))));
        }
    }
}

#[test]
fn kinds_of_others_are_told_apart_from_damage() {
    let key = Bytes::from_static(&[0, 11, 0, 1, b'g']);
    assert_eq!(Record::decode(key, None), Err(DecodeError::UnknownKind(11)));
    assert_eq!(Record::decode(Bytes::from_static(&[0]), None), Err(DecodeError::Damaged));
}

/// Written by `compat-tests/schemas/GoldenRecords.java`.
const GOLDEN: &str = include_str!("golden.txt");

fn from_hex(start: i16, hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("hex")
    });
    start.to_be_bytes().into_iter().chain(digits).collect()
}

#[test]
fn records_of_kafka_are_read_and_written_as_they_are() {
    let mut written = 0;
    for line in GOLDEN.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, version, key, value] = words[..] else { panic!("{line}") };
        let (kind, version) = (kind.parse().expect("a kind"), version.parse().expect("a version"));
        let (key, value) = (from_hex(kind, key), from_hex(version, value));
        let record = Record::decode(key.clone(), Some(value.clone()));
        let record = record.unwrap_or_else(|error| panic!("{line}: {error:?}"));
        let is_ours = match kind {
            kind::LEGACY_OFFSET | kind::METADATA => false,
            kind::OFFSET => [1, 3, 4].contains(&version),
            kind::CLASSIC_GROUP => version == CLASSIC_GROUP_VERSION,
            _ => true,
        };
        if is_ours {
            written += 1;
            assert_eq!(record.encode(), NewRecord { key, value: Some(value) }, "{line}");
        }
    }
    assert_eq!(written, 10);
}

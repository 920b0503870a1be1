//! Every config of topics, and every one that brokers change while they run: taken, refused, shown,
//! taken back; and where its effect is tested. A key that is new in the broker is missing here.

mod brokers;
mod effects;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use crate::harness::{Broker, Client, run, text};

const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;
const INVALID_CONFIG: i16 = 40;

/// Where the effect of a key is tested: a file, and a test in it.
type Effect = (&'static str, &'static str);

/// A key of topics.
struct Key {
    name: &'static str,
    /// Not the default.
    value: &'static str,
    /// A value that is refused, and why.
    refused: Option<(&'static str, &'static str)>,
    effect: Effect,
}

const fn key(
    name: &'static str,
    value: &'static str,
    refused: Option<(&'static str, &'static str)>,
    effect: Effect,
) -> Key {
    Key { name, value, refused, effect }
}

const NONE: Effect = ("README.md", "");
const LEVEL: &str = "src/partition/validate/tests.rs";
const RETENTION: &str = "tests/it/retention.rs";
const COMPACTION: &str = "tests/it/compaction.rs";
const REFUSED: &str = "tests/it/api/produce/refused.rs";
const PRODUCE: &str = "tests/it/api/produce.rs";
const EFFECTS: &str = "tests/it/configs/effects.rs";
const PLAN: &str = "src/log/cleaner/plan.rs";
const THROTTLES: &str = "src/partition/throttles.rs";
const LOG: &str = "src/log/partition_log/tests.rs";
const TIMES: &str = "timestamps_lie_within_the_limits";

const NUMBER: &str = "Not a number of type LONG";
const BOOLEAN: &str = "Expected value to be either true or false";

/// By name, as DescribeConfigs has them.
const KEYS: &[Key] = &[
    key(
        "cleanup.policy",
        "compact",
        Some(("foo", "String must be one of: compact, delete")),
        (COMPACTION, "the_latest_record_of_each_key_stays"),
    ),
    key(
        "compression.gzip.level",
        "9",
        Some(("0", "Value must be between 1 and 9 or equal to -1")),
        (LEVEL, "levels_are_those_of_the_topic"),
    ),
    key(
        "compression.lz4.level",
        "17",
        Some(("18", "Value must be no more than 17")),
        (LEVEL, "levels_are_those_of_the_topic"),
    ),
    key(
        "compression.type",
        "zstd",
        Some(("Gzip", "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer")),
        (EFFECTS, "records_are_kept_in_the_codec_of_the_topic"),
    ),
    key(
        "compression.zstd.level",
        "22",
        Some(("23", "Value must be no more than 22")),
        (LEVEL, "levels_are_those_of_the_topic"),
    ),
    key(
        "delete.retention.ms",
        "5",
        Some(("-1", "Value must be at least 0")),
        (COMPACTION, "tombstones_go_after_their_time"),
    ),
    key(
        "file.delete.delay.ms",
        "5",
        Some(("-1", "Value must be at least 0")),
        (RETENTION, "files_stay_for_their_delay_and_not_over_a_restart"),
    ),
    key(
        "flush.messages",
        "5",
        Some(("0", "Value must be at least 1")),
        (EFFECTS, "a_cached_log_is_synced_after_so_many_records"),
    ),
    key(
        "flush.ms",
        "5",
        Some(("-1", "Value must be at least 0")),
        (EFFECTS, "a_cached_log_is_synced_after_so_long"),
    ),
    key(
        "follower.replication.throttled.replicas",
        "0:1",
        None,
        (THROTTLES, "throttles_are_those_of_topics_and_brokers"),
    ),
    key(
        "index.interval.bytes",
        "5",
        Some(("-1", "Value must be at least 0")),
        (EFFECTS, "indexes_are_as_dense_and_as_large_as_the_topic_says"),
    ),
    key(
        "leader.replication.throttled.replicas",
        "0:1",
        None,
        (THROTTLES, "throttles_are_those_of_topics_and_brokers"),
    ),
    key("local.retention.bytes", "5", Some(("-3", "Value must be at least -2")), NONE),
    key("local.retention.ms", "5", Some(("-3", "Value must be at least -2")), NONE),
    key(
        "max.compaction.lag.ms",
        "5",
        Some(("0", "Value must be at least 1")),
        (PLAN, "it_is_time_when_much_is_dirty_or_for_long"),
    ),
    key(
        "max.message.bytes",
        "5",
        Some(("-1", "Value must be at least 0")),
        (REFUSED, "a_batch_has_at_most_max_message_bytes"),
    ),
    key(
        "message.timestamp.after.max.ms",
        "5",
        Some(("-1", "Value must be at least 0")),
        (REFUSED, TIMES),
    ),
    key(
        "message.timestamp.before.max.ms",
        "5",
        Some(("-1", "Value must be at least 0")),
        (REFUSED, TIMES),
    ),
    key(
        "message.timestamp.type",
        "LogAppendTime",
        Some(("foo", "String must be one of: CreateTime, LogAppendTime")),
        (PRODUCE, "the_broker_sets_the_time_where_that_is_wanted"),
    ),
    key(
        "min.cleanable.dirty.ratio",
        "0.25",
        Some(("1.1", "Value must be no more than 1")),
        (PLAN, "it_is_time_when_much_is_dirty_or_for_long"),
    ),
    key(
        "min.compaction.lag.ms",
        "5",
        Some(("-1", "Value must be at least 0")),
        (PLAN, "what_is_younger_than_the_lag_stays"),
    ),
    key(
        "min.insync.replicas",
        "2",
        Some(("0", "Value must be at least 1")),
        (EFFECTS, "more_replicas_than_there_are_refuse_records"),
    ),
    key(
        "preallocate",
        "true",
        Some(("yes", BOOLEAN)),
        (EFFECTS, "the_space_of_a_segment_is_taken_when_it_is_begun"),
    ),
    key("remote.log.copy.disable", "true", Some(("yes", BOOLEAN)), NONE),
    key("remote.log.delete.on.disable", "true", Some(("yes", BOOLEAN)), NONE),
    key(
        "remote.storage.enable",
        "false",
        Some(("true", "Tiered Storage functionality is disabled")),
        NONE,
    ),
    key(
        "retention.bytes",
        "5",
        Some(("x", NUMBER)),
        (RETENTION, "old_records_go_and_the_others_stay_where_they_are"),
    ),
    key(
        "retention.ms",
        "5",
        Some(("-2", "Value must be at least -1")),
        (RETENTION, "old_records_go_and_the_others_stay_where_they_are"),
    ),
    key(
        "segment.bytes",
        "1048576",
        Some(("1048575", "Value must be at least 1048576")),
        (LOG, "a_log_is_what_was_appended_to_it"),
    ),
    key(
        "segment.index.bytes",
        "5",
        Some(("3", "Value must be at least 4")),
        (EFFECTS, "indexes_are_as_dense_and_as_large_as_the_topic_says"),
    ),
    key(
        "segment.jitter.ms",
        "5",
        Some(("-1", "Value must be at least 0")),
        (LOG, "segments_are_closed_by_age_less_a_jitter_of_their_own"),
    ),
    key(
        "segment.ms",
        "5",
        Some(("0", "Value must be at least 1")),
        (LOG, "segments_are_closed_by_age_less_a_jitter_of_their_own"),
    ),
    key(
        "unclean.leader.election.enable",
        "true",
        Some(("1", BOOLEAN)),
        ("tests/it/moves.rs", "a_partition_goes_on_without_its_majority_if_it_may"),
    ),
    key(
        "write.caching",
        "true",
        Some(("1", BOOLEAN)),
        (LOG, "a_log_with_write_caching_loses_its_tail_at_most"),
    ),
];

async fn alter(
    client: &mut Client,
    resource: (i8, &str),
    key: &str,
    op: i8,
    value: Option<&str>,
) -> (i16, String) {
    let config = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(op)
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(resource.0)
        .with_resource_name(text(resource.1))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let told = client.call(1, &request).await.responses.remove(0);
    (told.error_code, told.error_message.as_deref().unwrap_or_default().to_owned())
}

async fn describe(
    client: &mut Client,
    (kind, name): (i8, &str),
) -> Vec<DescribeConfigsResourceResult> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true);
    client.call(4, &request).await.results.remove(0).configs
}

/// Value, source, and the synonyms as `source:name=value`.
async fn shown(
    client: &mut Client,
    resource: (i8, &str),
    key: &str,
) -> Option<(Option<String>, i8, Vec<String>)> {
    let configs = describe(client, resource).await;
    let config = configs.into_iter().find(|config| config.name.as_str() == key)?;
    let synonyms = config.synonyms.iter().map(|one| {
        format!("{}:{}={}", one.source, &*one.name, one.value.as_deref().unwrap_or("null"))
    });
    Some((config.value.as_deref().map(str::to_owned), config.config_source, synonyms.collect()))
}

/// An effect is tested where the table says, or told in the README to be none.
fn check_effect(key: &str, (file, test): Effect) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let content = std::fs::read_to_string(&path).unwrap();
    let wanted = if test.is_empty() { format!("`{key}`") } else { format!("fn {test}()") };
    assert!(content.contains(&wanted), "{file} has no {wanted} for {key}");
}

#[test]
fn every_config_of_a_topic_is_taken_shown_and_taken_back() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        let topic = (TOPIC, "t");
        let configs = describe(&mut client, topic).await;
        let names: Vec<&str> = configs.iter().map(|config| config.name.as_str()).collect();
        let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(names, known);
        for (key, default) in KEYS.iter().zip(&configs) {
            check_effect(key.name, key.effect);
            if let Some((value, reason)) = key.refused {
                let told = alter(&mut client, topic, key.name, SET, Some(value)).await;
                assert_eq!(told.0, INVALID_CONFIG, "{}={value}", key.name);
                assert!(told.1.contains(reason), "{}", told.1);
            }
            let set = alter(&mut client, topic, key.name, SET, Some(key.value)).await;
            assert_eq!(set, (0, String::new()), "{}={}", key.name, key.value);
            let (value, source, synonyms) = shown(&mut client, topic, key.name).await.unwrap();
            assert_eq!((value.as_deref(), source), (Some(key.value), 1), "{}", key.name);
            assert_eq!(synonyms[0], format!("1:{}={}", key.name, key.value));
            let deleted = alter(&mut client, topic, key.name, DELETE, None).await;
            assert_eq!(deleted, (0, String::new()), "{}", key.name);
            let (value, source, _) = shown(&mut client, topic, key.name).await.unwrap();
            assert_eq!((value.as_deref(), source), (default.value.as_deref(), 5), "{}", key.name);
        }
    });
}

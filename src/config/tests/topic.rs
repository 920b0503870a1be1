//! Topic keys: every message here was seen from Apache Kafka 4.3.1.

use std::collections::BTreeMap;

use super::{defaults, load};
use crate::config::{
    CompressionType, ConfigSource, TopicConfig, append_list_value, is_list, subtract_list_value,
    topic_entries, validate_topic_override,
};

fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn resolve(pairs: &[(&str, &str)]) -> Result<TopicConfig, String> {
    TopicConfig::resolve(&TopicConfig::default(), &overrides(pairs))
}

#[track_caller]
fn refused(name: &str, value: &str, reason: &str) {
    let expected = format!("Invalid value {value} for configuration {name}: {reason}");
    assert_eq!(validate_topic_override(name, value), Err(expected));
}

#[test]
fn messages_for_numbers() {
    assert_eq!(validate_topic_override("foo", "1"), Err("Unknown topic config name: foo".into()));
    for text in ["abc", "", " 5x", "9223372036854775808"] {
        refused("retention.ms", text, "Not a number of type LONG");
    }
    for text in ["99999999999", "1.5", "0x10"] {
        refused("segment.bytes", text, "Not a number of type INT");
    }
    refused("retention.ms", "-2", "Value must be at least -1");
    refused("segment.bytes", "1", "Value must be at least 1048576");
    refused("compression.lz4.level", "18", "Value must be no more than 17");
    refused("compression.zstd.level", "-131073", "Value must be at least -131072");
    for text in ["0", "10"] {
        let reason = "Value must be between 1 and 9 or equal to -1";
        refused("compression.gzip.level", text, reason);
    }
    refused("min.cleanable.dirty.ratio", "x", "Not a number of type DOUBLE");
    refused("min.cleanable.dirty.ratio", "-0.1", "Value must be at least 0");
    assert_eq!(
        validate_topic_override("min.cleanable.dirty.ratio", "2").unwrap_err(),
        "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: \
         Value must be no more than 1"
    );
    for (name, text) in [
        ("retention.ms", " 5 "),
        ("segment.bytes", "+2000000"),
        ("retention.bytes", "-2"),
        ("compression.gzip.level", "-1"),
    ] {
        assert_eq!(validate_topic_override(name, text), Ok(()), "{name}={text}");
    }
}

#[test]
fn messages_for_names_and_lists() {
    refused("preallocate", "yes", "Expected value to be either true or false");
    refused("message.timestamp.type", "Foo", "String must be one of: CreateTime, LogAppendTime");
    refused(
        "compression.type",
        "GZIP",
        "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
    );
    refused("cleanup.policy", "Delete", "String must be one of: compact, delete");
    assert_eq!(
        validate_topic_override("cleanup.policy", "delete,,compact").unwrap_err(),
        "Configuration 'cleanup.policy' values must not be empty."
    );
    let throttled = "follower.replication.throttled.replicas";
    for text in ["x", "0:1:2", "0:-1", "*, 0:1"] {
        assert_eq!(
            validate_topic_override(throttled, text).unwrap_err(),
            format!(
                "Invalid value [{text}] for configuration {throttled}: {throttled} must be the \
                literal '*' or a list of replicas in the following format: \
                [partitionId]:[brokerId],[partitionId]:[brokerId],..."
            )
        );
    }
    for (name, text) in [
        ("preallocate", " True "),
        ("cleanup.policy", ""),
        (throttled, ""),
        ("cleanup.policy", "delete,delete"),
        (throttled, "*"),
        (throttled, "0:1,1:2"),
    ] {
        assert_eq!(validate_topic_override(name, text), Ok(()), "{name}={text}");
    }
}

#[test]
fn overrides_become_fields() {
    let config = resolve(&[
        ("cleanup.policy", "compact , delete"),
        ("compression.type", "zstd"),
        ("write.caching", "true"),
        ("retention.ms", " 5 "),
    ])
    .unwrap();
    assert!(config.cleanup_policy.compact && config.cleanup_policy.delete);
    assert_eq!(config.compression_type, CompressionType::Zstd);
    assert!(config.write_caching);
    assert_eq!(config.retention_ms, 5);
    let rest = TopicConfig {
        cleanup_policy: TopicConfig::default().cleanup_policy,
        compression_type: CompressionType::Producer,
        write_caching: false,
        retention_ms: 604_800_000,
        ..config
    };
    assert_eq!(rest, TopicConfig::default());
}

#[test]
fn rules_over_several_keys() {
    assert_eq!(
        resolve(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]).unwrap_err(),
        "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
    );
    assert_eq!(
        resolve(&[("remote.storage.enable", "true")]).unwrap_err(),
        "Tiered Storage functionality is disabled in the broker. \
         Topic cannot be configured with remote log storage."
    );
    // The one way to a segment that is smaller than Kafka admits.
    assert_eq!(resolve(&[("internal.segment.bytes", "100")]).unwrap().segment_bytes, 100);
}

#[test]
fn what_is_kept_holds_whatever_becomes_of_the_rest() {
    let defaults = TopicConfig { max_compaction_lag_ms: 5, ..TopicConfig::default() };
    let kept = overrides(&[
        ("cleanup.policy", "compact"),
        ("min.compaction.lag.ms", "10"),
        ("retention.ms", "soon"),
        ("no.such.key", "1"),
    ]);
    assert!(TopicConfig::resolve(&defaults, &kept).is_err());
    let config = TopicConfig::resolve_kept(&defaults, &kept);
    assert!(config.cleanup_policy.compact && !config.cleanup_policy.delete);
    assert_eq!((config.min_compaction_lag_ms, config.max_compaction_lag_ms), (10, 5));
    assert_eq!(config.retention_ms, defaults.retention_ms);
}

#[test]
fn defaults_come_from_the_broker() {
    let loaded = load("log.retention.ms = 9\nwrite.caching = true\nlog.roll.hours = 1").unwrap();
    let config = TopicConfig::resolve(&loaded.config.topic_defaults, &overrides(&[])).unwrap();
    assert_eq!(config.retention_ms, 9);
    assert_eq!(config.segment_ms, 3_600_000);
    assert!(config.write_caching);
}

#[test]
fn entries_have_sources_and_synonyms() {
    let loaded = load("log.segment.bytes = 1073741824").unwrap();
    let set = overrides(&[("cleanup.policy", " compact , delete"), ("retention.ms", "5000")]);
    let entries = topic_entries(&loaded, &set);
    let entry = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
    let synonym =
        |name: &str, value: &str, source| (name.to_owned(), Some(value.to_owned()), source);

    let policy = entry("cleanup.policy");
    assert_eq!(policy.value.as_deref(), Some("compact,delete"));
    assert_eq!(policy.source, ConfigSource::DynamicTopic);
    assert_eq!(
        policy.synonyms,
        [
            synonym("cleanup.policy", "compact,delete", ConfigSource::DynamicTopic),
            synonym("log.cleanup.policy", "delete", ConfigSource::Default),
        ]
    );
    assert_eq!(entry("segment.bytes").source, ConfigSource::StaticBroker);
    assert_eq!(
        entry("segment.bytes").synonyms,
        [
            synonym("log.segment.bytes", "1073741824", ConfigSource::StaticBroker),
            synonym("log.segment.bytes", "1073741824", ConfigSource::Default),
        ]
    );
    assert_eq!(entry("retention.ms").synonyms.len(), 1);
    assert_eq!(entry("segment.ms").value.as_deref(), Some("604800000"));
    assert_eq!(entry("segment.ms").source, ConfigSource::Default);
    assert_eq!(entry("segment.ms").synonyms, []);
    assert_eq!(entry("min.cleanable.dirty.ratio").value.as_deref(), Some("0.5"));
    assert!(entries.iter().all(|entry| !entry.read_only && !entry.sensitive));
    // Kafka 4.3 shows 33, and `write.caching` is ours.
    assert_eq!(entries.len(), 34);
    let shown = topic_entries(&defaults(), &overrides(&[("internal.segment.bytes", "100")]));
    assert_eq!(shown.len(), 35);
}

#[test]
fn lists_are_altered_item_by_item() {
    assert!(is_list("cleanup.policy") && !is_list("retention.ms") && !is_list("foo"));
    assert_eq!(append_list_value("delete", "compact"), "delete,compact");
    assert_eq!(append_list_value("", "compact,delete"), "compact,delete");
    assert_eq!(append_list_value("compact,delete", " delete "), "compact,delete");
    assert_eq!(append_list_value("0:1", "0:2,0:1"), "0:1,0:2");
    assert!(validate_topic_override("cleanup.policy", &append_list_value("delete", "")).is_err());
    assert_eq!(subtract_list_value("delete,compact", "compact"), "delete");
    assert_eq!(subtract_list_value("delete", "delete"), "");
    assert_eq!(subtract_list_value("", "compact"), "");
}

//! The topic keys: the table, the typed settings of one topic, and the rules for altering them.
//!
//! Keys, kinds, defaults and messages are those of Kafka 4.3, plus `write.caching`. As in Kafka, a
//! topic key has broker keys (its synonyms) that set its default for topics that do not set it.

use std::collections::BTreeMap;

use super::key::{Key, config_table, hours, key, optional, same, unset};
use super::value::ConfigKind::{Boolean, Double, Int, List, Long, String as Text};
use super::value::Valid::{Any, AtLeast, Between, BetweenOr, Custom, OneOf};
use super::value::{FromValue, Value, field, named_enum, split_list};

named_enum! {
    /// The codec of the batches of a topic. `Producer` keeps what the producer chose.
    pub enum CompressionType {
        Uncompressed = "uncompressed",
        Zstd = "zstd",
        Lz4 = "lz4",
        Snappy = "snappy",
        Gzip = "gzip",
        Producer = "producer",
    }
}

named_enum! {
    /// Whose clock a record's timestamp is from.
    pub enum TimestampType {
        CreateTime = "CreateTime",
        LogAppendTime = "LogAppendTime",
    }
}

/// What may happen to old data. Both may hold; neither means that nothing is ever removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

impl FromValue for CleanupPolicy {
    fn from_value(value: &Value) -> Option<Self> {
        let Value::List(items) = value else { return None };
        let has = |name: &str| items.iter().any(|item| item == name);
        Some(Self { delete: has("delete"), compact: has("compact") })
    }
}

const THROTTLED: super::value::Valid =
    Custom { says: "*, or a list of partition:broker", check: check_throttled };

/// Of a broker any negative number is no limit.
const RETENTION: super::value::Valid = Custom { says: "not 0", check: check_retention };

config_table! {
    /// The settings of one topic, or the defaults for topics that do not set them.
    pub struct TopicConfig {}
    static TOPIC_KEYS;

    /// What happens to old data: `delete` drops whole segments by time and size, `compact` keeps
    /// the newest record of each key.
    cleanup_policy: CleanupPolicy = key("cleanup.policy", List, "delete",
        OneOf(&["compact", "delete"])).from(&[same("log.cleanup.policy")]);

    /// The level when the broker compresses with gzip; -1 is the codec's own choice.
    compression_gzip_level: i32 = key("compression.gzip.level", Int, "-1", BetweenOr(1, 9, -1))
        .from(&[same("compression.gzip.level")]);

    /// The level when the broker compresses with lz4; 9 is the fast encoder, all others are those
    /// of the high compression one.
    compression_lz4_level: i32 = key("compression.lz4.level", Int, "9", Between(1, 17))
        .from(&[same("compression.lz4.level")]);

    /// The codec that batches are stored in. `producer` stores them as they came; any other value
    /// makes the broker compress anew what came differently.
    compression_type: CompressionType = key("compression.type", Text, "producer",
        OneOf(CompressionType::NAMES)).from(&[same("compression.type")]);

    /// The level when the broker compresses with zstd.
    compression_zstd_level: i32 = key("compression.zstd.level", Int, "3", Between(-131_072, 22))
        .from(&[same("compression.zstd.level")]);

    /// How long a compacted topic keeps tombstones, in milliseconds. A consumer that reads from
    /// the start needs to finish within this time to see every deletion.
    delete_retention_ms: i64 = key("delete.retention.ms", Long, "86400000", AtLeast(0))
        .from(&[same("log.cleaner.delete.retention.ms")]);

    /// How long the files of a dropped segment stay on disk, in milliseconds.
    file_delete_delay_ms: i64 = key("file.delete.delay.ms", Long, "60000", AtLeast(0))
        .from(&[same("log.segment.delete.delay.ms")]);

    /// Fsync at the latest after so many records. It concerns topics with `write.caching`; all
    /// others are on disk before they are acknowledged.
    flush_messages: i64 = key("flush.messages", Long, "9223372036854775807", AtLeast(1))
        .from(&[same("log.flush.interval.messages")]);

    /// Fsync at the latest after so many milliseconds. It concerns topics with `write.caching`;
    /// all others are on disk before they are acknowledged.
    flush_ms: i64 = key("flush.ms", Long, "9223372036854775807", AtLeast(0))
        .from(&[unset("log.flush.interval.ms", 1), same("log.flush.scheduler.interval.ms")]);

    /// Replicas whose catching up is throttled, as partition:broker, or `*` for all. Each broker
    /// takes follower.replication.throttled.rate for them.
    follower_replication_throttled_replicas: Vec<String> =
        key("follower.replication.throttled.replicas", List, "", THROTTLED);

    /// One entry in the offset and time index per so many bytes of batches.
    index_interval_bytes: u32 = key("index.interval.bytes", Int, "4096", AtLeast(0))
        .from(&[same("log.index.interval.bytes")]);

    /// For tests of Kafka's own suite: a segment size below the smallest that `segment.bytes`
    /// admits.
    internal_segment_bytes: Option<u32> = optional("internal.segment.bytes", Int, AtLeast(1));

    /// Leaders whose sending to followers that are behind is throttled, as partition:broker, or
    /// `*` for all. Each broker gives leader.replication.throttled.rate to them.
    leader_replication_throttled_replicas: Vec<String> =
        key("leader.replication.throttled.replicas", List, "", THROTTLED);

    /// Bytes kept locally of a tiered topic; -2 follows `retention.bytes`. There is no tiered
    /// storage here, so it has no effect.
    local_retention_bytes: i64 = key("local.retention.bytes", Long, "-2", AtLeast(-2))
        .from(&[same("log.local.retention.bytes")]);

    /// Milliseconds that data of a tiered topic is kept locally; -2 follows `retention.ms`. There
    /// is no tiered storage here, so it has no effect.
    local_retention_ms: i64 = key("local.retention.ms", Long, "-2", AtLeast(-2))
        .from(&[same("log.local.retention.ms")]);

    /// A record of a compacted topic is compacted at the latest after so many milliseconds.
    max_compaction_lag_ms: i64 = key("max.compaction.lag.ms", Long, "9223372036854775807",
        AtLeast(1)).from(&[same("log.cleaner.max.compaction.lag.ms")]);

    /// The largest batch that is accepted, in bytes, after compression.
    max_message_bytes: u32 = key("max.message.bytes", Int, "1048588", AtLeast(0))
        .from(&[same("message.max.bytes")]);

    /// How far ahead of the broker's clock a producer's timestamp may be, in milliseconds. It does
    /// not concern topics with `LogAppendTime`.
    message_timestamp_after_max_ms: i64 = key("message.timestamp.after.max.ms", Long, "3600000",
        AtLeast(0)).from(&[same("log.message.timestamp.after.max.ms")]);

    /// How far behind the broker's clock a producer's timestamp may be, in milliseconds. It does
    /// not concern topics with `LogAppendTime`.
    message_timestamp_before_max_ms: i64 = key("message.timestamp.before.max.ms", Long,
        "9223372036854775807", AtLeast(0)).from(&[same("log.message.timestamp.before.max.ms")]);

    /// Whether records carry the producer's time (`CreateTime`) or the time at which the broker
    /// appended them (`LogAppendTime`).
    message_timestamp_type: TimestampType = key("message.timestamp.type", Text, "CreateTime",
        OneOf(TimestampType::NAMES)).from(&[same("log.message.timestamp.type")]);

    /// A log is compacted when this part of it is not compacted yet. Half of the log by default.
    min_cleanable_dirty_ratio: f64 = key("min.cleanable.dirty.ratio", Double, "0.5", Between(0, 1))
        .from(&[same("log.cleaner.min.cleanable.ratio")]);

    /// A record of a compacted topic stays as it is for at least so many milliseconds.
    min_compaction_lag_ms: i64 = key("min.compaction.lag.ms", Long, "0", AtLeast(0))
        .from(&[same("log.cleaner.min.compaction.lag.ms")]);

    /// With `acks=all`, so many replicas must have a record before it is acknowledged. A majority
    /// of the replicas must have it in any case; a larger number here makes the answer wait for
    /// that many.
    min_insync_replicas: i32 = key("min.insync.replicas", Int, "1", AtLeast(1))
        .from(&[same("min.insync.replicas")]);

    /// Take the disk space of a segment when it is begun.
    preallocate: bool = key("preallocate", Boolean, "false", Any).from(&[same("log.preallocate")]);

    /// Stop copying to tiered storage. There is none here, so it has no effect.
    remote_log_copy_disable: bool = key("remote.log.copy.disable", Boolean, "false", Any);

    /// Drop what is in tiered storage when it is switched off. There is none here, so it has no
    /// effect.
    remote_log_delete_on_disable: bool = key("remote.log.delete.on.disable", Boolean, "false", Any);

    /// Keep old segments in tiered storage. There is none here, so only `false` is accepted.
    remote_storage_enable: bool = key("remote.storage.enable", Boolean, "false", Any);

    /// Drop the oldest segments while a partition is larger than so many bytes. A negative number
    /// is no limit.
    retention_bytes: i64 = key("retention.bytes", Long, "-1", Any)
        .from(&[same("log.retention.bytes")]);

    /// Drop segments whose newest record is older than so many milliseconds. -1 is no limit.
    retention_ms: i64 = key("retention.ms", Long, "604800000", AtLeast(-1)).from(&[
        unset("log.retention.ms", 1).checked(RETENTION),
        unset("log.retention.minutes", 60_000).checked(RETENTION),
        hours("log.retention.hours", "168").checked(RETENTION),
    ]);

    /// The size at which a new segment is begun, in bytes. Retention drops whole segments, so it
    /// is also the grain of what is kept.
    segment_bytes: u32 = key("segment.bytes", Int, "1073741824", AtLeast(1_048_576))
        .from(&[same("log.segment.bytes")]);

    /// The largest size of a segment's offset index and time index, in bytes.
    segment_index_bytes: u32 = key("segment.index.bytes", Int, "10485760", AtLeast(4))
        .from(&[same("log.index.size.max.bytes")]);

    /// Begin a new segment up to so many milliseconds earlier, at random, so that not all
    /// partitions do it at once.
    segment_jitter_ms: i64 = key("segment.jitter.ms", Long, "0", AtLeast(0))
        .from(&[unset("log.roll.jitter.ms", 1), hours("log.roll.jitter.hours", "0")]);

    /// Begin a new segment after so many milliseconds even when the old one is not full.
    segment_ms: i64 = key("segment.ms", Long, "604800000", AtLeast(1))
        .from(&[unset("log.roll.ms", 1), hours("log.roll.hours", "168")]);

    /// Go on with one replica, which may lack acknowledged records, when a majority of them has not
    /// been reachable for ten seconds. What only the others had is lost.
    unclean_leader_election_enable: bool = key("unclean.leader.election.enable", Boolean, "false",
        Any).from(&[same("unclean.leader.election.enable")]);

    /// Acknowledge when a majority of the replicas has the records in memory instead of on disk.
    /// Faster, and as safe as Kafka's default; a power cut of a majority loses what was not yet
    /// written.
    write_caching: bool = key("write.caching", Boolean, "false", Any).ours()
        .from(&[same("write.caching")]);
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::from_values(&|name| find(name).and_then(Key::default_value), None)
    }
}

impl TopicConfig {
    /// The age at which a segment is closed: of a compacted topic none grows older than the time
    /// after which it has to be compacted (`LogConfig.maxSegmentMs`).
    pub fn segment_age_max_ms(&self) -> i64 {
        match self.cleanup_policy.compact {
            true => self.segment_ms.min(self.max_compaction_lag_ms),
            false => self.segment_ms,
        }
    }

    /// The settings of a topic with these overrides. The error is the message that goes with
    /// Kafka's `INVALID_CONFIG`.
    pub fn resolve(defaults: &Self, overrides: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        for (name, text) in overrides {
            given.insert(name.as_str(), parse_override(name, text)?);
        }
        let config = Self::from_values(&|name| given.get(name).cloned(), Some(defaults));
        config.check()?;
        Ok(config)
    }

    /// The settings of a topic whose overrides are kept already: they were checked, but the
    /// defaults may have changed since, or this broker checks more. Whatever is wrong with some of
    /// them, the others hold.
    pub fn resolve_kept(defaults: &Self, overrides: &BTreeMap<String, String>) -> Self {
        let value = |name: &str| parse_override(name, overrides.get(name)?).ok();
        Self::from_values(&value, Some(defaults))
    }

    pub(super) fn from_values(value: &dyn Fn(&str) -> Option<Value>, base: Option<&Self>) -> Self {
        let mut config = Self::build(value, base);
        config.segment_bytes = config.internal_segment_bytes.unwrap_or(config.segment_bytes);
        config
    }

    /// The rules that concern more than one key, or that depend on the broker.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            return Err(format!(
                "conflict topic config setting min.compaction.lag.ms ({}) > \
                 max.compaction.lag.ms ({})",
                self.min_compaction_lag_ms, self.max_compaction_lag_ms
            ));
        }
        if self.remote_storage_enable {
            return Err("Tiered Storage functionality is disabled in the broker. \
                        Topic cannot be configured with remote log storage."
                .to_owned());
        }
        Ok(())
    }
}

/// Checks one override by itself; rules over several keys are `TopicConfig::resolve`'s. The error
/// is the message that goes with Kafka's `INVALID_CONFIG`.
pub fn validate_topic_override(name: &str, value: &str) -> Result<(), String> {
    parse_override(name, value).map(drop)
}

/// Whether `IncrementalAlterConfigs` may append to this topic key and subtract from it. For any
/// other key Kafka answers `Can't APPEND to key … because its type is not LIST.`
pub fn is_list(name: &str) -> bool {
    find(name).is_some_and(|key| key.kind == List)
}

/// With what `IncrementalAlterConfigs` begins when it changes a list that the topic does not set:
/// what the key is without any setting, whatever brokers have (`KafkaConfigSchema.getDefault`).
pub fn list_default(name: &str) -> Option<String> {
    find(name)?.default_value().map(|value| value.to_string())
}

/// The list with the items of `added` that it does not have yet at its end. The result may be
/// invalid and needs checking, as in Kafka.
pub fn append_list_value(current: &str, added: &str) -> String {
    let mut items = split_list(current);
    // An empty item is kept: Kafka refuses the result, and so does the check of the key.
    for item in added.split(',').map(str::trim) {
        if !items.iter().any(|seen| seen == item) {
            items.push(item.to_owned());
        }
    }
    items.join(",")
}

/// The list without the items of `removed`.
pub fn subtract_list_value(current: &str, removed: &str) -> String {
    let removed = split_list(removed);
    let mut items = split_list(current);
    items.retain(|item| !removed.contains(item));
    items.join(",")
}

pub(super) fn find(name: &str) -> Option<&'static Key> {
    TOPIC_KEYS.iter().find(|key| key.name == name)
}

pub(super) fn parse_override(name: &str, text: &str) -> Result<Value, String> {
    find(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?.parse(text)
}

fn check_retention(name: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Int(0) => {
            Err(format!("{name} must be unlimited (-1) or, greater than or equal to 1"))
        }
        _ => Ok(()),
    }
}

fn check_throttled(name: &str, value: &Value) -> Result<(), String> {
    let Value::List(items) = value else { return Ok(()) };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let replica = |item: &str| {
        item.split_once(':').is_some_and(|(left, right)| number(left) && number(right))
    };
    let all = matches!(items.as_slice(), [one] if one == "*");
    if all || items.iter().all(|item| item.is_empty() || replica(item)) {
        return Ok(());
    }
    Err(format!(
        "{name} must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    ))
}

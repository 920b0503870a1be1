//! What brokers change while they run: for one of them, for all, over restarts and in a cluster.

use super::{DELETE, EFFECTS, Effect, SET, alter, check_effect, describe, shown};
use crate::harness::cluster::Cluster;
use crate::harness::records::Topic;
use crate::harness::{Broker, batch, eventually, run};

const BROKER: i8 = 4;
const ALL: (i8, &str) = (BROKER, "");
const ONE: (i8, &str) = (BROKER, "1");
const TOPIC: (i8, &str) = (super::TOPIC, "t");
const INVALID_REQUEST: i16 = 42;

/// Those that do not set the default of a topic's key: name, a value, and where it is tested.
const OWN: &[(&str, &str, Effect)] = &[
    ("log.cleaner.backoff.ms", "7", (EFFECTS, "the_cleaner_goes_by_what_is_set")),
    (
        "log.cleaner.dedupe.buffer.size",
        "5000000",
        ("src/partition/cleaner.rs", "the_settings_are_those_of_now"),
    ),
    ("log.cleaner.io.max.bytes.per.second", "1000.0", (EFFECTS, "the_cleaner_goes_by_what_is_set")),
    ("log.cleaner.threads", "2", (EFFECTS, "the_cleaner_goes_by_what_is_set")),
    ("log.scrub.interval.ms", "7", (EFFECTS, "the_scrubber_goes_by_what_is_set")),
    ("log.scrub.io.max.bytes.per.second", "1000.0", (EFFECTS, "the_scrubber_goes_by_what_is_set")),
    ("max.connections", "7", (EFFECTS, "connections_are_as_many_as_may_be_now")),
    ("max.connections.per.ip", "7", (EFFECTS, "connections_are_as_many_as_may_be_now")),
    ("producer.id.expiration.ms", "7", (EFFECTS, "a_producer_is_forgotten_after_its_time")),
    (
        "replica.catchup.max.bytes.per.second",
        "7",
        ("src/partition/throttles.rs", "who_is_behind_is_limited_by_default"),
    ),
];

#[test]
fn every_config_of_a_broker_is_set_for_one_and_for_all() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let configs = describe(&mut client, ONE).await;
        let dynamic = configs.iter().filter(|config| !config.read_only);
        let names: Vec<&str> = dynamic.map(|config| config.name.as_str()).collect();
        let of_topics: Vec<(&str, &str)> =
            super::KEYS.iter().filter_map(|key| Some((broker_key(key.name)?, key.value))).collect();
        for (name, _, effect) in OWN {
            check_effect(name, *effect);
        }
        let own = OWN.iter().map(|(name, value, _)| (*name, *value));
        let mut known: Vec<(&str, &str)> = of_topics.into_iter().chain(own).collect();
        known.sort_unstable();
        assert_eq!(names, known.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, value) in known {
            // What holds for a partition is not one broker's to say.
            let is_shared = name == "min.insync.replicas";
            for (resource, source) in [(ALL, 3), (ONE, 2)] {
                let told = alter(&mut client, resource, name, SET, Some(value)).await;
                if is_shared && resource == ONE {
                    assert_eq!(told.0, super::INVALID_CONFIG, "{told:?}");
                    continue;
                }
                assert_eq!(told, (0, String::new()), "{name}={value} for {resource:?}");
                let (now, from, synonyms) = shown(&mut client, ONE, name).await.unwrap();
                assert_eq!((now.as_deref(), from), (Some(value), source), "{name}");
                assert_eq!(synonyms[0], format!("{source}:{name}={value}"));
            }
            let (now, from, _) = shown(&mut client, ALL, name).await.unwrap();
            assert_eq!((now.as_deref(), from), (Some(value), 3), "{name}");
            for resource in [ONE, ALL] {
                let told = alter(&mut client, resource, name, DELETE, None).await;
                assert_eq!(told, (0, String::new()), "{name} for {resource:?}");
            }
        }
        assert_eq!(describe(&mut client, ALL).await.len(), 0);
        assert_eq!(describe(&mut client, ONE).await, configs, "all is as it was");
    });
}

/// The broker key that sets the default of a topic key while the broker runs.
fn broker_key(topic_key: &str) -> Option<&'static str> {
    Some(match topic_key {
        "cleanup.policy" => "log.cleanup.policy",
        "compression.gzip.level" => "compression.gzip.level",
        "compression.lz4.level" => "compression.lz4.level",
        "compression.type" => "compression.type",
        "compression.zstd.level" => "compression.zstd.level",
        "delete.retention.ms" => "log.cleaner.delete.retention.ms",
        "file.delete.delay.ms" => "log.segment.delete.delay.ms",
        "flush.messages" => "log.flush.interval.messages",
        "flush.ms" => "log.flush.interval.ms",
        "index.interval.bytes" => "log.index.interval.bytes",
        "local.retention.bytes" => "log.local.retention.bytes",
        "local.retention.ms" => "log.local.retention.ms",
        "max.compaction.lag.ms" => "log.cleaner.max.compaction.lag.ms",
        "max.message.bytes" => "message.max.bytes",
        "message.timestamp.after.max.ms" => "log.message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms" => "log.message.timestamp.before.max.ms",
        "message.timestamp.type" => "log.message.timestamp.type",
        "min.cleanable.dirty.ratio" => "log.cleaner.min.cleanable.ratio",
        "min.compaction.lag.ms" => "log.cleaner.min.compaction.lag.ms",
        "min.insync.replicas" => "min.insync.replicas",
        "preallocate" => "log.preallocate",
        "retention.bytes" => "log.retention.bytes",
        "retention.ms" => "log.retention.ms",
        "segment.bytes" => "log.segment.bytes",
        "segment.index.bytes" => "log.index.size.max.bytes",
        "segment.jitter.ms" => "log.roll.jitter.ms",
        "segment.ms" => "log.roll.ms",
        "unclean.leader.election.enable" => "unclean.leader.election.enable",
        "write.caching" => "write.caching",
        _ => return None,
    })
}

#[test]
fn the_nearest_value_counts_and_outlives_a_restart() {
    run(async {
        let settings = [("KAFKA_LOG_RETENTION_MS", "40000")];
        let broker = Broker::start_with(&settings).await;
        broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        let (key, of_topic) = ("log.retention.ms", "retention.ms");
        let hours = "5:log.retention.hours=168".to_owned();
        let mut expected = vec!["4:log.retention.ms=40000".to_owned(), hours];
        let told = shown(&mut client, TOPIC, of_topic).await;
        assert_eq!(told, Some((Some("40000".to_owned()), 4, expected.clone())));
        for (resource, key, value, source) in
            [(ALL, key, "30000", 3), (ONE, key, "20000", 2), (TOPIC, of_topic, "10000", 1)]
        {
            assert_eq!(alter(&mut client, resource, key, SET, Some(value)).await.0, 0);
            expected.insert(0, format!("{source}:{key}={value}"));
            let told = shown(&mut client, TOPIC, of_topic).await;
            assert_eq!(told, Some((Some(value.to_owned()), source, expected.clone())));
        }
        let broker = broker.restart_with(&settings).await;
        let mut client = broker.client().await;
        let told = shown(&mut client, TOPIC, of_topic).await;
        assert_eq!(told, Some((Some("10000".to_owned()), 1, expected.clone())));
        expected.remove(0);
        let told = shown(&mut client, ONE, key).await;
        assert_eq!(told, Some((Some("20000".to_owned()), 2, expected)));
    });
}

#[test]
fn what_is_no_matter_of_a_running_broker_is_refused() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for (resource, key, value, text) in [
            (
                ONE,
                "num.partitions",
                "2",
                "Cannot update these configs dynamically: [num.partitions]",
            ),
            (ALL, "log.retention.hours", "2", "dynamically: [log.retention.hours]"),
            (ONE, "num.io.threads", "9", "dynamically: [num.io.threads]"),
            (ONE, "no.such.key", "9", "dynamically: [no.such.key]"),
            (ALL, "log.retention.ms", "soon", "Not a number of type LONG"),
            (ALL, "ottla.broker.draining", "true", "at default cluster level, broker id must be"),
            (
                (BROKER, "9"),
                "log.retention.ms",
                "5",
                "Unexpected broker id, expected 1, but received 9",
            ),
        ] {
            let told = alter(&mut client, resource, key, SET, Some(value)).await;
            assert_eq!(told.0, INVALID_REQUEST, "{told:?}");
            assert!(told.1.contains(text), "{}", told.1);
        }
        // To take back what was never set is nothing, whatever it is.
        for key in ["num.partitions", "no.such.key", "log.retention.ms"] {
            assert_eq!(alter(&mut client, ONE, key, DELETE, None).await.0, 0, "{key}");
        }
    });
}

#[test]
fn each_broker_of_a_cluster_goes_by_its_own() {
    run(async {
        let mut cluster = Cluster::start_with(3, &[]).await;
        let mut client = cluster.client(1).await;
        client.create_topic("t", 1, &[]).await;
        // Any broker takes it for any other.
        for (broker, bytes) in [("", "5000"), ("2", "6000"), ("3", "7000")] {
            client.set_config((BROKER, broker), "message.max.bytes", bytes).await;
        }
        for (id, bytes, source) in [(1, "5000", 3), (2, "6000", 2), (3, "7000", 2)] {
            let mut client = cluster.client(id).await;
            eventually(async || {
                let told = shown(&mut client, TOPIC, "max.message.bytes").await.unwrap();
                (told.0.as_deref(), told.1) == (Some(bytes), source)
            })
            .await;
        }
        cluster.stop().await;
    });
}

#[test]
fn topics_without_a_value_of_their_own_follow_at_once() {
    run(async {
        let broker = Broker::start().await;
        let plain = Topic::create(&broker, "plain", 1, &[]).await;
        let own = Topic::create(&broker, "own", 1, &[("max.message.bytes", "2000")]).await;
        let mut client = broker.client().await;
        let large = || batch::of(&[&[b'x'; 1_000]]);
        client.set_config(ALL, "message.max.bytes", "500").await;
        eventually(async || client.produce(&plain, large()).await.error_code == 10).await;
        assert_eq!(client.produce(&own, large()).await.error_code, 0);
        client.set_config(ONE, "message.max.bytes", "1500").await;
        eventually(async || client.produce(&plain, large()).await.error_code == 0).await;
        let later = Topic::create(&broker, "later", 1, &[]).await;
        let larger = batch::of(&[&[b'x'; 1_600]]);
        assert_eq!(client.produce(&later, larger).await.error_code, 10);
    });
}

//! Loading, explaining and the example file. Topic keys and listeners have files of their own.

mod listener;
mod properties;
mod quorum;
mod read;
mod topic;

use super::error::{edit_distance, nearest};
use super::keys::{ALIASES, KEYS};
use super::read::{Prefix, variable_of_key};
use super::topic::TOPIC_KEYS;
use super::value::Valid;
use super::{Config, ConfigError, ConfigKind, ConfigSource, Loaded, ignored};

const EXAMPLE: &str = include_str!("../../config/ottla.toml");

/// The broker keys of Kafka 4.3.1, one on each line.
const KAFKA_KEYS: &str = include_str!("tests/kafka_broker_keys.txt");

fn load(text: &str) -> Result<Loaded, ConfigError> {
    Config::load(Some(("ottla.toml", text)), &[])
}

fn load_env(variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let env: Vec<_> = variables.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Config::load(None, &env)
}

#[track_caller]
fn error(result: Result<Loaded, ConfigError>) -> String {
    result.expect_err("must be refused").to_string()
}

fn defaults() -> Loaded {
    Config::load(None, &[]).unwrap()
}

#[test]
fn nothing_given_is_a_single_broker() {
    let loaded = defaults();
    let config = &loaded.config;
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(config.node_id, None);
    assert!(config.process_roles.broker && config.process_roles.controller);
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://127.0.0.1:9092");
    assert_eq!(config.advertised_listeners, config.listeners);
    assert_eq!(config.log_dirs, [std::path::PathBuf::from("./data")]);
    assert_eq!(config.metrics_listener.as_deref(), Some("127.0.0.1:9644"));
    assert_eq!(config.topic_defaults.retention_ms, 604_800_000);
    assert_eq!(config.topic_defaults, super::TopicConfig::default());
}

#[test]
fn the_environment_goes_before_the_file() {
    let env = [("KAFKA_NUM_PARTITIONS".to_owned(), "7".to_owned())];
    let text = "num.partitions = 3\nlog.segment.bytes = 2097152";
    let loaded = Config::load(Some(("a.toml", text)), &env).unwrap();
    assert_eq!(loaded.config.num_partitions, 7);
    assert_eq!(loaded.config.topic_defaults.segment_bytes, 2_097_152);
    let line = |key| loaded.explain(Some(key)).unwrap();
    assert!(line("num.partitions").contains("environment variable KAFKA_NUM_PARTITIONS"));
    assert!(line("log.segment.bytes").contains("file a.toml:2"));
    assert!(line("fetch.max.bytes").contains("source       default"));
}

#[test]
fn an_alias_is_the_key_itself() {
    let loaded = load("log.dir = '/a'\nbroker.id = 4").unwrap();
    assert_eq!(loaded.config.log_dirs, [std::path::PathBuf::from("/a")]);
    assert_eq!(loaded.config.node_id, Some(4));
    // As Kafka has it: of both names of the log dirs the list counts, and ids may be the same.
    for text in ["log.dir = '/a'\nlog.dirs = '/b'", "log.dirs = '/b'\nlog.dir = '/a'"] {
        let loaded = load(text).unwrap();
        assert_eq!(loaded.config.log_dirs, [std::path::PathBuf::from("/b")]);
        let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
        assert!(warning.ends_with(": log.dirs is used, and log.dir is not"), "{warning}");
    }
    assert_eq!(load("broker.id = 4\nnode.id = 4").unwrap().config.node_id, Some(4));
    assert_eq!(
        error(load("broker.id = 4\nnode.id = 5")),
        "file ottla.toml:2: node.id is given a second time, first in file ottla.toml:1"
    );
    // The environment still overrides the file.
    let env = [("KAFKA_LOG_DIRS".to_owned(), "/c,/d".to_owned())];
    let loaded = Config::load(Some(("a.toml", "log.dir = '/a'")), &env).unwrap();
    assert_eq!(loaded.config.log_dirs.len(), 2);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    assert_eq!(
        error(load("\nnum.partition = 3")),
        "file ottla.toml:2: unknown key num.partition; the nearest known one is num.partitions"
    );
    assert_eq!(
        error(load_env(&[("KAFKA_NUM_PARTITION", "3")])),
        "environment variable KAFKA_NUM_PARTITION: unknown key num.partition; \
         the nearest known one is KAFKA_NUM_PARTITIONS"
    );
    // A topic key leads to the key that sets its default.
    assert!(error(load("retention.ms = 1")).ends_with("is log.retention.ms"));
    // Our own keys have our own prefix, and Kafka's have Kafka's.
    assert!(
        error(load_env(&[("KAFKA_METRICS_LISTENER", "")])).ends_with("is OTTLA_METRICS_LISTENER")
    );
    assert!(error(load_env(&[("OTTLA_NUM_PARTITIONS", "1")])).ends_with("is KAFKA_NUM_PARTITIONS"));
}

#[test]
fn keys_without_effect_are_told() {
    let loaded = load("num.io.threads = 8\nzookeeper.connect = 'z:2181'").unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "file ottla.toml:1: num.io.threads is ignored: \
             the broker sizes its threads by the cores of the machine",
            "file ottla.toml:2: zookeeper.connect is ignored: there is no ZooKeeper",
        ]
    );
    let loaded = load_env(&[
        ("KAFKA_HEAP_OPTS", "-Xmx1G"),
        ("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
        ("OTTLA_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    assert_eq!(loaded.warnings.len(), 3);
    assert_eq!(loaded.config, defaults().config);
}

#[test]
fn a_key_that_protects_is_not_ignored() {
    let text = "authorizer.class.name = 'org.apache.kafka.metadata.authorizer.StandardAuthorizer'";
    assert_eq!(
        error(load(text)),
        "file ottla.toml:1: authorizer.class.name can not be honoured: \
         access is not controlled yet, so the broker would be open to all"
    );
    assert!(load("authorizer.class.name = ''").is_ok());
}

#[test]
fn every_key_of_kafka_is_known() {
    for key in KAFKA_KEYS.lines() {
        let honoured = KEYS.contains_key(key) || ALIASES.iter().any(|(alias, _)| *alias == key);
        let inert = ignored::find(key).is_some();
        assert!(honoured != inert, "{key}: honoured {honoured}, without effect {inert}");
    }
    for name in KEYS.values().filter(|key| !key.ours).map(|key| key.name) {
        assert!(KAFKA_KEYS.lines().any(|key| key == name), "{name} is no key of Kafka's");
    }
}

#[test]
fn a_table_has_no_mistakes() {
    for key in KEYS.values().chain(TOPIC_KEYS) {
        key.default_value();
        assert!(key.doc.ends_with('.') && key.summary().len() < 160, "{}: {}", key.name, key.doc);
    }
    for key in TOPIC_KEYS {
        let Some(last) = key.synonyms.last() else { continue };
        let default: i64 = match KEYS[last.name].default.unwrap().parse() {
            Ok(number) => number,
            Err(_) => continue,
        };
        let default = if last.unit == 1 { default } else { default * last.unit };
        assert_eq!(key.default, Some(default.to_string().as_str()), "{}", key.name);
    }
    let names: Vec<_> = TOPIC_KEYS.iter().map(|key| key.name).collect();
    assert!(names.is_sorted());
}

/// Each field holds every number that the check of its key admits.
#[test]
fn the_bounds_fit_the_fields() {
    for key in KEYS.values() {
        let min = match key.valid {
            Valid::AtLeast(min) | Valid::Between(min, _) | Valid::BetweenOr(min, ..) => min,
            _ => 0,
        };
        let variable = variable_of_key(key.name, Prefix::of(key.ours));
        let bounds = [min - 1, min, i16::MAX.into(), i32::MAX.into(), i64::MAX - 1, i64::MAX];
        for number in bounds.map(|number| number.to_string()) {
            let result = load_env(&[(&variable, &number)]);
            let parsed = key.parse(&number);
            // The rules between keys may refuse what the key alone admits.
            assert!(parsed.is_ok() || result.is_err(), "{}={number}", key.name);
        }
    }
}

#[test]
fn values_are_checked_with_the_words_of_kafka() {
    assert_eq!(
        error(load("num.partitions = 0")),
        "file ottla.toml:1: Invalid value 0 for configuration num.partitions: \
         Value must be at least 1"
    );
    assert_eq!(
        error(load("num.partitions = 'many'")),
        "file ottla.toml:1: Invalid value many for configuration num.partitions: \
         Not a number of type INT"
    );
}

#[test]
fn rules_between_keys() {
    assert!(error(load("log.dirs = ''")).contains("log.dirs names no directory"));
    assert!(error(load("process.roles = ''")).contains("process.roles names no role"));
    assert_eq!(
        error(load("queued.max.request.bytes = 5")),
        "queued.max.request.bytes (5) < socket.request.max.bytes (104857600): \
         the largest request could never be read"
    );
    assert_eq!(
        error(load("group.consumer.heartbeat.interval.ms = 1")),
        "group.consumer.min.heartbeat.interval.ms (5000) > group.consumer.heartbeat.interval.ms (1)"
    );
    assert_eq!(
        error(load("log.cleaner.min.compaction.lag.ms = 2\nlog.cleaner.max.compaction.lag.ms = 1")),
        "conflict topic config setting min.compaction.lag.ms (2) > max.compaction.lag.ms (1)"
    );
    assert_eq!(load("min.insync.replicas = 2").unwrap().warnings.len(), 1);
}

#[test]
fn keys_for_what_is_not_built_yet_are_told_unless_they_are_at_their_default() {
    let warnings = |text: &str| load(text).unwrap().warnings;
    let told = warnings("transactional.id.expiration.ms = 5");
    assert_eq!(
        told,
        ["file ottla.toml:1: transactional.id.expiration.ms has no effect yet: \
          transactions are not served yet"]
    );
    assert!(warnings("group.max.size = 5").is_empty());
    assert!(warnings("log.retention.hours = 168").is_empty());
}

#[test]
fn finer_units_go_first() {
    let retention = |text: &str| load(text).unwrap().config.topic_defaults.retention_ms;
    assert_eq!(retention("log.retention.hours = 2"), 7_200_000);
    assert_eq!(retention("log.retention.hours = -1"), -1);
    assert_eq!(retention("log.retention.hours = 2\nlog.retention.minutes = 1"), 60_000);
    let loaded = load("log.retention.hours = 2\nlog.retention.ms = 5").unwrap();
    assert_eq!(loaded.config.topic_defaults.retention_ms, 5);
    assert_eq!(
        loaded.warnings.last().unwrap(),
        "file ottla.toml:1: log.retention.hours has no effect beside log.retention.ms"
    );
}

#[test]
fn explain_tells_one_key_or_all() {
    let all = defaults().explain(None).unwrap();
    for key in KEYS.keys() {
        assert!(all.contains(&format!("{key} = ")), "{key}");
    }
    let loaded = load_env(&[("KAFKA_LOG_RETENTION_HOURS", "24")]).unwrap();
    assert_eq!(
        loaded.explain(Some("log.retention.hours")).unwrap(),
        "log.retention.hours = 24
  source       environment variable KAFKA_LOG_RETENTION_HOURS
  default      168
  type         int
  valid        not 0
  environment  KAFKA_LOG_RETENTION_HOURS
  default of   the topic key retention.ms
  meaning      The same in hours. A key in a finer unit goes first.
"
    );
    assert!(loaded.explain(Some("retention.ms")).unwrap().contains("default      86400000"));
    assert!(
        loaded.explain(Some("num.io.threads")).unwrap().contains("ignored      the broker sizes")
    );
    assert_eq!(
        loaded.explain(Some("log.retention.hour")).unwrap_err().to_string(),
        "unknown key log.retention.hour; the nearest known one is log.retention.hours"
    );
}

#[test]
fn broker_entries_are_those_of_kafka() {
    let entries = load("log.segment.bytes = 2097152").unwrap().broker_entries();
    let entry = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
    let segment = entry("log.segment.bytes");
    assert_eq!(segment.source, ConfigSource::StaticBroker);
    assert_eq!(segment.kind, ConfigKind::Int);
    assert!(!segment.read_only && !segment.sensitive);
    let synonym = |value: &str, source| ("log.segment.bytes".into(), Some(value.into()), source);
    assert_eq!(
        segment.synonyms,
        [
            synonym("2097152", ConfigSource::StaticBroker),
            synonym("1073741824", ConfigSource::Default)
        ]
    );
    let unset = entry("log.retention.ms");
    assert_eq!((&unset.value, unset.source), (&None, ConfigSource::Default));
    assert_eq!(unset.synonyms, []);
    let pace = entry("log.cleaner.io.max.bytes.per.second");
    assert_eq!(pace.value.as_deref(), Some("1.7976931348623157E308"));
    assert!(entry("log.retention.hours").read_only);
    assert!(entry("num.partitions").read_only);
}

/// The lines `#key = value` of the example, without their `#`.
fn example_settings() -> String {
    let given = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
    EXAMPLE
        .lines()
        .filter(given)
        .map(|line| format!("{}\n", &line[1..]).replace("#\n", ""))
        .collect()
}

#[test]
fn the_example_file_shows_every_default() {
    assert_eq!(load(EXAMPLE).unwrap(), defaults());
    let loaded = load(&example_settings()).unwrap();
    assert_eq!(loaded.config, defaults().config);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    for key in KEYS.values() {
        assert_eq!(loaded.given.contains_key(key.name), key.default.is_some(), "{}", key.name);
        let shown = EXAMPLE.lines().any(|line| line.starts_with(&format!("# {} = ", key.name)));
        assert_eq!(shown, key.default.is_none(), "{}: one example line", key.name);
    }
    // Without a default there is an example, which must be valid, too.
    for key in KEYS.values().filter(|key| key.default.is_none()) {
        let start = format!("# {} = ", key.name);
        let line = EXAMPLE.lines().find(|line| line.starts_with(&start)).unwrap();
        load(line.trim_start_matches("# ")).unwrap();
    }
}

#[test]
fn distance() {
    assert_eq!(edit_distance("kitten", "sitting"), 3);
    assert_eq!(edit_distance("", "abc"), 3);
    assert_eq!(edit_distance("abc", "abc"), 0);
    assert_eq!(nearest("advertised.listener"), "advertised.listeners");
    assert_eq!(nearest("num.io.thread"), "num.io.threads");
}

//! TOML, `.properties` and environment variables.

use super::{error, load};
use crate::config::{Config, ConfigError, Loaded};

fn load_properties(text: &str) -> Result<Loaded, ConfigError> {
    Config::load(Some(("server.properties", text)), &[])
}

#[test]
fn toml_spellings_are_one() {
    let expected = load("\"log.retention.ms\" = 5").unwrap().config;
    for text in [
        "log.retention.ms = 5",
        "log.retention.ms = '5'",
        "[log]\nretention.ms = 5",
        "[log.retention]\nms = 0x5",
        "log = { retention = { ms = 5 } }",
        "log.\"retention.ms\" = 5",
    ] {
        assert_eq!(load(text).unwrap().config, expected, "{text}");
    }
    assert_eq!(
        error(load("log.retention.ms = 5\n\"log.retention.ms\" = 6")),
        "file ottla.toml:2: log.retention.ms is given a second time, first in file ottla.toml:1"
    );
}

#[test]
fn toml_values() {
    let config = load("log.dirs = ['/a', '/b']\nlog.cleaner.min.cleanable.ratio = 0.25").unwrap();
    assert_eq!(config.config.log_dirs.len(), 2);
    assert!((config.config.topic_defaults.min_cleanable_dirty_ratio - 0.25).abs() < f64::EPSILON);
    assert!(!load("auto.create.topics.enable = false").unwrap().config.auto_create_topics_enable);
    assert_eq!(
        error(load("num.partitions = 2020-01-01")),
        "file ottla.toml:1: num.partitions needs a string, a number, a boolean or an array of them"
    );
}

#[test]
fn toml_mistakes_have_a_line_and_a_hint() {
    let message = error(load("\nmax.connections = 5\nmax.connections.per.ip = 3"));
    assert!(message.starts_with("file ottla.toml:3: "), "{message}");
    assert!(message.contains("write the shorter one in quotes"), "{message}");
    let text = "\"max.connections\" = 5\nmax.connections.per.ip = 3";
    let config = load(text).unwrap().config;
    assert_eq!((config.max_connections, config.max_connections_per_ip), (5, 3));
    let message = error(load("num.partitions ="));
    assert!(message.starts_with("file ottla.toml:1: ") && !message.contains("quotes"), "{message}");
}

#[test]
fn properties() {
    let text = "# a comment\n! another\n\nnum.partitions=3\nlog.dirs : /a, \\\n   /b\n\
                broker.rack r\\u0061ck\\=1\nlog.retention.hours=1\nlog.retention.hours=2\n";
    let config = load_properties(text).unwrap().config;
    assert_eq!(config.num_partitions, 3);
    assert_eq!(config.log_dirs.len(), 2);
    assert_eq!(config.broker_rack.as_deref(), Some("rack=1"));
    assert_eq!(config.topic_defaults.retention_ms, 7_200_000);
    assert_eq!(
        error(load_properties("\nnum.partitions=0")),
        "file server.properties:2: Invalid value 0 for configuration num.partitions: \
         Value must be at least 1"
    );
    assert!(error(load_properties("a=\\u12")).contains("four hex digits"));
}

/// What Kafka 4 ships for a single node, values only.
#[test]
fn a_server_properties_carries_over() {
    let text = "process.roles=broker,controller\nnode.id=1\n\
        controller.quorum.bootstrap.servers=localhost:9093\n\
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
        advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
        controller.listener.names=CONTROLLER\n\
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\
        SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\nnum.network.threads=3\n\
        num.io.threads=8\nsocket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\n\
        socket.request.max.bytes=104857600\nlog.dirs=/tmp/kraft-combined-logs\n\
        num.partitions=1\nnum.recovery.threads.per.data.dir=2\n\
        offsets.topic.replication.factor=1\nshare.coordinator.state.topic.replication.factor=1\n\
        share.coordinator.state.topic.min.isr=1\ntransaction.state.log.replication.factor=1\n\
        transaction.state.log.min.isr=1\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n\
        log.retention.check.interval.ms=300000\n";
    let loaded = load_properties(text).unwrap();
    assert_eq!(loaded.config.node_id, Some(1));
    assert_eq!(loaded.config.advertised_listeners[0].host, "localhost");
    let ignored = loaded.warnings.iter().filter(|warning| warning.contains("is ignored"));
    assert_eq!(ignored.count(), 6, "{:#?}", loaded.warnings);
}

#[test]
fn the_loader_tells_which_file_it_could_not_read() {
    let missing = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let message = error(Config::load_from(Some("a.toml"), missing, []));
    assert!(message.starts_with("file a.toml: "), "{message}");
    let loaded = Config::load_from(Some("a.toml"), |_| Ok("node.id = 3".to_owned()), []).unwrap();
    assert_eq!(loaded.config.node_id, Some(3));
    assert!(Config::load_from(None, missing, []).is_ok());
}

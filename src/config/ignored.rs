//! Kafka's broker keys that mean nothing to this broker, each with the reason.
//!
//! A person's `server.properties` should carry over, so these are accepted, but never in silence:
//! loading gives a warning for each. Keys that would make the broker less safe if they were left
//! out are refused instead.

/// What is done with a key that has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inert {
    /// Accept it with a warning.
    Ignored(&'static str),
    /// Do not start, unless its value is empty.
    Refused(&'static str),
}

/// Keys that are read and checked, and will have an effect once what they set is built. A prefix
/// stands for every key that begins so.
const NOT_YET: &[(&str, &[&str])] =
    &[("transactions are not served yet", &["transaction.", "transactional."])];

/// Why a key that this broker knows has no effect so far.
pub(super) fn not_yet(key: &str) -> Option<&'static str> {
    let names = |keys: &[&str]| keys.iter().any(|known| key.starts_with(known));
    NOT_YET.iter().find(|(_, keys)| names(keys)).map(|(reason, _)| *reason)
}

/// A name that ends in `*` stands for every key that begins so.
const IGNORED: &[(&str, &[&str])] = &[
    (
        "there is no ZooKeeper",
        &[
            "zookeeper.*",
            "broker.id.generation.enable",
            "reserved.broker.max.id",
            "control.plane.listener.name",
        ],
    ),
    (
        "Kafka itself has dropped it",
        &[
            "advertised.host.name",
            "advertised.port",
            "auto.include.jmx.reporter",
            "controlled.shutdown.max.retries",
            "controlled.shutdown.retry.backoff.ms",
            "delegation.token.master.key",
            "group.coordinator.new.enable",
            "host.name",
            "inter.broker.protocol.version",
            "leader.imbalance.per.broker.percentage",
            "log.message.downconversion.enable",
            "log.message.format.version",
            "log.message.timestamp.difference.max.ms",
            "offsets.commit.required.acks",
            "password.encoder.*",
            "port",
        ],
    ),
    (
        "the broker sizes its threads by the cores of the machine",
        &[
            "background.threads",
            "group.coordinator.background.threads",
            "group.coordinator.threads",
            "num.io.threads",
            "num.network.threads",
            "num.recovery.threads.per.data.dir",
            "num.replica.alter.log.dirs.threads",
            "queued.max.requests",
            "share.coordinator.threads",
        ],
    ),
    (
        "replication is by Raft and has no such setting",
        &[
            "num.replica.fetchers",
            "replica.fetch.*",
            "replica.high.watermark.checkpoint.interval.ms",
            "replica.socket.receive.buffer.bytes",
            "replica.socket.timeout.ms",
            "transaction.partition.verification.enable",
        ],
    ),
    (
        "the group of the controllers has no such setting",
        &[
            "broker.heartbeat.interval.ms",
            "broker.session.timeout.ms",
            "controller.performance.*",
            "controller.quorum.append.*",
            "controller.quorum.election.*",
            "controller.quorum.fetch.*",
            "controller.quorum.request.*",
            "controller.quorum.retry.*",
            "controller.socket.timeout.ms",
            "initial.broker.registration.timeout.ms",
            "internal.metadata.*",
            "metadata.*",
            "server.max.startup.time.ms",
        ],
    ),
    ("the cluster chooses itself who votes on metadata", &["controller.quorum.auto.join.enable"]),
    (
        "nodes talk to each other on a port of their own",
        &["early.start.listeners", "inter.broker.listener.name", "security.inter.broker.protocol"],
    ),
    (
        "partitions without a majority are looked after all the time",
        &["unclean.leader.election.interval.ms"],
    ),
    (
        "listeners speak PLAINTEXT only, so nothing reads it yet",
        &[
            "allow.everyone.if.no.acl.found",
            "connection.failed.authentication.delay.ms",
            "connections.max.reauth.ms",
            "delegation.token.*",
            "listener.name.*",
            "principal.builder.class",
            "sasl.*",
            "security.providers",
            "ssl.*",
            "super.users",
        ],
    ),
    (
        "there is no tiered storage",
        &["follower.fetch.last.tiered.offset.enable", "remote.*", "rlmm.config.*", "rsm.config.*"],
    ),
    (
        "quotas are not enforced yet",
        &[
            "alter.log.dirs.replication.quota.*",
            "client.quota.callback.class",
            "controller.quota.*",
            "max.connection.creation.rate",
            "max.connections.per.ip.overrides",
            "quota.*",
            "replication.quota.*",
        ],
    ),
    (
        "requests that wait need no purging",
        &[
            "delete.records.purgatory.*",
            "fetch.purgatory.*",
            "producer.purgatory.*",
            "share.fetch.purgatory.*",
        ],
    ),
    (
        "the broker chooses it itself",
        &[
            "add.partitions.to.txn.*",
            "cordoned.log.dirs",
            "group.coordinator.append.linger.ms",
            "group.coordinator.cached.buffer.max.bytes",
            "group.coordinator.rebalance.protocols",
            "group.consumer.assignment.interval.ms",
            "group.consumer.max.assignment.interval.ms",
            "group.consumer.min.assignment.interval.ms",
            "group.consumer.regex.refresh.interval.ms",
            "log.cleaner.io.buffer.*",
            "log.dir.failure.timeout.ms",
            "log.flush.offset.checkpoint.interval.ms",
            "log.flush.start.offset.checkpoint.interval.ms",
            "log.initial.task.delay.ms",
            "offsets.commit.timeout.ms",
            "offsets.load.buffer.size",
            "offsets.topic.compression.codec",
            "producer.id.expiration.check.interval.ms",
            "request.timeout.ms",
            "socket.connection.setup.*",
            "transaction.remove.expired.*",
            "transaction.state.log.load.buffer.size",
            "transaction.two.phase.commit.enable",
            "unstable.*",
        ],
    ),
    ("share groups are not served yet", &["group.share.*", "share.coordinator.*"]),
    ("streams groups are not served yet", &["group.streams.*"]),
    (
        "metrics are served by metrics.listener",
        &[
            "kafka.csv.metrics.*",
            "kafka.metrics.*",
            "metric.reporters",
            "metrics.num.samples",
            "metrics.recording.level",
            "metrics.sample.window.ms",
            "telemetry.max.bytes",
        ],
    ),
    ("Java classes can not be loaded", &["config.providers*"]),
];

/// These restrict what clients may do. A broker without them would be more open than the file
/// says.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "access is not controlled yet, so the broker would be open to all",
        &["authorizer.class.name"],
    ),
    (
        "Java classes can not be loaded, so the policy would not be enforced",
        &["alter.config.policy.class.name", "create.topic.policy.class.name"],
    ),
];

/// `None` when the key is not one of Kafka's, or has an effect.
pub(super) fn find(name: &str) -> Option<Inert> {
    let reason = |table: &'static [(&'static str, &'static [&'static str])]| {
        table.iter().find(|(_, names)| names.iter().any(|pattern| matches(pattern, name)))
    };
    let refused = reason(REFUSED).map(|(reason, _)| Inert::Refused(reason));
    refused.or_else(|| reason(IGNORED).map(|(reason, _)| Inert::Ignored(reason)))
}

/// The names that stand for themselves alone, for suggestions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let all = IGNORED.iter().chain(REFUSED).flat_map(|(_, names)| names.iter().copied());
    all.filter(|name| !name.ends_with('*'))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

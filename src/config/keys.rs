//! The broker keys that this broker honours: the table and the typed settings.
//!
//! The keys that set the default of a topic key (`log.retention.ms` …) are not here; they follow
//! from the synonyms in the topic table and fill `Config::topic_defaults`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use super::key::{Key, config_table, key, optional};
use super::listener::{
    HOST_PORT, LISTENERS, Listener, PROTOCOL_MAP, ProcessRoles, SecurityProtocolMap,
};
use super::quorum::{SERVERS, VOTERS, Voter};
use super::topic::{TOPIC_KEYS, TopicConfig};
use super::value::ConfigKind::{Boolean, Class, Double, Int, List, Long, Short, String as Text};
use super::value::Valid::{Any, AtLeast, Between, OneOf};
use super::value::{Value, field, named_enum};

named_enum! {
    /// Which groups may change their kind with their members.
    pub enum MigrationPolicy {
        Disabled = "disabled",
        Upgrade = "upgrade",
        Downgrade = "downgrade",
        Bidirectional = "bidirectional",
    }
}

named_enum! {
    /// Who chooses the replica that a consumer reads from.
    pub enum ReplicaSelector {
        RackAware = "org.apache.kafka.common.replica.RackAwareReplicaSelector",
    }
}

impl MigrationPolicy {
    /// Whether a classic group may become a consumer group.
    pub fn may_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    /// Whether a consumer group may become a classic group.
    pub fn may_downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

config_table! {
    /// The settings of this broker.
    pub struct Config {
        /// Those of `listeners` that `controller.listener.names` names; `listeners` and
        /// `advertised_listeners` are without them. The first is where other nodes are talked to.
        pub controller_listeners: Vec<Listener>,
        /// Those of `advertised.listeners` that `controller.listener.names` names.
        pub advertised_controller_listeners: Vec<Listener>,
        /// What a topic has when it does not set a key itself.
        pub topic_defaults: TopicConfig,
    }
    static BROKER_KEYS;

    // The node and its addresses.

    /// This node's number, different on every node. Without one, the node gets one at its first
    /// start and keeps it in its data directory.
    node_id: Option<i32> = optional("node.id", Int, AtLeast(0));

    /// The rack or zone in which this node stands. Replicas of a partition are spread over
    /// different racks, and a consumer can read from the replica in its own.
    broker_rack: Option<String> = optional("broker.rack", Text, Any);

    /// What this node does: `broker` keeps data and serves clients, `controller` takes part in
    /// deciding about topics and nodes.
    process_roles: ProcessRoles = key("process.roles", List, "broker,controller",
        OneOf(&["broker", "controller"]));

    /// The addresses to listen on, as NAME://host:port. An empty host is every interface; port 0
    /// is any free port.
    listeners: Vec<Listener> = key("listeners", List, "PLAINTEXT://127.0.0.1:9092", LISTENERS);

    /// The addresses that clients are told to connect to, as NAME://host:port. Without it they
    /// are those of `listeners`; an empty host then becomes this machine's name.
    advertised_listeners: Vec<Listener> = optional("advertised.listeners", List, LISTENERS);

    /// The protocol that each listener name speaks, as NAME:PROTOCOL. Only PLAINTEXT is served so
    /// far; other protocols may stand here as long as no listener uses them.
    listener_security_protocol_map: SecurityProtocolMap = key("listener.security.protocol.map",
        Text, "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
        PROTOCOL_MAP);

    /// The names of listeners that are for the other nodes and not for clients. A node that is to
    /// be part of a cluster needs one.
    controller_listener_names: Vec<String> = key("controller.listener.names", List, "", Any);

    // The cluster.

    /// The nodes that first vote on metadata, as id@host:port, where the port is the one for other
    /// nodes. The same list on every node; a node without data forms a cluster with them or joins
    /// theirs.
    controller_quorum_voters: Vec<Voter> = key("controller.quorum.voters", List, "", VOTERS);

    /// Where other nodes of the cluster are, as host:port, where the port is the one for other
    /// nodes. A node without data forms a cluster with them or joins theirs; the cluster chooses
    /// itself who votes on metadata.
    controller_quorum_bootstrap_servers: Vec<String> =
        key("controller.quorum.bootstrap.servers", List, "", SERVERS);

    /// Hand the leadership of partitions to other nodes before stopping.
    controlled_shutdown_enable: bool = key("controlled.shutdown.enable", Boolean, "true", Any);

    /// Give the leadership of partitions back to the first one of their replicas.
    auto_leader_rebalance_enable: bool = key("auto.leader.rebalance.enable", Boolean, "true", Any);

    /// How often to look for partitions that are not led by the first one of their replicas, in
    /// seconds.
    leader_imbalance_check_interval_seconds: i64 =
        key("leader.imbalance.check.interval.seconds", Long, "300", AtLeast(1));

    /// Move replicas to a node that has less than half of what the others have, such as a new one.
    auto_replica_rebalance_enable: bool =
        key("auto.replica.rebalance.enable", Boolean, "true", Any).ours();

    /// How the replica is chosen that a consumer reads from: the leader, or with Kafka's
    /// RackAwareReplicaSelector one in the consumer's own rack.
    replica_selector_class: Option<ReplicaSelector> =
        optional("replica.selector.class", Class, OneOf(ReplicaSelector::NAMES));

    // Data.

    /// The directories that hold the data. Partitions are spread over them.
    log_dirs: Vec<PathBuf> = key("log.dirs", List, "./data", Any);

    /// What is kept free of the file system of each log dir, in bytes, but not more than a
    /// twentieth of it. With less, records are refused (KAFKA_STORAGE_ERROR) until something is
    /// deleted; metadata and consumers go on.
    log_dir_reserve_bytes: i64 = key("log.dir.reserve.bytes", Long, "268435456", AtLeast(0)).ours();

    /// How often to look for segments that retention can drop, in milliseconds.
    log_retention_check_interval_ms: i64 =
        key("log.retention.check.interval.ms", Long, "300000", AtLeast(1));

    /// Compact the logs of topics with `cleanup.policy=compact`.
    log_cleaner_enable: bool = key("log.cleaner.enable", Boolean, "true", Any);

    /// How many partitions are compacted at one time.
    log_cleaner_threads: i32 = key("log.cleaner.threads", Int, "1", AtLeast(0)).dynamic();

    /// What the keys of the logs that are being compacted may take of the memory, in bytes, for all
    /// of them together.
    log_cleaner_dedupe_buffer_size: i64 =
        key("log.cleaner.dedupe.buffer.size", Long, "134217728", AtLeast(1_048_576)).dynamic();

    /// How many bytes compaction reads and writes in a second.
    log_cleaner_io_max_bytes_per_second: f64 =
        key("log.cleaner.io.max.bytes.per.second", Double, "1.7976931348623157E308", Any).dynamic();

    /// How long compaction rests when there is nothing to compact, in milliseconds.
    log_cleaner_backoff_ms: i64 =
        key("log.cleaner.backoff.ms", Long, "15000", AtLeast(0)).dynamic();

    /// How many bytes are read in a second only to see whether the disks still have what was
    /// written, so that it can be mended from other replicas. 0 is not at all.
    log_scrub_io_max_bytes_per_second: f64 =
        key("log.scrub.io.max.bytes.per.second", Double, "4194304", AtLeast(0)).ours().dynamic();

    /// How often all data is read so, in milliseconds.
    log_scrub_interval_ms: i64 =
        key("log.scrub.interval.ms", Long, "604800000", AtLeast(1)).ours().dynamic();

    // Topics.

    /// How many partitions a topic gets that is created without a number.
    num_partitions: i32 = key("num.partitions", Int, "1", AtLeast(1));

    /// How many replicas a topic gets that is created without a number.
    default_replication_factor: i16 =
        key("default.replication.factor", Int, "1", Between(1, 32_767));

    /// Create a topic when a client asks for one that is not there.
    auto_create_topics_enable: bool = key("auto.create.topics.enable", Boolean, "true", Any);

    /// Let clients delete topics.
    delete_topic_enable: bool = key("delete.topic.enable", Boolean, "true", Any);

    // Connections.

    /// The largest request that is read, in bytes; a larger one ends the connection.
    socket_request_max_bytes: u32 = key("socket.request.max.bytes", Int, "104857600", AtLeast(1));

    /// The send buffer of a connection, in bytes. -1 leaves it to the system, which lets it grow;
    /// records then leave the processor's cache before they are sent (Kafka's default is 102400).
    socket_send_buffer_bytes: i32 = key("socket.send.buffer.bytes", Int, "262144", AtLeast(-1));

    /// The receive buffer of a connection, in bytes. -1 leaves it to the system, which fits it to
    /// the connection (Kafka's default is 102400).
    socket_receive_buffer_bytes: i32 =
        key("socket.receive.buffer.bytes", Int, "-1", AtLeast(-1));

    /// How many connections the system may hold that are not yet accepted.
    socket_listen_backlog_size: i32 = key("socket.listen.backlog.size", Int, "50", AtLeast(1));

    /// The most connections at one time.
    max_connections: u32 = key("max.connections", Int, "2147483647", AtLeast(0)).dynamic();

    /// The most connections at one time from one address.
    max_connections_per_ip: u32 =
        key("max.connections.per.ip", Int, "2147483647", AtLeast(0)).dynamic();

    /// Close a connection on which nothing happened for so many milliseconds.
    connections_max_idle_ms: i64 = key("connections.max.idle.ms", Long, "600000", AtLeast(1));

    /// Requests that are read and not yet answered may hold so many bytes together; then reading
    /// stops. Kafka has no such limit by default, this broker always has one.
    queued_max_request_bytes: u64 =
        key("queued.max.request.bytes", Long, "268435456", AtLeast(1));

    // Produce and fetch.

    /// The largest answer to a fetch, in bytes. One batch is given even when it alone is larger.
    fetch_max_bytes: u32 = key("fetch.max.bytes", Int, "57671680", AtLeast(1024));

    /// How many incremental fetch sessions are remembered.
    max_incremental_fetch_session_cache_slots: u32 =
        key("max.incremental.fetch.session.cache.slots", Int, "1000", AtLeast(0));

    /// The most partitions in one answer to DescribeTopicPartitions.
    max_request_partition_size_limit: i32 =
        key("max.request.partition.size.limit", Int, "2000", AtLeast(1));

    /// Forget an idempotent producer after so many milliseconds without a record of it.
    producer_id_expiration_ms: i64 =
        key("producer.id.expiration.ms", Int, "86400000", AtLeast(1)).dynamic();

    /// A replica that is behind for so many milliseconds is no longer reported as in sync.
    replica_lag_time_max_ms: i64 = key("replica.lag.time.max.ms", Long, "30000", AtLeast(1));

    /// How many bytes a second this broker sends, as a leader, to all replicas together that are
    /// not in sync, so that their catching up does not disturb the others. 0 is no limit.
    replica_catchup_max_bytes_per_second: u64 =
        key("replica.catchup.max.bytes.per.second", Long, "104857600", AtLeast(0)).ours().dynamic();

    // Consumer groups.

    /// How many partitions the topic of committed offsets gets when it is created.
    offsets_topic_num_partitions: i32 = key("offsets.topic.num.partitions", Int, "50", AtLeast(1));

    /// How many replicas the topic of committed offsets gets when it is created. It gets fewer
    /// when there are fewer brokers.
    offsets_topic_replication_factor: i16 =
        key("offsets.topic.replication.factor", Short, "3", AtLeast(1));

    /// The segment size of the topic of committed offsets, in bytes.
    offsets_topic_segment_bytes: u32 =
        key("offsets.topic.segment.bytes", Int, "104857600", AtLeast(1));

    /// Forget the offsets of a group that has been empty for so many minutes.
    offsets_retention_minutes: i64 = key("offsets.retention.minutes", Int, "10080", AtLeast(1));

    /// How often to look for offsets that can be forgotten, in milliseconds.
    offsets_retention_check_interval_ms: i64 =
        key("offsets.retention.check.interval.ms", Long, "600000", AtLeast(1));

    /// The longest text that can be committed with an offset, in bytes.
    offset_metadata_max_bytes: u32 = key("offset.metadata.max.bytes", Int, "4096", AtLeast(0));

    /// The shortest session timeout that a member of a classic group may ask for, in milliseconds.
    group_min_session_timeout_ms: i32 =
        key("group.min.session.timeout.ms", Int, "6000", AtLeast(1));

    /// The longest session timeout that a member of a classic group may ask for, in milliseconds.
    group_max_session_timeout_ms: i32 =
        key("group.max.session.timeout.ms", Int, "1800000", AtLeast(1));

    /// How long a new classic group waits for more members before its first rebalance, in
    /// milliseconds.
    group_initial_rebalance_delay_ms: i32 =
        key("group.initial.rebalance.delay.ms", Int, "3000", AtLeast(0));

    /// The most members of a classic group.
    group_max_size: i32 = key("group.max.size", Int, "2147483647", AtLeast(1));

    /// A member of a consumer group that is silent for so many milliseconds is removed.
    group_consumer_session_timeout_ms: i32 =
        key("group.consumer.session.timeout.ms", Int, "45000", AtLeast(1));

    /// The shortest session timeout that one consumer group may be given, in milliseconds.
    group_consumer_min_session_timeout_ms: i32 =
        key("group.consumer.min.session.timeout.ms", Int, "45000", AtLeast(1));

    /// The longest session timeout that one consumer group may be given, in milliseconds.
    group_consumer_max_session_timeout_ms: i32 =
        key("group.consumer.max.session.timeout.ms", Int, "60000", AtLeast(1));

    /// How often members of a consumer group report, in milliseconds.
    group_consumer_heartbeat_interval_ms: i32 =
        key("group.consumer.heartbeat.interval.ms", Int, "5000", AtLeast(1));

    /// The shortest heartbeat interval that one consumer group may be given, in milliseconds.
    group_consumer_min_heartbeat_interval_ms: i32 =
        key("group.consumer.min.heartbeat.interval.ms", Int, "5000", AtLeast(1));

    /// The longest heartbeat interval that one consumer group may be given, in milliseconds.
    group_consumer_max_heartbeat_interval_ms: i32 =
        key("group.consumer.max.heartbeat.interval.ms", Int, "15000", AtLeast(1));

    /// The most members of a consumer group.
    group_consumer_max_size: i32 = key("group.consumer.max.size", Int, "2147483647", AtLeast(1));

    /// Whether a classic group may become a consumer group (upgrade), or the other way (downgrade),
    /// when its members change to the other protocol one by one.
    group_consumer_migration_policy: MigrationPolicy = key("group.consumer.migration.policy", Text,
        "bidirectional", OneOf(MigrationPolicy::NAMES));

    /// The assignors that a consumer group can choose from. The first one is the default.
    group_consumer_assignors: Vec<String> = key("group.consumer.assignors", List, "uniform,range",
        OneOf(&["uniform", "range"]));

    // Transactions.

    /// The longest transaction timeout that a producer may ask for, in milliseconds.
    transaction_max_timeout_ms: i32 =
        key("transaction.max.timeout.ms", Int, "900000", AtLeast(1));

    /// How often to look for transactions that took too long, in milliseconds.
    transaction_abort_timed_out_transaction_cleanup_interval_ms: i64 = key(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, "10000", AtLeast(1));

    /// Forget a transactional id that was not used for so many milliseconds.
    transactional_id_expiration_ms: i64 =
        key("transactional.id.expiration.ms", Int, "604800000", AtLeast(1));

    /// How many partitions the topic of transactions gets when it is created.
    transaction_state_log_num_partitions: i32 =
        key("transaction.state.log.num.partitions", Int, "50", AtLeast(1));

    /// How many replicas the topic of transactions gets when it is created. It gets fewer when
    /// there are fewer brokers.
    transaction_state_log_replication_factor: i16 =
        key("transaction.state.log.replication.factor", Short, "3", AtLeast(1));

    /// The `min.insync.replicas` of the topic of transactions. It is no more than that topic has
    /// replicas.
    transaction_state_log_min_isr: i32 = key("transaction.state.log.min.isr", Int, "2", AtLeast(1));

    /// The segment size of the topic of transactions, in bytes.
    transaction_state_log_segment_bytes: u32 =
        key("transaction.state.log.segment.bytes", Int, "104857600", AtLeast(1));

    // Watching the broker.

    /// Where metrics are served, as host:port. Empty is nowhere.
    metrics_listener: Option<String> =
        key("metrics.listener", Text, "127.0.0.1:9644", HOST_PORT).ours();

    /// How many partitions of consumer groups have metrics of their own at most. Groups beyond that
    /// have their totals only.
    metrics_consumergroup_partition_series_max: u32 =
        key("metrics.consumergroup.partition.series.max", Int, "10000", AtLeast(0)).ours();

    /// What is logged: a level (error, warn, info, debug, trace) or a tracing filter such as
    /// `info,ottla::wire=debug`.
    log_level: String = key("log.level", Text, "info", Any).ours();
}

/// Other names under which a key can be given.
pub(super) const ALIASES: &[(&str, &str)] = &[("broker.id", "node.id"), ("log.dir", "log.dirs")];

/// Every key that can be given and has an effect, by name.
pub(super) static KEYS: LazyLock<BTreeMap<&'static str, Key>> = LazyLock::new(|| {
    let synonyms = TOPIC_KEYS
        .iter()
        .flat_map(|key| key.synonyms.iter().map(|synonym| key.broker_key(*synonym)));
    BROKER_KEYS.iter().copied().chain(synonyms).map(|key| (key.name, key)).collect()
});

/// The name that `name` stands for.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

impl Config {
    /// `value` answers for broker keys. What concerns more than one key is left to the caller.
    pub(super) fn from_values(
        value: &dyn Fn(&str) -> Option<Value>,
        topic_defaults: TopicConfig,
    ) -> Self {
        let mut config = Self::build(value, None);
        config.topic_defaults = topic_defaults;
        config
    }

    /// The same with other values for some keys that stand for themselves.
    pub(super) fn with(
        &self,
        value: &dyn Fn(&str) -> Option<Value>,
        topic_defaults: TopicConfig,
    ) -> Self {
        Self {
            controller_listeners: self.controller_listeners.clone(),
            advertised_controller_listeners: self.advertised_controller_listeners.clone(),
            topic_defaults,
            ..Self::build(value, Some(self))
        }
    }
}

//! Every metric once: name, kind, help. Names and units follow Prometheus' conventions: base units
//! (seconds, bytes), `_total` for counters.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric's line.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $constant:ident = $name:literal, $kind:ident;)+) => {
        $($(#[doc = $help])+ pub const $constant: &str = $name;)+

        /// All metrics.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, help: concat!($($help),+) },)+
        ];
    };
}

metrics! {
    /// Requests answered, by API.
    REQUESTS = "ottla_requests_total", Counter;
    /// Time from a request's arrival to its answer, by API.
    REQUEST_SECONDS = "ottla_request_duration_seconds", Histogram;
    /// Error codes in answers, by API and error.
    REQUEST_ERRORS = "ottla_request_errors_total", Counter;
    /// Bytes received from clients.
    RECEIVED_BYTES = "ottla_network_received_bytes_total", Counter;
    /// Bytes sent to clients.
    SENT_BYTES = "ottla_network_sent_bytes_total", Counter;
    /// Open client connections.
    CONNECTIONS = "ottla_connections", Gauge;
    /// Open incremental fetch sessions.
    FETCH_SESSIONS = "ottla_fetch_sessions", Gauge;
    /// Time of one round of log syncs (fsync).
    FSYNC_SECONDS = "ottla_log_fsync_duration_seconds", Histogram;
    /// Appends made durable by one round of syncs.
    FSYNC_APPENDS = "ottla_log_fsync_batch_appends", Histogram;
    /// Bytes made durable by syncs.
    FSYNC_BYTES = "ottla_log_fsync_bytes_total", Counter;
    /// Bytes of a partition's log on disk.
    LOG_SIZE = "ottla_log_size_bytes", Gauge;
    /// Segments of a partition's log.
    LOG_SEGMENTS = "ottla_log_segments", Gauge;
    /// Segments dropped by retention or by DeleteRecords.
    SEGMENTS_DROPPED = "ottla_log_segments_dropped_total", Counter;
    /// Bytes of the segments that were dropped.
    DROPPED_BYTES = "ottla_log_dropped_bytes_total", Counter;
    /// Compactions of a log that have ended.
    CLEANER_RUNS = "ottla_log_cleaner_runs_total", Counter;
    /// Bytes of batches that compaction has read.
    CLEANER_READ_BYTES = "ottla_log_cleaner_read_bytes_total", Counter;
    /// Bytes of batches that compaction has written.
    CLEANER_WRITTEN_BYTES = "ottla_log_cleaner_written_bytes_total", Counter;
    /// Records that compaction has dropped.
    CLEANER_RECORDS_DROPPED = "ottla_log_cleaner_records_dropped_total", Counter;
    /// Bytes that the compaction under way still has to read.
    CLEANER_LEFT_BYTES = "ottla_log_cleaner_left_bytes", Gauge;
    /// The largest part of a compacted log that is not compacted yet, between 0 and 1.
    CLEANER_DIRTY_RATIO_MAX = "ottla_log_cleaner_dirty_ratio_max", Gauge;
    /// Partitions whose compaction has failed since the start; the reason is in the log.
    CLEANER_UNCLEANABLE = "ottla_log_cleaner_uncleanable_partitions", Gauge;
    /// Log dirs that could not be used at the start or have failed since; their partitions are
    /// offline.
    LOG_DIRS_OFFLINE = "ottla_log_dirs_offline", Gauge;
    /// 1 if a log dir has no room for records; what is left is kept for metadata.
    LOG_DIR_FULL = "ottla_log_dir_full", Gauge;
    /// Replicas that are to be moved to another log dir of this broker, or are being moved.
    LOG_DIR_MOVING = "ottla_log_dir_moving", Gauge;
    /// Replicas that were moved to another log dir of this broker.
    LOG_DIR_MOVES = "ottla_log_dir_moves_total", Counter;
    /// Attempts to move a replica to another log dir that came to nothing; the reason is in the
    /// log.
    LOG_DIR_MOVES_FAILED = "ottla_log_dir_moves_failed_total", Counter;
    /// Bytes that were copied to move replicas to other log dirs.
    LOG_DIR_MOVED_BYTES = "ottla_log_dir_moved_bytes_total", Counter;
    /// Batches found on disk that are not what was written.
    DAMAGED_BATCHES_FOUND = "ottla_log_damaged_batches_found_total", Counter;
    /// Damaged batches that were written again with what another replica has.
    DAMAGED_BATCHES_MENDED = "ottla_log_damaged_batches_mended_total", Counter;
    /// Batches that are damaged, as far as known; they are not served.
    DAMAGED_BATCHES = "ottla_log_damaged_batches", Gauge;
    /// Bytes that were read only to see whether they are as they were written.
    SCRUBBED_BYTES = "ottla_log_scrubbed_bytes_total", Counter;
    /// Times that all partitions of this broker have been looked at.
    SCRUBS = "ottla_log_scrubs_total", Counter;
    /// First offset of a partition.
    LOG_START = "ottla_log_start_offset", Gauge;
    /// Offset after the last record of a partition's log.
    LOG_END = "ottla_log_end_offset", Gauge;
    /// Offset after the last committed record of a partition.
    HIGH_WATERMARK = "ottla_high_watermark_offset", Gauge;
    /// Offset up to which everything in a partition is of no transaction or of one that has ended.
    LAST_STABLE = "ottla_last_stable_offset", Gauge;
    /// Whether this broker leads the partition's Raft group.
    RAFT_IS_LEADER = "ottla_raft_is_leader", Gauge;
    /// Term of the partition's Raft group: Kafka's leader epoch.
    RAFT_TERM = "ottla_raft_term", Gauge;
    /// Whether another node is alive: it hears this one, and this one hears it.
    PEER_ALIVE = "ottla_peer_alive", Gauge;
    /// Time of a ping to another node and its answer, as a mean of the latest.
    PEER_LATENCY_SECONDS = "ottla_peer_latency_seconds", Gauge;
    /// Calls to another node, by lane and outcome.
    PEER_CALLS = "ottla_peer_calls_total", Counter;
    /// Bytes of calls to another node.
    PEER_SENT_BYTES = "ottla_peer_sent_bytes_total", Counter;
    /// Bytes of another node's answers.
    PEER_RECEIVED_BYTES = "ottla_peer_received_bytes_total", Counter;
    /// Bytes of calls to another node that wait to be sent.
    PEER_QUEUED_BYTES = "ottla_peer_queued_bytes", Gauge;
    /// Connections made to another node.
    PEER_CONNECTIONS = "ottla_peer_connections_total", Counter;
    /// Elections in which this broker took a new term, of all its Raft groups.
    ELECTIONS_STARTED = "ottla_elections_started_total", Counter;
    /// Elections that this broker won, of all its Raft groups.
    ELECTIONS_WON = "ottla_elections_won_total", Counter;
    /// Changes of leader that this broker has seen in its Raft groups.
    LEADER_CHANGES = "ottla_leader_changes_total", Counter;
    /// Partitions that this broker leads.
    PARTITIONS_LED = "ottla_partitions_led", Gauge;
    /// Partitions led by this broker with fewer replicas in sync than they have.
    PARTITIONS_UNDER_REPLICATED = "ottla_partitions_under_replicated", Gauge;
    /// Partitions led by this broker with fewer replicas in sync than min.insync.replicas asks for:
    /// they refuse acks=all.
    PARTITIONS_UNDER_MIN_ISR = "ottla_partitions_under_min_isr", Gauge;
    /// Partitions led by this broker with exactly as many replicas in sync as min.insync.replicas
    /// asks for.
    PARTITIONS_AT_MIN_ISR = "ottla_partitions_at_min_isr", Gauge;
    /// Partitions led by this broker whose replicas are being moved.
    PARTITIONS_REASSIGNING = "ottla_partitions_reassigning", Gauge;
    /// Partitions of the cluster without a leader, as this broker knows.
    PARTITIONS_OFFLINE = "ottla_partitions_offline", Gauge;
    /// Partitions of the cluster that are not led by the first of their replicas, as this broker
    /// knows.
    PARTITIONS_NOT_PREFERRED = "ottla_partitions_not_led_by_preferred", Gauge;
    /// Entries that the farthest follower of a topic's partitions is behind this broker as their
    /// leader. An entry is a batch of records.
    REPLICATION_LAG = "ottla_replication_lag_entries_max", Gauge;
    /// Last change of the cluster's metadata that this broker knows.
    METADATA_OFFSET = "ottla_metadata_offset", Gauge;
    /// Entries of the metadata that this broker is behind the controller; missing while no
    /// controller answers.
    METADATA_LAG = "ottla_metadata_lag_entries", Gauge;
    /// Nodes that vote on metadata.
    METADATA_VOTERS = "ottla_metadata_voters", Gauge;
    /// Whether this broker is the active controller.
    IS_CONTROLLER = "ottla_is_controller", Gauge;
    /// Id of the active controller as this broker knows it; -1 if there is none.
    CONTROLLER_ID = "ottla_controller_id", Gauge;
    /// Nodes that are registered and can not be reached.
    BROKERS_FENCED = "ottla_brokers_fenced", Gauge;
    /// Brokers that are being emptied.
    BROKERS_DRAINING = "ottla_brokers_draining", Gauge;
    /// Topics of the cluster.
    TOPICS = "ottla_topics", Gauge;
    /// Partitions open on this broker.
    PARTITIONS = "ottla_partitions", Gauge;
    /// 1, with the version as a label.
    BUILD_INFO = "ottla_build_info", Gauge;

    // Those of danielqsj/kafka_exporter, so that its dashboards and alerts fit.

    /// Brokers of the cluster that can be reached.
    KAFKA_BROKERS = "kafka_brokers", Gauge;
    /// Partitions of a topic.
    KAFKA_TOPIC_PARTITIONS = "kafka_topic_partitions", Gauge;
    /// Offset after the last committed record of a partition.
    KAFKA_CURRENT_OFFSET = "kafka_topic_partition_current_offset", Gauge;
    /// First offset of a partition.
    KAFKA_OLDEST_OFFSET = "kafka_topic_partition_oldest_offset", Gauge;
    /// Members of a consumer group.
    KAFKA_GROUP_MEMBERS = "kafka_consumergroup_members", Gauge;
    /// Offset that a consumer group has committed for a partition.
    KAFKA_GROUP_OFFSET = "kafka_consumergroup_current_offset", Gauge;
    /// Offsets that a consumer group has committed for a topic, all partitions together.
    KAFKA_GROUP_OFFSET_SUM = "kafka_consumergroup_current_offset_sum", Gauge;
    /// Records of a partition that a consumer group has not consumed.
    KAFKA_GROUP_LAG = "kafka_consumergroup_lag", Gauge;
    /// Records of a topic that a consumer group has not consumed.
    KAFKA_GROUP_LAG_SUM = "kafka_consumergroup_lag_sum", Gauge;

    // Consumer groups, beyond that.

    /// Age of the first record of a partition that a consumer group has not consumed; 0 if it has
    /// consumed all.
    GROUP_LAG_SECONDS = "ottla_consumergroup_lag_seconds", Gauge;
    /// Age of the oldest record that a consumer group has not consumed; 0 if it has consumed all.
    GROUP_LAG_SECONDS_MAX = "ottla_consumergroup_lag_seconds_max", Gauge;
    /// Records that a consumer group has not consumed, of all its topics.
    GROUP_LAG_RECORDS = "ottla_consumergroup_lag_records", Gauge;
    /// Partitions of consumer groups without series of their own, because there are more than
    /// metrics.consumergroup.partition.series.max.
    GROUP_PARTITIONS_LEFT_OUT = "ottla_consumergroup_partitions_left_out", Gauge;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for metric in ALL {
            let is_ours = metric.name.starts_with("ottla_");
            assert!(is_ours || metric.name.starts_with("kafka_"), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"));
            assert!(!metric.help.is_empty());
        }
    }
}

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
    /// First offset of a partition.
    LOG_START = "ottla_log_start_offset", Gauge;
    /// Offset after the last record of a partition's log.
    LOG_END = "ottla_log_end_offset", Gauge;
    /// Offset after the last committed record of a partition.
    HIGH_WATERMARK = "ottla_high_watermark_offset", Gauge;
    /// Whether this broker leads the partition's Raft group.
    RAFT_IS_LEADER = "ottla_raft_is_leader", Gauge;
    /// Term of the partition's Raft group: Kafka's leader epoch.
    RAFT_TERM = "ottla_raft_term", Gauge;
    /// Topics of the cluster.
    TOPICS = "ottla_topics", Gauge;
    /// Partitions open on this broker.
    PARTITIONS = "ottla_partitions", Gauge;
    /// 1, with the version as a label.
    BUILD_INFO = "ottla_build_info", Gauge;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for metric in ALL {
            assert!(metric.name.starts_with("ottla_"), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"));
            assert!(!metric.help.is_empty());
        }
    }
}

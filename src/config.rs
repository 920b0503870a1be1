//! Configuration: every key once in a table, from texts to typed settings and back to answers.
//!
//! Keys have Kafka's names wherever Kafka has them. A value comes from what was set while the
//! broker runs, else from the environment, else from the file, else from the table; `Config::load`
//! reads nothing itself, so the same texts always give the same settings. What the tables hold
//! drives everything: reading and checking, `explain` and the entries for `DescribeConfigs`.
//!
//! | file | holds |
//! |---|---|
//! | `keys.rs` | the table of broker keys, and `Config` |
//! | `topic.rs` | the table of topic keys, `TopicConfig`, and the rules for altering it |
//! | `dynamic.rs` | what can be set for brokers while they run, and the rules for altering it |
//! | `group.rs` | the table of group keys, and the rules for altering it |
//! | `ignored.rs` | Kafka's keys that mean nothing here, with the reasons |
//! | `key.rs`, `value.rs` | what a row and a value are; Kafka's messages |
//! | `listener.rs` | the form of listeners and the rules between them |
//! | `quorum.rs` | the addresses of other nodes and the rules for them |
//! | `read.rs` | TOML, `.properties`, environment variables |
//! | `load.rs` | from texts to `Loaded` |
//! | `entries.rs`, `explain.rs` | from `Loaded` to clients and people |
//!
//! Invariants: no key has an effect without a row in a table; no key is accepted in silence that
//! has no effect; nothing here does IO.

mod dynamic;
mod entries;
mod error;
mod explain;
mod group;
mod ignored;
mod key;
mod keys;
mod listener;
mod load;
mod quorum;
mod read;
mod topic;
mod value;

#[cfg(test)]
mod tests;

pub use dynamic::{
    DRAINING, FOLLOWER_THROTTLE, LEADER_THROTTLE, LOG_DIRS_THROTTLE, default_broker_entries,
    dynamic_list_default, is_dynamic, runtime_entries,
};
pub use entries::{ConfigEntry, ConfigSource, group_entries, topic_entries};
pub use error::ConfigError;
pub use group::{HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS, validate_group_overrides};
pub use keys::{Config, MigrationPolicy, ReplicaSelector};
pub use listener::{Listener, ProcessRoles, SecurityProtocol, SecurityProtocolMap};
pub use load::Loaded;
pub use quorum::{PeerAddress, Voter};
pub use topic::{
    CleanupPolicy, CompressionType, TimestampType, TopicConfig, append_list_value, is_list,
    list_default, subtract_list_value, validate_topic_override,
};
pub use value::ConfigKind;

//! The glue to openraft, the only place that names it: one group per partition over its log, and
//! one group for the cluster's metadata over the key-value store. Others hold handles without
//! generics.
//!
//! Groups do not tick: an idle group costs nothing. A group with one voter elects itself when it
//! is opened; for the others `groups` watches whose leader's node has gone.

mod codec;
pub mod groups;
mod log_store;
mod member;
pub mod metadata_group;
mod metadata_store;
mod network;
pub mod partition_group;
mod runtime;
mod state_machine;
pub mod throttle;
mod types;
mod wire;

//! The controller: decides what the cluster's metadata becomes. The deciding files are pure: they
//! take an image and a request and give records and an answer. [`service`] drives them.

pub mod alter_configs;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod housekeeper;
pub mod in_sync;
pub mod leaders;
pub mod leadership;
pub mod moves;
pub mod nodes;
mod placement;
pub mod producer_ids;
pub mod quorum;
pub mod reassign;
pub mod refusal;
pub mod service;
pub mod spread;
pub mod steps;
pub mod topic_name;
pub mod unclean;
pub mod update_features;

/// The most records of one decision (`QuorumController.MAX_RECORDS_PER_USER_OP`).
const RECORDS_COUNT_MAX: usize = 10_000;
/// The most partitions that one request makes
/// (`ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`).
const NEW_PARTITIONS_COUNT_MAX: usize = 10_000;

//! One file per API, over a socket.

mod add_raft_voter;
mod alter_configs;
mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod remove_raft_voter;
mod sync_group;
mod unregister_broker;
mod update_features;

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;

use crate::harness::{Client, text};

/// A topic's own configs as `key=value`, by key.
async fn configs_of(client: &mut Client, topic: &str) -> Vec<String> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let configs = client.call(4, &request).await.results.remove(0).configs;
    let own = configs.iter().filter(|config| config.config_source == 1);
    let own = own.map(|config| format!("{}={}", &*config.name, config.value.as_deref().unwrap()));
    let mut own: Vec<String> = own.collect();
    own.sort();
    own
}

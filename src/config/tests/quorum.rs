//! The addresses of other nodes.

use super::{error, load, load_env};
use crate::config::{Config, ReplicaSelector};

const OWN: &str = "listeners = 'PLAINTEXT://h:1,CONTROLLER://h:2'\n\
                   controller.listener.names = 'CONTROLLER'\n";

fn config(text: &str) -> Config {
    load(&format!("{OWN}{text}")).unwrap().config
}

fn refusal(text: &str) -> String {
    error(load(&format!("{OWN}{text}")))
}

fn addresses(config: &Config) -> Vec<String> {
    config.quorum_addresses().iter().map(ToString::to_string).collect()
}

#[test]
fn both_lists_name_nodes() {
    let text = "controller.quorum.voters = '1@a:1, 2@[::1]:2'\n\
                controller.quorum.bootstrap.servers = 'b:3,a:1'";
    let config = config(text);
    assert_eq!(addresses(&config), ["a:1", "[::1]:2", "b:3"]);
    let nodes: Vec<_> = config.controller_quorum_voters.iter().map(|voter| voter.node).collect();
    assert_eq!(nodes, [1, 2]);
}

#[test]
fn forms_of_addresses() {
    for bad in ["a:1", "x@a:1", "-1@a:1", "1@a", "1@:1", "1@a:0", "1@a:65536"] {
        let message = refusal(&format!("controller.quorum.voters = '{bad}'"));
        assert!(message.contains(&format!("'{bad}' is not id@host:port")), "{message}");
    }
    assert!(refusal("controller.quorum.voters = '1@a:1,1@b:1'").contains("node 1 is listed twice"));
    for bad in ["a", ":1", "a:0", "1@a:1"] {
        let message = refusal(&format!("controller.quorum.bootstrap.servers = '{bad}'"));
        assert!(message.contains(&format!("'{bad}' is not host:port")), "{message}");
    }
}

#[test]
fn a_voters_own_address_tells_its_id() {
    let voters = "controller.quorum.voters = '4@h:2,5@i:2'\n";
    assert_eq!(config(voters).node_id, Some(4));
    assert_eq!(config(&format!("{voters}node.id = 4")).node_id, Some(4));
    assert_eq!(
        refusal(&format!("{voters}node.id = 5")),
        "node.id is 5, but controller.quorum.voters has node 4 at this node's address h:2"
    );
    // What other nodes are told is what counts.
    let told = "advertised.listeners = 'PLAINTEXT://h:1,CONTROLLER://i:2'\n";
    assert_eq!(config(&format!("{voters}{told}")).node_id, Some(5));
    assert_eq!(config("controller.quorum.voters = '4@j:2'").node_id, None);
}

#[test]
fn a_node_of_a_cluster_needs_a_listener_for_it() {
    let message = error(load("controller.quorum.bootstrap.servers = 'a:1'"));
    assert!(message.contains("no listener is for them"), "{message}");
    assert!(load("process.roles = 'broker'").is_err());
    assert!(error(load(&format!("{OWN}process.roles = 'controller'"))).contains("is no broker"));
    let alone = refusal("process.roles = 'broker'");
    assert!(alone.contains("process.roles has no controller"), "{alone}");
    let joins = "process.roles = 'broker'\ncontroller.quorum.bootstrap.servers = 'a:1'";
    assert!(!config(joins).process_roles.controller);
}

#[test]
fn other_nodes_are_told_the_advertised_address() {
    let text = "advertised.listeners = 'CONTROLLER://c:9,PLAINTEXT://p:8'";
    let config = config(text);
    assert_eq!(config.advertised_peer_listener().unwrap().to_string(), "CONTROLLER://c:9");
    assert_eq!(config.peer_listener().unwrap().to_string(), "CONTROLLER://h:2");
    assert_eq!(config.advertised_listeners[0].to_string(), "PLAINTEXT://p:8");
}

#[test]
fn replicas_are_selected_by_rack_or_not_at_all() {
    let class = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let selector = |name: &str| {
        load(&format!("replica.selector.class = '{name}'")).map(|l| l.config.replica_selector_class)
    };
    assert_eq!(selector(class).unwrap(), Some(ReplicaSelector::RackAware));
    assert_eq!(load("").unwrap().config.replica_selector_class, None);
    assert!(selector("com.example.Mine").is_err());
}

/// The settings of a Kafka cluster of three combined nodes.
#[test]
fn settings_of_a_kafka_cluster_carry_over() {
    let loaded = load_env(&[
        ("KAFKA_PROCESS_ROLES", "broker,controller"),
        ("KAFKA_NODE_ID", "2"),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@127.0.0.1:1,2@127.0.0.1:2,3@127.0.0.1:3"),
        ("KAFKA_LISTENERS", "PLAINTEXT://127.0.0.1:12,CONTROLLER://127.0.0.1:2"),
        ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://127.0.0.1:12,CONTROLLER://127.0.0.1:2"),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "PLAINTEXT"),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
        ("KAFKA_NUM_NETWORK_THREADS", "3"),
        ("KAFKA_NUM_IO_THREADS", "8"),
        ("KAFKA_SOCKET_SEND_BUFFER_BYTES", "102400"),
        ("KAFKA_SOCKET_RECEIVE_BUFFER_BYTES", "102400"),
        ("KAFKA_SOCKET_REQUEST_MAX_BYTES", "104857600"),
        ("KAFKA_LOG_DIRS", "/tmp/data"),
        ("KAFKA_NUM_PARTITIONS", "1"),
        ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3"),
        ("KAFKA_MIN_INSYNC_REPLICAS", "2"),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "3"),
        ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR", "3"),
        ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR", "2"),
        ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "3"),
        ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "2"),
        ("KAFKA_LOG_RETENTION_HOURS", "168"),
        ("KAFKA_LOG_SEGMENT_BYTES", "1073741824"),
        ("KAFKA_LOG_RETENTION_CHECK_INTERVAL_MS", "300000"),
    ])
    .unwrap();
    assert_eq!(loaded.config.controller_quorum_voters.len(), 3);
    assert_eq!(loaded.config.node_id, Some(2));
    let ignored = |key: &str| loaded.warnings.iter().any(|warning| warning.contains(key));
    assert!(ignored("share.coordinator.state.topic.min.isr is ignored: share groups"));
    assert!(!ignored("controller.quorum") && !ignored("process.roles"));
}

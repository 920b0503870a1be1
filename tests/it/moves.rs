//! Replicas and leaders move about in a cluster, by wish and by themselves.

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ElectLeadersRequest, FetchRequest,
    ListPartitionReassignmentsRequest,
};
use uuid::Uuid;

use crate::harness::batch;
use crate::harness::cluster::{Cluster, Seat, free_ports, sees};
use crate::harness::records::Topic;
use crate::harness::{Broker, eventually, run, topic_name};

pub async fn partition(broker: &Broker, topic: &str) -> MetadataResponsePartition {
    broker.client().await.topic(topic).await.partitions.remove(0)
}

pub fn numbers(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

pub async fn reassign(broker: &Broker, topic: &str, replicas: &[i32]) {
    let replicas = replicas.iter().copied().map(BrokerId).collect();
    let partition = ReassignablePartition::default().with_replicas(Some(replicas));
    let topic =
        ReassignableTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(60_000)
        .with_topics(vec![topic]);
    let answer = broker.client().await.call(1, &request).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 0, "{answer:?}");
}

async fn moving(broker: &Broker) -> usize {
    let request = ListPartitionReassignmentsRequest::default().with_topics(None);
    broker.client().await.call(0, &request).await.topics.len()
}

/// Waits until a partition has these replicas, all of them in sync, and a leader.
pub async fn moved(broker: &Broker, topic: &str, replicas: &[i32]) {
    eventually(async || {
        let now = partition(broker, topic).await;
        moving(broker).await == 0
            && numbers(&now.replica_nodes) == replicas
            && now.isr_nodes.len() == replicas.len()
            && now.leader_id.0 > 0
    })
    .await;
}

async fn set_draining(broker: &Broker, node: i32) {
    let mut client = broker.client().await;
    client.set_config((4, &node.to_string()), "ottla.broker.draining", "true").await;
}

#[test]
fn every_broker_tells_the_same_leader_and_sends_clients_there() {
    run(async {
        let mut cluster =
            Cluster::start_with(3, &[("KAFKA_DEFAULT_REPLICATION_FACTOR", "3")]).await;
        let topic_id: Uuid = cluster.client(1).await.create_topic("t", 1, &[]).await;
        let told = partition(cluster.broker(1), "t").await;
        assert!((1..=3).contains(&told.leader_id.0));
        for id in 1..=3 {
            // Another broker's metadata may be a moment younger.
            eventually(async || partition(cluster.broker(id), "t").await == told).await;
        }
        let other = (1..=3).find(|id| *id != told.leader_id.0).unwrap();
        let fetched = kafka_protocol::messages::fetch_request::FetchPartition::default()
            .with_current_leader_epoch(told.leader_epoch - 1)
            .with_partition_max_bytes(1000);
        let topic = kafka_protocol::messages::fetch_request::FetchTopic::default()
            .with_topic_id(topic_id)
            .with_partitions(vec![fetched]);
        let request = FetchRequest::default().with_max_bytes(1000).with_topics(vec![topic]);
        let at = usize::try_from(other).unwrap();
        let answer = cluster.client(at).await.call(16, &request).await;
        let found = &answer.responses[0].partitions[0];
        assert_eq!(found.error_code, 74);
        assert_eq!(found.current_leader.leader_id, told.leader_id);
        let leader = cluster.broker(usize::try_from(told.leader_id.0).unwrap()).address;
        assert_eq!(answer.node_endpoints[0].port, i32::from(leader.port()));
        cluster.stop().await;
    });
}

#[test]
fn a_replica_moves_and_the_first_one_leads_again() {
    run(async {
        let settings = [
            ("KAFKA_DEFAULT_REPLICATION_FACTOR", "2"),
            ("OTTLA_AUTO_REPLICA_REBALANCE_ENABLE", "false"),
        ];
        let mut cluster = Cluster::start_with(3, &settings).await;
        cluster.client(1).await.create_topic("t", 1, &[]).await;
        for replicas in [[3, 1], [1, 2], [2, 3]] {
            reassign(cluster.broker(1), "t", &replicas).await;
            moved(cluster.broker(2), "t", &replicas).await;
        }
        let topic = TopicPartitions::default().with_topic(topic_name("t")).with_partitions(vec![0]);
        let request = ElectLeadersRequest::default()
            .with_timeout_ms(60_000)
            .with_topic_partitions(Some(vec![topic]));
        let answer = cluster.client(1).await.call(2, &request).await;
        let code = answer.replica_election_results[0].partition_result[0].error_code;
        assert!([0, 84].contains(&code), "{answer:?}");
        eventually(async || partition(cluster.broker(1), "t").await.leader_id.0 == 2).await;
        cluster.stop().await;
    });
}

#[test]
fn a_new_node_gets_replicas_and_one_that_is_drained_loses_them() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        for name in ["a", "b", "c", "d", "e", "f"] {
            cluster.client(1).await.create_topic(name, 2, &[]).await;
        }
        let known = format!("127.0.0.1:{}", cluster.seats[1].peer_port);
        let seat =
            Seat::new(free_ports(1)[0], &[("KAFKA_CONTROLLER_QUORUM_BOOTSTRAP_SERVERS", &known)]);
        let fourth = seat.start().await;
        sees(&fourth, 4).await;
        let replicas_of = async |node: i32| {
            let all = kafka_protocol::messages::MetadataRequest::default().with_topics(None);
            let topics = cluster.client(1).await.call(12, &all).await.topics;
            let partitions = topics.iter().flat_map(|topic| &topic.partitions);
            partitions.filter(|one| one.replica_nodes.contains(&BrokerId(node))).count()
        };
        eventually(async || replicas_of(4).await == 3).await;
        set_draining(cluster.broker(1), 4).await;
        eventually(async || replicas_of(4).await == 0).await;
        fourth.stop().await;
        cluster.stop().await;
    });
}

/// `unclean.leader.election.enable`: the one topic goes on with half of its replicas, the other
/// waits.
#[test]
fn a_partition_goes_on_without_its_majority_if_it_may() {
    run(async {
        let settings = [
            ("KAFKA_DEFAULT_REPLICATION_FACTOR", "2"),
            ("OTTLA_AUTO_REPLICA_REBALANCE_ENABLE", "false"),
        ];
        let mut cluster = Cluster::start_with(3, &settings).await;
        let unclean = [("unclean.leader.election.enable", "true")];
        let bold = Topic::create(cluster.broker(1), "bold", 1, &unclean).await;
        let safe = Topic::create(cluster.broker(1), "safe", 1, &[]).await;
        for topic in ["bold", "safe"] {
            reassign(cluster.broker(1), topic, &[1, 2]).await;
        }
        eventually(async || moving(cluster.broker(1)).await == 0).await;
        let write = async |cluster: &Cluster, topic: &Topic| {
            let at = partition(cluster.broker(1), topic.name).await.leader_id.0;
            let at = usize::try_from(at).unwrap_or(1);
            cluster.client(at).await.produce(topic, batch::of(&[b"x"])).await
        };
        for topic in [&bold, &safe] {
            eventually(async || write(&cluster, topic).await.error_code == 0).await;
        }
        cluster.stop_node(2).await;
        let before = partition(cluster.broker(1), "bold").await;
        eventually(async || write(&cluster, &bold).await.error_code == 0).await;
        let after = partition(cluster.broker(1), "bold").await;
        assert_eq!((after.leader_id.0, numbers(&after.isr_nodes)), (1, vec![1]));
        assert!(after.leader_epoch > before.leader_epoch);
        assert_ne!(write(&cluster, &safe).await.error_code, 0);
        let end = write(&cluster, &bold).await.base_offset;
        cluster.start_node(2).await;
        for topic in ["bold", "safe"] {
            eventually(async || partition(cluster.broker(3), topic).await.isr_nodes.len() == 2)
                .await;
        }
        // Both replicas have what one of them took alone.
        reassign(cluster.broker(1), "bold", &[2, 1]).await;
        eventually(async || write(&cluster, &bold).await.base_offset == end + 1).await;
        // The one that went on alone goes, and comes back as any other: with nothing of its own.
        for (replicas, next) in [([2, 3], end + 2), ([1, 2], end + 3), ([3, 1], end + 4)] {
            reassign(cluster.broker(1), "bold", &replicas).await;
            moved(cluster.broker(1), "bold", &replicas).await;
            eventually(async || write(&cluster, &bold).await.base_offset == next).await;
        }
        cluster.stop().await;
    });
}

/// A replica that has voted must not begin again by itself; taken away and given back it is a new
/// one.
#[test]
fn a_replica_whose_folder_is_lost_is_made_again_by_moving_it_away_and_back() {
    run(async {
        let settings = [
            ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3"),
            ("KAFKA_REPLICA_LAG_TIME_MAX_MS", "3000"),
            ("OTTLA_AUTO_REPLICA_REBALANCE_ENABLE", "false"),
        ];
        let mut cluster = Cluster::start_with(3, &settings).await;
        let topic = Topic::create(cluster.broker(1), "t", 1, &[]).await;
        let leader = cluster.leader("t", 0).await;
        let lost = if leader == 3 { 2 } else { 3 };
        let mut client = cluster.client(leader).await;
        assert_eq!(client.produce(&topic, batch::of(&[b"a"])).await.error_code, 0);
        let in_sync = async |cluster: &Cluster, count: usize| {
            eventually(async || {
                let now = partition(cluster.broker(1), "t").await;
                moving(cluster.broker(1)).await == 0 && now.isr_nodes.len() == count
            })
            .await;
        };
        in_sync(&cluster, 3).await;
        cluster.stop_node(lost).await;
        let folder = cluster.seats[lost - 1].dir.path().join("data/t-0");
        std::fs::remove_dir_all(&folder).unwrap();
        cluster.start_node(lost).await;
        cluster.all_see(3).await;
        let lost = i32::try_from(lost).unwrap();
        let others: Vec<i32> = (1..=3).filter(|id| *id != lost).collect();
        in_sync(&cluster, 2).await;
        reassign(cluster.broker(1), "t", &others).await;
        eventually(async || {
            numbers(&partition(cluster.broker(1), "t").await.replica_nodes) == others
        })
        .await;
        reassign(cluster.broker(1), "t", &[others.clone(), vec![lost]].concat()).await;
        in_sync(&cluster, 3).await;
        assert!(folder.exists());
        cluster.stop().await;
    });
}

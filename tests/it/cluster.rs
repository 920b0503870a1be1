//! Nodes become a cluster, over real sockets.

use std::time::Duration;

use futures_util::future::join_all;

use crate::harness::cluster::{Cluster, Seat, describe, free_ports, sees};
use crate::harness::{Broker, eventually, run};

async fn cluster_of(broker: &Broker) -> String {
    describe(broker).await.cluster_id.to_string()
}

fn ids(answer: &kafka_protocol::messages::DescribeClusterResponse) -> Vec<i32> {
    let mut ids: Vec<i32> = answer.brokers.iter().map(|broker| broker.broker_id.0).collect();
    ids.sort_unstable();
    ids
}

#[track_caller]
fn refusal(started: std::io::Result<Broker>) -> String {
    match started {
        Ok(_) => panic!("the node started"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn nodes_form_one_cluster_in_any_order() {
    run(async {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let seats = Cluster::seats(3, &[]);
            let starts = order.iter().zip(0..).map(async |(id, place)| {
                // The order is what is tested: each one has time to ask the others.
                tokio::time::sleep(Duration::from_millis(150) * place).await;
                seats[id - 1].start().await
            });
            let brokers = join_all(starts).await;
            for broker in &brokers {
                sees(broker, 3).await;
                assert_eq!(ids(&describe(broker).await), [1, 2, 3]);
                assert_eq!(cluster_of(broker).await, cluster_of(&brokers[0]).await);
            }
            join_all(brokers.into_iter().map(Broker::stop)).await;
        }
    });
}

#[test]
fn a_node_joins_by_any_address() {
    run(async {
        let cluster = Cluster::start(3).await;
        let port = free_ports(1)[0];
        let known = format!("127.0.0.1:{}", cluster.seats[1].peer_port);
        let seat = Seat::new(port, &[("KAFKA_CONTROLLER_QUORUM_BOOTSTRAP_SERVERS", &known)]);
        let fourth = seat.start().await;
        sees(&fourth, 4).await;
        cluster.all_see(4).await;
        assert_eq!(ids(&describe(&fourth).await), [1, 2, 3, 4]);
        assert_eq!(cluster_of(&fourth).await, cluster_of(cluster.broker(1)).await);
        // It keeps its id.
        fourth.stop().await;
        let fourth = seat.start().await;
        assert_eq!(ids(&describe(&fourth).await), [1, 2, 3, 4]);
    });
}

#[test]
fn a_node_that_stopped_is_gone_until_it_comes_back() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        for id in 1..=3 {
            cluster.stop_node(id).await;
            cluster.all_see(2).await;
            cluster.start_node(id).await;
            cluster.all_see(3).await;
        }
    });
}

#[test]
fn a_cluster_that_was_stopped_comes_back() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        let before = cluster_of(cluster.broker(1)).await;
        cluster.stop().await;
        let brokers = join_all(cluster.seats.iter().rev().map(Seat::start)).await;
        for broker in &brokers {
            sees(broker, 3).await;
            assert_eq!(cluster_of(broker).await, before);
        }
    });
}

#[test]
fn a_node_that_lost_its_data_is_refused() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        cluster.stop_node(2).await;
        let refused = refusal(cluster.seats[1].wiped().try_start().await);
        assert!(refused.contains("node.id 2 belongs to a node with other data"), "{refused}");
        cluster.start_node(2).await;
        cluster.all_see(3).await;
    });
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    run(async {
        let cluster = Cluster::start(1).await;
        let [lonely, port] = free_ports(2)[..] else { panic!("two ports") };
        let foreign = Seat::new(lonely, &[("KAFKA_NODE_ID", "7")]);
        let foreign_broker = foreign.start().await;
        // It sees nodes of two clusters and cannot know which one is meant.
        let both = format!("127.0.0.1:{lonely},127.0.0.1:{}", cluster.seats[0].peer_port);
        let between = Seat::new(port, &[("KAFKA_CONTROLLER_QUORUM_BOOTSTRAP_SERVERS", &both)]);
        let refused = refusal(between.try_start().await);
        assert!(refused.contains("belongs to cluster"), "{refused}");
        sees(&foreign_broker, 1).await;
    });
}

#[test]
fn the_same_id_twice_is_refused() {
    run(async {
        let ports = free_ports(2);
        let all = format!("127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1]);
        let settings =
            [("KAFKA_NODE_ID", "5"), ("KAFKA_CONTROLLER_QUORUM_BOOTSTRAP_SERVERS", all.as_str())];
        let seats = ports.iter().map(|port| Seat::new(*port, &settings));
        let seats: Vec<Seat> = seats.collect();
        let started = join_all(seats.iter().map(Seat::try_start)).await;
        let (up, down): (Vec<_>, Vec<_>) = started.into_iter().partition(Result::is_ok);
        assert_eq!((up.len(), down.len()), (1, 1));
        let refused = refusal(down.into_iter().next().unwrap());
        assert!(refused.contains("node.id 5 belongs to a node with other data"), "{refused}");
    });
}

#[test]
fn a_start_that_was_given_up_can_be_repeated() {
    run(async {
        let seats = Cluster::seats(3, &[]);
        for _ in 0..3 {
            let given_up = seats.iter().take(2).map(async |seat| {
                // Alone they wait for the third one.
                let start = tokio::time::timeout(Duration::from_millis(100), seat.try_start());
                assert!(start.await.is_err(), "a node has started without the others");
                // Its tasks end a little later.
                let address = ("127.0.0.1", seat.peer_port);
                eventually(async || tokio::net::TcpListener::bind(address).await.is_ok()).await;
            });
            join_all(given_up).await;
        }
        let brokers = join_all(seats.iter().map(Seat::start)).await;
        for broker in &brokers {
            sees(broker, 3).await;
        }
    });
}

#[test]
fn nodes_that_moved_find_each_other() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        let before = cluster_of(cluster.broker(1)).await;
        cluster.stop().await;
        // Other ports, which only the settings know.
        let mut moved = Cluster::seats(3, &[]);
        for (seat, old) in moved.iter_mut().zip(&cluster.seats) {
            seat.dir = old.dir.clone();
        }
        let brokers = join_all(moved.iter().map(Seat::start)).await;
        for broker in &brokers {
            sees(broker, 3).await;
            assert_eq!(cluster_of(broker).await, before);
        }
    });
}

#[test]
fn a_topic_is_on_all_nodes_and_told_by_each() {
    run(async {
        let settings = [("KAFKA_DEFAULT_REPLICATION_FACTOR", "3")];
        let cluster = Cluster::start_with(3, &settings).await;
        cluster.client(2).await.create_topic("t", 3, &[]).await;
        for id in 1..=3 {
            let mut client = cluster.client(id).await;
            eventually(async || {
                let topic = client.topic("t").await;
                topic.partitions.len() == 3
                    && topic.partitions.iter().all(|one| {
                        one.error_code == 0
                            && one.replica_nodes.len() == 3
                            && one.isr_nodes.len() == 3
                    })
            })
            .await;
        }
    });
}

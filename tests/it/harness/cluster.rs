//! Several brokers of this process that form a cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use ottla::base::env::Env;
use ottla::server::Server;
use tempfile::TempDir;

use super::records::Topic;
use super::{Broker, Client, eventually, settings_in};

/// What a node is started with.
#[derive(Clone)]
pub struct Seat {
    pub dir: Arc<TempDir>,
    /// Where other nodes reach it.
    pub peer_port: u16,
    settings: Vec<(String, String)>,
}

impl Seat {
    /// A node without data that is to find others by these settings.
    pub fn new(peer_port: u16, settings: &[(&str, &str)]) -> Self {
        let listeners = format!("PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{peer_port}");
        let mut all = vec![
            ("KAFKA_LISTENERS".to_owned(), listeners),
            ("KAFKA_CONTROLLER_LISTENER_NAMES".to_owned(), "CONTROLLER".to_owned()),
        ];
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        Self { dir: Arc::new(tempfile::tempdir().unwrap()), peer_port, settings: all }
    }

    /// The same place without its data.
    pub fn wiped(&self) -> Self {
        Self { dir: Arc::new(tempfile::tempdir().unwrap()), ..self.clone() }
    }

    pub async fn start(&self) -> Broker {
        let started = self.try_start().await;
        started.unwrap_or_else(|error| panic!("the broker does not start: {error}"))
    }

    pub async fn try_start(&self) -> std::io::Result<Broker> {
        self.try_start_on(Env::real().unwrap()).await
    }

    async fn try_start_on(&self, env: Env) -> std::io::Result<Broker> {
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let loaded = settings_in(self.dir.path(), &settings);
        let server = Server::start(env, loaded).await?;
        let address = server.listeners[0].1;
        Ok(Broker { address, dir: Arc::clone(&self.dir), server: Some(server) })
    }
}

/// Ports for peers lie below those that the system gives to outgoing connections: one of these
/// would take the port before the node that is to listen there, or while that is stopped.
const PEER_PORT_MIN: u16 = 12_000;
const PEER_PORTS_COUNT: u16 = 20_000;

/// Ports that nobody listens on. No two calls give the same one.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other runs of the tests begin elsewhere.
    let first = u16::try_from(std::process::id() % 200).unwrap() * 100;
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let wanted =
        || (first + NEXT.fetch_add(1, Ordering::Relaxed)) % PEER_PORTS_COUNT + PEER_PORT_MIN;
    std::iter::repeat_with(wanted).filter(is_free).take(count).collect()
}

/// Nodes 1 to n, which are listed as the metadata's voters.
pub struct Cluster {
    pub seats: Vec<Seat>,
    /// Those that run.
    pub brokers: Vec<Option<Broker>>,
}

impl Cluster {
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, &[]).await
    }

    /// With these settings on each node, named as in the environment. All nodes know each other
    /// when this returns.
    pub async fn start_with(count: usize, settings: &[(&str, &str)]) -> Self {
        let seats = Self::seats(count, settings);
        let brokers = join_all(seats.iter().map(Seat::start)).await;
        let cluster = Self { seats, brokers: brokers.into_iter().map(Some).collect() };
        cluster.all_see(count).await;
        cluster
    }

    /// With one node on each of these machines.
    pub async fn start_on(envs: Vec<Env>, settings: &[(&str, &str)]) -> Self {
        let seats = Self::seats(envs.len(), settings);
        let count = envs.len();
        let starts = seats.iter().zip(envs).map(|(seat, env)| seat.try_start_on(env));
        let brokers = join_all(starts).await;
        let cluster = Self { seats, brokers: brokers.into_iter().map(Result::ok).collect() };
        cluster.all_see(count).await;
        cluster
    }

    /// Nodes that have not been started.
    pub fn seats(count: usize, settings: &[(&str, &str)]) -> Vec<Seat> {
        let ports = free_ports(count);
        let voters: Vec<String> =
            ports.iter().zip(1..).map(|(port, id)| format!("{id}@127.0.0.1:{port}")).collect();
        let voters = voters.join(",");
        let seat = |(port, id): (&u16, usize)| {
            let id = id.to_string();
            let mut all = vec![
                ("KAFKA_NODE_ID", id.as_str()),
                ("KAFKA_CONTROLLER_QUORUM_VOTERS", voters.as_str()),
            ];
            all.extend(settings);
            Seat::new(*port, &all)
        };
        ports.iter().zip(1..).map(seat).collect()
    }

    /// Node `id`, which must run.
    pub fn broker(&self, id: usize) -> &Broker {
        self.brokers[id - 1].as_ref().unwrap()
    }

    pub async fn client(&self, id: usize) -> Client {
        self.broker(id).client().await
    }

    /// The node that leads partition 0 of a topic, as soon as it is another than `away`.
    pub async fn leader(&self, topic: &str, away: usize) -> usize {
        let mut leader = 0;
        eventually(async || {
            let asked = if away == 1 { 2 } else { 1 };
            let told = self.client(asked).await.topic(topic).await.partitions.remove(0);
            leader = usize::try_from(told.leader_id.0).unwrap_or(0);
            leader > 0 && leader != away
        })
        .await;
        leader
    }

    /// Produces as clients do: to whoever leads partition 0, other than `away`, and again if that
    /// changes. A leader may stop serving for a moment on a machine that has much to do.
    pub async fn put(&self, topic: &Topic, away: usize, records: Bytes) {
        eventually(async || {
            let leader = self.leader(topic.name, away).await;
            let mut client = self.client(leader).await;
            client.produce(topic, records.clone()).await.error_code == 0
        })
        .await;
    }

    /// Stops a node in order.
    pub async fn stop_node(&mut self, id: usize) {
        self.brokers[id - 1].take().unwrap().stop().await;
    }

    /// Starts a node that was stopped.
    pub async fn start_node(&mut self, id: usize) {
        self.brokers[id - 1] = Some(self.seats[id - 1].start().await);
    }

    pub async fn stop(&mut self) {
        let running = self.brokers.iter_mut().filter_map(Option::take);
        join_all(running.map(Broker::stop)).await;
    }

    /// Waits until every running node sees so many brokers.
    pub async fn all_see(&self, count: usize) {
        for broker in self.brokers.iter().flatten() {
            sees(broker, count).await;
        }
    }
}

/// What a node says of the cluster.
pub async fn describe(broker: &Broker) -> DescribeClusterResponse {
    broker.client().await.call(1, &DescribeClusterRequest::default()).await
}

/// Waits until a node sees so many brokers.
pub async fn sees(broker: &Broker, count: usize) {
    eventually(async || describe(broker).await.brokers.len() == count).await;
}

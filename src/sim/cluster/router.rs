//! Finds the broker to talk to, as clients do: asks any, and asks again when that was wrong.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::base::net::Net;
use crate::base::rng::Rng;
use crate::sim::client::{Client, Leader, Place};
use crate::sim::cluster::node::{CLIENT_PORT, address};

/// How long to wait before a broker is asked again, at least; twice as much at most.
const BACKOFF_MS: u64 = 50;
/// Between two rounds of a client, at most.
const PAUSE_MS_MAX: u64 = 100;

/// One client's view of the cluster.
pub(super) struct Router {
    net: Net,
    pub(super) rng: Arc<Rng>,
    nodes: i32,
    connection: Option<Client>,
}

/// Who is looked for.
pub(super) enum Wanted<'a> {
    Anybody,
    Leader(&'a Place),
    Coordinator(&'a str),
}

impl Router {
    pub(super) fn new(net: Net, seed: u64, nodes: i32) -> Self {
        Self { net, rng: Arc::new(Rng::seeded(seed)), nodes, connection: None }
    }

    /// The connection in use, or a new one to the broker that is wanted.
    pub(super) async fn connection(&mut self, wanted: Wanted<'_>) -> io::Result<&mut Client> {
        let client = match self.connection.take() {
            Some(client) => client,
            None => self.connect(wanted).await?,
        };
        Ok(self.connection.insert(client))
    }

    async fn connect(&self, wanted: Wanted<'_>) -> io::Result<Client> {
        let any = 1 + self.rng.below(u64::from(self.nodes.unsigned_abs()));
        let host = address(i32::try_from(any).unwrap_or(1)).to_string();
        let mut client = Client::reach(&self.net, &host, CLIENT_PORT).await?;
        let found: Leader = match wanted {
            Wanted::Anybody => return Ok(client),
            Wanted::Leader(place) => client.leader(place).await?,
            Wanted::Coordinator(group) => client.coordinator(group).await?,
        };
        let (host, port) = found.ok_or(io::ErrorKind::NotFound)?;
        Client::reach(&self.net, &host, port).await
    }

    /// Waits a while before the next round.
    pub(super) async fn pause(&self) {
        let pause = self.rng.below(PAUSE_MS_MAX);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// The broker was the wrong one or is gone.
    pub(super) async fn give_up(&mut self) {
        self.connection = None;
        let wait = BACKOFF_MS + self.rng.below(BACKOFF_MS);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

//! The way of a node without data into a cluster: it founds one or joins one.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join_all, ready};

use crate::base::env::Env;
use crate::base::ids::{NodeId, uuid_text};
use crate::cluster::admission;
use crate::cluster::card::{Admission, Card, Reply};
use crate::cluster::forming::{Answer, Candidate, Forming, Verdict};
use crate::cluster::service::Handlers;
use crate::config::PeerAddress;
use crate::metadata::records::BrokerRecord;
use crate::peer::{CallError, Kind, Peers};

/// How long one address has to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a cluster has to let a node in.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two rounds: at first, and at last.
const ROUND_WAIT_MIN: Duration = Duration::from_millis(50);
const ROUND_WAIT_MAX: Duration = Duration::from_secs(1);

/// What a node has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Founded { cluster_id: String, node: NodeId },
    Joined(Admission),
}

/// A node that belongs to no cluster.
#[derive(Debug)]
pub struct Newcomer {
    env: Env,
    card: Card,
    /// Without this node's own.
    addresses: Vec<PeerAddress>,
    /// Told to whoever asks once it founds.
    cluster_id: String,
    forming: Mutex<Forming>,
}

impl Newcomer {
    /// `broker` is to be registered; its node is the wanted one.
    pub fn new(env: &Env, broker: BrokerRecord, mut addresses: Vec<PeerAddress>) -> Arc<Self> {
        if let Some(own) = &broker.peer {
            addresses.retain(|one| one.host != own.host || one.port != own.port);
        }
        let card = Card { cluster_id: None, broker };
        let forming = Forming::new(Candidate::of(&card), addresses.clone());
        Arc::new(Self {
            env: env.clone(),
            card,
            addresses,
            cluster_id: uuid_text(&env.rng.uuid()),
            forming: Mutex::new(forming),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Forming> {
        self.forming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers other nodes that are on their way.
    pub fn serve(self: &Arc<Self>, handlers: &Handlers) {
        let this = Arc::clone(self);
        handlers.set(&[Kind::ClusterInfo], move |_, _, body| {
            let answer = Card::decode(&body).map_err(|error| error.to_string());
            ready(answer.map(|asker| vec![this.asked_by(&asker).encode()])).boxed()
        });
    }

    /// What this node answers. Noting who asks and answering is one step.
    fn asked_by(&self, asker: &Card) -> Card {
        let mut forming = self.lock();
        if asker.cluster_id.is_none() {
            forming.asked(Candidate::of(asker));
        }
        let cluster_id = forming.has_founded().then(|| self.cluster_id.clone());
        Card { cluster_id, ..self.card.clone() }
    }

    /// Goes on until the node has founded or joined a cluster; an error is for people.
    pub async fn enter(&self) -> io::Result<Entry> {
        let mut wait = ROUND_WAIT_MIN;
        let mut told = String::new();
        loop {
            let verdict = self.round().await;
            let reason = match verdict {
                Verdict::Found => {
                    let node = admission::first_node(self.card.node());
                    return Ok(Entry::Founded { cluster_id: self.cluster_id.clone(), node });
                }
                Verdict::Join { address } => match self.join(&address).await {
                    Ok(Reply::Admitted(admission)) => return Ok(Entry::Joined(admission)),
                    Ok(Reply::Denied(reason)) => {
                        let text = format!("the cluster at {address} refused this node: {reason}");
                        return Err(io::Error::other(text));
                    }
                    Err(error) => format!("waiting to join the cluster at {address}: {error}"),
                },
                Verdict::Wait(reason) => reason,
                Verdict::Stuck(reason) => return Err(io::Error::other(reason)),
            };
            if reason != told {
                tracing::info!("{reason}");
                told = reason;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(ROUND_WAIT_MAX);
        }
    }

    async fn round(&self) -> Verdict {
        let round = self.lock().begin();
        let asked = self.addresses.iter().map(async |address| {
            let answer = self.ask(address).await;
            self.lock().answered(round, address, answer);
        });
        join_all(asked).await;
        self.lock().verdict()
    }

    async fn ask(&self, address: &PeerAddress) -> Answer {
        let asked = ask_card(&self.env, address, &self.card).await;
        match asked {
            Err(error) => Answer::Silent(error.to_string()),
            Ok(Card { cluster_id: Some(cluster_id), .. }) => Answer::Member { cluster_id },
            Ok(card) => Answer::Empty(Candidate::of(&card)),
        }
    }

    async fn join(&self, address: &PeerAddress) -> Result<Reply, CallError> {
        ask_to_join(&self.env, address, &self.card, JOIN_TIMEOUT).await
    }
}

/// Who is at an address?
pub(super) async fn ask_card(
    env: &Env,
    address: &PeerAddress,
    own: &Card,
) -> Result<Card, CallError> {
    let (to, body) = ((address.host.as_str(), address.port), vec![own.encode()]);
    let answer = Peers::call_address(env, to, Kind::ClusterInfo, body, ASK_TIMEOUT).await?;
    Card::decode(&answer).map_err(|error| CallError::Refused(error.to_string()))
}

/// May this node come in, or register itself anew?
pub(super) async fn ask_to_join(
    env: &Env,
    address: &PeerAddress,
    own: &Card,
    timeout: Duration,
) -> Result<Reply, CallError> {
    let (to, body) = ((address.host.as_str(), address.port), vec![own.encode()]);
    let answer = Peers::call_address(env, to, Kind::Join, body, timeout).await?;
    Reply::decode(&answer).map_err(|error| CallError::Refused(error.to_string()))
}

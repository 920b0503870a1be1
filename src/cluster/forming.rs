//! Whether a node without data founds a cluster or joins one. It asks all addresses that it was
//! given, in rounds. Whoever belongs to a cluster already is joined. Only when all have answered in
//! one round and none belongs to a cluster does the one that comes first found it.
//!
//! Invariant: of nodes that know each other's addresses at most one founds. Two could only
//! if the order between them changed, because one lost its data and began anew between two answers;
//! so a round in which somebody asks who comes earlier decides nothing.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::base::ids::{DirectoryId, NodeId};
use crate::cluster::card::Card;
use crate::config::PeerAddress;

/// A node that belongs to no cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub wanted: Option<NodeId>,
    pub directory: DirectoryId,
    pub is_controller: bool,
}

impl Candidate {
    pub fn of(card: &Card) -> Self {
        Self {
            wanted: card.node(),
            directory: card.broker.directory,
            is_controller: card.broker.is_controller,
        }
    }

    /// Those that may not found come last, those without an id after those that have one.
    fn rank(&self) -> impl Ord + use<> {
        let node = self.wanted.map_or((true, 0), |node| (false, node.0));
        (!self.is_controller, node, self.directory)
    }

    fn is_before(&self, other: &Self) -> bool {
        self.rank().cmp(&other.rank()) == Ordering::Less
    }
}

/// What came of asking an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Empty(Candidate),
    Member {
        cluster_id: String,
    },
    /// Nothing; the reason.
    Silent(String),
}

/// What the round so far leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This node is the one. From here on it belongs to a cluster.
    Found,
    Join {
        address: PeerAddress,
    },
    /// Another round is needed; whom it waits for.
    Wait(String),
    /// People must see to it; the reason.
    Stuck(String),
}

/// A node on its way.
#[derive(Debug)]
pub struct Forming {
    own: Candidate,
    addresses: Vec<PeerAddress>,
    round: u64,
    answers: BTreeMap<PeerAddress, Answer>,
    /// Who asked during this round and comes earlier.
    overtaken_by: Option<Candidate>,
    has_founded: bool,
}

impl Forming {
    pub fn new(own: Candidate, addresses: Vec<PeerAddress>) -> Self {
        Self {
            own,
            addresses,
            round: 0,
            answers: BTreeMap::new(),
            overtaken_by: None,
            has_founded: false,
        }
    }

    /// Begins a round: all addresses are to be asked anew. What is still to come of earlier rounds
    /// does not count.
    pub fn begin(&mut self) -> u64 {
        self.round += 1;
        self.answers.clear();
        self.overtaken_by = None;
        self.round
    }

    pub fn answered(&mut self, round: u64, address: &PeerAddress, answer: Answer) {
        if round == self.round {
            self.answers.insert(address.clone(), answer);
        }
    }

    /// Another node without a cluster asks.
    pub fn asked(&mut self, by: Candidate) {
        if by.is_before(&self.own) {
            self.overtaken_by = Some(by);
        }
    }

    /// Whether this node answers that it has a cluster.
    pub fn has_founded(&self) -> bool {
        self.has_founded
    }

    pub fn verdict(&mut self) -> Verdict {
        if let Some(verdict) = self.existing() {
            return verdict;
        }
        let others = self.answers.values().filter_map(|answer| match answer {
            Answer::Empty(other) if other.directory != self.own.directory => Some(*other),
            _ => None,
        });
        let first = others
            .chain(self.overtaken_by)
            .fold(self.own, |first, other| if other.is_before(&first) { other } else { first });
        let silent = self.silent();
        if !silent.is_empty() {
            return Verdict::Wait(format!("waiting for {}", silent.join(", ")));
        }
        if first != self.own {
            let who = match first.wanted {
                Some(node) => format!("node {node}"),
                None => format!("the node with directory {}", first.directory),
            };
            return Verdict::Wait(format!("waiting for {who} to form the cluster"));
        }
        if !self.own.is_controller {
            return Verdict::Wait("waiting for a node that is a controller".to_owned());
        }
        self.has_founded = true;
        Verdict::Found
    }

    /// A cluster that is there already, if somebody told of one.
    fn existing(&self) -> Option<Verdict> {
        let mut clusters = self.answers.iter().filter_map(|(address, answer)| match answer {
            Answer::Member { cluster_id } => Some((address, cluster_id)),
            _ => None,
        });
        let (address, cluster) = clusters.next()?;
        let other = clusters.find(|(_, other)| *other != cluster);
        Some(match other {
            None => Verdict::Join { address: address.clone() },
            Some((far, other)) => Verdict::Stuck(format!(
                "the node at {address} belongs to cluster {cluster}, the one at {far} to {other}"
            )),
        })
    }

    fn silent(&self) -> Vec<String> {
        let silent = self.addresses.iter().filter_map(|address| match self.answers.get(address) {
            Some(Answer::Silent(why)) => Some(format!("{address} ({why})")),
            None => Some(format!("{address} (no answer in time)")),
            Some(_) => None,
        });
        silent.collect()
    }
}

#[cfg(test)]
mod tests;

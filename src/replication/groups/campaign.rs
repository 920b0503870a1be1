//! Who campaigns for which group, and when; and the question that comes before an election.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::base::ids::{NodeId, TopicPartition};
use crate::base::task::{self, Fault};
use crate::log::entry::EntryId;
use crate::peer::{Body, Kind, Lane, Peers};
use crate::replication::codec;
use crate::replication::groups::Groups;
use crate::replication::groups::care::SWEEP;
use crate::replication::member::{Group, Status};
use crate::replication::wire::{self, Address};

/// How much later the next voter in order tries.
const TURN: Duration = Duration::from_millis(200);
/// How long a candidate has to win: votes are written to disk, which may be busy.
const ELECTION: Duration = Duration::from_millis(300);
/// How long after an attempt the same voter tries again.
const RETRY: Duration = Duration::from_millis(100);
/// The longest time between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(3);
/// How long the others have to say whether they would vote.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// Groups that are campaigned for at one time: each writes votes to disk.
const CAMPAIGNS_AT_ONCE_COUNT: usize = 512;

/// A group without a leader.
#[derive(Debug, Clone, Copy)]
struct Vacancy {
    /// When the voters' turns begin.
    since: Instant,
    /// The last term that somebody was voted for in.
    term: u64,
    attempts: u32,
    next: Instant,
}

/// The vacancies that this node sees.
#[derive(Debug)]
pub(super) struct Campaigns {
    node: NodeId,
    vacancies: BTreeMap<TopicPartition, Vacancy>,
}

/// A group that this node would like to lead.
struct Bid {
    group: Arc<dyn Group>,
    voters: BTreeSet<NodeId>,
    last: Option<EntryId>,
}

impl Campaigns {
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, vacancies: BTreeMap::new() }
    }

    /// The vacancies for which it is time.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = TopicPartition> {
        let due = self.vacancies.iter().filter(move |(_, vacancy)| vacancy.next <= now);
        due.map(|(id, _)| *id)
    }

    /// The group is not here any more.
    pub(super) fn forget(&mut self, id: TopicPartition) {
        self.vacancies.remove(&id);
    }

    /// Campaigns for those of these groups for which it is time; returns when something is due
    /// next.
    pub(super) async fn round(
        &mut self,
        groups: &Groups,
        looked_at: Vec<Arc<dyn Group>>,
    ) -> Instant {
        let now = Instant::now();
        if groups.shared.retired.load(Ordering::Acquire) {
            return now + SWEEP;
        }
        let mut due = Vec::new();
        for group in looked_at {
            if due.len() == CAMPAIGNS_AT_ONCE_COUNT {
                groups.shared.look_at(group.id());
                continue;
            }
            let status = group.status();
            if status.leader.is_some() {
                self.vacancies.remove(&group.id());
            } else if self.is_due(&groups.shared.peers, group.as_ref(), &status, now) {
                due.push((group, status));
            }
        }
        self.found(&mut due).await;
        campaign(groups, due).await;
        let next = self.vacancies.values().map(|vacancy| vacancy.next).min();
        next.unwrap_or_else(|| Instant::now() + SWEEP)
    }

    /// Whether this node's turn has come; if so, its next one is later.
    fn is_due(&mut self, peers: &Peers, group: &dyn Group, status: &Status, now: Instant) -> bool {
        let founders = if status.voters.is_empty() { group.founders() } else { None };
        let voters =
            founders.map_or_else(|| status.voters.clone(), |all| all.into_iter().collect());
        if !voters.contains(&self.node) {
            return false;
        }
        let is_alive = |node: &NodeId| *node == self.node || peers.liveness().is_alive(*node);
        let turn = turn_of(self.node, &group.preference(), &voters, is_alive);
        let own_turn = TURN.saturating_mul(turn);
        let is_under_way = status.candidate.is_some_and(|candidate| is_alive(&candidate));
        let vacancy = self.vacancies.entry(group.id()).or_insert(Vacancy {
            since: now,
            term: 0,
            attempts: 0,
            next: now + own_turn,
        });
        if is_under_way && vacancy.term < status.term {
            // A second candidate, or the same one anew, would only undo what is nearly done.
            vacancy.since = now + ELECTION;
            vacancy.term = status.term;
            vacancy.next = vacancy.next.max(vacancy.since + own_turn);
        }
        // Somebody before this node may have gone meanwhile.
        if vacancy.attempts == 0 {
            vacancy.next = vacancy.next.min(vacancy.since + own_turn);
        }
        if vacancy.next > now {
            return false;
        }
        vacancy.attempts += 1;
        let attempts = vacancy.attempts;
        tracing::debug!(group = %group.id(), attempts, turn, "there is no leader");
        let pause = RETRY.saturating_mul(vacancy.attempts).min(RETRY_MAX);
        vacancy.next = now + pause + own_turn;
        true
    }

    /// Gives new groups their members, which begins their first election as well.
    async fn found(&self, due: &mut Vec<(Arc<dyn Group>, Status)>) {
        let (new, old) = std::mem::take(due)
            .into_iter()
            .partition(|(group, status)| status.voters.is_empty() && group.founders().is_some());
        *due = old;
        let new: Vec<(Arc<dyn Group>, Status)> = new;
        let founded = new.iter().filter_map(|(group, _)| Some((group, group.founders()?)));
        join_all(founded.map(|(group, members)| group.initialize(members))).await;
    }
}

/// This node's place among the live voters: those that should lead come first.
fn turn_of(
    node: NodeId,
    preference: &[NodeId],
    voters: &BTreeSet<NodeId>,
    is_alive: impl Fn(&NodeId) -> bool,
) -> u32 {
    let preferred = preference.iter().filter(|node| voters.contains(node));
    let others = voters.iter().filter(|node| !preference.contains(node));
    let mut in_order = preferred.chain(others).filter(|node| is_alive(node));
    let place = in_order.position(|other| *other == node).unwrap_or(0);
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Asks the other voters, and elects where a majority would follow.
async fn campaign(groups: &Groups, due: Vec<(Arc<dyn Group>, Status)>) {
    let bids: Vec<Bid> = due
        .into_iter()
        .map(|(group, status)| Bid { last: group.last_entry(), voters: status.voters, group })
        .collect();
    let mut by_node: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
    for (at, bid) in bids.iter().enumerate() {
        for node in bid.voters.iter().filter(|node| **node != groups.node()) {
            by_node.entry(*node).or_default().push(at);
        }
    }
    let asked = by_node.into_iter().map(|(node, at)| ask(groups, node, at, &bids));
    let granted: BTreeSet<(usize, NodeId)> = join_all(asked).await.into_iter().flatten().collect();
    let elected = bids.iter().enumerate().filter(|(at, bid)| {
        let has = |node| node == groups.node() || granted.contains(&(*at, node));
        bid.group.has_quorum(&has)
    });
    let elected = elected.map(|(_, bid)| {
        tracing::debug!(group = %bid.group.id(), "a majority would vote for this node");
        bid.group.campaign()
    });
    join_all(elected).await;
}

/// Which of the bids a node would vote for.
async fn ask(
    groups: &Groups,
    node: NodeId,
    bids_for: Vec<usize>,
    bids: &[Bid],
) -> Vec<(usize, NodeId)> {
    if !groups.peers().liveness().is_alive(node) {
        return Vec::new();
    }
    let mut body = BytesMut::new();
    for bid in bids_for.iter().filter_map(|at| bids.get(*at)) {
        wire::put_group(&mut body, bid.group.address());
        let mut last = Vec::with_capacity(17);
        codec::put_log_id(&mut last, bid.last.map(codec::log_id).as_ref());
        body.put_slice(&last);
    }
    let body = vec![body.freeze()];
    let answer = groups.peers().call(node, Lane::Control, Kind::Campaign, body, ASK_TIMEOUT).await;
    let Ok(answer) = answer else { return Vec::new() };
    let granted = bids_for.into_iter().zip(answer).filter(|(_, granted)| *granted == 1);
    granted.map(|(at, _)| (at, node)).collect()
}

/// One byte per group that another node asks for: 1 if this node would vote for it.
pub(super) fn answer(groups: &Groups, from: NodeId, mut body: Bytes) -> Result<Body, String> {
    let mut out = BytesMut::new();
    while body.has_remaining() {
        let (of, last) = get_bid(&mut body).map_err(|error| error.to_string())?;
        out.put_u8(u8::from(would_vote(groups, from, of, last)));
    }
    Ok(vec![out.freeze()])
}

fn get_bid(body: &mut Bytes) -> io::Result<(Address, Option<EntryId>)> {
    let of = wire::get_group(body)?;
    Ok((of, wire::get_log_id(body)?.as_ref().map(codec::entry_id)))
}

fn would_vote(groups: &Groups, from: NodeId, of: Address, last: Option<EntryId>) -> bool {
    let group = groups.shared.get(of.id).filter(|group| group.address() == of);
    let Some(group) = group else { return false };
    // A leader that is there is not disturbed; one that does not serve is no leader.
    let (is_led, own) = (group.is_led_without(from), group.last_entry());
    tracing::debug!(group = %of.id, %from, is_led, ?own, ?last, "another node would lead");
    if is_led && group.status().leader == Some(groups.node()) {
        // Its group was not open when this node said that it leads.
        let greeting = group.greet(from);
        task::spawn("greeting", Fault::Task, greeting);
    }
    !is_led && own <= last
}

#[cfg(test)]
mod tests;

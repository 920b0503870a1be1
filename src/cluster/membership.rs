//! Who is in the metadata group: the next step from how it is to how it should be. All registered
//! nodes follow it; one, three or five of them vote.

use std::collections::BTreeSet;

use crate::base::ids::NodeId;
use crate::metadata::image::Image;

/// So many vote, if so many can and nobody said how many.
const VOTERS_COUNT: usize = 3;
/// More votes cost more than they save.
const VOTERS_COUNT_MAX: usize = 5;

/// The metadata group as its leader sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// Members that are alive and have nearly everything.
    pub caught_up: BTreeSet<NodeId>,
}

/// One change at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// Nodes that are to vote have not caught up.
    Wait,
    /// Write down who is to vote.
    Want(Vec<NodeId>),
    Add(NodeId),
    Vote(BTreeSet<NodeId>),
    Remove(BTreeSet<NodeId>),
}

/// The next step of the leader, which is `own`.
pub fn next_step(image: &Image, group: &Group, own: NodeId) -> Step {
    let wanted = wanted(image, own);
    if wanted != image.voters {
        return Step::Want(wanted);
    }
    let is_member = |node: &&NodeId| group.voters.contains(node) || group.learners.contains(node);
    if let Some(new) = image.brokers.keys().find(|node| !is_member(node)) {
        return Step::Add(*new);
    }
    let voters = voters(image, group, own);
    if voters != group.voters {
        let is_ready =
            |node: &NodeId| group.voters.contains(node) || group.caught_up.contains(node);
        return if voters.iter().all(is_ready) { Step::Vote(voters) } else { Step::Wait };
    }
    let gone = group.learners.iter().filter(|node| !image.brokers.contains_key(node));
    let gone: BTreeSet<NodeId> = gone.copied().collect();
    if gone.is_empty() { Step::Nothing } else { Step::Remove(gone) }
}

fn may_vote(image: &Image, node: NodeId) -> bool {
    image.brokers.get(&node).is_some_and(|broker| broker.is_controller)
}

/// Who should vote. Those that are named stay, also those that have not come yet; there are added
/// as many as make it three, if there are so many.
fn wanted(image: &Image, own: NodeId) -> Vec<NodeId> {
    let fits = |node: &NodeId| may_vote(image, *node) || !image.brokers.contains_key(node);
    let mut wanted: Vec<NodeId> = image.voters.iter().copied().filter(fits).collect();
    if wanted.is_empty() {
        wanted.push(own);
    }
    let is_spare = |node: &NodeId| {
        may_vote(image, *node)
            && image.is_alive(*node)
            && !image.draining.contains(node)
            && !wanted.contains(node)
    };
    let missing = VOTERS_COUNT.saturating_sub(wanted.len());
    let spare: Vec<NodeId> = image.brokers.keys().copied().filter(is_spare).take(missing).collect();
    if spare.len() == missing {
        wanted.extend(spare);
    }
    wanted
}

/// Who of the wanted can vote. Never an even number: with it no more nodes may fail than with one
/// less, and more must live.
fn voters(image: &Image, group: &Group, own: NodeId) -> BTreeSet<NodeId> {
    let here = image.voters.iter().copied().filter(|node| may_vote(image, *node));
    let mut here: Vec<NodeId> = here.collect();
    here.sort_by_key(|node| (*node != own, !group.voters.contains(node), *node));
    let count = here.len().min(VOTERS_COUNT_MAX);
    let odd = if count.is_multiple_of(2) { count.saturating_sub(1) } else { count };
    here.truncate(odd);
    if !here.is_empty() {
        here.into_iter().collect()
    } else if may_vote(image, own) {
        // None of those that are named is here; the leader is.
        BTreeSet::from([own])
    } else {
        group.voters.clone()
    }
}

#[cfg(test)]
mod tests;

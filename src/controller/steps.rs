//! The way of a group from the members that it has to those that it is to have: one step at a time,
//! each told from what is there, so that it does not matter who led before.

use std::collections::BTreeSet;

use crate::base::ids::NodeId;
use crate::controller::moves;
use crate::metadata::image::Partition;

/// The members of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
}

/// What the leader does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Nothing,
    AddLearner(NodeId),
    ChangeVoters(BTreeSet<NodeId>),
    RemoveLearners(BTreeSet<NodeId>),
    TransferTo(NodeId),
    /// The group is as it is to be: the metadata may say so.
    Finish,
}

/// The next step of the leader `me`. `in_sync` are the members that have everything.
pub fn next(membership: &Membership, place: &Partition, in_sync: &[NodeId], me: NodeId) -> Step {
    let Membership { voters, learners } = membership;
    let target: BTreeSet<NodeId> = place.target().collect();
    if voters.is_empty() || target.is_empty() {
        return Step::Nothing;
    }
    if *voters == target {
        if !learners.is_empty() {
            return Step::RemoveLearners(learners.clone());
        }
        return if moves::is_moving(place) { Step::Finish } else { Step::Nothing };
    }
    let missing = target.iter().find(|n| !voters.contains(n) && !learners.contains(n));
    if let Some(node) = missing {
        return Step::AddLearner(*node);
    }
    let is_ready = |node: &NodeId| voters.contains(node) || in_sync.contains(node);
    if !target.iter().all(is_ready) {
        return Step::Nothing;
    }
    if target.contains(&me) {
        return Step::ChangeVoters(target);
    }
    // Who leaves leads until the others can: it hands over to one of them, which removes it.
    let mut with_me = target.clone();
    with_me.insert(me);
    if *voters != with_me {
        return Step::ChangeVoters(with_me);
    }
    let heir = place.target().find(|node| in_sync.contains(node));
    heir.map_or(Step::Nothing, Step::TransferTo)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes() -> impl Strategy<Value = BTreeSet<NodeId>> {
        prop::collection::btree_set((1..7).prop_map(NodeId), 1..5)
    }

    proptest! {
        /// Whatever the group has, the steps lead to what it is to have, and never through a set of
        /// voters with somebody who does not have the data.
        #[test]
        fn every_group_gets_there(voters in nodes(), learners in nodes(), target in nodes()) {
            let learners = learners.difference(&voters).copied().collect();
            let mut membership = Membership { voters, learners };
            let mut leader = *membership.voters.first().expect("at least one");
            let adding = target.difference(&membership.voters).copied().collect();
            let removing: Vec<NodeId> =
                membership.voters.difference(&target).copied().collect();
            let replicas = target.union(&membership.voters).copied().collect();
            let place = Partition { adding, removing, ..Partition::new(replicas) };
            let mut have_data = membership.voters.clone();
            for _ in 0..30 {
                let in_sync: Vec<NodeId> = have_data.iter().copied().collect();
                match next(&membership, &place, &in_sync, leader) {
                    Step::Nothing => {
                        if membership.voters == target && membership.learners.is_empty() {
                            return Ok(());
                        }
                        // Learners catch up meanwhile.
                        have_data.extend(&membership.learners);
                    }
                    Step::AddLearner(node) => {
                        prop_assert!(membership.learners.insert(node));
                    }
                    Step::ChangeVoters(voters) => {
                        prop_assert!(voters.contains(&leader));
                        prop_assert!(voters.is_subset(&have_data));
                        membership.learners.retain(|node| !voters.contains(node));
                        membership.voters = voters;
                    }
                    Step::RemoveLearners(nodes) => {
                        membership.learners.retain(|node| !nodes.contains(node));
                    }
                    Step::TransferTo(node) => {
                        prop_assert!(membership.voters.contains(&node));
                        leader = node;
                    }
                    Step::Finish => {
                        prop_assert_eq!(&membership.voters, &target);
                        return Ok(());
                    }
                }
            }
            prop_assert!(false, "no end: {membership:?}");
        }
    }
}

//! Steps of the metadata group, one by one and to the end.

use proptest::prelude::*;

use super::*;
use crate::metadata::records::{BrokerRecord, Record};

const OWN: NodeId = NodeId(1);

fn set(nodes: &[i32]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn image(voters: &[i32], controllers: &[i32], brokers: &[i32]) -> Image {
    let mut image = Image::default();
    for (nodes, is_controller) in [(controllers, true), (brokers, false)] {
        for node in nodes {
            let broker = BrokerRecord { is_controller, ..BrokerRecord::new(NodeId(*node)) };
            image.replay(&Record::Broker(broker));
        }
    }
    image.replay(&Record::Voters { nodes: voters.iter().copied().map(NodeId).collect() });
    image
}

/// Takes all steps there are; the voters and learners at the end, and the steps on the way.
fn settle(image: &mut Image, group: &mut Group) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        let step = next_step(image, group, OWN);
        match &step {
            Step::Nothing | Step::Wait => return steps,
            Step::Want(nodes) => image.replay(&Record::Voters { nodes: nodes.clone() }),
            Step::Add(node) => {
                group.learners.insert(*node);
                group.caught_up.insert(*node);
            }
            Step::Vote(voters) => {
                // As Raft does it: who leaves the voters leaves the group.
                group.learners.retain(|node| !voters.contains(node));
                group.voters.clone_from(voters);
            }
            Step::Remove(nodes) => group.learners.retain(|node| !nodes.contains(node)),
        }
        steps.push(step);
        assert!(steps.len() < 50, "no end: {steps:?}");
    }
}

fn founded() -> Group {
    Group { voters: set(&[1]), learners: set(&[]), caught_up: set(&[1]) }
}

#[test]
fn one_votes_until_there_are_three() {
    let mut group = founded();
    let mut two = image(&[1], &[1, 2], &[]);
    assert_eq!(settle(&mut two, &mut group), [Step::Add(NodeId(2))]);
    let mut three = image(&[1], &[1, 2, 3], &[]);
    let steps = settle(&mut three, &mut group);
    let want = Step::Want(vec![NodeId(1), NodeId(2), NodeId(3)]);
    assert_eq!(steps, [want, Step::Add(NodeId(3)), Step::Vote(set(&[1, 2, 3]))]);
    let mut five = image(&[1, 2, 3], &[1, 2, 3, 4, 5], &[]);
    assert_eq!(settle(&mut five, &mut group), [Step::Add(NodeId(4)), Step::Add(NodeId(5))]);
    assert_eq!(group.learners, set(&[4, 5]));
}

#[test]
fn those_that_are_listed_are_waited_for() {
    let mut group = founded();
    let mut four = image(&[1, 2, 5], &[1, 2, 3, 4], &[]);
    settle(&mut four, &mut group);
    assert_eq!((group.voters, four.voters.len()), (set(&[1]), 3));
    let mut group = founded();
    let mut all = image(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], &[]);
    settle(&mut all, &mut group);
    assert_eq!(group.voters, set(&[1, 2, 3, 4, 5]));
}

#[test]
fn who_has_not_caught_up_does_not_vote() {
    let all = image(&[1, 2, 3], &[1, 2, 3], &[]);
    let mut group = Group { learners: set(&[2, 3]), caught_up: set(&[1, 2]), ..founded() };
    assert_eq!(next_step(&all, &group, OWN), Step::Wait);
    group.caught_up.insert(NodeId(3));
    assert_eq!(next_step(&all, &group, OWN), Step::Vote(set(&[1, 2, 3])));
}

#[test]
fn brokers_alone_do_not_vote() {
    let mut group = founded();
    let mut three = image(&[1], &[1], &[2, 3]);
    settle(&mut three, &mut group);
    assert_eq!((group.voters, group.learners), (set(&[1]), set(&[2, 3])));
}

#[test]
fn a_node_that_was_removed_is_replaced() {
    let voting = || Group { voters: set(&[1, 2, 3]), caught_up: set(&[1, 2, 3]), ..founded() };
    let mut group = voting();
    let mut replaced = image(&[1, 2, 3], &[1, 2, 3, 4], &[]);
    group.learners.insert(NodeId(4));
    group.caught_up.insert(NodeId(4));
    replaced.replay(&Record::RemoveBroker { node: NodeId(3) });
    settle(&mut replaced, &mut group);
    assert_eq!((group.voters, group.learners), (set(&[1, 2, 4]), set(&[])));
    // Two that vote would both be needed.
    let mut group = voting();
    let mut fewer = image(&[1, 2, 3], &[1, 2, 3], &[]);
    fewer.replay(&Record::RemoveBroker { node: NodeId(2) });
    settle(&mut fewer, &mut group);
    assert_eq!((group.voters, group.learners), (set(&[1]), set(&[3])));
}

proptest! {
    #[test]
    fn any_cluster_settles(
        voters in prop::collection::btree_set(1..9, 0..5),
        controllers in prop::collection::btree_set(2..9, 0..6),
        fenced in prop::collection::btree_set(2..9, 0..3),
        removed in prop::collection::btree_set(2..9, 0..4),
    ) {
        let mut group = founded();
        let voters: Vec<i32> = voters.into_iter().collect();
        let controllers: Vec<i32> = [1].into_iter().chain(controllers).collect();
        let mut all = image(&voters, &controllers, &[]);
        settle(&mut all, &mut group);
        for node in fenced {
            all.replay(&Record::BrokerState { node: NodeId(node), fenced: true, draining: false });
        }
        for node in removed {
            all.replay(&Record::RemoveBroker { node: NodeId(node) });
        }
        settle(&mut all, &mut group);
        prop_assert!(group.voters.len() % 2 == 1);
        let members: BTreeSet<NodeId> = group.voters.union(&group.learners).copied().collect();
        let registered: BTreeSet<NodeId> = all.brokers.keys().copied().collect();
        prop_assert_eq!(members, registered);
    }
}

//! Turns, without groups.

use proptest::prelude::*;

use super::*;

fn turn(node: i32, preference: &[i32], voters: &[i32], dead: &[i32]) -> u32 {
    let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let voters: BTreeSet<NodeId> = nodes(voters).into_iter().collect();
    let dead = nodes(dead);
    turn_of(NodeId(node), &nodes(preference), &voters, |node| !dead.contains(node))
}

#[test]
fn the_preferred_come_first_and_the_dead_are_passed_over() {
    assert_eq!([1, 2, 3].map(|node| turn(node, &[3, 1, 2], &[1, 2, 3], &[])), [1, 2, 0]);
    assert_eq!([1, 2].map(|node| turn(node, &[3, 1, 2], &[1, 2, 3], &[3])), [0, 1]);
    // Whoever is preferred and does not vote takes no turn.
    assert_eq!([1, 2].map(|node| turn(node, &[3, 2], &[1, 2], &[])), [1, 0]);
}

proptest! {
    /// Whatever the nodes hold for the preference, as long as they agree on it.
    #[test]
    fn live_voters_have_different_turns(
        preference in Just((1..8).collect::<Vec<i32>>()).prop_shuffle(),
        preferred in 0_usize..8,
        voters in prop::collection::btree_set(1_i32..8, 1..7),
        dead in prop::collection::btree_set(1_i32..8, 0..7),
    ) {
        let preference = &preference[..preferred.min(7)];
        let voters: Vec<i32> = voters.into_iter().collect();
        let dead: Vec<i32> = dead.into_iter().collect();
        let live = voters.iter().filter(|node| !dead.contains(node));
        let turns: BTreeSet<u32> =
            live.clone().map(|node| turn(*node, preference, &voters, &dead)).collect();
        let expected: BTreeSet<u32> = (0..).take(live.count()).collect();
        prop_assert_eq!(turns, expected);
    }
}

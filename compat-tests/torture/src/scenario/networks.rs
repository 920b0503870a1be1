//! Nodes that do not hear each other. Clients reach all of them, unless a cable is pulled.

use std::time::{Duration, Instant};

use crate::rig::Node;
use crate::run::Run;

const SYNCED: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
enum Cut {
    Both,
    ItHearsNobody,
    NobodyHearsIt,
    Cable,
}

pub(crate) fn isolate_leader(run: &mut Run) -> Result<(), String> {
    rounds(run, Cut::Both, Run::any_leader)
}

pub(crate) fn isolate_follower(run: &mut Run) -> Result<(), String> {
    rounds(run, Cut::Both, |run| {
        let leader = run.any_leader()?;
        run.other_than(&[leader])
    })
}

pub(crate) fn deaf_leader(run: &mut Run) -> Result<(), String> {
    rounds(run, Cut::ItHearsNobody, Run::any_leader)
}

pub(crate) fn mute_leader(run: &mut Run) -> Result<(), String> {
    rounds(run, Cut::NobodyHearsIt, Run::any_leader)
}

pub(crate) fn vanish(run: &mut Run) -> Result<(), String> {
    rounds(run, Cut::Cable, Run::any_leader)
}

fn rounds(
    run: &mut Run,
    how: Cut,
    target: fn(&mut Run) -> Result<Node, String>,
) -> Result<(), String> {
    for _ in 0..run.rounds(2, 8) {
        run.breathe();
        let node = target(run)?;
        let since = Instant::now();
        let what = cut(run, node, how)?;
        run.await_service(what, since)?;
        // The one that was cut off must not come to other conclusions meanwhile.
        run.breathe();
        run.fault("the network is whole");
        let since = Instant::now();
        run.cluster.rig.heal()?;
        run.await_service("heal", since)?;
        run.await_in_sync(SYNCED)?;
    }
    Ok(())
}

fn cut(run: &mut Run, node: Node, how: Cut) -> Result<&'static str, String> {
    let what = match how {
        Cut::Both => "hears no peer and is heard by none",
        Cut::ItHearsNobody => "hears no peer",
        Cut::NobodyHearsIt => "is heard by no peer",
        Cut::Cable => "is cut off from everybody",
    };
    run.fault(&format!("node {node} {what}"));
    let rig = &run.cluster.rig;
    if matches!(how, Cut::Cable) {
        rig.unplug(node)?;
        return Ok(what);
    }
    for peer in rig.nodes().into_iter().filter(|peer| *peer != node) {
        if matches!(how, Cut::Both | Cut::ItHearsNobody) {
            rig.deafen(peer, node)?;
        }
        if matches!(how, Cut::Both | Cut::NobodyHearsIt) {
            rig.deafen(node, peer)?;
        }
    }
    Ok(what)
}

/// Each node has a majority, but no two the same.
pub(crate) fn ring(run: &mut Run) -> Result<(), String> {
    for _ in 0..run.rounds(1, 5) {
        run.breathe();
        run.fault("a ring");
        let nodes = run.cluster.rig.nodes();
        let count = nodes.len();
        for node in &nodes {
            for peer in &nodes {
                let apart = node.abs_diff(*peer);
                if apart > 1 && apart < count - 1 {
                    run.cluster.rig.deafen(*peer, *node)?;
                }
            }
        }
        // Three replicas of five nodes need not see a majority of theirs: service is not demanded.
        std::thread::sleep(run.rng.millis(5_000..15_000));
        run.fault("the network is whole");
        let since = Instant::now();
        run.cluster.rig.heal()?;
        run.await_service("heal", since)?;
        run.await_in_sync(SYNCED)?;
    }
    Ok(())
}

pub(crate) fn loss(run: &mut Run) -> Result<(), String> {
    for _ in 0..run.rounds(1, 5) {
        run.breathe();
        let node = run.any_leader()?;
        let percent = run.rng.between(10..50);
        run.fault(&format!("{percent} % of packets between node {node} and its peers are lost"));
        let rig = &run.cluster.rig;
        for peer in rig.nodes().into_iter().filter(|peer| *peer != node) {
            rig.lose(peer, node, percent)?;
            rig.lose(node, peer, percent)?;
        }
        std::thread::sleep(run.rng.millis(5_000..15_000));
        run.fault("the network is whole");
        let since = Instant::now();
        run.cluster.rig.heal()?;
        run.await_service("heal", since)?;
        run.await_in_sync(SYNCED)?;
    }
    Ok(())
}

//! Nodes that are killed or stopped, and power that is cut.

use std::time::{Duration, Instant};

use crate::rig::Node;
use crate::run::Run;

const SYNCED: Duration = Duration::from_secs(60);
/// Time enough for what was on its way to be acknowledged.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// Longer than a leader may serve without hearing from its followers.
const ALONE: Duration = Duration::from_secs(2);

pub(crate) fn kill_leader(run: &mut Run) -> Result<(), String> {
    kill_rounds(run, "leader", Run::any_leader)
}

pub(crate) fn kill_follower(run: &mut Run) -> Result<(), String> {
    kill_rounds(run, "follower", |run| {
        let leader = run.any_leader()?;
        run.other_than(&[leader])
    })
}

pub(crate) fn kill_controller(run: &mut Run) -> Result<(), String> {
    kill_rounds(run, "controller", |run| run.controller())
}

fn kill_rounds(
    run: &mut Run,
    role: &str,
    target: fn(&mut Run) -> Result<Node, String>,
) -> Result<(), String> {
    for _ in 0..run.rounds(2, 10) {
        run.breathe();
        let node = target(run)?;
        run.fault(&format!("kill -9 of node {node}, {role}"));
        run.cluster.kill(node);
        run.await_service(&format!("kill {role}"), Instant::now())?;
        run.breathe();
        run.fault(&format!("start of node {node}"));
        run.cluster.start(node)?;
        run.await_in_sync(SYNCED)?;
    }
    Ok(())
}

pub(crate) fn kill_all(run: &mut Run) -> Result<(), String> {
    for _ in 0..run.rounds(2, 10) {
        run.breathe();
        run.fault("kill -9 of all nodes");
        run.cluster.kill_all();
        let since = Instant::now();
        run.cluster.start_all()?;
        run.await_service("start after kill -9 of all", since)?;
    }
    Ok(())
}

/// What the leader acknowledges while it is alone is lost when it is killed: so it must not.
pub(crate) fn leader_alone(run: &mut Run) -> Result<(), String> {
    for _ in 0..run.rounds(2, 10) {
        run.breathe();
        let leader = run.any_leader()?;
        let followers: Vec<Node> =
            run.cluster.rig.nodes().into_iter().filter(|node| *node != leader).collect();
        run.fault(&format!("SIGSTOP of all but node {leader}"));
        followers.iter().try_for_each(|node| run.cluster.freeze(*node))?;
        std::thread::sleep(ALONE);
        run.fault(&format!("kill -9 of node {leader}, SIGCONT of the others"));
        run.cluster.kill(leader);
        let since = Instant::now();
        followers.iter().try_for_each(|node| run.cluster.thaw(*node))?;
        run.await_service("kill of a leader that was alone", since)?;
        run.cluster.start(leader)?;
        run.await_in_sync(SYNCED)?;
    }
    Ok(())
}

pub(crate) fn majority_loss(run: &mut Run) -> Result<(), String> {
    for _ in 0..run.rounds(1, 3) {
        run.breathe();
        let survivor = run.any_leader()?;
        let lost: Vec<Node> =
            run.cluster.rig.nodes().into_iter().filter(|node| *node != survivor).collect();
        run.fault(&format!("kill -9 of all but node {survivor}"));
        lost.iter().for_each(|node| run.cluster.kill(*node));
        std::thread::sleep(UNDER_WAY);
        let since = Instant::now();
        std::thread::sleep(Duration::from_secs(run.rounds(5, 30)));
        for key in run.topic.keys() {
            if run.history.acked_since(&key, since) {
                run.complaints.push(format!("{key} acknowledged without a majority"));
            }
        }
        run.fault("start of the others");
        let since = Instant::now();
        run.cluster.start_all()?;
        run.await_service("a majority is back", since)?;
        run.await_in_sync(SYNCED)?;
    }
    Ok(())
}

/// Clients may notice nothing that they can not get over by themselves.
pub(crate) fn rolling_restart(run: &mut Run) -> Result<(), String> {
    for _ in 0..run.rounds(1, 3) {
        let mut nodes = run.cluster.rig.nodes();
        run.rng.shuffle(&mut nodes);
        for node in nodes {
            run.breathe();
            run.fault(&format!("SIGTERM of node {node}"));
            run.cluster.stop(node)?;
            run.await_service("SIGTERM", Instant::now())?;
            run.fault(&format!("start of node {node}"));
            run.cluster.start(node)?;
            run.await_in_sync(SYNCED)?;
        }
    }
    let unsure = run.history.unsure();
    if let Some(first) = unsure.first() {
        run.complaints.push(format!("{} sends did not succeed, {first}", unsure.len()));
    }
    Ok(())
}

pub(crate) fn power_cut_alone(run: &mut Run) -> Result<(), String> {
    power_cuts(run, 1, run.rounds(3, 50))
}

pub(crate) fn power_cut_one(run: &mut Run) -> Result<(), String> {
    power_cuts(run, 1, run.rounds(2, 10))
}

pub(crate) fn power_cut_majority(run: &mut Run) -> Result<(), String> {
    power_cuts(run, 2, run.rounds(2, 10))
}

pub(crate) fn power_cut_all(run: &mut Run) -> Result<(), String> {
    power_cuts(run, 3, run.rounds(2, 10))
}

fn power_cuts(run: &mut Run, count: usize, rounds: u64) -> Result<(), String> {
    for _ in 0..rounds {
        run.breathe();
        let mut nodes = run.cluster.rig.nodes();
        run.rng.shuffle(&mut nodes);
        nodes.truncate(count);
        run.fault(&format!("power cut of nodes {nodes:?}"));
        for node in &nodes {
            run.cluster.rig.cut_power(*node)?;
        }
        // The process may go on for a moment and must not believe that its writes succeed.
        std::thread::sleep(run.rng.millis(0..300));
        nodes.iter().for_each(|node| run.cluster.power_off(*node));
        let since = Instant::now();
        for node in &nodes {
            run.cluster.rig.restore_power(*node)?;
            run.cluster.start(*node)?;
        }
        run.await_service("start after a power cut", since)?;
        run.await_in_sync(SYNCED)?;
    }
    Ok(())
}

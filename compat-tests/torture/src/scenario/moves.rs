//! Leaders and replicas that move under load.

use std::time::{Duration, Instant};

use crate::rig::Node;
use crate::run::{Run, of_partition};

const SYNCED: Duration = Duration::from_secs(60);
const MOVED: Duration = Duration::from_secs(60);
const INTERNAL_TOPIC: &str = "__consumer_offsets";

/// Makes a node the leader: the first of the replicas is preferred.
pub(crate) fn lead(run: &Run, partition: u32, node: Node) -> Result<(), String> {
    let topic = &run.topic.name;
    let replicas = replicas(run, topic, partition)?;
    let id = run.cluster.id_of(node);
    let others = replicas.iter().filter(|replica| **replica != id);
    let order: Vec<String> = [&id].into_iter().chain(others).map(usize::to_string).collect();
    run.admin.demand(&format!("reassign {topic} {partition} {}", order.join(",")), MOVED)?;
    await_no_moves(run)?;
    run.admin.demand(&format!("elect {topic} {partition}"), MOVED)?;
    Ok(())
}

fn replicas(run: &Run, topic: &str, partition: u32) -> Result<Vec<usize>, String> {
    let said = run.admin.demand(&format!("replicas {topic}"), MOVED)?;
    let replicas = of_partition(&said, partition).unwrap_or_default();
    replicas.split(',').map(|id| id.parse().map_err(|_| said.clone())).collect()
}

fn await_no_moves(run: &Run) -> Result<(), String> {
    let deadline = Instant::now() + MOVED;
    while run.admin.demand("moves", MOVED)? != "0" {
        if Instant::now() > deadline {
            return Err(format!("replicas still move after {MOVED:?}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

pub(crate) fn leader_storm(run: &mut Run) -> Result<(), String> {
    let (rounds, mut changes) = (run.rounds(10, 60), 0);
    for _ in 0..rounds {
        let partition = run.rng.between(0..u64::from(run.topic.partitions));
        let partition = u32::try_from(partition).unwrap_or(0);
        let before = run.leader(partition)?;
        let next = run.other_than(&[before])?;
        run.fault(&format!("partition {partition} goes from node {before} to node {next}"));
        let since = Instant::now();
        lead(run, partition, next)?;
        if run.leader(partition)? == next {
            changes += 1;
        }
        run.await_service("a change of leaders", since)?;
        std::thread::sleep(Duration::from_secs(1).saturating_sub(since.elapsed()));
    }
    if changes * 2 < rounds {
        run.complaints.push(format!("only {changes} of {rounds} changes of leaders took place"));
    }
    Ok(())
}

pub(crate) fn reassign(run: &mut Run) -> Result<(), String> {
    let topic = run.topic.name.clone();
    for round in 0..run.rounds(3, 15) {
        run.breathe();
        let victim = (round % 2 == 1).then(|| run.any_leader()).transpose()?;
        for partition in 0..run.topic.partitions {
            let mut nodes = run.cluster.rig.nodes();
            run.rng.shuffle(&mut nodes);
            let ids: Vec<String> = nodes.iter().take(3).map(usize::to_string).collect();
            run.fault(&format!("partition {partition} goes to nodes {}", ids.join(", ")));
            run.admin.demand(&format!("reassign {topic} {partition} {}", ids.join(",")), MOVED)?;
        }
        if let Some(node) = victim {
            std::thread::sleep(run.rng.millis(0..500));
            run.fault(&format!("kill -9 of node {node}"));
            run.cluster.kill(node);
            std::thread::sleep(run.rng.millis(500..3_000));
            run.fault(&format!("start of node {node}"));
            run.cluster.start(node)?;
        }
        let since = Instant::now();
        run.await_service("replicas move", since)?;
        await_no_moves(run)?;
    }
    run.await_in_sync(SYNCED)
}

/// A node without its disk has forgotten what it promised, so it may not come back under its id.
pub(crate) fn lost_disk(run: &mut Run) -> Result<(), String> {
    run.breathe();
    let node = run.any_leader()?;
    let (old, new) = (run.cluster.id_of(node), run.cluster.rig.nodes().len() + 1);
    run.fault(&format!("the disk of node {node} is lost; it comes back as {new}"));
    let since = Instant::now();
    run.cluster.replace(node, new)?;
    run.await_service("lost disk", since)?;
    await_broker(run, new)?;
    for topic in [run.topic.name.clone(), INTERNAL_TOPIC.to_owned()] {
        replace_replica(run, &topic, old, new)?;
    }
    await_no_moves(run)?;
    run.fault(&format!("broker {old} is forgotten"));
    run.admin.demand(&format!("unregister {old}"), MOVED)?;
    run.await_in_sync(SYNCED)
}

fn await_broker(run: &Run, id: usize) -> Result<(), String> {
    let deadline = Instant::now() + MOVED;
    loop {
        let brokers = run.admin.demand("brokers", MOVED)?;
        if brokers.split(',').any(|broker| broker.parse() == Ok(id)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("broker {id} is not among {brokers}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn replace_replica(run: &Run, topic: &str, old: usize, new: usize) -> Result<(), String> {
    let said = run.admin.demand(&format!("replicas {topic}"), MOVED)?;
    for partition in 0..u32::try_from(said.split(' ').count()).unwrap_or(0) {
        let replicas = replicas(run, topic, partition)?;
        if !replicas.contains(&old) {
            continue;
        }
        // The cluster may be giving the new one its share already.
        let others = replicas.iter().filter(|id| **id != old && **id != new);
        let replaced: Vec<String> = others.chain([&new]).map(usize::to_string).collect();
        let question = format!("reassign {topic} {partition} {}", replaced.join(","));
        run.admin.demand(&question, MOVED)?;
    }
    Ok(())
}

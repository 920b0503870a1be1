//! Nodes that stand still for a while, or are slow.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::Node;
use crate::run::{Form, Run};

const SYNCED: Duration = Duration::from_secs(60);

pub(crate) fn leader(run: &mut Run) -> Result<(), String> {
    rounds(run, |run| Ok(vec![run.any_leader()?]))
}

pub(crate) fn follower(run: &mut Run) -> Result<(), String> {
    rounds(run, |run| {
        let leader = run.any_leader()?;
        Ok(vec![run.other_than(&[leader])?])
    })
}

pub(crate) fn all(run: &mut Run) -> Result<(), String> {
    rounds(run, |run| Ok(run.cluster.rig.nodes()))
}

fn rounds(run: &mut Run, targets: fn(&mut Run) -> Result<Vec<Node>, String>) -> Result<(), String> {
    for _ in 0..run.rounds(2, 8) {
        run.breathe();
        let nodes = targets(run)?;
        run.fault(&format!("SIGSTOP of {nodes:?}"));
        nodes.iter().try_for_each(|node| run.cluster.freeze(*node))?;
        let since = Instant::now();
        if nodes.len() == 1 {
            run.await_service("SIGSTOP", since)?;
        }
        let pause = match run.settings.form {
            Form::Once | Form::Short => run.rng.millis(1_000..5_000),
            Form::Long => run.rng.millis(1_000..30_000),
        };
        std::thread::sleep(pause.saturating_sub(since.elapsed()));
        run.fault(&format!("SIGCONT of {nodes:?}"));
        let since = Instant::now();
        nodes.iter().try_for_each(|node| run.cluster.thaw(*node))?;
        run.await_service("SIGCONT", since)?;
        run.await_in_sync(SYNCED)?;
    }
    Ok(())
}

/// A record that takes longer than this is too slow, however slow it usually is.
const NOTICEABLE: Duration = Duration::from_millis(100);

/// The other two are a majority: nobody waits for the third.
pub(crate) fn slow_follower(run: &mut Run) -> Result<(), String> {
    let follower = {
        let leader = run.any_leader()?;
        run.other_than(&[leader])?
    };
    // Its own leaders would be slow: the others take them.
    for partition in 0..run.topic.partitions {
        if run.leader(partition)? == follower {
            let other = run.other_than(&[follower])?;
            crate::scenario::lead(run, partition, other)?;
        }
    }
    let seconds = run.rounds(10, 30);
    let usual = slowest_percent(run, seconds)?;
    let pid = run.cluster.pid(follower).ok_or("the follower is gone")?;
    run.fault(&format!("each sync of node {follower} takes half a second"));
    let trace = run.log_of("strace");
    let mut strace = slow_down(pid, &trace)?;
    let slow = slowest_percent(run, seconds);
    // So it detaches.
    let stopped = i32::try_from(strace.id()).ok().and_then(Pid::from_raw);
    let _ = stopped.map(|pid| kill_process(pid, Signal::TERM));
    let _ = strace.wait();
    let slow = slow?;
    let delayed = std::fs::read_to_string(&trace).map_err(|error| error.to_string())?;
    let delayed = delayed.lines().filter(|line| line.contains("(DELAYED)")).count();
    if delayed == 0 {
        run.doubts.push("no sync was delayed".to_owned());
    }
    println!(
        "     99 % of records took up to {usual:.1?}, with a follower of which {delayed} syncs were \
         slow {slow:.1?}"
    );
    if slow > (usual * 2).max(NOTICEABLE) {
        run.complaints.push(format!("99 % of records took up to {slow:?} instead of {usual:?}"));
    }
    run.await_in_sync(SYNCED)
}

/// The time in which 99 of 100 records were acknowledged.
fn slowest_percent(run: &Run, seconds: u64) -> Result<Duration, String> {
    let from = Instant::now();
    std::thread::sleep(Duration::from_secs(seconds));
    let latencies = run.history.latencies(from, Instant::now());
    let place = latencies.len() * 99 / 100;
    latencies.get(place).copied().ok_or_else(|| "nothing was acknowledged".to_owned())
}

fn slow_down(pid: u32, trace: &Path) -> Result<Child, String> {
    let calls = "fsync,fdatasync,syncfs";
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(trace);
    strace.args(["-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:delay_enter=500000")]);
    strace.args(["-p", &pid.to_string()]).stdin(Stdio::null());
    strace.spawn().map_err(|error| format!("strace: {error}"))
}

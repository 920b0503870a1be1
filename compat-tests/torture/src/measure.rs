//! How long a producer waits for its next acknowledgement after a fault: one partition with three
//! replicas, 200 records a second, a client that asks again at once.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::rig::{Disk, Net, Node};
use crate::run::{Client, Needs, Run, Settings};
use crate::scenario::lead;
use crate::tools::is_root;

const RATE: u32 = 200;
const SYNCED: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Between two rounds, so that none pays for the one before.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
enum Case {
    Leader,
    Controller,
    Both,
    Vanished,
}

const CASES: &[(Case, &str)] = &[
    (Case::Leader, "kill -9 of the leader"),
    (Case::Controller, "kill -9 of the controller"),
    (Case::Both, "kill -9 of the node that is both"),
    (Case::Vanished, "the leader's machine vanishes"),
];

pub(crate) fn run(settings: &Settings, rounds: u64) -> ExitCode {
    match measure(settings, rounds) {
        Ok(()) => {
            let _ = std::fs::remove_dir_all(&settings.out);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("torture: {error}\n         logs: {}", settings.out.display());
            ExitCode::FAILURE
        }
    }
}

fn measure(settings: &Settings, rounds: u64) -> Result<(), String> {
    let net = if is_root() { Net::Namespaces } else { Net::Loopback };
    let needs = Needs { nodes: 3, net, disk: Disk::Folder };
    let mut run = Run::begin(settings, "measure", needs, 1)?;
    let producer = run.worker(Client::ImpatientFranz)?;
    run.load.produce(&producer, &run.topic, RATE, &run.history);
    run.await_service("the first records", Instant::now())?;
    for (case, what) in CASES {
        if matches!(case, Case::Vanished) && net == Net::Loopback {
            println!("{}: {what}: needs root", settings.broker.name());
            continue;
        }
        let mut outages = Vec::new();
        for _ in 0..rounds {
            outages.push(one(&mut run, *case)?);
        }
        outages.sort();
        // The lower one of two in the middle.
        let (median, worst) = (outages.get((outages.len() - 1) / 2), outages.last());
        if let (Some(median), Some(worst)) = (median, worst) {
            let broker = settings.broker.name();
            println!("{broker}: {what}: median {median:.3?}, worst {worst:.3?} of {rounds}");
        }
    }
    Ok(())
}

fn one(run: &mut Run, case: Case) -> Result<Duration, String> {
    let node = target(run, case)?;
    std::thread::sleep(QUIET);
    let mut start = Instant::now();
    match case {
        Case::Vanished => {
            run.cluster.rig.unplug(node)?;
            // What was sent while the command ran may have come through.
            start = Instant::now();
        }
        Case::Leader | Case::Controller | Case::Both => run.cluster.kill(node),
    }
    let since = Instant::now();
    let limit = run.limit();
    let outage = run.history.await_served(&run.topic.keys(), since, limit);
    let outage = outage.map(|outage| outage + (since - start));
    run.cluster.heal()?;
    run.await_in_sync(SYNCED)?;
    outage.ok_or_else(|| format!("no record was acknowledged for {limit:?}"))
}

/// Gives the parts to nodes as the case wants them, and tells which node the fault is for. They may
/// change by themselves while a node that was away comes back.
fn target(run: &mut Run, case: Case) -> Result<Node, String> {
    let deadline = Instant::now() + run.limit();
    loop {
        let given = give_parts(run, case);
        if given.is_ok() || Instant::now() >= deadline {
            return given;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn give_parts(run: &mut Run, case: Case) -> Result<Node, String> {
    let controller = run.controller()?;
    let leader = match case {
        Case::Both => controller,
        Case::Leader | Case::Controller | Case::Vanished => run.other_than(&[controller])?,
    };
    if run.leader(0)? != leader {
        lead(run, 0, leader)?;
    }
    let (controller, is) = (run.controller()?, run.leader(0)?);
    if is != leader || (leader == controller) != matches!(case, Case::Both) {
        return Err(format!("node {is} leads and not {leader}; the controller is {controller}"));
    }
    Ok(if matches!(case, Case::Controller) { controller } else { leader })
}

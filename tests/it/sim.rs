//! The broker in a simulated world: power fails between any two writes, and no promise is broken.
//!
//! `SIM_SEEDS=500 cargo test --test it sim::smoke` runs more seeds, `SIM_MS=600000` as many as fit
//! into that time; `SEED=7` runs one.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a seed must be seen")]

use std::time::{Duration, Instant};

use ottla::sim::moves::{self, End};
use ottla::sim::world::{self, Options, Summary};
use tokio::runtime::{Builder, RngSeed, Runtime};

const SEEDS_COUNT: u64 = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The clock runs only when nothing else happens.
fn runtime(seed: u64) -> Runtime {
    let mut builder = Builder::new_current_thread();
    let seed = RngSeed::from_bytes(&seed.to_be_bytes());
    builder.enable_all().start_paused(true).rng_seed(seed).build().unwrap()
}

fn run(seed: u64, options: Options) -> Result<Summary, String> {
    world::run(seed, options, runtime)
}

/// The command that repeats a run.
fn repeat(seed: u64) -> String {
    format!("SEED={seed} cargo test --test it -- --exact sim::smoke --nocapture")
}

fn check(seed: u64) -> Summary {
    // A panic that ends the process says no more than this.
    eprintln!("seed {seed}");
    match std::panic::catch_unwind(|| run(seed, Options::default())) {
        Ok(Ok(summary)) => summary,
        Ok(Err(why)) => panic!("seed {seed}: {why}\nagain: {}", repeat(seed)),
        Err(_) => panic!("seed {seed} panicked\nagain: {}", repeat(seed)),
    }
}

#[test]
fn smoke() {
    if let Some(seed) = number("SEED") {
        eprintln!("{:?}", check(seed));
        return;
    }
    let started = Instant::now();
    let time_max = number("SIM_MS").map(Duration::from_millis);
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS_COUNT);
    let first = number("SIM_FIRST").unwrap_or(0);
    let (mut kept, mut crashes) = (0, 0);
    for seed in first.. {
        let done = match time_max {
            Some(time_max) => started.elapsed() >= time_max,
            None => seed >= first + seeds,
        };
        if done {
            eprintln!("seeds {first} to {seed}: {crashes} crashes, {kept} batches kept");
            break;
        }
        let summary = check(seed);
        kept += summary.kept;
        crashes += summary.crashes;
    }
    assert!(kept > 0 && crashes > 0, "nothing was tried");
}

#[test]
fn a_disk_that_lies_is_found_out() {
    let options = Options { lying_syncs: Some(".log"), ..Options::default() };
    let broken: Vec<String> = (0..10).filter_map(|seed| run(seed, options).err()).collect();
    let is_gone = |why: &String| why.contains("was acknowledged and is gone");
    assert!(broken.iter().any(is_gone), "acknowledged batches are lost: {broken:#?}");
}

/// What `the_same_seed_is_the_same_run` starts.
#[test]
#[ignore = "started by another test"]
fn child() {
    let summary = run(number("SEED").unwrap(), Options::default()).unwrap();
    println!("trace {:016x} of {} changes", summary.trace, summary.changes);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed: u64| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sim::child", "--ignored", "--nocapture"])
            .env("SEED", seed.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.contains("trace ")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("seed {seed}: {text}"))
    };
    for seed in 0..3 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(0), trace(1));
}

/// `MOVE_SEED=7` looks at the moves of one seed, wherever the power fails.
#[test]
fn a_replica_is_in_one_log_dir_or_the_other_wherever_the_power_fails() {
    let seed = number("MOVE_SEED").unwrap_or(1);
    // The first calls one by one, which are those of a small log; then with gaps, until the move is
    // over before the power fails.
    let mut calls = 0;
    let (mut cuts, mut moved) = (0, false);
    while !moved {
        let end = moves::run(seed + calls, calls, runtime);
        let end = end.unwrap_or_else(|why| panic!("seed {}, cut at {calls}: {why}", seed + calls));
        moved = end == End::Moved;
        cuts += u32::from(!moved);
        calls += 1 + calls / 100;
    }
    assert!(cuts > 50, "the power failed {cuts} times only");
}

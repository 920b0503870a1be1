//! Whole clusters in a simulated world: nodes crash, networks part, and no promise is broken.
//!
//! `make sim SEED=7` repeats one seed with its log; `SIM_SEEDS=500` runs more, `SIM_MS=600000` as
//! many as fit into that time.

#![expect(clippy::print_stderr, reason = "a seed must be seen")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ottla::base::env::Planted;
use ottla::sim::cluster::{self, Options, Summary};
use tokio::runtime::{Builder, RngSeed, Runtime};

const SEEDS_COUNT: u64 = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The clock runs only when nothing else happens.
fn runtime(seed: u64) -> Runtime {
    let mut builder = Builder::new_current_thread();
    let seed = RngSeed::from_bytes(&seed.to_be_bytes());
    builder.enable_time().start_paused(true).rng_seed(seed).build().unwrap()
}

fn run(seed: u64) -> Result<Summary, String> {
    cluster::run(seed, Options::of(seed), runtime)
}

fn check(seed: u64) -> Summary {
    // A panic that ends the process says no more than this.
    eprintln!("seed {seed}");
    let started = Instant::now();
    let again = format!("again: make sim SEED={seed}");
    match std::panic::catch_unwind(|| run(seed)) {
        Ok(Ok(summary)) => {
            eprintln!("seed {seed}: {summary:?} in {:?}", started.elapsed());
            summary
        }
        Ok(Err(why)) => panic!("seed {seed}: {why}\n{again}"),
        Err(_) => panic!("seed {seed} panicked\n{again}"),
    }
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).without_time();
    // Another test may have been first.
    let _ = log.with_writer(std::io::stderr).try_init();
}

#[test]
fn smoke() {
    if let Some(seed) = number("SEED") {
        log();
        eprintln!("{:?}", check(seed));
        return;
    }
    let started = Instant::now();
    let time_max = number("SIM_MS").map(Duration::from_millis);
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS_COUNT);
    let first = number("SIM_FIRST").unwrap_or(0);
    let is_over = |seed: u64| match time_max {
        Some(time_max) => started.elapsed() >= time_max,
        None => seed >= first + seeds,
    };
    let next = AtomicU64::new(first);
    let work = || {
        let mut summaries = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if is_over(seed) {
                return summaries;
            }
            summaries.push(check(seed));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let summaries: Vec<Summary> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let kept: usize = summaries.iter().map(|summary| summary.kept).sum();
    let crashes: u32 = summaries.iter().map(|summary| summary.crashes).sum();
    eprintln!("{} seeds: {crashes} crashes, {kept} batches kept", summaries.len());
    assert!(kept > 0 && crashes > 0, "nothing was tried");
}

#[test]
fn the_same_seed_is_the_same_run() {
    // Hash maps have another order in every run, so that one process is enough.
    for seed in 0..3 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(0), run(1));
}

/// Ways in which it is seen that something is not there any more.
const LOST: [&str; 3] = ["is gone", "goes back", "not within"];
/// Of as many seeds one finds it out.
const PLANTED_SEEDS_COUNT: u64 = 10;

fn finds(planted: Planted) {
    let mut all = Vec::new();
    for seed in 0..PLANTED_SEEDS_COUNT {
        let options = Options { planted: Some(planted), ..Options::of(seed) };
        let Err(why) = cluster::run(seed, options, runtime) else { continue };
        // The seed itself finds nothing.
        if LOST.iter().any(|lost| why.contains(lost)) && run(seed).is_ok() {
            eprintln!("seed {seed}: {why}");
            return;
        }
        all.push(why);
    }
    panic!("{planted:?} is not found out: {all:#?}");
}

#[test]
fn acknowledging_before_the_majority_has_it_is_found_out() {
    finds(Planted::AckBeforeMajority);
}

#[test]
fn acknowledging_before_the_disk_has_it_is_found_out() {
    finds(Planted::AckBeforeSync);
}

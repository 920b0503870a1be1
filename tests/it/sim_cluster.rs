//! Whole clusters in a simulated world: nodes crash, networks part, and no promise is broken.
//!
//! `make sim SEED=7` repeats one seed with its log; `SIM_SEEDS=500` runs more, `SIM_MS=600000` as
//! many as fit into that time. Each seed has a process of its own: only so a run is the same as
//! its repetition, whatever ran before it.

#![expect(clippy::print_stderr, reason = "a seed must be seen")]

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use histcheck::{Anomaly, Checker, Op};
use ottla::base::env::Planted;
use ottla::sim::cluster::{self, Options, PHASE_ENDS, Run, Summary};
use tokio::runtime::{Builder, RngSeed, Runtime};

const SEEDS_COUNT: u64 = 100;
/// Of as many seeds one finds out what is planted.
const PLANTED_SEEDS_COUNT: u64 = 10;
/// Ways in which it is seen that something is not there any more.
const LOST: [&str; 7] = [
    "is gone",
    "goes back",
    "not within",
    "lost-write",
    "stale-end",
    "were acknowledged at",
    "its latest is",
];
/// How a summary tells what compaction has taken.
const COMPACTED: &str = "compacted: ";
/// What a run says first if all is well.
const KEPT: &str = "all was kept: ";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The clock runs only when nothing else happens.
fn runtime(seed: u64) -> Runtime {
    let mut builder = Builder::new_current_thread();
    let seed = RngSeed::from_bytes(&seed.to_be_bytes());
    builder.enable_time().start_paused(true).rng_seed(seed).build().unwrap()
}

fn run(seed: u64, planted: Option<Planted>) -> Summary {
    let options = Options { planted, ..Options::of(seed) };
    let Run { result, history } = cluster::run(seed, options, runtime);
    let judged = judge(&history);
    // Clients may have noticed, and what the checker has to say is told all the same.
    let why = match (result, judged) {
        (Ok(summary), Ok(())) => return summary,
        (Err(why), Ok(())) | (Ok(_), Err(why)) => why,
        (Err(why), Err(judged)) => format!("{why}; {judged}"),
    };
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sim-{seed}.jsonl"));
    std::fs::write(&file, history.join("\n")).unwrap();
    let file = file.display();
    panic!("seed {seed}: {why}\nagain: make sim SEED={seed}; its history: {file}")
}

/// The checker of real clusters looks at the history when each phase ends, and when all has ended.
fn judge(history: &[String]) -> Result<(), String> {
    let mut checker = Checker::new(histcheck::Options::default());
    for line in history {
        let event = histcheck::jsonl::parse(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        checker.feed(&event);
        if matches!(&event.op, Op::Nemesis { what } if what == PHASE_ENDS) {
            // Readers are on their way: they have not read all there is.
            tell(checker.clone(), |anomaly| anomaly != Anomaly::Unseen)?;
        }
    }
    let is_whole = history.iter().any(|line| line.contains(r#""f":"final""#));
    tell(checker, |anomaly| is_whole || anomaly != Anomaly::Unseen)
}

fn tell(checker: Checker, counts: impl Fn(Anomaly) -> bool) -> Result<(), String> {
    let findings = checker.finish().findings.into_iter();
    let findings = findings.filter(|finding| counts(finding.anomaly)).map(|f| f.to_string());
    let findings: Vec<String> = findings.collect();
    if findings.is_empty() { Ok(()) } else { Err(findings.join("; ")) }
}

/// What a process of its own says of a seed.
fn run_apart(seed: u64, planted: Option<Planted>) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.arg("120").arg(std::env::current_exe().unwrap());
    command.args(["--exact", "sim_cluster::child", "--ignored", "--nocapture"]);
    command.env("SEED", seed.to_string());
    if let Some(planted) = planted {
        command.env("PLANTED", format!("{planted:?}"));
    }
    let output = command.output().unwrap();
    let said = |stream: Vec<u8>| String::from_utf8_lossy(&stream).into_owned();
    let all = said(output.stdout) + &said(output.stderr);
    let kept = all.lines().find_map(|line| line.split_once(KEPT));
    kept.map(|(_, kept)| kept.to_owned()).ok_or_else(|| {
        let why = all.lines().find(|line| line.starts_with(&format!("seed {seed}: ")));
        why.map_or_else(|| format!("seed {seed} ended with {}:\n{all}", output.status), Into::into)
    })
}

/// What [`run_apart`] starts.
#[test]
#[ignore = "started by other tests"]
fn child() {
    let planted = match std::env::var("PLANTED").as_deref() {
        Ok("AckBeforeMajority") => Some(Planted::AckBeforeMajority),
        Ok("AckBeforeSync") => Some(Planted::AckBeforeSync),
        _ => None,
    };
    eprintln!("\n{KEPT}{:?}", run(number("SEED").unwrap(), planted));
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("ottla=info,openraft=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).without_time();
    // Another test may have been first.
    let _ = log.with_writer(std::io::stderr).try_init();
}

#[test]
fn smoke() {
    if let Some(seed) = number("SEED") {
        log();
        eprintln!("{:?}", run(seed, None));
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
    let (next, compacted) = (AtomicU64::new(first), AtomicU64::new(0));
    let work = || {
        let mut broken = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if is_over(seed) {
                return broken;
            }
            match run_apart(seed, None) {
                Ok(kept) => compacted.fetch_add(compacted_in(&kept), Ordering::Relaxed),
                Err(why) => {
                    broken.push(why);
                    continue;
                }
            };
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let broken: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let last = next.into_inner() - threads as u64;
    eprintln!("seeds {first} to {last} in {} s", started.elapsed().as_secs());
    assert!(broken.is_empty(), "{}\nagain: make sim SEED=…", broken.join("\n"));
    assert!(compacted.into_inner() > 0, "nothing is ever compacted");
}

/// How many records compaction took in a run, by its summary.
fn compacted_in(summary: &str) -> u64 {
    let behind = summary.split_once(COMPACTED).map(|(_, behind)| behind);
    let count = behind.and_then(|behind| behind.split([',', ' ']).next()?.parse().ok());
    count.unwrap_or_else(|| panic!("a run says how much was compacted: {summary}"))
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..3 {
        assert_eq!(run_apart(seed, None), run_apart(seed, None), "seed {seed}");
    }
    assert_ne!(run_apart(0, None), run_apart(1, None));
}

fn finds(planted: Planted) {
    let mut all = Vec::new();
    for seed in 0..PLANTED_SEEDS_COUNT {
        let Err(why) = run_apart(seed, Some(planted)) else { continue };
        // The seed finds nothing where nothing is planted.
        if LOST.iter().any(|lost| why.contains(lost)) && run_apart(seed, None).is_ok() {
            eprintln!("{why}");
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

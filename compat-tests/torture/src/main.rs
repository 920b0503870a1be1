//! Runs a cluster under load, breaks it, and checks what its clients saw. `torture` beside
//! `Cargo.toml` builds what this needs and starts it.
#![allow(
    clippy::disallowed_methods,
    reason = "those rules are for the broker, which a simulation must be able to run"
)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

mod broker;
mod cluster;
mod history;
mod load;
mod measure;
mod rig;
mod rng;
mod run;
mod scenario;
mod segments;
mod tools;
mod verdict;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker::Broker;
use histcheck::Anomaly;
use run::{Form, Run, Settings};
use scenario::Scenario;
use verdict::Verdict;

const USAGE: &str = "\
usage: torture [--broker ottla|kafka] [--short] [--seed N] [--repeat N] [--nodes N] [--patience N]
               [--out DIR] SCENARIO...|all
       torture [--broker ottla|kafka] --measure ROUNDS
       torture --planted FAULT:ANOMALY SCENARIO   it must be found (a build with planted faults)
       torture --list";

const PARTITIONS: u32 = 3;
/// Beyond it, limits of seconds say little about the cluster.
const BUSY: Duration = Duration::from_millis(300);

struct Arguments {
    settings: Settings,
    repeat: u64,
    measure: Option<u64>,
    names: Vec<String>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|argument| argument == "--list") {
        for scenario in scenario::ALL {
            println!("{:20} {}", scenario.name, scenario.what);
        }
        return ExitCode::SUCCESS;
    }
    let arguments = match parse(&words) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("torture: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(rounds) = arguments.measure {
        return measure::run(&arguments.settings, rounds);
    }
    let Settings { seed, .. } = arguments.settings;
    let usual = words.iter().filter(|word| *word != "--seed" && **word != seed.to_string());
    let usual: Vec<&str> = usual.map(String::as_str).collect();
    println!("seed {seed}; again: compat-tests/torture/torture --seed {seed} {}", usual.join(" "));
    let failed = run_all(&arguments);
    ExitCode::from(u8::from(failed > 0))
}

fn parse(words: &[String]) -> Result<Arguments, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let out = PathBuf::from(tools::variable("TORTURE_OUT")?);
    let settings = Settings {
        broker: Broker::Ottla,
        form: Form::Long,
        seed: now,
        nodes: None,
        patience: 1,
        out,
        planted: None,
    };
    let mut arguments = Arguments { settings, repeat: 1, measure: None, names: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        fn number<T: FromStr>(text: &str) -> Result<T, String> {
            text.parse().map_err(|_| format!("{text} is no number"))
        }
        match word.as_str() {
            "--short" => arguments.settings.form = Form::Short,
            "--broker" => {
                let name = value()?;
                let broker = Broker::parse(name);
                arguments.settings.broker = broker.ok_or_else(|| format!("no broker {name}"))?;
            }
            "--seed" => arguments.settings.seed = number(value()?)?,
            "--patience" => arguments.settings.patience = number(value()?)?,
            "--nodes" => arguments.settings.nodes = Some(number(value()?)?),
            "--repeat" => arguments.repeat = number(value()?)?,
            "--measure" => arguments.measure = Some(number(value()?)?),
            "--planted" => {
                let planted = value()?.split_once(':').and_then(|(fault, anomaly)| {
                    Some((fault.to_owned(), Anomaly::parse(anomaly)?))
                });
                arguments.settings.planted = Some(planted.ok_or("--planted FAULT:ANOMALY")?);
            }
            "--out" => arguments.settings.out = PathBuf::from(value()?),
            name if name == "all" || scenario::ALL.iter().any(|known| known.name == name) => {
                arguments.names.push(name.to_owned());
            }
            other => return Err(format!("no scenario or option {other}")),
        }
    }
    if arguments.names.is_empty() && arguments.measure.is_none() {
        return Err("which scenario?".to_owned());
    }
    Ok(arguments)
}

/// The number of scenarios that failed.
fn run_all(arguments: &Arguments) -> u64 {
    let mut failed = 0;
    for repeat in 0..arguments.repeat {
        let mut settings = arguments.settings.clone();
        settings.seed += repeat;
        for scenario in scenario::ALL {
            let is_named = arguments.names.iter().any(|name| name == scenario.name);
            let is_part = scenario.is_for(settings.broker)
                && (scenario.is_short() || settings.form == Form::Long);
            if is_named || (is_part && arguments.names.iter().any(|name| name == "all")) {
                failed += u64::from(!run_one(&settings, scenario));
            }
        }
    }
    failed
}

/// Whether it passed.
fn run_one(settings: &Settings, scenario: &Scenario) -> bool {
    let name = scenario.name;
    if let Some(obstacle) = scenario.obstacle() {
        // Whoever runs this must notice that it proves less.
        println!("NOT RUN {name}: {obstacle}");
        return true;
    }
    let start = Instant::now();
    let verdict = Run::begin(settings, name, scenario.needs, PARTITIONS).map(|mut run| {
        let broken = run.begin_load().and_then(|()| (scenario.run)(&mut run));
        run.finish(broken.err())
    });
    let took = format!("{:.2} s", start.elapsed().as_secs_f64());
    let folder = settings.out.join(name);
    let passed = match verdict {
        Ok(verdict) => say(settings, name, &took, &verdict),
        Err(error) => {
            println!("FAIL {name} {took}\n     {error}");
            false
        }
    };
    if passed {
        let _ = std::fs::remove_dir_all(&folder);
        // Gone with the last one.
        let _ = std::fs::remove_dir(&settings.out);
    } else {
        let short = if settings.form == Form::Short { "--short " } else { "" };
        let (broker, seed) = (settings.broker.name(), settings.seed);
        println!("     history and logs: {}", folder.display());
        println!(
            "     again: compat-tests/torture/torture --broker {broker} {short}--seed {seed} {name}"
        );
    }
    passed
}

fn say(settings: &Settings, name: &str, took: &str, verdict: &Verdict) -> bool {
    let Verdict { report, complaints, .. } = verdict;
    let passed = match &settings.planted {
        None => report.findings.is_empty() && complaints.is_empty() && !verdict.is_inconclusive(),
        Some((_, planted)) => report.findings.iter().any(|found| found.anomaly == *planted),
    };
    println!("{} {name} {took}", if passed { "ok  " } else { "FAIL" });
    println!("     {}", report.counts);
    let mut outages: Vec<Duration> = verdict.outages.iter().map(|(_, outage)| *outage).collect();
    outages.sort();
    let worst = verdict.outages.iter().max_by_key(|(_, outage)| *outage);
    if let (Some(median), Some((what, worst))) = (outages.get(outages.len() / 2), worst) {
        println!("     served again after {median:.2?} (median), {worst:.2?} (worst: {what})");
    }
    for finding in &report.findings {
        println!("     {finding}");
    }
    for complaint in complaints {
        println!("     {complaint}");
    }
    if let (Some((fault, anomaly)), false) = (&settings.planted, passed) {
        println!("     {fault} should have been found as {}", anomaly.name());
    } else if verdict.is_inconclusive() {
        println!("     inconclusive: too little happened");
        verdict.doubts.iter().for_each(|doubt| println!("     {doubt}"));
    }
    if verdict.stall > BUSY {
        println!("     the machine was busy: the harness stood still for {:.2?}", verdict.stall);
    }
    if !passed {
        verdict.notes.iter().take(10).for_each(|note| println!("     client: {note}"));
    }
    passed
}

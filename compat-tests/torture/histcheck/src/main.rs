//! `histcheck [--ends-may-lag] [--acked-min N] FILE.jsonl`: what is wrong with a history.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::io::{BufRead, BufReader};
use std::process::ExitCode;

use histcheck::{Checker, Ends, Options, Report, jsonl};

/// So few acknowledged records prove nothing.
const ACKED_MIN: usize = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok((report, acked_min)) => judge(&report, acked_min),
        Err(error) => {
            eprintln!("histcheck: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(Report, usize), String> {
    let (mut options, mut acked_min, mut path) = (Options::default(), ACKED_MIN, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Apache Kafka's leaders do not know at once that they are deposed.
            "--ends-may-lag" => options.ends = Ends::Monotonic,
            "--acked-min" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                acked_min = number.ok_or("--acked-min needs a number")?;
            }
            other => path = Some(other),
        }
    }
    let path = path.ok_or("usage: histcheck [--ends-may-lag] [--acked-min N] FILE.jsonl")?;
    #[expect(clippy::disallowed_methods, reason = "no broker's file")]
    let file = std::fs::File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let mut checker = Checker::new(options);
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| format!("{path}: {error}"))?;
        let event =
            jsonl::parse(&line).map_err(|error| format!("{path}:{}: {error}", number + 1))?;
        checker.feed(&event);
    }
    Ok((checker.finish(), acked_min))
}

/// 0: all is well. 1: something is wrong. 2: too little happened to tell.
fn judge(report: &Report, acked_min: usize) -> ExitCode {
    println!("{}", report.counts);
    for finding in &report.findings {
        println!("{finding}");
    }
    let counts = report.counts;
    if !report.findings.is_empty() {
        ExitCode::from(1)
    } else if counts.sends_ok < acked_min || counts.records_read < acked_min {
        println!("inconclusive: less than {acked_min} records were acknowledged, or read");
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}

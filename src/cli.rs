//! The command line.

mod cluster;
mod config;
mod import;
mod log;
mod server;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::base::env::PLANTED_FAULT;

const USAGE: &str = "\
ottla: a Kafka-compatible broker

usage:
  ottla server [--config FILE]             run a broker
  ottla config --explain [KEY] [--config FILE]
                                           what each setting is, where it comes from, what it means
  ottla import --from DIR[,DIR...] [--config FILE] [--partial]
                                           fill empty log dirs with the topics and groups that are
                                           in those of a stopped Apache Kafka broker
  ottla log check [--config FILE]          whether the disks of a node that does not run still have
                                           what was written
  ottla log repair [--yes] [--config FILE] what of it would be dropped to go on without; with --yes
                                           it is
  ottla cluster COMMAND --bootstrap-server HOST:PORT
                                           look after a cluster through any of its brokers:
      status                               the nodes, what they have, and what moves
      drain NODE | undrain NODE            move all replicas off a node, or let it have some again
      remove NODE                          take out a node that has no replicas any more
      voters add NODE | voters remove NODE let a node vote on metadata, or end that
  ottla --version
";

/// The wrong command line; the text says what is wrong.
#[derive(Debug)]
struct Usage(String);

/// Runs the command; its exit code: 0, 1 for a failure, 2 for a wrong command line.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> =
        arguments.skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["server", options @ ..] => server::run(options),
        ["config", options @ ..] => config::run(options),
        ["import", options @ ..] => import::run(options),
        ["log", options @ ..] => log::run(options),
        ["cluster", options @ ..] => cluster::run(options),
        ["--version" | "-V"] => Ok(say(&format!("ottla {}\n", env!("CARGO_PKG_VERSION")))),
        ["--help" | "-h" | "help"] => Ok(say(USAGE)),
        [] => Err(Usage("a command is missing".to_owned())),
        [other, ..] => Err(Usage(format!("unknown command {other}"))),
    };
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            complain(&format!("ottla: {error}\n"));
            ExitCode::FAILURE
        }
        Err(Usage(what)) => {
            complain(&format!("ottla: {what}\n\n{USAGE}"));
            ExitCode::from(2)
        }
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads may have read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn complain(text: &str) {
    // There is nowhere else to say that this failed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Loads the settings from the file and the environment.
#[expect(clippy::disallowed_methods, reason = "the file is named on the command line")]
fn load(file: Option<&str>) -> io::Result<crate::config::Loaded> {
    let read = |path: &str| std::fs::read_to_string(path);
    let env = std::env::vars_os();
    let env =
        env.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    // It is no setting, and a usual build refuses it as it does any unknown one.
    let env = env.filter(|(key, _)| !cfg!(feature = "planted-faults") || key != PLANTED_FAULT);
    crate::config::Config::load_from(file, read, env).map_err(io::Error::other)
}

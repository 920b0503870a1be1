//! Brokers in processes of their own, as a supervisor starts them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use super::DEADLINE;

/// The command, without what the caller's environment says of brokers.
pub fn ottla(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("KAFKA_") || text.starts_with("OTTLA_") {
            command.env_remove(&name);
        }
    }
    command
}

/// A broker process; killed when it is dropped.
pub struct Process {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a broker in a folder; its `ready` line.
    pub fn start(dir: &Path) -> (Self, String) {
        let mut process = Self::spawn(dir, &[], Stdio::null());
        let line = process.ready();
        (process, line)
    }

    /// With these settings, named as in the environment.
    pub fn spawn(dir: &Path, settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut child = ottla(&["server"])
            .env("KAFKA_LOG_DIRS", dir.join("data"))
            .env("KAFKA_LISTENERS", "PLAINTEXT://127.0.0.1:0")
            .env("OTTLA_METRICS_LISTENER", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// The `ready` line; empty if the broker has ended before it served.
    pub fn ready(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.code(),
                None if begun.elapsed() > DEADLINE => panic!("the broker does not stop"),
                None => std::thread::yield_now(),
            }
        }
    }
}

/// The value of a word like `listeners=…`.
pub fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
    word.unwrap_or_else(|| panic!("{name} is missing in {line}"))
}

/// Where clients reach it.
pub fn address_in(line: &str) -> SocketAddr {
    field(line, "listeners=PLAINTEXT://").parse().unwrap()
}

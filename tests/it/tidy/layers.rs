//! Who may use whom, and who may name what.

use crate::tidy::{File, Findings, Rust, files, rust_files};

/// A module uses only modules with a lower number, and itself. `src/ARCHITECTURE.md` has the same
/// table with what each holds.
const LAYERS: &[(&str, u32)] = &[
    ("base", 0),
    ("config", 1),
    ("metrics", 1),
    ("log", 2),
    ("metadata", 2),
    ("peer", 2),
    ("replication", 3),
    ("partition", 4),
    ("coordinator", 5),
    ("controller", 5),
    ("security", 5),
    ("api", 6),
    ("cluster", 6),
    ("wire", 7),
    ("import", 8),
    ("server", 8),
    ("cli", 9),
    ("main", 10),
    // For tests alone: it may use everything, and only they may use it.
    ("sim", 11),
];

/// A name and the only places under src/ that may say it.
const NAMES: &[(&str, &[&str])] = &[
    ("openraft", &["replication", "sim"]),
    ("rocksdb", &["base/kv/rocks"]),
    ("kafka_protocol", &["api", "wire", "coordinator", "sim", "cli/cluster"]),
    ("tokio::spawn", &["base/task"]),
    ("tokio::task::spawn", &["base/task"]),
    ("std::fs", &["base/disk", "cli"]),
    ("tokio::fs", &[]),
    ("std::net::TcpStream", &["base/net"]),
    ("tokio::net", &["base/net"]),
    ("unsafe", &[]),
];

/// Decisions and state: what they need comes in as an argument.
const PURE: &[&str] = &[
    "controller",
    "coordinator",
    "cluster/admission",
    "cluster/card",
    "cluster/fencing",
    "cluster/forming",
    "cluster/membership",
    "metadata/records",
    "metadata/image",
    "log/batch",
    "log/entry",
    "log/index",
    "log/producer_state",
    "peer/judge",
];

/// The async drivers among them.
const DRIVERS: &[&str] = &[
    "controller/service",
    "controller/housekeeper",
    "controller/leadership",
    "controller/producer_ids",
    "coordinator/runtime",
    "coordinator/reply",
];

const IMPURE: &[&str] =
    &["async", "await", "tokio", "Instant::now", "SystemTime", "rand", "std::fs", "std::net"];

/// An entry carries its proposer's handle, which nobody waits for in there.
const IMPURE_ALLOWED: (&str, &str) = ("log/entry", "tokio");

/// Whether a file of src/ is this module or inside of it.
fn is_in(file: &File, module: &str) -> bool {
    let path = file.path.strip_prefix("src/").unwrap_or(&file.path);
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn layer(module: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

#[test]
fn modules_use_only_lower_ones() {
    let mut findings = Findings::default();
    for file in rust_files("src") {
        let module = file.path["src/".len()..].split(['/', '.']).next().unwrap();
        if module == "lib" {
            continue;
        }
        let Some(own) = layer(module) else {
            findings.at(&file, 1, format!("give `{module}` a place in LAYERS"));
            continue;
        };
        let rust = Rust::of(&file);
        let mut used = rust.paths("crate");
        used.extend(rust.paths("ottla"));
        for (line, name) in used {
            let in_tests = !file.is_production() || line > rust.tests_from;
            let allowed = match layer(&name) {
                None => continue,
                Some(_) if name == module || (name == "sim" && in_tests) => true,
                Some(other) => other < own,
            };
            if !allowed {
                let what = format!("`{module}` ({own}) may not use `{name}`: move one of the two");
                findings.at(&file, line, what);
            }
        }
    }
    findings.report();
}

#[test]
fn paths_out_of_a_module_begin_at_the_crate() {
    let mut findings = Findings::default();
    for file in rust_files("src") {
        let rust = Rust::of(&file);
        // A `super` of a file right under src/ is the crate; deeper down it takes two or more.
        let is_top = file.path.matches('/').count() == 1;
        for (line, name) in rust.paths("super") {
            if name == "super" || (is_top && line <= rust.tests_from) {
                findings.at(&file, line, "write `crate::…`, so that the layers can be checked");
            }
        }
    }
    findings.report();
}

#[test]
fn names_stay_in_their_place() {
    let mut findings = Findings::default();
    for file in rust_files("src") {
        let rust = Rust::of(&file);
        for (name, places) in NAMES {
            if places.iter().any(|place| is_in(&file, place)) {
                continue;
            }
            let what = match places.len() {
                0 => format!("`{name}` is not used in this project"),
                _ => format!("`{name}` belongs to {}: go through it", places.join(", ")),
            };
            for line in lines_with(&rust, name) {
                findings.at(&file, line, &what);
            }
        }
    }
    findings.report();
}

#[test]
fn decisions_are_pure() {
    let mut findings = Findings::default();
    for file in rust_files("src") {
        let among = |places: &[&str]| places.iter().any(|place| is_in(&file, place));
        // The root of a folder of decisions may declare the drivers only.
        if !file.is_production() || !among(PURE) || among(DRIVERS) {
            continue;
        }
        let rust = Rust::of(&file);
        let (place, allowed) = IMPURE_ALLOWED;
        for name in IMPURE.iter().filter(|name| !(**name == allowed && is_in(&file, place))) {
            for line in lines_with(&rust, name).into_iter().filter(|line| *line <= rust.tests_from)
            {
                let what = format!("`{name}` in a pure module: take the value as an argument");
                findings.at(&file, line, what);
            }
        }
    }
    findings.report();
}

/// Lines with a name or a path of two, also where the path is written with braces.
fn lines_with(rust: &Rust, name: &str) -> Vec<usize> {
    let mut lines = rust.lines_with(name);
    if let Some((head, tail)) = name.split_once("::") {
        let listed = rust.paths(head).into_iter().filter(|(_, first)| first == tail);
        lines.extend(listed.map(|(line, _)| line));
        lines.sort_unstable();
        lines.dedup();
    }
    lines
}

#[test]
fn dashboards_know_the_metrics() {
    let mut findings = Findings::default();
    let known: Vec<&str> = ottla::metrics::names::ALL.iter().map(|metric| metric.name).collect();
    for file in files("grafana") {
        for (number, line) in file.text.lines().enumerate() {
            let named = ["ottla_", "kafka_"].map(|prefix| line.match_indices(prefix));
            for (at, _) in named.into_iter().flatten() {
                let name = super::source::identifier(&line[at..]);
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
                if !known.contains(&name.as_str()) && !base.is_some_and(|b| known.contains(&b)) {
                    findings.at(&file, number + 1, format!("no metric `{name}` (metrics::names)"));
                }
            }
        }
    }
    findings.report();
}

//! Sizes, heads, and where files lie.

use std::collections::BTreeSet;

use crate::tidy::{File, Findings, Rust, files, root, rust_files, top_level};

const WIDTH_MAX: usize = 100;
const LINES_MAX: usize = 1000;
const LINES_WISHED: usize = 500;

/// Longer than wished, each with a reason.
const EXCEPTIONS: &str = include_str!("../tidy_exceptions.txt");

const VISIBLE: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "compat-tests",
    "config",
    "docker",
    "grafana",
    "src",
    "tests",
];

/// Made by a program: long, and not read.
fn is_generated(file: &File) -> bool {
    file.path.starts_with("src/wire/shape/table")
}

#[test]
fn files_are_short() {
    let mut findings = Findings::default();
    let mut listed: BTreeSet<&str> = EXCEPTIONS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let all = rust_files("src").into_iter().chain(rust_files("tests"));
    for file in all.filter(|file| !is_generated(file)) {
        let lines = Rust::of(&file).tests_from;
        if lines > LINES_MAX {
            findings.at(&file, lines, format!("{LINES_MAX} lines is the end: split the file"));
        }
        let is_long = file.is_production() && lines > LINES_WISHED;
        if is_long && !listed.remove(file.path.as_str()) {
            let what = format!("longer than {LINES_WISHED} lines without tests: split the file");
            findings.at(&file, lines, what);
        }
    }
    for path in listed {
        findings.0.push(format!("tests/it/tidy_exceptions.txt: {path} fits now: take it out"));
    }
    findings.report();
}

#[test]
fn lines_are_short() {
    let mut findings = Findings::default();
    let all = rust_files("src").into_iter().chain(rust_files("tests")).chain(files(".ci"));
    for file in all.filter(|file| !is_generated(file)) {
        for (number, line) in file.text.lines().enumerate() {
            if line.chars().count() > WIDTH_MAX {
                findings.at(&file, number + 1, format!("wider than {WIDTH_MAX} columns"));
            }
        }
    }
    findings.report();
}

#[test]
fn files_say_what_they_are() {
    let mut findings = Findings::default();
    for file in rust_files("src").into_iter().chain(rust_files("tests")) {
        if !file.text.starts_with("//! ") {
            findings.at(&file, 1, "begin with `//!` and what is in here");
        }
    }
    findings.report();
}

#[test]
fn the_top_level_stays_as_it_is() {
    let names = top_level();
    let unknown = |name: &&String| !name.starts_with('.') && !VISIBLE.contains(&name.as_str());
    let unknown: Vec<&String> = names.iter().filter(unknown).collect();
    assert!(unknown.is_empty(), "not at the top level, or git-ignored: {unknown:?}");
}

#[test]
fn no_file_is_forgotten() {
    let mut findings = Findings::default();
    for (folder, roots) in
        [("tests/it", &["tests/it/main.rs"][..]), ("src", &["src/lib.rs", "src/main.rs"])]
    {
        let all = rust_files(folder);
        let mut reached = BTreeSet::new();
        // A package inside, which replaces one of somebody else's, has a root of its own.
        let inner = all.iter().map(|file| file.path.as_str()).filter(|path| {
            let folder = path.strip_suffix("/lib.rs");
            folder.is_some_and(|folder| root().join(folder).join("Cargo.toml").is_file())
        });
        for path in roots.iter().copied().chain(inner) {
            follow(path, &all, &mut reached);
        }
        for file in all.iter().filter(|file| !reached.contains(&file.path)) {
            findings.at(file, 1, "no `mod` reaches it: declare it, or remove it");
        }
    }
    findings.report();
}

/// Adds a file and all that its `mod name;` lines lead to.
fn follow(path: &str, all: &[File], reached: &mut BTreeSet<String>) {
    let Some(file) = all.iter().find(|file| file.path == path) else { return };
    if !reached.insert(file.path.clone()) {
        return;
    }
    let folder = match path.rsplit_once('/') {
        Some((folder, "main.rs" | "lib.rs")) => folder,
        _ => path.trim_end_matches(".rs"),
    };
    let code = Rust::of(file).code;
    for (line, code) in file.text.lines().zip(code.lines()) {
        if let Some(at) = line.find("#[path = \"") {
            let named = line[at..].split('"').nth(1).unwrap_or_default();
            let beside = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            follow(&resolved(beside, named), all, reached);
        }
        let declared = code.trim().strip_suffix(';').and_then(|code| code.rsplit_once("mod "));
        if let Some((_, name)) = declared {
            follow(&format!("{folder}/{name}.rs"), all, reached);
        }
    }
}

fn resolved(folder: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in relative.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

//! One API is one line in the table, one file, and one test file of the same name.

use crate::tidy::{File, Findings, Rust, files, root, rust_files};

struct Line {
    number: usize,
    key: i16,
    name: String,
    module: String,
    min: i16,
    max: i16,
}

impl Line {
    /// What the head of the API's file begins with.
    fn head(&self) -> String {
        let Self { key, name, min, max, .. } = self;
        if min == max {
            format!("//! {name} (key {key}), version {min}")
        } else {
            format!("//! {name} (key {key}), versions {min} to {max}")
        }
    }
}

/// The lines of `TABLE`: `macro!(key, "Name", module, …, min..=max, …)`.
fn table(file: &File) -> Vec<Line> {
    let code = Rust::of(file).code;
    let begin = code.find("static TABLE").expect("src/api.rs has the table");
    let end = begin + code[begin..].find("];").expect("the table ends");
    let calls = code[begin..end].match_indices("!(").map(|(at, _)| begin + at + 2);
    // The code says where a call is, the text what is in its quotes; blanks keep the columns.
    let text = &file.text;
    assert!(text.is_ascii(), "{}: the table is read by column; keep to ASCII", file.path);
    calls.map(|at| line(&text[at..], text[..at].matches('\n').count() + 1)).collect()
}

fn line(call: &str, number: usize) -> Line {
    let arguments = &call[..call.find(')').expect("the call ends")];
    let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let (min, max) =
        arguments.iter().find_map(|one| one.split_once("..=")).expect("versions as min..=max");
    Line {
        number,
        key: arguments[0].parse().expect("the key comes first"),
        name: arguments[1].trim_matches('"').to_owned(),
        module: arguments[2].to_owned(),
        min: min.trim().parse().unwrap(),
        max: max.trim().parse().unwrap(),
    }
}

#[test]
fn each_line_of_the_table_has_its_files() {
    let mut findings = Findings::default();
    let file = files("src/api.rs").remove(0);
    let lines = table(&file);
    assert!(!lines.is_empty());
    for pair in lines.windows(2) {
        if pair[0].key >= pair[1].key {
            findings.at(&file, pair[1].number, "the table is sorted by key");
        }
    }
    for line in &lines {
        if line.module != snake(&line.name) {
            let what = format!("the file of {} is called {}", line.name, snake(&line.name));
            findings.at(&file, line.number, what);
        }
        match files(&format!("src/api/{}.rs", line.module)).first() {
            None => findings.at(&file, line.number, format!("no src/api/{}.rs", line.module)),
            Some(handler) if !begins_with(&handler.text, &line.head()) => {
                findings.at(handler, 1, format!("begin with `{}`", line.head()));
            }
            Some(_) => {}
        }
        let test = format!("tests/it/api/{}.rs", line.module);
        if !root().join(&test).is_file() {
            findings.at(&file, line.number, format!("write {test}, at lowest and highest version"));
        }
    }
    findings.report();
}

#[test]
fn each_handler_is_in_the_table() {
    let mut findings = Findings::default();
    let modules: Vec<String> =
        table(&files("src/api.rs").remove(0)).into_iter().map(|line| line.module).collect();
    for file in rust_files("src/api") {
        let name = file.path.trim_start_matches("src/api/").trim_end_matches(".rs");
        let head = file.text.lines().next().unwrap_or_default();
        if !name.contains('/') && head.contains("(key ") && !modules.iter().any(|m| m == name) {
            findings.at(&file, 1, "give it a line in TABLE of src/api.rs");
        }
    }
    findings.report();
}

/// A head goes on with no other digit.
fn begins_with(text: &str, head: &str) -> bool {
    text.strip_prefix(head).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

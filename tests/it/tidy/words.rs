//! Words that are not left lying about.

use crate::tidy::source::word;
use crate::tidy::{Findings, Rust, all_files, rust_files};

#[test]
fn nothing_is_left_half_done() {
    let mut findings = Findings::default();
    let markers =
        [concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK"), concat!("TO", "DO")];
    for file in all_files().iter().filter(|file| file.path != "Cargo.lock") {
        for (number, line) in file.text.lines().enumerate() {
            for marker in markers.iter().filter(|marker| !word(line, marker).is_empty()) {
                findings.at(file, number + 1, format!("`{marker}`: do it, or make it an issue"));
            }
        }
    }
    for file in rust_files("src").into_iter().chain(rust_files("tests")) {
        let rust = Rust::of(&file);
        for name in ["todo!", "unimplemented!", "dbg!"] {
            for line in rust.lines_with(name) {
                findings.at(&file, line, format!("`{name}` does not stay"));
            }
        }
    }
    findings.report();
}

/// The project builds on any machine, from any mirror.
#[test]
fn no_file_names_a_machine_or_a_registry() {
    let forbidden = [
        concat!("/wo", "rk/"),
        concat!("sha", "red/"),
        concat!("static.crates", ".io"),
        concat!("index.crates", ".io"),
        concat!("pypi", ".org"),
        concat!("pythonhosted", ".org"),
        concat!("npmjs", ".org"),
        concat!("npmjs", ".com"),
        concat!("maven", ".org"),
        concat!("repo.maven.apache", ".org"),
        concat!("golang", ".org"),
    ];
    let mut findings = Findings::default();
    for file in all_files() {
        for (number, line) in file.text.lines().enumerate() {
            for name in forbidden.iter().filter(|name| !word(line, name).is_empty()) {
                findings.at(
                    &file,
                    number + 1,
                    format!("`{name}` is not for everyone: leave it out"),
                );
            }
        }
    }
    findings.report();
}

//! The `ottla` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ottla::cli::run(std::env::args_os())
}

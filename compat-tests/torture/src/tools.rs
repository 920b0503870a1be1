//! Commands of the machine and of this folder. What needs building is built by `torture`, which
//! tells in the environment where it is.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where the scripts lie.
pub(crate) fn here() -> Result<PathBuf, String> {
    variable("TORTURE_HERE").map(PathBuf::from)
}

pub(crate) fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set: start this with `torture`"))
}

/// A command whose words are the lines of a variable.
pub(crate) fn command_in(name: &str) -> Result<Vec<String>, String> {
    Ok(variable(name)?.lines().map(str::to_owned).collect())
}

/// Runs a script of this folder to its end, and returns what it printed.
pub(crate) fn script(name: &str, arguments: &[&str]) -> Result<String, String> {
    let path = here()?.join(name);
    run(Command::new(&path).args(arguments), &format!("{name} {}", arguments.join(" ")))
}

pub(crate) fn run(command: &mut Command, name: &str) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}: {}", output.status, said.trim()))
}

/// What to put before a command so that it ends with this process, however that ends.
pub(crate) fn guarded(mut command: Vec<String>) -> Result<Vec<String>, String> {
    command.splice(0..0, command_in("TORTURE_GUARD")?);
    Ok(command)
}

pub(crate) fn words(command: &[String]) -> Result<Command, String> {
    let (program, arguments) = command.split_first().ok_or("an empty command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

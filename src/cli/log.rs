//! `ottla log`: what is damaged on the disks of a node that does not run.

use std::io;

use crate::base::env::Env;
use crate::cli::{Usage, load, say};
use crate::config::Loaded;
use crate::server::offline;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Check,
    /// Says what would be dropped.
    Plan,
    Drop,
}

pub(super) fn run(options: &[&str]) -> Result<io::Result<()>, Usage> {
    let (mut task, mut file) = (None, None);
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match (*word, task) {
            ("check", None) => task = Some(Task::Check),
            ("repair", None) => task = Some(Task::Plan),
            ("--yes", Some(Task::Plan)) => task = Some(Task::Drop),
            ("--config", _) => match words.next() {
                Some(path) => file = Some(*path),
                None => return Err(Usage("--config wants a file".to_owned())),
            },
            (other, _) => return Err(Usage(format!("unknown option {other}"))),
        }
    }
    let Some(task) = task else {
        return Err(Usage("ottla log wants check or repair".to_owned()));
    };
    Ok(load(file).and_then(|settings| look(&settings, task)))
}

fn look(settings: &Loaded, task: Task) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let repair = runtime.block_on(async { offline(&Env::real()?, &settings.config).await })?;
    let (mut count, mut damaged, mut left, mut all_opened) = (0, 0, 0, true);
    for folder in repair.folders()? {
        count += 1;
        let name = &folder.name;
        let mut report = match repair.look(&folder, false) {
            Ok(report) if report.is_sound() => continue,
            Ok(report) => report,
            Err(error) => {
                // Others may be repaired all the same.
                (damaged, left, all_opened) = (damaged + 1, left + 1, false);
                say(&format!("{name}: {error}\n"))?;
                continue;
            }
        };
        damaged += 1;
        if let Some(why) = &report.closed {
            say(&format!("{name}: {why}\n"))?;
        }
        let may = task != Task::Check && !report.has_others;
        if may && task == Task::Drop {
            match repair.look(&folder, true) {
                Ok(dropped) => report = dropped,
                Err(error) => {
                    (left, all_opened) = (left + 1, false);
                    say(&format!("{name}: {error}\n"))?;
                    continue;
                }
            }
        } else {
            left += 1;
        }
        for finding in &report.findings {
            let then = match task {
                _ if report.has_others => {
                    "; other nodes have it: a running broker gets it from them"
                }
                Task::Check => "",
                Task::Plan => ": would be dropped",
                Task::Drop => ": dropped",
            };
            say(&format!("{name}: {finding}{then}\n"))?;
        }
    }
    if all_opened {
        repair.finish()?;
    }
    say(&format!("{count} partitions, {damaged} damaged\n"))?;
    // RocksDB is not closed: see `ottla server`.
    std::mem::forget(repair);
    match left {
        0 => Ok(()),
        _ if task == Task::Plan => {
            Err(io::Error::other("nothing was changed; --yes drops what is damaged"))
        }
        _ => Err(io::Error::other(format!("{left} partitions are damaged"))),
    }
}

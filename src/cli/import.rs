//! `ottla import`.

use std::io;
use std::path::PathBuf;

use crate::base::env::Env;
use crate::cli::{Usage, load, say};
use crate::config::Loaded;
use crate::import::{self, Request};

pub(super) fn run(options: &[&str]) -> Result<io::Result<()>, Usage> {
    let (mut from, mut file, mut partial) = (Vec::new(), None, false);
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match *word {
            "--partial" => partial = true,
            "--from" => match words.next() {
                Some(dirs) => from.extend(dirs.split(',').map(PathBuf::from)),
                None => return Err(Usage("--from wants a log dir".to_owned())),
            },
            "--config" => match words.next() {
                Some(path) => file = Some(*path),
                None => return Err(Usage("--config wants a file".to_owned())),
            },
            other => return Err(Usage(format!("unknown option {other}"))),
        }
    }
    if from.is_empty() {
        return Err(Usage(
            "ottla import wants --from with the log dir of a Kafka broker".to_owned(),
        ));
    }
    let request = Request { from, partial };
    Ok(load(file).and_then(|settings| import(&settings, request)))
}

fn import(settings: &Loaded, request: Request) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let mut tell = |line: String| say(&format!("{line}\n"));
        import::run(&Env::real()?, &settings.config, request, &mut tell).await
    });
    // Blocking work that is left has nothing to finish.
    runtime.shutdown_background();
    done
}

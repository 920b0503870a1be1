//! `ottla config --explain`.

use std::io;

use crate::cli::{Usage, load, say};

pub(super) fn run(options: &[&str]) -> Result<io::Result<()>, Usage> {
    let (mut explain, mut key, mut file) = (false, None, None);
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match *word {
            "--explain" => explain = true,
            "--config" => match words.next() {
                Some(path) => file = Some(*path),
                None => return Err(Usage("--config wants a file".to_owned())),
            },
            name if explain && key.is_none() && !name.starts_with('-') => key = Some(name),
            other => return Err(Usage(format!("unknown option {other}"))),
        }
    }
    if !explain {
        return Err(Usage("ottla config wants --explain".to_owned()));
    }
    Ok(load(file).and_then(|loaded| {
        let text = loaded.explain(key).map_err(io::Error::other)?;
        say(&text)
    }))
}

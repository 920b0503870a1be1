//! The house rules, held by tests. Each reads the source tree and reports every place at once, with
//! what to do about it.

mod api_table;
mod files;
mod layers;
mod source;
mod words;

use std::path::{Path, PathBuf};

use source::Rust;

/// The checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A text file of the project.
struct File {
    /// From the root, with slashes.
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is compiled into the broker: tests beside the code are not.
    fn is_production(&self) -> bool {
        let tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        self.is_rust() && self.path.starts_with("src/") && !tests
    }
}

/// Every text file under a folder, or the one file, in order of path. What is not there is empty.
fn files(under: &str) -> Vec<File> {
    let mut paths = Vec::new();
    collect(&root().join(under), &mut paths);
    paths.sort();
    paths.into_iter().filter_map(|path| read(&path)).collect()
}

fn rust_files(under: &str) -> Vec<File> {
    let mut files = files(under);
    files.retain(File::is_rust);
    files
}

/// Every text file of the project, hidden ones too.
fn all_files() -> Vec<File> {
    top_level().iter().flat_map(|name| files(name)).collect()
}

/// What lies at the top, but for git's own files and what git ignores.
fn top_level() -> Vec<String> {
    let ignored = std::fs::read_to_string(root().join(".gitignore")).unwrap();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let names = std::fs::read_dir(root()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|name| name != ".git" && !ignored.contains(&name.as_str())).collect();
    names.sort();
    names
}

fn collect(path: &Path, paths: &mut Vec<PathBuf>) {
    if path.is_file() {
        paths.push(path.to_owned());
    } else if let Ok(entries) = std::fs::read_dir(path) {
        let built = ["target", "node_modules", "__pycache__", "corpus", "artifacts"];
        for entry in entries {
            let entry = entry.unwrap();
            if !built.iter().any(|name| entry.file_name() == *name) {
                collect(&entry.path(), paths);
            }
        }
    }
}

/// `None` if it is no text, or has just gone.
fn read(path: &Path) -> Option<File> {
    let text = std::fs::read_to_string(path).ok()?;
    let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    Some(File { path, text })
}

/// What a check found.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    /// `line` counts from 1.
    fn at(&mut self, file: &File, line: usize, what: impl std::fmt::Display) {
        self.0.push(format!("{}:{line}: {what}", file.path));
    }

    #[track_caller]
    fn report(self) {
        assert!(self.0.is_empty(), "\n{}\n", self.0.join("\n"));
    }
}

//! The partitions of a node that does not run: what is damaged on its disks, and how to do without.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use crate::base::env::Env;
use crate::base::ids::TopicPartition;
use crate::base::kv::KeyValue;
use crate::config::Config;
use crate::log::dir::LogDir;
use crate::log::flusher::{self, Completion, LogWriter};
use crate::log::health::Health;
use crate::log::partition_log::{DamageBell, LogConfig, LogSetup, PartitionLog};
use crate::log::repair::{Finding, check, drop_damaged};
use crate::metrics::flush::FlushMetrics;
use crate::partition::open::{log_config, store_key};
use crate::replication::partition_group;

/// What the logs are opened with.
#[derive(Debug)]
pub struct Repair {
    env: Env,
    dirs: Vec<Arc<LogDir>>,
    kv: Arc<dyn KeyValue>,
    config: LogConfig,
}

/// A partition's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    /// `topic-partition`.
    pub name: String,
    path: PathBuf,
    id: TopicPartition,
    /// Its log dir was left in order.
    clean: bool,
}

/// What there is to say of a partition.
#[derive(Debug)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Why the log cannot be opened as it is.
    pub closed: Option<String>,
    /// Other nodes have replicas, and a running broker mends its own from them.
    pub has_others: bool,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.closed.is_none()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch { first, last, bytes } => {
                write!(f, "the batch of offsets {first} to {last} ({bytes} bytes) is damaged")
            }
            Self::Record { index } => write!(f, "nothing is known any more of entry {index}"),
        }
    }
}

impl Repair {
    pub fn new(env: Env, dirs: Vec<Arc<LogDir>>, kv: Arc<dyn KeyValue>, config: &Config) -> Self {
        let usual = log_config(&config.topic_defaults, config.producer_id_expiration_ms);
        // Nothing is appended, and nobody reads what is replaced.
        let config = LogConfig { preallocate: false, file_delete_delay_ms: 0, ..usual };
        Self { env, dirs, kv, config }
    }

    /// All partitions that are here, by name.
    pub fn folders(&self) -> io::Result<Vec<Folder>> {
        let mut found = Vec::new();
        for dir in &self.dirs {
            for (path, id) in dir.owned()? {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let name = name.unwrap_or_default();
                found.push(Folder { name, path, id, clean: dir.clean });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Reads a partition's log; with `drops` it is without what is damaged afterwards. Blocks.
    pub fn look(&self, folder: &Folder, drops: bool) -> io::Result<Report> {
        let has_others = partition_group::members(self.kv.as_ref(), &store_key(folder.id))?;
        let mut report = Report { findings: Vec::new(), closed: None, has_others: has_others > 1 };
        let health = Health::new(&folder.path);
        let writer = flusher::start(self.env.threads, FlushMetrics::default(), health)?;
        let log = match PartitionLog::open(self.setup(folder, writer.clone(), false)) {
            Ok(log) => log,
            Err(error) => {
                report.closed = Some(error.to_string());
                if !drops {
                    return Ok(report);
                }
                PartitionLog::open(self.setup(folder, writer, true))?
            }
        };
        report.findings = check(&log)?;
        if drops && !report.is_sound() {
            drop_damaged(&log, |begin| wait(begin))?;
        }
        wait(|done| log.close(done))?;
        Ok(report)
    }

    fn setup(&self, folder: &Folder, writer: LogWriter, salvage: bool) -> LogSetup {
        LogSetup {
            dir: folder.path.clone(),
            name: folder.name.clone(),
            key: store_key(folder.id),
            disk: Arc::clone(&self.env.disk),
            clock: Arc::clone(&self.env.clock),
            kv: Arc::clone(&self.kv),
            writer,
            config: self.config.clone(),
            clean: folder.clean,
            damage_bell: DamageBell::default(),
            salvage,
        }
    }

    /// The logs were closed in order; the next start need not read them.
    pub fn finish(&self) -> io::Result<()> {
        self.dirs.iter().try_for_each(|dir| dir.mark_clean())
    }
}

fn wait(begin: impl FnOnce(Completion)) -> io::Result<()> {
    let (tx, rx) = mpsc::channel();
    begin(Box::new(move |result| {
        // Whoever waited may have gone.
        let _ = tx.send(result);
    }));
    rx.recv().map_err(io::Error::other)?
}

//! The seams as one value, handed down from the composition root.

use std::path::Path;
use std::sync::Arc;

use crate::base::clock::{Clock, SystemClock};
use crate::base::disk::{Disk, RealDisk};
use crate::base::kv::KeyValue;
use crate::base::kv::journal::JournalKv;
use crate::base::kv::rocks::RocksKv;
use crate::base::net::Net;
use crate::base::rng::Rng;
use crate::base::worker::Threads;

/// Everything through which the outside world is reached. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Env {
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<Rng>,
    pub disk: Arc<dyn Disk>,
    pub net: Net,
    pub threads: Threads,
    pub store: Store,
    /// A simulation sets it, or a build with the feature `planted-faults`.
    pub planted: Option<Planted>,
}

/// Names what a build with the feature `planted-faults` does wrong.
pub const PLANTED_FAULT: &str = "OTTLA_PLANTED_FAULT";

/// What a broker is made to do wrong, so that tests can show that they find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// `acks=all` is answered when the leader has the batch.
    AckBeforeMajority,
    /// Nobody waits for the disk.
    AckBeforeSync,
}

/// Which key-value store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// RocksDB, past the disk seam: it has its own threads and files.
    Rocks,
    /// A journal on the disk seam.
    Journal,
}

impl Env {
    /// The machine itself.
    pub fn real() -> std::io::Result<Self> {
        Ok(Self {
            clock: Arc::new(SystemClock),
            rng: Arc::new(Rng::from_os()?),
            disk: Arc::new(RealDisk),
            net: Net::tcp(),
            threads: Threads::Os,
            store: Store::Rocks,
            planted: Planted::wanted()?,
        })
    }

    /// Opens the key-value store in a folder. Blocks.
    pub fn open_store(&self, dir: &Path) -> std::io::Result<Arc<dyn KeyValue>> {
        Ok(match self.store {
            Store::Rocks => Arc::new(RocksKv::open(dir)?),
            Store::Journal => Arc::new(JournalKv::open(self.disk.as_ref(), dir)?),
        })
    }
}

impl Planted {
    #[cfg(not(feature = "planted-faults"))]
    fn wanted() -> std::io::Result<Option<Self>> {
        Ok(None)
    }

    #[cfg(feature = "planted-faults")]
    #[expect(clippy::disallowed_methods, reason = "it must never be a setting")]
    fn wanted() -> std::io::Result<Option<Self>> {
        let Ok(name) = std::env::var(PLANTED_FAULT) else { return Ok(None) };
        let planted = Self::parse(&name).ok_or_else(|| {
            std::io::Error::other(format!("{PLANTED_FAULT}: there is no fault {name}"))
        })?;
        tracing::error!(fault = name, "THIS BROKER DOES WRONG ON PURPOSE AND LOSES RECORDS");
        Ok(Some(planted))
    }

    #[cfg(feature = "planted-faults")]
    fn parse(name: &str) -> Option<Self> {
        match name {
            "ack-before-majority" => Some(Self::AckBeforeMajority),
            "ack-before-sync" => Some(Self::AckBeforeSync),
            _ => None,
        }
    }
}

//! How it stands with a log dir: whether it can be written, and whether something waits for room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// What is known of a log dir.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Sound,
    /// A write has found no room, although some was to be kept: it waits, and so does all that
    /// comes after it.
    Full,
    /// A write or a sync has failed: nothing is written before the next start.
    Failed(Arc<str>),
}

/// The condition of one log dir.
#[derive(Debug)]
pub struct Health {
    dir: PathBuf,
    condition: watch::Sender<Condition>,
    /// Whether somebody sees to it that what has found no room is tried again.
    waits: AtomicBool,
}

impl Health {
    pub fn new(dir: &Path) -> Arc<Self> {
        let condition = watch::Sender::new(Condition::Sound);
        Arc::new(Self { dir: dir.to_owned(), condition, waits: AtomicBool::new(false) })
    }

    pub fn condition(&self) -> Condition {
        self.condition.borrow().clone()
    }

    /// Changes with the condition.
    pub fn subscribe(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    /// An error if nothing is written any more.
    pub fn check(&self) -> io::Result<()> {
        match &*self.condition.borrow() {
            Condition::Sound | Condition::Full => Ok(()),
            Condition::Failed(why) => {
                let text = format!("log dir {} has failed: {why}", self.dir.display());
                Err(io::Error::other(text))
            }
        }
    }

    pub fn has_failed(&self) -> bool {
        matches!(&*self.condition.borrow(), Condition::Failed(_))
    }

    /// Whether a write waits for room.
    pub fn is_full(&self) -> bool {
        matches!(&*self.condition.borrow(), Condition::Full)
    }

    /// From now on nothing is written. Only the first reason counts.
    pub fn fail(&self, error: &io::Error) {
        let fails = |condition: &mut Condition| {
            let is_news = !matches!(condition, Condition::Failed(_));
            if is_news {
                *condition = Condition::Failed(error.to_string().into());
            }
            is_news
        };
        if self.condition.send_if_modified(fails) {
            let dir = self.dir.display();
            tracing::error!(%dir, %error, "a log dir has failed: offline until the next start");
        }
    }

    /// A write has found no room and waits.
    pub(super) fn fill(&self, error: &io::Error) {
        if self.set(&Condition::Sound, Condition::Full) {
            let dir = self.dir.display();
            tracing::error!(%dir, %error, "a log dir has no room at all: writes wait for some");
        }
    }

    /// Nothing waits any more.
    pub(super) fn has_room(&self) {
        if self.set(&Condition::Full, Condition::Sound) {
            tracing::info!(dir = %self.dir.display(), "what has waited for room is written");
        }
    }

    fn set(&self, from: &Condition, to: Condition) -> bool {
        self.condition.send_if_modified(|condition| {
            let changes = condition == from;
            if changes {
                *condition = to;
            }
            changes
        })
    }

    /// Whether a write that finds no room is tried again; otherwise the log dir has failed then.
    pub fn set_waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Release);
    }

    pub(super) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }
}

//! What a state machine is given for a decision, and what it makes of it.

use std::fmt;
use std::sync::Arc;

use crate::coordinator::records::Record;
use crate::coordinator::reply::Reply;
use crate::log::records::build::NewRecord;
use crate::metadata::image::Image;

/// The time, twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Since the Unix epoch: for what is stored.
    pub wall_ms: i64,
    /// Never goes back: for timeouts.
    pub monotonic_ms: i64,
}

/// Decisions of one moment: the records that they append, and the answers that are given once those
/// are committed.
pub struct Step {
    pub now: Now,
    pub image: Arc<Image>,
    records: Vec<NewRecord>,
    answers: Vec<Answer>,
}

type Answer = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Step {
    pub fn new(now: Now, image: Arc<Image>) -> Self {
        Self { now, image, records: Vec::new(), answers: Vec::new() }
    }

    /// Appends a record. The state that it stands for is the caller's to change.
    pub fn append(&mut self, record: &Record) {
        self.records.push(record.encode());
    }

    /// Answers when all that has been appended is committed.
    pub fn answer<T: Send + 'static>(&mut self, to: Reply<T>, with: T) {
        self.answers.push(Box::new(move || to.send(with)));
    }

    /// What has been appended since the last call.
    pub fn take_records(&mut self) -> Vec<NewRecord> {
        std::mem::take(&mut self.records)
    }

    /// Gives the answers.
    pub fn finish(self) {
        self.answers.into_iter().for_each(|answer| answer());
    }
}

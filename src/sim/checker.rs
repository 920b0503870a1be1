//! What one writer sent to one partition, and whether the partition keeps what it promised.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};

use crate::base::ids::Offset;
use crate::log::batch::Batch;

/// Offset and leader epoch lie before this; a broker sets them.
const OWN_BYTES_START: usize = 16;

/// What the broker said of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, or an error: it may be there.
    Unknown,
    /// It was acknowledged and may be lost with the power (`acks=1`, `write.caching`).
    Written(Offset),
    /// It must be there for ever.
    Kept(Offset),
    /// It was lost, as it may.
    Lost,
}

/// A batch that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub batch: Bytes,
    pub count: i64,
    pub answer: Answer,
}

/// All that was sent to a partition, in the order of sending.
#[derive(Debug, Default)]
pub struct History {
    pub sent: Vec<Sent>,
    /// The log start that was acknowledged last, and the highest that was asked for.
    pub log_start: Offset,
    pub log_start_asked: Offset,
    by_content: BTreeMap<Bytes, usize>,
}

/// What a partition holds.
#[derive(Debug, Default)]
pub struct Contents {
    pub log_start: Offset,
    pub high_watermark: Offset,
    pub batches: Vec<Batch>,
}

fn own_bytes(batch: &Bytes) -> Bytes {
    batch.slice(OWN_BYTES_START.min(batch.len())..)
}

impl Contents {
    /// Adds the batches of one fetch.
    pub fn add(&mut self, mut records: Bytes) -> Result<(), String> {
        while records.has_remaining() {
            let batch = Batch::take(&mut records).map_err(|error| {
                format!("a fetched batch is not whole: {error:?}, after {}", self.batches.len())
            })?;
            // A fetch begins with the batch that has its offset, which may be known already.
            let last = self.batches.last().map(|last| last.header().last_offset());
            if last.is_none_or(|last| batch.header().base_offset > last) {
                self.batches.push(batch);
            }
        }
        Ok(())
    }

    pub fn next_offset(&self) -> Offset {
        self.batches.last().map_or(self.log_start, |last| last.header().last_offset() + 1)
    }

    /// Whether it hangs together, without knowing what was sent.
    fn check_offsets(&self) -> Result<(), String> {
        let mut next = None;
        for batch in &self.batches {
            let base = batch.header().base_offset;
            match next {
                None if base > self.log_start => {
                    return Err(format!("log start {} but first offset {base}", self.log_start));
                }
                Some(next) if base != next => {
                    return Err(format!("offset {next} is followed by {base}"));
                }
                _ => {}
            }
            next = Some(batch.header().last_offset() + 1);
        }
        if self.next_offset() != self.high_watermark {
            let (end, visible) = (self.next_offset(), self.high_watermark);
            return Err(format!("records end at {end}, the high watermark is {visible}"));
        }
        Ok(())
    }
}

impl History {
    /// Notes a batch before it is sent; its number.
    pub fn send(&mut self, batch: Bytes, count: i64) -> usize {
        let number = self.sent.len();
        self.by_content.insert(own_bytes(&batch), number);
        self.sent.push(Sent { batch, count, answer: Answer::Unknown });
        number
    }

    /// Notes an answer. One that takes back an earlier one is a broken promise.
    pub fn answer(&mut self, number: usize, answer: Answer) -> Result<(), String> {
        let Some(sent) = self.sent.get_mut(number) else { return Ok(()) };
        match (sent.answer, answer) {
            (Answer::Kept(before), Answer::Kept(now)) if before != now => {
                Err(format!("batch {number} was at offset {before} and is now told at {now}"))
            }
            _ => {
                sent.answer = answer;
                Ok(())
            }
        }
    }

    /// Records below the offset may be gone from now on.
    pub fn ask_to_delete(&mut self, before: Offset) {
        self.log_start_asked = self.log_start_asked.max(before);
    }

    /// ... and from now on they are.
    pub fn deleted(&mut self, before: Offset) {
        self.log_start = self.log_start.max(before);
    }

    /// Nothing is gone that nobody wanted to be deleted.
    pub fn may_begin_at(&self, log_start: Offset) -> Result<(), String> {
        let asked = self.log_start_asked;
        match log_start > asked {
            true => Err(format!("the log starts at {log_start}, {asked} was asked for")),
            false => Ok(()),
        }
    }

    /// Compares with what is there after a restart. From here on all that is there must stay, if
    /// the partition promises that.
    pub fn check(&mut self, contents: &Contents, promises: bool) -> Result<(), String> {
        contents.check_offsets()?;
        let (now, known) = (contents.log_start, self.log_start);
        if now < known && promises || now > self.log_start_asked {
            return Err(format!(
                "log start {now}: {known} was acknowledged, {} asked for",
                self.log_start_asked
            ));
        }
        let found = self.find_all(contents)?;
        self.check_answers(contents, &found, promises)?;
        self.log_start = now;
        Ok(())
    }

    /// The base offsets of what is there, by number; each once and in the order of sending.
    fn find_all(&self, contents: &Contents) -> Result<BTreeMap<usize, Offset>, String> {
        let mut found = BTreeMap::new();
        for batch in &contents.batches {
            let base = batch.header().base_offset;
            let whole: Bytes = [&batch.head()[..], batch.records()].concat().into();
            let Some(number) = self.by_content.get(&own_bytes(&whole)) else {
                return Err(format!("the batch at offset {base} was never sent"));
            };
            if found.last_key_value().is_some_and(|(last, _)| last >= number) {
                return Err(format!("batch {number} at offset {base} is there twice or too late"));
            }
            found.insert(*number, base);
        }
        Ok(found)
    }

    fn check_answers(
        &mut self,
        contents: &Contents,
        found: &BTreeMap<usize, Offset>,
        promises: bool,
    ) -> Result<(), String> {
        let mut lost = None;
        for (number, sent) in self.sent.iter_mut().enumerate() {
            let at = found.get(&number).copied();
            let (told, must_stay) = match sent.answer {
                Answer::Kept(told) => (Some(told), true),
                Answer::Written(told) => (Some(told), false),
                Answer::Unknown | Answer::Lost => (None, false),
            };
            if let (Some(told), Some(at)) = (told, at)
                && told != at
            {
                return Err(format!("batch {number} was told at offset {told} and is at {at}"));
            }
            let deleted = told.is_some_and(|told| told + sent.count <= contents.log_start);
            if at.is_none() && told.is_some() && !deleted {
                if must_stay {
                    return Err(format!("batch {number} at {told:?} was acknowledged and is gone"));
                }
                (lost, sent.answer) = (Some(number), Answer::Lost);
            } else if let Some(at) = at {
                if sent.answer == Answer::Lost {
                    return Err(format!("batch {number} was gone and has come back"));
                }
                if let Some(lost) = lost {
                    return Err(format!("batch {lost} is gone, but batch {number} is there"));
                }
                sent.answer = if promises { Answer::Kept(at) } else { Answer::Written(at) };
            }
        }
        Ok(())
    }
}

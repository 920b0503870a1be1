//! What clients sent to a partition and what consumers saw of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::sim::checker::{Answer, Contents, History};
use crate::sim::disk::{FNV_OFFSET, fnv};

/// Shared by the clients of one partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) history: History,
    /// What consumers have seen, by offset: the last offset, and a hash of the batch.
    seen: BTreeMap<Offset, (Offset, u64)>,
    pub(super) high_watermark: Offset,
}

/// The first promise that was broken.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict {
    broken: Arc<Mutex<Option<String>>>,
}

impl Verdict {
    pub(super) fn broken(&self, why: String) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.get_or_insert(why);
    }

    pub(super) fn take(&self) -> Result<(), String> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.clone().map_or(Ok(()), Err)
    }
}

fn hash(batch: &Batch) -> u64 {
    // Base offset and epoch lie in the head, and both must stay as they are.
    fnv(fnv(FNV_OFFSET, batch.head().as_ref()), batch.records())
}

impl Ledger {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What one fetch brought.
    pub(super) fn saw(&mut self, contents: &Contents) -> Result<(), String> {
        let (now, before) = (contents.high_watermark, self.high_watermark);
        if now < before {
            return Err(format!("the high watermark goes back from {before} to {now}"));
        }
        self.high_watermark = now;
        self.history.may_begin_at(contents.log_start)?;
        for batch in &contents.batches {
            let (base, last) = (batch.header().base_offset, batch.header().last_offset());
            if last >= now {
                return Err(format!("{base} to {last} is shown, the high watermark is {now}"));
            }
            let is = (last, hash(batch));
            let was = *self.seen.entry(base).or_insert(is);
            if was != is {
                return Err(format!("another batch is at {base} than a consumer saw there"));
            }
        }
        Ok(())
    }

    /// What is there when all is quiet.
    pub(super) fn check(&mut self, contents: &Contents) -> Result<(), String> {
        self.saw(contents)?;
        let there = contents.batches.iter().map(|batch| batch.header().base_offset);
        let there: std::collections::BTreeSet<Offset> = there.collect();
        let gone =
            self.seen.keys().find(|seen| **seen >= contents.log_start && !there.contains(seen));
        if let Some(gone) = gone {
            return Err(format!("a consumer saw a batch at {gone}, and it is gone"));
        }
        self.history.check(contents, true)
    }

    /// How many batches must be there for ever.
    pub(super) fn kept(&self) -> usize {
        let sent = self.history.sent.iter();
        sent.filter(|sent| matches!(sent.answer, Answer::Kept(_))).count()
    }

    pub(super) fn batch(&self, number: usize) -> Option<Bytes> {
        self.history.sent.get(number).map(|sent| sent.batch.clone())
    }
}

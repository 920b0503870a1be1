//! How fast followers that are behind may catch up, so that they do not disturb the others: buckets
//! of bytes that fill with time, shared by all groups of this node.
//!
//! A message is sent while there is anything in all of its buckets, and may overdraw them: what is
//! larger than a bucket gets through, and the rate holds in the mean.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::base::ids::{NodeId, TopicPartition};

/// A bucket holds what comes in so much time.
const BUCKET: Duration = Duration::from_secs(1);
/// Who waits looks again after this time at the latest: rates change.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is limited together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// All followers of this node that are behind.
    CatchUp,
    /// Those of them whose leader is throttled.
    Leader,
    /// Those partitions of one node that are throttled there.
    Follower(NodeId),
}

/// The limits of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// In bytes per second; without a rate there is no limit.
    pub rates: BTreeMap<Limit, u64>,
    /// The followers that are behind, and what limits them.
    pub behind: BTreeMap<(TopicPartition, NodeId), BTreeSet<Limit>>,
}

/// The limits of this node and what has been used of them.
#[derive(Debug, Default)]
pub struct Throttles {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    limits: Limits,
    buckets: BTreeMap<Limit, Bucket>,
}

/// Bytes that may be sent.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    bytes_per_second: u64,
    /// Negative after a message that was larger than what was there.
    level_bytes: i128,
    filled: Instant,
}

impl Bucket {
    fn new(bytes_per_second: u64, now: Instant) -> Self {
        let mut bucket = Self { bytes_per_second, level_bytes: 0, filled: now };
        bucket.level_bytes = bucket.gained(BUCKET);
        bucket
    }

    fn gained(&self, time: Duration) -> i128 {
        let bytes = u128::from(self.bytes_per_second).saturating_mul(time.as_nanos());
        i128::try_from(bytes / 1_000_000_000).unwrap_or(i128::MAX)
    }

    fn fill(&mut self, now: Instant) {
        let gained = self.gained(now.saturating_duration_since(self.filled));
        // What is less than a byte waits for the next time.
        if gained > 0 {
            let full = self.gained(BUCKET).max(1);
            self.level_bytes = self.level_bytes.saturating_add(gained).min(full);
            self.filled = now;
        }
    }

    /// When something may be sent; now, if the bucket is not empty.
    fn ready(&mut self, now: Instant) -> Instant {
        self.fill(now);
        if self.level_bytes > 0 {
            return now;
        }
        let missing = u128::try_from(1 - self.level_bytes).unwrap_or(0);
        let nanos = missing
            .saturating_mul(1_000_000_000)
            .checked_div(u128::from(self.bytes_per_second))
            .map_or(u64::MAX, |nanos| u64::try_from(nanos + 1).unwrap_or(u64::MAX));
        now + Duration::from_nanos(nanos).min(LOOK_AGAIN)
    }
}

impl Throttles {
    /// From now on these limits hold. What has been used stays used.
    pub fn set(&self, limits: Limits) {
        let now = Instant::now();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut inner.buckets);
        let buckets = limits.rates.iter().map(|(limit, rate)| {
            let known = before.get(limit).filter(|bucket| bucket.bytes_per_second == *rate);
            (*limit, known.copied().unwrap_or_else(|| Bucket::new(*rate, now)))
        });
        inner.buckets = buckets.collect();
        inner.limits = limits;
    }

    /// Until when nothing may be sent to this follower; `None` if it may now.
    pub(crate) fn pause(&self, group: TopicPartition, follower: NodeId) -> Option<Instant> {
        let now = Instant::now();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { limits, buckets } = &mut *inner;
        let of = limits.behind.get(&(group, follower))?;
        let ready = of.iter().filter_map(|limit| Some(buckets.get_mut(limit)?.ready(now))).max();
        ready.filter(|ready| *ready > now)
    }

    /// So much has been sent to this follower.
    pub(crate) fn sent(&self, group: TopicPartition, follower: NodeId, size: usize) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { limits, buckets } = &mut *inner;
        let of = limits.behind.get(&(group, follower)).into_iter().flatten();
        let size = i128::try_from(size).unwrap_or(i128::MAX);
        for limit in of {
            if let Some(bucket) = buckets.get_mut(limit) {
                bucket.level_bytes = bucket.level_bytes.saturating_sub(size);
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Whether a log dir has room for more records. The last part of its file system is kept for what
//! must go on when it is full: metadata, votes, and what deletes records.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::watch;

use crate::base::clock::Clock;
use crate::base::disk::{Disk, Space};
use crate::log::health::{Condition, Health};

/// The file system is asked this often at most, in ms: a fast disk must not take more than the
/// reserve meanwhile.
const ASK_INTERVAL_MS: i64 = 50;
/// Of a small file system no more than this part is kept.
const RESERVE_PART: u64 = 20;
/// There is room again when so much more than the reserve is free, in parts of the reserve.
const ROOM_AGAIN_PART: u64 = 4;

/// The room of one log dir.
#[derive(Debug)]
pub struct Room {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: PathBuf,
    health: Arc<Health>,
    reserve_bytes: u64,
    asked_ms: AtomicI64,
    is_full: watch::Sender<bool>,
}

impl Room {
    /// `reserve_bytes` are kept free; 0 is nothing.
    pub fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        dir: PathBuf,
        health: Arc<Health>,
        reserve_bytes: u64,
    ) -> Arc<Self> {
        let (asked_ms, is_full) = (AtomicI64::new(i64::MIN), watch::Sender::new(false));
        Arc::new(Self { disk, clock, dir, health, reserve_bytes, asked_ms, is_full })
    }

    /// Whether records have to wait until something is deleted. Blocks for a moment now and then.
    pub fn is_full(&self) -> bool {
        self.health.is_full() || self.is_reserve_touched()
    }

    /// Tells whether the reserve is touched, whenever somebody has asked and that has changed.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.is_full.subscribe()
    }

    /// Whether so many bytes more would touch the reserve. Blocks for a moment.
    pub fn lacks(&self, bytes: u64) -> bool {
        let Ok(space) = self.disk.space(&self.dir) else { return false };
        space.usable_bytes < self.reserve(space).saturating_add(bytes)
    }

    /// Resolves when a write waits for room. Cancel safe.
    pub async fn runs_out(&self) {
        let mut condition = self.health.subscribe();
        if condition.wait_for(|now| *now == Condition::Full).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn reserve(&self, space: Space) -> u64 {
        self.reserve_bytes.min(space.total_bytes / RESERVE_PART)
    }

    fn is_reserve_touched(&self) -> bool {
        let was_full = *self.is_full.borrow();
        let (now_ms, asked_ms) = (self.clock.now_ms(), self.asked_ms.load(Ordering::Relaxed));
        let is_recent = (0..ASK_INTERVAL_MS).contains(&now_ms.saturating_sub(asked_ms));
        if self.reserve_bytes == 0 || is_recent {
            return was_full;
        }
        self.asked_ms.store(now_ms, Ordering::Relaxed);
        // A file system that does not answer has other troubles, which appends will meet.
        let Ok(space) = self.disk.space(&self.dir) else { return was_full };
        let reserve = self.reserve(space);
        let needed = if was_full { reserve + reserve / ROOM_AGAIN_PART } else { reserve };
        let is_full = space.usable_bytes < needed;
        if self.is_full.send_if_modified(|known| std::mem::replace(known, is_full) != is_full) {
            let (dir, usable_bytes) = (self.dir.display(), space.usable_bytes);
            match is_full {
                true => tracing::error!(%dir, usable_bytes, reserve, "a log dir is full"),
                false => tracing::info!(%dir, usable_bytes, "a log dir has room again"),
            }
        }
        is_full
    }
}

#[cfg(test)]
mod tests;

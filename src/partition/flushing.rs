//! Has the logs of topics with `write.caching` synced when that is due (`flush.ms`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::env::Env;
use crate::base::task::{self, Fault, Stopping};
use crate::partition::registry::Registry;

/// What is due in the meantime is synced together.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// What syncing works with.
#[derive(Debug)]
pub struct Flushing {
    pub env: Env,
    pub registry: Arc<Registry>,
}

impl Flushing {
    /// Runs until the broker stops.
    pub fn start(self, mut stopping: Stopping) -> task::Handle {
        task::spawn("flushing", Fault::Process, async move {
            tokio::select! {
                () = stopping.wait() => {}
                () = self.run() => {}
            }
        })
    }

    async fn run(&self) {
        let mut changes = self.registry.changes();
        loop {
            changes.borrow_and_update();
            let next = self.flush().map(|wait| Instant::now() + wait.max(PAUSE_MIN));
            let pause = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            // A partition that is new, or has other settings, may be due earlier.
            tokio::select! {
                () = pause => {}
                _ = changes.changed() => {}
            }
        }
    }

    /// Has synced what is due; how long to wait until something may be again.
    fn flush(&self) -> Option<Duration> {
        let now_ms = self.env.clock.now_ms();
        let partitions = self.registry.partitions();
        let due = partitions.iter().filter_map(|one| one.group().log().flush_if_due(now_ms));
        let wait_ms = due.min()?.saturating_sub(now_ms);
        // An hour is no sooner than what nobody waits for.
        Some(Duration::from_millis(wait_ms.unsigned_abs()).min(Duration::from_secs(3_600)))
    }
}

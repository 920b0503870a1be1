//! Has all partitions of this node drop what is older or more than their topics keep.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::base::env::Env;
use crate::base::task::{self, Fault, Stopping};
use crate::partition::Partition;
use crate::partition::registry::Registry;

/// After a start there is other work first, as in Kafka (`LogManager.InitialTaskDelayMs`).
const FIRST_CHECK: Duration = Duration::from_secs(30);
/// Files may be thrown away at any time, by DeleteRecords; they are looked for this often.
const TRASH_INTERVAL: Duration = Duration::from_secs(15);
/// Partitions that drop something at one time.
const AT_ONCE_COUNT: usize = 16;

/// What retention works with.
#[derive(Debug)]
pub struct Retention {
    pub env: Env,
    pub registry: Arc<Registry>,
    /// `log.retention.check.interval.ms`.
    pub check_interval: Duration,
}

impl Retention {
    /// Runs until the broker stops.
    pub fn start(self, mut stopping: Stopping) -> task::Handle {
        task::spawn("retention", Fault::Process, async move {
            tokio::select! {
                () = stopping.wait() => {}
                () = self.run() => {}
            }
        })
    }

    /// What waits for other nodes must not hold up what makes room here.
    async fn run(&self) {
        let first = Instant::now() + self.check_interval.min(FIRST_CHECK);
        let check = async {
            let mut due = first;
            loop {
                tokio::time::sleep_until(due).await;
                self.check_all().await;
                due = Instant::now() + self.check_interval;
            }
        };
        let empty = async {
            let mut due = first;
            loop {
                let look = Instant::now() + self.check_interval;
                tokio::time::sleep_until(due.min(look)).await;
                due = self.empty_trash().await;
            }
        };
        tokio::join!(check, empty);
    }

    async fn check_all(&self) {
        let now_ms = self.env.clock.now_ms();
        let mut under_way = FuturesUnordered::new();
        for partition in self.registry.partitions() {
            if under_way.len() >= AT_ONCE_COUNT {
                under_way.next().await;
            }
            under_way.push(check(partition, now_ms));
        }
        while under_way.next().await.is_some() {}
    }

    /// Returns when it is to be looked at again.
    async fn empty_trash(&self) -> Instant {
        let partitions = self.registry.partitions();
        let now_ms = self.env.clock.now_ms();
        let empty = move || partitions.iter().filter_map(|one| one.empty_trash(now_ms)).min();
        let due_ms = task::blocking(self.env.threads, empty).await;
        let wait_ms = due_ms.map_or(i64::MAX, |due_ms| due_ms.saturating_sub(now_ms).max(0));
        Instant::now() + Duration::from_millis(wait_ms.unsigned_abs()).min(TRASH_INTERVAL)
    }
}

async fn check(partition: Arc<Partition>, now_ms: i64) {
    if let Err(error) = partition.retain(now_ms).await {
        // The next check finds the same again.
        let (topic, index) = (&partition.topic, partition.id.partition);
        tracing::debug!(?error, topic, partition = index, "nothing was dropped");
    }
}

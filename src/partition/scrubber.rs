//! Reads everything that this node keeps, slowly and again and again, so that what a disk has lost
//! is found while other replicas still have it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::env::Env;
use crate::base::ids::TopicPartition;
use crate::base::task::{self, Fault, Stopping};
use crate::config::Config;
use crate::metrics::damage as metrics;
use crate::partition::Partition;
use crate::partition::pace::time_of;
use crate::partition::registry::Registry;

/// After a start there is other work first.
const FIRST_ROUND: Duration = Duration::from_secs(60);
/// What is read between two rests.
const STEP_BYTES: u64 = 1024 * 1024;

/// What scrubbing works with: `log.scrub.io.max.bytes.per.second`, and `log.scrub.interval.ms` from
/// the start of a round to that of the next, as they are at the time.
#[derive(Debug)]
pub struct Scrubber {
    pub env: Env,
    pub registry: Arc<Registry>,
}

impl Scrubber {
    /// Runs until the broker stops.
    pub fn start(self, mut stopping: Stopping) -> task::Handle {
        task::spawn("scrubber", Fault::Process, async move {
            tokio::select! {
                () = stopping.wait() => {}
                () = self.run() => {}
            }
        })
    }

    async fn run(&self) {
        let settings = self.registry.settings();
        let mut begun = Instant::now();
        let mut interval_max = FIRST_ROUND;
        loop {
            let wait = |config: &Config| {
                let interval = Duration::from_millis(config.log_scrub_interval_ms.unsigned_abs());
                is_wanted(config).then(|| interval.min(interval_max))
            };
            settings.pause(begun, wait).await;
            begun = Instant::now();
            interval_max = Duration::MAX;
            // Whoever holds a partition holds its files, also when they are deleted.
            let ids: Vec<TopicPartition> =
                self.registry.partitions().iter().map(|partition| partition.id).collect();
            for id in ids {
                let Some(partition) = self.registry.get(id) else { continue };
                if let Err(error) = self.scrub(&partition).await {
                    let (topic, index) = (&partition.topic, partition.id.partition);
                    tracing::warn!(%error, topic, partition = index, "a log was not scrubbed");
                }
            }
            metrics::scrubbed_all();
        }
    }

    async fn scrub(&self, partition: &Partition) -> io::Result<()> {
        let mut from = 0;
        loop {
            let log = Arc::clone(partition.group().log());
            if log.is_closed() {
                return Ok(());
            }
            let work = move || log.scrub(from, STEP_BYTES);
            let step = task::blocking(self.env.threads, work).await?;
            metrics::scrubbed(step.bytes);
            self.rest(step.bytes).await;
            match step.next {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    /// Waits as long as reading so much should take; while nothing is to be read, for that to end.
    async fn rest(&self, bytes: u64) {
        let wait = |config: &Config| {
            let rate = config.log_scrub_io_max_bytes_per_second;
            is_wanted(config).then(|| time_of(bytes, rate))
        };
        self.registry.settings().pause(Instant::now(), wait).await;
    }
}

fn is_wanted(config: &Config) -> bool {
    config.log_scrub_io_max_bytes_per_second > 0.0
}

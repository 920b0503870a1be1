//! Reads everything that this node keeps, slowly and again and again, so that what a disk has lost
//! is found while other replicas still have it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::env::Env;
use crate::base::task::{self, Fault, Stopping};
use crate::metrics::damage as metrics;
use crate::partition::Partition;
use crate::partition::registry::Registry;

/// After a start there is other work first.
const FIRST_ROUND: Duration = Duration::from_secs(60);
/// What is read between two rests.
const STEP_BYTES: u64 = 1024 * 1024;

/// What scrubbing works with.
#[derive(Debug)]
pub struct Scrubber {
    pub env: Env,
    pub registry: Arc<Registry>,
    /// `log.scrub.io.max.bytes.per.second`.
    pub bytes_per_second: f64,
    /// `log.scrub.interval.ms`: from the start of a round to that of the next.
    pub interval: Duration,
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
        let mut round = Instant::now() + self.interval.min(FIRST_ROUND);
        loop {
            tokio::time::sleep_until(round).await;
            round = Instant::now() + self.interval;
            for partition in self.registry.partitions() {
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

    /// Waits as long as reading so much should take.
    async fn rest(&self, bytes: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a duration need not be exact")]
        let seconds = bytes as f64 / self.bytes_per_second;
        tokio::time::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default()).await;
    }
}

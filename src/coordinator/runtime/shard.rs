//! A partition that is served: its state, its timers, and what is on its way to the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::base::ids::LeaderEpoch;
use crate::base::task::{self, Fault, Stopping};
use crate::coordinator::runtime::{Coordinator, Job, Machine, Parts};
use crate::coordinator::step::{Now, Step};
use crate::coordinator::store::Materialised;
use crate::log::records::build::{self, NewRecord};
use crate::partition::{Acks, AppendError, Partition};

/// Jobs that are decided on before their records are appended.
const JOBS_AT_ONCE_COUNT_MAX: usize = 256;
/// A batch is closed at this size; the records of one job are never torn apart.
const BATCH_BYTES: usize = 512 * 1024;
/// The state is materialised after so many records: a start after a crash has no more to replay …
const RECORDS_COUNT_MAX: usize = 20_000;
/// … or when the oldest change is so old.
const MATERIALISE_EVERY: Duration = Duration::from_secs(60);
/// The moments, from half of these to all, over which partitions are spread.
const TURNS_COUNT: u32 = 16;

/// A loaded partition.
pub(super) struct Shard<M> {
    machine: M,
    materialised: Materialised,
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    parts: Parts,
    started: Instant,
    /// When the state is to be materialised.
    write_at: Option<Instant>,
    writing: Option<tokio::task::JoinHandle<bool>>,
    /// A write failed. Later ones would lack what that one had, so there are none.
    write_failed: bool,
}

impl<M: Machine> Shard<M> {
    pub(super) fn new(
        coordinator: &Coordinator<M>,
        partition: Arc<Partition>,
        epoch: LeaderEpoch,
        (machine, materialised): (M, Materialised),
    ) -> Self {
        Self {
            machine,
            materialised,
            partition,
            epoch,
            parts: coordinator.parts.clone(),
            started: coordinator.started,
            write_at: None,
            writing: None,
            write_failed: false,
        }
    }

    fn step(&self) -> Step {
        let elapsed = self.started.elapsed().as_millis();
        let now = Now {
            wall_ms: self.parts.env.clock.now_ms(),
            monotonic_ms: i64::try_from(elapsed).unwrap_or(i64::MAX),
        };
        Step::new(now, self.parts.images.current())
    }

    /// Lets the state machine begin to serve.
    pub(super) async fn begin(&mut self) -> Result<(), AppendError> {
        let mut step = self.step();
        self.machine.loaded(&mut step);
        let records = step.take_records();
        self.commit(vec![records], step).await
    }

    /// Serves until the broker stops or the partition is not led any more.
    pub(super) async fn run(
        &mut self,
        queue: &mut mpsc::Receiver<Job<M>>,
        stopping: &mut Stopping,
    ) -> Result<(), AppendError> {
        let mut jobs = Vec::with_capacity(JOBS_AT_ONCE_COUNT_MAX);
        loop {
            let deadline = self.next_wake();
            tokio::select! {
                biased;
                () = stopping.wait() => break,
                // The other end goes when the topic goes.
                received = queue.recv_many(&mut jobs, JOBS_AT_ONCE_COUNT_MAX) => {
                    if received == 0 {
                        return Err(AppendError::NotLeader);
                    }
                }
                () = sleep_until(deadline) => {}
            }
            if self.partition.leader_epoch() != Some(self.epoch) {
                return Err(AppendError::NotLeader);
            }
            let mut step = self.step();
            self.machine.tick(&mut step);
            let mut batches = vec![step.take_records()];
            for job in jobs.drain(..) {
                job(&mut self.machine, &mut step);
                add_records(&mut batches, step.take_records());
            }
            self.commit(batches, step).await?;
            self.materialise_if_due().await;
        }
        self.written().await;
        if self.materialised.noted_count() > 0 && !self.write_failed {
            self.materialise();
            self.written().await;
        }
        Ok(())
    }

    /// When there is something to do without a job.
    fn next_wake(&self) -> Option<Instant> {
        let due = self
            .machine
            .next_deadline_ms()
            .map(|ms| self.started + Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        due.into_iter().chain(self.write_at).min()
    }

    /// Appends the batches and gives the answers when they are committed.
    async fn commit(
        &mut self,
        batches: Vec<Vec<NewRecord>>,
        step: Step,
    ) -> Result<(), AppendError> {
        let mut pending = Vec::new();
        for records in batches.into_iter().filter(|records| !records.is_empty()) {
            let batch = build::batch(&records, step.now.wall_ms);
            let batch = batch.ok_or(AppendError::Unavailable)?;
            pending.push((self.partition.append(batch, Acks::Majority).await?, records));
        }
        for (append, records) in pending {
            let base = append.base_offset().await?;
            self.materialised.note_all(records, base);
        }
        step.finish();
        Ok(())
    }

    async fn materialise_if_due(&mut self) {
        let count = self.materialised.noted_count();
        if count == 0 || self.write_failed {
            self.write_at = None;
            return;
        }
        let now = Instant::now();
        // Partitions fill alike; each writes at a moment of its own.
        let turn = self.partition.id.partition.unsigned_abs() % TURNS_COUNT;
        let every = MATERIALISE_EVERY * (TURNS_COUNT + turn) / (2 * TURNS_COUNT);
        let count_max =
            RECORDS_COUNT_MAX * (TURNS_COUNT + turn) as usize / (2 * TURNS_COUNT as usize);
        let at = *self.write_at.get_or_insert(now + every);
        if count < count_max && now < at {
            return;
        }
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            // The one before is slow.
            self.write_at = Some(now + MATERIALISE_EVERY);
            return;
        }
        self.written().await;
        if !self.write_failed {
            self.write_at = None;
            self.materialise();
        }
    }

    /// Waits for the write that is under way.
    async fn written(&mut self) {
        if let Some(writing) = self.writing.take() {
            self.write_failed |= !writing.await.unwrap_or(false);
        }
    }

    fn materialise(&mut self) {
        let changes = self.materialised.take_changes();
        let (writer, topic) = (self.parts.kv_writer.clone(), self.partition.topic.clone());
        self.writing = Some(task::spawn("coordinator store", Fault::Process, async move {
            let written = writer.write(changes).await;
            written.inspect_err(|error| tracing::error!(topic, %error, "state not stored")).is_ok()
        }));
    }
}

/// Puts the records of one job into the last batch, or into a new one if that is full.
fn add_records(batches: &mut Vec<Vec<NewRecord>>, records: Vec<NewRecord>) {
    let size = |records: &[NewRecord]| records.iter().map(NewRecord::size).sum::<usize>();
    match batches.last_mut() {
        Some(last) if last.is_empty() || size(last) + size(&records) <= BATCH_BYTES => {
            last.extend(records);
        }
        _ => batches.push(records),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

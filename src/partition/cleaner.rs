//! Compacts the partitions of this node, the one with the largest dirty part first (Kafka's
//! `LogCleaner`). Every replica cleans its own log.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::base::disk;
use crate::base::env::Env;
use crate::base::ids::{NodeId, Offset, TopicId, TopicPartition};
use crate::base::task::{self, Fault, Stopping};
use crate::config::Config;
use crate::log::cleaner::plan::{Dirty, Policy};
use crate::log::cleaner::{Cleaning, Options, Step};
use crate::metrics::cleaner as metrics;
use crate::partition::Partition;
use crate::partition::pace::{Pace, Stride, time_of};
use crate::partition::registry::Registry;
use crate::peer::{Body, Kind, Lane, Peers};

/// How long the leader has to say what all replicas have.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter rests are not worth a timer.
const REST_MIN: Duration = Duration::from_millis(1);

/// The broker's settings of compaction, as they are now.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Settings {
    /// `log.cleaner.threads`: partitions that are cleaned at one time.
    at_once_count: usize,
    /// `log.cleaner.dedupe.buffer.size`, for all of them together.
    map_bytes_max: usize,
    /// `log.cleaner.io.max.bytes.per.second`, read and written, for all of them together.
    bytes_per_second: f64,
    /// `log.cleaner.backoff.ms`.
    backoff: Duration,
}

impl Settings {
    fn of(config: &Config) -> Self {
        let buffer_bytes = config.log_cleaner_dedupe_buffer_size;
        Self {
            at_once_count: usize::try_from(config.log_cleaner_threads).unwrap_or(1),
            map_bytes_max: usize::try_from(buffer_bytes).unwrap_or(usize::MAX),
            bytes_per_second: config.log_cleaner_io_max_bytes_per_second,
            backoff: Duration::from_millis(config.log_cleaner_backoff_ms.unsigned_abs()),
        }
    }
}

/// What compaction works with.
#[derive(Debug)]
pub struct Cleaner {
    pub env: Env,
    pub registry: Arc<Registry>,
    /// Partitions that are being cleaned, and those that can not be until the next start.
    claimed: Mutex<Claimed>,
}

#[derive(Debug, Default)]
struct Claimed {
    busy: BTreeSet<TopicPartition>,
    uncleanable: BTreeSet<TopicPartition>,
    /// For which there was no room, and until when others come first.
    postponed: BTreeMap<TopicPartition, Instant>,
}

impl Cleaner {
    pub fn new(env: Env, registry: Arc<Registry>) -> Self {
        Self { env, registry, claimed: Mutex::default() }
    }

    /// Runs until the broker stops: as many at one time as there are to be.
    pub fn start(self, mut stopping: Stopping) -> task::Handle {
        task::spawn("cleaner", Fault::Process, async move {
            let mut changes = self.registry.settings().changes();
            let (mut runs, mut running) = (FuturesUnordered::new(), BTreeSet::new());
            while !stopping.is_stopping() {
                changes.borrow_and_update();
                for number in 0..self.settings().at_once_count {
                    if running.insert(number) {
                        runs.push(self.run(number, stopping.clone()));
                    }
                }
                tokio::select! {
                    () = stopping.wait() => {}
                    _ = changes.changed() => {}
                    Some(number) = runs.next() => {
                        running.remove(&number);
                    }
                }
            }
            while runs.next().await.is_some() {}
        })
    }

    fn settings(&self) -> Settings {
        Settings::of(&self.registry.settings().current().config)
    }

    /// Cleans one partition after the other while there are to be more than `number` who do;
    /// returns the number.
    async fn run(&self, number: usize, mut stopping: Stopping) -> usize {
        let mut changes = self.registry.settings().changes();
        while !stopping.is_stopping() && number < self.settings().at_once_count {
            changes.borrow_and_update();
            let Some((partition, dirty)) = self.claim_dirtiest().await else {
                // New settings may be reason enough to look again.
                tokio::select! {
                    () = stopping.wait() => {}
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(self.settings().backoff) => {}
                }
                continue;
            };
            let cleaned = self.clean(&partition, dirty, &stopping).await;
            self.release(&partition, cleaned);
        }
        number
    }

    fn release(&self, partition: &Arc<Partition>, cleaned: io::Result<()>) {
        let mut claimed = self.claimed();
        claimed.busy.remove(&partition.id);
        let Err(error) = cleaned else { return };
        let (topic, index) = (&partition.topic, partition.id.partition);
        if disk::is_full(&error) {
            // There may be room later; another log dir may have some now.
            claimed.postponed.insert(partition.id, Instant::now() + self.settings().backoff);
        }
        if partition.group().log().is_closed() && !disk::has_failed(&error) {
            // It has been deleted, or goes on in another log dir.
            tracing::debug!(%error, topic, partition = index, "a log went while it was cleaned");
            return;
        }
        let is_damaged = error.kind() == io::ErrorKind::InvalidData
            && !partition.group().log().damage().is_empty();
        if disk::is_full(&error) || is_damaged {
            tracing::warn!(%error, topic, partition = index, "a log is cleaned later");
            return;
        }
        tracing::error!(%error, topic, partition = index, "a log can not be cleaned");
        partition.group().log().report(&error);
        claimed.uncleanable.insert(partition.id);
        metrics::uncleanable(claimed.uncleanable.len());
    }

    fn claimed(&self) -> std::sync::MutexGuard<'_, Claimed> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition that is due with the largest part to clean.
    async fn claim_dirtiest(&self) -> Option<(Arc<Partition>, Dirty)> {
        let mut partitions = self.registry.partitions();
        // What is damaged is mended first, and what is closed goes, or waits for the next start.
        partitions
            .retain(|partition| !is_vain(partition) && partition.group().log().damage().is_empty());
        if partitions.is_empty() {
            metrics::dirty_ratio_max(0.0);
            return None;
        }
        let now_ms = self.env.clock.now_ms();
        let look = move || partitions.into_iter().filter_map(|one| look_at(one, now_ms)).collect();
        let found: Vec<(Arc<Partition>, Dirty, bool)> =
            task::blocking(self.env.threads, look).await;
        let ratios = found.iter().map(|(_, dirty, _)| dirty.ratio());
        metrics::dirty_ratio_max(ratios.fold(0.0, f64::max));
        let mut claimed = self.claimed();
        let now = Instant::now();
        claimed.postponed.retain(|_, until| *until > now);
        let may = |id: &TopicPartition| {
            let is_taken = claimed.busy.contains(id) || claimed.uncleanable.contains(id);
            !is_taken && !claimed.postponed.contains_key(id)
        };
        let due = found.into_iter().filter(|(partition, _, is_due)| *is_due && may(&partition.id));
        let dirtiest = due.max_by(|(_, a, _), (_, b, _)| a.ratio().total_cmp(&b.ratio()));
        let (partition, dirty, _) = dirtiest?;
        claimed.busy.insert(partition.id);
        Some((partition, dirty))
    }

    async fn clean(
        &self,
        partition: &Arc<Partition>,
        dirty: Dirty,
        stopping: &Stopping,
    ) -> io::Result<()> {
        let (config, settings) = (partition.config(), self.settings());
        let options = Options {
            map_bytes_max: settings.map_bytes_max / settings.at_once_count.max(1),
            delete_retention_ms: config.delete_retention_ms,
            tombstones_below: self.had_by_all(partition).await,
            now_ms: self.env.clock.now_ms(),
            seed: (self.env.rng.next_u64(), self.env.rng.next_u64()),
        };
        let (threads, log) = (self.env.threads, Arc::clone(partition.group().log()));
        let mut pace = Pace::new(log.sync_rounds());
        let new_bytes = log.bytes_after(dirty.end);
        let (begun, rewriting) = (Arc::clone(&log), log.rewriting().await);
        let begin = move || Cleaning::begin(begun, dirty, options, rewriting);
        let mut cleaning = task::blocking(threads, begin).await;
        let mut left_bytes = dirty.clean_bytes + 2 * dirty.dirty_bytes;
        loop {
            if is_vain(partition) {
                metrics::left_bytes(0);
                task::blocking(threads, move || cleaning.abandon()).await;
                return Ok(());
            }
            let began = Instant::now();
            let work = move || {
                let step = cleaning.step();
                (cleaning, step)
            };
            let (worked, step) = task::blocking(threads, work).await;
            cleaning = worked;
            let is_over = step.as_ref().is_ok_and(|step| step.is_done);
            if is_over || step.is_err() || stopping.is_stopping() {
                metrics::left_bytes(0);
                report(partition, &cleaning, is_over);
                task::blocking(threads, move || cleaning.abandon()).await;
                if is_over {
                    // The leader hears how far it has come.
                    self.had_by_all(partition).await;
                }
                return step.map(drop);
            }
            let step = step?;
            left_bytes = left_bytes.saturating_sub(step.read_bytes);
            metrics::stepped(step.read_bytes, step.written_bytes, left_bytes);
            let gives_way = pace.give_way(Stride {
                bytes: step.read_bytes + step.written_bytes,
                took: began.elapsed(),
                rounds: log.sync_rounds(),
                grown_bytes: log.bytes_after(dirty.end).saturating_sub(new_bytes),
            });
            self.rest(partition, &step, gives_way, &mut stopping.clone()).await;
        }
    }

    /// Waits as long as the step should have taken, by the rate that holds meanwhile, and longer
    /// where it gives way to others.
    async fn rest(
        &self,
        partition: &Partition,
        step: &Step,
        gives_way: Duration,
        stopping: &mut Stopping,
    ) {
        let bytes = step.read_bytes + step.written_bytes;
        let wait = |config: &Config| {
            let settings = Settings::of(config);
            #[expect(clippy::cast_precision_loss, reason = "few")]
            let share = settings.bytes_per_second / self.claimed().busy.len().max(1) as f64;
            Some(time_of(bytes, share).max(gives_way))
        };
        if wait(&self.registry.settings().current().config) < Some(REST_MIN) {
            return;
        }
        let (begun, mut changes) = (Instant::now(), self.registry.changes());
        while !is_vain(partition) {
            tokio::select! {
                () = stopping.wait() => return,
                () = self.registry.settings().pause(begun, wait) => return,
                _ = changes.changed() => {}
            }
        }
    }

    /// The offset below which every replica has had every record and has cleaned, so that none
    /// misses a tombstone; 0 if that can not be learned now. The leader hears how far this one has
    /// cleaned.
    async fn had_by_all(&self, partition: &Partition) -> Offset {
        if let Some(offset) = partition.had_by_all() {
            return offset;
        }
        let Some(leader) = partition.status().leader else { return 0 };
        let peers = self.registry.groups().peers();
        let cleaned_to = partition.group().log().cleaned_to().unwrap_or(0);
        match ask(peers, leader, partition.id, cleaned_to).await {
            Ok(offset) => offset,
            Err(error) => {
                tracing::debug!(%leader, %error, "a leader did not say what all replicas have");
                0
            }
        }
    }
}

/// Whether there is no use in cleaning it any more.
fn is_vain(partition: &Partition) -> bool {
    !partition.config().cleanup_policy.compact || partition.group().log().is_closed()
}

/// What there is to clean of a partition, and whether it is time. Blocks.
fn look_at(partition: Arc<Partition>, now_ms: i64) -> Option<(Arc<Partition>, Dirty, bool)> {
    let config = partition.config();
    let policy = Policy {
        min_dirty_ratio: config.min_cleanable_dirty_ratio,
        min_lag_ms: config.min_compaction_lag_ms,
        max_lag_ms: config.max_compaction_lag_ms,
    };
    match partition.group().log().dirty(now_ms, &policy) {
        Ok(found) => {
            let (dirty, since_ms) = found?;
            let is_due = dirty.is_due(&policy, since_ms, now_ms);
            Some((partition, dirty, is_due))
        }
        Err(error) => {
            let (topic, index) = (&partition.topic, partition.id.partition);
            tracing::warn!(%error, topic, partition = index, "a log was not looked at");
            None
        }
    }
}

fn report(partition: &Partition, cleaning: &Cleaning, is_over: bool) {
    let summary = cleaning.summary();
    metrics::finished(summary.records_dropped);
    if is_over && !summary.abandoned {
        tracing::info!(
            topic = partition.topic,
            partition = partition.id.partition,
            from = summary.first,
            to = summary.end,
            bytes_before = summary.bytes_before,
            bytes_after = summary.bytes_after,
            records_dropped = summary.records_dropped,
            "a log is cleaned"
        );
    }
}

async fn ask(
    peers: &Peers,
    leader: NodeId,
    id: TopicPartition,
    cleaned_to: Offset,
) -> io::Result<Offset> {
    let mut body = BytesMut::new();
    body.put_slice(&id.topic_id.0);
    body.put_i32(id.partition);
    body.put_i64(cleaned_to);
    let body = vec![body.freeze()];
    let told = peers.call(leader, Lane::Control, Kind::HadByAll, body, ASK_TIMEOUT).await;
    let mut told = told.map_err(io::Error::other)?;
    told.try_get_i64().map_err(io::Error::other)
}

/// Answers another node that asks up to where all replicas have had and cleaned a partition that is
/// led here, and says how far it has cleaned itself.
pub fn answer(registry: &Registry, from: NodeId, mut body: Bytes) -> Result<Body, String> {
    let mut topic_id = TopicId::ZERO;
    body.try_copy_to_slice(&mut topic_id.0).map_err(|error| error.to_string())?;
    let partition = body.try_get_i32().map_err(|error| error.to_string())?;
    let cleaned_to = body.try_get_i64().map_err(|error| error.to_string())?;
    let found = registry.get(TopicPartition { topic_id, partition });
    if let Some(partition) = &found {
        partition.note_cleaned(from, cleaned_to);
    }
    let offset = found.and_then(|partition| partition.had_by_all());
    let offset = offset.ok_or("this node does not lead it")?;
    Ok(vec![Bytes::copy_from_slice(&offset.to_be_bytes())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_those_of_now() {
        let start = Config::load(None, &[]).unwrap();
        let set = |key: &str, value: &str| {
            let all = [(key.to_owned(), value.to_owned())].into();
            Settings::of(&start.with_dynamic(&all, &Default::default()).config)
        };
        let default = Settings::of(&start.config);
        let buffer = set("log.cleaner.dedupe.buffer.size", "5000000");
        assert_eq!(buffer, Settings { map_bytes_max: 5_000_000, ..default });
        assert_eq!(set("log.cleaner.threads", "3"), Settings { at_once_count: 3, ..default });
    }
}

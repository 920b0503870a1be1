//! Mends what is damaged on this node's disks: a batch that is not what was written is asked for
//! from the other replicas and written again in its place. An entry of the same term and index is
//! the same everywhere, so any replica that has it will do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::ids::{NodeId, TopicId, TopicPartition};
use crate::base::task::{self, Fault, Stopping};
use crate::base::worker::Threads;
use crate::log::batch::Batch;
use crate::log::entry::{EntryBody, EntryId};
use crate::log::partition_log::PartitionLog;
use crate::metrics::damage as metrics;
use crate::partition::Partition;
use crate::partition::registry::Registry;
use crate::peer::{Body, Kind, Lane};

/// How long another replica has to send a batch.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// What could not be mended is tried again after this time.
const AGAIN: Duration = Duration::from_secs(5);

/// What mending works with.
#[derive(Debug)]
pub struct Mender {
    pub registry: Arc<Registry>,
}

impl Mender {
    /// Runs until the broker stops.
    pub fn start(self, mut stopping: Stopping) -> task::Handle {
        task::spawn("mender", Fault::Process, async move {
            tokio::select! {
                () = stopping.wait() => {}
                () = self.run() => {}
            }
        })
    }

    async fn run(&self) {
        let bell = self.registry.damage_bell();
        loop {
            let mut left = 0;
            for partition in self.registry.partitions() {
                left += self.mend_all(&partition).await;
            }
            metrics::left(left);
            match left {
                0 => bell.notified().await,
                // Whether the bell rings or the time is over is the same.
                _ => drop(tokio::time::timeout(AGAIN, bell.notified()).await),
            }
        }
    }

    /// Returns how many batches of the partition stay damaged.
    async fn mend_all(&self, partition: &Partition) -> usize {
        let mut left = 0;
        for index in partition.group().log().damage() {
            let (topic, number) = (&partition.topic, partition.id.partition);
            match self.mend(partition, index).await {
                Ok(from) => {
                    metrics::mended();
                    tracing::info!(topic, partition = number, index, %from, "a batch is mended");
                }
                Err(error) => {
                    tracing::debug!(topic, partition = number, index, %error, "not mended");
                    left += 1;
                }
            }
        }
        left
    }

    /// Returns whose batch it is now.
    async fn mend(&self, partition: &Partition, index: u64) -> io::Result<NodeId> {
        let group = partition.group();
        let log = group.log();
        let stub = log.stubs(index, index + 1)?.first().copied();
        let entry = stub.ok_or(io::ErrorKind::NotFound)?.id;
        let status = group.status();
        let peers = self.registry.groups().peers();
        let mut others: Vec<NodeId> = status.voters.iter().copied().collect();
        others.retain(|node| {
            *node != self.registry.groups().node() && peers.liveness().is_alive(*node)
        });
        others.sort_by_key(|node| status.leader != Some(*node));
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no other replica is there");
        for node in others {
            let body = vec![question(partition.id, entry)];
            let told = peers.call(node, Lane::Data, Kind::Entry, body, ASK_TIMEOUT).await;
            let batch = told.map_err(io::Error::other).and_then(|mut told| {
                Batch::take(&mut told).map_err(|error| io::Error::other(format!("{error:?}")))
            });
            match batch {
                Ok(batch) => match write(log, index, batch).await {
                    Ok(()) => return Ok(node),
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn write(log: &Arc<PartitionLog>, index: u64, batch: Batch) -> io::Result<()> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    log.mend(
        index,
        batch,
        Box::new(move |result| {
            // Whoever waited may have gone.
            let _ = tx.send(result);
        }),
    );
    rx.await.map_err(io::Error::other)?
}

fn question(id: TopicPartition, entry: EntryId) -> Bytes {
    let mut body = BytesMut::new();
    body.put_slice(&id.topic_id.0);
    body.put_i32(id.partition);
    body.put_u64(entry.term);
    body.put_u64(entry.index);
    body.freeze()
}

fn read_question(mut body: Bytes) -> Result<(TopicPartition, EntryId), bytes::TryGetError> {
    let mut topic_id = TopicId::ZERO;
    body.try_copy_to_slice(&mut topic_id.0)?;
    let id = TopicPartition { topic_id, partition: body.try_get_i32()? };
    Ok((id, EntryId { term: body.try_get_u64()?, index: body.try_get_u64()? }))
}

/// Answers another node that asks for the batch of an entry.
pub async fn answer(
    registry: Arc<Registry>,
    threads: Threads,
    body: Bytes,
) -> Result<Body, String> {
    let (id, entry) = read_question(body).map_err(|error| error.to_string())?;
    let partition = registry.get(id).ok_or("the partition is not here")?;
    let log = Arc::clone(partition.group().log());
    let read = move || log.entries(entry.index, entry.index + 1, 0);
    let entries = task::blocking(threads, read).await.map_err(|error| error.to_string())?;
    let found = entries.into_iter().find(|found| found.id == entry);
    match found.map(|found| found.body) {
        Some(EntryBody::Batch(batch)) => {
            Ok(vec![Bytes::copy_from_slice(batch.head()), batch.records().clone()])
        }
        Some(_) => Err("nothing is left of the batch here".to_owned()),
        None => Err("the entry is not here".to_owned()),
    }
}

//! Mends what is damaged on this node's disks: a batch that is not what was written is asked for
//! from the other replicas and written again in its place. An entry of the same term and index is
//! the same everywhere, so any replica that has it will do. Where the others' cleaners have left
//! less of it, the segment is written anew with that, if it makes no difference to readers, and so
//! it is where the disk cannot write into the place any more. The
//! record of an entry of which only the place is known is asked for in the same way.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::ids::{NodeId, Offset, TopicId, TopicPartition};
use crate::base::task::{self, Fault, Stopping};
use crate::base::worker::Threads;
use crate::log::batch::Batch;
use crate::log::entry::{EntryBody, EntryId, EntryKind, EntryMeta};
use crate::log::flusher::completion;
use crate::log::partition_log::PartitionLog;
use crate::log::records::filter::Left;
use crate::log::repair;
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
    pub threads: Threads,
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
        let (topic, number) = (&partition.topic, partition.id.partition);
        let (mut left, mut others) = (0, BTreeMap::new());
        for index in partition.group().log().damage() {
            match self.mend(partition, index).await {
                Ok(Found::Written(from)) => {
                    metrics::mended();
                    tracing::info!(topic, partition = number, index, %from, "a batch is mended");
                }
                Ok(Found::Left(other)) => {
                    left += 1;
                    others.insert(index, other);
                }
                Err(error) => {
                    tracing::debug!(topic, partition = number, index, %error, "not mended");
                    left += 1;
                }
            }
        }
        if others.is_empty() {
            return left;
        }
        let log = Arc::clone(partition.group().log());
        let work = move || repair::replace_damaged(&log, &others);
        match task::blocking(self.threads, work).await {
            Ok(replaced) => {
                for index in &replaced {
                    metrics::mended();
                    tracing::info!(topic, partition = number, index, "a damaged batch is replaced");
                }
                left - replaced.len()
            }
            Err(error) => {
                tracing::debug!(topic, partition = number, %error, "not mended");
                left
            }
        }
    }

    async fn mend(&self, partition: &Partition, index: u64) -> io::Result<Found> {
        let log = partition.group().log();
        let stub = log.stubs(index, index + 1)?.first().copied();
        let stub = stub.ok_or(io::ErrorKind::NotFound)?;
        let is_unknown = stub.meta.kind == EntryKind::Unknown;
        if is_unknown && log.membership(index).is_ok() {
            write_record(log, index, EntryMeta { kind: EntryKind::Membership, ..stub.meta })
                .await?;
            return Ok(Found::Written(self.registry.groups().node()));
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no other replica is there");
        let mut cleaned = None;
        for node in self.others(partition) {
            let written = match self.ask(node, partition.id, stub.id).await {
                Ok(Told::Batch(batch)) if stub.meta.is_of(batch.header()) => {
                    let written = write(log, index, batch.clone()).await;
                    if !written.as_ref().is_err_and(cannot_be_written) {
                        written
                    } else {
                        // The segment is written anew, which must be a closed one.
                        if log.is_in_active_segment(index) {
                            roll(log).await?;
                        }
                        return Ok(Found::Left(Left::Changed(batch)));
                    }
                }
                Ok(Told::Batch(batch)) => {
                    cleaned = Some(Left::Changed(batch));
                    continue;
                }
                Ok(Told::Nothing(kind, _)) if kind.is_nothing() && !is_unknown => {
                    cleaned = Some(Left::Nothing);
                    continue;
                }
                Ok(Told::Nothing(kind, delete_before)) => {
                    // The offsets are told by others here.
                    let kind = if kind.is_nothing() { EntryKind::Void } else { kind };
                    let meta = EntryMeta { kind, delete_before, ..stub.meta };
                    write_record(log, index, meta).await
                }
                Err(error) => Err(error),
            };
            match written {
                Ok(()) => return Ok(Found::Written(node)),
                Err(error) => last = error,
            }
        }
        cleaned.map(Found::Left).ok_or(last)
    }

    /// Who may have what is missing here, the leader first.
    fn others(&self, partition: &Partition) -> Vec<NodeId> {
        let status = partition.group().status();
        let groups = self.registry.groups();
        let liveness = groups.peers().liveness();
        let mut others: Vec<NodeId> = status.voters.iter().copied().collect();
        others.retain(|node| *node != groups.node() && liveness.is_alive(*node));
        others.sort_by_key(|node| status.leader != Some(*node));
        others
    }

    /// An entry as another node has it.
    async fn ask(&self, node: NodeId, id: TopicPartition, entry: EntryId) -> io::Result<Told> {
        let peers = self.registry.groups().peers();
        let body = vec![question(id, entry)];
        let told = peers.call(node, Lane::Data, Kind::Entry, body, ASK_TIMEOUT).await;
        Told::decode(told.map_err(io::Error::other)?).map_err(io::Error::other)
    }
}

/// What a node says of an entry.
enum Told {
    Batch(Batch),
    /// It has no batch there; before which offset it deletes records.
    Nothing(EntryKind, Offset),
}

impl Told {
    /// Kind 1, then the batch, or the offset 8.
    fn encode(body: EntryBody) -> Body {
        let (kind, delete_before) = match body {
            EntryBody::Batch(batch) => {
                let kind = Bytes::copy_from_slice(&[EntryKind::Batch as u8]);
                let head = Bytes::copy_from_slice(batch.head());
                return vec![kind, head, batch.records().clone()];
            }
            EntryBody::Blank => (EntryKind::Blank, 0),
            EntryBody::Membership(_) => (EntryKind::Membership, 0),
            EntryBody::DeleteRecords(before) => (EntryKind::DeleteRecords, before),
            EntryBody::Compacted { .. } => (EntryKind::Compacted, 0),
        };
        let mut told = BytesMut::new();
        told.put_u8(kind as u8);
        told.put_i64(delete_before);
        vec![told.freeze()]
    }

    fn decode(mut told: Bytes) -> Result<Self, String> {
        let kind = told.try_get_u8().map_err(|error| error.to_string())?;
        match EntryKind::from_byte(kind).ok_or("an unknown kind of entry")? {
            EntryKind::Batch => {
                let batch = Batch::take(&mut told).map_err(|error| format!("{error:?}"))?;
                Ok(Self::Batch(batch))
            }
            kind => {
                let before = told.try_get_i64().map_err(|error| error.to_string())?;
                Ok(Self::Nothing(kind, before))
            }
        }
    }
}

/// What another replica has of a damaged batch.
enum Found {
    /// What was written; it is in its place again.
    Written(NodeId),
    /// It cannot be written into its place, or it is less than what was written.
    Left(Left),
}

async fn write(log: &Arc<PartitionLog>, index: u64, batch: Batch) -> io::Result<()> {
    let (done, written) = completion();
    log.mend(index, batch, done);
    written.await
}

fn cannot_be_written(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

async fn roll(log: &Arc<PartitionLog>) -> io::Result<()> {
    let (done, rolled) = completion();
    log.roll_now(done);
    rolled.await
}

async fn write_record(log: &Arc<PartitionLog>, index: u64, meta: EntryMeta) -> io::Result<()> {
    let (done, written) = completion();
    log.mend_record(index, meta, done);
    written.await
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

/// Answers another node that asks for an entry.
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
    Ok(Told::encode(found.ok_or("the entry is not here")?.body))
}

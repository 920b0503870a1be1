//! Looks after the log dirs while the broker runs: all partitions of one that has failed go offline
//! at once, and one that has no room has its partitions led elsewhere, where that helps.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::join_all;

use crate::base::ids::{NodeId, TopicId, TopicPartition};
use crate::base::task::{self, Fault, Stopping};
use crate::log::flusher::Job;
use crate::log::health::Condition;
use crate::metrics::retention::{dirs_offline, full};
use crate::partition::Partition;
use crate::partition::open::OpenDir;
use crate::partition::registry::Registry;
use crate::peer::{Body, Kind, Lane};

/// What has found no room is tried again this often.
const RETRY: Duration = Duration::from_millis(100);
/// Replicas elsewhere are asked this often to lead what a full log dir has here.
const HAND_OVER: Duration = Duration::from_secs(1);
/// How long another node has to say whether it has room.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

impl Registry {
    /// Looks after all log dirs until the broker stops.
    pub fn watch_dirs(self: &Arc<Self>, stopping: &Stopping) -> Vec<task::Handle> {
        let watch = |open: &OpenDir| {
            let (registry, open) = (Arc::clone(self), open.clone());
            let mut stopping = stopping.clone();
            task::spawn("log dir", Fault::Process, async move {
                tokio::select! {
                    () = stopping.wait() => {}
                    () = registry.watch_dir(&open) => {}
                    () = registry.relieve(&open) => {}
                }
                // Nothing waits for room in one that is offline.
                full(&open.dir.path, false);
            })
        };
        self.storage.dirs.iter().map(watch).collect()
    }

    /// Has writes tried again that have found no room; resolves when the log dir is offline.
    async fn watch_dir(&self, open: &OpenDir) {
        let mut condition = open.health.subscribe();
        loop {
            let now = condition.borrow_and_update().clone();
            match now {
                Condition::Failed(_) => break,
                Condition::Full => {
                    tokio::time::sleep(RETRY).await;
                    open.writer.push(Job::Retry);
                }
                Condition::Sound => {
                    if condition.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
        self.tell_offline();
        self.take_offline(open).await;
    }

    /// Has others lead while there is no room, and tells of it; never resolves.
    async fn relieve(&self, open: &OpenDir) {
        let (mut condition, mut reserve) = (open.health.subscribe(), open.room.subscribe());
        loop {
            // Either may change at any time; the error of one that is gone is that of a broker that
            // has ended.
            let is_full = open.room.is_full();
            full(&open.dir.path, is_full);
            if is_full {
                self.hand_over_led(open).await;
                tokio::time::sleep(HAND_OVER).await;
                continue;
            }
            let changed = tokio::select! {
                changed = condition.changed() => changed,
                changed = reserve.changed() => changed,
            };
            if changed.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Hands the partitions that are led here to replicas that have all records and room for more.
    async fn hand_over_led(&self, open: &OpenDir) {
        let mut led = self.partitions();
        led.retain(|partition| is_in(partition, open) && !partition.heirs().is_empty());
        let mut questions: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
        for partition in &led {
            for heir in partition.heirs() {
                questions.entry(heir.node).or_default().push(partition.id);
            }
        }
        let asked = questions.into_iter().map(|(node, ids)| self.ask_for_room(node, ids));
        let with_room: BTreeSet<(NodeId, TopicPartition)> =
            join_all(asked).await.into_iter().flatten().collect();
        let handed = led.iter().map(|partition| async {
            let last = partition.last_index();
            let is_fit = |node: NodeId, matched: Option<u64>| {
                matched >= last && with_room.contains(&(node, partition.id))
            };
            let mut heirs = partition.heirs().into_iter();
            let heir = heirs.find(|heir| is_fit(heir.node, heir.matched.map(|id| id.index)));
            let Some(heir) = heir else { return };
            let (topic, index, to) = (&partition.topic, partition.id.partition, heir.node);
            tracing::info!(topic, partition = index, %to, "there is no room: another one leads");
            if let Err(error) = partition.transfer_to(to).await {
                tracing::debug!(topic, partition = index, ?error, "a leadership was not taken");
            }
        });
        join_all(handed).await;
    }

    async fn ask_for_room(
        &self,
        node: NodeId,
        ids: Vec<TopicPartition>,
    ) -> Vec<(NodeId, TopicPartition)> {
        let mut body = BytesMut::new();
        for id in &ids {
            body.put_slice(&id.topic_id.0);
            body.put_i32(id.partition);
        }
        let (peers, body) = (self.groups().peers(), vec![body.freeze()]);
        let told = peers.call(node, Lane::Control, Kind::Room, body, ASK_TIMEOUT).await;
        let told = told.unwrap_or_default();
        let has_room = ids.into_iter().zip(told).filter(|(_, has_room)| *has_room == 1);
        has_room.map(|(id, _)| (node, id)).collect()
    }

    fn tell_offline(&self) {
        dirs_offline(self.dirs().iter().filter(|(_, is_online)| !is_online).count());
    }

    /// Ends all partitions of a log dir that has failed.
    async fn take_offline(&self, open: &OpenDir) {
        let mut lost = self.partitions();
        lost.retain(|partition| is_in(partition, open));
        tracing::warn!(dir = %open.dir.path.display(), partitions = lost.len(), "now offline");
        join_all(lost.iter().map(|partition| self.abandon(partition))).await;
    }

    /// Resolves when the broker can not go on: the first log dir has the metadata, which are not to
    /// be relied upon any more. Cancel safe.
    pub async fn cannot_go_on(&self) -> String {
        let first = self.storage.dirs.first().map(|open| open.health.subscribe());
        let Some(mut condition) = first else { return std::future::pending().await };
        tokio::select! {
            why = self.storage.kv_writer.failed() => {
                format!("the metadata store has failed: {why}")
            }
            failed = condition.wait_for(|now| matches!(now, Condition::Failed(_))) => match failed {
                Ok(_) => "the first log dir, which has the metadata, has failed".to_owned(),
                Err(_) => std::future::pending().await,
            },
        }
    }
}

fn is_in(partition: &Partition, open: &OpenDir) -> bool {
    partition.dir().parent() == Some(open.dir.path.as_path())
}

/// Answers another node that asks whether there is room for records: a byte per partition.
pub fn answer_room(registry: &Registry, body: Bytes) -> Result<Body, String> {
    let ids = read_ids(body).map_err(|error| error.to_string())?;
    let has_room = |id: &TopicPartition| {
        let partition = registry.get(*id);
        u8::from(partition.is_some_and(|partition| !partition.group().is_full()))
    };
    Ok(vec![ids.iter().map(has_room).collect::<Vec<u8>>().into()])
}

fn read_ids(mut body: Bytes) -> io::Result<Vec<TopicPartition>> {
    let mut ids = Vec::new();
    while body.has_remaining() {
        let mut topic_id = TopicId::ZERO;
        body.try_copy_to_slice(&mut topic_id.0).map_err(io::Error::other)?;
        let partition = body.try_get_i32().map_err(io::Error::other)?;
        ids.push(TopicPartition { topic_id, partition });
    }
    Ok(ids)
}

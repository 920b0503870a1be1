//! Moving from Apache Kafka: the log dirs of a stopped broker become those of a node of Ottla, with
//! the same topics, records at the same offsets, and groups.
//!
//! The target's log dirs are marked while this goes on, and no broker starts on them. The marks go
//! when everything is durable, that of the first log dir before the others; so an import has
//! happened as a whole or not at all, and one that was cut short is begun again.

mod batches;
mod checkpoint;
mod metadata;
mod plan;
mod records;
mod report;
mod source;
mod transactions;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::env::Env;
use crate::base::ids::{NodeId, TopicPartition};
use crate::base::kv::{Change, KeyValue, KvWriter};
use crate::base::task;
use crate::config::Config;
use crate::controller::service::{Controller, Decision};
use crate::import::plan::{Plan, Topic};
use crate::import::report::{Partition, Total};
use crate::import::source::Broker;
use crate::import::transactions::Decisions;
use crate::log::dir::{Beginning, Identity, LogDir};
use crate::metadata::publisher::Publisher;
use crate::metadata::records::{Record, Resource};
use crate::partition::import::{Done, Place, import_partition};
use crate::peer::Peers;
use crate::replication::groups::Groups;
use crate::replication::metadata_group::{Entrance, MetadataGroup};

/// Records of the metadata that are proposed at once.
const RECORDS_COUNT_MAX: usize = 5_000;

/// What is to be imported.
#[derive(Debug, Clone)]
pub struct Request {
    /// The log dirs of the broker.
    pub from: Vec<PathBuf>,
    /// Also if some of it is not there, or damaged.
    pub partial: bool,
}

/// Where the partitions go.
struct Target {
    env: Env,
    config: Config,
    node: NodeId,
    dirs: Vec<Arc<LogDir>>,
    /// Bytes that each of them has got.
    filled: Vec<u64>,
    decisions: Decisions,
}

/// Imports, and tells each step.
pub async fn run(
    env: &Env,
    config: &Config,
    request: Request,
    tell: &mut dyn FnMut(String) -> io::Result<()>,
) -> io::Result<()> {
    let disk = Arc::clone(&env.disk);
    let from = request.from.clone();
    let broker = task::blocking(env.threads, move || Broker::open(&disk, &from)).await?;
    let plan =
        plan::plan(&broker.metadata, config, |topic, partition| broker.has(topic, partition));
    for text in &plan.missing {
        tell(format!("missing: {text}"))?;
    }
    for text in &plan.notes {
        tell(format!("note: {text}"))?;
    }
    if let Some(text) = &broker.metadata_cut {
        tell(format!("cut: {text}"))?;
    }
    for dir in broker.strays() {
        tell(format!("note: {} is of no topic", dir.display()))?;
    }
    if !plan.missing.is_empty() && !request.partial {
        return Err(io::Error::other(
            "some of it is not there (see above); --partial imports the rest",
        ));
    }
    for path in &config.log_dirs {
        LogDir::check_importable(env.disk.as_ref(), path)?;
    }
    let dirs = LogDir::open_all(&env.disk, &config.log_dirs)?;
    dirs.iter().try_for_each(|dir| dir.begin_import())?;
    let node = NodeId(config.node_id.unwrap_or(broker.node));
    let filled = vec![0; dirs.len()];
    let (decisions, cut) = broker.decisions(request.partial)?;
    for text in cut {
        tell(format!("cut: {text}"))?;
    }
    let (env, config) = (env.clone(), config.clone());
    let target = Target { env, config, node, dirs, filled, decisions };
    target.fill(&broker, &plan, request.partial, tell).await
}

impl Target {
    async fn fill(
        mut self,
        broker: &Broker,
        plan: &Plan,
        partial: bool,
        tell: &mut dyn FnMut(String) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut records, mut changes) = (plan.groups.clone(), Vec::new());
        let mut total = Total::default();
        for topic in &plan.topics {
            records.extend(topic_records(topic));
            let mut partitions = Vec::new();
            for index in topic.partitions.keys() {
                let (partition, done) = self.import(broker, topic, *index, partial)?;
                records.extend(place_records(self.node, topic, *index, done.as_ref()));
                changes.extend(done.into_iter().flat_map(|done| done.changes));
                partitions.push(partition);
            }
            for line in report::topic(&topic.name, &partitions) {
                tell(line)?;
            }
            total.add(&partitions);
        }
        records.push(Record::ProducerIds { next: broker.metadata.next_producer_id });
        self.store(records, changes).await?;
        let identity = Identity {
            cluster_id: broker.cluster_id.clone(),
            node_id: self.node,
            beginning: Beginning::Founded,
        };
        for dir in &self.dirs {
            self.env.disk.sync_dir(&dir.path)?;
            dir.set_identity(&identity)?;
            dir.mark_clean()?;
        }
        // It has happened when the first log dir says so.
        self.dirs.iter().try_for_each(|dir| dir.end_import())?;
        tell(total.line(&identity))
    }

    /// Imports a partition if the broker has it.
    fn import(
        &mut self,
        broker: &Broker,
        topic: &Topic,
        index: i32,
        partial: bool,
    ) -> io::Result<(Partition, Option<Done>)> {
        let Some(mut source) = broker.log(topic.id, index, partial)? else {
            return Ok((Partition { index, imported: None }, None));
        };
        source.decided = self.decisions.of(&topic.name, index);
        let emptiest = (0..).zip(&self.filled).min_by_key(|(_, bytes)| **bytes);
        let at = emptiest.map_or(0, |(at, _)| at);
        let dir = self.dirs.get(at).ok_or_else(|| io::Error::other("there is no log dir"))?;
        let place = Place {
            env: &self.env,
            node: self.node,
            dir,
            id: TopicPartition { topic_id: topic.id, partition: index },
            topic: &topic.name,
            config: &topic.config,
            producer_expiration_ms: self.config.producer_id_expiration_ms,
            epoch: topic.partitions.get(&index).copied().flatten().unwrap_or(0),
        };
        let done = import_partition(&place, &source)?;
        if let Some(filled) = self.filled.get_mut(at) {
            *filled += done.imported.bytes;
        }
        Ok((Partition { index, imported: Some(done.imported.clone()) }, Some(done)))
    }

    /// Writes what the partitions keep in the store, and the metadata, as the only node of a group.
    async fn store(&self, records: Vec<Record>, changes: Vec<Change>) -> io::Result<()> {
        let path = self.dirs.first().map(|dir| dir.store()).unwrap_or_default();
        let env = self.env.clone();
        let kv = task::blocking(env.threads, move || env.open_store(&path)).await?;
        let writer = KvWriter::start(self.env.threads, Arc::clone(&kv))?;
        writer.write(changes).await?;
        let done = self.propose(records, (Arc::clone(&kv), writer)).await;
        // As at the end of a broker: it is all durable, and closing it could meet the destructors
        // of its library.
        std::mem::forget(kv);
        done
    }

    async fn propose(
        &self,
        records: Vec<Record>,
        (kv, writer): (Arc<dyn KeyValue>, KvWriter),
    ) -> io::Result<()> {
        let publisher = Arc::new(Publisher::default());
        let images = publisher.images();
        let peers = Peers::without_identity(self.env.clone());
        let groups = Groups::new(self.node, peers.clone());
        let group = MetadataGroup::open(Entrance::Found, &groups, kv, writer, publisher).await?;
        let controller = Controller::new(group, peers, images);
        for records in records.chunks(RECORDS_COUNT_MAX) {
            let append = |_: &_| Decision { records: records.to_vec(), answer: () };
            let done = controller.run(append).await;
            done.map_err(|error| io::Error::other(format!("metadata: {error:?}")))?;
        }
        controller.shutdown().await
    }
}

fn topic_records(topic: &Topic) -> Vec<Record> {
    let mut records = vec![Record::Topic { topic_id: topic.id, name: topic.name.clone() }];
    records.extend(topic.overrides.iter().map(|(key, value)| Record::Config {
        resource: Resource::Topic(topic.name.clone()),
        key: key.clone(),
        value: Some(value.clone()),
    }));
    records
}

/// Where a partition is. One that has been led goes on with later epochs.
fn place_records(node: NodeId, topic: &Topic, partition: i32, done: Option<&Done>) -> Vec<Record> {
    let topic_id = topic.id;
    let mut records = vec![Record::Partition { topic_id, partition, replicas: vec![node] }];
    records.extend(done.map(|done| Record::Leader {
        topic_id,
        partition,
        leader: None,
        epoch: done.epoch,
        in_sync: vec![node],
    }));
    records
}

#[cfg(test)]
mod tests;

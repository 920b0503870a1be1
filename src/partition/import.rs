//! A partition of an Apache Kafka broker becomes one of this node, which is its only replica.

use std::io;
use std::sync::Arc;

use crate::base::env::Env;
use crate::base::ids::{LeaderEpoch, NodeId, TopicPartition};
use crate::base::kv::Change;
use crate::config::TopicConfig;
use crate::log::dir::LogDir;
use crate::log::import::{Imported, Source, Target, import};
use crate::partition::open::store_key;
use crate::replication::partition_group::{Adopted, adopt};

/// Which partition, and where it is to be.
#[derive(Debug)]
pub struct Place<'a> {
    pub env: &'a Env,
    pub node: NodeId,
    pub dir: &'a LogDir,
    pub id: TopicPartition,
    pub topic: &'a str,
    pub config: &'a TopicConfig,
    pub producer_expiration_ms: i64,
    /// The last leader epoch that anybody has seen.
    pub epoch: LeaderEpoch,
}

/// A partition that is there.
#[derive(Debug)]
pub struct Done {
    pub imported: Imported,
    /// What the store has to keep of it.
    pub changes: Vec<Change>,
    /// The leader epoch above which the next one is.
    pub epoch: LeaderEpoch,
}

/// Makes the partition's folder. Blocks.
pub fn import_partition(place: &Place<'_>, source: &Source) -> io::Result<Done> {
    let dir = place.dir.partition(place.topic, place.id.partition);
    let target = Target {
        dir: dir.clone(),
        disk: Arc::clone(&place.env.disk),
        index_interval_bytes: place.config.index_interval_bytes,
        producer_expiration_ms: place.producer_expiration_ms,
        now_ms: place.env.clock.now_ms(),
    };
    let imported = import(&target, source)?;
    place.dir.set_topic_id(&dir, place.id.topic_id)?;
    let epoch = place.epoch.max(imported.last.leader_epoch());
    let adopted = Adopted { last: imported.last, log_start: imported.start, epoch };
    let changes = adopt(&store_key(place.id), place.node, &adopted);
    Ok(Done { imported, changes, epoch })
}

//! What must hold in every moment, seen from above: Raft's promises, and those of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use crate::base::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::partition::Partition;
use crate::server::Server;
use crate::sim::cluster::node::Node;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Who served as leader in which epoch.
    leaders: BTreeMap<(TopicPartition, LeaderEpoch), i32>,
    replicas: BTreeMap<(TopicPartition, i32), Replica>,
}

/// The last look at a replica.
#[derive(Debug, Clone)]
struct Replica {
    /// Which opening it was: a partition may leave a node and come back between two looks.
    opening: Weak<Partition>,
    term: u64,
    log_start: Offset,
    high_watermark: Offset,
    log_end: Offset,
    epoch: Option<LeaderEpoch>,
}

fn replicas(server: &Server) -> Vec<(TopicPartition, Replica)> {
    let partitions = server.registry().partitions().into_iter();
    let look = |partition: Arc<Partition>| {
        let offsets = partition.offsets();
        let replica = Replica {
            opening: Arc::downgrade(&partition),
            term: partition.status().term,
            log_start: offsets.log_start,
            high_watermark: offsets.high_watermark,
            log_end: offsets.log_end,
            epoch: partition.leader_epoch(),
        };
        (partition.id, replica)
    };
    partitions.map(look).collect()
}

impl Watch {
    pub(super) fn look(&mut self, nodes: &[Node]) -> Result<(), String> {
        let mut serving: BTreeMap<TopicPartition, i32> = BTreeMap::new();
        for node in nodes {
            let Some(replicas) = node.look(replicas) else { continue };
            let here: BTreeSet<TopicPartition> = replicas.iter().map(|(id, _)| *id).collect();
            self.replicas.retain(|(id, of), _| *of != node.id || here.contains(id));
            for (id, replica) in replicas {
                let wrong = |why: String| format!("partition {id} on node {}: {why}", node.id);
                self.judge(id, node.id, &replica).map_err(wrong)?;
                let Some(epoch) = replica.epoch else { continue };
                let leader = *self.leaders.entry((id, epoch)).or_insert(node.id);
                if leader != node.id {
                    return Err(wrong(format!("node {leader} has led in epoch {epoch}")));
                }
                if let Some(other) = serving.insert(id, node.id) {
                    return Err(wrong(format!("node {other} serves at the same time")));
                }
            }
        }
        Ok(())
    }

    /// The last look at everything, for whoever looks for a mistake.
    pub(super) fn tell(&self) {
        for ((id, node), replica) in &self.replicas {
            tracing::info!(%id, node, ?replica, "sim: as it was seen last");
        }
    }

    fn judge(&mut self, id: TopicPartition, node: i32, now: &Replica) -> Result<(), String> {
        if now.log_start > now.high_watermark || now.high_watermark > now.log_end {
            return Err(format!("these offsets are not in order: {now:?}"));
        }
        let Some(before) = self.replicas.insert((id, node), now.clone()) else { return Ok(()) };
        let goes_back = Weak::ptr_eq(&before.opening, &now.opening)
            && (now.term < before.term
                || now.high_watermark < before.high_watermark
                || now.log_start < before.log_start);
        if goes_back { Err(format!("{before:?} goes back to {now:?}")) } else { Ok(()) }
    }
}

//! What the replicas of one partition hold after it all. They may begin at different offsets, as
//! each deletes old segments by itself; from the latest of these on they hold the same batches.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Batch, Content};
use crate::report::{Anomaly, Findings};

#[derive(Clone, Debug, Default)]
pub(crate) struct Replicas(BTreeMap<i32, Vec<Batch>>);

impl Replicas {
    pub(crate) fn add(&mut self, node: i32, batches: Vec<Batch>) {
        self.0.insert(node, batches);
    }

    /// The offsets of records that consumers do not see: markers, and if there are transactions
    /// perhaps any.
    pub(crate) fn unread(&self, with_txns: bool) -> BTreeSet<i64> {
        let batches = self.0.values().flatten();
        let unread = batches.filter(|batch| with_txns || batch.content == Content::Control);
        unread.flat_map(|batch| batch.base..=batch.last).collect()
    }

    pub(crate) fn check(&self, key: &str, findings: &mut Findings) {
        for (node, batches) in &self.0 {
            check_order(*node, batches, key, findings);
        }
        let begin =
            self.0.values().filter_map(|batches| batches.first()).map(|first| first.base).max();
        let Some(begin) = begin else { return };
        let mut nodes = self.0.iter();
        let Some((first_node, first)) = nodes.next() else { return };
        for (node, batches) in nodes {
            if let Some(difference) = difference(&from(first, begin), &from(batches, begin)) {
                let example = format!("nodes {first_node} and {node}: {difference}");
                findings.add(Anomaly::ReplicaDivergence, key, example);
            }
        }
    }
}

fn from(batches: &[Batch], begin: i64) -> Vec<Batch> {
    batches.iter().copied().filter(|batch| batch.last >= begin).collect()
}

fn difference(left: &[Batch], right: &[Batch]) -> Option<String> {
    let differing = left.iter().zip(right).find(|(left, right)| left != right);
    if let Some((left, right)) = differing {
        return Some(format!("{left:?} is not {right:?}"));
    }
    let end = |batches: &[Batch]| batches.last().map_or(0, |batch| batch.last + 1);
    (left.len() != right.len()).then(|| format!("they end at {} and {}", end(left), end(right)))
}

fn check_order(node: i32, batches: &[Batch], key: &str, findings: &mut Findings) {
    for (before, after) in batches.iter().zip(batches.iter().skip(1)) {
        if after.base != before.last + 1 {
            let example = format!("node {node}: {} follows {}", after.base, before.last);
            findings.add(Anomaly::OffsetGap, key, example);
        }
        if after.epoch < before.epoch {
            let (base, epoch) = (after.base, after.epoch);
            let example = format!("node {node}: {base} is of epoch {epoch} after {}", before.epoch);
            findings.add(Anomaly::EpochRegress, key, example);
        }
    }
}

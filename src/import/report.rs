//! What an import says.

use crate::base::ids::PartitionIndex;
use crate::log::dir::Identity;
use crate::log::import::Imported;
use crate::log::records::marker::Ending;

/// So many partitions of a topic are told with their offsets.
const OFFSETS_COUNT_MAX: usize = 8;

/// A partition.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    pub(super) index: PartitionIndex,
    /// `None`: it begins empty.
    pub(super) imported: Option<Imported>,
}

/// All topics together.
#[derive(Debug, Default)]
pub(super) struct Total {
    topics: u64,
    partitions: u64,
    bytes: u64,
    records: u64,
    cut: u64,
}

/// The lines about a topic.
pub(super) fn topic(name: &str, partitions: &[Partition]) -> Vec<String> {
    let total = Total::of(partitions);
    let imported = || partitions.iter().filter_map(|one| Some((one.index, one.imported.as_ref()?)));
    let offsets = imported().take(OFFSETS_COUNT_MAX);
    let mut offsets: Vec<String> =
        offsets.map(|(index, one)| format!("{index}:{}-{}", one.start, one.end)).collect();
    if total.partitions > OFFSETS_COUNT_MAX as u64 {
        offsets.push("…".to_owned());
    }
    let mut lines = vec![format!(
        "topic {name}: {} partitions, {} bytes, {} records, offsets {}",
        total.partitions,
        total.bytes,
        total.records,
        offsets.join(" ")
    )];
    let ended: Vec<Ending> = imported().flat_map(|(_, one)| one.ended.clone()).collect();
    if !ended.is_empty() {
        let aborted = ended.iter().filter(|ending| **ending == Ending::Aborted).count();
        lines.push(format!(
            "note: topic {name} had open transactions: {aborted} are aborted, and {} committed as \
             was decided there",
            ended.len() - aborted
        ));
    }
    let cut = imported().filter_map(|(index, one)| Some((index, one.cut.as_ref()?, one.end)));
    lines.extend(
        cut.map(|(index, what, end)| format!("cut: {name}-{index} ends at offset {end}: {what}")),
    );
    lines
}

impl Total {
    fn of(partitions: &[Partition]) -> Self {
        let mut total = Self::default();
        total.add(partitions);
        total
    }

    /// Counts a topic.
    pub(super) fn add(&mut self, partitions: &[Partition]) {
        self.topics += 1;
        self.partitions += partitions.len() as u64;
        for imported in partitions.iter().filter_map(|one| one.imported.as_ref()) {
            self.bytes += imported.bytes;
            self.records += imported.records;
            self.cut += u64::from(imported.cut.is_some());
        }
    }

    /// The last line.
    pub(super) fn line(&self, identity: &Identity) -> String {
        let Self { topics, partitions, bytes, records, cut } = self;
        let Identity { cluster_id, node_id, .. } = identity;
        let cut = if *cut > 0 { format!(", {cut} partitions cut") } else { String::new() };
        format!(
            "imported {topics} topics, {partitions} partitions, {bytes} bytes, {records} \
             records{cut}; cluster.id={cluster_id} node.id={node_id}"
        )
    }
}

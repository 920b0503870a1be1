//! Whether the replicas of a partition hold the same bytes on their disks.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use crate::log::batch::Batch;
use crate::sim::cluster::TOPIC;
use crate::sim::cluster::diary::Diary;
use crate::sim::cluster::node::Node;

/// The batches of one replica by base offset.
type Batches = BTreeMap<i64, Batch>;

/// The batches that lie in the segments of each partition of a topic, segment by segment.
pub(super) fn segments(node: &Node, topic: &str) -> BTreeMap<String, Vec<Batch>> {
    let mut found: BTreeMap<String, Vec<Batch>> = BTreeMap::new();
    for (path, _) in node.disk.files() {
        let Some(partition) = partition_of(&path, topic) else { continue };
        let content = node.disk.content(&path).unwrap_or_default();
        found.entry(partition).or_default().extend(whole_batches(content.into()));
    }
    found
}

/// The batches up to the first that is not whole.
pub(super) fn whole_batches(mut bytes: Bytes) -> impl Iterator<Item = Batch> {
    std::iter::from_fn(move || Batch::take(&mut bytes).ok())
}

fn batches(node: &Node) -> BTreeMap<String, Batches> {
    let by_offset = |batches: Vec<Batch>| {
        batches.into_iter().map(|batch| (batch.header().base_offset, batch)).collect()
    };
    let found = segments(node, TOPIC).into_iter();
    found.map(|(partition, batches)| (partition, by_offset(batches))).collect()
}

/// The partition, if this is one of its segments.
fn partition_of(path: &Path, topic: &str) -> Option<String> {
    let folder = path.parent()?.file_name()?.to_str()?;
    let is_segment = path.extension().is_some_and(|extension| extension == "log");
    (is_segment && folder.starts_with(topic)).then(|| folder.to_owned())
}

/// The first difference between two replicas.
pub(super) fn difference(nodes: &[Node]) -> Option<String> {
    let mut first: BTreeMap<String, (i32, Batches)> = BTreeMap::new();
    for node in nodes {
        for (partition, mine) in batches(node) {
            let Some((other, theirs)) = first.get(&partition) else {
                first.insert(partition, (node.id, mine));
                continue;
            };
            if let Some(why) = compare(&mine, theirs) {
                return Some(format!("{partition} on nodes {} and {other}: {why}", node.id));
            }
        }
    }
    None
}

pub(super) fn write_down(nodes: &[Node], diary: &Diary) {
    for node in nodes {
        for (partition, batches) in batches(node) {
            diary.replica(node.id, &partition, batches.values());
        }
    }
}

fn is_same(mine: &Batch, theirs: &Batch) -> bool {
    mine.head() == theirs.head() && mine.records() == theirs.records()
}

fn compare(mine: &Batches, theirs: &Batches) -> Option<String> {
    let (my_end, their_end) = (mine.last_key_value(), theirs.last_key_value());
    if my_end.map(|(base, _)| base) != their_end.map(|(base, _)| base) {
        return Some("they end at different offsets".to_owned());
    }
    // One may have deleted more than the other.
    let from = mine.keys().next().max(theirs.keys().next()).copied().unwrap_or(0);
    let differing = mine
        .range(from..)
        .zip(theirs.range(from..))
        .find(|(mine, theirs)| !is_same(mine.1, theirs.1));
    differing.map(|((base, _), _)| format!("the batches at {base} differ"))
}

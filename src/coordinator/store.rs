//! The materialised state of one coordinator partition: the latest record of each key, and the
//! offset up to which that holds. A start reads it and replays only the rest of the partition.
//! Writing it is never waited for by an answer.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::ids::{Offset, TopicPartition};
use crate::base::kv::{Change, KeyValue};
use crate::log::records::build::NewRecord;

/// Pairs read from the store at once.
const SCAN_PAIRS_COUNT: usize = 10_000;

/// Records since the last write, the latest of each key.
#[derive(Debug)]
pub(super) struct Materialised {
    prefix: Vec<u8>,
    changed: BTreeMap<Bytes, Option<Bytes>>,
    /// Records noted since the last write, those that another one has replaced too.
    noted_count: usize,
    position: Offset,
    /// From here on there are records that are not decided on, and not noted.
    undecided_from: Option<Offset>,
}

/// The parts of a partition's keys.
const POSITION: u8 = 0;
const RECORD: u8 = 1;
const END: u8 = 2;

impl Materialised {
    pub(super) fn new(id: TopicPartition) -> Self {
        let prefix = [&b"C"[..], &id.topic_id.0, &id.partition.to_be_bytes()].concat();
        let changed = BTreeMap::new();
        Self { prefix, changed, noted_count: 0, position: 0, undecided_from: None }
    }

    fn key(&self, part: u8) -> Vec<u8> {
        [&self.prefix[..], &[part]].concat()
    }

    /// Reads the state if it lies within `log_start..=end`, and else drops it. The offset from
    /// which the partition is to be replayed. Blocks.
    pub(super) fn load(
        &mut self,
        kv: &Arc<dyn KeyValue>,
        (log_start, end): (Offset, Offset),
        mut replay: impl FnMut(Bytes, Bytes),
    ) -> io::Result<Offset> {
        let position = kv.get(&self.key(POSITION))?;
        let position = position.and_then(|bytes| Some(i64::from_be_bytes(bytes.try_into().ok()?)));
        let Some(position) = position.filter(|position| (log_start..=end).contains(position))
        else {
            kv.write(&[self.clear()])?;
            self.position = log_start;
            return Ok(log_start);
        };
        let (mut from, to) = (self.key(RECORD), self.key(END));
        loop {
            let pairs = kv.scan(&from, &to, SCAN_PAIRS_COUNT)?;
            let Some((last, _)) = pairs.last() else { break };
            // The smallest key after the last one.
            from = [&last[..], &[0]].concat();
            for (key, value) in pairs {
                let key = Bytes::from(key).slice(self.prefix.len() + 1..);
                replay(key, value.into());
            }
        }
        self.position = position;
        Ok(position)
    }

    /// Deletes all that was ever written.
    pub(super) fn clear(&self) -> Change {
        Change::DeleteRange { from: self.key(POSITION), to: self.key(END) }
    }

    /// Notes a committed record; what follows it is at `next`.
    pub(super) fn note(&mut self, key: Bytes, value: Option<Bytes>, next: Offset) {
        self.changed.insert(key, value);
        self.noted_count += 1;
        self.position = next;
    }

    /// What is written from now on does not stand for records from this offset on: a load goes
    /// through them again, which changes nothing about those that have been noted.
    pub(super) fn wait_for(&mut self, undecided_from: Option<Offset>) {
        self.undecided_from = undecided_from;
    }

    pub(super) fn note_all(&mut self, records: Vec<NewRecord>, base: Offset) {
        for (next, record) in (base + 1..).zip(records) {
            self.note(record.key, record.value, next);
        }
    }

    /// Records since the last write: what a start after a crash has to replay.
    pub(super) fn noted_count(&self) -> usize {
        self.noted_count
    }

    /// What is to be written; it counts as written from now on.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::with_capacity(self.changed.len() + 1);
        self.noted_count = 0;
        for (key, value) in std::mem::take(&mut self.changed) {
            let key = [&self.key(RECORD)[..], &key].concat();
            changes.push(match value {
                Some(value) => Change::Put { key, value: value.into() },
                None => Change::Delete { key },
            });
        }
        let undecided_from = self.undecided_from.unwrap_or(Offset::MAX);
        let value = self.position.min(undecided_from).to_be_bytes().to_vec();
        changes.push(Change::Put { key: self.key(POSITION), value });
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::disk::RealDisk;
    use crate::base::ids::TopicId;
    use crate::base::kv::journal::JournalKv;

    fn id(partition: i32) -> TopicPartition {
        TopicPartition { topic_id: TopicId([7; 16]), partition }
    }

    fn load(kv: &Arc<dyn KeyValue>, bounds: (Offset, Offset)) -> (Offset, BTreeMap<Bytes, Bytes>) {
        let mut found = BTreeMap::new();
        let from = Materialised::new(id(1)).load(kv, bounds, |key, value| {
            found.insert(key, value);
        });
        (from.expect("loaded"), found)
    }

    fn open(dir: &std::path::Path) -> Arc<dyn KeyValue> {
        Arc::new(JournalKv::open(&RealDisk, dir).expect("a store"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_was_written_is_the_latest_of_each_key(
            rounds in prop::collection::vec(
                prop::collection::vec((0u8..6, prop::option::of(any::<u8>())), 1..20), 1..6,
            ),
        ) {
            let dir = tempfile::tempdir().expect("a folder");
            let kv = open(dir.path());
            let (mut state, mut other) = (Materialised::new(id(1)), Materialised::new(id(2)));
            other.note(Bytes::from_static(b"k"), Some(Bytes::from_static(b"v")), 5);
            kv.write(&other.take_changes()).expect("written");
            let (mut model, mut next) = (BTreeMap::new(), 0);
            for round in rounds {
                let base = next;
                next += round.len() as Offset;
                let bytes = |byte: u8| Bytes::from(vec![byte]);
                let records: Vec<NewRecord> = round
                    .into_iter()
                    .map(|(key, value)| NewRecord { key: bytes(key), value: value.map(bytes) })
                    .collect();
                for record in &records {
                    match &record.value {
                        Some(value) => model.insert(record.key.clone(), value.clone()),
                        None => model.remove(&record.key),
                    };
                }
                state.note_all(records, base);
                kv.write(&state.take_changes()).expect("written");
                prop_assert_eq!(state.noted_count(), 0);
                prop_assert_eq!(load(&kv, (0, next)), (next, model.clone()));
            }
            // A log that begins after it, or ends before it, is another one: all is replayed.
            let elsewhere = if next % 2 == 0 { (next + 1, next + 9) } else { (0, next - 1) };
            prop_assert_eq!(load(&kv, elsewhere), (elsewhere.0, BTreeMap::new()));
            prop_assert_eq!(load(&kv, (0, next)), (0, BTreeMap::new()));
        }
    }
}

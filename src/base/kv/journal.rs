//! A store on any [`Disk`]: a sorted map in memory and a journal of its changes. A simulation uses
//! it in RocksDB's place; it is for small stores, because the journal is never compacted.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut};

use crate::base::disk::{Disk, DiskFile, OpenMode, read_exact_at};
use crate::base::kv::{Change, KeyValue, Pairs};

/// The open store.
#[derive(Debug)]
pub struct JournalKv {
    file: Arc<dyn DiskFile>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    end: u64,
}

impl JournalKv {
    pub fn open(disk: &dyn Disk, dir: &Path) -> io::Result<Self> {
        disk.create_dir_all(dir)?;
        let file = disk.open(&dir.join("journal"), OpenMode::Create)?;
        disk.sync_dir(dir)?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent)?;
        }
        let mut content = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        read_exact_at(file.as_ref(), &mut content, 0)?;
        let mut state = State::default();
        let mut rest = &content[..];
        while let Some(changes) = take_batch(&mut rest) {
            changes.iter().for_each(|change| apply(&mut state.map, change));
            state.end = (content.len() - rest.len()) as u64;
        }
        file.set_len(state.end)?;
        // Only the process may have died: then batches are here that are not durable yet.
        file.sync()?;
        Ok(Self { file, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(map: &mut BTreeMap<Vec<u8>, Vec<u8>>, change: &Change) {
    match change {
        Change::Put { key, value } => {
            map.insert(key.clone(), value.clone());
        }
        Change::Delete { key } => {
            map.remove(key);
        }
        Change::DeleteRange { from, to } => map.retain(|key, _| !(from..to).contains(&key)),
    }
}

/// A batch is its length, its CRC-32C, and its changes.
fn encode_batch(changes: &[Change]) -> Vec<u8> {
    let mut body = Vec::new();
    for change in changes {
        let (kind, first, second) = match change {
            Change::Put { key, value } => (0, key, &value[..]),
            Change::Delete { key } => (1, key, &[][..]),
            Change::DeleteRange { from, to } => (2, from, &to[..]),
        };
        body.put_u8(kind);
        for part in [&first[..], second] {
            body.put_u32(u32::try_from(part.len()).unwrap_or(u32::MAX));
            body.put_slice(part);
        }
    }
    let mut batch = Vec::with_capacity(body.len() + 8);
    batch.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    batch.put_u32(crc32c::crc32c(&body));
    batch.extend_from_slice(&body);
    batch
}

fn take_batch(rest: &mut &[u8]) -> Option<Vec<Change>> {
    let mut ahead = *rest;
    let (size, crc) = (ahead.try_get_u32().ok()? as usize, ahead.try_get_u32().ok()?);
    let mut body = ahead.split_off(..size)?;
    if crc32c::crc32c(body) != crc || body.is_empty() {
        return None;
    }
    let mut changes = Vec::new();
    while body.has_remaining() {
        let kind = body.try_get_u8().ok()?;
        let (first, second) = (take_part(&mut body)?, take_part(&mut body)?);
        changes.push(match kind {
            0 => Change::Put { key: first, value: second },
            1 => Change::Delete { key: first },
            _ => Change::DeleteRange { from: first, to: second },
        });
    }
    *rest = ahead;
    Some(changes)
}

fn take_part(body: &mut &[u8]) -> Option<Vec<u8>> {
    let size = body.try_get_u32().ok()? as usize;
    body.split_off(..size).map(<[u8]>::to_vec)
}

impl KeyValue for JournalKv {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().map.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], count_max: usize) -> io::Result<Pairs> {
        let state = self.lock();
        let range = (Bound::Included(from), Bound::Excluded(to));
        let pairs = state.map.range::<[u8], _>(range).take(count_max);
        Ok(pairs.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let state = self.lock();
        let range = (Bound::Included(from), Bound::Excluded(to));
        let last = state.map.range::<[u8], _>(range).next_back();
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn write(&self, changes: &[Change]) -> io::Result<()> {
        if changes.is_empty() {
            // A batch of nothing looks like the end.
            return Ok(());
        }
        let batch = encode_batch(changes);
        let mut state = self.lock();
        self.file.write_all_at(&[IoSlice::new(&batch)], state.end)?;
        self.file.sync()?;
        state.end += batch.len() as u64;
        changes.iter().for_each(|change| apply(&mut state.map, change));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::disk::RealDisk;
    use crate::base::kv::rocks::RocksKv;

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let key = || proptest::collection::vec(0u8..4, 0..3);
        let change = prop_oneof![
            (key(), key()).prop_map(|(key, value)| Change::Put { key, value }),
            key().prop_map(|key| Change::Delete { key }),
            // RocksDB refuses a range whose end is before its start.
            (key(), key()).prop_map(|(a, b)| Change::DeleteRange {
                from: a.clone().min(b.clone()),
                to: a.max(b)
            }),
        ];
        proptest::collection::vec(change, 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn both_stores_answer_alike_also_after_a_restart(
            batches in proptest::collection::vec(changes(), 1..12),
        ) {
            let (journal_dir, rocks_dir) =
                (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
            let (from, to) = (vec![1], vec![3, 1]);
            for _restart in 0..2 {
                let journal = JournalKv::open(&RealDisk, journal_dir.path()).expect("open");
                let rocks = RocksKv::open(rocks_dir.path()).expect("open");
                for batch in &batches {
                    journal.write(batch).expect("written");
                    rocks.write(batch).expect("written");
                }
                for count_max in [1, 3, 1000] {
                    let scans = [&journal as &dyn KeyValue, &rocks]
                        .map(|kv| kv.scan(&from, &to, count_max).expect("scanned"));
                    prop_assert_eq!(&scans[0], &scans[1]);
                }
                prop_assert_eq!(
                    journal.last(&from, &to).expect("last"), rocks.last(&from, &to).expect("last")
                );
                prop_assert_eq!(journal.get(&[2]).expect("got"), rocks.get(&[2]).expect("got"));
            }
        }
    }
}

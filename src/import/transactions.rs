//! What that cluster's transaction coordinators had decided and perhaps not told all partitions
//! yet: the latest records of `__transaction_state` (`TransactionLogValue.json`), as far as it is
//! here.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::{Buf, Bytes};

use crate::base::disk::Disk;
use crate::base::ids::PartitionIndex;
use crate::base::primitives::Reader;
use crate::import::batches::{self, End};
use crate::log::import::Decided;
use crate::log::records;
use crate::log::records::marker::Ending;

/// The topic of transaction coordinators.
pub(super) const TOPIC: &str = "__transaction_state";

/// The first flexible version of a value, and the newest that is known here.
const FIRST_FLEXIBLE: i16 = 1;
const PREPARE_COMMIT: i8 = 2;
const PREPARE_ABORT: i8 = 3;

/// A transaction whose end is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Transaction {
    producer_id: i64,
    decided: Decided,
    partitions: Vec<(String, PartitionIndex)>,
}

/// By partition and producer.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    by_partition: BTreeMap<(String, PartitionIndex), BTreeMap<i64, Decided>>,
}

impl Decisions {
    /// Of one partition.
    pub(super) fn of(&self, topic: &str, partition: PartitionIndex) -> BTreeMap<i64, Decided> {
        self.by_partition.get(&(topic.to_owned(), partition)).cloned().unwrap_or_default()
    }

    /// Adds what a partition of the topic says; what was cut of its end.
    pub(super) fn read(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        end: End,
    ) -> io::Result<Option<String>> {
        let mut latest: BTreeMap<Bytes, Option<Transaction>> = BTreeMap::new();
        let files = batches::segments(disk, dir)?;
        let cut = batches::read(disk, &files, end, |path, batch| {
            if batch.header().is_control() {
                return Ok(());
            }
            for record in records::key_values(&batch.to_bytes())? {
                let Some(key) = record.key else { continue };
                let value = record.value.map_or(Some(None), decode).ok_or_else(|| {
                    let path = path.display();
                    batches::invalid(format!("{path}: a record that is not understood"))
                })?;
                latest.insert(key, value);
            }
            Ok(())
        })?;
        for transaction in latest.into_values().flatten() {
            for place in transaction.partitions {
                let decided = self.by_partition.entry(place).or_default();
                decided.insert(transaction.producer_id, transaction.decided);
            }
        }
        Ok(cut)
    }
}

/// The transaction of a value if its end is decided; the outer `None` is an error.
fn decode(mut value: Bytes) -> Option<Option<Transaction>> {
    let version = value.try_get_i16().ok()?;
    if !(0..=FIRST_FLEXIBLE).contains(&version) {
        return None;
    }
    let mut read = Reader::new(value, version >= FIRST_FLEXIBLE);
    let (producer_id, producer_epoch) = (read.i64()?, read.i16()?);
    let (_timeout_ms, status) = (read.i32()?, read.i8()?);
    let topics = read.nullable_array(6, |read| {
        let topic = read.string()?;
        let partitions = read.array(4, Reader::i32)?;
        read.skip_tagged()?;
        Some((topic, partitions))
    })?;
    let ending = match status {
        PREPARE_COMMIT => Ending::Committed,
        PREPARE_ABORT => Ending::Aborted,
        _ => return Some(None),
    };
    let partitions = topics.into_iter().flatten().flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |partition| (topic.clone(), partition))
    });
    Some(Some(Transaction {
        producer_id,
        decided: Decided { producer_epoch, ending },
        partitions: partitions.collect(),
    }))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;
    use crate::base::disk::OpenMode;
    use crate::base::primitives::Writer;
    use crate::log::records::build::{NewRecord, batch};
    use crate::sim::disk::SimDisk;

    fn value(version: i16, producer_id: i64, status: i8, topics: Option<&[(&str, i32)]>) -> Bytes {
        let flexible = version >= FIRST_FLEXIBLE;
        let mut out = Writer::new(BytesMut::new(), flexible);
        out.out.put_i16(version);
        out.out.put_i64(producer_id);
        out.out.put_i16(4);
        out.out.put_i32(60_000);
        out.out.put_i8(status);
        match topics {
            None => out.null_array(),
            Some(topics) => {
                out.array_length(topics.len());
                for (topic, partition) in topics {
                    out.string(topic);
                    out.array_length(1);
                    out.out.put_i32(*partition);
                    out.no_tagged();
                }
            }
        }
        out.out.put_i64(1);
        out.out.put_i64(2);
        out.no_tagged();
        out.out.freeze()
    }

    fn read(records: &[(&str, Option<Bytes>)], tail: &[u8], end: End) -> io::Result<Decisions> {
        let disk = SimDisk::new(1);
        let dir = Path::new("/kafka/__transaction_state-0");
        disk.create_dir_all(dir).expect("a folder");
        let record = |(key, value): &(&str, Option<Bytes>)| NewRecord {
            key: key.as_bytes().to_vec().into(),
            value: value.clone(),
        };
        let records: Vec<NewRecord> = records.iter().map(record).collect();
        let bytes = batch(&records, 1_000).expect("a batch").to_bytes();
        let path = dir.join("00000000000000000000.log");
        let file = disk.open(&path, OpenMode::Create).expect("a file");
        let bytes = [&bytes[..], tail].concat();
        file.write_all_at(&[io::IoSlice::new(&bytes)], 0).expect("written");
        let mut decisions = Decisions::default();
        decisions.read(&disk, dir, end)?;
        Ok(decisions)
    }

    #[test]
    fn the_latest_record_of_each_transaction_counts() {
        for version in [0, 1] {
            let on = Some(&[("t", 3), ("u", 0)][..]);
            let found = read(
                &[
                    ("a", Some(value(version, 1, PREPARE_COMMIT, on))),
                    ("b", Some(value(version, 2, PREPARE_COMMIT, on))),
                    ("c", Some(value(version, 3, PREPARE_ABORT, on))),
                    // Ongoing, complete, gone.
                    ("d", Some(value(version, 4, 1, on))),
                    ("b", Some(value(version, 2, 4, None))),
                    ("e", Some(value(version, 5, PREPARE_COMMIT, on))),
                    ("e", None),
                ],
                &[],
                End::Whole,
            );
            let found = found.expect("read");
            let decided = |ending| Decided { producer_epoch: 4, ending };
            let expected: BTreeMap<i64, Decided> =
                [(1, decided(Ending::Committed)), (3, decided(Ending::Aborted))].into();
            assert_eq!(found.of("t", 3), expected);
            assert_eq!(found.of("u", 0), expected);
            assert!(found.of("t", 0).is_empty());
        }
    }

    #[test]
    fn what_is_not_understood_is_told() {
        let on = Some(&[("t", 3)][..]);
        let newer = ("a", Some(value(2, 1, PREPARE_COMMIT, on)));
        assert!(read(&[newer], &[], End::Anywhere).is_err());
        let known = ("a", Some(value(1, 1, PREPARE_COMMIT, on)));
        assert!(read(std::slice::from_ref(&known), &[0; 70], End::Whole).is_err());
        let whole = read(&[known], &[0; 70], End::MayBeTorn).expect("read up to the damage");
        assert_eq!(whole.of("t", 3).len(), 1);
    }
}

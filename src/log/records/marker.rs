//! The markers that end transactions (`EndTransactionMarker`, `ControlRecordType`): control batches
//! of one record. Its key is a version and a type, its value a version and the epoch of the
//! transaction coordinator.

use bytes::{Buf, BufMut, Bytes};

use crate::log::batch::Batch;
use crate::log::records::build::{self, NewRecord};
use crate::log::records::key_values;

const VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Aborted,
    Committed,
}

/// What a marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub ending: Ending,
    pub coordinator_epoch: i32,
}

impl Marker {
    /// The marker that a batch is. `None`: it is none, or one of which compaction has left nothing
    /// but the header.
    pub fn of(batch: &Batch) -> Option<Self> {
        let header = batch.header();
        if !header.is_control() || !header.has_producer_id() || header.record_count == 0 {
            return None;
        }
        let record = key_values(&batch.to_bytes()).ok()?.into_iter().next()?;
        Self::decode(&record.key?, record.value.as_ref())
    }

    fn decode(mut key: &[u8], value: Option<&Bytes>) -> Option<Self> {
        // Newer versions may only add what is not looked at here.
        let _version = key.try_get_i16().ok()?;
        let ending = match key.try_get_i16().ok()? {
            ABORT => Ending::Aborted,
            COMMIT => Ending::Committed,
            // Other control records are Raft's of Kafka, and end nothing.
            _ => return None,
        };
        let mut value = value.map(|value| &value[..]).unwrap_or_default();
        let _version = value.try_get_i16().ok()?;
        Some(Self { ending, coordinator_epoch: value.try_get_i32().ok()? })
    }

    /// The batch that ends the transaction of a producer.
    pub fn batch(&self, producer_id: i64, producer_epoch: i16, timestamp_ms: i64) -> Option<Batch> {
        let mut key = Vec::with_capacity(4);
        key.put_i16(VERSION);
        key.put_i16(match self.ending {
            Ending::Aborted => ABORT,
            Ending::Committed => COMMIT,
        });
        let mut value = Vec::with_capacity(6);
        value.put_i16(VERSION);
        value.put_i32(self.coordinator_epoch);
        let record = NewRecord { key: key.into(), value: Some(value.into()) };
        Some(build::batch(&[record], timestamp_ms)?.as_marker(producer_id, producer_epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::tests::{Sample, batch, encode};

    /// What Apache Kafka 4.3.1 wrote at offset 5 when a transaction of producer 1 was aborted.
    const GOLDEN: &str = "\
        0000000000000005000000420000000002d3bc7551003000000000000001a224d446ca000001a2\
        24d446ca00000000000000010000ffffffff000000012000000008000000000c00000000000000";

    fn bytes_of(hex: &str) -> Bytes {
        let digits = hex.as_bytes().chunks(2);
        let byte = |pair: &[u8]| {
            u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hex")
        };
        digits.map(byte).collect::<Vec<u8>>().into()
    }

    #[test]
    fn a_marker_is_written_as_kafka_writes_it() {
        let golden = bytes_of(GOLDEN);
        let batch = Batch::take(&mut golden.clone()).expect("a batch");
        let marker = Marker { ending: Ending::Aborted, coordinator_epoch: 0 };
        assert_eq!(Marker::of(&batch), Some(marker));
        let time_ms = batch.header().max_timestamp_ms;
        let mut made = marker.batch(1, 0, time_ms).expect("a batch");
        made.assign(5, 0);
        assert_eq!(made.to_bytes(), golden);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for ending in [Ending::Aborted, Ending::Committed] {
            let marker = Marker { ending, coordinator_epoch: 5 };
            let batch = marker.batch(1, 2, 3).expect("a batch");
            let header = batch.header();
            assert!(header.is_control() && header.is_transactional());
            assert_eq!((header.producer_id, header.producer_epoch), (1, 2));
            assert_eq!(Marker::of(&batch), Some(marker));
        }
    }

    #[test]
    fn other_batches_are_no_markers() {
        assert_eq!(Marker::of(&batch(1, Sample::default())), None);
        // A leader change, as Kafka's own Raft writes it, has no producer.
        let control = Sample { attributes: 1 << 5, ..Sample::default() };
        assert_eq!(Marker::of(&batch(1, control)), None);
        let garbage = Sample { producer: (1, 0, -1), attributes: 3 << 4, ..Sample::default() };
        let garbage = Batch::take(&mut encode(&[b"garbage"], garbage)).expect("a batch");
        assert_eq!(Marker::of(&garbage), None);
        let unknown = Marker::decode(&[0, 0, 0, 2], Some(&Bytes::from_static(&[0; 6])));
        assert_eq!(unknown, None);
    }
}

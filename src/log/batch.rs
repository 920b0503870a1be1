//! A record batch (magic 2) as bytes plus a view of its 61-byte header. The records themselves are
//! never decoded here.
//!
//! Layout, big-endian (Kafka's `DefaultRecordBatch`): base offset 8, length 4 (of what follows),
//! partition leader epoch 4, magic 1, CRC-32C 4 (over everything after it), attributes 2, last
//! offset delta 4, base timestamp 8, max timestamp 8, producer id 8, producer epoch 2, base
//! sequence 4, record count 4, records. Base offset and leader epoch lie outside the CRC, which is
//! why a broker can set them without touching the rest.

use bytes::{Buf, Bytes};

use crate::base::ids::{LeaderEpoch, Offset};

/// Size of the header, records excluded.
pub const HEADER_BYTES: usize = 61;
/// Size of base offset and length: what the length field does not count.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the CRC's input begins.
const CRC_INPUT_START: usize = 21;
/// The only record format this broker keeps.
pub const MAGIC: i8 = 2;
/// A producer that is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// "No sequence": of batches that are not retried by their producers.
pub const NO_SEQUENCE: i32 = -1;
/// "No timestamp", and the lower bound of timestamps.
pub const NO_TIMESTAMP_MS: i64 = -1;

const CODEC_MASK: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

/// The decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes after the length field.
    pub length: i32,
    pub leader_epoch: LeaderEpoch,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads a header; `None` if there are fewer than [`HEADER_BYTES`].
    pub fn parse(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES {
            return None;
        }
        Some(Self {
            base_offset: bytes.get_i64(),
            length: bytes.get_i32(),
            leader_epoch: bytes.get_i32(),
            magic: bytes.get_i8(),
            crc: bytes.get_u32(),
            attributes: bytes.get_i16(),
            last_offset_delta: bytes.get_i32(),
            base_timestamp_ms: bytes.get_i64(),
            max_timestamp_ms: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            record_count: bytes.get_i32(),
        })
    }

    /// The whole batch's size in bytes, as its length field says; 0 if that is negative.
    pub fn size(&self) -> usize {
        usize::try_from(self.length).map_or(0, |length| length + LENGTH_PREFIX_BYTES)
    }

    /// The checksum of the header's own part of what the CRC covers; goes on with the records.
    pub fn checksum_begun(head: &[u8; HEADER_BYTES]) -> u32 {
        let (_, covered) = head.split_at(CRC_INPUT_START);
        crc32c::crc32c(covered)
    }

    pub fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Codec number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> i16 {
        self.attributes & CODEC_MASK
    }

    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// The largest timestamp of its records, in ms, if it has any.
    pub fn newest_ms(&self) -> Option<i64> {
        (self.record_count > 0).then_some(self.max_timestamp_ms)
    }

    /// From when on compaction drops its tombstones, in ms (KIP-534). It stands in the place of the
    /// base timestamp.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp_ms)
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id != NO_PRODUCER_ID
    }

    /// The sequence number of the last record; wraps as Kafka's does.
    pub fn last_sequence(&self) -> i32 {
        sequence_add(self.base_sequence, self.last_offset_delta)
    }
}

/// `sequence + by`, wrapping from `i32::MAX` to 0 (`DefaultRecordBatch.incrementSequence`).
pub fn sequence_add(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    let wrapped = if sum > i64::from(i32::MAX) { sum - i64::from(i32::MAX) - 1 } else { sum };
    i32::try_from(wrapped).unwrap_or(i32::MAX)
}

/// One batch: its header in a place of its own, so that offset and epoch can be set, and its
/// records as a slice of the buffer that came from the socket or the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    head: [u8; HEADER_BYTES],
    records: Bytes,
    header: BatchHeader,
}

/// What is left of a batch's header when some records are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub record_count: i32,
    pub base_timestamp_ms: i64,
    pub base_is_delete_horizon: bool,
    pub max_timestamp_ms: i64,
}

/// Why bytes are no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than the header or its length field says.
    Truncated,
    /// A length too small for the header.
    Length,
    /// Another record format.
    Magic(i8),
    /// The checksum differs.
    Crc,
}

impl Batch {
    /// Takes the first batch of `bytes` and leaves the rest there. The checksum is verified.
    pub fn take(bytes: &mut Bytes) -> Result<Self, BatchError> {
        // The magic stands at one place in all formats, so an old one is told from garbage.
        match bytes.get(16) {
            None => return Err(BatchError::Truncated),
            Some(magic) if *magic != MAGIC.cast_unsigned() => {
                return Err(BatchError::Magic(magic.cast_signed()));
            }
            Some(_) => {}
        }
        let header = BatchHeader::parse(bytes).ok_or(BatchError::Truncated)?;
        if header.size() < HEADER_BYTES {
            return Err(BatchError::Length);
        }
        if header.size() > bytes.len() {
            return Err(BatchError::Truncated);
        }
        let whole = bytes.split_to(header.size());
        let mut head = [0; HEADER_BYTES];
        head.copy_from_slice(whole.get(..HEADER_BYTES).ok_or(BatchError::Truncated)?);
        let batch = Self { head, records: whole.slice(HEADER_BYTES..), header };
        if batch.checksum() != header.crc {
            return Err(BatchError::Crc);
        }
        Ok(batch)
    }

    fn checksum(&self) -> u32 {
        crc32c::crc32c_append(BatchHeader::checksum_begun(&self.head), &self.records)
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub fn head(&self) -> &[u8; HEADER_BYTES] {
        &self.head
    }

    /// The whole batch in one piece.
    pub fn to_bytes(&self) -> Bytes {
        [&self.head[..], &self.records].concat().into()
    }

    /// The encoded records, perhaps compressed.
    pub fn records(&self) -> &Bytes {
        &self.records
    }

    /// The whole batch's size in bytes.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// Sets the two fields that the leader assigns.
    pub fn assign(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        self.header.base_offset = base_offset;
        self.header.leader_epoch = leader_epoch;
        let (offset, rest) = self.head.split_at_mut(8);
        offset.copy_from_slice(&base_offset.to_be_bytes());
        if let Some(epoch) = rest.get_mut(4..8) {
            epoch.copy_from_slice(&leader_epoch.to_be_bytes());
        }
    }

    /// The same batch with its records in another codec.
    pub fn with_records(&self, codec: i16, records: Bytes) -> Self {
        let mut batch = Self { records, ..self.clone() };
        let length = HEADER_BYTES - LENGTH_PREFIX_BYTES + batch.records.len();
        batch.header.length = i32::try_from(length).unwrap_or(i32::MAX);
        batch.put_field(8, &batch.header.length.to_be_bytes());
        batch.set_attributes(batch.header.attributes & !CODEC_MASK | codec & CODEC_MASK);
        batch
    }

    /// The same batch with some of its records: their number, the timestamps of the batch and
    /// whether the first of those is a delete horizon change with them; first and last offset,
    /// sequence and codec stay.
    pub fn with_some_records(&self, records: Bytes, kept: &Kept) -> Self {
        let codec = self.header.codec();
        let mut batch = self.clone();
        batch.header.base_timestamp_ms = kept.base_timestamp_ms;
        batch.header.max_timestamp_ms = kept.max_timestamp_ms;
        batch.header.record_count = kept.record_count;
        let horizon = if kept.base_is_delete_horizon { DELETE_HORIZON } else { 0 };
        batch.header.attributes = batch.header.attributes & !DELETE_HORIZON | horizon;
        batch.put_field(27, &kept.base_timestamp_ms.to_be_bytes());
        batch.put_field(35, &kept.max_timestamp_ms.to_be_bytes());
        batch.put_field(57, &kept.record_count.to_be_bytes());
        batch.with_records(codec, records)
    }

    /// The same records as a control batch of a producer's transaction, which has no sequence.
    pub fn as_marker(&self, producer_id: i64, producer_epoch: i16) -> Self {
        let mut batch = self.clone();
        batch.header.producer_id = producer_id;
        batch.header.producer_epoch = producer_epoch;
        batch.header.base_sequence = NO_SEQUENCE;
        batch.put_field(43, &producer_id.to_be_bytes());
        batch.put_field(51, &producer_epoch.to_be_bytes());
        batch.put_field(53, &NO_SEQUENCE.to_be_bytes());
        batch.set_attributes(batch.header.attributes | TRANSACTIONAL | CONTROL);
        batch
    }

    /// Writes attributes and the checksum that follows from them.
    fn set_attributes(&mut self, attributes: i16) {
        self.header.attributes = attributes;
        self.put_field(21, &attributes.to_be_bytes());
        self.header.crc = self.checksum();
        self.put_field(17, &self.header.crc.to_be_bytes());
    }

    /// Writes a field of the header where it stands in the bytes.
    fn put_field(&mut self, at: usize, bytes: &[u8]) {
        if let Some(field) = self.head.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }

    /// Makes the batch one of LogAppendTime: all its records are as old as `now_ms` says. Readers
    /// take the max timestamp then; the deltas in the records stay.
    pub fn set_log_append_time(&mut self, now_ms: i64) {
        self.header.max_timestamp_ms = now_ms;
        self.put_field(35, &now_ms.to_be_bytes());
        self.set_attributes(self.header.attributes | LOG_APPEND_TIME);
    }

    /// Makes the batch one of CreateTime, whose records are at most as new as `newest_ms` says, if
    /// that is known.
    pub fn set_create_time(&mut self, newest_ms: Option<i64>) {
        let newest_ms = newest_ms.unwrap_or(self.header.max_timestamp_ms);
        let is_told = newest_ms == self.header.max_timestamp_ms;
        if !is_told || self.header.is_log_append_time() {
            self.header.max_timestamp_ms = newest_ms;
            self.put_field(35, &newest_ms.to_be_bytes());
            self.set_attributes(self.header.attributes & !LOG_APPEND_TIME);
        }
    }

    /// Takes away a delete horizon: only compaction sets one.
    pub fn clear_delete_horizon(&mut self) {
        if self.header.delete_horizon_ms().is_some() {
            self.set_attributes(self.header.attributes & !DELETE_HORIZON);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! What a batch must be like to be appended (Kafka's `LogValidator` and `UnifiedLog.append`).
//! Records are looked at where nothing is compressed or where the topic's settings ask for it; else
//! the header alone counts.

use std::fmt::Display;

use bytes::Bytes;

use crate::config::{CompressionType, TimestampType, TopicConfig};
use crate::log::batch::{Batch, BatchError, BatchHeader, NO_TIMESTAMP_MS};
use crate::log::records::Levels;
use crate::log::records::examine::{
    Demands, Findings, Unfit, Wrong, WrongRecord, examined, recompressed,
};

/// Why a batch is refused. `api` knows the codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// What was sent is not one batch.
    Request(String),
    Corrupt(String),
    Record(String),
    /// Larger than `max.message.bytes`.
    TooLarge(String),
    /// Larger than a segment.
    TooLargeForSegment(String),
    Timestamp(String),
    Codec(String),
    Records(WrongRecords),
}

/// Records that are each wrong for themselves; the batch is refused for them as a whole (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongRecords {
    /// The first of them, at least one.
    pub first: Vec<WrongRecord>,
    /// How many there are in all.
    pub count: usize,
    /// Between which timestamps, in milliseconds, theirs should lie.
    pub timestamps_ms: (i64, i64),
}

impl WrongRecords {
    pub fn has_timestamp(&self) -> bool {
        self.first.iter().any(|record| matches!(record.why, Wrong::Timestamp(_)))
    }

    /// What is wrong with one of them, in Kafka's words.
    pub fn reason(&self, record: &WrongRecord, partition: &impl Display) -> String {
        let (oldest_ms, newest_ms) = self.timestamps_ms;
        match record.why {
            Wrong::Keyless => format!(
                "Compacted topic cannot accept message without key in topic partition {partition}"
            ),
            Wrong::Timestamp(timestamp_ms) => format!(
                "Timestamp {timestamp_ms} of message with offset {} is out of range. \
                 The timestamp should be within [{oldest_ms}, {newest_ms}]",
                record.index
            ),
        }
    }
}

/// Batches of that size are worth a thread of their own when they are packed,
const LABORIOUS_BYTES: usize = 16 * 1024;
/// ... and of that size when they are unpacked: a kilobyte may hold a hundred megabytes.
const LABORIOUS_PACKED_BYTES: usize = 256;

/// Whether [`batch`] may take so long that others should not wait for it.
pub fn is_laborious(records: &[u8], config: &TopicConfig, now_ms: i64) -> bool {
    let Some(header) = BatchHeader::parse(records) else { return false };
    let is_packed = new_codec(&header, config).is_some();
    let is_looked_at = is_looked_at(&header, config, &demands(config, now_ms));
    let is_unpacked = header.codec() != 0 && (is_packed || is_looked_at);
    is_packed && records.len() >= LABORIOUS_BYTES
        || is_unpacked && records.len() >= LABORIOUS_PACKED_BYTES
}

/// The codec that the records are to be kept in, if it is another one.
fn new_codec(header: &BatchHeader, config: &TopicConfig) -> Option<i16> {
    codec_of(config.compression_type).filter(|codec| *codec != header.codec())
}

/// What a topic demands of each record.
fn demands(config: &TopicConfig, now_ms: i64) -> Demands {
    let keyed = config.cleanup_policy.compact;
    match config.message_timestamp_type {
        TimestampType::LogAppendTime => Demands { keyed, ..Demands::default() },
        TimestampType::CreateTime => {
            let oldest_ms = now_ms.saturating_sub(config.message_timestamp_before_max_ms);
            let newest_ms = now_ms.saturating_add(config.message_timestamp_after_max_ms);
            Demands { keyed, timestamps_ms: (oldest_ms, newest_ms) }
        }
    }
}

/// Whether there is reason to look at the records. What a producer has compressed stays unread
/// otherwise: its header says which timestamps there are at most, though not which at least.
fn is_looked_at(header: &BatchHeader, config: &TopicConfig, demands: &Demands) -> bool {
    let is_create_time = config.message_timestamp_type == TimestampType::CreateTime;
    let has_oldest = config.message_timestamp_before_max_ms < i64::MAX;
    let (_, newest_ms) = demands.timestamps_ms;
    let newest_is_wrong =
        header.max_timestamp_ms < NO_TIMESTAMP_MS || header.max_timestamp_ms > newest_ms;
    header.codec() == 0 || demands.keyed || is_create_time && (has_oldest || newest_is_wrong)
}

/// Takes the one batch of a produce request's partition, as it will be appended.
pub fn batch(records: Bytes, config: &TopicConfig, now_ms: i64) -> Result<Batch, Invalid> {
    let mut rest = records;
    if rest.is_empty() {
        return Err(Invalid::Request("a produce request must hold one batch, not none".to_owned()));
    }
    let mut batch = Batch::take(&mut rest).map_err(of_batch_error)?;
    if !rest.is_empty() {
        let text = "a produce request must hold exactly one batch per partition";
        return Err(Invalid::Request(text.to_owned()));
    }
    check_size(&batch, config)?;
    check_header(batch.header())?;
    check_codec(batch.header())?;
    let came = *batch.header();
    let newest_ms = look(&mut batch, config, now_ms)?;
    batch.clear_delete_horizon();
    match config.message_timestamp_type {
        TimestampType::LogAppendTime if came.is_log_append_time() => {
            let text = "a producer must not set the timestamp type to LogAppendTime";
            return Err(Invalid::Timestamp(text.to_owned()));
        }
        TimestampType::LogAppendTime => batch.set_log_append_time(now_ms),
        TimestampType::CreateTime => batch.set_create_time(newest_ms),
    }
    Ok(batch)
}

/// Looks at the records, and packs them in the codec of the topic, if there is reason to. Gives the
/// largest timestamp, if it was looked for.
fn look(batch: &mut Batch, config: &TopicConfig, now_ms: i64) -> Result<Option<i64>, Invalid> {
    let header = batch.header();
    let demands = demands(config, now_ms);
    let size_max = config.max_message_bytes.min(config.segment_bytes);
    let findings = if let Some(codec) = new_codec(header, config) {
        let levels = Levels {
            gzip: config.compression_gzip_level,
            lz4: config.compression_lz4_level,
            zstd: config.compression_zstd_level,
        };
        let (packed, findings) = recompressed(batch, codec, levels, size_max as usize, demands)
            .map_err(|unfit| of_unfit(unfit, size_max))?;
        *batch = packed;
        findings
    } else if is_looked_at(header, config, &demands) {
        examined(batch, demands).map_err(|unfit| of_unfit(unfit, size_max))?
    } else {
        return Ok(None);
    };
    let Findings { newest_ms, wrong, wrong_count } = findings;
    if !wrong.is_empty() {
        let timestamps_ms = demands.timestamps_ms;
        return Err(Invalid::Records(WrongRecords {
            first: wrong,
            count: wrong_count,
            timestamps_ms,
        }));
    }
    Ok(Some(newest_ms.map_or(NO_TIMESTAMP_MS, |newest_ms| newest_ms.max(NO_TIMESTAMP_MS))))
}

fn of_unfit(unfit: Unfit, size_max: u32) -> Invalid {
    match unfit {
        Unfit::Malformed => {
            Invalid::Record("the records are not those that the header says".to_owned())
        }
        Unfit::TooLarge => Invalid::TooLarge(format!(
            "the batch has more than {size_max} bytes in the codec of the topic, \
             or unpacks to more than is allowed"
        )),
    }
}

fn of_batch_error(error: BatchError) -> Invalid {
    match error {
        BatchError::Magic(0 | 1) => {
            Invalid::Request("the record formats 0 and 1 are not kept any more".to_owned())
        }
        BatchError::Magic(magic) => Invalid::Corrupt(format!("unknown record format {magic}")),
        BatchError::Crc => Invalid::Corrupt("the checksum of the batch differs".to_owned()),
        BatchError::Length => Invalid::Corrupt("no batch has the length that it says".to_owned()),
        BatchError::Truncated => Invalid::Request("the batch is not as long as it says".to_owned()),
    }
}

fn check_size(batch: &Batch, config: &TopicConfig) -> Result<(), Invalid> {
    let size = batch.size();
    if size as u64 > u64::from(config.max_message_bytes) {
        let max = config.max_message_bytes;
        return Err(Invalid::TooLarge(format!(
            "the batch has {size} bytes, more than max.message.bytes={max}"
        )));
    }
    if size as u64 > u64::from(config.segment_bytes) {
        let text = format!("the batch of {size} bytes exceeds segment.bytes");
        return Err(Invalid::TooLargeForSegment(text));
    }
    Ok(())
}

fn check_header(header: &BatchHeader) -> Result<(), Invalid> {
    let refuse = |text: &str| Err(Invalid::Record(text.to_owned()));
    if header.base_offset != 0 {
        return refuse("the base offset of a produced batch must be 0");
    }
    if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
        return refuse("record count and last offset delta do not fit");
    }
    if header.is_control() {
        return refuse("clients may not write control batches");
    }
    if header.is_transactional() && !header.has_producer_id() {
        return refuse("a transactional batch must have a producer id");
    }
    if header.has_producer_id() && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return refuse("an idempotent batch must have a sequence and an epoch");
    }
    Ok(())
}

fn check_codec(header: &BatchHeader) -> Result<(), Invalid> {
    match header.codec() {
        0..=4 => Ok(()),
        codec => Err(Invalid::Codec(format!("unknown codec {codec}"))),
    }
}

/// The codec that a topic keeps its records in; `None` leaves them as they come.
fn codec_of(kept: CompressionType) -> Option<i16> {
    match kept {
        CompressionType::Producer => None,
        CompressionType::Uncompressed => Some(0),
        CompressionType::Gzip => Some(1),
        CompressionType::Snappy => Some(2),
        CompressionType::Lz4 => Some(3),
        CompressionType::Zstd => Some(4),
    }
}

#[cfg(test)]
mod tests;

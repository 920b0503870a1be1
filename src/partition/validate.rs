//! What a batch must be like to be appended (Kafka's `LogValidator` and `UnifiedLog.append`), told
//! from its header alone; records are walked only where nothing is compressed.

use bytes::Bytes;

use crate::config::{CompressionType, TimestampType, TopicConfig};
use crate::log::batch::{Batch, BatchError, BatchHeader, NO_TIMESTAMP_MS};
use crate::log::records;

/// Why a batch is refused. `api` knows the codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    Corrupt(String),
    Record(String),
    TooLarge(String),
    Format(String),
    Timestamp(String),
    Codec(String),
}

/// Takes the one batch of a produce request's partition, as it will be appended.
pub fn batch(records: Bytes, config: &TopicConfig, now_ms: i64) -> Result<Batch, Invalid> {
    let mut rest = records;
    if rest.is_empty() {
        return Err(Invalid::Record("a produce request must hold one batch, not none".to_owned()));
    }
    let mut batch = Batch::take(&mut rest).map_err(of_batch_error)?;
    if !rest.is_empty() {
        let text = "a produce request must hold exactly one batch per partition";
        return Err(Invalid::Record(text.to_owned()));
    }
    check_size(&batch, config)?;
    check_header(batch.header())?;
    if batch.header().codec() == 0
        && !records::count_is_true(batch.records(), batch.header().record_count)
    {
        return Err(Invalid::Record("the records are not those that the header says".to_owned()));
    }
    check_codec(batch.header())?;
    if config.cleanup_policy.compact {
        check_keys(&batch)?;
    }
    if let Some(codec) = codec_of(config.compression_type).filter(|c| *c != batch.header().codec())
    {
        batch = records::recompressed(&batch, codec).map_err(|_| unreadable())?;
    }
    match config.message_timestamp_type {
        TimestampType::LogAppendTime => batch.set_log_append_time(now_ms),
        TimestampType::CreateTime => {
            check_timestamp(batch.header(), config, now_ms)?;
            batch.set_create_time();
        }
    }
    Ok(batch)
}

fn of_batch_error(error: BatchError) -> Invalid {
    match error {
        BatchError::Magic(0 | 1) => {
            Invalid::Format("the record formats 0 and 1 are not kept any more".to_owned())
        }
        BatchError::Magic(magic) => Invalid::Record(format!("unknown record format {magic}")),
        BatchError::Crc => Invalid::Corrupt("the checksum of the batch differs".to_owned()),
        BatchError::Length | BatchError::Truncated => {
            Invalid::Corrupt("the batch is not as long as it says".to_owned())
        }
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
        return Err(Invalid::TooLarge(format!("the batch of {size} bytes exceeds segment.bytes")));
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

/// A record without a key can never be compacted away.
fn check_keys(batch: &Batch) -> Result<(), Invalid> {
    match records::all_keyed(batch) {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Invalid::Record("a compacted topic takes no records without a key".to_owned()))
        }
        Err(_) => Err(unreadable()),
    }
}

fn unreadable() -> Invalid {
    Invalid::Record("the records cannot be read".to_owned())
}

fn check_timestamp(header: &BatchHeader, config: &TopicConfig, now_ms: i64) -> Result<(), Invalid> {
    let (oldest, newest) = (
        now_ms.saturating_sub(config.message_timestamp_before_max_ms),
        now_ms.saturating_add(config.message_timestamp_after_max_ms),
    );
    for timestamp_ms in [header.base_timestamp_ms, header.max_timestamp_ms] {
        if timestamp_ms != NO_TIMESTAMP_MS && !(oldest..=newest).contains(&timestamp_ms) {
            return Err(Invalid::Timestamp(format!(
                "timestamp {timestamp_ms} is out of range: it must be within [{oldest}, {newest}]"
            )));
        }
    }
    if header.max_timestamp_ms < NO_TIMESTAMP_MS {
        return Err(Invalid::Timestamp("negative timestamp".to_owned()));
    }
    Ok(())
}

//! Dropping records from a batch, as compaction does (Kafka's `MemoryRecords.filterTo`).

use std::io;
use std::ops::ControlFlow;

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::ids::Offset;
use crate::log::batch::{Batch, BatchHeader, Kept};
use crate::log::records::build::put_varint;
use crate::log::records::{Malformed, codec, take_record, varint};

/// A record on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    pub offset: Offset,
    pub key: Option<&'a [u8]>,
    /// A record without a value is a tombstone.
    pub has_value: bool,
}

/// What is left of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// All of it, as it is.
    Same,
    Changed(Batch),
    Nothing,
}

/// A record that stays: its timestamp, and its bytes around that.
struct Stays<'a> {
    attributes: u8,
    timestamp_ms: i64,
    rest: &'a [u8],
    has_value: bool,
}

/// How a batch is filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From when on tombstones that stay may be dropped, unless their batch says so already.
    pub horizon_ms: i64,
    /// Where no record is left, the batch's header stays.
    pub keep_empty: bool,
    /// What stays gets a horizon in any case.
    pub needs_horizon: bool,
}

/// Keeps the records that `retain` wants.
pub fn filter(
    batch: &Batch,
    rules: &Rules,
    mut retain: impl FnMut(Candidate<'_>) -> bool,
) -> io::Result<Left> {
    let header = batch.header();
    let body = codec::unpack(header, batch.records().clone())?;
    let mut stays = Vec::new();
    for record in records(header, &body) {
        let (candidate, record) = record?;
        if retain(candidate) {
            stays.push(record);
        }
    }
    let is_whole = stays.len() == usize::try_from(header.record_count).unwrap_or(0);
    let has_tombstones = stays.iter().any(|record| !record.has_value);
    let needs_horizon =
        (has_tombstones || rules.needs_horizon) && header.delete_horizon_ms().is_none();
    let Some(first) = stays.first() else {
        return Ok(match (rules.keep_empty, is_whole) {
            (true, true) => Left::Same,
            (true, false) => Left::Changed(emptied(batch)),
            (false, _) => Left::Nothing,
        });
    };
    if is_whole && !needs_horizon {
        return Ok(Left::Same);
    }
    let base_timestamp_ms = match header.delete_horizon_ms() {
        Some(horizon_ms) => horizon_ms,
        None if needs_horizon => rules.horizon_ms,
        None => first.timestamp_ms,
    };
    let max_timestamp_ms = match header.is_log_append_time() {
        true => header.max_timestamp_ms,
        false => stays.iter().map(|record| record.timestamp_ms).max().unwrap_or_default(),
    };
    let kept = Kept {
        record_count: i32::try_from(stays.len()).unwrap_or(i32::MAX),
        base_timestamp_ms,
        base_is_delete_horizon: needs_horizon || header.delete_horizon_ms().is_some(),
        max_timestamp_ms,
    };
    let packed = codec::pack(header.codec(), &written(&stays, base_timestamp_ms, body.len()))?;
    Ok(Left::Changed(batch.with_some_records(packed, &kept)))
}

/// Shows the records of a batch one by one, until `each` has seen enough; whether it has.
pub fn candidates(
    batch: &Batch,
    mut each: impl FnMut(Candidate<'_>) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let body = codec::unpack(batch.header(), batch.records().clone())?;
    for record in records(batch.header(), &body) {
        let (candidate, _) = record?;
        if each(candidate).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The records of an unpacked body; nothing is to be believed behind an error.
fn records<'a>(
    header: &'a BatchHeader,
    body: &'a [u8],
) -> impl Iterator<Item = Result<(Candidate<'a>, Stays<'a>), Malformed>> {
    let mut rest = body;
    (0..header.record_count).map(move |_| {
        let record = take_record(&mut rest).ok_or(Malformed)?;
        parse(header, record).ok_or(Malformed)
    })
}

fn parse<'a>(header: &BatchHeader, record: &'a [u8]) -> Option<(Candidate<'a>, Stays<'a>)> {
    let mut left = record;
    let attributes = *left.split_off_first()?;
    let time_delta = varint(&mut left)?;
    let rest = left;
    let offset = header.base_offset.checked_add(varint(&mut left)?)?;
    let key = match usize::try_from(varint(&mut left)?) {
        Ok(size) => Some(left.split_off(..size)?),
        Err(_) => None,
    };
    let has_value = varint(&mut left)? >= 0;
    let timestamp_ms = header.base_timestamp_ms.wrapping_add(time_delta);
    let stays = Stays { attributes, timestamp_ms, rest, has_value };
    Some((Candidate { offset, key, has_value }, stays))
}

fn written(records: &[Stays<'_>], base_timestamp_ms: i64, size: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(size);
    let mut head = Vec::new();
    for record in records {
        head.clear();
        head.put_u8(record.attributes);
        put_varint(&mut head, record.timestamp_ms.wrapping_sub(base_timestamp_ms));
        put_varint(&mut out, i64::try_from(head.len() + record.rest.len()).unwrap_or(i64::MAX));
        out.extend_from_slice(&head);
        out.extend_from_slice(record.rest);
    }
    out
}

/// The header alone: it says which sequence its producer has reached.
fn emptied(batch: &Batch) -> Batch {
    let time_ms = batch.header().max_timestamp_ms;
    let kept = Kept {
        record_count: 0,
        base_timestamp_ms: time_ms,
        base_is_delete_horizon: false,
        max_timestamp_ms: time_ms,
    };
    batch.with_some_records(Bytes::new(), &kept).with_records(0, Bytes::new())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::records::build::{NewRecord, batch as built};
    use crate::log::records::{KeyValue, in_codec, key_values};

    const RULES: Rules = Rules { horizon_ms: 9_000, keep_empty: false, needs_horizon: false };

    fn read(batch: &Batch) -> Vec<KeyValue> {
        let whole: Bytes = [&batch.head()[..], batch.records()].concat().into();
        assert_eq!(&Batch::take(&mut whole.clone()).expect("a batch"), batch);
        key_values(&whole).expect("walked")
    }

    /// Records `0..count` with their number as key; every third one is a tombstone if wanted.
    fn sample(count: u8, tombstones: bool, codec: i16) -> Batch {
        let record = |number: u8| NewRecord {
            key: vec![number].into(),
            value: (!tombstones || !number.is_multiple_of(3)).then(|| vec![number; 40].into()),
        };
        let records: Vec<NewRecord> = (0..count).map(record).collect();
        let mut batch = built(&records, 1_000).expect("a batch");
        batch.assign(100, 3);
        in_codec(&batch, codec)
    }

    #[test]
    fn what_stays_keeps_offset_time_key_and_value() {
        for codec in 0..5 {
            for tombstones in [false, true] {
                let batch = sample(30, tombstones, codec);
                let wanted = |offset: Offset| offset % 4 != 0;
                let left = filter(&batch, &RULES, |record| wanted(record.offset));
                let Left::Changed(left) = left.expect("walked") else { panic!("nothing changed") };
                let (was, is) = (batch.header(), left.header());
                assert_eq!(
                    (is.base_offset, is.last_offset()),
                    (was.base_offset, was.last_offset())
                );
                assert_eq!((is.codec(), is.leader_epoch), (codec, 3));
                assert_eq!(is.delete_horizon_ms(), tombstones.then_some(9_000));
                let expected: Vec<KeyValue> =
                    read(&batch).into_iter().filter(|record| wanted(record.offset)).collect();
                assert_eq!(read(&left), expected);
            }
        }
    }

    #[test]
    fn a_batch_that_stays_whole_is_not_touched() {
        let batch = sample(5, false, 0);
        assert_eq!(filter(&batch, &RULES, |_| true).expect("walked"), Left::Same);
        let with_tombstones = sample(5, true, 0);
        let left = filter(&with_tombstones, &RULES, |_| true).expect("walked");
        let Left::Changed(left) = left else { panic!("the horizon is set") };
        assert_eq!(left.header().delete_horizon_ms(), Some(9_000));
        assert_eq!(read(&left), read(&with_tombstones));
        // The horizon is set once.
        assert_eq!(
            filter(&left, &Rules { horizon_ms: 99_000, ..RULES }, |_| true).expect("walked"),
            Left::Same
        );
    }

    #[test]
    fn the_header_of_an_empty_batch_stays_if_it_is_needed() {
        let batch = sample(5, false, 4);
        let keep_empty = Rules { keep_empty: true, ..RULES };
        assert_eq!(filter(&batch, &RULES, |_| false).expect("walked"), Left::Nothing);
        let left = filter(&batch, &keep_empty, |_| false).expect("walked");
        let Left::Changed(left) = left else { panic!("it is emptied") };
        let (was, is) = (batch.header(), left.header());
        assert_eq!((is.record_count, is.codec()), (0, 0));
        assert_eq!(
            (is.last_offset(), is.last_sequence()),
            (was.last_offset(), was.last_sequence())
        );
        assert_eq!(is.max_timestamp_ms, was.max_timestamp_ms);
        assert!(read(&left).is_empty());
        assert_eq!(filter(&left, &keep_empty, |_| false).expect("walked"), Left::Same);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let batch = sample(3, false, 0).with_records(0, bytes.into());
            let _ = filter(&batch, &RULES, |record| record.has_value);
        }
    }
}

//! One pass over the records of a batch that a client sends, while they are unpacked and perhaps
//! packed in another codec: never more of them is in memory than the codecs need
//! (`LogValidator.validateMessagesAndAssignOffsetsCompressed`).

use std::io::{self, Read};

use crate::log::batch::{Batch, BatchHeader, HEADER_BYTES, NO_TIMESTAMP_MS};
use crate::log::records::codec::{self, Output, UNPACKED_BYTES_MAX};
use crate::log::records::{Levels, Malformed, varint};

/// What lies before the key of a record at most: five numbers and the attributes.
const RECORD_HEAD_BYTES_MAX: usize = 5 * 10 + 1;
/// A number of 32 bits has at most so many bytes.
const NUMBER_BYTES_MAX: usize = 5;
/// What is read at one time.
const CHUNK_BYTES: usize = 32 * 1024;

/// More records that are wrong are counted, but not told one by one.
pub const WRONG_RECORDS_MAX: usize = 1_000;

/// What records must be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands {
    /// Each needs a key, as in compacted topics.
    pub keyed: bool,
    /// Between which timestamps, in milliseconds, both included, those lie that have one.
    pub timestamps_ms: (i64, i64),
}

impl Default for Demands {
    /// Nothing in particular.
    fn default() -> Self {
        Self { keyed: false, timestamps_ms: (i64::MIN, i64::MAX) }
    }
}

/// What there is to say of the records of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The largest timestamp in milliseconds, if any record has one.
    pub newest_ms: Option<i64>,
    /// The first of those that are not as they must be.
    pub wrong: Vec<WrongRecord>,
    /// How many those are in all.
    pub wrong_count: usize,
}

/// A record that is not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongRecord {
    /// Its place in the batch.
    pub index: i32,
    pub why: Wrong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It has no key.
    Keyless,
    /// This timestamp, in milliseconds.
    Timestamp(i64),
}

/// Why a batch is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The records are not as many as the header says, not numbered 0, 1, 2 …, or not readable.
    Malformed,
    /// It is larger than it may be: packed as it will be, or unpacked.
    TooLarge,
}

impl From<Malformed> for Unfit {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Looks at all records.
pub fn examined(batch: &Batch, demands: Demands) -> Result<Findings, Unfit> {
    let (header, records) = (batch.header(), batch.records());
    if header.codec() == 0 {
        let mut walk = Walk::new(header, demands);
        walk.feed(records)?;
        return Ok(walk.end()?);
    }
    Source::new(header, records, demands)?.read_all()
}

/// The same batch in another codec, of at most `size_max` bytes.
pub fn recompressed(
    batch: &Batch,
    codec: i16,
    levels: Levels,
    size_max: usize,
    demands: Demands,
) -> Result<(Batch, Findings), Unfit> {
    let mut source = Source::new(batch.header(), batch.records(), demands)?;
    let mut out = Output::new(size_max.saturating_sub(HEADER_BYTES));
    let written = codec::write(codec, levels, &mut source, &mut out);
    if out.is_full {
        return Err(Unfit::TooLarge);
    }
    let findings = source.end()?;
    written.map_err(|_| Unfit::Malformed)?;
    Ok((batch.with_records(codec, out.bytes.into()), findings))
}

/// The records as they are unpacked, looked at on their way. It never fails: it ends early, and
/// `end` says why.
struct Source<'a> {
    reader: Box<dyn Read + 'a>,
    walk: Walk,
    /// How much more may come.
    left_bytes: usize,
    unfit: Option<Unfit>,
}

impl<'a> Source<'a> {
    fn new(header: &BatchHeader, records: &'a [u8], demands: Demands) -> Result<Self, Unfit> {
        let reader = codec::reader(header.codec(), records).map_err(|_| Unfit::Malformed)?;
        let walk = Walk::new(header, demands);
        Ok(Self { reader, walk, left_bytes: UNPACKED_BYTES_MAX, unfit: None })
    }

    fn read_all(mut self) -> Result<Findings, Unfit> {
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.next(&mut chunk) > 0 {}
        self.end()
    }

    fn next(&mut self, into: &mut [u8]) -> usize {
        if self.unfit.is_some() {
            return 0;
        }
        match self.try_next(into) {
            Ok(count) => count,
            Err(unfit) => {
                self.unfit = Some(unfit);
                0
            }
        }
    }

    fn try_next(&mut self, into: &mut [u8]) -> Result<usize, Unfit> {
        let count = self.reader.read(into).map_err(|_| Unfit::Malformed)?;
        self.left_bytes = self.left_bytes.checked_sub(count).ok_or(Unfit::TooLarge)?;
        self.walk.feed(into.get(..count).ok_or(Unfit::Malformed)?)?;
        Ok(count)
    }

    fn end(self) -> Result<Findings, Unfit> {
        match self.unfit {
            Some(unfit) => Err(unfit),
            None => Ok(self.walk.end()?),
        }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(self.next(into))
    }
}

/// Takes records in pieces of any size.
struct Walk {
    header: BatchHeader,
    demands: Demands,
    /// The beginning of a record's head, or of a number, that is not whole yet.
    begun: Vec<u8>,
    /// The record whose head has been read.
    body: Body,
    count: i32,
    findings: Findings,
}

/// What is still to come of a record behind its head (`DefaultRecord.readFrom`).
struct Body {
    left_bytes: usize,
    /// Of these so many say nothing of the structure.
    skipped_bytes: usize,
    /// What follows them.
    next: Part,
}

/// A part of a record begins with a number.
#[derive(Clone, Copy)]
enum Part {
    Value,
    Headers,
    /// Of so many headers that are left.
    HeaderKey(usize),
    HeaderValue(usize),
    End,
}

impl Body {
    const NONE: Self = Self { left_bytes: 0, skipped_bytes: 0, next: Part::End };

    fn of(head: &Head) -> Result<Self, Malformed> {
        let none = Self { left_bytes: head.left_bytes, skipped_bytes: 0, next: Part::Value };
        none.then(head.key_bytes.unwrap_or(0), Part::Value)
    }

    fn is_over(&self) -> bool {
        self.left_bytes == 0 && matches!(self.next, Part::End)
    }

    /// Takes the number with which the next part begins, of so many bytes.
    fn take(self, number: i64, bytes: usize) -> Result<Self, Malformed> {
        let left_bytes = self.left_bytes.checked_sub(bytes).ok_or(Malformed)?;
        let size = usize::try_from(number);
        // What has no size is null, where it may be.
        let nullable_bytes = size.unwrap_or(0);
        let whole_bytes = size.map_err(|_| Malformed);
        let after = |headers| if headers > 0 { Part::HeaderKey(headers) } else { Part::End };
        let this = Self { left_bytes, ..self };
        match self.next {
            Part::Value => this.then(nullable_bytes, Part::Headers),
            Part::Headers => this.then(0, after(whole_bytes?)),
            Part::HeaderKey(headers) => this.then(whole_bytes?, Part::HeaderValue(headers)),
            Part::HeaderValue(headers) => this.then(nullable_bytes, after(headers - 1)),
            Part::End => Err(Malformed),
        }
    }

    fn then(self, skipped_bytes: usize, next: Part) -> Result<Self, Malformed> {
        let fits = match next {
            Part::End => skipped_bytes == self.left_bytes,
            _ => skipped_bytes <= self.left_bytes,
        };
        if fits { Ok(Self { skipped_bytes, next, ..self }) } else { Err(Malformed) }
    }

    fn skip(&mut self, bytes: &mut &[u8]) {
        let count = self.skipped_bytes.min(bytes.len());
        self.skipped_bytes -= count;
        self.left_bytes -= count;
        *bytes = bytes.get(count..).unwrap_or_default();
    }
}

/// A number and its bytes; `None`: there is more to come.
fn number(bytes: &[u8]) -> Result<Option<(i64, usize)>, Malformed> {
    let mut rest = bytes;
    match varint(&mut rest) {
        Some(_) if bytes.len() - rest.len() > NUMBER_BYTES_MAX => Err(Malformed),
        Some(number) => Ok(Some((number, bytes.len() - rest.len()))),
        None if bytes.len() < NUMBER_BYTES_MAX => Ok(None),
        None => Err(Malformed),
    }
}

/// What stands before a record's key.
struct Head {
    bytes: usize,
    /// What follows it.
    left_bytes: usize,
    time_delta: i64,
    offset_delta: i64,
    key_bytes: Option<usize>,
}

impl Walk {
    fn new(header: &BatchHeader, demands: Demands) -> Self {
        let findings = Findings::default();
        let (begun, body) = (Vec::new(), Body::NONE);
        Self { header: *header, demands, begun, body, count: 0, findings }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            if self.body.skipped_bytes > 0 {
                self.body.skip(&mut bytes);
            } else if self.begun.is_empty() {
                match self.take(bytes)? {
                    Some(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
                    None => {
                        self.begun.extend_from_slice(bytes);
                        return Ok(());
                    }
                }
            } else {
                let mut begun = std::mem::take(&mut self.begun);
                begun.extend(bytes.split_off_first());
                if self.take(&begun)?.is_none() {
                    self.begun = begun;
                }
            }
        }
        Ok(())
    }

    /// Takes a record's head, or the number of a part; how many bytes that are. `None`: there is
    /// more to come.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        if self.body.is_over() {
            let Some(head) = Head::read(bytes)? else { return Ok(None) };
            self.saw(&head)?;
            return Ok(Some(head.bytes));
        }
        let Some((number, taken)) = number(bytes)? else { return Ok(None) };
        self.body = std::mem::replace(&mut self.body, Body::NONE).take(number, taken)?;
        Ok(Some(taken))
    }

    fn saw(&mut self, head: &Head) -> Result<(), Malformed> {
        if self.count >= self.header.record_count || head.offset_delta != i64::from(self.count) {
            return Err(Malformed);
        }
        let header = &self.header;
        let timestamp_ms = match header.is_log_append_time() {
            true => header.max_timestamp_ms,
            false => header.base_timestamp_ms.wrapping_add(head.time_delta),
        };
        let findings = &mut self.findings;
        let (oldest_ms, newest_ms) = self.demands.timestamps_ms;
        if timestamp_ms != NO_TIMESTAMP_MS {
            findings.newest_ms = findings.newest_ms.max(Some(timestamp_ms));
        }
        let wrong = if self.demands.keyed && head.key_bytes.is_none() {
            Some(Wrong::Keyless)
        } else if timestamp_ms != NO_TIMESTAMP_MS
            && !(oldest_ms..=newest_ms).contains(&timestamp_ms)
        {
            Some(Wrong::Timestamp(timestamp_ms))
        } else {
            None
        };
        if let Some(why) = wrong {
            findings.wrong_count += 1;
            if findings.wrong.len() < WRONG_RECORDS_MAX {
                findings.wrong.push(WrongRecord { index: self.count, why });
            }
        }
        self.count += 1;
        self.body = Body::of(head)?;
        Ok(())
    }

    fn end(self) -> Result<Findings, Malformed> {
        let is_whole = self.body.is_over() && self.begun.is_empty();
        if is_whole && self.count == self.header.record_count {
            Ok(self.findings)
        } else {
            Err(Malformed)
        }
    }
}

impl Head {
    /// `None`: there is more to come.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some((size, numbers, read_bytes, taken_bytes)) = Self::numbers(bytes) else {
            return if bytes.len() < RECORD_HEAD_BYTES_MAX { Ok(None) } else { Err(Malformed) };
        };
        let [time_delta, offset_delta, key_size] = numbers;
        let size = usize::try_from(size).map_err(|_| Malformed)?;
        let left_bytes = size.checked_sub(taken_bytes).ok_or(Malformed)?;
        let key_bytes = usize::try_from(key_size).ok();
        Ok(Some(Self { bytes: read_bytes, left_bytes, time_delta, offset_delta, key_bytes }))
    }

    /// A record's size; its deltas and the size of its key; how many bytes that are, and how many
    /// of them belong to the record itself.
    fn numbers(bytes: &[u8]) -> Option<(i64, [i64; 3], usize, usize)> {
        let mut rest = bytes;
        let size = varint(&mut rest)?;
        let from = rest.len();
        let _attributes = rest.split_off_first()?;
        let numbers = [varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?];
        Some((size, numbers, bytes.len() - rest.len(), from - rest.len()))
    }
}

#[cfg(test)]
mod tests;

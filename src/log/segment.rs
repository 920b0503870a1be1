//! One segment: `NNN.log` with Kafka's batches, `NNN.raft` with the records of its Raft entries,
//! the two sparse indexes, and the index of aborted transactions if there are any.
//!
//! Head of a `.raft` file, 64 bytes: magic 8, first Raft index 8, first offset 8, CRC-32C of these
//! 4, zero 4, then the [`DurableNote`]: position 4, flags 4, end index 8, CRC-32C of the index
//! files 4, CRC-32C of the note 4; zero to the end. The note says how far the segment was known to
//! be on disk when it was written: damage below it is corruption, a bad batch above it is the torn
//! tail of a crash.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut};

use crate::base::disk::{self, Disk, DiskFile, OpenMode, read_exact_at};
use crate::base::ids::Offset;
use crate::log::batch::{BatchHeader, HEADER_BYTES};
use crate::log::entry::EntryMeta;
use crate::log::index::{OffsetIndex, TimeIndex};
use crate::log::metas::{BLOCK_BYTES, read_metas};
use crate::log::partition_log::LogConfig;
use crate::log::run::{Origin, RECORD_BYTES, Run};
use crate::log::transaction_index::{AbortedTransaction, TransactionIndex};

const RAFT_MAGIC: &[u8; 8] = b"OTTLARF2";
/// Size of the head of a `.raft` file.
pub const RAFT_HEAD_BYTES: u64 = 64;
const NOTE_AT: u64 = 32;
const NOTE_BYTES: usize = 20;
/// With its checksum.
const NOTE_FIELD: std::ops::Range<usize> = 32..56;
/// Records in the first block of a `.raft` file.
pub(crate) const FIRST_BLOCK_COUNT: usize = (BLOCK_BYTES - 64) / RECORD_BYTES;

/// How far a segment is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DurableNote {
    /// Of the `.log` file.
    pub position: u32,
    /// One past the Raft index of the last entry below it.
    pub end_index: u64,
    /// That is all of the segment, and its index files are on disk, too. After an orderly stop more
    /// may be appended.
    pub closed: bool,
    /// The next segment is begun.
    pub rolled: bool,
    /// If it is closed: of `.index`, `.timeindex` and `.txnindex`, one after the other.
    pub indexes_crc: u32,
}

/// The head of a `.raft` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftHead {
    pub base_index: u64,
    /// All zero if it is not valid.
    pub note: DurableNote,
}

/// The files of a segment; shared with reads that are under way when the segment is dropped.
#[derive(Debug)]
pub struct SegmentFiles {
    pub base_offset: Offset,
    pub dir: PathBuf,
    pub log: Arc<dyn DiskFile>,
    pub raft: Arc<dyn DiskFile>,
}

/// A segment's state in memory.
#[derive(Debug)]
pub struct Segment {
    pub files: Arc<SegmentFiles>,
    pub base_offset: Offset,
    /// Raft index of its first entry.
    pub base_index: u64,
    /// One past the Raft index of its last entry.
    pub next_index: u64,
    /// Records in the `.raft` file.
    pub records: u64,
    /// Bytes in the `.log` file.
    pub size: u32,
    pub offset_index: OffsetIndex,
    pub time_index: TimeIndex,
    pub transaction_index: TransactionIndex,
    /// The largest timestamp in ms and the last offset of the batch that has it. There may be
    /// records without a timestamp.
    pub max_timestamp: Option<(i64, Offset)>,
    /// The largest timestamp of its first batch in ms; for `segment.ms`.
    pub first_batch_ms: Option<i64>,
    /// Since when it is here, in ms: when its first batch was appended, or when it was loaded.
    pub since_ms: Option<i64>,
    /// When it was written last, in ms, as far as that is known.
    pub modified_ms: Option<i64>,
    bytes_since_index: u32,
    /// Whether the index files on disk are those in memory.
    pub indexes_written: bool,
    /// Whether everything in it is durable and nothing will be added.
    pub sealed: bool,
    /// Entries whose batches were found damaged when the segment was loaded.
    pub damaged: Vec<u64>,
}

/// The files that are a segment's own.
pub(crate) const OWN_EXTENSIONS: [&str; 5] = ["log", "raft", "index", "timeindex", "txnindex"];
/// The files that a segment may have: a `.state` file tells of all that is before it.
pub(crate) const EXTENSIONS: [&str; 6] = ["log", "raft", "index", "timeindex", "txnindex", "state"];

/// The name of a segment's file.
pub fn file_name(base_offset: Offset, extension: &str) -> String {
    format!("{base_offset:020}.{extension}")
}

impl SegmentFiles {
    pub fn path(&self, extension: &str) -> PathBuf {
        self.dir.join(file_name(self.base_offset, extension))
    }

    pub fn open(disk: &dyn Disk, dir: &Path, base_offset: Offset) -> io::Result<Self> {
        let open = |ext| disk.open(&dir.join(file_name(base_offset, ext)), OpenMode::Create);
        Ok(Self { base_offset, dir: dir.to_owned(), log: open("log")?, raft: open("raft")? })
    }

    /// Takes the disk space of a segment that is begun, if its topic wants that. It is a matter of
    /// where the file system puts things: without it, nothing is missing.
    pub fn reserve(&self, config: &LogConfig) {
        if config.preallocate
            && let Err(error) = self.log.reserve(config.segment_bytes.into())
        {
            // A file system without enough of it may have given all it had.
            let given_back = self.log.len().and_then(|len| self.log.set_len(len));
            let path = self.path("log");
            tracing::warn!(%error, path = %path.display(), "no space was taken for a segment");
            if let Err(error) = given_back {
                tracing::warn!(%error, path = %path.display(), "some space stays taken");
            }
        }
    }

    /// Writes the head of a new `.raft` file.
    pub fn write_raft_head(&self, base_index: u64) -> io::Result<()> {
        self.raft.write_all_at(&[IoSlice::new(&self.raft_head(base_index))], 0)
    }

    /// Writes the `.raft` file again up to these records, in whole blocks: part of a bad sector
    /// cannot be written. They may be `all` that it is to have.
    pub fn write_raft_again(
        &self,
        base_index: u64,
        note: &DurableNote,
        runs: &[Run],
        all: bool,
    ) -> io::Result<()> {
        let mut content = self.raft_head(base_index);
        let note = encode_note(note);
        if let Some(field) = content.get_mut(NOTE_FIELD) {
            field.copy_from_slice(&note);
        }
        let origin = self.origin(base_index);
        runs.iter().for_each(|run| run.encode(&origin, &mut content));
        let size = content.len();
        let len = if all { size as u64 } else { self.raft.len()? };
        content.resize(size.next_multiple_of(BLOCK_BYTES), 0);
        // What lies behind them in the last block stays, if it can be read.
        match self.raft.read_at(content.get_mut(size..).unwrap_or_default(), size as u64) {
            Err(error) if disk::is_unreadable(&error) => {}
            read => drop(read?),
        }
        self.raft.write_all_at(&[IoSlice::new(&content)], 0)?;
        let end = (content.len() as u64).max(self.raft.len()?);
        if end > len { self.raft.set_len(len) } else { Ok(()) }
    }

    fn raft_head(&self, base_index: u64) -> Vec<u8> {
        let mut head = Vec::with_capacity(64);
        head.put_slice(RAFT_MAGIC);
        head.put_u64(base_index);
        head.put_i64(self.base_offset);
        head.put_u32(crc32c::crc32c(&head));
        head.put_bytes(0, 36);
        debug_assert_eq!(head.len() as u64, RAFT_HEAD_BYTES);
        head
    }

    /// Writes a record again.
    pub fn write_record(&self, base_index: u64, slot: u64, run: &Run) -> io::Result<()> {
        let mut record = Vec::with_capacity(RECORD_BYTES);
        run.encode(&self.origin(base_index), &mut record);
        self.raft.write_all_at(&[IoSlice::new(&record)], record_position(slot))
    }

    /// What its records count from, if its first entry has that index.
    pub fn origin(&self, base_index: u64) -> Origin {
        Origin { index: base_index, offset: self.base_offset }
    }

    /// Notes how far the segment is on disk.
    pub fn write_note(&self, note: &DurableNote) -> io::Result<()> {
        self.raft.write_all_at(&[IoSlice::new(&encode_note(note))], NOTE_AT)
    }

    /// The head of the `.raft` file; `None` if it is not valid.
    pub fn read_raft_head(&self) -> io::Result<Option<RaftHead>> {
        let mut head = [0; 64];
        match read_exact_at(self.raft.as_ref(), &mut head, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) if disk::is_unreadable(&error) => return Ok(None),
            read => read?,
        }
        let (covered, mut rest) = head.split_at(24);
        if rest.get_u32() != crc32c::crc32c(covered) {
            return Ok(None);
        }
        if !covered.starts_with(RAFT_MAGIC) {
            let path = self.path("raft");
            let text = format!("{}: of another version, in another format", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut numbers = covered.get(8..).unwrap_or_default();
        let (base_index, base_offset) = (numbers.get_u64(), numbers.get_i64());
        rest.advance(4);
        let note = decode_note(rest).unwrap_or_default();
        Ok((base_offset == self.base_offset).then_some(RaftHead { base_index, note }))
    }

    /// The header of the batch at `position`; `None` at or near the end.
    pub fn batch_header(&self, position: u32) -> io::Result<Option<BatchHeader>> {
        let mut head = [0; HEADER_BYTES];
        match read_exact_at(self.log.as_ref(), &mut head, u64::from(position)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(BatchHeader::parse(&head)),
        }
    }
}

/// The contents of the index files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexFiles {
    pub(crate) offsets: Vec<u8>,
    pub(crate) times: Vec<u8>,
    /// Empty where there is no such file.
    pub(crate) transactions: Vec<u8>,
}

impl IndexFiles {
    /// The checksum that the note has of them. What is empty does not change it, so it holds for
    /// notes from before there was an index of transactions.
    pub(crate) fn crc(&self) -> u32 {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.offsets), &self.times);
        crc32c::crc32c_append(crc, &self.transactions)
    }

    /// Reads those of a segment; `None` if one is missing that must be there.
    pub(crate) fn read(disk: &dyn Disk, files: &SegmentFiles) -> Option<Self> {
        let transactions = files.path("txnindex");
        Some(Self {
            offsets: disk.read(&files.path("index")).ok()?,
            times: disk.read(&files.path("timeindex")).ok()?,
            transactions: match disk.exists(&transactions) {
                true => disk.read(&transactions).ok()?,
                false => Vec::new(),
            },
        })
    }

    /// Writes them where `path` says for each extension.
    pub(crate) fn write(
        &self,
        disk: &dyn Disk,
        path: impl Fn(&'static str) -> PathBuf,
    ) -> io::Result<()> {
        disk.write(&path("index"), &self.offsets)?;
        disk.write(&path("timeindex"), &self.times)?;
        let transactions = path("txnindex");
        if !self.transactions.is_empty() {
            disk.write(&transactions, &self.transactions)
        } else if disk.exists(&transactions) {
            disk.remove_file(&transactions)
        } else {
            Ok(())
        }
    }
}

fn encode_note(note: &DurableNote) -> Vec<u8> {
    let mut field = Vec::with_capacity(NOTE_BYTES + 4);
    field.put_u32(note.position);
    field.put_u32(u32::from(note.closed) | u32::from(note.rolled) << 1);
    field.put_u64(note.end_index);
    field.put_u32(note.indexes_crc);
    field.put_u32(crc32c::crc32c(&field));
    field
}

fn decode_note(bytes: &[u8]) -> Option<DurableNote> {
    let (mut covered, mut crc) = bytes.split_at_checked(NOTE_BYTES)?;
    if crc.try_get_u32().ok()? != crc32c::crc32c(covered) {
        return None;
    }
    let (position, flags) = (covered.get_u32(), covered.get_u32());
    let (closed, rolled) = (flags & 1 != 0, flags & 2 != 0);
    let (end_index, indexes_crc) = (covered.get_u64(), covered.get_u32());
    Some(DurableNote { position, end_index, closed, rolled, indexes_crc })
}

/// Where a record lies in its `.raft` file.
pub fn record_position(slot: u64) -> u64 {
    RAFT_HEAD_BYTES + slot * RECORD_BYTES as u64
}

impl Segment {
    /// An empty segment over files that may hold something already.
    pub fn empty(files: Arc<SegmentFiles>, base_index: u64) -> Self {
        Self {
            base_offset: files.base_offset,
            files,
            base_index,
            next_index: base_index,
            records: 0,
            size: 0,
            offset_index: OffsetIndex::default(),
            time_index: TimeIndex::default(),
            transaction_index: TransactionIndex::default(),
            max_timestamp: None,
            first_batch_ms: None,
            since_ms: None,
            modified_ms: None,
            bytes_since_index: 0,
            indexes_written: false,
            sealed: false,
            damaged: Vec::new(),
        }
    }

    /// Takes note of a batch at the end of the segment that is not what was written.
    pub fn note_damaged(&mut self, meta: &EntryMeta) {
        self.damaged.push(self.next_index);
        self.size += meta.size;
        self.indexes_written = false;
    }

    /// Takes note of a batch at the end of the segment.
    pub fn note_batch(&mut self, header: &BatchHeader, index_interval_bytes: u32) {
        let position = self.size;
        let last_offset = header.last_offset();
        self.first_batch_ms.get_or_insert(header.max_timestamp_ms);
        if let Some(newest_ms) = header.newest_ms().filter(|newest_ms| *newest_ms >= 0)
            && self.max_timestamp.is_none_or(|(max, _)| max < newest_ms)
        {
            self.max_timestamp = Some((newest_ms, last_offset));
        }
        if self.bytes_since_index > index_interval_bytes {
            self.offset_index.push(self.base_offset, last_offset, position);
            self.bytes_since_index = 0;
            self.note_time();
        }
        let size = u32::try_from(header.size()).unwrap_or(u32::MAX);
        self.size += size;
        self.sealed = false;
        self.bytes_since_index = self.bytes_since_index.saturating_add(size);
        self.indexes_written = false;
    }

    /// How old its newest record is: when it was written, if there is no timestamp
    /// (`LogSegment.largestTimestamp`).
    pub fn newest_ms(&self) -> Option<i64> {
        self.max_timestamp.map(|(newest_ms, _)| newest_ms).or(self.modified_ms)
    }

    /// Takes note of a transaction whose marker is at the end of the segment.
    pub fn note_aborted(&mut self, aborted: AbortedTransaction) {
        self.transaction_index.push(aborted);
        self.indexes_written = false;
    }

    /// Puts the largest timestamp so far into the time index.
    fn note_time(&mut self) {
        if let Some((timestamp_ms, offset)) = self.max_timestamp {
            self.time_index.push(self.base_offset, timestamp_ms, offset);
        }
    }

    /// The time index of a closed segment ends with its largest timestamp, as Kafka leaves it.
    fn complete_indexes(&mut self) {
        self.note_time();
    }

    /// What the index files of the segment are when it is closed now.
    pub(crate) fn index_files(&mut self) -> IndexFiles {
        self.complete_indexes();
        IndexFiles {
            offsets: self.offset_index.encode(),
            times: self.time_index.encode(),
            transactions: self.transaction_index.encode(),
        }
    }

    /// What closing the segment writes, as of now.
    pub fn closing(&mut self, rolled: bool) -> Closing {
        let indexes = self.index_files();
        let indexes_crc = indexes.crc();
        Closing {
            files: Arc::clone(&self.files),
            // Files that are right already are not put at risk.
            indexes: (!self.indexes_written).then_some(indexes),
            note: DurableNote {
                position: self.size,
                end_index: self.next_index,
                closed: true,
                rolled,
                indexes_crc,
            },
        }
    }

    /// Whether its files say that it is whole and has a successor.
    pub fn has_successor(&self) -> io::Result<bool> {
        let note = self.files.read_raft_head()?.map(|head| head.note).unwrap_or_default();
        Ok(note.rolled && (note.position, note.end_index) == (self.size, self.next_index))
    }

    /// Takes back what [`Self::has_successor`] says; durable.
    pub fn forget_successor(&self) -> io::Result<()> {
        let note = self.files.read_raft_head()?.map(|head| head.note).unwrap_or_default();
        self.files.write_note(&DurableNote { rolled: false, ..note })?;
        self.files.raft.sync()
    }

    /// Reads the records of entries `from..to`, which must be in the file.
    pub fn read_metas(&self, from: u64, to: u64) -> io::Result<Vec<EntryMeta>> {
        debug_assert!(self.base_index <= from && from <= to);
        read_metas(&self.files, self.base_index, from..to)
    }
}

/// A segment on its way to be closed.
#[derive(Debug)]
pub struct Closing {
    files: Arc<SegmentFiles>,
    indexes: Option<IndexFiles>,
    note: DurableNote,
}

impl Closing {
    /// Gives back what was reserved for the segment and is not needed any more.
    pub fn give_back(&self) -> io::Result<()> {
        self.files.log.set_len(self.note.position.into())
    }

    /// Writes and syncs all but the note.
    pub fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        self.files.log.sync()?;
        if let Some(indexes) = &self.indexes {
            indexes.write(disk, |extension| self.files.path(extension))?;
        }
        self.files.raft.sync()
    }

    /// Writes and syncs everything, the note among it: for a segment that nobody relies on before
    /// its folder is synced.
    pub fn write_whole(&self, disk: &dyn Disk) -> io::Result<()> {
        self.files.write_note(&self.note)?;
        self.write(disk)
    }

    /// Makes the names in the folder durable, those of the next segment among them, and then says
    /// in the note that all is there.
    pub fn confirm(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.sync_dir(&self.files.dir)?;
        self.files.write_note(&self.note)?;
        self.files.raft.sync()
    }
}

//! One segment: `NNN.log` with Kafka's batches, `NNN.raft` with one record per Raft entry, and the
//! two sparse indexes.
//!
//! Head of a `.raft` file, 64 bytes: magic 8, first Raft index 8, first offset 8, CRC-32C of these
//! 4, zero 4, durable position 4, CRC-32C of it 4, zero to the end. The *durable position* says how
//! far the `.log` was known to be on disk when it was written: damage below it is corruption, a bad
//! batch above it is the torn tail of a crash.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut};

use crate::base::disk::{Disk, DiskFile, OpenMode, read_exact_at};
use crate::base::ids::Offset;
use crate::log::batch::{BatchHeader, HEADER_BYTES};
use crate::log::entry::{EntryMeta, META_BYTES};
use crate::log::index::{OffsetIndex, TimeIndex};

const RAFT_MAGIC: &[u8; 8] = b"OTTLARF1";
/// Size of the head of a `.raft` file.
pub const RAFT_HEAD_BYTES: u64 = 64;
const DURABLE_AT: u64 = 32;

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
    /// Bytes in the `.log` file.
    pub size: u32,
    pub offset_index: OffsetIndex,
    pub time_index: TimeIndex,
    /// The largest timestamp in ms and the last offset of the batch that has it.
    pub max_timestamp: Option<(i64, Offset)>,
    /// When its first batch was appended, in ms; for `segment.ms`.
    pub first_append_ms: Option<i64>,
    bytes_since_index: u32,
    /// Whether `.index` and `.timeindex` on disk are those in memory.
    pub indexes_written: bool,
}

/// The name of a segment's file.
pub fn file_name(base_offset: Offset, extension: &str) -> String {
    format!("{base_offset:020}.{extension}")
}

impl SegmentFiles {
    pub fn path(&self, extension: &str) -> PathBuf {
        self.dir.join(file_name(self.base_offset, extension))
    }

    pub fn open(disk: &dyn Disk, dir: &Path, base_offset: Offset) -> io::Result<Self> {
        let open =
            |ext| disk.open(&dir.join(file_name(base_offset, ext)), OpenMode::Create);
        Ok(Self { base_offset, dir: dir.to_owned(), log: open("log")?, raft: open("raft")? })
    }

    /// Writes the head of a new `.raft` file.
    pub fn write_raft_head(&self, base_index: u64) -> io::Result<()> {
        let mut head = Vec::with_capacity(64);
        head.put_slice(RAFT_MAGIC);
        head.put_u64(base_index);
        head.put_i64(self.base_offset);
        head.put_u32(crc32c::crc32c(&head));
        head.put_bytes(0, 36);
        debug_assert_eq!(head.len() as u64, RAFT_HEAD_BYTES);
        self.raft.write_all_at(&[IoSlice::new(&head)], 0)
    }

    /// Notes how far the `.log` is on disk.
    pub fn write_durable_position(&self, position: u32) -> io::Result<()> {
        let mut field = Vec::with_capacity(8);
        field.put_u32(position);
        field.put_u32(crc32c::crc32c(&field));
        self.raft.write_all_at(&[IoSlice::new(&field)], DURABLE_AT)
    }

    /// The first Raft index and the durable position; `None` if the head is not valid.
    pub fn read_raft_head(&self) -> io::Result<Option<(u64, u32)>> {
        let mut head = [0; 64];
        match read_exact_at(self.raft.as_ref(), &mut head, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let (covered, mut rest) = head.split_at(24);
        let magic_differs = !covered.starts_with(RAFT_MAGIC);
        if magic_differs || rest.get_u32() != crc32c::crc32c(covered) {
            return Ok(None);
        }
        let mut numbers = covered.get(8..).unwrap_or_default();
        let (base_index, base_offset) = (numbers.get_u64(), numbers.get_i64());
        rest.advance(4);
        let durable = rest.get(..4).unwrap_or_default();
        let durable_crc = crc32c::crc32c(durable);
        let position = rest.get_u32();
        let position = if rest.get_u32() == durable_crc { position } else { 0 };
        Ok((base_offset == self.base_offset).then_some((base_index, position)))
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

/// Where the record of an entry lies in its `.raft` file.
pub fn meta_position(base_index: u64, index: u64) -> u64 {
    RAFT_HEAD_BYTES + (index - base_index) * META_BYTES as u64
}

impl Segment {
    /// An empty segment over files that may hold something already.
    pub fn empty(files: Arc<SegmentFiles>, base_index: u64) -> Self {
        Self {
            base_offset: files.base_offset,
            files,
            base_index,
            next_index: base_index,
            size: 0,
            offset_index: OffsetIndex::default(),
            time_index: TimeIndex::default(),
            max_timestamp: None,
            first_append_ms: None,
            bytes_since_index: 0,
            indexes_written: false,
        }
    }

    /// Takes note of a batch at the end of the segment.
    pub fn note_batch(&mut self, header: &BatchHeader, index_interval_bytes: u32) {
        let position = self.size;
        let last_offset = header.last_offset();
        if self.max_timestamp.is_none_or(|(max, _)| max < header.max_timestamp_ms) {
            self.max_timestamp = Some((header.max_timestamp_ms, last_offset));
        }
        if self.bytes_since_index > index_interval_bytes {
            self.offset_index.push(self.base_offset, last_offset, position);
            self.bytes_since_index = 0;
            self.note_time();
        }
        let size = u32::try_from(header.size()).unwrap_or(u32::MAX);
        self.size += size;
        self.bytes_since_index = self.bytes_since_index.saturating_add(size);
        self.indexes_written = false;
    }

    /// Puts the largest timestamp so far into the time index.
    fn note_time(&mut self) {
        if let Some((timestamp_ms, offset)) = self.max_timestamp {
            self.time_index.push(self.base_offset, timestamp_ms, offset);
        }
    }

    /// The contents of `.index` and `.timeindex` as they should be now; the time index ends with
    /// the segment's largest timestamp, as Kafka leaves it when it closes a segment.
    pub fn index_files(&mut self) -> IndexFiles {
        self.note_time();
        self.indexes_written = true;
        IndexFiles {
            files: Arc::clone(&self.files),
            offset_index: self.offset_index.encode(),
            time_index: self.time_index.encode(),
        }
    }

    /// Reads the records of entries `from..to`, which must be in the file.
    pub fn read_metas(&self, from: u64, to: u64) -> io::Result<Vec<EntryMeta>> {
        debug_assert!(self.base_index <= from && from <= to);
        read_metas(&self.files, self.base_index, from, to)
    }
}

/// Index files to be written.
#[derive(Debug)]
pub struct IndexFiles {
    files: Arc<SegmentFiles>,
    offset_index: Vec<u8>,
    time_index: Vec<u8>,
}

impl IndexFiles {
    pub fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        for (extension, content) in [("index", &self.offset_index), ("timeindex", &self.time_index)]
        {
            let file = disk.open(&self.files.path(extension), OpenMode::Truncate)?;
            file.write_all_at(&[IoSlice::new(content)], 0)?;
            file.sync()?;
        }
        Ok(())
    }
}

/// Reads the records of entries `from..to` of the segment that begins with `base_index`.
pub fn read_metas(
    files: &SegmentFiles,
    base_index: u64,
    from: u64,
    to: u64,
) -> io::Result<Vec<EntryMeta>> {
    let count = usize::try_from(to - from).map_err(io::Error::other)?;
    let mut bytes = vec![0; count * META_BYTES];
    read_exact_at(files.raft.as_ref(), &mut bytes, meta_position(base_index, from))?;
    let metas = bytes.chunks(META_BYTES).zip(from..);
    metas
        .map(|(chunk, index)| {
            EntryMeta::decode(index, chunk).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "damaged record in a .raft file")
            })
        })
        .collect()
}

//! RocksDB behind [`KeyValue`]; the only file that names it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBRecoveryMode, Direction, IteratorMode, LogLevel, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use crate::base::disk::{Disk, RealDisk};
use crate::base::kv::{Change, KeyValue, Pairs};

/// What a memtable holds before it is flushed: small, since all we keep is small.
const WRITE_BUFFER_BYTES: usize = 2 * 1024 * 1024;
const BLOCK_CACHE_BYTES: usize = 1024 * 1024;

/// Records of RocksDB's own logs lie in blocks of this size (`db/log_format.h`).
const LOG_BLOCK_BYTES: usize = 32 * 1024;
/// Checksum 4, length 2, little-endian, type 1.
const LOG_HEADER_BYTES: usize = 7;
/// Types of records in logs that take the place of older ones, of which there are none here.
const LOG_RECYCLED_TYPES: [u8; 5] = [5, 6, 7, 8, 11];
/// Types from here on may be passed over; there are none here either.
const LOG_IGNORED_TYPES_MIN: u8 = 0x80;

/// RocksDB goes on by itself when so much is free.
const ROOM_BYTES: u64 = 16 * 1024 * 1024;

/// An open RocksDB.
pub struct RocksKv {
    db: DB,
    dir: PathBuf,
    synced: WriteOptions,
}

impl fmt::Debug for RocksKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksKv").field("path", &self.db.path()).finish_non_exhaustive()
    }
}

impl RocksKv {
    pub fn open(path: &Path) -> io::Result<Self> {
        check_logs(path)?;
        let db = DB::open(&options(), path).map_err(io::Error::other)?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self { db, dir: path.to_owned(), synced })
    }
}

/// One wrong bit in the type of a record makes it one of a recycled log. In the midst of others it
/// is a bad one for RocksDB, which looks at it again and again
/// (`log::Reader::ReadPhysicalRecord`): the opening never ends.
fn check_logs(path: &Path) -> io::Result<()> {
    if !RealDisk.exists(path) {
        return Ok(());
    }
    let names = RealDisk.list(path)?.into_iter();
    for name in names.filter(|name| name.starts_with("MANIFEST-") || name.ends_with(".log")) {
        let file = path.join(name);
        if has_unlikely(&RealDisk.read(&file)?) {
            let text = format!("{}: a record is damaged", file.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    }
    Ok(())
}

/// Whether there is such a record. Whatever else is wrong RocksDB finds out.
fn has_unlikely(content: &[u8]) -> bool {
    content.chunks(LOG_BLOCK_BYTES).any(|mut block| {
        while let Some(&[_, _, _, _, low, high, kind]) = block.first_chunk::<LOG_HEADER_BYTES>() {
            if kind >= LOG_IGNORED_TYPES_MIN || LOG_RECYCLED_TYPES.contains(&kind) {
                return true;
            }
            let size = LOG_HEADER_BYTES + usize::from(u16::from_le_bytes([low, high]));
            match block.get(size..) {
                Some(behind) if kind != 0 => block = behind,
                _ => break,
            }
        }
        false
    })
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(1);
    options.set_log_level(LogLevel::Error);
    // Timers of RocksDB's own would wake an idle broker.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    // A damaged record in the middle must stop the start: the default would drop the votes after
    // it, and a node could vote twice in one term.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    options.set_block_based_table_factory(&blocks);
    options
}

/// The kind of an error is in its text only.
fn error_of(error: rocksdb::Error) -> io::Error {
    let is_full = ["No space left on device", "Disk quota exceeded"]
        .iter()
        .any(|text| error.as_ref().contains(text));
    match is_full {
        true => io::Error::new(io::ErrorKind::StorageFull, error),
        false => io::Error::other(error),
    }
}

fn range(from: &[u8], to: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(from);
    options.set_iterate_upper_bound(to);
    options
}

impl KeyValue for RocksKv {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.db.get(key).map_err(io::Error::other)
    }

    fn scan(&self, from: &[u8], to: &[u8], count_max: usize) -> io::Result<Pairs> {
        let mode = IteratorMode::From(from, Direction::Forward);
        let pairs = self.db.iterator_opt(mode, range(from, to)).take(count_max);
        pairs
            .map(|pair| pair.map(|(k, v)| (k.into(), v.into())).map_err(io::Error::other))
            .collect()
    }

    fn last(&self, from: &[u8], to: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let last = self.db.iterator_opt(IteratorMode::End, range(from, to)).next();
        last.map(|pair| pair.map(|(k, v)| (k.into(), v.into())).map_err(io::Error::other))
            .transpose()
    }

    fn write(&self, changes: &[Change]) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        for change in changes {
            match change {
                Change::Put { key, value } => batch.put(key, value),
                Change::Delete { key } => batch.delete(key),
                Change::DeleteRange { from, to } => batch.delete_range(from, to),
            }
        }
        self.db.write_opt(batch, &self.synced).map_err(error_of)
    }

    fn has_room(&self) -> bool {
        RealDisk.space(&self.dir).is_ok_and(|space| space.usable_bytes >= ROOM_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of one of RocksDB's logs gets another type; with the second of a manifest that of a
    /// recycled log it would be looked at for ever.
    #[test]
    fn a_record_of_an_unlikely_type_is_damage() {
        let cases = [("MANIFEST", 0, 0x80), ("MANIFEST", 1, 4), ("log", 0, 0x80), ("log", 0, 4)];
        for (kind, nth, bit) in cases {
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path().join("kv");
            let open = || RocksKv::open(&path);
            let put = Change::Put { key: b"k".to_vec(), value: vec![7; 70_000] };
            open().expect("opened").write(&[put]).expect("written");
            assert!(open().expect("opened").get(b"k").expect("read").is_some());
            let put = Change::Put { key: b"l".to_vec(), value: vec![7; 70_000] };
            open().expect("opened").write(&[put]).expect("written");
            let names = RealDisk.list(&path).expect("listed");
            let is_it = |name: &&String| name.starts_with(kind) || name.ends_with(".log");
            let name = names.iter().filter(is_it).find(|name| name.contains(kind));
            let file = path.join(name.expect("a log"));
            let mut content = RealDisk.read(&file).expect("read");
            let size = usize::from(u16::from_le_bytes([content[4], content[5]]));
            content[6 + nth * (LOG_HEADER_BYTES + size)] ^= bit;
            RealDisk.write(&file, &content).expect("written");
            let error = open().expect_err("damaged");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }
}

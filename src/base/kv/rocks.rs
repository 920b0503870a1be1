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
        let db = DB::open(&options(), path).map_err(io::Error::other)?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self { db, dir: path.to_owned(), synced })
    }
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

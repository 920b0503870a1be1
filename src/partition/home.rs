//! In which log dir a replica is that has been moved to another one.
//!
//! The copy lies in the other log dir under a name of its own. A record in the key-value store says
//! that it is the replica; from the moment that is durable the move has happened. What is left to
//! do then, at once or at the next start: the old folder goes, and the new one gets its name. The
//! record stays, so that an old folder is known for what it is, even when its log dir comes back
//! later. A copy that no record names is removed at the start.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};

use crate::base::ids::{DirectoryId, TopicPartition};
use crate::base::kv::Change;
use crate::log::dir::deleted_name;
use crate::partition::open::{OpenDir, Storage, store_key};

/// Where a replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) directory: DirectoryId,
    /// The name of the folder before the move was over.
    pub(super) future: String,
    /// Its name afterwards.
    pub(super) name: String,
}

fn home_key(id: TopicPartition) -> Vec<u8> {
    [&store_key(id)[..], b"h"].concat()
}

impl Home {
    /// The change that moves a replica.
    pub(super) fn put(&self, id: TopicPartition) -> Change {
        let mut value = Vec::new();
        value.put_slice(&self.directory.0);
        value.put_u16(u16::try_from(self.future.len()).unwrap_or(u16::MAX));
        value.put_slice(self.future.as_bytes());
        value.put_slice(self.name.as_bytes());
        Change::Put { key: home_key(id), value }
    }

    fn decode(mut value: &[u8]) -> io::Result<Self> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a damaged home of a replica");
        let mut directory = DirectoryId::ZERO;
        value.try_copy_to_slice(&mut directory.0).map_err(|_| damaged())?;
        let size = value.try_get_u16().map_err(|_| damaged())?;
        let (future, name) = value.split_at_checked(size.into()).ok_or_else(damaged)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| damaged());
        Ok(Self { directory, future: text(future)?, name: text(name)? })
    }
}

impl Storage {
    /// Where a replica is that has been moved.
    pub(super) fn home(&self, id: TopicPartition) -> io::Result<Option<Home>> {
        self.kv.get(&home_key(id))?.map(|value| Home::decode(&value)).transpose()
    }

    /// The log dir of a home; an error if it is offline.
    pub(super) fn home_dir(&self, home: &Home) -> io::Result<&OpenDir> {
        let open = self.dirs.iter().find(|open| open.directory == home.directory);
        let offline = || io::Error::other(format!("the log dir that has {} is offline", home.name));
        let open = open.ok_or_else(offline)?;
        open.health.check()?;
        Ok(open)
    }

    /// Finishes the moves that have happened, and removes what is left of others. Blocks.
    pub(super) fn settle_moves(&self) -> io::Result<()> {
        for open in self.dirs.iter().filter(|open| !open.health.has_failed()) {
            for (name, id) in open.dir.futures()? {
                let home = id.map(|id| self.home(id)).transpose()?.flatten();
                let is_it = |home: &Home| home.directory == open.directory && home.future == name;
                match (id, home.filter(is_it)) {
                    (Some(id), Some(home)) => {
                        tracing::info!(name, "a move to another log dir is finished");
                        if let Some(old) = self.carry_out(id, &home)? {
                            self.env.disk.remove_dir_all(&old)?;
                        }
                    }
                    _ => {
                        tracing::info!(name, "a move to another log dir had not ended");
                        self.env.disk.remove_dir_all(&open.dir.path.join(name))?;
                    }
                }
            }
        }
        // Their log dir was offline when they were moved away.
        for open in self.dirs.iter().filter(|open| !open.health.has_failed()) {
            for (dir, topic_id) in open.dir.partitions()? {
                let Some(id) = topic_id.and_then(|topic_id| id_of(&dir, topic_id)) else {
                    continue;
                };
                let Some(home) = self.home(id)? else { continue };
                if home.directory != open.directory && self.home_dir(&home).is_ok() {
                    let hidden = self.hide(id, open, &dir)?;
                    self.env.disk.remove_dir_all(&hidden)?;
                }
            }
        }
        Ok(())
    }

    /// Does what is left of a move that has happened; may be done again. The folder that is
    /// returned is to be deleted. Blocks.
    pub(super) fn carry_out(&self, id: TopicPartition, home: &Home) -> io::Result<Option<PathBuf>> {
        let (disk, target) = (self.env.disk.as_ref(), self.home_dir(home)?);
        let mut hidden = None;
        for open in self.dirs.iter().filter(|open| open.directory != home.directory) {
            let old = open.dir.path.join(&home.name);
            if !open.health.has_failed()
                && disk.exists(&old)
                && open.dir.topic_id(&old) == Some(id.topic_id)
            {
                hidden = Some(self.hide(id, open, &old)?);
            }
        }
        let future = target.dir.path.join(&home.future);
        if disk.exists(&future) {
            disk.rename(&future, &target.dir.path.join(&home.name))?;
            disk.sync_dir(&target.dir.path)?;
        }
        Ok(hidden)
    }

    /// Gives a folder that is to be deleted a name that nobody takes for a log's.
    fn hide(&self, id: TopicPartition, open: &OpenDir, dir: &Path) -> io::Result<PathBuf> {
        let disk = self.env.disk.as_ref();
        let hidden = open.dir.path.join(deleted_name(&store_key(id)));
        if disk.exists(&hidden) {
            disk.remove_dir_all(&hidden)?;
        }
        disk.rename(dir, &hidden)?;
        disk.sync_dir(&open.dir.path)?;
        Ok(hidden)
    }
}

/// The partition of a folder of which the topic is known.
pub(super) fn id_of(dir: &Path, topic_id: crate::base::ids::TopicId) -> Option<TopicPartition> {
    let name = dir.file_name()?.to_str()?;
    let partition = name.rsplit_once('-')?.1.parse().ok()?;
    Some(TopicPartition { topic_id, partition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_read_as_it_was_written() {
        let home = Home {
            directory: DirectoryId([7; 16]),
            future: "t-0.x-future".to_owned(),
            name: "t-0".to_owned(),
        };
        let id = TopicPartition { topic_id: crate::base::ids::TopicId([1; 16]), partition: 0 };
        let Change::Put { key, value } = home.put(id) else { panic!("it is put") };
        assert!(key.starts_with(&store_key(id)));
        assert_eq!(Home::decode(&value).expect("a home"), home);
        assert!(Home::decode(&value[..17]).is_err());
    }
}

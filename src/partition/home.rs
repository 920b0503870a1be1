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

    /// Finishes the moves that have happened, and removes what is left of others. A folder with
    /// which that does not work is left alone. Blocks.
    pub(super) fn settle_moves(&self) -> io::Result<()> {
        for open in self.dirs.iter().filter(|open| !open.health.has_failed()) {
            for name in open.dir.futures()? {
                let dir = open.dir.path.join(&name);
                if let Err(error) = self.settle_future(open, &dir, &name) {
                    let dir = dir.display();
                    tracing::error!(%error, %dir, "a move to another log dir is not finished");
                }
            }
        }
        // Their log dir was offline when they were moved away.
        for open in self.dirs.iter().filter(|open| !open.health.has_failed()) {
            for (dir, id) in open.dir.owned()? {
                if let Err(error) = self.settle_old(open, &dir, id) {
                    let dir = dir.display();
                    tracing::error!(%error, %dir, "the folder of a moved log was not deleted");
                }
            }
        }
        Ok(())
    }

    fn settle_future(&self, open: &OpenDir, dir: &Path, name: &str) -> io::Result<()> {
        let is_it = |home: &Home| home.directory == open.directory && home.future == name;
        // Until all of it is there, it is not written in it whose it is.
        if let Some(id) = open.dir.owner(dir)?
            && let Some(home) = self.home(id)?.filter(is_it)
        {
            tracing::info!(name, "a move to another log dir is finished");
            let old = self.carry_out(id, &home)?;
            return old.iter().try_for_each(|old| self.env.disk.remove_dir_all(old));
        }
        tracing::info!(name, "a move to another log dir had not ended");
        self.env.disk.remove_dir_all(dir)
    }

    fn settle_old(&self, open: &OpenDir, dir: &Path, id: TopicPartition) -> io::Result<()> {
        let Some(home) = self.home(id)?.filter(|home| home.directory != open.directory) else {
            return Ok(());
        };
        // Whatever else is wrong: the last folder is not deleted.
        let Ok(target) = self.home_dir(&home) else { return Ok(()) };
        if target.dir.topic_id(&target.dir.path.join(&home.name))? != Some(id.topic_id) {
            return Err(io::Error::other("the log is not where it was moved to"));
        }
        let hidden = self.hide(id, open, dir)?;
        self.env.disk.remove_dir_all(&hidden)
    }

    /// Does what is left of a move that has happened; may be done again. The folders that are
    /// returned are to be deleted. Blocks.
    pub(super) fn carry_out(&self, id: TopicPartition, home: &Home) -> io::Result<Vec<PathBuf>> {
        let (disk, target) = (self.env.disk.as_ref(), self.home_dir(home)?);
        let future = target.dir.path.join(&home.future);
        let is_moved = !disk.exists(&future);
        let mut hidden = Vec::new();
        for open in self.dirs.iter().filter(|open| !open.health.has_failed()) {
            let old = open.dir.path.join(&home.name);
            let is_it = is_moved && open.directory == home.directory;
            if is_it {
                continue;
            }
            match open.dir.topic_id(&old) {
                Ok(Some(topic_id)) if topic_id == id.topic_id => {
                    hidden.push(self.hide(id, open, &old)?);
                }
                Ok(_) => {}
                Err(error) => {
                    let old = old.display();
                    tracing::error!(%error, dir = %old, "the folder of a moved log is left alone");
                }
            }
        }
        if !is_moved {
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

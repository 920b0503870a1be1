//! The end of a move to another log dir: the partition is closed, the rest is copied, and it is
//! opened again where it is from now on. The task that follows the metadata does it, so that nobody
//! else opens or closes the partition meanwhile.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::base::task::{self, Fault};
use crate::log::moving::LogCopy;
use crate::metadata::image::Image;
use crate::partition::Partition;
use crate::partition::home::Home;
use crate::partition::open::{OpenDir, Place};
use crate::partition::registry::{Registry, Slot};

/// A move that came to nothing, and the copy if it may be removed.
pub(super) type Failed = (Option<LogCopy>, io::Error);

/// A copy that is to become the replica.
#[derive(Debug)]
pub(super) struct Swap {
    partition: Arc<Partition>,
    copy: LogCopy,
    to: OpenDir,
    done: oneshot::Sender<Result<(), Failed>>,
}

fn name_of(dir: &Path) -> String {
    dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Registry {
    /// Makes a copy the replica; resolves when it is.
    pub(super) async fn swap(
        &self,
        partition: &Arc<Partition>,
        copy: LogCopy,
        to: &OpenDir,
    ) -> Result<(), Failed> {
        let (done, swapped) = oneshot::channel();
        let swap = Swap { partition: Arc::clone(partition), copy, to: to.clone(), done };
        if let Err(refused) = self.swaps.send(swap).await {
            return Err((Some(refused.0.copy), io::Error::other("the broker stops")));
        }
        swapped.await.unwrap_or_else(|error| Err((None, io::Error::other(error))))
    }

    pub(super) async fn carry_out(&self, swap: Swap, image: &Image) {
        let Swap { partition, copy, to, done } = swap;
        let swapped = self.swap_now(&partition, copy, &to, image).await;
        // The broker may be about to stop.
        let _ = done.send(swapped);
    }

    async fn swap_now(
        &self,
        partition: &Arc<Partition>,
        mut copy: LogCopy,
        to: &OpenDir,
        image: &Image,
    ) -> Result<(), Failed> {
        let id = partition.id;
        let is_here = self.get(id).is_some_and(|open| Arc::ptr_eq(&open, partition));
        let place = self.wanted(image).remove(&id);
        let place = place.filter(|_| is_here && partition.group().is_running());
        let Some(place) = place else {
            return Err((Some(copy), io::Error::other("the partition has been closed")));
        };
        let led = partition.status().leads;
        if let Err(error) = partition.group().shutdown().await {
            self.reopen(partition, place, led, false).await;
            return Err((Some(copy), error));
        }
        let threads = self.storage.env.threads;
        let work = move || {
            let finished = copy.finish();
            (copy, finished)
        };
        let (copy, finished) = task::blocking(threads, work).await;
        if let Err(error) = finished {
            self.reopen(partition, place, led, true).await;
            return Err((Some(copy), error));
        }
        let (future, name) = (name_of(copy.dir()), name_of(partition.dir()));
        let home = Home { directory: to.directory, future, name };
        let moved = self.storage.kv_writer.write(vec![home.put(id)]).await;
        drop(copy);
        let storage = self.storage.clone();
        let carry_out = move || storage.carry_out(id, &home);
        let old = match moved {
            Ok(()) => task::blocking(threads, carry_out).await,
            Err(error) => Err(error),
        };
        match old {
            Ok(old) => {
                self.reopen(partition, place, led, true).await;
                old.into_iter().for_each(|old| self.delete_later(old));
                Ok(())
            }
            Err(error) => {
                // Only a start can tell how far it came.
                self.set(id, Some(Slot::Failed));
                partition.group().lay_down();
                Err((None, error))
            }
        }
    }

    /// Opens a partition again that was closed, and has it lead if it did.
    async fn reopen(&self, closed: &Partition, place: Place, led: bool, was_closed: bool) {
        let id = place.id;
        self.open(Place { was_closed, ..place }).await;
        match self.get(id) {
            Some(partition) if led => partition.group().campaign().await,
            Some(_) => {}
            None => closed.group().lay_down(),
        }
    }

    /// Deletes a folder in which nothing is left that anybody knows of.
    fn delete_later(&self, dir: std::path::PathBuf) {
        let env = self.storage.env.clone();
        task::spawn("old log", Fault::Task, async move {
            let (disk, threads) = (env.disk, env.threads);
            let deleted = task::blocking(threads, move || disk.remove_dir_all(&dir)).await;
            if let Err(error) = deleted {
                // The next start deletes it.
                tracing::warn!(%error, "the folder of a moved log was not deleted");
            }
        });
    }
}

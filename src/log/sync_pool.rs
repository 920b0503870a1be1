//! Makes several files durable together. One sync after the other would commit the file system's
//! journal once per file. There are two better ways, and which is the better one of them is found
//! by trying:
//!
//! * One `syncfs` for all. Six files of 16 KiB on ext4 take a fifth of the processor time of six
//!   syncs. But it also waits for whatever anybody else has written to that file system.
//! * All syncs at the same time, on threads: they share a commit, at about half of the processor
//!   time. This is what is done while `syncfs` is slow.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::base::disk::DiskFile;
use crate::base::worker::{Threads, Worker};

/// Threads beside the one that asks; started when there is more than one file for the first time.
const THREADS_COUNT: usize = 7;

/// From so many files on the whole file system is synced.
const WHOLE_FILES_COUNT_MIN: usize = 3;
/// `syncfs` is left alone for a while when it takes longer than this many times the others.
const WHOLE_SLOWNESS_MAX: u32 = 3;
/// How many rounds that while is.
const WHOLE_PAUSE_ROUNDS: u32 = 64;
/// Every so many rounds the other way is measured.
const MEASURE_ROUNDS: u32 = 128;

/// How one log dir syncs.
#[derive(Debug)]
pub(crate) struct SyncPool {
    threads: Threads,
    workers: Vec<Worker<Sync>>,
    choice: Choice,
}

/// Which way is taken.
#[derive(Debug, Default)]
struct Choice {
    rounds: u32,
    /// No `syncfs` before this round.
    paused_until: u32,
    /// What syncs at the same time take, about.
    each: Option<Duration>,
}

impl Choice {
    fn takes_whole(&mut self, files: usize) -> bool {
        self.rounds = self.rounds.wrapping_add(1);
        let measures = self.each.is_none() || self.rounds.is_multiple_of(MEASURE_ROUNDS);
        files >= WHOLE_FILES_COUNT_MIN && !measures && self.rounds >= self.paused_until
    }

    fn note_each(&mut self, took: Duration) {
        self.each = Some(self.each.map_or(took, |before| (before * 3 + took) / 4));
    }

    fn note_whole(&mut self, took: Duration) {
        if self.each.is_some_and(|each| took > each * WHOLE_SLOWNESS_MAX) {
            self.paused_until = self.rounds.saturating_add(WHOLE_PAUSE_ROUNDS);
        }
    }
}

struct Sync {
    file: Arc<dyn DiskFile>,
    round: Arc<Round>,
}

/// Syncs under way.
struct Round {
    state: Mutex<(usize, io::Result<()>)>,
    done: Condvar,
}

impl Round {
    fn finish(&self, result: io::Result<()>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 -= 1;
        if state.1.is_ok() {
            state.1 = result;
        }
        self.done.notify_one();
    }

    fn wait(&self) -> io::Result<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.done.wait_while(state, |(left, _)| *left > 0);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut state.1, Ok(()))
    }
}

impl SyncPool {
    pub(crate) fn new(threads: Threads) -> Self {
        Self { threads, workers: Vec::new(), choice: Choice::default() }
    }

    /// Makes all files durable; the first error if one fails.
    pub(crate) fn sync_all(&mut self, files: &[Arc<dyn DiskFile>]) -> io::Result<()> {
        let Some((first, others)) = files.split_first() else { return Ok(()) };
        if others.is_empty() || self.threads != Threads::Os {
            return files.iter().try_for_each(|file| file.sync());
        }
        let started = Instant::now();
        if self.choice.takes_whole(files.len()) {
            match first.sync_file_system() {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                synced => {
                    self.choice.note_whole(started.elapsed());
                    return synced;
                }
            }
        }
        self.sync_each(first, others)?;
        self.choice.note_each(started.elapsed());
        Ok(())
    }

    fn sync_each(
        &mut self,
        first: &Arc<dyn DiskFile>,
        others: &[Arc<dyn DiskFile>],
    ) -> io::Result<()> {
        while self.workers.len() < THREADS_COUNT.min(others.len()) {
            self.workers.push(start(self.threads)?);
        }
        let state = Mutex::new((others.len(), Ok(())));
        let round = Arc::new(Round { state, done: Condvar::new() });
        for (file, worker) in others.iter().zip(self.workers.iter().cycle()) {
            worker.push(Sync { file: Arc::clone(file), round: Arc::clone(&round) });
        }
        let first = first.sync();
        round.wait().and(first)
    }
}

fn start(threads: Threads) -> io::Result<Worker<Sync>> {
    Worker::start(threads, "log-sync", |syncs: &mut Vec<Sync>| {
        for Sync { file, round } in syncs.drain(..) {
            round.finish(file.sync());
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::BorrowedFd;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_slow_file_system_is_left_alone_for_a_while() {
        let mut choice = Choice::default();
        assert!(!choice.takes_whole(6), "first the other way is measured");
        choice.note_each(Duration::from_millis(1));
        assert!(!choice.takes_whole(WHOLE_FILES_COUNT_MIN - 1));
        assert!(choice.takes_whole(6));
        choice.note_whole(Duration::from_millis(2));
        assert!(choice.takes_whole(6));
        choice.note_whole(Duration::from_millis(4));
        let tried = (0..WHOLE_PAUSE_ROUNDS).filter(|_| choice.takes_whole(6)).count();
        assert_eq!(tried, 1, "only the last of these rounds tries again");
    }

    #[derive(Debug)]
    struct Counted {
        syncs: AtomicUsize,
        fails: bool,
    }

    impl DiskFile for Counted {
        fn write_all_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<()> {
            Ok(())
        }
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Ok(0)
        }
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync(&self) -> io::Result<()> {
            self.syncs.fetch_add(1, Ordering::SeqCst);
            if self.fails { Err(io::Error::other("bad disk")) } else { Ok(()) }
        }
        fn as_fd(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    #[test]
    fn every_file_is_synced_once_and_an_error_is_told() {
        let mut pool = SyncPool::new(Threads::Os);
        for (count, bad) in [(0, None), (1, None), (20, None), (1, Some(0)), (20, Some(13))] {
            let make = |i| Counted { syncs: AtomicUsize::new(0), fails: bad == Some(i) };
            let files: Vec<Arc<Counted>> = (0..count).map(|i| Arc::new(make(i))).collect();
            let all: Vec<Arc<dyn DiskFile>> =
                files.iter().map(|file| Arc::clone(file) as Arc<dyn DiskFile>).collect();
            assert_eq!(pool.sync_all(&all).is_err(), bad.is_some());
            assert!(files.iter().all(|file| file.syncs.load(Ordering::SeqCst) == 1));
        }
    }
}

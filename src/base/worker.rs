//! A worker takes jobs in batches off the async runtime: disk writes and syncs. In production it
//! is a thread of its own; in a simulation it is a task, so that one thread runs everything in an
//! order that the seed decides.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::base::task::{self, Fault};

/// How workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One thread per worker.
    Os,
    /// Tasks of the current runtime.
    Inline,
    /// The same, each batch of jobs taking its time.
    Paced(&'static Pace),
}

/// How slow a simulated disk is; it may change at any time.
#[derive(Debug, Default)]
pub struct Pace {
    micros: AtomicU64,
}

impl PartialEq for Pace {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Pace {}

impl Pace {
    pub fn set(&self, wait: Duration) {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.micros.store(micros, Ordering::Relaxed);
    }

    async fn keep(&self) {
        let wait = Duration::from_micros(self.micros.load(Ordering::Relaxed));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// The sending end of a worker's queue. The worker ends when the last sender is gone and the queue
/// is empty.
pub struct Worker<J> {
    shared: Arc<Shared<J>>,
    // Counts the senders; the worker itself holds only `shared`.
    _sender: Arc<SenderToken<J>>,
}

struct Shared<J> {
    queue: Mutex<Queue<J>>,
    ready: Condvar,
    ready_task: tokio::sync::Notify,
}

struct Queue<J> {
    jobs: Vec<J>,
    closed: bool,
}

struct SenderToken<J>(Arc<Shared<J>>);

impl<J> Drop for SenderToken<J> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake();
    }
}

impl<J> Shared<J> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.ready.notify_one();
        self.ready_task.notify_one();
    }
}

impl<J> Clone for Worker<J> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), _sender: Arc::clone(&self._sender) }
    }
}

impl<J> fmt::Debug for Worker<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl<J: Send + 'static> Worker<J> {
    /// Starts a worker. `process` gets all queued jobs at once, in the order of their pushes, and
    /// empties the vector.
    pub fn start<P>(threads: Threads, name: &'static str, process: P) -> std::io::Result<Self>
    where
        P: FnMut(&mut Vec<J>) + Send + 'static,
    {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { jobs: Vec::new(), closed: false }),
            ready: Condvar::new(),
            ready_task: tokio::sync::Notify::new(),
        });
        match threads {
            Threads::Os => Self::start_thread(name, Arc::clone(&shared), process)?,
            Threads::Inline => Self::start_task(name, Arc::clone(&shared), process, None),
            Threads::Paced(pace) => {
                Self::start_task(name, Arc::clone(&shared), process, Some(pace));
            }
        }
        let _sender = Arc::new(SenderToken(Arc::clone(&shared)));
        Ok(Self { shared, _sender })
    }

    /// Queues a job. Never blocks; what limits the queue is the callers' budget of bytes.
    pub fn push(&self, job: J) {
        let mut queue = self.shared.lock();
        queue.jobs.push(job);
        let first = queue.jobs.len() == 1;
        drop(queue);
        // A queue that was not empty has already woken the worker.
        if first {
            self.shared.wake();
        }
    }

    fn start_thread<P>(
        name: &'static str,
        shared: Arc<Shared<J>>,
        mut process: P,
    ) -> std::io::Result<()>
    where
        P: FnMut(&mut Vec<J>) + Send + 'static,
    {
        let run = move || {
            let mut batch = Vec::new();
            while next_batch_blocking(&shared, &mut batch) {
                process(&mut batch);
                batch.clear();
            }
        };
        let run = move || {
            // The writers of the log must not die unseen: see `Fault::Process`.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
                std::process::abort();
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map(|_| ())
    }

    fn start_task<P>(
        name: &'static str,
        shared: Arc<Shared<J>>,
        mut process: P,
        pace: Option<&'static Pace>,
    ) where
        P: FnMut(&mut Vec<J>) + Send + 'static,
    {
        task::spawn(name, Fault::Process, async move {
            let mut batch = Vec::new();
            loop {
                shared.ready_task.notified().await;
                if let Some(pace) = pace {
                    pace.keep().await;
                }
                let closed = take_batch(&shared, &mut batch);
                process(&mut batch);
                batch.clear();
                if closed {
                    return;
                }
            }
        });
    }
}

fn next_batch_blocking<J>(shared: &Shared<J>, batch: &mut Vec<J>) -> bool {
    let mut queue = shared.lock();
    while queue.jobs.is_empty() {
        if queue.closed {
            return false;
        }
        queue = shared.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
    std::mem::swap(&mut queue.jobs, batch);
    true
}

fn take_batch<J>(shared: &Shared<J>, batch: &mut Vec<J>) -> bool {
    let mut queue = shared.lock();
    std::mem::swap(&mut queue.jobs, batch);
    queue.closed
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_are_processed_in_order_and_the_thread_ends_with_its_senders() {
        let (tx, rx) = mpsc::channel();
        let worker = Worker::start(Threads::Os, "test", move |jobs: &mut Vec<u32>| {
            for job in jobs.drain(..) {
                tx.send(job).expect("the test listens");
            }
        })
        .expect("a thread");
        (0..1000).for_each(|i| worker.push(i));
        drop(worker);
        // The iterator ends only when the worker has dropped its end of the channel.
        assert_eq!(rx.iter().collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    }
}

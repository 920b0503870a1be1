//! The task seam: the only place that spawns. A task has a name and a fault class (Kafka's two):
//! a panic in a connection's task ends that connection, one in the log, replication or controller
//! ends the process, because limping on would break promises.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A task without a result.
pub type Handle = JoinHandle<()>;

/// What a panic in the task means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Only this task ends.
    Task,
    /// The process ends.
    Process,
}

/// Spawns `future` on the current runtime.
#[expect(clippy::disallowed_methods, reason = "this is the task seam")]
pub fn spawn<F>(name: &'static str, fault: Fault, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(async move {
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(output) => output,
            Err(panic) => {
                if fault == Fault::Process {
                    tracing::error!(task = name, "a task that the broker depends on panicked");
                    std::process::abort();
                }
                std::panic::resume_unwind(panic)
            }
        }
    })
}

/// Tells all holders of a [`Stopping`] that the broker stops.
#[derive(Debug)]
pub struct Stopper {
    tx: watch::Sender<bool>,
}

/// Cheap to clone; resolves once the broker stops.
#[derive(Debug, Clone)]
pub struct Stopping {
    rx: watch::Receiver<bool>,
}

impl Default for Stopper {
    fn default() -> Self {
        Self { tx: watch::Sender::new(false) }
    }
}

impl Stopper {
    pub fn stopping(&self) -> Stopping {
        Stopping { rx: self.tx.subscribe() }
    }

    pub fn stop(&self) {
        self.tx.send_replace(true);
    }
}

impl Stopping {
    pub fn is_stopping(&self) -> bool {
        *self.rx.borrow()
    }

    /// Cancel safe: waits for a value of a watch channel.
    pub async fn wait(&mut self) {
        // An error means that the stopper is gone, which is the end as well.
        let _ = self.rx.wait_for(|stopping| *stopping).await;
    }
}

/// Resolves when `holds` does, which is asked again after each change; `None` if they end first.
/// The changes are watched from before the first question: none is lost that comes while it is
/// asked.
pub async fn until(
    mut changes: impl Stream<Item = ()> + Unpin,
    mut holds: impl FnMut() -> bool,
) -> Option<()> {
    while !holds() {
        changes.next().await?;
    }
    Some(())
}

/// Runs blocking work off the async threads; in a simulation, right here.
#[expect(clippy::disallowed_methods, reason = "this is the task seam")]
pub async fn blocking<R: Send + 'static>(
    threads: crate::base::worker::Threads,
    work: impl FnOnce() -> R + Send + 'static,
) -> R {
    match threads {
        crate::base::worker::Threads::Os => match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only a runtime that is shutting down cancels blocking work.
                Err(_) => std::future::pending().await,
            },
        },
        crate::base::worker::Threads::Inline | crate::base::worker::Threads::Paced(_) => work(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[test]
    fn what_changes_while_it_is_looked_at_is_not_missed() {
        let state = watch::Sender::new(false);
        let changes = stream::unfold(state.subscribe(), |mut state| async move {
            state.changed().await.ok()?;
            Some(((), state))
        });
        // The first look finds the old state, and the new one is there before it is over.
        let reached = until(Box::pin(changes), || state.send_replace(true)).now_or_never();
        assert_eq!(reached, Some(Some(())));
    }
}

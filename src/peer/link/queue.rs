//! Calls that wait to be sent, filled by callers and emptied by the link's task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::metrics::peers::{LaneMetrics, Outcome};
use crate::peer::{Body, CallError, Kind, Lane};

/// Bodies that wait to be sent, in one lane. One body may be larger if it is alone.
const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Calls of one lane without an answer, on either side.
pub(in crate::peer) const CALLS_COUNT_MAX: usize = 4096;

/// The answering process' incarnation, and what it says.
pub(in crate::peer) type Answer = Result<(u64, Bytes), CallError>;
pub(super) type Reply = oneshot::Sender<Answer>;

/// A call that is queued.
#[derive(Debug)]
pub(in crate::peer) struct Waiting {
    pub(super) reply: oneshot::Receiver<Answer>,
    pub(super) deadline: Instant,
    pub(super) metrics: Arc<LaneMetrics>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    calls: VecDeque<Call>,
    /// Of the bodies in `calls`.
    pub(super) bytes: usize,
    /// Sent and not answered.
    pub(super) in_flight: usize,
    pub(super) order: Order,
    /// The task, if it waits for something to do.
    pub(super) waker: Option<Waker>,
    /// Whether a call is what it waits for.
    pub(super) hungry: bool,
}

/// What the task is told beside the calls.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Go,
    /// Connect anew: the far side has not been heard of for too long.
    Reset,
    Close,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) body: Body,
    pub(super) bytes: usize,
    pub(super) reply: Reply,
}

impl Waiting {
    pub(in crate::peer) async fn answer(self) -> Result<Bytes, CallError> {
        self.answer_of().await.map(|(_, answer)| answer)
    }

    /// The answer, and the incarnation of the process that gave it.
    pub(in crate::peer) async fn answer_of(self) -> Answer {
        let answer = match tokio::time::timeout_at(self.deadline, self.reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::Unreachable("the connection was closed".to_owned())),
            Err(_) => Err(CallError::TimedOut),
        };
        self.metrics.ended(match &answer {
            Ok(_) => Outcome::Answered,
            Err(CallError::Unreachable(_)) => Outcome::Unreachable,
            Err(CallError::TimedOut) => Outcome::TimedOut,
            Err(CallError::Refused(_)) => Outcome::Refused,
            Err(CallError::Overloaded) => Outcome::Overloaded,
        });
        answer
    }
}

impl State {
    fn has_room(&self, bytes: usize) -> bool {
        let fits = self.bytes == 0 || self.bytes + bytes <= QUEUED_BYTES_MAX;
        fits && self.calls.len() + self.in_flight < CALLS_COUNT_MAX
    }

    /// Drops calls that nobody waits for any more.
    fn forget_expired(&mut self) {
        self.calls.retain(|call| !call.reply.is_closed());
        self.bytes = self.calls.iter().map(|call| call.bytes).sum();
    }

    /// The next call that somebody waits for.
    pub(super) fn pop(&mut self) -> Option<Call> {
        loop {
            let call = self.calls.pop_front()?;
            self.bytes -= call.bytes;
            if !call.reply.is_closed() {
                return Some(call);
            }
        }
    }
}

impl Queue {
    pub(super) fn push(&self, call: Call) -> Result<(), CallError> {
        let mut state = self.lock();
        if !state.has_room(call.bytes) {
            state.forget_expired();
            if !state.has_room(call.bytes) {
                // Calls on their way may have expired too; the task looks.
                let waker = state.waker.take();
                drop(state);
                wake(waker);
                return Err(CallError::Overloaded);
            }
        }
        state.bytes += call.bytes;
        state.calls.push_back(call);
        let waker = if state.hungry { state.waker.take() } else { None };
        drop(state);
        wake(waker);
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, order: Order) {
        let mut state = self.lock();
        if state.order != Order::Close {
            state.order = order;
        }
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Waits until a connection is wanted, or the end of the link.
    pub(super) async fn wanted(&self, lane: Lane) -> Order {
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.order == Order::Reset {
                state.order = Order::Go;
            }
            // Pings want the control lane at all times.
            let idle = state.calls.is_empty() && lane == Lane::Data;
            if idle && state.order == Order::Go {
                state.hungry = true;
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(state.order)
        })
        .await
    }

    /// Waits for an order other than to go on.
    pub(super) async fn ordered(&self) -> Order {
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.order == Order::Go {
                state.hungry = false;
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(state.order)
        })
        .await
    }

    /// Whether the next call wakes the task.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.calls.is_empty() && state.hungry
    }

    /// Every call that waits fails.
    pub(super) fn fail(&self, error: &CallError) {
        let mut state = self.lock();
        let calls = std::mem::take(&mut state.calls);
        state.bytes = 0;
        state.in_flight = 0;
        drop(state);
        for call in calls {
            // Whoever does not wait any more has its answer.
            let _ = call.reply.send(Err(error.clone()));
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

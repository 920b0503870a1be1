//! One connection: reads requests, runs them, writes the answers in the order of the requests.
//!
//! One task does all of it. A request in two stages (Produce, Fetch) lets the next ones begin while
//! it waits; any other request runs alone, after the appends before it. So the effects on one
//! connection come in its order, as in Kafka, and only waits overlap.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::api::context::Caller;
use crate::api::response::Chunk;
use crate::api::{Api, Outcome, Pending, Run, api_versions, errors};
use crate::base::net::Stream;
use crate::base::task::Stopping;
use crate::metrics::requests::RequestMetrics;
use crate::wire::dispatch::{Dispatched, dispatch};
use crate::wire::frame::{Charge, Frame, FrameError, FrameReader, RequestBudget};
use crate::wire::send::send;
use crate::wire::shape::Limits;

/// Requests of one connection that are read and not answered.
const REQUESTS_IN_FLIGHT_COUNT_MAX: usize = 256;
/// Answers are gathered for one write up to this size.
const GATHER_BYTES_MAX: usize = 256 * 1024;

/// What all connections have in common.
#[derive(Debug, Clone)]
pub struct ConnectionSetup {
    pub budget: RequestBudget,
    pub request_bytes_max: u32,
    pub idle: Duration,
    pub metrics: Arc<RequestMetrics>,
}

/// Why a connection ended.
#[derive(Debug)]
pub enum End {
    /// The peer closed it, or the broker stops.
    Orderly,
    Idle,
    Io(io::Error),
    /// The peer sent what cannot be answered.
    Refused(String),
}

/// A request that has been begun.
struct Running {
    sequence: u64,
    kind: Kind,
    api: &'static Api,
    begun: Instant,
    pending: Pending,
    charge: Charge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Parked or reading: nothing waits for it.
    Fetch,
    /// Queued: what runs in turn waits for it.
    Append,
    InTurn,
}

struct Finished {
    sequence: u64,
    kind: Kind,
    outcome: Outcome,
    api: &'static Api,
    begun: Instant,
}

impl Future for Running {
    type Output = Finished;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Finished> {
        self.pending.as_mut().poll(cx).map(|outcome| {
            // The request's bytes are free from here on.
            self.charge = Charge::default();
            let Self { sequence, kind, api, begun, .. } = *self;
            Finished { sequence, kind, outcome, api, begun }
        })
    }
}

/// A connection.
pub struct Connection {
    stream: Stream,
    reader: FrameReader,
    caller: Arc<Caller>,
    setup: ConnectionSetup,
    running: FuturesUnordered<Running>,
    /// Answers from `first` on; `None` while they are under way.
    answers: VecDeque<Option<Outcome>>,
    first: u64,
    appends: usize,
    in_turn: bool,
    held: Option<(&'static Api, crate::api::RawRequest, Charge)>,
    last_active: Instant,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl Connection {
    pub fn new(stream: Stream, caller: Arc<Caller>, setup: ConnectionSetup) -> Self {
        let reader = FrameReader::new(setup.budget.clone(), setup.request_bytes_max);
        Self {
            stream,
            reader,
            caller,
            setup,
            running: FuturesUnordered::new(),
            answers: VecDeque::new(),
            first: 0,
            appends: 0,
            in_turn: false,
            held: None,
            last_active: Instant::now(),
        }
    }

    /// Serves until the connection ends. Waits end with the connection when this is dropped; what
    /// has been appended stays.
    pub async fn run(mut self, mut stopping: Stopping) -> End {
        loop {
            if let Err(end) = self.begin_held().await {
                return end;
            }
            let may_read = self.held.is_none()
                && !self.in_turn
                && self.answers.len() < REQUESTS_IN_FLIGHT_COUNT_MAX;
            let idle_at = self.last_active + self.setup.idle;
            let is_idle = self.answers.is_empty();
            let step = tokio::select! {
                biased;
                Some(finished) = self.running.next(), if !self.running.is_empty() => {
                    self.settle(finished);
                    self.flush().await
                }
                frame = self.reader.next(&mut self.stream), if may_read => match frame {
                    Ok(frame) => self.take(frame).await,
                    Err(error) => Err(end_of(error)),
                },
                () = tokio::time::sleep_until(idle_at), if is_idle => Err(End::Idle),
                () = stopping.wait() => Err(End::Orderly),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), End> {
        self.last_active = Instant::now();
        self.setup.metrics.received(frame.bytes.len() + 4);
        match dispatch(&frame.bytes, &Limits::default()) {
            Dispatched::Close(why) => Err(End::Refused(why)),
            Dispatched::Answer(response) => {
                self.count_errors(api_versions::KEY, &response.errors);
                self.answers.push_back(Some(Outcome::Answer(response)));
                self.flush().await
            }
            Dispatched::Request(api, raw) => {
                self.held = Some((api, raw, frame.charge));
                Ok(())
            }
        }
    }

    /// Begins the request that waits for its turn, if that has come.
    async fn begin_held(&mut self) -> Result<(), End> {
        let appends = self.appends;
        let its_turn = |api: &Api| match api.run {
            Run::InTurn(_) => appends == 0,
            Run::Staged(_) => true,
        };
        let Some((api, raw, charge)) = self.held.take_if(|(api, ..)| its_turn(api)) else {
            return Ok(());
        };
        let begun = Instant::now();
        let (kind, pending) = match api.run {
            Run::InTurn(run) => (Kind::InTurn, run(Arc::clone(&self.caller), raw)),
            Run::Staged(start) => {
                let kind = if api.name == "Produce" { Kind::Append } else { Kind::Fetch };
                (kind, start(Arc::clone(&self.caller), raw).await)
            }
        };
        self.in_turn |= kind == Kind::InTurn;
        self.appends += usize::from(kind == Kind::Append);
        let sequence = self.first + self.answers.len() as u64;
        self.answers.push_back(None);
        self.running.push(Running { sequence, kind, api, begun, pending, charge });
        Ok(())
    }

    fn settle(&mut self, finished: Finished) {
        let Finished { sequence, kind, outcome, api, begun } = finished;
        self.setup.metrics.finished(api.key, begun.elapsed());
        if let Outcome::Answer(response) = &outcome {
            self.count_errors(api.key, &response.errors);
        }
        self.in_turn &= kind != Kind::InTurn;
        self.appends -= usize::from(kind == Kind::Append);
        let at = usize::try_from(sequence - self.first).unwrap_or(usize::MAX);
        if let Some(slot) = self.answers.get_mut(at) {
            *slot = Some(outcome);
        }
    }

    fn count_errors(&self, key: i16, codes: &[i16]) {
        // What is wrong with one partition is mostly wrong with the next.
        for run in codes.chunk_by(PartialEq::eq) {
            if let Some(code) = run.first() {
                self.setup.metrics.failed(key, errors::name(*code), run.len());
            }
        }
    }

    /// Writes all answers whose turn has come.
    async fn flush(&mut self) -> Result<(), End> {
        loop {
            let (chunks, closing) = self.gather();
            if !chunks.is_empty() {
                let sent = send(&mut self.stream, chunks).await.map_err(End::Io)?;
                self.setup.metrics.sent(sent);
                self.last_active = Instant::now();
            } else if closing.is_none() {
                return Ok(());
            }
            if let Some(why) = closing {
                return Err(End::Refused(why.to_owned()));
            }
        }
    }

    fn gather(&mut self) -> (Vec<Chunk>, Option<&'static str>) {
        let mut chunks = Vec::new();
        let mut size = 0;
        while size < GATHER_BYTES_MAX {
            let Some(outcome) = self.answers.front_mut().and_then(Option::take) else { break };
            self.answers.pop_front();
            self.first += 1;
            match outcome {
                Outcome::Answer(response) => {
                    size += response.size();
                    chunks.extend(response.chunks);
                }
                Outcome::Silence => {}
                Outcome::Close(why) => return (chunks, Some(why)),
            }
        }
        (chunks, None)
    }
}

fn end_of(error: FrameError) -> End {
    match error {
        FrameError::Closed => End::Orderly,
        FrameError::Io(error) => End::Io(error),
        FrameError::Length(length) => End::Refused(format!("frame length {length}")),
    }
}

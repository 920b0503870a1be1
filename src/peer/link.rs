//! The calling end of a lane: a queue that callers fill, and the task that keeps a connection,
//! sends what is queued and hands out the answers.

mod queue;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::base::env::Env;
use crate::base::ids::{Endpoint, NodeId};
use crate::base::net::Stream;
use crate::base::task::{self, Fault};
use crate::metrics::peers::{LaneMetrics, Outcome};
use crate::peer::frame::{Frame, FrameReader, FrameWriter, PAYLOAD_BYTES_MAX, body_bytes};
use crate::peer::handshake::{self, Caller, Hello, Welcome};
use crate::peer::link::queue::{Call, Order, Queue, Reply, Waiting};
use crate::peer::liveness::Liveness;
use crate::peer::{Body, CallError, Kind, Lane, Me};

/// Marks of answers; calls are marked with their kind.
pub(super) const ANSWER: u8 = 0x80;
/// The handler's words.
pub(super) const REFUSED: u8 = 0x81;
/// Nothing was done, because too much runs already.
pub(super) const OVERLOADED: u8 = 0x82;
/// The answering node stops: nothing will come after this.
pub(super) const GOODBYE: u8 = 0x83;

pub(super) use crate::peer::link::queue::CALLS_COUNT_MAX;

/// Handed over to be written while earlier bytes are not; what waits beyond may still expire.
const WRITE_AHEAD_BYTES: usize = 256 * 1024;
/// How long a connection may take to come about.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// How long to wait after a connection that failed, at first and at most.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(320);

/// Where a link leads.
#[derive(Debug, Clone)]
pub(super) struct Far {
    pub node: NodeId,
    pub lane: Lane,
    pub endpoint: Endpoint,
}

/// The callers' end. The connection ends when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    queue: Arc<Queue>,
    metrics: Arc<LaneMetrics>,
}

impl Link {
    pub(super) fn start(env: Env, me: Arc<Me>, far: Far, liveness: Arc<Liveness>) -> Self {
        let queue = Arc::<Queue>::default();
        let metrics = Arc::new(LaneMetrics::new(far.node, far.lane.name()));
        let shared = (Arc::clone(&queue), Arc::clone(&metrics));
        let task = Task { env, me, far, liveness, queue: shared.0, metrics: shared.1, said: None };
        task::spawn("peer-link", Fault::Process, task.run());
        Self { queue, metrics }
    }

    pub(super) fn call(
        &self,
        kind: Kind,
        body: Body,
        timeout: Duration,
    ) -> Result<Waiting, CallError> {
        let bytes = body_bytes(&body);
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(CallError::Refused("the call is too large".to_owned()));
        }
        let (reply, receiver) = oneshot::channel();
        self.queue.push(Call { kind, body, bytes, reply }).inspect_err(|_| {
            self.metrics.ended(Outcome::Overloaded);
        })?;
        let (metrics, deadline) = (Arc::clone(&self.metrics), Instant::now() + timeout);
        Ok(Waiting { reply: receiver, deadline, metrics })
    }

    /// Tells the metrics what waits.
    pub(super) fn report(&self) {
        let bytes = u32::try_from(self.queue.lock().bytes).unwrap_or(u32::MAX);
        self.metrics.queued_bytes.set(f64::from(bytes));
    }

    /// Gives the connection up, and makes another one when it is needed.
    pub(super) fn reset(&self) {
        self.queue.tell(Order::Reset);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.queue.tell(Order::Close);
    }
}

/// Why there is no connection, or no longer.
#[derive(Debug)]
enum End {
    Failed(io::Error),
    Refused(String),
    Goodbye,
    Reset,
    Close,
}

impl End {
    fn error(&self) -> CallError {
        CallError::Unreachable(match self {
            Self::Failed(error) => error.to_string(),
            Self::Refused(reason) => reason.clone(),
            Self::Goodbye => "the node stops".to_owned(),
            Self::Reset => "the node is not heard of".to_owned(),
            Self::Close => "the node is not known any more, or this one stops".to_owned(),
        })
    }
}

/// The connection's end.
struct Task {
    env: Env,
    me: Arc<Me>,
    far: Far,
    liveness: Arc<Liveness>,
    queue: Arc<Queue>,
    metrics: Arc<LaneMetrics>,
    /// The trouble that was last logged.
    said: Option<String>,
}

impl Task {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            if self.queue.wanted(self.far.lane).await == Order::Close {
                break;
            }
            let end = match self.connect().await {
                Err(end) => end,
                Ok((stream, incarnation)) => {
                    backoff = BACKOFF_MIN;
                    self.said = None;
                    self.serve(stream, incarnation).await
                }
            };
            self.ended(&end);
            self.queue.fail(&end.error());
            if matches!(end, End::Close) {
                break;
            }
            self.wait(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        self.queue.fail(&End::Close.error());
    }

    /// Until the connection ends.
    async fn serve(&self, stream: Stream, incarnation: u64) -> End {
        let (node, is_control) = (self.far.node, self.far.lane == Lane::Control);
        if is_control {
            self.liveness.outgoing_opened(node, incarnation);
        }
        self.metrics.connections.increment(1);
        let mut connection = Connection {
            stream,
            incarnation,
            reader: FrameReader::default(),
            writer: FrameWriter::default(),
            queue: Arc::clone(&self.queue),
            metrics: Arc::clone(&self.metrics),
            in_flight: BTreeMap::new(),
            next: 0,
        };
        let end = poll_fn(|cx| connection.poll(cx)).await;
        if is_control {
            self.liveness.outgoing_closed(node);
        }
        if matches!(end, End::Goodbye) {
            self.liveness.goodbye(node, incarnation);
        }
        connection.fail(&end.error());
        end
    }

    async fn connect(&self) -> Result<(Stream, u64), End> {
        let connecting = tokio::time::timeout(CONNECT_TIME_MAX, self.try_connect());
        tokio::select! {
            order = self.queue.ordered() => Err(match order {
                Order::Close => End::Close,
                Order::Go | Order::Reset => End::Reset,
            }),
            connected = connecting => match connected {
                Ok(connected) => connected,
                Err(_) => Err(End::Failed(io::ErrorKind::TimedOut.into())),
            },
        }
    }

    async fn try_connect(&self) -> Result<(Stream, u64), End> {
        let Endpoint { host, port, .. } = &self.far.endpoint;
        let mut stream = self.env.net.connect(host, *port).await.map_err(|error| {
            if error.kind() == io::ErrorKind::ConnectionRefused {
                self.liveness.refused(self.far.node);
            }
            End::Failed(error)
        })?;
        let caller = Some(Caller::new(&self.me, self.far.node));
        let hello = Hello { lane: self.far.lane, caller };
        match handshake::greet(&mut stream, &hello).await.map_err(End::Failed)? {
            Welcome::Refused(reason) => Err(End::Refused(reason)),
            Welcome::Accepted { incarnation } => Ok((stream, incarnation)),
        }
    }

    /// Logs trouble when it begins or changes.
    fn ended(&mut self, end: &End) {
        let text = end.error().to_string();
        if self.said.as_ref() != Some(&text) {
            let Far { node, lane, endpoint } = &self.far;
            let (host, port) = (&endpoint.host, endpoint.port);
            match end {
                End::Close => {}
                End::Refused(_) => tracing::warn!(%node, ?lane, host, port, text, "no connection"),
                _ => tracing::info!(%node, ?lane, host, port, text, "no connection"),
            }
            self.said = Some(text);
        }
    }

    async fn wait(&self, backoff: Duration) {
        // Nodes that lost the same one do not come back to it at the same moment.
        let jitter = self.env.rng.below(u64::try_from(backoff.as_micros()).unwrap_or(0) / 2);
        let until = Instant::now() + backoff + Duration::from_micros(jitter);
        // A closed link is noticed after this short wait.
        tokio::time::sleep_until(until).await;
    }
}

/// A connection that stands.
struct Connection {
    stream: Stream,
    /// Of the process at the other end.
    incarnation: u64,
    reader: FrameReader,
    writer: FrameWriter,
    queue: Arc<Queue>,
    metrics: Arc<LaneMetrics>,
    in_flight: BTreeMap<u64, Reply>,
    next: u64,
}

impl Connection {
    /// Takes the answers, then sends all that is queued with as few writes as possible.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            match self.reader.poll_frame(&mut self.stream, cx) {
                Poll::Ready(Ok(Some(frame))) if frame.mark == GOODBYE => {
                    return Poll::Ready(End::Goodbye);
                }
                Poll::Ready(Ok(Some(frame))) => self.answered(frame),
                Poll::Ready(Ok(None)) => {
                    return Poll::Ready(End::Failed(io::ErrorKind::ConnectionAborted.into()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                Poll::Pending => break,
            }
        }
        loop {
            if let Some(end) = self.take_calls(cx) {
                return Poll::Ready(end);
            }
            match self.writer.poll_flush(&mut self.stream, cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                Poll::Ready(Ok(())) if self.queue.is_idle() => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn answered(&mut self, frame: Frame) {
        self.metrics.received_bytes.increment(bytes_u64(frame.payload.len()));
        if let Some(reply) = self.in_flight.remove(&frame.call) {
            // Whoever does not wait any more has its answer.
            let _ = reply.send(answer(frame).map(|answer| (self.incarnation, answer)));
        }
    }

    /// Calls become frames. Those that can not be sent soon stay in the queue.
    fn take_calls(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let mut state = self.queue.lock();
        match state.order {
            Order::Go => {}
            Order::Reset => {
                state.order = Order::Go;
                return Some(End::Reset);
            }
            Order::Close => return Some(End::Close),
        }
        while self.writer.bytes() < WRITE_AHEAD_BYTES {
            let Some(call) = state.pop() else { break };
            self.metrics.sent_bytes.increment(bytes_u64(call.bytes));
            self.writer.push(call.kind as u8, self.next, call.body);
            self.in_flight.insert(self.next, call.reply);
            self.next += 1;
        }
        if self.in_flight.len() >= CALLS_COUNT_MAX {
            self.in_flight.retain(|_, reply| !reply.is_closed());
        }
        state.in_flight = self.in_flight.len();
        state.hungry = self.writer.bytes() < WRITE_AHEAD_BYTES;
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        None
    }

    fn fail(&mut self, error: &CallError) {
        for (_, reply) in std::mem::take(&mut self.in_flight) {
            // Whoever does not wait any more has its answer.
            let _ = reply.send(Err(error.clone()));
        }
    }
}

fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What an answering frame says.
pub(super) fn answer(frame: Frame) -> Result<Bytes, CallError> {
    match frame.mark {
        ANSWER => Ok(frame.payload),
        OVERLOADED => Err(CallError::Overloaded),
        GOODBYE => Err(CallError::Unreachable("the node stops".to_owned())),
        _ => Err(CallError::Refused(String::from_utf8_lossy(&frame.payload).into_owned())),
    }
}

pub(super) fn unreachable(error: &io::Error) -> CallError {
    CallError::Unreachable(error.to_string())
}

//! The answering end: accepts connections, learns who calls, runs the calls and answers them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::base::ids::NodeId;
use crate::base::net::{Listener, Stream};
use crate::base::task::{self, Fault, Stopping};
use crate::peer::frame::{Frame, FrameReader, FrameWriter};
use crate::peer::handshake::{self, HANDSHAKE_TIME_MAX, Hello, Welcome};
use crate::peer::link::{ANSWER, CALLS_COUNT_MAX, GOODBYE, OVERLOADED, REFUSED};
use crate::peer::{Body, Kind, Lane, Peers, Service};

/// Connections at once, those without an identity among them.
const CONNECTIONS_COUNT_MAX: u32 = 1024;
/// Bodies of running calls, of one connection: no more is read while they are larger.
const RUNNING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Answers that wait to be sent, of one connection: no more is read while they are larger.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Calls begun in a row before others have their turn.
const ROUND_CALLS_COUNT_MAX: usize = 64;
/// Refusals that are remembered, so that they are not logged again.
const REFUSALS_COUNT_MAX: usize = 100;
/// How long connections may take to end when the broker stops.
const CONNECTIONS_END: Duration = Duration::from_millis(300);
/// How long to wait after an accept that failed for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What all connections have in common.
struct Server {
    peers: Peers,
    service: Arc<dyn Service>,
    /// The connection of each node and lane. A node has only one: its latest.
    latest: Mutex<BTreeMap<(NodeId, Lane), Latest>>,
    slots: Arc<Semaphore>,
    /// Refusals that were logged: whoever is refused tries again and again.
    refusals: Mutex<BTreeSet<(IpAddr, String)>>,
}

struct Latest {
    number: u64,
    /// Dropped, it ends the connection.
    _alive: oneshot::Sender<()>,
}

pub(super) fn start(
    peers: Peers,
    listener: Listener,
    service: Arc<dyn Service>,
    stopping: Stopping,
) -> task::Handle {
    let places = usize::try_from(CONNECTIONS_COUNT_MAX).unwrap_or(usize::MAX);
    let slots = Arc::new(Semaphore::new(places));
    let server =
        Server { peers, service, latest: Mutex::default(), slots, refusals: Mutex::default() };
    task::spawn("peer-listener", Fault::Process, run(Arc::new(server), listener, stopping))
}

async fn run(server: Arc<Server>, mut listener: Listener, mut stopping: Stopping) {
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            () = stopping.wait() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let Ok(slot) = Arc::clone(&server.slots).try_acquire_owned() else {
                    tracing::warn!(%from, "too many connections of nodes");
                    continue;
                };
                number += 1;
                let accepted = Accepted { server: Arc::clone(&server), from, number, _slot: slot };
                let serving = accepted.serve(stream, stopping.clone());
                task::spawn("peer-connection", Fault::Task, serving);
            }
            // The connection was given up before it was accepted: nothing is wrong here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "a node's connection was not accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    server.peers.stop();
    let ended = server.slots.acquire_many(CONNECTIONS_COUNT_MAX);
    if tokio::time::timeout(CONNECTIONS_END, ended).await.is_err() {
        tracing::warn!("stopping with connections of nodes open");
    }
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(NodeId, Lane), Latest>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Whether this is to be logged.
    fn is_new(&self, from: IpAddr, reason: &str) -> bool {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() >= REFUSALS_COUNT_MAX {
            refusals.clear();
        }
        refusals.insert((from, reason.to_owned()))
    }
}

/// A connection before it is known whose it is.
struct Accepted {
    server: Arc<Server>,
    from: SocketAddr,
    number: u64,
    _slot: OwnedSemaphorePermit,
}

impl Accepted {
    async fn serve(self, mut stream: Stream, mut stopping: Stopping) {
        let from = self.from;
        let greeting = tokio::time::timeout(HANDSHAKE_TIME_MAX, self.greet(&mut stream));
        let greeted = tokio::select! {
            () = stopping.wait() => return,
            greeted = greeting => greeted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        };
        match greeted {
            Ok(Ok(hello)) => self.run(stream, hello, stopping).await,
            Ok(Err(reason)) if self.server.is_new(from.ip(), &reason) => {
                tracing::warn!(%from, reason, "refused a node's connection");
            }
            Ok(Err(reason)) => tracing::debug!(%from, reason, "refused a node's connection again"),
            Err(error) => tracing::debug!(%from, %error, "a connection was no node's"),
        }
    }

    /// The inner error is what the caller was told.
    async fn greet(&self, stream: &mut Stream) -> io::Result<Result<Hello, String>> {
        let me = self.server.peers.inner.me.get();
        let (hello, objection) = match handshake::await_hello(stream).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => (None, error.to_string()),
            Err(error) => return Err(error),
            Ok(hello) => match hello.objection(me.map(Arc::as_ref)) {
                Some(objection) => (Some(hello), objection),
                None => {
                    let incarnation = me.map_or(0, |me| me.incarnation);
                    handshake::answer(stream, &Welcome::Accepted { incarnation }).await?;
                    return Ok(Ok(hello));
                }
            },
        };
        handshake::answer(stream, &Welcome::Refused(objection.clone())).await?;
        let caller = hello.and_then(|hello| hello.caller);
        Ok(Err(match caller {
            Some(caller) => format!("node {}: {objection}", caller.node),
            None => objection,
        }))
    }

    async fn run(self, stream: Stream, hello: Hello, stopping: Stopping) {
        let caller = hello.caller.as_ref();
        let node = caller.map(|caller| caller.node);
        let incarnation = caller.map_or(0, |caller| caller.incarnation);
        let (alive, replaced) = oneshot::channel();
        let liveness = Arc::clone(&self.server.peers.inner.liveness);
        let key = node.map(|node| (node, hello.lane));
        if let Some(key) = key {
            let latest = Latest { number: self.number, _alive: alive };
            self.server.lock().insert(key, latest);
            if key.1 == Lane::Control {
                liveness.incoming_opened(key.0, incarnation);
            }
        }
        let service = Arc::clone(&self.server.service);
        let caller = node.map(|node| (node, incarnation));
        let connection = Connection::new(stream, caller, self.server.peers.clone(), service);
        let end = connection.run(replaced, stopping).await;
        end.log(self.from, &hello);
        if let Some(key) = key {
            let mut latest = self.server.lock();
            if latest.get(&key).is_some_and(|latest| latest.number == self.number) {
                latest.remove(&key);
                if key.1 == Lane::Control {
                    liveness.incoming_closed(key.0, incarnation);
                }
            }
        }
    }
}

#[derive(Debug)]
enum End {
    Closed,
    Failed(io::Error),
    Replaced,
    Stopping,
}

impl End {
    fn log(&self, from: SocketAddr, hello: &Hello) {
        let (node, lane) = (hello.caller.as_ref().map(|caller| caller.node), hello.lane);
        match self {
            Self::Failed(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(%from, ?node, ?lane, %error, "closed a node's connection");
            }
            Self::Failed(error) => {
                tracing::debug!(%from, ?node, ?lane, %error, "a node's connection ended");
            }
            Self::Closed | Self::Replaced | Self::Stopping => {
                tracing::debug!(%from, ?node, ?lane, end = ?self, "a node's connection ended");
            }
        }
    }
}

type Answer = Result<Body, String>;

/// A call that has been begun.
struct Running {
    call: u64,
    bytes: usize,
    handling: BoxFuture<'static, Answer>,
}

struct Done {
    call: u64,
    bytes: usize,
    answer: Answer,
}

impl Future for Running {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let (call, bytes) = (self.call, self.bytes);
        self.handling.as_mut().poll(cx).map(|answer| Done { call, bytes, answer })
    }
}

/// A connection that is served.
struct Connection {
    stream: Stream,
    reader: FrameReader,
    writer: FrameWriter,
    /// Node and incarnation.
    caller: Option<(NodeId, u64)>,
    peers: Peers,
    service: Arc<dyn Service>,
    running: FuturesUnordered<Running>,
    running_bytes: usize,
}

impl Connection {
    fn new(
        stream: Stream,
        caller: Option<(NodeId, u64)>,
        peers: Peers,
        service: Arc<dyn Service>,
    ) -> Self {
        let (reader, writer) = (FrameReader::default(), FrameWriter::default());
        let running = FuturesUnordered::new();
        Self { stream, reader, writer, caller, peers, service, running, running_bytes: 0 }
    }

    /// Calls that run when the connection ends are given up.
    async fn run(mut self, replaced: oneshot::Receiver<()>, mut stopping: Stopping) -> End {
        let alone = self.caller.is_none();
        let replaced = async move {
            // The sender is never used: it is dropped.
            let _ = replaced.await;
            if alone {
                std::future::pending::<()>().await;
            }
        };
        let end = tokio::select! {
            () = stopping.wait() => End::Stopping,
            () = replaced => End::Replaced,
            end = poll_fn(|cx| self.poll(cx)) => end,
        };
        if matches!(end, End::Stopping) {
            self.writer.push(GOODBYE, 0, Body::new());
            let flush = poll_fn(|cx| self.writer.poll_flush(&mut self.stream, cx));
            // Whoever does not read it learns of the end when the connection closes.
            let _ = tokio::time::timeout(CONNECTIONS_END / 2, flush).await;
        }
        end
    }

    /// Begins what has come in, then sends all answers there are with as few writes as possible.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut begun = 0;
        loop {
            let may_read = self.may_read() && begun < ROUND_CALLS_COUNT_MAX;
            let mut waits = !may_read;
            if may_read {
                match self.reader.poll_frame(&mut self.stream, cx) {
                    Poll::Ready(Ok(Some(frame))) => {
                        begun += 1;
                        self.begin(frame, cx);
                        continue;
                    }
                    Poll::Ready(Ok(None)) => return Poll::Ready(End::Closed),
                    Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                    Poll::Pending => waits = false,
                }
            }
            let full = self.finish(cx);
            if let Poll::Ready(Err(error)) = self.writer.poll_flush(&mut self.stream, cx) {
                return Poll::Ready(End::Failed(error));
            }
            // What was left for want of room is not waited for by anybody else.
            let has_room = self.writer.bytes() < ANSWER_BYTES_MAX;
            if (waits && self.may_read()) || (full && has_room) {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
    }

    /// Queues the answers that are ready. Returns whether it stopped for want of room.
    fn finish(&mut self, cx: &mut Context<'_>) -> bool {
        while self.writer.bytes() < ANSWER_BYTES_MAX {
            let Poll::Ready(Some(done)) = self.running.poll_next_unpin(cx) else { return false };
            self.running_bytes -= done.bytes;
            self.reply(done.call, done.answer);
        }
        true
    }

    fn may_read(&self) -> bool {
        self.running_bytes < RUNNING_BYTES_MAX && self.writer.bytes() < ANSWER_BYTES_MAX
    }

    fn begin(&mut self, frame: Frame, cx: &mut Context<'_>) {
        let Some(kind) = Kind::of(frame.mark) else {
            let text = format!("this node knows no call {}", frame.mark);
            return self.reply(frame.call, Err(text));
        };
        let bytes = frame.payload.len();
        let from = match self.caller {
            None if !kind.is_open() => {
                let text = "only members of the cluster may call this".to_owned();
                return self.reply(frame.call, Err(text));
            }
            None => None,
            Some((node, incarnation)) if kind == Kind::Ping => {
                let liveness = self.peers.liveness();
                let answer = liveness.ping_received(node, incarnation, &frame.payload);
                return self.reply(frame.call, Ok(vec![answer]));
            }
            Some((node, _)) => Some(node),
        };
        if self.running.len() >= CALLS_COUNT_MAX {
            return self.writer.push(OVERLOADED, frame.call, Body::new());
        }
        let mut handling = self.service.handle(from, kind, frame.payload);
        match handling.as_mut().poll(cx) {
            Poll::Ready(answer) => self.reply(frame.call, answer),
            Poll::Pending => {
                self.running_bytes += bytes;
                self.running.push(Running { call: frame.call, bytes, handling });
            }
        }
    }

    fn reply(&mut self, call: u64, answer: Answer) {
        match answer {
            Ok(body) => self.writer.push(ANSWER, call, body),
            Err(words) => self.writer.push(REFUSED, call, vec![Bytes::from(words)]),
        }
    }
}

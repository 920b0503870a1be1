//! The network of a simulation: hosts, and what lies between two of them in each direction.
//!
//! Time comes from whoever drives the simulation ([`SimNet::set_now`]); without that it stands
//! still, and what is sent arrives at once. A connection behaves as TCP does: order is kept, a path
//! that is cut holds back what is under way, and only the end of a process or of its machine is
//! told to the other side, the latter when the machine is back.

mod listener;
mod stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::base::rng::Rng;

pub use listener::SimListener;
pub use stream::SimStream;

/// Connections that wait to be accepted.
const BACKLOG_COUNT: usize = 64;
/// The first port that is given where any will do.
const EPHEMERAL_PORT: u16 = 40_000;
/// TCP sends a lost packet again after this time, and after twice as much the next time.
const RETRANSMIT: Duration = Duration::from_millis(200);
const RETRANSMITS_COUNT_MAX: u32 = 4;

/// One end of the network: what is bound and connected here has this host's address.
#[derive(Clone)]
pub struct SimNet {
    own: IpAddr,
    shared: Shared,
}

type Shared = Arc<Mutex<State>>;

/// What lies between two hosts, in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Path {
    /// Nothing arrives until it is whole again.
    pub is_cut: bool,
    pub latency: Duration,
    /// At most so much more, each time.
    pub jitter: Duration,
    /// Of a thousand pieces so many are lost at first.
    pub loss_per_mille: u64,
}

struct State {
    now: Duration,
    rng: Rng,
    usual: Path,
    paths: BTreeMap<(IpAddr, IpAddr), Path>,
    listeners: BTreeMap<SocketAddr, Listening>,
    /// Machines without power.
    off: BTreeSet<IpAddr>,
    pipes: BTreeMap<u64, Pipe>,
    connects: BTreeMap<u64, Connect>,
    next_id: u64,
    next_port: u16,
    to_wake: Vec<Waker>,
    /// A checksum of all that was sent.
    trace: u32,
}

#[derive(Default)]
struct Listening {
    number: u64,
    queue: VecDeque<(SimStream, SocketAddr)>,
    waker: Option<Waker>,
}

/// One direction of a connection.
struct Pipe {
    from: IpAddr,
    to: IpAddr,
    under_way: VecDeque<(Duration, Piece)>,
    arrived: BytesMut,
    /// Of the pieces under way and of what has arrived.
    bytes: usize,
    /// The reader has seen the end.
    is_ended: bool,
    /// Both ends are told that the connection broke.
    is_broken: bool,
    /// One of the machines has lost its power; nobody knows yet.
    is_dead: bool,
    has_reader: bool,
    has_writer: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
}

/// A connection that is being made.
struct Connect {
    from: IpAddr,
    to: SocketAddr,
    due: Duration,
    outcome: Option<io::Result<SimStream>>,
    waker: Option<Waker>,
}

impl Default for SimNet {
    fn default() -> Self {
        Self::new(0)
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").field("own", &self.own).finish_non_exhaustive()
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakers run the code of others: not under the lock.
fn finish(mut state: MutexGuard<'_, State>) {
    let wakers = std::mem::take(&mut state.to_wake);
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

impl SimNet {
    /// A network with one host, in which everything arrives at once.
    pub fn new(seed: u64) -> Self {
        let state = State {
            now: Duration::ZERO,
            rng: Rng::seeded(seed),
            usual: Path::default(),
            paths: BTreeMap::new(),
            listeners: BTreeMap::new(),
            off: BTreeSet::new(),
            pipes: BTreeMap::new(),
            connects: BTreeMap::new(),
            next_id: 0,
            next_port: EPHEMERAL_PORT,
            to_wake: Vec::new(),
            trace: 0,
        };
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { own, shared: Arc::new(Mutex::new(state)) }
    }

    /// The same network as another host has it.
    #[must_use]
    pub fn at(&self, host: IpAddr) -> Self {
        Self { own: host, shared: Arc::clone(&self.shared) }
    }

    /// An empty host and the local ones are this one.
    fn resolve(&self, host: &str) -> io::Result<IpAddr> {
        if host.is_empty() || host == "localhost" {
            return Ok(self.own);
        }
        let address: IpAddr = host.parse().map_err(|_| io::ErrorKind::NotFound)?;
        let is_own = address.is_loopback() || address.is_unspecified();
        Ok(if is_own { self.own } else { address })
    }

    pub(super) fn bind(&self, host: &str, port: u16) -> io::Result<SimListener> {
        let host = self.resolve(host)?;
        let mut state = lock(&self.shared);
        let port = if port == 0 { state.port() } else { port };
        let number = state.id();
        let address = SocketAddr::from((host, port));
        state.listeners.insert(address, Listening { number, ..Listening::default() });
        Ok(SimListener::new(&self.shared, address, number))
    }

    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<SimStream> {
        let to = SocketAddr::from((self.resolve(host)?, port));
        let id = {
            let mut state = lock(&self.shared);
            let id = state.id();
            let there = state.time_of_flight(self.own, to.ip());
            let back = state.time_of_flight(to.ip(), self.own);
            let due = state.now + there + back;
            let connect = Connect { from: self.own, to, due, outcome: None, waker: None };
            state.connects.insert(id, connect);
            state.settle_connects(&self.shared);
            finish(state);
            id
        };
        let connecting = Connecting { shared: Arc::clone(&self.shared), id };
        std::future::poll_fn(|cx| connecting.poll(cx)).await
    }

    /// Time passes: what is due arrives.
    pub fn set_now(&self, now: Duration) {
        let mut state = lock(&self.shared);
        state.now = now;
        state.settle_connects(&self.shared);
        let ids: Vec<u64> = state.pipes.keys().copied().collect();
        ids.into_iter().for_each(|id| state.deliver(id));
        finish(state);
    }

    /// The same for every run in which the same was sent at the same times.
    pub fn trace(&self) -> u32 {
        lock(&self.shared).trace
    }

    /// What all pairs of hosts have between them, if nothing else is said.
    pub fn set_usual(&self, path: Path) {
        lock(&self.shared).usual = path;
    }

    /// What lies between two hosts; `None` is the usual.
    pub fn set_path(&self, from: IpAddr, to: IpAddr, path: Option<Path>) {
        let mut state = lock(&self.shared);
        let was_cut = state.path(from, to).is_cut;
        match path {
            Some(path) => state.paths.insert((from, to), path),
            None => state.paths.remove(&(from, to)),
        };
        if was_cut && !state.path(from, to).is_cut {
            state.send_again(from, to);
        }
    }

    /// Breaks the connections between two hosts, seen by both.
    pub fn break_connections(&self, one: IpAddr, other: IpAddr) {
        let mut state = lock(&self.shared);
        state.break_pipes(|pipe| [(one, other), (other, one)].contains(&(pipe.from, pipe.to)));
        finish(state);
    }

    /// The machine is silent: what it sent last is lost, and nobody is told.
    pub fn power_off(&self, host: IpAddr) {
        let mut state = lock(&self.shared);
        state.off.insert(host);
        for pipe in state.pipes.values_mut() {
            if pipe.from == host || pipe.to == host {
                pipe.is_dead = true;
                pipe.under_way.clear();
            }
        }
    }

    /// The machine answers again, and what it does not know any more breaks.
    pub fn power_on(&self, host: IpAddr) {
        let mut state = lock(&self.shared);
        state.off.remove(&host);
        state.break_pipes(|pipe| pipe.is_dead && (pipe.from == host || pipe.to == host));
        finish(state);
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(EPHEMERAL_PORT);
        self.next_port
    }

    fn path(&self, from: IpAddr, to: IpAddr) -> Path {
        if from == to {
            return Path::default();
        }
        self.paths.get(&(from, to)).copied().unwrap_or(self.usual)
    }

    fn time_of_flight(&self, from: IpAddr, to: IpAddr) -> Duration {
        let path = self.path(from, to);
        let below = |span: Duration| {
            let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
            Duration::from_micros(self.rng.below(micros))
        };
        let mut time = path.latency + below(path.jitter);
        let mut again = RETRANSMIT;
        for _ in 0..RETRANSMITS_COUNT_MAX {
            if path.loss_per_mille == 0 || self.rng.below(1000) >= path.loss_per_mille {
                break;
            }
            time += again;
            again *= 2;
        }
        time
    }

    fn settle_connects(&mut self, shared: &Shared) {
        let due = self.connects.iter().filter(|(_, connect)| {
            let (from, to) = (connect.from, connect.to.ip());
            let is_open = !self.path(from, to).is_cut && !self.path(to, from).is_cut;
            connect.outcome.is_none()
                && connect.due <= self.now
                && is_open
                && !self.off.contains(&to)
        });
        let due: Vec<(u64, IpAddr, SocketAddr)> =
            due.map(|(id, connect)| (*id, connect.from, connect.to)).collect();
        for (id, from, to) in due {
            let outcome = self.establish(shared, from, to);
            if let Some(connect) = self.connects.get_mut(&id) {
                connect.outcome = Some(outcome);
                self.to_wake.extend(connect.waker.take());
            }
        }
    }

    fn establish(
        &mut self,
        shared: &Shared,
        from: IpAddr,
        to: SocketAddr,
    ) -> io::Result<SimStream> {
        let waiting = self.listeners.get(&to).map(|listening| listening.queue.len());
        if waiting.is_none_or(|waiting| waiting >= BACKLOG_COUNT) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (there, back) = (self.id(), self.id());
        self.pipes.insert(there, Pipe::new(from, to.ip()));
        self.pipes.insert(back, Pipe::new(to.ip(), from));
        let here = SimStream::new(shared, back, there);
        let far = SimStream::new(shared, there, back);
        let address = SocketAddr::from((from, self.port()));
        if let Some(listening) = self.listeners.get_mut(&to) {
            listening.queue.push_back((far, address));
            self.to_wake.extend(listening.waker.take());
        }
        Ok(here)
    }

    /// Moves what is due to where it can be read.
    fn deliver(&mut self, id: u64) {
        let now = self.now;
        let Some(pipe) = self.pipes.get(&id) else { return };
        if self.path(pipe.from, pipe.to).is_cut {
            return;
        }
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        let mut news = false;
        while pipe.under_way.front().is_some_and(|(due, _)| *due <= now) {
            news = true;
            match pipe.under_way.pop_front() {
                Some((_, Piece::Bytes(bytes))) if pipe.has_reader => {
                    pipe.arrived.extend_from_slice(&bytes);
                }
                // Nobody reads any more, which the writer learns by being refused.
                Some((_, Piece::Bytes(_))) => pipe.is_broken = true,
                Some((_, Piece::End)) => pipe.is_ended = true,
                None => {}
            }
        }
        if news {
            self.to_wake.extend(pipe.reader.take());
        }
        if pipe.is_broken {
            self.to_wake.extend(pipe.writer.take());
        }
    }

    /// What was held back comes within the time after which it is sent again.
    fn send_again(&mut self, from: IpAddr, to: IpAddr) {
        let micros = u64::try_from(RETRANSMIT.as_micros()).unwrap_or(u64::MAX);
        let pipes = self.pipes.values_mut().filter(|pipe| (pipe.from, pipe.to) == (from, to));
        for pipe in pipes {
            let earliest = self.now + Duration::from_micros(self.rng.below(micros));
            for (due, _) in &mut pipe.under_way {
                *due = earliest.max(*due);
            }
        }
    }

    fn break_pipes(&mut self, which: impl Fn(&Pipe) -> bool) {
        for pipe in self.pipes.values_mut().filter(|pipe| which(pipe)) {
            pipe.is_broken = true;
            pipe.under_way.clear();
            self.to_wake.extend(pipe.reader.take());
            self.to_wake.extend(pipe.writer.take());
        }
    }

    fn send(&mut self, id: u64, piece: Piece) {
        let Some(pipe) = self.pipes.get(&id) else { return };
        let due = self.now + self.time_of_flight(pipe.from, pipe.to);
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        if pipe.is_dead || pipe.is_broken {
            return;
        }
        let last = pipe.under_way.back().map(|(last, _)| *last);
        let sent: &[u8] = match &piece {
            Piece::Bytes(bytes) => bytes,
            Piece::End => &[],
        };
        pipe.bytes += sent.len();
        let head = [id.to_be_bytes(), due.as_secs().to_be_bytes()].concat();
        self.trace = crc32c::crc32c_append(self.trace, &head);
        self.trace = crc32c::crc32c_append(self.trace, &due.subsec_nanos().to_be_bytes());
        self.trace = crc32c::crc32c_append(self.trace, sent);
        tracing::trace!(now = ?self.now, id, ?due, bytes = sent.len(), trace = self.trace, "sent");
        pipe.under_way.push_back((last.map_or(due, |last| last.max(due)), piece));
        self.deliver(id);
    }
}

impl Pipe {
    fn new(from: IpAddr, to: IpAddr) -> Self {
        Self {
            from,
            to,
            under_way: VecDeque::new(),
            arrived: BytesMut::new(),
            bytes: 0,
            is_ended: false,
            is_broken: false,
            is_dead: false,
            has_reader: true,
            has_writer: true,
            reader: None,
            writer: None,
        }
    }
}

/// Forgets the attempt if nobody waits for it any more.
struct Connecting {
    shared: Shared,
    id: u64,
}

impl Connecting {
    fn poll(&self, cx: &Context<'_>) -> Poll<io::Result<SimStream>> {
        let mut state = lock(&self.shared);
        let Some(connect) = state.connects.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        match connect.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                connect.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        let connect = lock(&self.shared).connects.remove(&self.id);
        // A stream in there locks the network when it is dropped.
        drop(connect);
    }
}

#[cfg(test)]
mod tests;

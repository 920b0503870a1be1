//! The network seam: TCP in production, hosts in memory in a simulation.

pub mod sim;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub use sim::SimNet;
use sim::{SimListener, SimStream};

/// Makes listeners and connections.
#[derive(Debug, Clone)]
pub enum Net {
    Tcp,
    Sim(SimNet),
}

/// How sockets are set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketOptions {
    /// Connections that wait to be accepted; `None` is the system's usual number.
    pub backlog_count: Option<u32>,
    /// `None` leaves it to the system.
    pub send_buffer_bytes: Option<u32>,
    /// `None` leaves it to the system.
    pub receive_buffer_bytes: Option<u32>,
}

/// What the system is asked to hold if nothing is said.
const BACKLOG_COUNT: u32 = 1024;

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Sim(SimListener),
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Sim(SimStream),
}

impl Net {
    pub fn tcp() -> Self {
        Self::Tcp
    }

    /// An empty host is every interface; port 0 is any free port.
    pub async fn bind(
        &self,
        host: &str,
        port: u16,
        options: SocketOptions,
    ) -> io::Result<Listener> {
        match self {
            Self::Tcp => Ok(Listener::Tcp(bind_tcp(host, port, options).await?)),
            Self::Sim(sim) => Ok(Listener::Sim(sim.bind(host, port)?)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the network seam")]
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<Stream> {
        match self {
            Self::Tcp => {
                let stream = TcpStream::connect((host, port)).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Sim(sim) => Ok(Stream::Sim(sim.connect(host, port).await?)),
        }
    }
}

async fn bind_tcp(host: &str, port: u16, options: SocketOptions) -> io::Result<TcpListener> {
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in tokio::net::lookup_host((host, port)).await? {
        match bind_address(address, options) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind_address(address: SocketAddr, options: SocketOptions) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit both.
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(options.backlog_count.unwrap_or(BACKLOG_COUNT))
}

impl Listener {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Sim(listener) => Ok(listener.address()),
        }
    }

    /// The next connection and its peer's address. Cancel safe.
    pub async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are written whole; waiting for more to send only adds latency.
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Sim(listener) => {
                let (stream, peer) = listener.accept().await;
                Ok((Stream::Sim(stream), peer))
            }
        }
    }
}

impl Stream {
    /// The descriptor for `sendfile`, where there is one.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(stream) => Some(stream.as_fd()),
            Self::Sim(_) => None,
        }
    }

    /// Runs a non-blocking system call on the socket whenever it is writable, until it does not
    /// answer `WouldBlock`. Cancel safe: between calls nothing is held.
    pub async fn write_io<R>(&self, mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Tcp(stream) => stream.async_io(Interest::WRITABLE, &mut call).await,
            Self::Sim(_) => call(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Sim(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Sim(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Sim(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Sim(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Sim(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

//! One end of a simulated connection.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::net::sim::{Piece, Shared, finish, lock};

/// Bytes a connection holds in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// Dropping it ends the connection.
pub struct SimStream {
    shared: Shared,
    incoming: u64,
    outgoing: u64,
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStream").field("outgoing", &self.outgoing).finish_non_exhaustive()
    }
}

impl SimStream {
    pub(super) fn new(shared: &Shared, incoming: u64, outgoing: u64) -> Self {
        Self { shared: Arc::clone(shared), incoming, outgoing }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = lock(&self.shared);
        let Some(pipe) = state.pipes.get_mut(&self.incoming) else {
            return Poll::Ready(Ok(()));
        };
        if pipe.is_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.arrived.is_empty() {
            if pipe.is_ended {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let size = pipe.arrived.len().min(buf.remaining());
        buf.put_slice(pipe.arrived.get(..size).unwrap_or_default());
        pipe.arrived.advance(size);
        pipe.bytes -= size;
        let writer = pipe.writer.take();
        state.to_wake.extend(writer);
        finish(state);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.shared);
        let Some(pipe) = state.pipes.get_mut(&self.outgoing) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if pipe.is_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let free = PIPE_BYTES.saturating_sub(pipe.bytes);
        if free == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let size = free.min(buf.len());
        let bytes = Bytes::copy_from_slice(buf.get(..size).unwrap_or_default());
        state.send(self.outgoing, Piece::Bytes(bytes));
        finish(state);
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.shared);
        state.send(self.outgoing, Piece::End);
        finish(state);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.send(self.outgoing, Piece::End);
        if let Some(pipe) = state.pipes.get_mut(&self.outgoing) {
            pipe.has_writer = false;
        }
        if let Some(pipe) = state.pipes.get_mut(&self.incoming) {
            pipe.has_reader = false;
            pipe.arrived.clear();
        }
        for id in [self.incoming, self.outgoing] {
            let unused = state.pipes.get(&id).is_some_and(|p| !p.has_reader && !p.has_writer);
            if unused {
                state.pipes.remove(&id);
            }
        }
        finish(state);
    }
}

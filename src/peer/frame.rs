//! Frames between nodes: `[u32 length][u8 mark][u64 call id][payload]`; the length counts what
//! follows it. A payload is read into memory of its own, which grows with what has come in, so that
//! a length alone costs nothing and a slice of the payload keeps nothing else alive.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::peer::Body;

/// The largest payload: a produce request of the largest size (`socket.request.max.bytes`) fits.
pub const PAYLOAD_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Length, mark and call id.
pub(super) const HEAD_BYTES: usize = 13;
/// Mark and call id, which the length counts.
const COUNTED_HEAD_BYTES: usize = 9;
/// Read ahead at most: many small frames come with one system call, and a large one is not copied.
const AHEAD_BYTES: usize = 4 * 1024;
/// Reserved at once for a payload of which nothing has come in.
const TRUSTED_BYTES: usize = 256 * 1024;
/// Memory for the heads of frames is taken in pieces of this size.
const HEADS_BYTES: usize = 4 * 1024;
/// Pieces in one vectored write.
const SLICES_COUNT_MAX: usize = 64;

/// A frame as received.
#[derive(Debug)]
pub(super) struct Frame {
    pub mark: u8,
    pub call: u64,
    pub payload: Bytes,
}

/// Cuts a stream into frames.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    /// Received and not yet part of a payload.
    ahead: BytesMut,
    partial: Option<Partial>,
}

/// A frame whose payload is coming in.
#[derive(Debug)]
struct Partial {
    mark: u8,
    call: u64,
    size: usize,
    payload: BytesMut,
}

impl FrameReader {
    /// The next frame; `None` if the stream ends between two frames.
    pub(super) fn poll_frame<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Frame>>> {
        loop {
            if self.partial.is_none() {
                self.partial = self.begin()?;
            }
            let got = match &mut self.partial {
                Some(partial) if partial.payload.len() == partial.size => {
                    return Poll::Ready(Ok(self.partial.take().map(Partial::frame)));
                }
                Some(partial) => ready!(partial.poll_read(stream, cx))?,
                None => {
                    self.ahead.reserve(AHEAD_BYTES);
                    let mut room = (&mut self.ahead).limit(AHEAD_BYTES);
                    ready!(poll_read(stream, &mut room, cx))?
                }
            };
            if got == 0 {
                let whole = self.partial.is_none() && self.ahead.is_empty();
                let cut = Err(io::ErrorKind::UnexpectedEof.into());
                return Poll::Ready(if whole { Ok(None) } else { cut });
            }
        }
    }

    /// Takes a head, and what has come in after it.
    fn begin(&mut self) -> io::Result<Option<Partial>> {
        if self.ahead.len() < HEAD_BYTES {
            return Ok(None);
        }
        let length = usize::try_from(self.ahead.get_u32()).unwrap_or(usize::MAX);
        let size = length.checked_sub(COUNTED_HEAD_BYTES);
        let Some(size) = size.filter(|size| *size <= PAYLOAD_BYTES_MAX) else {
            let text = format!("a frame of {length} bytes is not allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        let (mark, call) = (self.ahead.get_u8(), self.ahead.get_u64());
        let mut payload = BytesMut::with_capacity(size.min(TRUSTED_BYTES));
        let here = self.ahead.split_to(size.min(self.ahead.len()));
        payload.extend_from_slice(&here);
        Ok(Some(Partial { mark, call, size, payload }))
    }
}

impl Partial {
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let missing = self.size - self.payload.len();
        if self.payload.capacity() == self.payload.len() {
            self.payload.reserve(missing.min(self.payload.len().max(TRUSTED_BYTES)));
        }
        poll_read(stream, &mut (&mut self.payload).limit(missing), cx)
    }

    fn frame(self) -> Frame {
        Frame { mark: self.mark, call: self.call, payload: self.payload.freeze() }
    }
}

/// Reads what there is, without clearing the memory first.
fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    into: &mut impl BufMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    // The future holds nothing between two polls, so a new one continues.
    pin!(stream.read_buf(into)).poll(cx)
}

/// Frames on their way out: all that wait go with one system call.
#[derive(Debug, Default)]
pub(super) struct FrameWriter {
    heads: BytesMut,
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl FrameWriter {
    /// `body` must not be larger than [`PAYLOAD_BYTES_MAX`].
    pub(super) fn push(&mut self, mark: u8, call: u64, body: Body) {
        let size = body_bytes(&body);
        if self.heads.capacity() < HEAD_BYTES {
            self.heads.reserve(HEADS_BYTES);
        }
        self.heads.put_u32(u32::try_from(size + COUNTED_HEAD_BYTES).unwrap_or(u32::MAX));
        self.heads.put_u8(mark);
        self.heads.put_u64(call);
        self.pieces.push_back(self.heads.split().freeze());
        self.pieces.extend(body.into_iter().filter(|piece| !piece.is_empty()));
        self.bytes += HEAD_BYTES + size;
    }

    /// What is not written yet.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes until nothing is left.
    pub(super) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_COUNT_MAX];
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
            }
            let filled = slices.get(..self.pieces.len()).unwrap_or(&slices);
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, filled))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(written);
        }
        Poll::Ready(Ok(()))
    }

    fn written(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(first) = self.pieces.front_mut() {
            if first.len() > count {
                first.advance(count);
                break;
            }
            count -= first.len();
            self.pieces.pop_front();
        }
    }
}

pub(super) fn body_bytes(body: &[Bytes]) -> usize {
    body.iter().map(Bytes::len).sum()
}

#[cfg(test)]
mod tests;

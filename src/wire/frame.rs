//! Frames from a connection: a 4-byte length and as many bytes, one buffer a frame.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is read at once when no frame is known yet.
const READ_BYTES: usize = 64 * 1024;
/// A buffer of this size is reserved for a frame at its length's word; a larger one grows with what
/// arrives.
const TRUSTED_BYTES: usize = 1024 * 1024;
const LENGTH_BYTES: usize = 4;

/// Why no more frames come.
#[derive(Debug)]
pub enum FrameError {
    /// The peer closed the connection between two frames.
    Closed,
    Io(io::Error),
    /// The length is negative or larger than `socket.request.max.bytes`.
    Length(i32),
}

/// A frame without its length, and its share of the broker's budget of request bytes.
#[derive(Debug)]
pub struct Frame {
    pub bytes: Bytes,
    pub charge: Charge,
}

/// What a request takes of the budget; given back when it is dropped.
#[derive(Debug, Default)]
pub struct Charge {
    bytes: Option<OwnedSemaphorePermit>,
    /// The right to go beyond the budget.
    overdraft: Option<OwnedSemaphorePermit>,
}

/// The bytes that requests may hold, all connections together (`queued.max.request.bytes`). They
/// are taken as they arrive, not as they are announced. When they are used up, one frame at a time
/// may still be read to its end, so that frames which are partly read cannot block each other.
#[derive(Debug, Clone)]
pub struct RequestBudget {
    bytes: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
}

impl RequestBudget {
    pub fn new(bytes_max: u64) -> Self {
        let permits = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { bytes: Arc::new(Semaphore::new(permits)), overdraft: Arc::new(Semaphore::new(1)) }
    }

    /// Waits until `charge` covers `size` bytes, or may go without. Cancel safe.
    async fn cover(&self, charge: &mut Charge, size: usize) -> io::Result<()> {
        let held = charge.bytes.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(size.saturating_sub(held)).unwrap_or(u32::MAX);
        if missing == 0 || charge.overdraft.is_some() {
            return Ok(());
        }
        tokio::select! {
            biased;
            taken = Arc::clone(&self.bytes).acquire_many_owned(missing) => {
                let taken = taken.map_err(io::Error::other)?;
                match &mut charge.bytes {
                    Some(held) => held.merge(taken),
                    none => *none = Some(taken),
                }
            }
            token = Arc::clone(&self.overdraft).acquire_owned() => {
                charge.overdraft = Some(token.map_err(io::Error::other)?);
            }
        }
        Ok(())
    }
}

/// Cuts frames out of what a connection sends.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    budget: RequestBudget,
    size_max: usize,
    /// Of the frame that is being read.
    charge: Charge,
}

impl FrameReader {
    pub fn new(budget: RequestBudget, size_max: u32) -> Self {
        let size_max = usize::try_from(size_max).unwrap_or(usize::MAX);
        Self { buffer: BytesMut::new(), budget, size_max, charge: Charge::default() }
    }

    /// The next frame. Cancel safe: what has been read stays in the buffer.
    pub async fn next<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> Result<Frame, FrameError> {
        loop {
            let Some(size) = self.size()? else {
                self.buffer.reserve(READ_BYTES);
                self.fill(stream).await?;
                continue;
            };
            let arrived = self.buffer.len().saturating_sub(LENGTH_BYTES).min(size);
            self.budget.cover(&mut self.charge, arrived).await.map_err(FrameError::Io)?;
            if arrived == size {
                let _length = self.buffer.split_to(LENGTH_BYTES);
                let bytes = self.buffer.split_to(size).freeze();
                return Ok(Frame { bytes, charge: std::mem::take(&mut self.charge) });
            }
            let missing = LENGTH_BYTES + size - self.buffer.len();
            let step = TRUSTED_BYTES.max(self.buffer.len());
            self.buffer.reserve(missing.min(step));
            self.fill(stream).await?;
        }
    }

    fn size(&self) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(size) if size <= self.size_max => Ok(Some(size)),
            _ => Err(FrameError::Length(length)),
        }
    }

    async fn fill<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<(), FrameError> {
        match stream.read_buf(&mut self.buffer).await {
            Ok(0) if self.buffer.is_empty() => Err(FrameError::Closed),
            Ok(0) => Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(FrameError::Io(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_however_they_arrive(
            frames in vec(vec(any::<u8>(), 0..300), 0..8),
            cut in 1usize..40,
        ) {
            let mut sent = Vec::new();
            for frame in &frames {
                sent.extend_from_slice(&u32::try_from(frame.len()).expect("small").to_be_bytes());
                sent.extend_from_slice(frame);
            }
            let mut script = tokio_test_io(&sent, cut);
            let budget = RequestBudget::new(1000);
            let mut reader = FrameReader::new(budget.clone(), 1000);
            runtime().block_on(async {
                for frame in &frames {
                    let got = reader.next(&mut script).await.expect("a frame");
                    assert_eq!(&got.bytes[..], &frame[..]);
                }
                assert!(matches!(reader.next(&mut script).await, Err(FrameError::Closed)));
            });
            prop_assert_eq!(budget.bytes.available_permits(), 1000);
        }
    }

    /// A reader that gives `cut` bytes at a time.
    fn tokio_test_io(sent: &[u8], cut: usize) -> impl AsyncRead + Unpin + use<> {
        struct Slow(Vec<u8>, usize, usize);
        impl AsyncRead for Slow {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                let this = self.get_mut();
                let end = (this.1 + this.2.min(buf.remaining())).min(this.0.len());
                buf.put_slice(&this.0[this.1..end]);
                this.1 = end;
                std::task::Poll::Ready(Ok(()))
            }
        }
        Slow(sent.to_vec(), 0, cut)
    }

    #[test]
    fn a_used_up_budget_lets_one_frame_at_a_time_through() {
        runtime().block_on(async {
            let budget = RequestBudget::new(100);
            let mut charges = [Charge::default(), Charge::default(), Charge::default()];
            let [first, second, third] = &mut charges;
            budget.cover(first, 60).await.expect("within the budget");
            budget.cover(second, 60).await.expect("by overdraft");
            budget.cover(second, 600).await.expect("to its end");
            let waits = budget.cover(third, 60);
            tokio::pin!(waits);
            assert!(futures_util::poll!(&mut waits).is_pending());
            drop(std::mem::take(first));
            waits.await.expect("there is room again");
        });
    }

    #[test]
    fn bad_lengths_are_refused_before_anything_is_reserved() {
        for length in [-1, i32::MIN, 1001, i32::MAX] {
            let mut reader = FrameReader::new(RequestBudget::new(1000), 1000);
            let mut script = tokio_test_io(&length.to_be_bytes(), 4);
            let got = runtime().block_on(reader.next(&mut script));
            assert!(matches!(got, Err(FrameError::Length(found)) if found == length));
            assert!(reader.buffer.capacity() <= READ_BYTES);
        }
    }
}

//! Responses to the socket: many small ones with one vectored write, records from the page cache
//! with `sendfile`, without passing through this process.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::api::response::Chunk;
use crate::base::net::Stream;
use crate::log::partition_log::LogSlice;

/// Records up to this size are read and sent together with what is around them: one system call
/// more costs more than the copy.
const COPY_BYTES_MAX: u32 = 32 * 1024;
/// Slices in one vectored write.
const SLICES_COUNT_MAX: usize = 64;

/// Writes all chunks, in order; returns how many bytes. Not cancel safe: a connection that is
/// cancelled in between must be closed.
pub(super) async fn send(stream: &mut Stream, chunks: Vec<Chunk>) -> io::Result<u64> {
    let mut waiting: VecDeque<Bytes> = VecDeque::with_capacity(chunks.len());
    let mut sent = 0;
    for chunk in chunks {
        sent += chunk.size() as u64;
        match chunk {
            Chunk::Bytes(bytes) => waiting.push_back(bytes),
            Chunk::File(slice) => {
                let by_kernel = slice.size > COPY_BYTES_MAX
                    && stream.as_fd().is_some()
                    && slice.files.log.as_fd().is_some();
                if by_kernel {
                    write_all(stream, &mut waiting).await?;
                    send_file(stream, &slice).await?;
                } else {
                    waiting.push_back(slice.read()?);
                }
            }
        }
    }
    write_all(stream, &mut waiting).await?;
    Ok(sent)
}

async fn write_all<S: AsyncWrite + Unpin>(
    stream: &mut S,
    waiting: &mut VecDeque<Bytes>,
) -> io::Result<()> {
    while !waiting.is_empty() {
        let slices: Vec<IoSlice<'_>> =
            waiting.iter().take(SLICES_COUNT_MAX).map(|bytes| IoSlice::new(bytes)).collect();
        let mut written = stream.write_vectored(&slices).await?;
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = waiting.front_mut() {
            if first.len() > written {
                first.advance(written);
                break;
            }
            written -= first.len();
            waiting.pop_front();
        }
    }
    Ok(())
}

async fn send_file(stream: &Stream, slice: &LogSlice) -> io::Result<()> {
    let mut offset = u64::from(slice.position);
    let end = offset + u64::from(slice.size);
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let sent = stream
            .write_io(|| match (stream.as_fd(), slice.files.log.as_fd()) {
                (Some(to), Some(from)) => {
                    rustix::fs::sendfile(to, from, Some(&mut offset), left).map_err(io::Error::from)
                }
                _ => Err(io::ErrorKind::Unsupported.into()),
            })
            .await?;
        if sent == 0 {
            // The file is shorter than the log says: the peer cannot get what it was told.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

//! A response on its way to the socket: bytes, and slices of segment files that are sent without
//! being read.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request};

use crate::api::errors::NONE;
use crate::log::partition_log::LogSlice;

/// A part of a response.
#[derive(Debug, Clone)]
pub enum Chunk {
    Bytes(Bytes),
    File(LogSlice),
}

/// A whole response frame, its length prefix included.
#[derive(Debug, Default)]
pub struct Response {
    pub chunks: Vec<Chunk>,
    /// The error codes in it, for the metrics.
    pub errors: Vec<i16>,
}

impl Chunk {
    pub fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(slice) => slice.size as usize,
        }
    }
}

impl Response {
    /// Encodes a message that has no files in it.
    pub fn encode<R: Request>(
        correlation_id: i32,
        version: i16,
        message: &R::Response,
    ) -> Result<Self, String> {
        let header = ResponseHeader::default().with_correlation_id(correlation_id);
        let header_version = R::Response::header_version(version);
        let text = |error| format!("{error:#}");
        let size = message.compute_size(version).map_err(text)?;
        let mut out = BytesMut::with_capacity(size + 16);
        out.put_i32(0);
        header.encode(&mut out, header_version).map_err(text)?;
        message.encode(&mut out, version).map_err(text)?;
        Ok(Self::of_frame(out))
    }

    /// A frame whose first four bytes are free for its length.
    pub fn of_frame(mut frame: BytesMut) -> Self {
        let size = i32::try_from(frame.len().saturating_sub(4)).unwrap_or(i32::MAX);
        if let Some(prefix) = frame.get_mut(..4) {
            prefix.copy_from_slice(&size.to_be_bytes());
        }
        Self { chunks: vec![Chunk::Bytes(frame.freeze())], errors: Vec::new() }
    }

    /// Notes which of these codes are errors.
    #[must_use]
    pub fn with_errors(mut self, codes: impl Iterator<Item = i16>) -> Self {
        self.errors.extend(codes.filter(|code| *code != NONE));
        self
    }

    /// The whole frame's size in bytes.
    pub fn size(&self) -> usize {
        self.chunks.iter().map(Chunk::size).sum()
    }
}

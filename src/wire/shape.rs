//! The shape guard: no length on the wire is believed before it has been held against the frame.
//!
//! kafka-protocol reserves as many array elements as the wire announces, so that four bytes could
//! end the process. Each request therefore passes [`check_header`] and [`check`] first. What they
//! let through has these properties:
//!
//! * every length, count and tagged field lies within the frame, and null stands only where the
//!   schema of that version allows it;
//! * a struct has at most [`Limits::tagged_fields_max`] tagged fields;
//! * decoding it from `Bytes` allocates no more than [`Limits::decoded_bytes_max`], so that frame
//!   and request together stay below four times the frame plus 1 MiB.
//!
//! Text is not checked for UTF-8 except for the client id; the decoder does that without harm.
//!
//! Bytes behind the end of a body are allowed, as Apache Kafka 4.3.1 answers such requests too
//! (tried with Metadata v1 and v12, ApiVersions v0 and v3, and Produce v3).
//!
//! The shapes are generated from Kafka's schemas by `compat-tests/schemas/shapes.py`.

mod header;
mod schema;
#[rustfmt::skip]
mod table;
#[rustfmt::skip]
mod table_high;
#[rustfmt::skip]
mod table_low;
mod walk;

#[cfg(test)]
mod tests;

use std::fmt;

pub use header::{Header, HeaderError, Opening, check_header};
use schema::Request;
use walk::Walk;

/// How much a frame may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Tagged fields per struct, known and unknown together.
    pub tagged_fields_max: u32,
    /// Bytes that decoding may allocate for each byte of the body …
    pub decoded_bytes_per_byte_max: usize,
    /// … and beyond that for any body.
    pub decoded_bytes_free: usize,
}

impl Default for Limits {
    /// The frame itself is the fourth of the four bytes per byte; 64 KiB of the MiB are left for
    /// error values and the decoder's small change.
    fn default() -> Self {
        Self {
            tagged_fields_max: 64,
            decoded_bytes_per_byte_max: 3,
            decoded_bytes_free: (1 << 20) - (64 << 10),
        }
    }
}

impl Limits {
    /// Bytes that decoding a body of this size may allocate.
    #[must_use]
    pub fn decoded_bytes_max(&self, body_size: usize) -> usize {
        body_size
            .saturating_mul(self.decoded_bytes_per_byte_max)
            .saturating_add(self.decoded_bytes_free)
    }
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    UnknownKey,
    UnknownVersion,
    /// Something reaches beyond the end of the frame.
    Truncated,
    /// A length below -1.
    Length,
    /// Null where the schema wants a value.
    Null,
    /// More elements than the rest of the frame can hold.
    Count,
    /// More than 32 bits in a varint.
    Varint,
    /// A byte before a nullable struct that means neither null nor present.
    Presence,
    /// Too many tagged fields in one struct.
    TaggedFields,
    /// A tagged field that does not belong to this version.
    TagVersion,
    /// A known tagged field that is shorter or longer than it says.
    TagSize,
    /// Well formed, but too large in memory for its size on the wire.
    Memory,
    /// A client id that is not UTF-8.
    Text,
}

/// Why a frame is refused, and how far into the frame or body the walk had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapeError {
    pub fault: Fault,
    pub position: usize,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::UnknownKey => "unknown api key",
            Fault::UnknownVersion => "unknown version",
            Fault::Truncated => "frame ends early",
            Fault::Length => "negative length",
            Fault::Null => "null where a value is needed",
            Fault::Count => "array larger than the frame",
            Fault::Varint => "varint of more than 32 bits",
            Fault::Presence => "struct neither null nor present",
            Fault::TaggedFields => "too many tagged fields",
            Fault::TagVersion => "tagged field of another version",
            Fault::TagSize => "tagged field of another size",
            Fault::Memory => "request too large in memory",
            Fault::Text => "client id is not utf-8",
        };
        write!(f, "{what} at byte {}", self.position)
    }
}

impl std::error::Error for ShapeError {}

/// Checks the body of a request, which begins behind the header.
pub fn check(
    api_key: i16,
    api_version: i16,
    body: &[u8],
    limits: &Limits,
) -> Result<(), ShapeError> {
    let (request, version) =
        find(api_key, api_version).map_err(|fault| ShapeError { fault, position: 0 })?;
    let mut walk = Walk::new(body, version, version >= request.flexible, limits);
    walk.spend(request.body.memory)?;
    walk.structure(request.body)
}

/// The request of that key, and the version as the table counts.
fn find(api_key: i16, api_version: i16) -> Result<(&'static Request, u8), Fault> {
    let index = table::REQUESTS
        .binary_search_by_key(&api_key, |request| request.key)
        .map_err(|_| Fault::UnknownKey)?;
    let request = table::REQUESTS.get(index).ok_or(Fault::UnknownKey)?;
    match u8::try_from(api_version) {
        Ok(version) if request.has(version) => Ok((request, version)),
        _ => Err(Fault::UnknownVersion),
    }
}

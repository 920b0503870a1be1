//! The request header: which one a request has, and where the body begins.
//!
//! Header version 2 goes with the flexible versions of a request, version 1 with the others.
//! Version 0 belonged to ControlledShutdown v0 alone, which no broker speaks any more. The client
//! id keeps its two-byte length in version 2, so that a broker can read the header of an
//! ApiVersions request that is newer than itself.

use std::fmt;

use super::schema::Shape;
use super::walk::Walk;
use super::{Fault, Limits, ShapeError, find};

/// The header has tagged fields, but none that are known.
static TAGS_ONLY: Shape = Shape { memory: 0, fields: &[], tagged: &[] };

/// The eight bytes that open every request, whatever its key and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
}

/// A request header that has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    pub opening: Opening,
    pub client_id: Option<&'a str>,
    /// Where in the frame the body begins.
    pub body_start: usize,
}

/// A frame whose header is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderError {
    /// There if the frame has the eight bytes, so that an ApiVersions request of an unknown version
    /// can be answered (KIP-511).
    pub opening: Option<Opening>,
    pub error: ShapeError,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request header: {}", self.error)?;
        match self.opening {
            Some(Opening { api_key, api_version, .. }) => {
                write!(f, " (api key {api_key}, version {api_version})")
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for HeaderError {}

/// Checks the header of a request frame, which comes without its length prefix.
pub fn check_header<'a>(frame: &'a [u8], limits: &Limits) -> Result<Header<'a>, HeaderError> {
    let mut walk = Walk::new(frame, 0, true, limits);
    let opening = opening(&mut walk).map_err(|error| HeaderError { opening: None, error })?;
    rest(&mut walk, opening).map_err(|error| HeaderError { opening: Some(opening), error })
}

fn opening(walk: &mut Walk<'_>) -> Result<Opening, ShapeError> {
    Ok(Opening {
        api_key: i16::from_be_bytes(walk.array()?),
        api_version: i16::from_be_bytes(walk.array()?),
        correlation_id: i32::from_be_bytes(walk.array()?),
    })
}

fn rest<'a>(walk: &mut Walk<'a>, opening: Opening) -> Result<Header<'a>, ShapeError> {
    let (request, version) =
        find(opening.api_key, opening.api_version).map_err(|fault| walk.error(fault))?;
    let client_id = match i16::from_be_bytes(walk.array()?) {
        -1 => None,
        length => {
            let length = usize::try_from(length).map_err(|_| walk.error(Fault::Length))?;
            let text = str::from_utf8(walk.take(length)?);
            Some(text.map_err(|_| walk.error(Fault::Text))?)
        }
    };
    if version >= request.flexible {
        walk.tagged_fields(&TAGS_ONLY)?;
    }
    Ok(Header { opening, client_id, body_start: walk.position() })
}

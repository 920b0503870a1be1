//! A connection to a broker, one request at a time.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::base::net::{Net, Stream};

/// Longer than the broker lets any change take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(40);
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// A larger answer is not one of a broker.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Client {
    stream: Stream,
    last_id: i32,
}

impl Client {
    pub(super) async fn connect(address: &str) -> io::Result<Self> {
        let wrong = || io::Error::other(format!("{address} is not HOST:PORT"));
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let connected = timeout(CONNECT_WAIT_MAX, Net::tcp().connect(host, port)).await;
        let refused = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("{address} can not be reached: {error}"))
        };
        let stream =
            connected.map_err(|error| refused(&error))?.map_err(|error| refused(&error))?;
        Ok(Self { stream, last_id: 0 })
    }

    pub(super) async fn call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> io::Result<R::Response> {
        self.last_id += 1;
        let frame = frame(self.last_id, version, request)?;
        let answered = async {
            self.stream.write_all(&frame).await?;
            let size = self.stream.read_u32().await?;
            let size = usize::try_from(size).ok().filter(|size| *size <= ANSWER_BYTES_MAX);
            let mut body = vec![0; size.ok_or(io::ErrorKind::InvalidData)?];
            self.stream.read_exact(&mut body).await?;
            io::Result::Ok(Bytes::from(body))
        };
        let mut body = timeout(ANSWER_WAIT_MAX, answered).await.map_err(io::Error::other)??;
        let text = |error| io::Error::other(format!("an answer could not be read: {error:#}"));
        ResponseHeader::decode(&mut body, R::Response::header_version(version)).map_err(text)?;
        R::Response::decode(&mut body, version).map_err(text)
    }
}

fn frame<R: Request>(id: i32, version: i16, request: &R) -> io::Result<Bytes> {
    let text = |error| io::Error::other(format!("a request could not be written: {error:#}"));
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(StrBytes::from_static_str("ottla-cluster")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version)).map_err(text)?;
    request.encode(&mut body, version).map_err(text)?;
    let mut out = BytesMut::with_capacity(body.len() + 4);
    out.put_u32(u32::try_from(body.len()).map_err(io::Error::other)?);
    out.put_slice(&body);
    Ok(out.freeze())
}

/// A broker's error as one of ours, in its own words if it has some.
pub(super) fn check(code: i16, message: Option<&StrBytes>) -> io::Result<()> {
    match (ResponseError::try_from_code(code), message) {
        (None, _) => Ok(()),
        (Some(_), Some(message)) if !message.is_empty() => {
            Err(io::Error::other(message.to_string()))
        }
        (Some(error), _) => Err(io::Error::other(format!("the broker answered {error}"))),
    }
}

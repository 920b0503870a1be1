//! One call over a connection of its own.

use std::future::poll_fn;
use std::io;

use bytes::Bytes;

use crate::base::env::Env;
use crate::peer::frame::{FrameReader, FrameWriter, PAYLOAD_BYTES_MAX, body_bytes};
use crate::peer::handshake::{Hello, Welcome, greet};
use crate::peer::link::{answer, unreachable};
use crate::peer::{Body, CallError, Kind, Lane};

pub(super) async fn call(
    env: &Env,
    (host, port): (&str, u16),
    kind: Kind,
    body: Body,
) -> Result<Bytes, CallError> {
    if body_bytes(&body) > PAYLOAD_BYTES_MAX {
        return Err(CallError::Refused("the call is too large".to_owned()));
    }
    let failed = |error: io::Error| unreachable(&error);
    let mut stream = env.net.connect(host, port).await.map_err(failed)?;
    let hello = Hello { lane: Lane::Control, caller: None };
    if let Welcome::Refused(reason) = greet(&mut stream, &hello).await.map_err(failed)? {
        return Err(CallError::Refused(reason));
    }
    let (mut writer, mut reader) = (FrameWriter::default(), FrameReader::default());
    writer.push(kind as u8, 0, body);
    poll_fn(|cx| writer.poll_flush(&mut stream, cx)).await.map_err(failed)?;
    let frame = poll_fn(|cx| reader.poll_frame(&mut stream, cx)).await.map_err(failed)?;
    let closed = || unreachable(&io::ErrorKind::UnexpectedEof.into());
    answer(frame.ok_or_else(closed)?)
}

//! A request frame, as it follows the length prefix: header, guard, decoder.
//!
//! Run with `-malloc_limit_mb=2 -max_len=65536`: no frame of that size may want more.

#![no_main]

#[allow(dead_code, reason = "tests use more of it")]
#[path = "../../../src/wire/shape/tests/messages.rs"]
mod messages;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla::wire::shape::{Limits, Opening, check, check_header};

fuzz_target!(|frame: &[u8]| {
    let limits = Limits::default();
    let Ok(header) = check_header(frame, &limits) else { return };
    let Opening { api_key, api_version, .. } = header.opening;
    let mut body = Bytes::copy_from_slice(&frame[header.body_start..]);
    if check(api_key, api_version, &body, &limits).is_err() {
        return;
    }
    if let Some(codecs) = messages::CODECS.iter().find(|codecs| codecs.key == api_key) {
        let _ = (codecs.request.decode)(&mut body, api_version);
    }
});

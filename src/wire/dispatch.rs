//! From a frame to the API that it asks for.

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;

use crate::api::response::Response;
use crate::api::{self, Api, RawRequest, api_versions};
use crate::wire::shape::{self, Limits, Opening};

/// What a frame is.
#[derive(Debug)]
pub enum Dispatched {
    Request(&'static Api, RawRequest),
    /// An ApiVersions request of a version that nobody knows yet (KIP-511).
    Answer(Response),
    /// Nothing that can be answered.
    Close(String),
}

/// Checks header and shape; nothing is decoded before this.
pub fn dispatch(frame: &Bytes, limits: &Limits) -> Dispatched {
    let header = match shape::check_header(frame, limits) {
        Ok(header) => header,
        Err(error) => return refuse(error.opening, &error),
    };
    let Opening { api_key, api_version, correlation_id } = header.opening;
    let Some(api) = api::find(api_key) else {
        return Dispatched::Close(format!("api key {api_key} is not served"));
    };
    if !(api.min..=api.max).contains(&api_version) {
        let text = format!("{} version {api_version} is not served", api.name);
        return refuse(Some(header.opening), &text);
    }
    let body = frame.slice(header.body_start..);
    let client_id = header.client_id.map(|id| frame.slice_ref(id.as_bytes()));
    // What is read by hand bounds its own memory.
    let limits = match api.run {
        api::Run::InTurn(_) => *limits,
        api::Run::Staged(_) => Limits { decoded_bytes_free: usize::MAX / 2, ..*limits },
    };
    match shape::check(api_key, api_version, &body, &limits) {
        Ok(()) => {
            let version = api_version;
            Dispatched::Request(api, RawRequest { version, correlation_id, client_id, body })
        }
        Err(error) => Dispatched::Close(format!("{} version {api_version}: {error}", api.name)),
    }
}

fn refuse(opening: Option<Opening>, why: &dyn std::fmt::Display) -> Dispatched {
    match opening {
        Some(Opening { api_key: api_versions::KEY, correlation_id, .. }) => {
            let list = api_versions::unsupported();
            match Response::encode::<ApiVersionsRequest>(correlation_id, 0, &list) {
                Ok(response) => {
                    Dispatched::Answer(response.with_errors(api_versions::errors(&list)))
                }
                Err(error) => Dispatched::Close(error),
            }
        }
        _ => Dispatched::Close(why.to_string()),
    }
}

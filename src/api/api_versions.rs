//! ApiVersions (key 18), versions 0 to 4: which APIs and versions this broker serves.
//!
//! Behaviour
//! * The response header is always version 0, without tagged fields, so that a client of any age
//!   can read it.
//! * An unknown version is answered in version 0 with UNSUPPORTED_VERSION and the list
//!   (KIP-511); `wire` does that.
//! * From version 3 on client name and version must match Kafka's pattern, else INVALID_REQUEST.
//! * Features are told from version 3 on: the levels that this broker knows, and those that the
//!   cluster has agreed on, with the metadata's offset as their epoch.
//!
//! Versions: 1 and 2 add and order the throttle time; 3 is flexible and adds client software and
//! features; 4 allows a feature range that begins at 0 (KIP-1022).

use kafka_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::TABLE;
use crate::api::context::Caller;
use crate::api::errors::{Code, NONE};
use crate::metadata::features;
use crate::metadata::image::Image;

/// The API's key.
pub const KEY: i16 = 18;

pub(super) async fn handle(
    caller: &Caller,
    request: ApiVersionsRequest,
    version: i16,
) -> ApiVersionsResponse {
    if version >= 3 {
        let name = request.client_software_name.as_str();
        let software = request.client_software_version.as_str();
        if !is_software_text(name) || !is_software_text(software) {
            return response(Code::InvalidRequest.code());
        }
    }
    with_features(response(NONE), &caller.context.image())
}

/// The codes in a response.
pub(crate) fn errors(response: &ApiVersionsResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

/// What an unknown version of this API is answered with.
pub fn unsupported() -> ApiVersionsResponse {
    let range = |api: &&crate::api::Api| api.key == KEY;
    let own = TABLE.iter().filter(range).map(line).collect();
    ApiVersionsResponse::default()
        .with_error_code(Code::UnsupportedVersion.code())
        .with_api_keys(own)
}

fn line(api: &crate::api::Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key)
        .with_min_version(api.advertised_min)
        .with_max_version(api.max)
}

fn with_features(response: ApiVersionsResponse, image: &Image) -> ApiVersionsResponse {
    let name = |name: &str| StrBytes::from_string(name.to_owned());
    let supported = features::SUPPORTED.iter().map(|feature| {
        SupportedFeatureKey::default()
            .with_name(name(feature.name))
            .with_min_version(feature.min)
            .with_max_version(feature.max)
    });
    let finalized = image.features.iter().map(|(feature, level)| {
        FinalizedFeatureKey::default()
            .with_name(name(feature))
            .with_min_version_level(*level)
            .with_max_version_level(*level)
    });
    response
        .with_supported_features(supported.collect())
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(i64::try_from(image.offset).unwrap_or(i64::MAX))
}

fn response(error: i16) -> ApiVersionsResponse {
    ApiVersionsResponse::default()
        .with_error_code(error)
        .with_api_keys(TABLE.iter().map(line).collect())
        .with_supported_features(Vec::<SupportedFeatureKey>::new())
        .with_finalized_features_epoch(-1)
        .with_finalized_features(Vec::<FinalizedFeatureKey>::new())
}

/// Letters, digits, dots and dashes, the first and last a letter or digit
/// (`ApiVersionsRequest.SOFTWARE_NAME_VERSION_PATTERN`).
fn is_software_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

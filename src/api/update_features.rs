//! UpdateFeatures (key 57), versions 0 to 2: agree on other levels of features (KIP-584).
//!
//! Behaviour
//! * All updates are made, or none.
//!
//! Versions: 1 kinds of downgrades and validation only (KIP-778), 2 no results by feature.

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::{Caller, Deadline};
use crate::api::errors::{NONE, Told};
use crate::controller::update_features::{self, Direction, Update};
use crate::metadata::image::Image;

/// The first version that tells the outcome for all features at once.
const FIRST_WITHOUT_RESULTS: i16 = 2;

pub(super) async fn handle(
    caller: &Caller,
    request: UpdateFeaturesRequest,
    version: i16,
) -> UpdateFeaturesResponse {
    let context = &caller.context;
    let updates: Vec<Update> =
        request.feature_updates.iter().map(|update| wanted(update, version)).collect();
    let decide = |image: &Image| {
        update_features::decide(image, context.node, &updates).validate_only(request.validate_only)
    };
    let deadline = Deadline::after_ms(request.timeout_ms);
    let told = match context.decide(deadline, decide).await {
        Ok(outcome) => Told::from(outcome),
        Err(code) => code.into(),
    };
    let mut response = UpdateFeaturesResponse::default().with_error_code(told.code);
    if told.code == NONE && version < FIRST_WITHOUT_RESULTS {
        let results = request
            .feature_updates
            .into_iter()
            .map(|update| UpdatableFeatureResult::default().with_feature(update.feature));
        response = response.with_results(results.collect());
    }
    let message = told.message.map(|why| {
        StrBytes::from_string(format!(
            "The update failed for all features since the following feature had an error: {why}"
        ))
    });
    response.with_error_message(message)
}

/// The codes in a response.
pub(super) fn errors(response: &UpdateFeaturesResponse) -> impl Iterator<Item = i16> {
    let results = response.results.iter().map(|result| result.error_code);
    std::iter::once(response.error_code).chain(results)
}

fn wanted(update: &FeatureUpdateKey, version: i16) -> Update {
    let direction = match update.upgrade_type {
        _ if version == 0 && update.allow_downgrade => Direction::Down,
        _ if version == 0 => Direction::Up,
        1 => Direction::Up,
        // What is lost by an unsafe downgrade is lost by a safe one too: nothing.
        2 | 3 => Direction::Down,
        _ => Direction::Unknown,
    };
    Update { name: update.feature.to_string(), level: update.max_version_level, direction }
}

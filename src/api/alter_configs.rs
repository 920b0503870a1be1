//! AlterConfigs (key 33), versions 0 to 2: replace all configs of topics and brokers. Clients are
//! told to use IncrementalAlterConfigs instead; old ones do not know it.
//!
//! Behaviour
//! * Keys that are not in the request lose their override.
//! * Resources are changed one by one, each wholly or not at all.
//! * Of brokers those can be changed that Kafka lets change while they run, as far as they have an
//!   effect here; any broker takes them for any other.
//!
//! Versions: 2 flexible.

use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use crate::api::context::{Caller, Context, Deadline};
use crate::api::errors::Told;
use crate::controller::alter_configs::{self, Alteration, Change, Op, ResourceKind, Settings};
use crate::metadata::image::Image;

/// The requests have no timeout of their own; this is Kafka's for what brokers ask of the
/// controller.
pub(super) const WAIT_MS_MAX: i32 = 30_000;

pub(super) async fn handle(
    caller: &Caller,
    request: AlterConfigsRequest,
    _version: i16,
) -> AlterConfigsResponse {
    let alterations: Vec<Alteration> = request.resources.iter().map(alteration).collect();
    let told = alter(&caller.context, &alterations, request.validate_only).await;
    let responses = request.resources.into_iter().zip(told).map(|(resource, told)| {
        AlterConfigsResourceResponse::default()
            .with_error_code(told.code)
            .with_error_message(told.message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

/// The codes in a response.
pub(super) fn errors(response: &AlterConfigsResponse) -> impl Iterator<Item = i16> {
    response.responses.iter().map(|resource| resource.error_code)
}

/// Changes configs; gives an answer for each alteration.
pub(super) async fn alter(
    context: &Context,
    alterations: &[Alteration],
    validate_only: bool,
) -> Vec<Told> {
    let decide = |image: &Image| {
        let (node, fixed) = (context.node, &context.settings);
        let settings = Settings { node, fixed, now: &context.live.at(image) };
        alter_configs::decide(image, &settings, alterations).validate_only(validate_only)
    };
    match context.decide(Deadline::after_ms(WAIT_MS_MAX), decide).await {
        Ok(outcomes) => outcomes.into_iter().map(Told::from).collect(),
        Err(code) => alterations.iter().map(|_| code.into()).collect(),
    }
}

fn alteration(resource: &AlterConfigsResource) -> Alteration {
    let changes = resource.configs.iter().map(|config| Change {
        key: config.name.to_string(),
        op: Op::Set,
        value: config.value.as_ref().map(ToString::to_string),
    });
    Alteration {
        kind: ResourceKind::from(resource.resource_type),
        name: resource.resource_name.to_string(),
        changes: changes.collect(),
        replaces_all: true,
    }
}

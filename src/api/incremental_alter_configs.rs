//! IncrementalAlterConfigs (key 44), versions 0 to 1: change single configs (KIP-339).
//!
//! Behaviour
//! * Keys can be set, deleted, and, where they are lists, appended to and subtracted from.
//! * Resources are changed one by one, each wholly or not at all.
//! * Of brokers those can be changed that Kafka lets change while they run, as far as they have an
//!   effect here; any broker takes them for any other.
//!
//! Versions: 1 flexible.

use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use crate::api::alter_configs::alter;
use crate::api::context::Caller;
use crate::controller::alter_configs::{Alteration, Change, Op, ResourceKind};

pub(super) async fn handle(
    caller: &Caller,
    request: IncrementalAlterConfigsRequest,
    _version: i16,
) -> IncrementalAlterConfigsResponse {
    let alterations: Vec<Alteration> = request.resources.iter().map(alteration).collect();
    let told = alter(&caller.context, &alterations, request.validate_only).await;
    let responses = request.resources.into_iter().zip(told).map(|(resource, told)| {
        AlterConfigsResourceResponse::default()
            .with_error_code(told.code)
            .with_error_message(told.message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

/// The codes in a response.
pub(super) fn errors(response: &IncrementalAlterConfigsResponse) -> impl Iterator<Item = i16> {
    response.responses.iter().map(|resource| resource.error_code)
}

fn alteration(resource: &AlterConfigsResource) -> Alteration {
    let changes = resource.configs.iter().map(|config| Change {
        key: config.name.to_string(),
        op: Op::from(config.config_operation),
        value: config.value.as_ref().map(ToString::to_string),
    });
    Alteration {
        kind: ResourceKind::from(resource.resource_type),
        name: resource.resource_name.to_string(),
        changes: changes.collect(),
        replaces_all: false,
    }
}

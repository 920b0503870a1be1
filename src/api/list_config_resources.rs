//! ListConfigResources (key 74), versions 0 to 1: what has configs, by type.
//!
//! Behaviour
//! * Groups are listed if they have configs of their own, whether they exist or not; topics and
//!   brokers if they exist. There are no client metrics.
//! * No types means all. One that is unknown refuses the whole request with UNSUPPORTED_VERSION.
//!
//! Versions: 0 lists client metrics only, under another name (KIP-1000); 1 types (KIP-1142).

use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::Caller;
use crate::api::errors::Code;
use crate::controller::alter_configs::ResourceKind;
use crate::metadata::image::Image;
use crate::metadata::records::Resource;

/// In the order of Kafka's answer.
const ALL: [ResourceKind; 5] = [
    ResourceKind::Group,
    ResourceKind::ClientMetrics,
    ResourceKind::BrokerLogger,
    ResourceKind::Broker,
    ResourceKind::Topic,
];

/// The first version that lists more than client metrics.
const FIRST_TYPES: i16 = 1;

pub(super) async fn handle(
    caller: &Caller,
    request: ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    let known = if version >= FIRST_TYPES { &ALL[..] } else { &[ResourceKind::ClientMetrics] };
    let wanted: Vec<ResourceKind> =
        request.resource_types.into_iter().map(ResourceKind::from).collect();
    if wanted.iter().any(|kind| !known.contains(kind)) {
        let code = Code::UnsupportedVersion.code();
        return ListConfigResourcesResponse::default().with_error_code(code);
    }
    let image = caller.context.image();
    let kinds = known.iter().filter(|kind| wanted.is_empty() || wanted.contains(kind));
    let resources = kinds.flat_map(|kind| {
        let name = |name: String| {
            ConfigResource::default()
                .with_resource_name(StrBytes::from_string(name))
                .with_resource_type(kind.id())
        };
        names(caller, &image, *kind).into_iter().map(name)
    });
    ListConfigResourcesResponse::default().with_config_resources(resources.collect())
}

/// The codes in a response.
pub(super) fn errors(response: &ListConfigResourcesResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

fn names(caller: &Caller, image: &Image, kind: ResourceKind) -> Vec<String> {
    match kind {
        ResourceKind::Group => {
            let groups = image.configured().filter_map(|resource| match resource {
                Resource::Group(name) => Some(name.clone()),
                Resource::Topic(_) | Resource::Broker(_) => None,
            });
            groups.collect()
        }
        ResourceKind::Broker | ResourceKind::BrokerLogger => {
            caller.brokers(image).map(|broker| broker.node.to_string()).collect()
        }
        ResourceKind::Topic => image.topics().map(|topic| topic.name.clone()).collect(),
        ResourceKind::ClientMetrics | ResourceKind::Unknown(_) => Vec::new(),
    }
}

//! DescribeConfigs (key 32), versions 1 to 4: the configs of topics, brokers and groups, where
//! their values are from, and what they mean.
//!
//! Behaviour
//! * Keys null or empty means all. Keys that do not exist are left out.
//! * A broker is this one, by its id; the empty name stands for what is set for all brokers.
//!   Loggers and client metrics have none.
//! * A group has configs whether it exists or not.
//! * A resource that stands more than once in a request is answered once, so that an answer is
//!   never larger than what there is.
//!
//! Versions: 3 types and documentation, 4 flexible.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::context::{Caller, Context};
use crate::api::errors::{NONE, Told};
use crate::base::ids::NodeId;
use crate::config::{
    ConfigEntry, DRAINING, default_broker_entries, group_entries, runtime_entries, topic_entries,
};
use crate::controller::alter_configs::ResourceKind;
use crate::controller::refusal::{Reason, Refusal};
use crate::controller::topic_name;
use crate::metadata::image::{Configs, Image};
use crate::metadata::records::Resource;
use crate::metadata::settings::set_for;

pub(super) async fn handle(
    caller: &Caller,
    request: DescribeConfigsRequest,
    _version: i16,
) -> DescribeConfigsResponse {
    let image = caller.context.image();
    let mut seen = BTreeSet::new();
    let once = request
        .resources
        .iter()
        .filter(|resource| seen.insert((resource.resource_type, resource.resource_name.as_str())));
    let results = once.map(|resource| describe(&caller.context, &image, &request, resource));
    DescribeConfigsResponse::default().with_results(results.collect())
}

/// The codes in a response.
pub(super) fn errors(response: &DescribeConfigsResponse) -> impl Iterator<Item = i16> {
    response.results.iter().map(|result| result.error_code)
}

fn describe(
    context: &Context,
    image: &Image,
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
) -> DescribeConfigsResult {
    let result = DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone());
    match entries(context, image, resource) {
        Ok(entries) => {
            let keys: BTreeSet<&str> =
                resource.configuration_keys.iter().flatten().map(StrBytes::as_str).collect();
            let wanted =
                entries.into_iter().filter(|entry| keys.is_empty() || keys.contains(entry.name));
            let configs = wanted.map(|entry| config(request, entry));
            result.with_error_code(NONE).with_configs(configs.collect())
        }
        Err(refusal) => {
            let told = Told::from(refusal);
            let message = told.message.unwrap_or_default();
            result.with_error_code(told.code).with_error_message(Some(message))
        }
    }
}

fn entries(
    context: &Context,
    image: &Image,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ConfigEntry>, Refusal> {
    let name = resource.resource_name.as_str();
    match ResourceKind::from(resource.resource_type) {
        ResourceKind::Topic => {
            topic_name::validate(name)?;
            if image.topic(name).is_none() {
                return Err(Refusal { reason: Reason::UnknownTopic, message: None });
            }
            let overrides = image.configs(&Resource::Topic(name.to_owned()));
            Ok(topic_entries(&context.live.at(image), &overrides))
        }
        ResourceKind::Broker if name.is_empty() => {
            Ok(default_broker_entries(&image.configs(&Resource::Broker(String::new()))))
        }
        ResourceKind::Broker => {
            check_broker(context, name, " or empty string,")?;
            let mut entries = context.live.at(image).broker_entries();
            entries.extend(runtime(image, context.node));
            // The id may have been made at the first start; it is the node's all the same.
            if let Some(id) = entries.iter_mut().find(|entry| entry.name == "node.id") {
                id.value = Some(context.node.to_string());
            }
            Ok(entries)
        }
        ResourceKind::BrokerLogger if name.is_empty() => invalid("Broker id must not be empty"),
        ResourceKind::BrokerLogger => check_broker(context, name, "").map(|()| Vec::new()),
        ResourceKind::ClientMetrics if name.is_empty() => {
            invalid("Client metrics subscription name must not be empty")
        }
        ResourceKind::Group if name.is_empty() => invalid("Group name must not be empty"),
        ResourceKind::Group => {
            let overrides = image.configs(&Resource::Group(name.to_owned()));
            Ok(group_entries(&context.settings, &overrides))
        }
        ResourceKind::ClientMetrics => Ok(Vec::new()),
        ResourceKind::Unknown(_) => {
            invalid(format!("Unexpected resource type UNKNOWN for resource {name}"))
        }
    }
}

/// The keys that a broker has only while it runs.
fn runtime(image: &Image, node: NodeId) -> Vec<ConfigEntry> {
    let (all, own) = set_for(image, node);
    let mut own = Configs::clone(&own);
    if image.draining.contains(&node) {
        own.insert(DRAINING.to_owned(), "true".to_owned());
    }
    runtime_entries(&all, &own)
}

fn check_broker(context: &Context, name: &str, or_else: &str) -> Result<(), Refusal> {
    match name.parse::<i32>() {
        Ok(id) if id == context.node.0 => Ok(()),
        Ok(_) => invalid(format!(
            "Unexpected broker id, expected {}{or_else} but received {name}",
            context.node
        )),
        Err(_) => invalid(format!("Broker id must be an integer, but it is: {name}")),
    }
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { reason: Reason::InvalidRequest, message: Some(message.into()) })
}

fn config(request: &DescribeConfigsRequest, entry: ConfigEntry) -> DescribeConfigsResourceResult {
    let doc = request.include_documentation.then(|| StrBytes::from_static_str(entry.doc));
    let synonyms = entry.synonyms.into_iter().filter(|_| request.include_synonyms);
    let synonyms = synonyms.map(|(name, value, source)| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_string(name))
            .with_value(value.map(StrBytes::from_string))
            .with_source(source.id())
    });
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(entry.name))
        .with_value(entry.value.map(StrBytes::from_string))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source.id())
        .with_is_sensitive(entry.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(entry.kind.id())
        .with_documentation(doc)
}

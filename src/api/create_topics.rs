//! CreateTopics (key 19), versions 2 to 7: create topics, or only say whether they could be.
//!
//! Behaviour
//! * A topic is answered when this broker serves it, not only when it is known. If its logs can not
//!   be opened it is created nevertheless, and its partitions tell.
//! * When the timeout is over, the answer is REQUEST_TIMED_OUT; the topic comes to be all the same.
//! * Names that stand twice in a request are refused, as are more than 10,000 partitions in one.
//! * A name collides if it differs from another topic's only in dots and underscores. As in Kafka,
//!   names within one request are not compared.
//!
//! Versions: 4 counts of -1 stand for the defaults, 5 flexible, and answers with counts and
//! configs, 6 may be throttled with an error of its own, 7 topic ids.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::{Caller, Context, Deadline};
use crate::api::errors::{Code, NONE, Told};
use crate::base::ids::{NodeId, TopicId};
use crate::config::{ConfigEntry, topic_entries};
use crate::controller::create_topics::{self, Assignment, Created, NewTopic};
use crate::controller::refusal::Refusal;
use crate::metadata::image::Image;

pub(super) async fn handle(
    caller: &Caller,
    request: CreateTopicsRequest,
    _version: i16,
) -> CreateTopicsResponse {
    let context = &caller.context;
    let deadline = Deadline::after_ms(request.timeout_ms);
    let (topics, duplicates) = once_each(request.topics, |topic| &topic.name);
    let new_topics: Vec<NewTopic> = topics.iter().map(|topic| new_topic(context, topic)).collect();
    let decide = |image: &Image| {
        create_topics::decide(image, &context.live.at(image).config, &new_topics)
            .validate_only(request.validate_only)
    };
    let decided = context.decide(deadline, decide).await;
    let mut results = Vec::with_capacity(topics.len() + duplicates.len());
    match decided {
        Ok(outcomes) => {
            for (topic, outcome) in topics.into_iter().zip(outcomes) {
                let served = if request.validate_only { None } else { Some(deadline) };
                results.push(result(context, topic.name, outcome, served).await);
            }
        }
        Err(code) => {
            results.extend(topics.into_iter().map(|topic| refused(topic.name, code.into())));
        }
    }
    results.extend(duplicates.into_iter().map(|name| refused(name, duplicate())));
    CreateTopicsResponse::default().with_topics(results)
}

/// The codes in a response.
pub(super) fn errors(response: &CreateTopicsResponse) -> impl Iterator<Item = i16> {
    response.topics.iter().map(|topic| topic.error_code)
}

/// The items that are named once, and the names of the others.
pub(super) fn once_each<T>(
    items: Vec<T>,
    name: impl Fn(&T) -> &TopicName,
) -> (Vec<T>, Vec<TopicName>) {
    let mut counts: BTreeMap<TopicName, usize> = BTreeMap::new();
    for item in &items {
        *counts.entry(name(item).clone()).or_default() += 1;
    }
    counts.retain(|_, count| *count > 1);
    let single = items.into_iter().filter(|item| !counts.contains_key(name(item))).collect();
    (single, counts.into_keys().collect())
}

/// What a name is answered with that stands twice in a request.
pub(super) fn duplicate() -> Told {
    let message = Some(StrBytes::from_static_str("Duplicate topic name."));
    Told { code: Code::InvalidRequest.code(), message }
}

fn new_topic(context: &Context, topic: &CreatableTopic) -> NewTopic {
    let assignments = topic.assignments.iter().map(|assignment| Assignment {
        partition: assignment.partition_index,
        replicas: assignment.broker_ids.iter().map(|id| NodeId(id.0)).collect(),
    });
    let configs = topic
        .configs
        .iter()
        .map(|config| (config.name.to_string(), config.value.as_ref().map(ToString::to_string)));
    NewTopic {
        id: TopicId::random(&context.env.rng),
        name: topic.name.to_string(),
        partition_count: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
    }
}

/// The result of one topic; with a deadline, once it is served.
async fn result(
    context: &Context,
    name: TopicName,
    outcome: Result<Created, Refusal>,
    served: Option<Deadline>,
) -> CreatableTopicResult {
    let created = match outcome {
        Ok(created) => created,
        Err(refusal) => return refused(name, refusal.into()),
    };
    if let Some(deadline) = served
        && let Err(code) = deadline.bound(context.settled(&created.topic)).await
    {
        return refused(name, code.into());
    }
    let partitions = &created.topic.partitions;
    let factor = partitions.values().next().map_or(0, |place| place.replicas.len());
    let entries = topic_entries(&context.live.at(&context.image()), &created.overrides);
    CreatableTopicResult::default()
        .with_name(name)
        .with_topic_id(Uuid::from_bytes(created.topic.id.0))
        .with_error_code(NONE)
        .with_error_message(None)
        .with_num_partitions(i32::try_from(partitions.len()).unwrap_or(i32::MAX))
        .with_replication_factor(i16::try_from(factor).unwrap_or(i16::MAX))
        .with_configs(Some(entries.into_iter().map(config).collect()))
}

fn config(entry: ConfigEntry) -> CreatableTopicConfigs {
    CreatableTopicConfigs::default()
        .with_name(StrBytes::from_static_str(entry.name))
        .with_value(entry.value.map(StrBytes::from_string))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source.id())
        .with_is_sensitive(entry.sensitive)
}

fn refused(name: TopicName, told: Told) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name)
        .with_error_code(told.code)
        .with_error_message(told.message)
}

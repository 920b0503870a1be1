//! CreatePartitions (key 37), versions 0 to 3: give topics more partitions. They never get fewer.
//!
//! Behaviour
//! * A topic is answered when its new partitions are served, as in CreateTopics.
//! * More than 10,000 new partitions in one request are refused with POLICY_VIOLATION; Kafka
//!   answers UNKNOWN_SERVER_ERROR.
//!
//! Versions: 2 flexible, 3 may be throttled with an error of its own.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};

use crate::api::context::{Caller, Context, Deadline};
use crate::api::create_topics::{duplicate, once_each};
use crate::api::errors::{Code, Told};
use crate::base::ids::NodeId;
use crate::controller::create_partitions::{self, Growth};
use crate::metadata::image::Image;

pub(super) async fn handle(
    caller: &Caller,
    request: CreatePartitionsRequest,
    _version: i16,
) -> CreatePartitionsResponse {
    let context = &caller.context;
    let deadline = Deadline::after_ms(request.timeout_ms);
    let (topics, duplicates) = once_each(request.topics, |topic| &topic.name);
    let growths: Vec<Growth> = topics.iter().map(growth).collect();
    let decide = |image: &Image| {
        create_partitions::decide(image, &growths).validate_only(request.validate_only)
    };
    let mut results: Vec<_> =
        duplicates.into_iter().map(|name| result(name, duplicate())).collect();
    match context.decide(deadline, decide).await {
        Ok(outcomes) => {
            for (topic, outcome) in topics.into_iter().zip(outcomes) {
                let is_made = outcome.is_ok() && !request.validate_only;
                let told = if is_made {
                    served(context, &topic.name, deadline).await.into()
                } else {
                    Told::from(outcome)
                };
                results.push(result(topic.name, told));
            }
        }
        Err(code) => results.extend(topics.into_iter().map(|t| result(t.name, code.into()))),
    }
    CreatePartitionsResponse::default().with_results(results)
}

/// The codes in a response.
pub(super) fn errors(response: &CreatePartitionsResponse) -> impl Iterator<Item = i16> {
    response.results.iter().map(|topic| topic.error_code)
}

fn growth(topic: &CreatePartitionsTopic) -> Growth {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        let nodes = assignments.iter().map(|one| one.broker_ids.iter().map(|id| NodeId(id.0)));
        nodes.map(Iterator::collect).collect()
    });
    Growth { name: topic.name.to_string(), count: topic.count, assignments }
}

async fn served(context: &Context, name: &str, deadline: Deadline) -> Result<(), Code> {
    match context.image().topic(name) {
        Some(topic) => deadline.bound(context.settled(topic)).await,
        // It has been deleted meanwhile.
        None => Ok(()),
    }
}

fn result(name: TopicName, told: Told) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult::default()
        .with_name(name)
        .with_error_code(told.code)
        .with_error_message(told.message)
}

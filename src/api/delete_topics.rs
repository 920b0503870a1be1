//! DeleteTopics (key 20), versions 1 to 6: delete topics by name or by id.
//!
//! Behaviour
//! * A topic is answered when none of its partitions is open here any more, so that the name is
//!   free for another topic. Kafka answers earlier.
//! * A topic that is named twice is refused. What was named is answered in its order; Kafka
//!   shuffles it, to hide what may not be seen.
//! * With `delete.topic.enable=false` every topic is refused.
//!
//! Versions: 3 TOPIC_DELETION_DISABLED instead of INVALID_REQUEST, 4 flexible, 5 error messages, 6
//! topic ids.

use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::context::{Caller, Deadline};
use crate::api::errors::{Code, Told};
use crate::base::ids::TopicId;
use crate::controller::delete_topics::{self, Deletion, TopicKey};
use crate::metadata::image::Image;

pub(super) async fn handle(
    caller: &Caller,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let context = &caller.context;
    let deadline = Deadline::after_ms(request.timeout_ms);
    let keys = keys(&request);
    let all = |told: &Told| keys.iter().map(|key| result(key, told.clone())).collect();
    if !context.settings.config.delete_topic_enable {
        return DeleteTopicsResponse::default().with_responses(all(&disabled(version)));
    }
    let decide = |image: &Image| delete_topics::decide(image, &keys);
    let results = match context.decide(deadline, decide).await {
        Ok(deletions) => {
            let mut results = Vec::with_capacity(deletions.len());
            for Deletion { key, outcome } in deletions {
                let told = match outcome {
                    Ok(()) => deadline.bound(context.registry.gone(key.id)).await.into(),
                    Err(refusal) => refusal.into(),
                };
                results.push(result(&key, told));
            }
            results
        }
        Err(code) => all(&code.into()),
    };
    DeleteTopicsResponse::default().with_responses(results)
}

/// The codes in a response.
pub(super) fn errors(response: &DeleteTopicsResponse) -> impl Iterator<Item = i16> {
    response.responses.iter().map(|topic| topic.error_code)
}

fn keys(request: &DeleteTopicsRequest) -> Vec<TopicKey> {
    let by_name = request.topic_names.iter();
    let by_name = by_name.map(|name| TopicKey { name: Some(name.to_string()), id: TopicId::ZERO });
    let either = request.topics.iter().map(|topic| TopicKey {
        name: topic.name.as_ref().map(|name| name.to_string()),
        id: TopicId(*topic.topic_id.as_bytes()),
    });
    by_name.chain(either).collect()
}

fn disabled(version: i16) -> Told {
    let code = if version < 3 { Code::InvalidRequest } else { Code::TopicDeletionDisabled };
    let message = Some(StrBytes::from_static_str("Topic deletion is disabled."));
    Told { code: code.code(), message }
}

fn result(key: &TopicKey, told: Told) -> DeletableTopicResult {
    let name = key.name.clone().map(|name| TopicName(StrBytes::from_string(name)));
    DeletableTopicResult::default()
        .with_name(name)
        .with_topic_id(Uuid::from_bytes(key.id.0))
        .with_error_code(told.code)
        .with_error_message(told.message)
}

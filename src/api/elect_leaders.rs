//! ElectLeaders (key 43), versions 0 to 2: let the preferred replica lead, or, where there is no
//! leader, one that may lack records (KIP-460).
//!
//! Behaviour
//! * Partitions null means all; then those are left out that need no election.
//! * A partition is answered when the metadata names the new leader, or with REQUEST_TIMED_OUT.
//!
//! Versions: 1 election type and top-level error, 2 flexible.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use crate::api::context::{Caller, Context, Deadline, do_all};
use crate::api::errors::{Code, Told};
use crate::base::ids::{LeaderEpoch, PartitionIndex};
use crate::controller::leaders::{self, Election, Transfer};
use crate::controller::refusal::{Reason, Refusal};
use crate::metadata::image::{Image, Topic};

/// How long a leader is asked to give way before it is told that this can not be.
const TRYING: Duration = Duration::from_secs(10);
/// How long the metadata has to tell of another leader before the next try.
const TRY_AGAIN: Duration = Duration::from_millis(100);

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(super) async fn handle(
    caller: &Caller,
    request: ElectLeadersRequest,
    version: i16,
) -> ElectLeadersResponse {
    let election = match request.election_type {
        _ if version == 0 => Election::Preferred,
        PREFERRED => Election::Preferred,
        UNCLEAN => Election::Unclean,
        _ => return refused(&request, Code::InvalidRequest),
    };
    let context = &caller.context;
    let image = context.image();
    let deadline = Deadline::after_ms(request.timeout_ms);
    let is_all = request.topic_partitions.is_none();
    let asked = asked(&image, &request);
    let mut work = Vec::new();
    for (topic, partitions) in &asked {
        for partition in partitions {
            work.push(elect(context, election, topic, *partition, deadline));
        }
    }
    let mut told = do_all(work.into_iter()).await.into_iter();
    let results = asked.into_iter().map(|(topic, partitions)| {
        let results = partitions.into_iter().zip(&mut told);
        let results = results.filter(|(_, told)| !is_all || told.code != not_needed());
        let results: Vec<_> = results.map(|(partition, told)| result(partition, told)).collect();
        ReplicaElectionResult::default().with_topic(topic).with_partition_result(results)
    });
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}

/// The codes in a response.
pub(super) fn errors(response: &ElectLeadersResponse) -> impl Iterator<Item = i16> {
    let partitions = response.replica_election_results.iter().flat_map(|t| &t.partition_result);
    std::iter::once(response.error_code).chain(partitions.map(|partition| partition.error_code))
}

fn not_needed() -> i16 {
    Code::ElectionNotNeeded.code()
}

fn asked(image: &Image, request: &ElectLeadersRequest) -> Vec<(TopicName, Vec<PartitionIndex>)> {
    match &request.topic_partitions {
        Some(topics) => {
            let mut asked: BTreeMap<TopicName, Vec<PartitionIndex>> = BTreeMap::new();
            for topic in topics {
                asked.entry(topic.topic.clone()).or_default().extend(&topic.partitions);
            }
            asked.into_iter().collect()
        }
        None => {
            let all = image.topics().map(|topic| {
                let name = TopicName(StrBytes::from_string(topic.name.clone()));
                (name, topic.partitions.keys().copied().collect())
            });
            all.collect()
        }
    }
}

/// Has one partition led as asked. Another replica than the one that was to lead may have been
/// quicker: then it is asked again.
async fn elect(
    context: &Context,
    election: Election,
    topic: &str,
    partition: PartitionIndex,
    deadline: Deadline,
) -> Told {
    let begun = Instant::now();
    let mut is_first = true;
    let changed = deadline.bound(async {
        loop {
            let transfer = match transfer(context, election, topic, partition) {
                Ok(transfer) => transfer,
                // Somebody else has seen to it meanwhile.
                Err(refusal) if !is_first && refusal.reason == Reason::ElectionNotNeeded => {
                    return Told::none();
                }
                Err(refusal) => return refusal.into(),
            };
            is_first = false;
            let epoch = epoch_of(&context.image(), transfer);
            let is_led = if context.elections.elect(election, transfer).await.is_ok() {
                led(context, transfer, epoch).await
            } else if begun.elapsed() < TRYING {
                // Whoever is named as leader may not lead any more, or not yet.
                let led = tokio::time::timeout(TRY_AGAIN, led(context, transfer, epoch));
                led.await.unwrap_or(false)
            } else {
                return with_text(match election {
                    Election::Preferred => Code::PreferredLeaderNotAvailable,
                    Election::Unclean => Code::EligibleLeadersNotAvailable,
                });
            };
            if is_led {
                return Told::none();
            }
        }
    });
    changed.await.unwrap_or_else(with_text)
}

/// The change of the leader that is needed.
fn transfer(
    context: &Context,
    election: Election,
    topic: &str,
    partition: PartitionIndex,
) -> Result<Transfer, Refusal> {
    let image = context.image();
    let Some(topic) = image.topic(topic) else {
        let message = format!("No such topic as {topic}");
        return Err(Refusal::new(Reason::UnknownTopic, message));
    };
    let topic = as_seen(context, &image, topic, partition);
    leaders::elect(&image, election, &topic, partition)
}

/// The topic with what this broker knows of the partition before the metadata has it.
fn as_seen(context: &Context, image: &Image, topic: &Topic, partition: PartitionIndex) -> Topic {
    let view = context.view(image, topic, partition);
    let mut topic = topic.clone();
    if let Some(place) = topic.partitions.get_mut(&partition) {
        (place.leader, place.leader_epoch) = (view.leader, view.leader_epoch);
        place.in_sync = view.in_sync;
    }
    topic
}

fn with_text(code: Code) -> Told {
    let message = match code {
        Code::PreferredLeaderNotAvailable => "The preferred leader was not available.",
        Code::EligibleLeadersNotAvailable => "Eligible topic partition leaders are not available.",
        _ => "The request timed out.",
    };
    Told { code: code.code(), message: Some(StrBytes::from_static_str(message)) }
}

fn epoch_of(image: &Image, transfer: Transfer) -> LeaderEpoch {
    image.partition(transfer.id).map_or(-1, |place| place.leader_epoch)
}

/// Waits until the metadata names a leader of a later epoch, or the partition is gone. Returns
/// whether that leader is the one that was to be.
async fn led(context: &Context, transfer: Transfer, before: LeaderEpoch) -> bool {
    let mut images = context.images.clone();
    loop {
        let image = context.image();
        let Some(place) = image.partition(transfer.id) else { return true };
        if place.leader == Some(transfer.to) {
            return true;
        }
        if place.leader.is_some() && place.leader_epoch > before {
            return false;
        }
        if images.changed().await.is_none() {
            return true;
        }
    }
}

fn result(partition: PartitionIndex, told: Told) -> PartitionResult {
    PartitionResult::default()
        .with_partition_id(partition)
        .with_error_code(told.code)
        .with_error_message(told.message)
}

/// The whole request refused, and so each partition.
fn refused(request: &ElectLeadersRequest, code: Code) -> ElectLeadersResponse {
    let message = format!("Unknown election type {}", request.election_type);
    let message = Some(StrBytes::from_string(message));
    let told = Told { code: code.code(), message };
    let topics = request.topic_partitions.iter().flatten().map(|topic| {
        let results = topic.partitions.iter().map(|partition| result(*partition, told.clone()));
        ReplicaElectionResult::default()
            .with_topic(topic.topic.clone())
            .with_partition_result(results.collect())
    });
    ElectLeadersResponse::default()
        .with_error_code(code.code())
        .with_replica_election_results(topics.collect())
}

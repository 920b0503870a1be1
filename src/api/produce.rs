//! Produce (key 0), versions 3 to 13: append one batch per partition.
//!
//! Behaviour
//! * The records stay slices of the request's buffer; only the batch header is read.
//! * First stage, in the order of the connection: validate and queue. Second stage: wait for what
//!   `acks` asks for; the next requests of the connection are read meanwhile.
//! * `acks=0` has no response; an error there ends the connection, as in Kafka.
//! * A client that asks the wrong broker is told who leads (KIP-951).
//! * Versions 0 to 2 are advertised but refused (KAFKA-18659).
//!
//! Versions: 3 transactional id, 5 log start offset, 7 zstd (KIP-110), 8 record errors, 9 flexible,
//! 10 current leader (tagged), 12 implicit transactions (KIP-890), 13 topic ids instead of names.

mod frame;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::api::context::{Caller, Context};
use crate::api::errors::{self, Code};
use crate::api::leader_hint::{self, LeaderHint, NodeEndpoint};
use crate::api::leaders;
use crate::api::metadata::is_internal;
use crate::api::response::Response;
use crate::api::{Outcome, Pending, RawRequest};
use crate::base::env::Planted;
use crate::base::ids::Offset;
use crate::base::task;
use crate::config::TimestampType;
use crate::log::batch::{BatchHeader, MAGIC};
use crate::log::records::examine::WrongRecord;
use crate::metadata::image::{Image, Partition as Place, Topic};
use crate::partition::registry::Status;
use crate::partition::validate::Invalid;
use crate::partition::{Acks, AppendError, Partition, PendingAppend, validate};
use frame::{PartitionAnswer, PartitionData, ProduceRequest, RecordError, TopicRef};

/// Its number among the codecs.
const ZSTD: i16 = 4;

/// An append that is queued, or why not.
enum Started {
    Queued { partition: Arc<Partition>, pending: PendingAppend, append_time_ms: i64 },
    Refused(PartitionAnswer),
}

impl Started {
    fn refused(code: Code) -> Self {
        Self::Refused(PartitionAnswer::error(code, None))
    }

    fn explained(code: Code, text: String) -> Self {
        Self::Refused(PartitionAnswer::error(code, Some(text)))
    }
}

/// The first stage; resolves to the second.
pub(super) async fn start(caller: Arc<Caller>, raw: RawRequest) -> Pending {
    let close = |reason| futures_util::future::ready(Outcome::Close(reason)).boxed();
    let Some(request) = ProduceRequest::decode(&raw.body, raw.version) else {
        return close("produce request could not be decoded");
    };
    let planted = caller.context.env.planted == Some(Planted::AckBeforeMajority);
    let acks = match request.acks {
        0 => Some(Acks::Never),
        1 => Some(Acks::Leader),
        -1 if planted => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    };
    let context = &caller.context;
    let image = context.image();
    let mut started = Vec::with_capacity(request.partition_count());
    for topic in &request.topics {
        let found = find(&image, &topic.name);
        for data in &topic.partitions {
            started.push(match (acks, &found) {
                (None, _) => Started::refused(Code::InvalidRequiredAcks),
                (_, Err(code)) => Started::refused(*code),
                (_, Ok(topic)) if is_internal(&topic.name) => Started::explained(
                    Code::InvalidTopicException,
                    format!("Cannot append to internal topic {}", topic.name),
                ),
                (Some(acks), Ok(topic)) => queue(context, topic, data, acks, &request).await,
            });
        }
    }
    finish(caller, raw, request, started).boxed()
}

fn find<'a>(image: &'a Image, topic: &TopicRef) -> Result<&'a Arc<Topic>, Code> {
    match topic {
        TopicRef::Name(name) => image.topic(name).ok_or(Code::UnknownTopicOrPartition),
        TopicRef::Id(id) => image.topic_by_id(*id).ok_or(Code::UnknownTopicId),
    }
}

async fn queue(
    context: &Context,
    topic: &Topic,
    data: &PartitionData,
    acks: Acks,
    request: &ProduceRequest,
) -> Started {
    let partition = match context.partition(topic.id, data.index) {
        Status::Open(partition) => partition,
        Status::Failed => return Started::refused(Code::KafkaStorageError),
        Status::Absent if topic.partitions.contains_key(&data.index) => {
            return Started::refused(Code::NotLeaderOrFollower);
        }
        Status::Absent => return Started::refused(Code::UnknownTopicOrPartition),
    };
    let config = partition.config();
    let now_ms = context.now_ms();
    let Some(records) = data.records.clone() else {
        return Started::refused(Code::InvalidRecord);
    };
    if !request.may_use_zstd && is_zstd(&records) {
        let text = format!("zstd is taken from version {} on", frame::FIRST_ZSTD);
        return Started::explained(Code::UnsupportedCompressionType, text);
    }
    let is_laborious = validate::is_laborious(&records, &config, now_ms);
    let validated = {
        let config = Arc::clone(&config);
        move || validate::batch(records, &config, now_ms)
    };
    let validated = match is_laborious {
        true => task::blocking(context.env.threads, validated).await,
        false => validated(),
    };
    let batch = match validated {
        Ok(batch) => batch,
        Err(invalid) => {
            return Started::Refused(of_invalid(invalid, &partition));
        }
    };
    if batch.header().is_transactional() || request.is_transactional {
        // No transaction can have begun: its coordinator is not served.
        return Started::refused(Code::InvalidTxnState);
    }
    let append_time_ms = match config.message_timestamp_type {
        TimestampType::LogAppendTime => now_ms,
        TimestampType::CreateTime => -1,
    };
    match partition.append(batch, acks).await {
        Ok(pending) => Started::Queued { partition, pending, append_time_ms },
        Err(error) => {
            let place = topic.partitions.get(&data.index);
            Started::refused(code_of(error, place, &context.image()))
        }
    }
}

fn of_invalid(invalid: Invalid, partition: &Partition) -> PartitionAnswer {
    let log_start_offset = match invalid {
        Invalid::Record(_) | Invalid::Records(_) | Invalid::Timestamp(_) => {
            partition.offsets().log_start
        }
        _ => -1,
    };
    let records = match &invalid {
        Invalid::Records(wrong) => {
            let partition = format_args!("{}-{}", partition.topic, partition.id.partition);
            let error = |record: &WrongRecord| RecordError {
                index: record.index,
                message: wrong.reason(record, &partition),
            };
            wrong.first.iter().map(error).collect()
        }
        _ => Vec::new(),
    };
    let (code, text) = errors::of_invalid(invalid);
    PartitionAnswer { records, log_start_offset, ..PartitionAnswer::error(code, Some(text)) }
}

/// A leader that too few replicas answer: if the metadata has them for dead as well, nobody else
/// can lead, and the client is told what is amiss. If not, it is this broker that is cut off; then
/// the client must ask elsewhere who leads, which only this code makes it do.
fn code_of(error: AppendError, place: Option<&Place>, image: &Image) -> Code {
    let nobody_can_lead = place.is_some_and(|place| !leaders::has_majority(image, place));
    match error {
        AppendError::CutOff if nobody_can_lead => Code::NotEnoughReplicas,
        AppendError::CutOffAfterAppend if nobody_can_lead => Code::NotEnoughReplicasAfterAppend,
        _ => errors::of_append(error),
    }
}

/// Whether the first batch, of which only the header is looked at, is compressed with zstd.
fn is_zstd(records: &[u8]) -> bool {
    BatchHeader::parse(records)
        .is_some_and(|header| header.magic == MAGIC && header.codec() == ZSTD)
}

/// The second stage.
async fn finish(
    caller: Arc<Caller>,
    raw: RawRequest,
    request: ProduceRequest,
    started: Vec<Started>,
) -> Outcome {
    if request.acks == 0 {
        let refused = started.iter().any(|one| matches!(one, Started::Refused(..)));
        return if refused {
            Outcome::Close("produce with acks=0 failed")
        } else {
            Outcome::Silence
        };
    }
    let deadline_ms = u64::try_from(request.timeout_ms).unwrap_or(0);
    let deadline = std::time::Duration::from_millis(deadline_ms);
    let context = &caller.context;
    let mut answers = join_all(started.into_iter().map(|one| answer(context, one, deadline))).await;
    let nodes = name_leaders(&caller, &request, &mut answers);
    let frame = request.encode_response(raw.correlation_id, raw.version, &answers, &nodes);
    let errors = answers.iter().map(|answer| answer.error);
    Outcome::Answer(Response::of_frame(frame).with_errors(errors))
}

/// Tells who leads where this broker does not; where they are.
fn name_leaders(
    caller: &Caller,
    request: &ProduceRequest,
    answers: &mut [PartitionAnswer],
) -> Vec<NodeEndpoint> {
    let moved = Code::NotLeaderOrFollower.code();
    if answers.iter().all(|answer| answer.error != moved) {
        return Vec::new();
    }
    let image = caller.context.image();
    let mut rest = answers.iter_mut();
    for topic in &request.topics {
        let found = find(&image, &topic.name);
        for (data, answer) in topic.partitions.iter().zip(&mut rest) {
            if let Ok(topic) = found
                && answer.error == moved
            {
                answer.leader = Some(LeaderHint::of(caller, &image, topic, data.index));
            }
        }
    }
    leader_hint::nodes(caller, &image, answers.iter().filter_map(|answer| answer.leader))
}

async fn answer(
    context: &Context,
    started: Started,
    deadline: std::time::Duration,
) -> PartitionAnswer {
    let (partition, pending, append_time_ms) = match started {
        Started::Queued { partition, pending, append_time_ms } => {
            (partition, pending, append_time_ms)
        }
        Started::Refused(answer) => return answer,
    };
    match tokio::time::timeout(deadline, pending.base_offset()).await {
        Err(_) => PartitionAnswer::error(Code::RequestTimedOut, None),
        Ok(Err(error)) => {
            let image = context.image();
            let place = image.partition(partition.id);
            PartitionAnswer::error(code_of(error, place, &image), None)
        }
        Ok(Ok(base_offset)) => appended(&partition, base_offset, append_time_ms),
    }
}

fn appended(partition: &Partition, base_offset: Offset, append_time_ms: i64) -> PartitionAnswer {
    PartitionAnswer {
        error: errors::NONE,
        message: None,
        records: Vec::new(),
        base_offset,
        append_time_ms,
        log_start_offset: partition.offsets().log_start,
        leader: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::NodeId;
    use crate::metadata::records::{BrokerRecord, Record};

    #[test]
    fn a_leader_that_is_cut_off_sends_clients_elsewhere_unless_nobody_can_lead() {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let place = Place::new(nodes.clone());
        let mut image = Image::default();
        for node in nodes {
            image.replay(&Record::Broker(BrokerRecord::new(node)));
        }
        let mut codes = |fenced| {
            let (node, draining) = (NodeId(fenced), false);
            image.replay(&Record::BrokerState { node, fenced: true, draining });
            [AppendError::CutOff, AppendError::CutOffAfterAppend]
                .map(|error| code_of(error, Some(&place), &image))
        };
        assert_eq!(codes(3), [Code::NotLeaderOrFollower; 2]);
        let nobody = [Code::NotEnoughReplicas, Code::NotEnoughReplicasAfterAppend];
        assert_eq!(codes(2), nobody);
    }
}

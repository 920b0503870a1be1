//! OffsetForLeaderEpoch (key 23), versions 2 to 4: where the records of a leader epoch end, for
//! consumers that look for lost records after a change of the leader (KIP-320).
//!
//! Behaviour
//! * An epoch that is newer than the log's last is answered with epoch and offset -1; one that is
//!   older than its first ends where that begins.
//! * The current epoch ends at the high watermark: nothing beyond it was ever given out.
//!
//! Versions: 3 replica id, 4 flexible.

use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::api::context::{Caller, Context};
use crate::api::errors::{Code, NONE};
use crate::base::ids::{LeaderEpoch, Offset};
use crate::metadata::image::Image;

/// "The log does not know the epoch".
const UNDEFINED: (LeaderEpoch, Offset) = (-1, -1);

pub(super) async fn handle(
    caller: &Caller,
    request: OffsetForLeaderEpochRequest,
    _version: i16,
) -> OffsetForLeaderEpochResponse {
    let image = caller.context.image();
    let topics = request.topics.into_iter().map(|topic| answer(&caller.context, &image, topic));
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

/// The codes in a response.
pub(super) fn errors(response: &OffsetForLeaderEpochResponse) -> impl Iterator<Item = i16> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code)
}

fn answer(
    context: &Context,
    image: &Image,
    asked: OffsetForLeaderTopic,
) -> OffsetForLeaderTopicResult {
    let partitions = asked.partitions.iter().map(|partition| {
        let found = end(context, image, &asked.topic, partition);
        let (leader_epoch, end_offset) = found.unwrap_or(UNDEFINED);
        EpochEndOffset::default()
            .with_error_code(found.map_or_else(|code| code.code(), |_| NONE))
            .with_partition(partition.partition)
            .with_leader_epoch(leader_epoch)
            .with_end_offset(end_offset)
    });
    let partitions = partitions.collect();
    OffsetForLeaderTopicResult::default().with_topic(asked.topic).with_partitions(partitions)
}

fn end(
    context: &Context,
    image: &Image,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(LeaderEpoch, Offset), Code> {
    let topic = image.topic(topic).ok_or(Code::UnknownTopicOrPartition)?;
    let partition = context.led(topic, asked.partition, asked.current_leader_epoch)?;
    if partition.leader_epoch() == Some(asked.leader_epoch) {
        return Ok((asked.leader_epoch, partition.offsets().high_watermark));
    }
    Ok(partition.end_of_epoch(asked.leader_epoch).unwrap_or(UNDEFINED))
}

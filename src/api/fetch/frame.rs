//! Fetch's frames, read and written by hand: records go out as they lie on disk.

use bytes::{BufMut, Bytes, BytesMut};

use crate::api::leader_hint::{self, LeaderHint, NodeEndpoint};
use crate::api::response::{Chunk, Response};
use crate::base::ids::{LeaderEpoch, NodeId, Offset, TopicId};
use crate::base::primitives::{Reader, Writer};
use crate::log::partition_log::LogSlice;
use crate::log::transaction_index::AbortedTransaction;

const FIRST_FLEXIBLE: i16 = 12;
pub(super) const FIRST_TOPIC_IDS: i16 = 13;
const FIRST_REPLICA_STATE: i16 = 15;
/// The first version that is told who leads instead.
pub(super) const FIRST_LEADER: i16 = 16;
/// The first version of clients that may read from followers (KIP-392).
pub(super) const FIRST_RACK: i16 = 11;

/// The isolation level of readers of committed transactions (`IsolationLevel`).
const READ_COMMITTED: i8 = 1;

/// How a request names a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TopicRef {
    Name(String),
    Id(TopicId),
}

#[derive(Debug)]
pub(super) struct FetchRequest {
    pub(super) replica_id: i32,
    pub(super) max_wait_ms: i32,
    pub(super) min_bytes: i32,
    pub(super) max_bytes: i32,
    /// Only what is decided is wanted (`isolation.level=read_committed`).
    pub(super) read_committed: bool,
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    pub(super) topics: Vec<(TopicRef, Vec<PartitionFetch>)>,
    pub(super) forgotten: Vec<(TopicRef, Vec<i32>)>,
    /// Where the client stands; empty if it does not say.
    pub(super) rack: String,
}

/// What is wanted of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartitionFetch {
    pub(super) index: i32,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) offset: Offset,
    pub(super) last_fetched_epoch: LeaderEpoch,
    pub(super) max_bytes: i32,
}

/// One partition of the answer.
#[derive(Debug, Clone)]
pub(super) struct PartitionData {
    pub(super) index: i32,
    pub(super) error: i16,
    pub(super) high_watermark: Offset,
    pub(super) last_stable: Offset,
    pub(super) log_start: Offset,
    /// For readers of committed transactions: the aborted ones that have something in the records.
    pub(super) aborted: Option<Vec<AbortedTransaction>>,
    pub(super) diverging: Option<(LeaderEpoch, Offset)>,
    pub(super) records: Option<LogSlice>,
    /// The follower that the client is to read from.
    pub(super) preferred: Option<NodeId>,
    /// Who leads instead.
    pub(super) leader: Option<LeaderHint>,
}

/// What stands in an answer beside the partitions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) correlation_id: i32,
    pub(super) version: i16,
    pub(super) error: i16,
    pub(super) session_id: i32,
    /// Where the leaders are that partitions name.
    pub(super) nodes: &'a [NodeEndpoint],
}

impl PartitionData {
    pub(super) fn error(index: i32, code: i16) -> Self {
        Self {
            index,
            error: code,
            high_watermark: -1,
            last_stable: -1,
            log_start: -1,
            aborted: None,
            diverging: None,
            records: None,
            preferred: None,
            leader: None,
        }
    }
}

impl FetchRequest {
    pub(super) fn decode(body: Bytes, version: i16) -> Option<Self> {
        let mut reader = Reader::new(body, version >= FIRST_FLEXIBLE);
        let mut replica_id = if version < FIRST_REPLICA_STATE { reader.i32()? } else { -1 };
        let (max_wait_ms, min_bytes, max_bytes) = (reader.i32()?, reader.i32()?, reader.i32()?);
        let read_committed = reader.i8()? == READ_COMMITTED;
        let (session_id, session_epoch) =
            if version >= 7 { (reader.i32()?, reader.i32()?) } else { (0, -1) };
        let topics = reader.array(3, |reader| {
            let topic = topic_ref(reader, version)?;
            let partitions = reader.array(16, |reader| partition_fetch(reader, version))?;
            reader.skip_tagged()?;
            Some((topic, partitions))
        })?;
        let mut forgotten = Vec::new();
        if version >= 7 {
            forgotten = reader.array(3, |reader| {
                let topic = topic_ref(reader, version)?;
                let partitions = reader.array(4, Reader::i32)?;
                reader.skip_tagged()?;
                Some((topic, partitions))
            })?;
        }
        let rack = if version >= FIRST_RACK { reader.string()? } else { String::new() };
        reader.tagged(|tag, value| {
            if tag == 1
                && let Some(id) = Reader::new(value, true).i32()
            {
                replica_id = id;
            }
        })?;
        Some(Self {
            replica_id,
            max_wait_ms,
            min_bytes,
            max_bytes,
            read_committed,
            session_id,
            session_epoch,
            topics,
            forgotten,
            rack,
        })
    }
}

fn topic_ref(reader: &mut Reader, version: i16) -> Option<TopicRef> {
    match version >= FIRST_TOPIC_IDS {
        true => Some(TopicRef::Id(TopicId(reader.uuid()?))),
        false => Some(TopicRef::Name(reader.string()?)),
    }
}

fn partition_fetch(reader: &mut Reader, version: i16) -> Option<PartitionFetch> {
    let index = reader.i32()?;
    let leader_epoch = if version >= 9 { reader.i32()? } else { -1 };
    let offset = reader.i64()?;
    let last_fetched_epoch = if version >= FIRST_FLEXIBLE { reader.i32()? } else { -1 };
    if version >= 5 {
        let _follower_log_start = reader.i64()?;
    }
    let max_bytes = reader.i32()?;
    reader.skip_tagged()?;
    Some(PartitionFetch { index, leader_epoch, offset, last_fetched_epoch, max_bytes })
}

/// The response frame.
pub(super) fn encode_response(
    head: &Frame<'_>,
    topics: &[(TopicRef, Vec<PartitionData>)],
) -> Response {
    let version = head.version;
    let mut out = BytesMut::with_capacity(128);
    out.put_i32(0);
    out.put_i32(head.correlation_id);
    let mut frame =
        Chunks { chunks: Vec::new(), writer: Writer::new(out, version >= FIRST_FLEXIBLE) };
    let writer = &mut frame.writer;
    writer.no_tagged();
    writer.out.put_i32(0);
    if version >= 7 {
        writer.out.put_i16(head.error);
        writer.out.put_i32(head.session_id);
    }
    writer.array_length(topics.len());
    for (topic, partitions) in topics {
        match topic {
            TopicRef::Name(name) => frame.writer.string(name),
            TopicRef::Id(id) => frame.writer.out.put_slice(&id.0),
        }
        frame.writer.array_length(partitions.len());
        for partition in partitions {
            frame.partition(version, partition);
        }
        frame.writer.no_tagged();
    }
    let nodes = if version < FIRST_LEADER { &[] } else { head.nodes };
    leader_hint::put_nodes(&mut frame.writer, nodes);
    frame.finish()
}

/// Bytes so far, and the file slices between them.
struct Chunks {
    chunks: Vec<Chunk>,
    writer: Writer,
}

impl Chunks {
    fn partition(&mut self, version: i16, partition: &PartitionData) {
        let writer = &mut self.writer;
        writer.out.put_i32(partition.index);
        writer.out.put_i16(partition.error);
        writer.out.put_i64(partition.high_watermark);
        writer.out.put_i64(partition.last_stable);
        if version >= 5 {
            writer.out.put_i64(partition.log_start);
        }
        match &partition.aborted {
            None => writer.null_array(),
            Some(aborted) => {
                writer.array_length(aborted.len());
                for one in aborted {
                    writer.out.put_i64(one.producer_id);
                    writer.out.put_i64(one.first_offset);
                    writer.no_tagged();
                }
            }
        }
        if version >= 11 {
            writer.out.put_i32(partition.preferred.map_or(-1, |node| node.0));
        }
        let size = partition.records.as_ref().map_or(0, |slice| slice.size as usize);
        writer.bytes_length(size);
        if let Some(slice) = &partition.records {
            let before = std::mem::take(&mut writer.out).freeze();
            self.chunks.push(Chunk::Bytes(before));
            self.chunks.push(Chunk::File(slice.clone()));
        }
        let diverging = partition.diverging.map(|(epoch, end_offset)| {
            let mut value = [0; 13];
            let mut out = value.as_mut_slice();
            out.put_i32(epoch);
            out.put_i64(end_offset);
            value
        });
        let leader =
            partition.leader.filter(|_| version >= FIRST_LEADER).map(|leader| leader.bytes());
        let tagged = [
            diverging.as_ref().map(|value| (0, value.as_slice())),
            leader.as_ref().map(|value| (1, value.as_slice())),
        ];
        let tagged: Vec<(u32, &[u8])> = tagged.into_iter().flatten().collect();
        self.writer.tagged(&tagged);
    }

    fn finish(mut self) -> Response {
        self.chunks.push(Chunk::Bytes(self.writer.out.freeze()));
        let mut response = Response { chunks: self.chunks, errors: Vec::new() };
        let size = i32::try_from(response.size().saturating_sub(4)).unwrap_or(i32::MAX);
        if let Some(Chunk::Bytes(first)) = response.chunks.first_mut() {
            let mut head = BytesMut::from(std::mem::take(first));
            if let Some(prefix) = head.get_mut(..4) {
                prefix.copy_from_slice(&size.to_be_bytes());
            }
            *first = head.freeze();
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
    use kafka_protocol::messages::{FetchResponse, ResponseHeader, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
    use uuid::Uuid;

    use super::*;

    fn request(version: i16) -> kafka_protocol::messages::FetchRequest {
        let partition = FetchPartition::default()
            .with_partition(3)
            .with_fetch_offset(99)
            .with_partition_max_bytes(1000);
        let mut topic = FetchTopic::default().with_partitions(vec![partition]);
        let mut forgotten = ForgottenTopic::default().with_partitions(vec![4, 5]);
        if version >= FIRST_TOPIC_IDS {
            topic = topic.with_topic_id(Uuid::from_bytes([9; 16]));
            forgotten = forgotten.with_topic_id(Uuid::from_bytes([8; 16]));
        } else {
            topic = topic.with_topic(TopicName(StrBytes::from_static_str("t")));
            forgotten = forgotten.with_topic(TopicName(StrBytes::from_static_str("f")));
        }
        let forgotten = if version >= 7 { vec![forgotten] } else { vec![] };
        kafka_protocol::messages::FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(4096)
            .with_isolation_level(i8::from(version % 2 == 1))
            .with_topics(vec![topic])
            .with_forgotten_topics_data(forgotten)
    }

    #[test]
    fn frames_are_those_of_kafka_in_every_version() {
        for version in 4..=18 {
            let mut body = BytesMut::new();
            request(version).encode(&mut body, version).expect("encoded");
            let request = FetchRequest::decode(body.freeze(), version).expect("decoded");
            assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (500, 1, 4096));
            let (topic, partitions) = &request.topics[0];
            assert_eq!((partitions[0].index, partitions[0].offset), (3, 99));
            assert_eq!(request.forgotten.len(), usize::from(version >= 7));
            assert_eq!(request.replica_id, -1);
            assert_eq!(request.read_committed, version % 2 == 1);

            let aborted = AbortedTransaction {
                producer_id: 99,
                first_offset: 5,
                last_offset: 7,
                last_stable_offset: 8,
            };
            let data = PartitionData {
                high_watermark: 10,
                last_stable: 8,
                log_start: 2,
                aborted: (version % 2 == 0).then(|| vec![aborted]),
                diverging: Some((4, 7)),
                preferred: Some(NodeId(6)),
                leader: Some(leader_hint::tests::hint()),
                ..PartitionData::error(3, 1)
            };
            let topics = [(topic.clone(), vec![data])];
            let nodes = &[leader_hint::tests::endpoint()];
            let head = Frame { correlation_id: 77, version, error: 0, session_id: 5, nodes };
            let response = encode_response(&head, &topics);
            let Chunk::Bytes(frame) = &response.chunks[0] else { panic!("no files") };
            let mut frame = frame.slice(4..);
            let header_version = FetchResponse::header_version(version);
            let header = ResponseHeader::decode(&mut frame, header_version).expect("a header");
            assert_eq!(header.correlation_id, 77);
            let response = FetchResponse::decode(&mut frame, version).expect("a response");
            assert!(frame.is_empty());
            let partition = &response.responses[0].partitions[0];
            assert_eq!((partition.partition_index, partition.high_watermark), (3, 10));
            assert_eq!(partition.last_stable_offset, 8);
            let told = partition.aborted_transactions.as_ref().map(|told| {
                told.iter().map(|one| (one.producer_id.0, one.first_offset)).collect::<Vec<_>>()
            });
            assert_eq!(told, (version % 2 == 0).then(|| vec![(99, 5)]));
            assert_eq!(partition.diverging_epoch.end_offset, if version >= 12 { 7 } else { -1 });
            let preferred = if version >= FIRST_RACK { 6 } else { -1 };
            assert_eq!(partition.preferred_read_replica.0, preferred);
            let leader = &partition.current_leader;
            let expected = if version >= FIRST_LEADER { (3, 9) } else { (-1, -1) };
            assert_eq!((leader.leader_id.0, leader.leader_epoch), expected);
            assert_eq!(response.node_endpoints.len(), usize::from(version >= FIRST_LEADER));
        }
    }
}

//! Produce's frames, read and written by hand: the records are slices of the request's buffer.

use bytes::{BufMut, Bytes, BytesMut};

use crate::api::errors::Code;
use crate::api::leader_hint::{self, LeaderHint, NodeEndpoint};
use crate::base::ids::{Offset, TopicId};
use crate::base::primitives::{Reader, Writer};

pub(super) const FIRST_ZSTD: i16 = 7;
const FIRST_RECORD_ERRORS: i16 = 8;
const FIRST_FLEXIBLE: i16 = 9;
const FIRST_LEADER: i16 = 10;
const FIRST_TOPIC_IDS: i16 = 13;

#[derive(Debug)]
pub(super) struct ProduceRequest {
    pub(super) is_transactional: bool,
    /// Older clients could not read it back.
    pub(super) may_use_zstd: bool,
    pub(super) acks: i16,
    pub(super) timeout_ms: i32,
    pub(super) topics: Vec<TopicData>,
}

#[derive(Debug)]
pub(super) struct TopicData {
    pub(super) name: TopicRef,
    pub(super) partitions: Vec<PartitionData>,
}

#[derive(Debug)]
pub(super) enum TopicRef {
    Name(String),
    Id(TopicId),
}

#[derive(Debug)]
pub(super) struct PartitionData {
    pub(super) index: i32,
    pub(super) records: Option<Bytes>,
}

/// What a partition's append came to.
#[derive(Debug)]
pub(super) struct PartitionAnswer {
    pub(super) error: i16,
    pub(super) message: Option<String>,
    /// The records that the batch was refused for (KIP-467).
    pub(super) records: Vec<RecordError>,
    pub(super) base_offset: Offset,
    pub(super) append_time_ms: i64,
    pub(super) log_start_offset: Offset,
    /// Who leads instead (KIP-951).
    pub(super) leader: Option<LeaderHint>,
}

/// What is wrong with a record.
#[derive(Debug)]
pub(super) struct RecordError {
    /// Its place in the batch.
    pub(super) index: i32,
    pub(super) message: String,
}

impl PartitionAnswer {
    pub(super) fn error(code: Code, message: Option<String>) -> Self {
        Self {
            error: code.code(),
            message,
            records: Vec::new(),
            base_offset: -1,
            append_time_ms: -1,
            log_start_offset: -1,
            leader: None,
        }
    }
}

impl ProduceRequest {
    pub(super) fn decode(body: &Bytes, version: i16) -> Option<Self> {
        let mut reader = Reader::new(body.clone(), version >= FIRST_FLEXIBLE);
        let is_transactional = reader.nullable_string()?.is_some();
        let (acks, timeout_ms) = (reader.i16()?, reader.i32()?);
        let topics = reader.array(3, |reader| {
            let name = match version >= FIRST_TOPIC_IDS {
                true => TopicRef::Id(TopicId(reader.uuid()?)),
                false => TopicRef::Name(reader.string()?),
            };
            let partitions = reader.array(5, |reader| {
                let (index, records) = (reader.i32()?, reader.nullable_bytes()?);
                reader.skip_tagged()?;
                Some(PartitionData { index, records })
            })?;
            reader.skip_tagged()?;
            Some(TopicData { name, partitions })
        })?;
        reader.skip_tagged()?;
        let may_use_zstd = version >= FIRST_ZSTD;
        Some(Self { is_transactional, may_use_zstd, acks, timeout_ms, topics })
    }

    pub(super) fn partition_count(&self) -> usize {
        self.topics.iter().map(|topic| topic.partitions.len()).sum()
    }

    /// The response frame, with `answers` in the order of the request's partitions.
    pub(super) fn encode_response(
        &self,
        correlation_id: i32,
        version: i16,
        answers: &[PartitionAnswer],
        nodes: &[NodeEndpoint],
    ) -> BytesMut {
        let mut out = BytesMut::with_capacity(64 + answers.len() * 64);
        out.put_i32(0);
        out.put_i32(correlation_id);
        let mut writer = Writer::new(out, version >= FIRST_FLEXIBLE);
        writer.no_tagged();
        writer.array_length(self.topics.len());
        let mut answers = answers.iter();
        for topic in &self.topics {
            match &topic.name {
                TopicRef::Name(name) => writer.string(name),
                TopicRef::Id(id) => writer.out.put_slice(&id.0),
            }
            writer.array_length(topic.partitions.len());
            for (partition, answer) in topic.partitions.iter().zip(&mut answers) {
                encode_partition(&mut writer, version, partition.index, answer);
            }
            writer.no_tagged();
        }
        // Throttle time.
        writer.out.put_i32(0);
        leader_hint::put_nodes(&mut writer, if version < FIRST_LEADER { &[] } else { nodes });
        writer.out
    }
}

fn encode_partition(writer: &mut Writer, version: i16, index: i32, answer: &PartitionAnswer) {
    writer.out.put_i32(index);
    writer.out.put_i16(answer.error);
    writer.out.put_i64(answer.base_offset);
    writer.out.put_i64(answer.append_time_ms);
    if version >= 5 {
        writer.out.put_i64(answer.log_start_offset);
    }
    if version >= FIRST_RECORD_ERRORS {
        writer.array_length(answer.records.len());
        for record in &answer.records {
            writer.out.put_i32(record.index);
            writer.nullable_string(Some(&record.message));
            writer.no_tagged();
        }
        writer.nullable_string(answer.message.as_deref());
    }
    match answer.leader.filter(|_| version >= FIRST_LEADER) {
        Some(leader) => writer.tagged(&[(0, &leader.bytes())]),
        None => writer.no_tagged(),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{ProduceResponse, ResponseHeader, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
    use uuid::Uuid;

    use super::*;

    fn request(version: i16) -> kafka_protocol::messages::ProduceRequest {
        let partition = PartitionProduceData::default()
            .with_index(7)
            .with_records(Some(Bytes::from_static(b"records")));
        let mut topic = TopicProduceData::default().with_partition_data(vec![partition]);
        if version >= FIRST_TOPIC_IDS {
            topic = topic.with_topic_id(Uuid::from_bytes([9; 16]));
        } else {
            topic = topic.with_name(TopicName(StrBytes::from_static_str("t")));
        }
        kafka_protocol::messages::ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(1234)
            .with_topic_data(vec![topic])
    }

    #[test]
    fn frames_are_those_of_kafka_in_every_version() {
        for version in 3..=13 {
            let mut body = BytesMut::new();
            request(version).encode(&mut body, version).expect("encoded");
            let request = ProduceRequest::decode(&body.freeze(), version).expect("decoded");
            assert_eq!((request.acks, request.timeout_ms), (-1, 1234));
            let data = &request.topics[0].partitions[0];
            assert_eq!((data.index, data.records.as_deref()), (7, Some(&b"records"[..])));

            let text = Some("why".to_owned());
            let answer = PartitionAnswer {
                base_offset: 5,
                records: vec![RecordError { index: 3, message: "keyless".to_owned() }],
                ..PartitionAnswer::error(Code::InvalidRecord, text)
            };
            let answer = PartitionAnswer { leader: Some(leader_hint::tests::hint()), ..answer };
            let nodes = [leader_hint::tests::endpoint()];
            let frame = request.encode_response(77, version, &[answer], &nodes);
            let mut frame = frame.freeze().slice(4..);
            let header_version = ProduceResponse::header_version(version);
            let header = ResponseHeader::decode(&mut frame, header_version).expect("a header");
            assert_eq!(header.correlation_id, 77);
            let response = ProduceResponse::decode(&mut frame, version).expect("a response");
            assert!(frame.is_empty());
            let partition = &response.responses[0].partition_responses[0];
            assert_eq!((partition.index, partition.base_offset), (7, 5));
            assert_eq!(partition.error_code, Code::InvalidRecord.code());
            let message = partition.error_message.as_ref().map(|m| m.as_str());
            assert_eq!(message, (version >= 8).then_some("why"));
            let records = partition.record_errors.iter().map(|record| {
                let text = record.batch_index_error_message.as_ref();
                (record.batch_index, text.map(|text| text.as_str()))
            });
            let expected: &[_] =
                if version >= FIRST_RECORD_ERRORS { &[(3, Some("keyless"))] } else { &[] };
            assert!(records.eq(expected.iter().copied()));
            let leader = &partition.current_leader;
            let expected = if version >= FIRST_LEADER { (3, 9) } else { (-1, -1) };
            assert_eq!((leader.leader_id.0, leader.leader_epoch), expected);
            let nodes = response.node_endpoints.iter();
            let nodes = nodes.map(|node| (node.node_id.0, node.host.as_str(), node.port));
            let expected: &[_] = if version >= FIRST_LEADER { &[(3, "h", 9092)] } else { &[] };
            assert!(nodes.eq(expected.iter().copied()));
        }
    }
}

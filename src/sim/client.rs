//! A client in the simulation: raw frames over the network seam, one request at a time or several
//! in flight.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, BrokerId, CreateTopicsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, ElectLeadersRequest, FetchRequest,
    FindCoordinatorRequest, GroupId, InitProducerIdRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, ProduceRequest, ProduceResponse, ProducerId, RequestHeader, ResponseHeader,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::base::ids::Offset;
use crate::base::net::{Net, Stream};
use crate::log::records::build::put_varint;

/// In the time of the simulation, which passes when nothing else happens.
const DEADLINE: Duration = Duration::from_secs(120);
/// For a client that has other brokers to ask.
const SHORT_DEADLINE: Duration = Duration::from_secs(3);
const FETCH_VERSION: i16 = 12;
/// The last one that only leaders answer: what followers show may lie behind.
const FETCH_LEADER_VERSION: i16 = 10;
const PRODUCE_VERSION: i16 = 9;
/// A frame cannot be larger here.
const FRAME_BYTES_MAX: i32 = 64 * 1024 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    next_id: i32,
    deadline: Duration,
    fetch_version: i16,
}

/// What a broker says of a partition: the leader's address, if there is one.
pub type Leader = Option<(String, u16)>;

/// A partition as requests name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn address(host: &StrBytes, port: i32) -> Leader {
    Some((host.to_string(), u16::try_from(port).ok()?))
}

fn protocol(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{error:#}"))
}

fn missing() -> io::Error {
    protocol("the answer is not about what was asked")
}

/// A whole request frame, its length included.
fn frame<R: Request>(id: i32, version: i16, request: &R) -> io::Result<Bytes> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(text("sim")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version)).map_err(protocol)?;
    request.encode(&mut body, version).map_err(protocol)?;
    let mut out = BytesMut::with_capacity(body.len() + 4);
    out.put_i32(i32::try_from(body.len()).map_err(protocol)?);
    out.put(body);
    Ok(out.freeze())
}

impl Client {
    pub async fn connect(net: &Net, port: u16) -> io::Result<Self> {
        Ok(Self {
            stream: net.connect("", port).await?,
            next_id: 1,
            deadline: DEADLINE,
            fetch_version: FETCH_VERSION,
        })
    }

    /// A connection to one broker of several.
    pub async fn reach(net: &Net, host: &str, port: u16) -> io::Result<Self> {
        let connected = tokio::time::timeout(SHORT_DEADLINE, net.connect(host, port)).await;
        let (stream, fetch_version) = (connected??, FETCH_LEADER_VERSION);
        Ok(Self { stream, next_id: 1, deadline: SHORT_DEADLINE, fetch_version })
    }

    /// Sends a request; its correlation id.
    async fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<i32> {
        let id = self.next_id;
        self.next_id += 1;
        let frame = frame(id, version, request)?;
        let sent = tokio::time::timeout(self.deadline, self.stream.write_all(&frame)).await;
        sent.map_err(io::Error::from)??;
        Ok(id)
    }

    async fn receive<R: Request>(&mut self, version: i16, id: i32) -> io::Result<R::Response> {
        let read = tokio::time::timeout(self.deadline, self.read_frame()).await;
        let mut body = read.map_err(io::Error::from)??;
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut body, header_version).map_err(protocol)?;
        if header.correlation_id != id {
            return Err(protocol("answers do not come in the order of the requests"));
        }
        let response = R::Response::decode(&mut body, version).map_err(protocol)?;
        if body.has_remaining() { Err(protocol("a longer answer")) } else { Ok(response) }
    }

    async fn read_frame(&mut self) -> io::Result<Bytes> {
        let size = self.stream.read_i32().await?;
        if !(0..FRAME_BYTES_MAX).contains(&size) {
            return Err(protocol("a frame of an unlikely size"));
        }
        let mut body = vec![0; usize::try_from(size).map_err(protocol)?];
        self.stream.read_exact(&mut body).await?;
        Ok(body.into())
    }

    async fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let id = self.send(version, request).await?;
        self.receive::<R>(version, id).await
    }

    /// The error code.
    pub async fn create_topic(
        &mut self,
        topic: &str,
        (partitions, replicas): (i32, i16),
        configs: &[(&str, String)],
    ) -> io::Result<i16> {
        let config = |(key, value): &(&str, String)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(configs.iter().map(config).collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        let answer = self.call(7, &request).await?;
        answer.topics.first().map(|topic| topic.error_code).ok_or_else(missing)
    }

    /// The error code.
    pub async fn delete_topic(&mut self, topic: &str) -> io::Result<i16> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![name(topic)])
            .with_timeout_ms(60_000);
        let answer = self.call(5, &request).await?;
        answer.responses.first().map(|topic| topic.error_code).ok_or_else(missing)
    }

    /// Who leads a partition.
    pub async fn leader(&mut self, place: &Place) -> io::Result<Leader> {
        let topic = MetadataRequestTopic::default().with_name(Some(name(&place.topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        let answer = self.call(9, &request).await?;
        let topic = answer.topics.first().ok_or_else(missing)?;
        let mut partitions = topic.partitions.iter();
        let partition = partitions.find(|found| found.partition_index == place.partition);
        let leader = partition.map(|partition| partition.leader_id);
        let broker = answer.brokers.iter().find(|broker| Some(broker.node_id) == leader);
        Ok(broker.and_then(|broker| address(&broker.host, broker.port)))
    }

    /// Who coordinates a group.
    pub async fn coordinator(&mut self, group: &str) -> io::Result<Leader> {
        let request = FindCoordinatorRequest::default().with_key(text(group));
        let answer = self.call(3, &request).await?;
        let found = (answer.error_code == 0).then(|| address(&answer.host, answer.port));
        Ok(found.flatten())
    }

    /// The error code.
    pub async fn reassign(&mut self, place: &Place, replicas: &[i32]) -> io::Result<i16> {
        let partition = ReassignablePartition::default()
            .with_partition_index(place.partition)
            .with_replicas(Some(replicas.iter().map(|id| BrokerId(*id)).collect()));
        let topic = ReassignableTopic::default()
            .with_name(name(&place.topic))
            .with_partitions(vec![partition]);
        let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
        let answer = self.call(0, &request).await?;
        let topic = answer.responses.first().ok_or_else(missing)?;
        topic.partitions.first().map(|partition| partition.error_code).ok_or_else(missing)
    }

    /// Has a partition's replica moved to another log dir; the error code.
    pub async fn alter_log_dir(&mut self, place: &Place, dir: &str) -> io::Result<i16> {
        let topic = AlterReplicaLogDirTopic::default()
            .with_name(name(&place.topic))
            .with_partitions(vec![place.partition]);
        let dir = AlterReplicaLogDir::default().with_path(text(dir)).with_topics(vec![topic]);
        let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]);
        let answer = self.call(2, &request).await?;
        let topic = answer.results.first().ok_or_else(missing)?;
        topic.partitions.first().map(|partition| partition.error_code).ok_or_else(missing)
    }

    /// The error code.
    pub async fn elect_preferred_leaders(&mut self) -> io::Result<i16> {
        let request = ElectLeadersRequest::default().with_topic_partitions(None);
        Ok(self.call(2, &request).await?.error_code)
    }

    /// A fresh producer id.
    pub async fn producer_id(&mut self) -> io::Result<i64> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = self.call(4, &request).await?;
        match answer.error_code {
            0 => Ok(answer.producer_id.0),
            code => Err(protocol(format!("no producer id: error {code}"))),
        }
    }

    /// Sends a batch; what [`Self::produced`] takes.
    pub async fn produce(&mut self, place: &Place, acks: i16, batch: Bytes) -> io::Result<i32> {
        let data =
            PartitionProduceData::default().with_index(place.partition).with_records(Some(batch));
        let topic = TopicProduceData::default()
            .with_name(name(&place.topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(acks)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic]);
        self.send(PRODUCE_VERSION, &request).await
    }

    /// The error code and the base offset.
    pub async fn produced(&mut self, id: i32) -> io::Result<(i16, Offset)> {
        let answer: ProduceResponse = self.receive::<ProduceRequest>(PRODUCE_VERSION, id).await?;
        let topic = answer.responses.first().ok_or_else(missing)?;
        let partition = topic.partition_responses.first().ok_or_else(missing)?;
        Ok((partition.error_code, partition.base_offset))
    }

    /// The error code and the new log start.
    pub async fn delete_records(
        &mut self,
        place: &Place,
        before: Offset,
    ) -> io::Result<(i16, Offset)> {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(place.partition)
            .with_offset(before);
        let topic = DeleteRecordsTopic::default()
            .with_name(name(&place.topic))
            .with_partitions(vec![partition]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = self.call(2, &request).await?;
        let topic = answer.topics.first().ok_or_else(missing)?;
        let partition = topic.partitions.first().ok_or_else(missing)?;
        Ok((partition.error_code, partition.low_watermark))
    }

    /// What a fetch from `offset` gives at once.
    pub async fn fetch(
        &mut self,
        place: &Place,
        offset: Offset,
        size_max: i32,
    ) -> io::Result<PartitionData> {
        let partition = FetchPartition::default()
            .with_partition(place.partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(size_max);
        let topic =
            FetchTopic::default().with_topic(name(&place.topic)).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_wait_ms(0)
            .with_min_bytes(1)
            .with_max_bytes(size_max)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = self.call(self.fetch_version, &request).await?;
        let topic = answer.responses.into_iter().next().ok_or_else(missing)?;
        topic.partitions.into_iter().next().ok_or_else(missing)
    }

    /// Makes the group's coordinator ready; an error is asked again by the caller.
    pub async fn find_coordinator(&mut self, group: &str) -> io::Result<i16> {
        let request = FindCoordinatorRequest::default().with_key(text(group));
        Ok(self.call(3, &request).await?.error_code)
    }

    /// Commits for nobody in particular; the error code.
    pub async fn commit_offset(
        &mut self,
        group: &str,
        place: &Place,
        offset: Offset,
    ) -> io::Result<i16> {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(place.partition)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("")));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(name(&place.topic))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let answer = self.call(8, &request).await?;
        let topic = answer.topics.first().ok_or_else(missing)?;
        topic.partitions.first().map(|partition| partition.error_code).ok_or_else(missing)
    }

    /// The error code and the committed offset.
    pub async fn committed_offset(
        &mut self,
        group: &str,
        place: &Place,
    ) -> io::Result<(i16, Offset)> {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(name(&place.topic))
            .with_partition_indexes(vec![place.partition]);
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(Some(vec![topic]));
        let answer = self.call(7, &request).await?;
        if answer.error_code != 0 {
            return Ok((answer.error_code, -1));
        }
        let topic = answer.topics.first().ok_or_else(missing)?;
        let partition = topic.partitions.first().ok_or_else(missing)?;
        Ok((partition.error_code, partition.committed_offset))
    }
}

/// Whose batch it is: producer id, epoch, base sequence; all -1 for nobody's.
pub type Producer = (i64, i16, i32);

/// Encodes an uncompressed batch with one record per value.
pub fn encode_batch(values: &[Bytes], producer: Producer, timestamp_ms: i64) -> Bytes {
    let mut records = BytesMut::new();
    for (delta, value) in (0i64..).zip(values) {
        let mut record = BytesMut::new();
        record.put_slice(&[0, 0]);
        put_varint(&mut record, delta);
        put_varint(&mut record, -1);
        put_varint(&mut record, i64::try_from(value.len()).unwrap_or(i64::MAX));
        record.put_slice(value);
        put_varint(&mut record, 0);
        put_varint(&mut records, i64::try_from(record.len()).unwrap_or(i64::MAX));
        records.put(record);
    }
    let count = i32::try_from(values.len()).unwrap_or(i32::MAX);
    let mut covered = BytesMut::new();
    covered.put_i16(0);
    covered.put_i32(count - 1);
    covered.put_i64(timestamp_ms);
    covered.put_i64(timestamp_ms);
    covered.put_i64(producer.0);
    covered.put_i16(producer.1);
    covered.put_i32(producer.2);
    covered.put_i32(count);
    covered.put(records);
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(covered.len() + 9).unwrap_or(i32::MAX));
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(crc32c::crc32c(&covered));
    batch.put(covered);
    batch.freeze()
}

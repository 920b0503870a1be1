//! Transactional batches and markers in a log: what consumers see, and which offsets count. No
//! client may write them yet, so they are appended as a coordinator will.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest};
use ottla::base::ids::TopicId;
use ottla::coordinator::partition_for;
use ottla::coordinator::records::{OffsetKey, OffsetValue, Record};
use ottla::log::batch::Batch;
use ottla::log::records::marker::{Ending, Marker};
use ottla::partition::{Acks, AppendError, Partition};

use crate::harness::batch::{self, Pair};
use crate::harness::offsets::SETTINGS;
use crate::harness::records::{FETCH, Topic, fetch, fetch_from};
use crate::harness::{Broker, Client, run, topic_name};

const TRANSACTIONAL: u8 = 1 << 4;
const LONG_MS: i32 = 30_000;

async fn append(partition: &Arc<Partition>, batch: Batch) -> Result<i64, AppendError> {
    partition.append(batch, Acks::All).await?.base_offset().await
}

/// A batch of a producer's transaction.
fn within(records: &[Pair<'_>], producer_id: i64, sequence: i32, timestamp_ms: i64) -> Batch {
    let plain = batch::of_records(records, (producer_id, 0, sequence), timestamp_ms);
    Batch::take(&mut batch::changed(&plain, 22, &[TRANSACTIONAL])).unwrap()
}

async fn end(partition: &Arc<Partition>, producer_id: i64, ending: Ending) -> i64 {
    let marker = Marker { ending, coordinator_epoch: 0 };
    append(partition, marker.batch(producer_id, 0, 5_000).unwrap()).await.unwrap()
}

/// What a reader of one isolation level gets: base offsets, last stable offset, high watermark, and
/// the aborted transactions that it is told of.
type Seen = (Vec<i64>, i64, i64, Option<Vec<(i64, i64)>>);

fn seen(found: PartitionData) -> Seen {
    assert_eq!(found.error_code, 0);
    let offsets = batch::parts(found.records).into_iter().map(|(offset, _)| offset).collect();
    let aborted = found
        .aborted_transactions
        .map(|aborted| aborted.iter().map(|one| (one.producer_id.0, one.first_offset)).collect());
    (offsets, found.last_stable_offset, found.high_watermark, aborted)
}

fn request(topic: &Topic, from: i64, committed: bool) -> FetchRequest {
    fetch(vec![topic.fetch(&[]).with_partitions(vec![fetch_from(0, from)])])
        .with_isolation_level(i8::from(committed))
}

async fn read(client: &mut Client, topic: &Topic, from: i64, committed: bool) -> Seen {
    let mut found = None;
    for version in 4..=FETCH {
        let mut answer = client.call(version, &request(topic, from, committed)).await;
        let now = seen(answer.responses.remove(0).partitions.remove(0));
        assert!(found.is_none_or(|found| found == now), "version {version}");
        found = Some(now);
    }
    found.unwrap()
}

/// Timestamp and offset.
async fn list(client: &mut Client, topic: &Topic, timestamp: i64, committed: bool) -> (i64, i64) {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
    let wanted = ListOffsetsTopic::default()
        .with_name(topic_name(topic.name))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(i8::from(committed))
        .with_topics(vec![wanted]);
    let found = client.call(10, &request).await.topics.remove(0).partitions.remove(0);
    assert_eq!(found.error_code, 0);
    (found.timestamp, found.offset)
}

#[test]
fn readers_of_committed_transactions_wait_for_markers() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let plain = batch::with(&[b"plain"], batch::NO_PRODUCER, 1_000);
        client.produce(&topic, plain.clone()).await;
        let partition = broker.partition(topic.id, 0);
        let records: [Pair<'_>; 2] = [(None, Some(b"a")), (None, Some(b"b"))];
        append(&partition, within(&records, 7, 0, 2_000)).await.unwrap();
        client.produce(&topic, batch::with(&[b"plain"], batch::NO_PRODUCER, 3_000)).await;
        assert_eq!(read(&mut client, &topic, 0, false).await, (vec![0, 1, 3], 1, 4, None));
        assert_eq!(read(&mut client, &topic, 0, true).await, (vec![0], 1, 4, Some(vec![])));
        assert_eq!(read(&mut client, &topic, 1, true).await, (vec![], 1, 4, Some(vec![])));
        assert_eq!(read(&mut client, &topic, 3, true).await, (vec![], 1, 4, Some(vec![])));
        for (timestamp, uncommitted, committed) in [
            (-1, (-1, 4), (-1, 1)),
            (-2, (-1, 0), (-1, 0)),
            (-3, (3_000, 3), (-1, -1)),
            (1_000, (1_000, 0), (1_000, 0)),
            (1_500, (2_000, 1), (-1, -1)),
            (2_500, (3_000, 3), (-1, -1)),
        ] {
            assert_eq!(list(&mut client, &topic, timestamp, false).await, uncommitted);
            assert_eq!(list(&mut client, &topic, timestamp, true).await, committed);
        }
        // A reader that waits is woken by the marker.
        let begun = Instant::now();
        let wanted = request(&topic, 1, true).with_max_wait_ms(LONG_MS);
        let mut waiting = broker.client().await;
        let id = waiting.send(FETCH, &wanted).await;
        let early = tokio::time::timeout(Duration::from_millis(50), waiting.stream.readable());
        assert!(early.await.is_err(), "there is nothing to tell yet");
        assert_eq!(end(&partition, 7, Ending::Aborted).await, 4);
        let mut answer = waiting.receive::<FetchRequest>(FETCH, id).await;
        assert!(begun.elapsed() < Duration::from_secs(30), "not woken");
        let found = seen(answer.responses.remove(0).partitions.remove(0));
        assert_eq!(found, (vec![1, 3, 4], 5, 5, Some(vec![(7, 1)])));
        drop((partition, client, waiting));
        let broker = broker.restart().await;
        let mut client = broker.client().await;
        let all = vec![0, 1, 3, 4];
        let found = read(&mut client, &topic, 0, true).await;
        assert_eq!(found, (all, 5, 5, Some(vec![(7, 1)])));
        assert_eq!(list(&mut client, &topic, -1, true).await, (-1, 5));
    });
}

#[test]
fn a_marker_is_judged_and_ends_what_is_open() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let partition = broker.partition(topic.id, 0);
        let record: [Pair<'_>; 1] = [(None, Some(b"a"))];
        assert_eq!(append(&partition, within(&record, 7, 0, 1_000)).await, Ok(0));
        // A retry is told where it was.
        assert_eq!(append(&partition, within(&record, 7, 0, 1_000)).await, Ok(0));
        let outside = batch::with(&[b"a"], (7, 0, 1), 1_000);
        assert_eq!(client.produce(&topic, outside.clone()).await.error_code, 48);
        assert_eq!(end(&partition, 7, Ending::Committed).await, 1);
        assert_eq!(client.produce(&topic, outside).await.error_code, 0);
        let found = read(&mut client, &topic, 0, true).await;
        assert_eq!(found, (vec![0, 1, 2], 3, 3, Some(vec![])));
        let marker = Marker { ending: Ending::Aborted, coordinator_epoch: -1 };
        let old = append(&partition, marker.batch(7, 0, 1_000).unwrap()).await;
        assert!(matches!(old, Err(AppendError::Sequence(_))), "{old:?}");
    });
}

/// The bytes of a committed offset.
fn offset_record(group: &str, topic: &Topic, partition: i32, offset: i64) -> (Bytes, Bytes) {
    let key = OffsetKey { group: group.to_owned(), topic: topic.name.to_owned(), partition };
    let value = OffsetValue {
        offset,
        leader_epoch: -1,
        metadata: String::new(),
        commit_timestamp_ms: 1_700_000_000_000,
        expire_timestamp_ms: -1,
        topic_id: TopicId(topic.id.into_bytes()),
    };
    let record = Record::Offset { key, value: Some(value) }.encode();
    (record.key, record.value.unwrap())
}

#[test]
fn offsets_count_when_their_transaction_is_committed() {
    run(async {
        let broker = Broker::with_groups(&[]).await;
        let topic = Topic::create(&broker, "t", 5, &[]).await;
        let mut client = broker.client().await;
        let offsets = [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5)];
        assert_eq!(client.commit(9, "g", &topic, &offsets).await, [0; 5]);
        let internal = client.topic("__consumer_offsets").await;
        let internal_id = internal.topic_id;
        let index = partition_for("g", internal.partitions.len());
        let partition = broker.partition(internal_id, index);
        let write = async |producer_id, to: i32, offset| {
            let (key, value) = offset_record("g", &topic, to, offset);
            let record: [Pair<'_>; 1] = [(Some(&key), Some(&value))];
            let batch = match producer_id {
                -1 => Batch::take(&mut batch::of_records(&record, batch::NO_PRODUCER, 1_000)),
                id => Ok(within(&record, id, -1, 1_000)),
            };
            append(&partition, batch.unwrap()).await.unwrap();
        };
        write(1, 0, 10).await;
        write(2, 1, 20).await;
        write(3, 2, 30).await;
        // What is committed later stands later in the log, whenever the transaction ends.
        write(1, 3, 40).await;
        write(-1, 3, 41).await;
        write(1, 4, 50).await;
        write(3, 4, 51).await;
        end(&partition, 1, Ending::Committed).await;
        end(&partition, 2, Ending::Aborted).await;
        drop(partition);
        let settings = SETTINGS;
        let broker = broker.restart_with(settings).await;
        let mut client = broker.client().await;
        client.coordinator().await;
        let all = [0, 1, 2, 3, 4];
        assert_eq!(client.committed(9, "g", &topic, &all).await, [10, 5, 5, 41, 50]);
        // The state is written down although a transaction is open, and the marker is not missed.
        assert_eq!(client.commit(9, "g", &topic, &[(1, 6)]).await, [0]);
        let broker = broker.restart_with(settings).await;
        let mut client = broker.client().await;
        client.coordinator().await;
        assert_eq!(client.committed(9, "g", &topic, &all).await, [10, 6, 5, 41, 50]);
        let partition = broker.partition(internal_id, index);
        end(&partition, 3, Ending::Committed).await;
        drop(partition);
        let broker = broker.restart_with(settings).await;
        let mut client = broker.client().await;
        client.coordinator().await;
        assert_eq!(client.committed(9, "g", &topic, &all).await, [10, 6, 30, 41, 51]);
    });
}

//! What is no request at all: the connection ends, or Kafka's error comes, and everyone else goes
//! on.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, DeleteTopicsRequest, ListOffsetsRequest, MetadataRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use super::shapes::writer::Random;
use crate::harness::records::{Topic, fetch, fetch_from, produce};
use crate::harness::{Broker, Client, DEADLINE, batch, frame, run, topic_name};

/// The default of `socket.request.max.bytes`.
const REQUEST_BYTES_MAX: i32 = 100 * 1024 * 1024;

/// A frame with header version 1.
fn raw(api_key: i16, api_version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(10 + body.len()).unwrap());
    frame.put_i16(api_key);
    frame.put_i16(api_version);
    frame.put_i32(7);
    // No client id.
    frame.put_i16(-1);
    frame.put_slice(body);
    frame.freeze()
}

/// Sends on a connection of its own and half-closes it; how many bytes come before its end.
async fn answered(broker: &Broker, bytes: &[u8]) -> usize {
    let mut client = broker.client().await;
    client.send_raw(bytes).await;
    let _ = client.stream.shutdown().await;
    received(&mut client, "a half-closed connection").await
}

/// How many bytes come before the broker closes the connection, which the client leaves open.
async fn received(client: &mut Client, what: &str) -> usize {
    let mut answer = Vec::new();
    let all = tokio::time::timeout(DEADLINE, client.stream.read_to_end(&mut answer)).await;
    // A reset is an end as well.
    assert!(all.is_ok(), "the broker does not close: {what}");
    answer.len()
}

/// Closed by the broker, without an answer.
async fn assert_refused(broker: &Broker, bytes: &[u8], what: &str) {
    let mut client = broker.client().await;
    client.send_raw(bytes).await;
    assert_eq!(received(&mut client, what).await, 0, "{what}");
}

/// A normal client does normal things.
async fn assert_serves(broker: &Broker, topic: &Topic) {
    let mut client = broker.client().await;
    let answer = client.produce(topic, batch::of(&[b"a"])).await;
    assert_eq!(answer.error_code, 0);
    let fetched = client.fetch(topic, answer.base_offset).await;
    assert_eq!(batch::parts(fetched.records).len(), 1);
}

#[test]
fn bad_lengths_end_the_connection() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        for length in [-1, i32::MIN, i32::MAX, REQUEST_BYTES_MAX + 1, 0, 1, 7] {
            let mut bytes = BytesMut::new();
            bytes.put_i32(length);
            bytes.put_slice(&[0; 16]);
            assert_refused(&broker, &bytes, &format!("length {length}")).await;
        }
        assert_serves(&broker, &topic).await;
    });
}

#[test]
fn unknown_keys_and_versions_end_the_connection() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let served = |key: i16| ottla::api::TABLE.iter().any(|api| api.key == key);
        let unserved = (-2..200).filter(|key| !served(*key));
        for key in unserved.chain([i16::MIN, i16::MAX]) {
            assert_refused(&broker, &raw(key, 0, &[0; 32]), &format!("key {key}")).await;
        }
        for api in ottla::api::TABLE.iter().filter(|api| api.name != "ApiVersions") {
            for version in [-1, api.min - 1, api.max + 1, i16::MAX] {
                let what = format!("{} version {version}", api.name);
                assert_refused(&broker, &raw(api.key, version, &[0; 64]), &what).await;
            }
        }
        assert_serves(&broker, &topic).await;
    });
}

#[test]
fn half_a_frame_is_no_request() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let request = produce(vec![topic.produce(&[(0, batch::of(&[b"a", b"b"]))])]);
        let whole = frame(1, 13, &request);
        for size in 0..whole.len() {
            assert_eq!(answered(&broker, &whole[..size]).await, 0, "{size} bytes");
        }
        let answer = broker.client().await.fetch(&topic, 0).await;
        assert_eq!(answer.high_watermark, 0, "nothing was appended");
        assert_serves(&broker, &topic).await;
    });
}

#[test]
fn lying_counts_end_the_connection() {
    const COUNT: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];
    const COMPACT: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x07];
    let produce = [&[0xff, 0xff, 0xff, 0xff, 0, 0, 0x10, 0][..], &COUNT].concat();
    let produce_flexible = [&[0, 0, 0xff, 0xff, 0, 0, 0x10, 0][..], &COMPACT].concat();
    let of_fetch = [[0xff; 4], [0; 4], [0; 4], [0; 4]].concat();
    let fetch = [&of_fetch[..], &[0], &COUNT].concat();
    let fetch_with_session = [&of_fetch[..], &[0], &[0; 8], &COUNT].concat();
    let fetch_flexible = [&[0][..], &of_fetch, &[0], &[0; 8], &COMPACT].concat();
    let one_topic = [&[0, 0, 0, 1, 0, 1, b't'][..], &COUNT].concat();
    let list_offsets = [&[0xff; 4][..], &one_topic].concat();
    let cases: &[(i16, i16, &[u8])] = &[
        (0, 3, &produce),
        (0, 9, &produce_flexible),
        (1, 4, &fetch),
        (1, 7, &fetch_with_session),
        (1, 12, &fetch_flexible),
        (2, 1, &list_offsets),
        (3, 1, &COUNT),
        (3, 9, &[&[0][..], &COMPACT].concat()),
        (10, 4, &[&[0, 0][..], &COMPACT].concat()),
        (19, 2, &COUNT),
        (20, 1, &COUNT),
        (21, 0, &one_topic),
        (32, 1, &COUNT),
        (37, 0, &COUNT),
        (44, 0, &COUNT),
        (60, 0, &[&[0, 0][..], &COMPACT].concat()),
        (75, 0, &[&[0][..], &COMPACT].concat()),
    ];
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        for (key, version, body) in cases {
            assert_refused(&broker, &raw(*key, *version, body), &format!("{key} v{version}")).await;
        }
        assert_serves(&broker, &topic).await;
    });
}

#[test]
fn garbage_hurts_nobody() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() % (1 << 60)).unwrap()
    });
    println!("SEED={seed}");
    let mut random = Random(seed);
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        for _ in 0..500 {
            let size = random.below(300);
            let garbage: Vec<u8> =
                (0..size).map(|_| random.next().to_le_bytes()[0] >> random.below(8)).collect();
            let bytes = match random.below(3) {
                0 => garbage.into(),
                1 => {
                    let mut bytes = BytesMut::new();
                    bytes.put_u32(u32::try_from(garbage.len()).unwrap());
                    bytes.put_slice(&garbage);
                    bytes.freeze()
                }
                _ => {
                    let api = &ottla::api::TABLE[random.below(ottla::api::TABLE.len())];
                    let versions = usize::try_from(api.max - api.min + 1).unwrap();
                    let version = api.min + i16::try_from(random.below(versions)).unwrap();
                    raw(api.key, version, &garbage)
                }
            };
            // Whatever it says, it says it soon.
            answered(&broker, &bytes).await;
        }
        assert_serves(&broker, &topic).await;
    });
}

#[test]
fn many_half_frames_do_not_hold_up_others() {
    hold_half_frames(1024 * 1024);
}

#[test]
fn many_half_frames_that_announce_much_do_not_hold_up_others() {
    hold_half_frames(REQUEST_BYTES_MAX);
}

fn hold_half_frames(announced: i32) {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut half = BytesMut::new();
        half.put_i32(announced);
        half.put_slice(&raw(0, 9, &[0; 1_000])[4..]);
        let mut waiting = Vec::new();
        for _ in 0..200 {
            let mut client = broker.client().await;
            client.send_raw(&half).await;
            waiting.push(client);
        }
        assert_serves(&broker, &topic).await;
        drop(waiting);
        assert_serves(&broker, &topic).await;
    });
}

/// Everything below a folder.
fn tree(root: &Path) -> BTreeSet<std::path::PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path);
    }
    found
}

#[test]
fn topics_are_no_paths() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let outside = || {
            tree(broker.dir.path()).into_iter().filter(|p| !p.iter().any(|part| part == ".ottla"))
        };
        let before: Vec<_> = outside().collect();
        let mut client = broker.client().await;
        for name in
            ["..", ".", "a/b", "../x", "/etc/passwd", "..\0", "t-0/00000000000000000000.log"]
        {
            let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
            let request = MetadataRequest::default()
                .with_topics(Some(vec![wanted]))
                .with_allow_auto_topic_creation(true);
            assert_eq!(client.call(12, &request).await.topics[0].error_code, 17, "{name:?}");

            let path = Topic { name, id: Uuid::nil() };
            let answer = client.produce_as(12, &path, batch::of(&[b"a"])).await;
            assert_eq!(answer.error_code, 3);
            assert_eq!(client.fetch_as(12, &path, fetch_from(0, 0)).await.error_code, 3);

            let latest = ListOffsetsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(vec![ListOffsetsPartition::default().with_timestamp(-1)]);
            let request = ListOffsetsRequest::default().with_topics(vec![latest]);
            let answer = client.call(6, &request).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, 3);

            let state = DeleteTopicState::default().with_name(Some(topic_name(name)));
            let request =
                DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(60_000);
            assert_eq!(client.call(6, &request).await.responses[0].error_code, 3);
        }
        assert_serves(&broker, &topic).await;
        assert_eq!(outside().collect::<Vec<_>>(), before, "files were made or removed");
    });
}

#[test]
fn the_earlier_requests_are_answered_before_the_end() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let api_versions = client.send(0, &ApiVersionsRequest::default()).await;
        let fetch = client.send(4, &fetch(vec![topic.fetch(&[(0, 0)])])).await;
        client.send_raw(&raw(3, 99, &[])).await;
        client.receive::<ApiVersionsRequest>(0, api_versions).await;
        client.receive::<kafka_protocol::messages::FetchRequest>(4, fetch).await;
        assert_eq!(client.receive_frame().await, None);
    });
}

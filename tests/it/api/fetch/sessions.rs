//! Incremental fetch sessions (KIP-227).

use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::{FetchRequest, FetchResponse};

use crate::harness::records::{FETCH, Topic, fetch, produce};
use crate::harness::{Broker, Client, batch, run, topic_name};

const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const FETCH_SESSION_TOPIC_ID_ERROR: i16 = 106;

/// A full request that begins a session; its id.
async fn begin(client: &mut Client, version: i16, topic: &Topic, partitions: &[i32]) -> i32 {
    let wanted: Vec<(i32, i64)> = partitions.iter().map(|partition| (*partition, 0)).collect();
    let request = fetch(vec![topic.fetch(&wanted)]).with_session_epoch(0);
    let answer = client.call(version, &request).await;
    assert_eq!(answer.error_code, 0);
    assert_eq!(indexes(&answer), partitions, "a full answer");
    assert_ne!(answer.session_id, 0);
    answer.session_id
}

/// The next request of a session: partitions with new offsets.
fn next(session: (i32, i32), topic: &Topic, changed: &[(i32, i64)]) -> FetchRequest {
    let topics = if changed.is_empty() { vec![] } else { vec![topic.fetch(changed)] };
    fetch(topics).with_session_id(session.0).with_session_epoch(session.1)
}

fn indexes(answer: &FetchResponse) -> Vec<i32> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.partition_index).collect()
}

async fn append(client: &mut Client, topic: &Topic, partition: i32) {
    let data = topic.produce(&[(partition, batch::of(&[b"a"]))]);
    let answer = client.call(13, &produce(vec![data])).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

#[test]
fn only_changes_are_answered() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 3, &[]).await;
        let mut client = broker.client().await;
        for version in [7, 12, 13, FETCH] {
            let latest = client.call(version, &fetch(vec![topic.fetch(&[(1, 0)])])).await;
            let end = latest.responses[0].partitions[0].high_watermark;
            let id = begin(&mut client, version, &topic, &[0, 1]).await;
            let answer = client.call(version, &next((id, 1), &topic, &[(1, end)])).await;
            assert_eq!((answer.session_id, indexes(&answer)), (id, vec![]));

            append(&mut client, &topic, 1).await;
            let answer = client.call(version, &next((id, 2), &topic, &[])).await;
            assert_eq!(indexes(&answer), [1]);
            // Its offset has not been moved on: it is given again.
            let answer = client.call(version, &next((id, 3), &topic, &[])).await;
            assert_eq!(indexes(&answer), [1]);
            let answer = client.call(version, &next((id, 4), &topic, &[(1, end + 1)])).await;
            assert_eq!(indexes(&answer), [] as [i32; 0]);

            let answer = client.call(version, &next((id, 5), &topic, &[(2, 0)])).await;
            assert_eq!(indexes(&answer), [2], "a new partition is told once");
            let forgotten = ForgottenTopic::default()
                .with_topic(topic_name("t"))
                .with_topic_id(topic.id)
                .with_partitions(vec![1]);
            let request = next((id, 6), &topic, &[]).with_forgotten_topics_data(vec![forgotten]);
            assert_eq!(indexes(&client.call(version, &request).await), [] as [i32; 0]);
            append(&mut client, &topic, 1).await;
            let answer = client.call(version, &next((id, 7), &topic, &[])).await;
            assert_eq!(indexes(&answer), [] as [i32; 0], "a forgotten partition");
        }
    });
}

#[test]
fn wrong_sessions_are_refused_and_go_on() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let id = begin(&mut client, 12, &topic, &[0]).await;
        let other_id = if id == 1 { 2 } else { id - 1 };
        for (version, session, code) in [
            (12, (other_id, 1), FETCH_SESSION_ID_NOT_FOUND),
            (12, (0, 1), FETCH_SESSION_ID_NOT_FOUND),
            (12, (id, 2), INVALID_FETCH_SESSION_EPOCH),
            (13, (id, 1), FETCH_SESSION_TOPIC_ID_ERROR),
            (12, (id, 1), 0),
            (12, (id, 1), INVALID_FETCH_SESSION_EPOCH),
            (12, (id, 2), 0),
        ] {
            let answer = client.call(version, &next(session, &topic, &[])).await;
            assert_eq!(answer.error_code, code, "{session:?}");
            assert_eq!(answer.responses, []);
            assert_eq!(answer.session_id, if code == 0 { id } else { 0 });
        }
    });
}

#[test]
fn a_session_ends_with_a_full_request() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        let id = begin(&mut client, FETCH, &topic, &[0]).await;
        let answer = client.call(FETCH, &next((id, -1), &topic, &[(0, 0)])).await;
        assert_eq!((answer.error_code, answer.session_id), (0, 0));
        assert_eq!(indexes(&answer), [0]);
        let answer = client.call(FETCH, &next((id, 1), &topic, &[])).await;
        assert_eq!(answer.error_code, FETCH_SESSION_ID_NOT_FOUND);

        // A full request may also take the place of its session.
        let id = begin(&mut client, FETCH, &topic, &[0]).await;
        let answer = client.call(FETCH, &next((id, 0), &topic, &[(0, 0)])).await;
        assert!(answer.session_id != 0 && answer.session_id != id);
        let answer = client.call(FETCH, &next((id, 1), &topic, &[])).await;
        assert_eq!(answer.error_code, FETCH_SESSION_ID_NOT_FOUND);
    });
}

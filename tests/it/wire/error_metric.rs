//! Errors in answers are counted, by API and by the name that Kafka has for them.

use kafka_protocol::messages::{ApiVersionsRequest, InitProducerIdRequest, ProducerId};
use uuid::Uuid;

use crate::harness::records::{Topic, fetch, fetch_from, produce};
use crate::harness::{Broker, batch, frame, run};

/// How often, so far. The counters belong to the process, and other tests count too.
async fn count(broker: &Broker, api: &str, error: &str) -> u64 {
    let page = broker.scrape().await;
    let series = format!("ottla_request_errors_total{{api=\"{api}\",error=\"{error}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&series));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn errors_of_every_kind_of_answer_are_counted() {
    run(async {
        let broker = Broker::start_with(&[("OTTLA_METRICS_LISTENER", "127.0.0.1:0")]).await;
        let cases = [
            ("Metadata", "UNKNOWN_TOPIC_OR_PARTITION", 1),
            ("Produce", "UNKNOWN_TOPIC_ID", 2),
            ("Produce", "UNKNOWN_TOPIC_OR_PARTITION", 1),
            ("Fetch", "UNKNOWN_TOPIC_OR_PARTITION", 1),
            ("Fetch", "FETCH_SESSION_ID_NOT_FOUND", 1),
            ("InitProducerId", "INVALID_REQUEST", 1),
            ("ApiVersions", "UNSUPPORTED_VERSION", 1),
        ];
        let mut before = Vec::new();
        for (api, error, _) in cases {
            before.push(count(&broker, api, error).await);
        }

        let mut client = broker.client().await;
        client.topic("unknown").await;
        let unknown = Topic { name: "unknown", id: Uuid::from_bytes([7; 16]) };
        let two = unknown.produce(&[(0, batch::of(&[b"a"])), (1, batch::of(&[b"a"]))]);
        client.call(13, &produce(vec![two])).await;
        client.produce_as(12, &unknown, batch::of(&[b"a"])).await;
        client.fetch_as(12, &unknown, fetch_from(0, 0)).await;
        client.call(13, &fetch(vec![]).with_session_id(5).with_session_epoch(5)).await;
        let half = InitProducerIdRequest::default().with_producer_id(ProducerId(5));
        client.call(3, &half).await;
        let mut newer = frame(9, 4, &ApiVersionsRequest::default()).to_vec();
        newer[7] = 99;
        client.send_raw(&newer).await;
        client.receive_frame().await.unwrap();

        for ((api, error, times), before) in cases.into_iter().zip(before) {
            let found = count(&broker, api, error).await - before;
            assert!(found >= times, "{api} {error}: {found}");
        }
        assert_eq!(count(&broker, "Metadata", "NONE").await, 0);
    });
}

//! InitProducerId.

use std::collections::BTreeSet;

use kafka_protocol::messages::{InitProducerIdRequest, ProducerId, TransactionalId};

use crate::harness::{Broker, run, text};

fn plain() -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

#[test]
fn every_version_gives_a_fresh_id_even_after_a_restart() {
    run(async {
        let mut broker = Broker::start().await;
        let mut ids = BTreeSet::new();
        for _ in 0..2 {
            let mut client = broker.client().await;
            for version in 0..=5 {
                let answer = client.call(version, &plain()).await;
                assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
                assert!(answer.producer_id.0 >= 0);
                assert!(ids.insert(answer.producer_id.0), "given twice");
            }
            // Who has one gets another (KIP-360).
            let known = plain().with_producer_id(ProducerId(5)).with_producer_epoch(3);
            let answer = client.call(3, &known).await;
            assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
            assert!(ids.insert(answer.producer_id.0), "given twice");
            broker = broker.restart().await;
        }
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 3..=5 {
            for half in [plain().with_producer_id(ProducerId(5)), plain().with_producer_epoch(5)] {
                let answer = client.call(version, &half).await;
                assert_eq!((answer.error_code, answer.producer_id.0), (42, -1));
                assert_eq!(answer.producer_epoch, -1);
            }
        }
        for version in 0..=5 {
            for (id, timeout_ms, code) in
                [("", 1, 42), ("x", 0, 50), ("x", -1, 50), ("x", i32::MAX, 50), ("x", 1_000, 35)]
            {
                let request = plain()
                    .with_transactional_id(Some(TransactionalId(text(id))))
                    .with_transaction_timeout_ms(timeout_ms);
                let answer = client.call(version, &request).await;
                assert_eq!(answer.error_code, code, "{id:?} for {timeout_ms} ms");
            }
        }
    });
}

//! UnregisterBroker.

use kafka_protocol::messages::{BrokerId, UnregisterBrokerRequest};

use crate::harness::{Broker, run};

#[test]
fn only_registered_nodes_can_go() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(7));
        let answer = client.call(0, &request).await;
        let message = answer.error_message.as_deref();
        let expected = "Broker ID 7 is not currently registered";
        assert_eq!((answer.error_code, message), (102, Some(expected)));
    });
}

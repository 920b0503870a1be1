//! ListConfigResources.

use kafka_protocol::messages::ListConfigResourcesRequest;

use crate::harness::{Broker, Client, run};

const UNSUPPORTED_VERSION: i16 = 35;

async fn list(client: &mut Client, version: i16, kinds: &[i8]) -> (i16, Vec<(i8, String)>) {
    let request = ListConfigResourcesRequest::default().with_resource_types(kinds.to_vec());
    let answer = client.call(version, &request).await;
    let resources = answer.config_resources.into_iter();
    let resources = resources.map(|one| (one.resource_type, one.resource_name.to_string()));
    (answer.error_code, resources.collect())
}

#[test]
fn resources_are_listed_by_type() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 1, &[]).await;
        let mut client = broker.client().await;
        assert_eq!(list(&mut client, 0, &[]).await, (0, vec![]), "client metrics only");
        let (loggers, node) = ((8, "1".to_owned()), (4, "1".to_owned()));
        let topic = (2, "t".to_owned());
        for (kinds, expected) in [
            (&[][..], vec![loggers.clone(), node.clone(), topic.clone()]),
            (&[2], vec![topic.clone()]),
            (&[2, 4], vec![node, topic]),
            (&[8], vec![loggers]),
            (&[16], vec![]),
            (&[32], vec![]),
        ] {
            assert_eq!(list(&mut client, 1, kinds).await, (0, expected), "{kinds:?}");
        }
        assert_eq!(list(&mut client, 1, &[2, 3]).await, (UNSUPPORTED_VERSION, vec![]));
    });
}

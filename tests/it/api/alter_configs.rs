//! AlterConfigs.

use kafka_protocol::messages::AlterConfigsRequest;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};

use crate::api::configs_of;
use crate::harness::{Broker, run, text};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn alter(kind: i8, name: &str, configs: &[(&str, Option<&str>)]) -> AlterConfigsRequest {
    let configs = configs.iter().map(|(key, value)| {
        AlterableConfig::default().with_name(text(key)).with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.collect());
    AlterConfigsRequest::default().with_resources(vec![resource])
}

#[test]
fn every_version_replaces_all_configs() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 0..=2 {
            let name = format!("t{version}");
            broker.create_topic(&name, 1, &[("retention.ms", "1"), ("segment.ms", "9")]).await;
            let change = alter(TOPIC, &name, &[("retention.ms", Some("2"))]);
            let tried = client.call(version, &change.clone().with_validate_only(true)).await;
            assert_eq!(tried.responses[0].error_code, 0);
            let before = ["retention.ms=1", "segment.ms=9"];
            assert_eq!(configs_of(&mut client, &name).await, before);

            let done = client.call(version, &change).await;
            let response = &done.responses[0];
            assert_eq!((response.error_code, response.resource_type), (0, TOPIC));
            assert_eq!(response.resource_name.as_str(), name);
            assert_eq!(configs_of(&mut client, &name).await, ["retention.ms=2"]);
        }
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 1, &[("retention.ms", "1")]).await;
        let mut client = broker.client().await;
        for version in 0..=2 {
            for (request, code) in [
                (alter(TOPIC, "unknown", &[]), 3),
                (alter(TOPIC, "t", &[("retention.ms", Some("soon"))]), 40),
                (alter(TOPIC, "t", &[("no.such.key", Some("1"))]), 40),
                (alter(BROKER, "x", &[("num.partitions", Some("1"))]), 42),
                (alter(0, "t", &[]), 42),
            ] {
                let answer = client.call(version, &request).await;
                assert_eq!(answer.responses[0].error_code, code, "{request:?}");
            }
        }
        assert_eq!(configs_of(&mut client, "t").await, ["retention.ms=1"]);
    });
}

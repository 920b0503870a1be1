//! IncrementalAlterConfigs.

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};

use crate::api::configs_of;
use crate::harness::{Broker, run, text};

const TOPIC: i8 = 2;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Key, operation, value.
type Change<'a> = (&'a str, i8, Option<&'a str>);

fn alter(name: &str, changes: &[Change<'_>]) -> IncrementalAlterConfigsRequest {
    let changes = changes.iter().map(|(key, operation, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(name))
        .with_configs(changes.collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

#[test]
fn every_version_changes_single_configs() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 0..=1 {
            let name = format!("t{version}");
            broker.create_topic(&name, 1, &[("retention.ms", "1"), ("segment.ms", "9")]).await;
            let changes: &[(&[Change<'_>], &[&str])] = &[
                (&[("retention.ms", SET, Some("2"))], &["retention.ms=2", "segment.ms=9"]),
                (
                    &[("segment.ms", DELETE, None), ("cleanup.policy", APPEND, Some("compact"))],
                    &["cleanup.policy=delete,compact", "retention.ms=2"],
                ),
                (
                    &[("cleanup.policy", SUBTRACT, Some("delete"))],
                    &["cleanup.policy=compact", "retention.ms=2"],
                ),
            ];
            for (change, expected) in changes {
                let before = configs_of(&mut client, &name).await;
                let request = alter(&name, change).with_validate_only(true);
                assert_eq!(client.call(version, &request).await.responses[0].error_code, 0);
                assert_eq!(configs_of(&mut client, &name).await, before, "only tried");

                let answer = client.call(version, &alter(&name, change)).await;
                assert_eq!(answer.responses[0].error_code, 0);
                assert_eq!(configs_of(&mut client, &name).await, *expected);
            }
        }
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 1, &[("retention.ms", "1")]).await;
        let mut client = broker.client().await;
        let cases: &[(&str, &[Change<'_>], i16)] = &[
            ("unknown", &[("retention.ms", SET, Some("2"))], 3),
            ("t", &[("retention.ms", SET, Some("soon"))], 40),
            ("t", &[("no.such.key", SET, Some("1"))], 40),
            ("t", &[("retention.ms", APPEND, Some("1"))], 40),
            ("t", &[("retention.ms", SET, None)], 42),
            ("t", &[("retention.ms", 9, Some("1"))], 42),
            ("t", &[("retention.ms", SET, Some("2")), ("retention.ms", DELETE, None)], 42),
            ("t", &[("segment.ms", SET, Some("2")), ("retention.ms", SET, Some("soon"))], 40),
        ];
        for version in 0..=1 {
            for (name, changes, code) in cases {
                let answer = client.call(version, &alter(name, changes)).await;
                assert_eq!(answer.responses[0].error_code, *code, "{changes:?}");
            }
        }
        assert_eq!(configs_of(&mut client, "t").await, ["retention.ms=1"]);
    });
}

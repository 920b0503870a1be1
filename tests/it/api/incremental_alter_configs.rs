//! IncrementalAlterConfigs.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

use crate::api::configs_of;
use crate::harness::{Broker, run, text};

const TOPIC: i8 = 2;
const GROUP: i8 = 32;

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
fn groups_have_configs_of_their_own() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let key = "consumer.session.timeout.ms";
        for version in 0..=1 {
            for (change, code, expected) in [
                ((key, SET, Some("50000")), 0, Some("50000")),
                ((key, SET, Some("44999")), 40, Some("50000")),
                ((key, SET, Some("60001")), 40, Some("50000")),
                ((key, APPEND, Some("1")), 40, Some("50000")),
                (("retention.ms", SET, Some("1")), 40, Some("50000")),
                ((key, DELETE, None), 0, None),
            ] {
                let mut request = alter("g", &[change]);
                request.resources[0].resource_type = GROUP;
                let answer = client.call(version, &request).await;
                assert_eq!(answer.responses[0].error_code, code, "{change:?}");
                let resource = DescribeConfigsResource::default()
                    .with_resource_type(GROUP)
                    .with_resource_name(text("g"))
                    .with_configuration_keys(Some(vec![text(key)]));
                let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
                let config = client.call(4, &request).await.results.remove(0).configs.remove(0);
                let own = config.value.filter(|_| config.config_source == 8);
                assert_eq!(own.as_deref(), expected);

                let list = ListConfigResourcesRequest::default().with_resource_types(vec![GROUP]);
                let listed = client.call(1, &list).await.config_resources;
                let listed: Vec<&str> =
                    listed.iter().map(|one| one.resource_name.as_str()).collect();
                assert_eq!(listed, if expected.is_some() { vec!["g"] } else { vec![] });
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

#[test]
fn a_broker_is_drained_and_throttled_while_it_runs() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let keys = ["ottla.broker.draining", "leader.replication.throttled.rate"];
        for version in 0..=1 {
            for (op, values) in [(0, Some(["true", "1000"])), (1, None)] {
                let configs = keys.iter().enumerate().map(|(at, key)| {
                    AlterableConfig::default()
                        .with_name(text(key))
                        .with_config_operation(op)
                        .with_value(values.map(|values| text(values[at])))
                });
                let resource = AlterConfigsResource::default()
                    .with_resource_type(4)
                    .with_resource_name(text("1"))
                    .with_configs(configs.collect());
                let request =
                    IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
                let answer = client.call(version, &request).await;
                assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");

                let resource = DescribeConfigsResource::default()
                    .with_resource_type(4)
                    .with_resource_name(text("1"))
                    .with_configuration_keys(Some(keys.map(text).to_vec()));
                let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
                let told = client.call(4, &request).await.results.remove(0).configs;
                let set = told.iter().filter(|config| config.config_source == 2);
                assert_eq!(set.count(), if op == 0 { 2 } else { 0 });
            }
        }
    });
}

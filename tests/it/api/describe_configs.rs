//! DescribeConfigs.

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};

use crate::harness::{Broker, run, text};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

fn describe(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys);
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

fn find<'a>(result: &'a DescribeConfigsResult, key: &str) -> &'a DescribeConfigsResourceResult {
    result.configs.iter().find(|config| config.name.as_str() == key).unwrap()
}

#[test]
fn every_version_describes_topics_and_brokers() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 1, &[("retention.ms", "1234")]).await;
        let mut client = broker.client().await;
        for version in 1..=4 {
            let answer = client.call(version, &describe(TOPIC, "t", None)).await;
            let topic = &answer.results[0];
            assert_eq!((topic.error_code, topic.resource_name.as_str()), (0, "t"));
            let retention = find(topic, "retention.ms");
            assert_eq!(retention.value.as_ref().unwrap().as_str(), "1234");
            assert_eq!(retention.config_source, 1, "the topic's own");
            assert_eq!(find(topic, "cleanup.policy").config_source, 5, "the default");
            assert!(retention.synonyms.is_empty());

            let answer = client.call(version, &describe(BROKER, "1", None)).await;
            let node = find(&answer.results[0], "node.id");
            assert_eq!(node.value.as_ref().unwrap().as_str(), "1");
            assert!(node.read_only);
        }
    });
}

#[test]
fn keys_synonyms_and_documentation_come_as_asked_for() {
    run(async {
        let broker = Broker::start().await;
        broker.create_topic("t", 1, &[("retention.ms", "1234")]).await;
        let mut client = broker.client().await;
        let keys: &[&str] = &["retention.ms", "no.such.key"];
        for version in 1..=4 {
            let request = describe(TOPIC, "t", Some(keys)).with_include_synonyms(true);
            let request = request.with_include_documentation(version >= 3);
            let answer = client.call(version, &request).await;
            let configs = &answer.results[0].configs;
            assert_eq!(configs.len(), 1);
            assert_eq!(configs[0].synonyms[0].name.as_str(), "retention.ms");
            assert_eq!(configs[0].synonyms[0].source, 1);
            let documented = configs[0].documentation.as_ref().is_some_and(|doc| !doc.is_empty());
            assert_eq!(documented, version >= 3);
        }
        let answer = client.call(4, &describe(TOPIC, "t", Some(&[]))).await;
        assert!(answer.results[0].configs.len() > 10, "no keys means all");
    });
}

#[test]
fn groups_have_the_brokers_settings_until_they_have_their_own() {
    run(async {
        let settings = [("KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS", "46000")];
        let broker = Broker::start_with(&settings).await;
        let mut client = broker.client().await;
        for version in 1..=4 {
            let request = describe(GROUP, "g", None).with_include_synonyms(true);
            let answer = client.call(version, &request).await;
            let found = answer.results[0].configs.iter().map(|config| {
                let synonyms = config.synonyms.iter().map(|one| (one.name.as_str(), one.source));
                let value = config.value.as_deref().unwrap();
                let synonyms = synonyms.collect::<Vec<(&str, i8)>>();
                (config.name.as_str(), value, config.config_source, config.read_only, synonyms)
            });
            let (heartbeat, session) =
                ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms");
            let expected = [
                ("consumer.heartbeat.interval.ms", "5000", 5, false, vec![(heartbeat, 5)]),
                (
                    "consumer.session.timeout.ms",
                    "46000",
                    4,
                    false,
                    vec![(session, 4), (session, 5)],
                ),
            ];
            assert_eq!(found.collect::<Vec<_>>(), expected);
            let unnamed = client.call(version, &describe(GROUP, "", None)).await;
            assert_eq!(unnamed.results[0].error_code, 42);
        }
    });
}

#[test]
fn refusals_are_kafkas() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        for version in 1..=4 {
            for (kind, name, code) in [
                (TOPIC, "unknown", 3),
                (TOPIC, "a/b", 17),
                (BROKER, "2", 42),
                (BROKER, "one", 42),
                (0, "x", 42),
                (99, "x", 42),
            ] {
                let answer = client.call(version, &describe(kind, name, None)).await;
                let result = &answer.results[0];
                assert_eq!(result.error_code, code, "{kind} {name}");
                assert_eq!((result.resource_type, result.configs.len()), (kind, 0));
            }
        }
    });
}

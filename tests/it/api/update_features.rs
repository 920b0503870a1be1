//! UpdateFeatures.

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{ApiVersionsRequest, UpdateFeaturesRequest};

use crate::harness::{Broker, run, text};

fn request(name: &str, level: i16) -> UpdateFeaturesRequest {
    let update = FeatureUpdateKey::default().with_feature(text(name)).with_max_version_level(level);
    UpdateFeaturesRequest::default().with_timeout_ms(60_000).with_feature_updates(vec![update])
}

#[test]
fn a_new_cluster_has_the_newest_levels_and_keeps_them() {
    run(async {
        let broker = Broker::start().await;
        let mut client = broker.client().await;
        let hello = ApiVersionsRequest::default()
            .with_client_software_name(text("it"))
            .with_client_software_version(text("1.0"));
        for version in 3..=4 {
            let answer = client.call(version, &hello).await;
            let supported = answer.supported_features.iter();
            let supported = supported.map(|feature| (feature.name.clone(), feature.max_version));
            let finalized = answer.finalized_features.iter();
            let finalized = finalized.map(|one| (one.name.clone(), one.max_version_level));
            assert!(supported.eq(finalized));
            assert!(answer.finalized_features.iter().any(|one| &*one.name == "metadata.version"));
            assert!(answer.finalized_features_epoch > 0);
        }
        for version in 0..=2 {
            let answer = client.call(version, &request("metadata.version", 30)).await;
            assert_eq!(answer.error_code, 0, "{answer:?}");
            assert_eq!(answer.results.len(), usize::from(version < 2));
            let answer = client.call(version, &request("metadata.version", 31)).await;
            let message = answer.error_message.as_deref().unwrap_or_default();
            let expected = "The update failed for all features since the following feature had an \
                            error: Invalid update version 31 for feature metadata.version. Local \
                            controller 1 only supports versions 30";
            assert_eq!((answer.error_code, message), (95, expected));
        }
    });
}

//! The settings of groups: the broker's, and over them those of one group.

use std::sync::Arc;

use crate::config::{Config, HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS};
use crate::metadata::image::Image;
use crate::metadata::records::Resource;
use crate::metadata::settings::LiveSettings;

/// The topic that the state of groups is in.
const TOPIC: &str = "__consumer_offsets";

/// What the broker's configuration says of groups.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// Those of its start: none of them changes but those of the default of topics.
    pub config: Config,
    live: Arc<LiveSettings>,
}

impl GroupSettings {
    pub fn new(live: Arc<LiveSettings>) -> Self {
        Self { config: live.current().config.clone(), live }
    }

    /// How long a member of a consumer group may be silent.
    pub fn session_timeout_ms(&self, image: &Image, group: &str) -> i32 {
        let config = &self.config;
        let bounds = (
            config.group_consumer_min_session_timeout_ms,
            config.group_consumer_max_session_timeout_ms,
        );
        own(image, group, SESSION_TIMEOUT_MS, bounds)
            .unwrap_or(config.group_consumer_session_timeout_ms)
    }

    /// How often members of a consumer group are to report.
    pub fn heartbeat_interval_ms(&self, image: &Image, group: &str) -> i32 {
        let config = &self.config;
        let bounds = (
            config.group_consumer_min_heartbeat_interval_ms,
            config.group_consumer_max_heartbeat_interval_ms,
        );
        own(image, group, HEARTBEAT_INTERVAL_MS, bounds)
            .unwrap_or(config.group_consumer_heartbeat_interval_ms)
    }

    /// The largest record that the topic of groups takes: it says so itself, or the broker does.
    pub fn record_bytes_max(&self, image: &Image) -> u32 {
        let configs = image.configs(&Resource::Topic(TOPIC.to_owned()));
        let own = configs.get("max.message.bytes").and_then(|text| text.trim().parse().ok());
        own.unwrap_or_else(|| self.live.at(image).config.topic_defaults.max_message_bytes)
    }

    /// The assignor of a group in which nobody prefers one.
    pub fn default_assignor(&self) -> &str {
        self.config.group_consumer_assignors.first().map_or("uniform", String::as_str)
    }
}

/// What is set for one group, held within the bounds: they may have changed since.
fn own(image: &Image, group: &str, key: &str, (min, max): (i32, i32)) -> Option<i32> {
    let configs = image.configs(&Resource::Group(group.to_owned()));
    let own: i32 = configs.get(key)?.parse().ok()?;
    Some(own.min(max).max(min))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::NodeId;
    use crate::metadata::records::Record;

    #[test]
    fn a_groups_own_settings_go_first_within_the_brokers_bounds() {
        let loaded = Config::load(None, &[]).expect("defaults are valid");
        let settings = GroupSettings::new(LiveSettings::new(NodeId(1), loaded));
        let mut image = Image::default();
        let of = |image: &Image| {
            ["g", "h"].map(|group| {
                let session = settings.session_timeout_ms(image, group);
                (session, settings.heartbeat_interval_ms(image, group))
            })
        };
        assert_eq!(of(&image), [(45_000, 5_000); 2]);
        for (session, heartbeat, expected) in [
            ("50000", "6000", (50_000, 6_000)),
            ("1", "1", (45_000, 5_000)),
            ("70000", "70000", (60_000, 15_000)),
        ] {
            for (key, value) in [(SESSION_TIMEOUT_MS, session), (HEARTBEAT_INTERVAL_MS, heartbeat)]
            {
                image.replay(&Record::Config {
                    resource: Resource::Group("g".to_owned()),
                    key: key.to_owned(),
                    value: Some(value.to_owned()),
                });
            }
            assert_eq!(of(&image), [expected, (45_000, 5_000)]);
        }
    }

    #[test]
    fn records_are_as_large_as_their_topic_takes() {
        let loaded = Config::load(None, &[]).expect("defaults are valid");
        let settings = GroupSettings::new(LiveSettings::new(NodeId(1), loaded));
        let mut image = Image::default();
        assert_eq!(settings.record_bytes_max(&image), 1_048_588);
        for (resource, key, bytes) in [
            (Resource::Broker(String::new()), "message.max.bytes", 6_000),
            (Resource::Broker("1".to_owned()), "message.max.bytes", 5_000),
            (Resource::Topic(TOPIC.to_owned()), "max.message.bytes", 4_000),
        ] {
            let (key, value) = (key.to_owned(), Some(bytes.to_string()));
            image.replay(&Record::Config { resource, key, value });
            assert_eq!(settings.record_bytes_max(&image), bytes);
        }
    }
}

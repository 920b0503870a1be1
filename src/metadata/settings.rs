//! The settings of this broker as they are now: those of its start under what the metadata set for
//! all brokers and for this one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::base::ids::NodeId;
use crate::config::{Config, Loaded};
use crate::metadata::image::{Configs, Image};
use crate::metadata::records::Resource;

/// Asked for by whoever has an image, and followed by whoever works all the time.
#[derive(Debug)]
pub struct LiveSettings {
    node: NodeId,
    fixed: Loaded,
    latest: Mutex<Latest>,
    current: watch::Sender<Arc<Loaded>>,
}

/// The settings that were asked for last: most images set the same as the one before.
#[derive(Debug)]
struct Latest {
    all: Arc<Configs>,
    own: Arc<Configs>,
    settings: Arc<Loaded>,
}

impl LiveSettings {
    /// `fixed` are those of the start.
    pub fn new(node: NodeId, fixed: Loaded) -> Arc<Self> {
        let settings = Arc::new(fixed.clone());
        let current = watch::Sender::new(Arc::clone(&settings));
        let latest = Latest { all: Arc::default(), own: Arc::default(), settings };
        Arc::new(Self { node, fixed, latest: Mutex::new(latest), current })
    }

    /// Those that hold with this image.
    pub fn at(&self, image: &Image) -> Arc<Loaded> {
        let (all, own) = set_for(image, self.node);
        let mut latest = self.latest();
        if latest.all != all || latest.own != own {
            let settings = Arc::new(self.fixed.with_dynamic(&all, &own));
            *latest = Latest { all, own, settings };
        }
        Arc::clone(&latest.settings)
    }

    /// Those of the image that the broker has caught up with.
    pub fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells of every change of [`Self::current`].
    pub fn changes(&self) -> watch::Receiver<Arc<Loaded>> {
        self.current.subscribe()
    }

    /// Makes those of this image the current ones; whether they are others than before.
    pub fn follow(&self, image: &Image) -> bool {
        let next = self.at(image);
        let is_changed = self.current.send_if_modified(|current| {
            let is_changed = current != &next;
            if is_changed {
                current.clone_from(&next);
            }
            is_changed
        });
        if is_changed {
            for warning in &next.warnings {
                tracing::warn!("a setting of the cluster does not hold here: {warning}");
            }
        }
        is_changed
    }

    /// Waits until so long after `begun` as the settings say, which may change meanwhile; `None` is
    /// until they say something else. Cancel safe.
    pub async fn pause(&self, begun: Instant, length: impl Fn(&Config) -> Option<Duration>) {
        let mut changes = self.changes();
        loop {
            let length = length(&changes.borrow_and_update().config);
            let over = async {
                match length {
                    Some(length) => tokio::time::sleep_until(after(begun, length)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                _ = changes.changed() => {}
            }
        }
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn after(begun: Instant, length: Duration) -> Instant {
    // Farther away than anybody waits.
    const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
    begun + length.min(NEVER)
}

/// What is set for all brokers and for one.
pub fn set_for(image: &Image, node: NodeId) -> (Arc<Configs>, Arc<Configs>) {
    let all = image.configs(&Resource::Broker(String::new()));
    (all, image.configs(&Resource::Broker(node.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::records::Record;

    #[test]
    fn what_does_not_go_with_the_rest_is_left_out_alone() {
        let settings = LiveSettings::new(NodeId(1), Config::load(None, &[]).unwrap());
        let (min, max) = ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms");
        let mut image = Image::default();
        let set = |image: &mut Image, broker: &str, key: &str, value: &str| {
            let (key, value) = (key.to_owned(), Some(value.to_owned()));
            image.replay(&Record::Config {
                resource: Resource::Broker(broker.to_owned()),
                key,
                value,
            });
        };
        let kept = |image: &Image| {
            let now = settings.at(image);
            let topics = &now.config.topic_defaults;
            let lags = (topics.min_compaction_lag_ms, topics.max_compaction_lag_ms);
            (topics.retention_ms, lags, now.warnings.len())
        };
        set(&mut image, "", "log.retention.ms", "-1");
        set(&mut image, "", min, "10");
        set(&mut image, "", max, "5");
        // The maximum comes first, by its name.
        assert_eq!(kept(&image), (-1, (0, 5), 2));
        // With this they all hold, although the minimum comes before it.
        set(&mut image, "1", max, "100");
        assert_eq!(kept(&image), (-1, (10, 100), 0));
        set(&mut image, "1", max, "3");
        set(&mut image, "1", "log.segment.bytes", "2000000");
        assert_eq!(kept(&image), (-1, (0, 3), 2));
        assert_eq!(settings.at(&image).config.topic_defaults.segment_bytes, 2_000_000);
    }

    #[test]
    fn one_brokers_value_goes_before_that_of_all() {
        let settings = LiveSettings::new(NodeId(1), Config::load(None, &[]).unwrap());
        let mut image = Image::default();
        let mut changes = settings.changes();
        let mut set = |broker: &str, value: Option<&str>| {
            let resource = Resource::Broker(broker.to_owned());
            let (key, value) = ("log.retention.ms".to_owned(), value.map(str::to_owned));
            image.replay(&Record::Config { resource, key, value });
            let told = settings.follow(&image);
            assert_eq!(settings.at(&image), settings.current());
            (told, settings.current().config.topic_defaults.retention_ms)
        };
        assert_eq!(set("", Some("9")), (true, 9));
        assert_eq!(set("2", Some("7")), (false, 9));
        assert_eq!(set("1", Some("5")), (true, 5));
        assert_eq!(set("", None), (true, 5));
        assert_eq!(set("1", None), (true, 604_800_000));
        assert!(changes.has_changed().unwrap());
        assert_eq!(*changes.borrow_and_update(), settings.current());
    }
}

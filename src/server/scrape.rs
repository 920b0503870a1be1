//! The text of a scrape: what the recorder has counted, and what is read off the partitions at that
//! moment, so that a deleted partition leaves no series behind.

use std::fmt::Write;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::api::context::Context;
use crate::metrics::names::{self, Metric};
use crate::partition::Partition;
use crate::wire::listener::ConnectionCount;

/// Where a scrape looks.
#[derive(Clone)]
pub(super) struct Scrape {
    pub(super) handle: PrometheusHandle,
    pub(super) context: Arc<Context>,
    pub(super) counts: Arc<ConnectionCount>,
}

type Value = fn(&Partition) -> i128;

/// What is told of each partition.
const OF_PARTITION: &[(&str, Value)] = &[
    (names::LOG_SIZE, |p| i128::from(p.size_bytes())),
    (names::LOG_SEGMENTS, |p| i128::try_from(p.segment_count()).unwrap_or(i128::MAX)),
    (names::LOG_START, |p| i128::from(p.offsets().log_start)),
    (names::LOG_END, |p| i128::from(p.offsets().log_end)),
    (names::HIGH_WATERMARK, |p| i128::from(p.offsets().high_watermark)),
    (names::RAFT_IS_LEADER, |p| i128::from(p.leader_epoch().is_some())),
    (names::RAFT_TERM, |p| i128::from(p.leader_epoch().unwrap_or(-1))),
];

impl Scrape {
    pub(super) fn render(&self) -> String {
        let mut text = self.handle.render();
        let mut partitions = self.context.registry.partitions();
        partitions.sort_by(|a, b| (&a.topic, a.id).cmp(&(&b.topic, b.id)));
        let image = self.context.image();
        let count = |count: usize| i128::try_from(count).unwrap_or(i128::MAX);
        single(&mut text, names::CONNECTIONS, i128::from(self.counts.count()));
        single(&mut text, names::FETCH_SESSIONS, count(self.context.sessions.count()));
        single(&mut text, names::TOPICS, count(image.topic_count()));
        single(&mut text, names::PARTITIONS, count(partitions.len()));
        head(&mut text, names::BUILD_INFO);
        let version = env!("CARGO_PKG_VERSION");
        line(&mut text, names::BUILD_INFO, &format!("version=\"{version}\""), 1);
        for (name, value) in OF_PARTITION {
            head(&mut text, name);
            for partition in &partitions {
                let (topic, index) = (&partition.topic, partition.id.partition);
                let labels = format!("topic=\"{topic}\",partition=\"{index}\"");
                line(&mut text, name, &labels, value(partition));
            }
        }
        text
    }

    /// Drains what histograms have gathered; without it they would grow until the next scrape.
    pub(super) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn head(text: &mut String, name: &str) {
    let known: Option<&Metric> = names::ALL.iter().find(|metric| metric.name == name);
    let help = known.map_or("", |metric| metric.help.trim());
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn line(text: &mut String, name: &str, labels: &str, value: i128) {
    let _ = writeln!(text, "{name}{{{labels}}} {value}");
}

fn single(text: &mut String, name: &str, value: i128) {
    head(text, name);
    let _ = writeln!(text, "{name} {value}");
}

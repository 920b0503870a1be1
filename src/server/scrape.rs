//! The text of a scrape: what the recorder has counted, and what is read off the partitions and
//! groups at that moment, so that deleted ones leave no series behind.

mod cluster;
mod groups;
mod places;

use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::api::context::Context;
use crate::base::ids::TopicPartition;
use crate::base::task;
use crate::coordinator::group::admin::GroupView;
use crate::metrics::names::{self, Metric};
use crate::partition::Partition;
use crate::server::scrape::groups::Lags;
use crate::server::scrape::places::{Place, Places};
use crate::wire::listener::ConnectionCount;

pub(super) use crate::server::scrape::places::answer_others;

/// How long a scrape waits for groups: what else there is to tell matters most when something is
/// stuck.
const GROUPS_PATIENCE: Duration = Duration::from_secs(1);

/// Where a scrape looks.
#[derive(Clone)]
pub(super) struct Scrape {
    handle: PrometheusHandle,
    pub(super) context: Arc<Context>,
    counts: Arc<ConnectionCount>,
    lags: Arc<Lags>,
    places: Arc<Places>,
}

type Value = fn(&Partition) -> i128;

/// What is told of each partition.
const OF_PARTITION: &[(&str, Value)] = &[
    (names::LOG_SIZE, |p| i128::from(p.size_bytes())),
    (names::LOG_SEGMENTS, |p| i128::try_from(p.segment_count()).unwrap_or(i128::MAX)),
    (names::LOG_START, |p| i128::from(p.offsets().log_start)),
    (names::LOG_END, |p| i128::from(p.offsets().log_end)),
    (names::HIGH_WATERMARK, |p| i128::from(p.offsets().high_watermark)),
    (names::LAST_STABLE, |p| i128::from(p.offsets().last_stable)),
    (names::RAFT_IS_LEADER, |p| i128::from(p.leader_epoch().is_some())),
    (names::RAFT_TERM, |p| i128::from(p.status().term)),
    (names::KAFKA_CURRENT_OFFSET, |p| i128::from(p.offsets().high_watermark)),
    (names::KAFKA_OLDEST_OFFSET, |p| i128::from(p.offsets().log_start)),
];

impl Scrape {
    pub(super) fn new(
        handle: PrometheusHandle,
        context: Arc<Context>,
        counts: Arc<ConnectionCount>,
    ) -> Self {
        Self { handle, context, counts, lags: Arc::default(), places: Arc::default() }
    }

    pub(super) async fn render(&self) -> String {
        // Groups that are being loaded are told next time.
        let views =
            self.context.groups.run_everywhere(GROUPS_PATIENCE, |groups, _| groups.view()).await;
        let mut views: Vec<GroupView> = views.into_iter().flatten().flatten().collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        let lag = cluster::metadata_lag(&self.context);
        let (places, metadata_lag) = join(self.find_places(&views), lag).await;
        // Lag is read from files, and there may be much to tell.
        let scrape = self.clone();
        task::blocking(self.context.env.threads, move || scrape.text(&views, &places, metadata_lag))
            .await
    }

    /// Where the partitions begin and end that are led here or that these groups consume.
    async fn find_places(&self, groups: &[GroupView]) -> HashMap<TopicPartition, Place> {
        let (image, node) = (self.context.image(), self.context.node);
        let leader =
            |id: TopicPartition| image.partition(id)?.leader.filter(|leader| *leader != node);
        let questions = self.lags.questions(groups, leader);
        let registry = &self.context.registry;
        let answers = places::ask(registry.groups().peers(), &questions).await;
        let asked: Vec<_> = questions.values().flatten().map(|question| question.id).collect();
        self.places.gather(&registry.partitions(), &asked, answers)
    }

    fn text(
        &self,
        groups: &[GroupView],
        places: &HashMap<TopicPartition, Place>,
        metadata_lag: Option<u64>,
    ) -> String {
        let mut text = self.handle.render();
        let mut partitions = self.context.registry.partitions();
        partitions.sort_by(|a, b| (&a.topic, a.id).cmp(&(&b.topic, b.id)));
        single(&mut text, names::CONNECTIONS, self.counts.count());
        single(&mut text, names::FETCH_SESSIONS, self.context.sessions.count());
        single(&mut text, names::PARTITIONS, partitions.len());
        head(&mut text, names::BUILD_INFO);
        let version = env!("CARGO_PKG_VERSION");
        line(&mut text, names::BUILD_INFO, &[("version", version)], 1);
        cluster::write(&mut text, &self.context, &partitions, metadata_lag);
        for (name, value) in OF_PARTITION {
            head(&mut text, name);
            for partition in &partitions {
                let index = partition.id.partition.to_string();
                let labels = [("topic", partition.topic.as_str()), ("partition", &index)];
                line(&mut text, name, &labels, value(partition));
            }
        }
        let partitions_max =
            self.context.settings.config.metrics_consumergroup_partition_series_max;
        let partitions_max = usize::try_from(partitions_max).unwrap_or(usize::MAX);
        let now_ms = self.context.now_ms();
        self.lags.table(groups, places, now_ms, partitions_max).write(&mut text);
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

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    text.push_str(name);
    for (at, (label, value)) in labels.iter().enumerate() {
        text.push(if at == 0 { '{' } else { ',' });
        text.push_str(label);
        text.push_str("=\"");
        escape(text, value);
        text.push('"');
    }
    let _ = writeln!(text, "}} {value}");
}

/// Group ids are any text.
fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

fn single(text: &mut String, name: &str, value: impl Display) {
    head(text, name);
    let _ = writeln!(text, "{name} {value}");
}

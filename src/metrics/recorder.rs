//! The recorder behind the metrics endpoint.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::metrics::names::{self, Kind};
use crate::metrics::{cleaner, damage, elections, moves, retention};

/// Buckets of durations, in seconds.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];
/// Buckets of counts.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Installs the recorder of this process, or takes the one that is there.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let counts = Matcher::Full(names::FSYNC_APPENDS.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(seconds, SECONDS)?
        .set_buckets_for_metric(counts, COUNTS)?
        .install_recorder()?;
    describe();
    elections::register();
    cleaner::register();
    damage::register();
    moves::register();
    retention::register();
    Ok(installed.insert(handle).clone())
}

fn describe() {
    for metric in names::ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help.trim()),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help.trim()),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help.trim()),
        }
    }
}

//! What connections count. Handles are looked up once; counting is an atomic addition.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::metrics::names;

struct OfApi {
    name: &'static str,
    requests: Counter,
    seconds: Histogram,
}

/// Counts requests and bytes.
pub struct RequestMetrics {
    received: Counter,
    sent: Counter,
    by_api: BTreeMap<i16, OfApi>,
}

impl fmt::Debug for RequestMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMetrics").finish_non_exhaustive()
    }
}

impl RequestMetrics {
    /// For these APIs, by key and name.
    pub fn new(apis: impl Iterator<Item = (i16, &'static str)>) -> Self {
        let of_api = |(key, name): (i16, &'static str)| {
            let requests = counter!(names::REQUESTS, "api" => name);
            let seconds = histogram!(names::REQUEST_SECONDS, "api" => name);
            (key, OfApi { name, requests, seconds })
        };
        Self {
            received: counter!(names::RECEIVED_BYTES),
            sent: counter!(names::SENT_BYTES),
            by_api: apis.map(of_api).collect(),
        }
    }

    pub fn received(&self, bytes: usize) {
        self.received.increment(bytes as u64);
    }

    pub fn sent(&self, bytes: u64) {
        self.sent.increment(bytes);
    }

    pub fn finished(&self, key: i16, took: Duration) {
        if let Some(api) = self.by_api.get(&key) {
            api.requests.increment(1);
            api.seconds.record(took.as_secs_f64());
        }
    }

    /// An answer has an error so many times. The counter is looked up: errors are few.
    pub fn failed(&self, key: i16, error: &'static str, times: usize) {
        if let Some(api) = self.by_api.get(&key) {
            let errors = counter!(names::REQUEST_ERRORS, "api" => api.name, "error" => error);
            errors.increment(times as u64);
        }
    }
}

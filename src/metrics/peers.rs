//! What is measured of the talk between nodes.

use std::fmt;
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};

use crate::base::ids::NodeId;
use crate::metrics::names;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    Refused,
    Unreachable,
    Overloaded,
    TimedOut,
}

/// Of one lane to one node.
pub struct LaneMetrics {
    answered: Counter,
    refused: Counter,
    unreachable: Counter,
    overloaded: Counter,
    timed_out: Counter,
    pub sent_bytes: Counter,
    pub received_bytes: Counter,
    pub queued_bytes: Gauge,
    pub connections: Counter,
}

impl fmt::Debug for LaneMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneMetrics").finish_non_exhaustive()
    }
}

impl LaneMetrics {
    pub fn new(node: NodeId, lane: &'static str) -> Self {
        let peer = node.to_string();
        let calls = |outcome: &'static str| {
            let labels =
                [("peer", peer.clone()), ("lane", lane.into()), ("outcome", outcome.into())];
            counter!(names::PEER_CALLS, &labels)
        };
        let labels = [("peer", peer.clone()), ("lane", lane.to_owned())];
        Self {
            answered: calls("answered"),
            refused: calls("refused"),
            unreachable: calls("unreachable"),
            overloaded: calls("overloaded"),
            timed_out: calls("timed_out"),
            sent_bytes: counter!(names::PEER_SENT_BYTES, &labels),
            received_bytes: counter!(names::PEER_RECEIVED_BYTES, &labels),
            queued_bytes: gauge!(names::PEER_QUEUED_BYTES, &labels),
            connections: counter!(names::PEER_CONNECTIONS, &labels),
        }
    }

    pub fn ended(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Answered => &self.answered,
            Outcome::Refused => &self.refused,
            Outcome::Unreachable => &self.unreachable,
            Outcome::Overloaded => &self.overloaded,
            Outcome::TimedOut => &self.timed_out,
        };
        counter.increment(1);
    }
}

/// Of one node.
pub struct NodeMetrics {
    latency: Gauge,
    alive: Gauge,
}

impl fmt::Debug for NodeMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeMetrics").finish_non_exhaustive()
    }
}

impl NodeMetrics {
    pub fn new(node: NodeId) -> Self {
        let labels = [("peer", node.to_string())];
        let latency = gauge!(names::PEER_LATENCY_SECONDS, &labels);
        Self { latency, alive: gauge!(names::PEER_ALIVE, &labels) }
    }

    pub fn set(&self, latency: Option<Duration>, alive: bool) {
        if let Some(latency) = latency {
            self.latency.set(latency.as_secs_f64());
        }
        self.alive.set(if alive { 1.0 } else { 0.0 });
    }
}

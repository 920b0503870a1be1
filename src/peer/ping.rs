//! One task per node: pings it, has it judged as time passes, and gives up connections on which
//! nothing comes back. Such a connection would wait ever longer before it tries to send again, long
//! after the network is whole.

use std::sync::{Arc, Weak};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::base::ids::NodeId;
use crate::base::task::{self, Fault};
use crate::metrics::peers::NodeMetrics;
use crate::peer::judge::{Answered, DEAD_AFTER, Moment, PING_INTERVAL};
use crate::peer::liveness::{Liveness, decode_age, encode_age};
use crate::peer::{Kind, Node};

type Pings = FuturesUnordered<BoxFuture<'static, Option<(u64, Answered)>>>;

/// Ends when the node is dropped.
pub(super) fn start(id: NodeId, node: &Arc<Node>, liveness: Arc<Liveness>) {
    let pinger = Pinger {
        id,
        node: Arc::downgrade(node),
        metrics: NodeMetrics::new(id),
        since: liveness.now(),
        liveness,
        pings: FuturesUnordered::new(),
    };
    task::spawn("peer-ping", Fault::Process, pinger.run());
}

struct Pinger {
    id: NodeId,
    node: Weak<Node>,
    metrics: NodeMetrics,
    liveness: Arc<Liveness>,
    /// Silence counts from here at the earliest: when its connections were last given up.
    since: Moment,
    pings: Pings,
}

impl Pinger {
    async fn run(mut self) {
        let mut next_ping = Instant::now();
        let mut wake_at = next_ping;
        loop {
            tokio::select! {
                Some(answered) = self.pings.next(), if !self.pings.is_empty() => {
                    if let Some((incarnation, answered)) = answered {
                        self.liveness.ping_answered(self.id, incarnation, answered);
                    }
                }
                () = tokio::time::sleep_until(wake_at) => {}
            }
            let Some(node) = self.node.upgrade() else { break };
            let dies_at = self.judge(&node);
            if Instant::now() >= next_ping {
                self.ping(&node);
                next_ping = Instant::now() + PING_INTERVAL;
            }
            let dies_in =
                dies_at.map_or(PING_INTERVAL, |at| at.saturating_sub(self.liveness.now()));
            wake_at = next_ping.min(Instant::now() + dies_in);
        }
        self.metrics.set(None, false);
    }

    /// Returns when it dies if nothing more is heard.
    fn judge(&mut self, node: &Node) -> Option<Moment> {
        let (dies_at, silence) = self.liveness.judge(self.id, self.since);
        if silence >= DEAD_AFTER {
            node.control.reset();
            node.data.reset();
            self.since = self.liveness.now();
        }
        dies_at
    }

    fn ping(&self, node: &Node) {
        node.control.report();
        node.data.report();
        let liveness = Arc::clone(&self.liveness);
        let sent = liveness.now();
        let own_age = liveness.own_age(self.id, sent);
        let body = vec![encode_age(own_age)];
        // A ping that finds no room in the queue is one that is not answered.
        let Ok(waiting) = node.control.call(Kind::Ping, body, DEAD_AFTER) else { return };
        self.pings.push(Box::pin(async move {
            let (incarnation, answer) = waiting.answer_of().await.ok()?;
            let (age, now) = (decode_age(&answer), liveness.now());
            Some((incarnation, Answered { sent, now, own_age, age }))
        }));
        self.metrics.set(self.liveness.latency(self.id), self.liveness.is_alive(self.id));
    }
}

//! What the controller sees to by itself: nodes that are to be emptied lose their replicas, new
//! ones get some, and partitions are led by the first of their replicas. Every node runs it; those
//! that are not the controller only look whether they are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior};

use crate::base::task::{self, Fault, Stopping};
use crate::config::Config;
use crate::controller::leaders::{self, Election, Transfer};
use crate::controller::leadership::Leadership;
use crate::controller::service::{Controller, Decision};
use crate::controller::spread;
use crate::metadata::image::Image;
use crate::metadata::publisher::Images;
use crate::metadata::records::Record;

/// How often it is looked at what there is to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Partitions whose replicas move at one time.
const MOVES_COUNT_MAX: usize = 20;
/// Leaders that change at one time.
const TRANSFERS_COUNT_MAX: usize = 50;

/// What the looking after works with.
#[derive(Debug)]
pub struct Housekeeper {
    pub config: Config,
    pub images: Images,
    pub controller: Arc<Controller>,
    pub leadership: Arc<Leadership>,
}

impl Housekeeper {
    /// Runs until the broker stops.
    pub fn start(self, mut stopping: Stopping) -> task::Handle {
        task::spawn("housekeeper", Fault::Process, async move {
            tokio::select! {
                () = stopping.wait() => {}
                () = self.run() => {}
            }
        })
    }

    async fn run(&self) {
        let seconds = self.config.leader_imbalance_check_interval_seconds;
        let balance_interval = Duration::from_secs(seconds.unsigned_abs());
        let mut balanced = Instant::now();
        let mut fills = false;
        // There was nothing to do for this one.
        let mut idle_image: Option<Arc<Image>> = None;
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if !self.controller.is_active() {
                (balanced, fills, idle_image) = (Instant::now(), false, None);
                continue;
            }
            let image = self.images.current();
            if idle_image.as_ref().is_none_or(|idle| !Arc::ptr_eq(idle, &image)) {
                let acted = self.empty(&image).await | self.fill(&image, &mut fills).await;
                idle_image = (!acted && !fills).then(|| Arc::clone(&image));
            }
            if self.config.auto_leader_rebalance_enable && balanced.elapsed() >= balance_interval {
                balanced = Instant::now();
                self.transfer(leaders::balance(&image, 0)).await;
            }
        }
    }

    /// Moves replicas and leaderships off nodes that are to be emptied; whether there are any.
    async fn empty(&self, image: &Image) -> bool {
        for node in image.draining.iter().copied() {
            if !spread::drain(image, node, MOVES_COUNT_MAX).records.is_empty() {
                self.decide(|image| spread::drain(image, node, MOVES_COUNT_MAX).records).await;
            }
            self.transfer(leaders::leave(image, node)).await;
        }
        !image.draining.is_empty()
    }

    /// Gives replicas to nodes that have few, and to topics that could not have theirs at first;
    /// whether it did.
    async fn fill(&self, image: &Image, fills: &mut bool) -> bool {
        let raises = !spread::raise(image, &self.config, MOVES_COUNT_MAX).is_empty();
        if raises {
            self.decide(|image| spread::raise(image, &self.config, MOVES_COUNT_MAX)).await;
        }
        if !self.config.auto_replica_rebalance_enable || !image.draining.is_empty() {
            return raises;
        }
        *fills |= spread::has_empty_node(image);
        if !*fills {
            return raises;
        }
        if spread::balance(image, MOVES_COUNT_MAX).is_empty() {
            *fills = spread::is_any_moving(image);
        } else {
            self.decide(|image| spread::balance(image, MOVES_COUNT_MAX)).await;
        }
        true
    }

    async fn decide(&self, records: impl Fn(&Image) -> Vec<Record>) {
        let decide = |image: &Image| Decision { records: records(image), answer: () };
        if let Err(error) = self.controller.run(decide).await {
            // The next look finds the same again.
            tracing::debug!(?error, "replicas were not moved");
        }
    }

    async fn transfer(&self, transfers: Vec<Transfer>) {
        let some = transfers.into_iter().take(TRANSFERS_COUNT_MAX);
        let under_way = some.map(|transfer| self.leadership.elect(Election::Preferred, transfer));
        for done in join_all(under_way).await {
            if let Err(error) = done {
                tracing::debug!(%error, "a leadership was not handed over");
            }
        }
    }
}

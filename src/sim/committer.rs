//! A consumer that commits its position and asks for it after every restart: it must be the last
//! one that was acknowledged, or a later one that was sent.

use std::time::Duration;

use crate::base::ids::Offset;
use crate::sim::client::{Client, Place};
use crate::sim::writer::{Scene, Stop};

const NONE: i16 = 0;
/// The coordinator is loading, not known, or not here (yet).
const RETRIED: [i16; 3] = [14, 15, 16];
/// How often to ask a coordinator that is not ready, and how long to wait between.
const TRIES_COUNT: u32 = 200;
const WAIT: Duration = Duration::from_millis(50);
/// What OffsetFetch answers where nothing is committed.
const NOTHING: Offset = -1;

/// One group on one partition.
#[derive(Debug)]
pub(super) struct Committer {
    group: String,
    place: Place,
    acknowledged: Offset,
    sent: Offset,
}

impl Committer {
    pub(super) fn new(group: &str, topic: &str) -> Self {
        let place = Place { topic: topic.to_owned(), partition: 0 };
        Self { group: group.to_owned(), place, acknowledged: NOTHING, sent: NOTHING }
    }

    /// Asks for the committed position and compares.
    pub(super) async fn verify(
        &mut self,
        client: &mut Client,
        scene: Scene<'_>,
    ) -> Result<(), Stop> {
        scene.io("find coordinator", client.find_coordinator(&self.group).await)?;
        for _ in 0..TRIES_COUNT {
            let fetched = client.committed_offset(&self.group, &self.place).await;
            let (code, offset) = scene.io("offset fetch", fetched)?;
            if RETRIED.contains(&code) {
                tokio::time::sleep(WAIT).await;
                continue;
            }
            scene.code("offset fetch", code)?;
            if !(self.acknowledged..=self.sent).contains(&offset) {
                let (least, most) = (self.acknowledged, self.sent);
                let group = &self.group;
                let why = format!("{group} is at {offset}, not within {least}..={most}");
                return Err(Stop::Broken(why));
            }
            // What is there after a restart stays.
            self.acknowledged = offset;
            return Ok(());
        }
        Err(scene.failed("offset fetch", &"the coordinator never gets ready"))
    }

    /// Commits so many times, each time a later position.
    pub(super) async fn run(
        &mut self,
        client: &mut Client,
        scene: Scene<'_>,
        steps: u32,
    ) -> Result<(), Stop> {
        for _ in 0..steps {
            if scene.rng.below(4) == 0 {
                self.verify(client, scene).await?;
                continue;
            }
            self.sent += 1 + i64::try_from(scene.rng.below(9)).unwrap_or(0);
            let committed = client.commit_offset(&self.group, &self.place, self.sent).await;
            let code = scene.io("offset commit", committed)?;
            match code {
                NONE => self.acknowledged = self.sent,
                code if RETRIED.contains(&code) => {}
                code => scene.code("offset commit", code)?,
            }
        }
        Ok(())
    }
}

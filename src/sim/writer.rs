//! What one client does to one partition: produces, now and then reads back and deletes, and notes
//! every answer.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::clock::{Clock, ManualClock};
use crate::base::ids::Offset;
use crate::base::rng::Rng;
use crate::log::batch::Batch;
use crate::sim::checker::{Answer, Contents, History};
use crate::sim::client::{Client, Place, encode_batch};
use crate::sim::disk::SimDisk;

/// Requests in flight of one producer; as many batches are remembered.
const IN_FLIGHT_COUNT_MAX: u64 = 5;
const RECORD_BYTES_MAX: u64 = 700;
/// How often to ask for a partition that is not open yet.
const OPEN_TRIES_COUNT: u32 = 200;
const OPEN_WAIT: std::time::Duration = std::time::Duration::from_millis(50);

const NONE: i16 = 0;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// How a partition is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `acks=all` with sequences; what was not answered is sent again.
    Idempotent,
    /// `acks=all` and `acks=1` by turns, nothing is sent again.
    Plain,
    /// `acks=all` to a topic with `write.caching`: its tail may be lost.
    Cached,
}

/// What all writers have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) disk: &'a SimDisk,
    pub(super) clock: &'a ManualClock,
    pub(super) rng: &'a Rng,
    /// Requests may fail although there is power.
    pub(super) faulty: bool,
}

/// Why a writer stops before its time.
pub(super) enum Stop {
    /// The broker is dead or dying.
    Dead,
    /// A promise is broken.
    Broken(String),
}

/// The one who writes a partition.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) history: History,
    producer_id: Option<i64>,
    next_sequence: i32,
    /// Batches to be sent again.
    unanswered: Vec<usize>,
    /// Batches sent to earlier topics of the name.
    first_number: usize,
}

impl Scene<'_> {
    pub(super) fn failed(&self, what: &str, why: &dyn std::fmt::Display) -> Stop {
        if self.disk.is_crashed() || self.faulty {
            return Stop::Dead;
        }
        Stop::Broken(format!("{what}: {why}"))
    }

    pub(super) fn io<T>(&self, what: &str, result: io::Result<T>) -> Result<T, Stop> {
        result.map_err(|error| self.failed(what, &error))
    }

    pub(super) fn code(&self, what: &str, code: i16) -> Result<(), Stop> {
        if code == NONE { Ok(()) } else { Err(self.failed(what, &format!("error {code}"))) }
    }
}

impl Writer {
    pub(super) fn new(topic: &str, partition: i32, kind: Kind) -> Self {
        Self {
            place: Place { topic: topic.to_owned(), partition },
            kind,
            history: History::default(),
            producer_id: None,
            next_sequence: 0,
            unanswered: Vec::new(),
            first_number: 0,
        }
    }

    /// Begins with an empty topic of the same name. Batches are numbered on, so that one of the old
    /// topic is known when it turns up.
    pub(super) fn restart(&mut self) {
        self.first_number += self.history.sent.len();
        self.history = History::default();
    }

    fn promises(&self) -> bool {
        self.kind != Kind::Cached
    }

    /// Reads the partition from its log start and compares.
    pub(super) async fn verify(
        &mut self,
        client: &mut Client,
        scene: Scene<'_>,
    ) -> Result<(), Stop> {
        let contents = self.read_all(client, scene).await?;
        let broken = |why| Stop::Broken(format!("{:?}: {why}", self.place));
        self.history.check(&contents, self.kind != Kind::Cached).map_err(broken)
    }

    async fn read_all(&self, client: &mut Client, scene: Scene<'_>) -> Result<Contents, Stop> {
        let mut contents = Contents::default();
        let mut offset = self.history.log_start;
        let mut tries = 0;
        loop {
            let size_max = 1 + i32::try_from(scene.rng.below(20_000)).unwrap_or(1);
            let fetched = client.fetch(&self.place, offset, size_max).await;
            let data = scene.io("fetch", fetched)?;
            match data.error_code {
                UNKNOWN_TOPIC_OR_PARTITION | NOT_LEADER_OR_FOLLOWER if tries < OPEN_TRIES_COUNT => {
                    tries += 1;
                    tokio::time::sleep(OPEN_WAIT).await;
                    continue;
                }
                OFFSET_OUT_OF_RANGE if offset < data.log_start_offset => {
                    offset = data.log_start_offset;
                    continue;
                }
                // The tail that may be lost can hold the log start.
                OFFSET_OUT_OF_RANGE if !self.promises() && contents.batches.is_empty() => {
                    offset = 0;
                    continue;
                }
                code => scene.code(&format!("fetch of {:?} at {offset}", self.place), code)?,
            }
            (contents.log_start, contents.high_watermark) =
                (data.log_start_offset, data.high_watermark);
            if offset > data.log_start_offset && contents.batches.is_empty() {
                offset = data.log_start_offset;
                continue;
            }
            let records = data.records.unwrap_or_default();
            let is_empty = records.is_empty();
            contents.add(records).map_err(|why| self.broken(&why))?;
            offset = contents.next_offset();
            if offset >= data.high_watermark {
                return Ok(contents);
            }
            if is_empty {
                return Err(self.broken(&format!("nothing at {offset}, below {contents:?}")));
            }
        }
    }

    fn broken(&self, why: &str) -> Stop {
        Stop::Broken(format!("{:?}: {why}", self.place))
    }

    /// Does so many things, as long as the broker lives.
    pub(super) async fn run(
        &mut self,
        client: &mut Client,
        scene: Scene<'_>,
        steps: u32,
    ) -> Result<(), Stop> {
        if self.kind == Kind::Idempotent && self.producer_id.is_none() {
            let given = client.producer_id().await;
            self.producer_id = Some(scene.io("producer id", given)?);
        }
        self.send_again(client, scene).await?;
        for _ in 0..steps {
            scene.clock.advance_ms(1 + i64::try_from(scene.rng.below(200)).unwrap_or(0));
            match scene.rng.below(20) {
                0 | 1 => self.read_back(client, scene).await?,
                2 => self.delete_some(client, scene).await?,
                3 => tokio::time::sleep(std::time::Duration::from_millis(7)).await,
                _ => self.produce_some(client, scene).await?,
            }
        }
        Ok(())
    }

    async fn send_again(&mut self, client: &mut Client, scene: Scene<'_>) -> Result<(), Stop> {
        let again = self.unanswered.clone();
        self.exchange(client, scene, &again, -1).await
    }

    async fn produce_some(&mut self, client: &mut Client, scene: Scene<'_>) -> Result<(), Stop> {
        let count = 1 + scene.rng.below(IN_FLIGHT_COUNT_MAX);
        let acks = if self.kind == Kind::Plain && scene.rng.below(2) == 0 { 1 } else { -1 };
        let numbers: Vec<usize> = (0..count).map(|_| self.make_batch(scene)).collect();
        if self.kind == Kind::Idempotent {
            self.unanswered.extend(&numbers);
        }
        self.exchange(client, scene, &numbers, acks).await
    }

    fn make_batch(&mut self, scene: Scene<'_>) -> usize {
        let number = self.history.sent.len();
        let count = 1 + i32::try_from(scene.rng.below(4)).unwrap_or(0);
        let value = |record| {
            let Place { topic, partition } = &self.place;
            let number = self.first_number + number;
            let mut value = BytesMut::from(&*format!("{topic}-{partition} {number}.{record} "));
            value.put_bytes(b'.', usize::try_from(scene.rng.below(RECORD_BYTES_MAX)).unwrap_or(0));
            value.freeze()
        };
        let values: Vec<Bytes> = (0..count).map(value).collect();
        let producer = match self.producer_id {
            Some(id) => (id, 0, self.next_sequence),
            None => (-1, -1, -1),
        };
        self.next_sequence += count;
        let batch = encode_batch(&values, producer, scene.clock.now_ms());
        self.history.send(batch, i64::from(count))
    }

    /// Sends batches, all before the first answer is read.
    async fn exchange(
        &mut self,
        client: &mut Client,
        scene: Scene<'_>,
        numbers: &[usize],
        acks: i16,
    ) -> Result<(), Stop> {
        let mut ids = Vec::with_capacity(numbers.len());
        for number in numbers {
            let Some(sent) = self.history.sent.get(*number) else { continue };
            let id = client.produce(&self.place, acks, sent.batch.clone()).await;
            ids.push((*number, scene.io("produce", id)?));
        }
        for (number, id) in ids {
            let (code, offset) = scene.io("produce", client.produced(id).await)?;
            scene.disk.note("produced", &[&code.to_be_bytes()[..], &offset.to_be_bytes()].concat());
            scene.code(&format!("produce of {number} to {:?}", self.place), code)?;
            let answer = match acks {
                -1 if self.promises() => Answer::Kept(offset),
                _ => Answer::Written(offset),
            };
            self.history.answer(number, answer).map_err(|why| self.broken(&why))?;
            self.unanswered.retain(|unanswered| *unanswered != number);
        }
        Ok(())
    }

    /// What was acknowledged can be read at once.
    async fn read_back(&mut self, client: &mut Client, scene: Scene<'_>) -> Result<(), Stop> {
        let kept = |number: &usize| match self.history.sent.get(*number).map(|sent| sent.answer) {
            Some(Answer::Kept(offset)) => Some(offset),
            _ => None,
        };
        let number = usize::try_from(scene.rng.below(self.history.sent.len() as u64)).unwrap_or(0);
        let Some(offset) = kept(&number).filter(|offset| *offset >= self.history.log_start) else {
            return Ok(());
        };
        let data = scene.io("fetch", client.fetch(&self.place, offset, 1).await)?;
        scene.code(&format!("fetch of {:?} at {offset}", self.place), data.error_code)?;
        let mut records = data.records.unwrap_or_default();
        let is_it = match (Batch::take(&mut records), self.history.sent.get(number)) {
            (Ok(batch), Some(sent)) => {
                batch.header().base_offset == offset && sent.batch.ends_with(batch.records())
            }
            _ => false,
        };
        if is_it { Ok(()) } else { Err(self.broken(&format!("batch {number} is not at {offset}"))) }
    }

    async fn delete_some(&mut self, client: &mut Client, scene: Scene<'_>) -> Result<(), Stop> {
        let end: Offset = self
            .history
            .sent
            .iter()
            .filter_map(|sent| match sent.answer {
                Answer::Kept(offset) => Some(offset + sent.count),
                _ => None,
            })
            .max()
            .unwrap_or(0);
        let span = u64::try_from(end - self.history.log_start).unwrap_or(0);
        let before =
            self.history.log_start + i64::try_from(scene.rng.below(span / 2 + 1)).unwrap_or(0);
        self.history.ask_to_delete(before);
        let (code, log_start) =
            scene.io("delete records", client.delete_records(&self.place, before).await)?;
        scene.code(&format!("delete records of {:?}", self.place), code)?;
        if log_start < before {
            return Err(self.broken(&format!("log start {log_start} after deletion to {before}")));
        }
        self.history.deleted(log_start);
        Ok(())
    }
}

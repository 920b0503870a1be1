//! The clients: a producer and consumers for each partition, and one that commits offsets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::clock::{Clock, ManualClock};
use crate::base::ids::Offset;
use crate::sim::checker::{Answer, Contents};
use crate::sim::client::{Client, Place, encode_batch};
use crate::sim::cluster::diary::{self, Diary, Pen, Stage};
use crate::sim::cluster::ledger::{Ledger, Verdict};
use crate::sim::cluster::router::{Router, Wanted};

/// Requests in flight of one producer; as many batches are remembered.
const IN_FLIGHT_COUNT_MAX: usize = 5;
const RECORD_BYTES_MAX: u64 = 400;
/// What a fetch may bring, at most.
const FETCH_BYTES_MAX: u64 = 20_000;

const NONE: i16 = 0;
const OUT_OF_RANGE: i16 = 1;
const OUT_OF_ORDER: i16 = 45;
/// Leaders that are not known or not there, too few replicas, a log that failed, and requests that
/// took too long: another try may succeed.
const RETRIED: [i16; 12] = [3, 5, 6, 7, 8, 9, 14, 15, 16, 19, 20, 56];

/// What all clients have in common.
#[derive(Clone)]
pub(super) struct Orders {
    /// No new work is begun; what was begun is brought to its end.
    pub(super) finish: Arc<AtomicBool>,
    pub(super) verdict: Verdict,
    pub(super) diary: Diary,
    pub(super) clock: ManualClock,
}

impl Orders {
    pub(super) fn finish(&self) -> bool {
        self.finish.load(Ordering::Relaxed)
    }
}

/// How a round went.
pub(super) enum Round {
    Done,
    /// With another broker, perhaps.
    Again,
}

fn retried(code: i16) -> bool {
    RETRIED.contains(&code)
}

/// Whether the answer makes the client try again, and otherwise what is wrong.
pub(super) fn judge(code: i16) -> Result<Round, String> {
    match code {
        NONE => Ok(Round::Done),
        code if retried(code) => Ok(Round::Again),
        code => Err(format!("error {code}")),
    }
}

/// Writes one partition, idempotently, with `acks=all`.
pub(super) struct Producer {
    pub(super) place: Place,
    pub(super) ledger: Ledger,
    pub(super) router: Router,
    pub(super) orders: Orders,
    pub(super) pen: Pen,
    id: Option<i64>,
    next_sequence: i32,
    /// Batches that were made and not acknowledged, in order.
    unanswered: Vec<usize>,
}

impl Producer {
    pub(super) fn new(
        place: Place,
        ledger: Ledger,
        router: Router,
        orders: Orders,
        pen: Pen,
    ) -> Self {
        Self {
            place,
            ledger,
            router,
            orders,
            pen,
            id: None,
            next_sequence: 0,
            unanswered: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        while !self.orders.finish() || !self.unanswered.is_empty() {
            match self.round().await {
                Ok(Round::Done) => {
                    self.router.pause().await;
                }
                Ok(Round::Again) => self.router.give_up().await,
                Err(why) => {
                    self.orders.verdict.broken(format!("producer of {:?}: {why}", self.place));
                    return;
                }
            }
        }
    }

    async fn round(&mut self) -> Result<Round, String> {
        if self.id.is_none() {
            let given =
                async { self.router.connection(Wanted::Anybody).await?.producer_id().await };
            // The connection is to anybody: the next one is to the leader.
            self.id = given.await.ok();
            return Ok(Round::Again);
        }
        if !self.orders.finish() {
            let count = 1 + self.router.rng.below(IN_FLIGHT_COUNT_MAX as u64);
            let room = IN_FLIGHT_COUNT_MAX.saturating_sub(self.unanswered.len());
            let count = usize::try_from(count).unwrap_or(0).min(room);
            (0..count).for_each(|_| self.make_batch());
        }
        match self.exchange().await {
            Ok(answers) => self.take_answers(&answers),
            Err(_) => Ok(Round::Again),
        }
    }

    fn make_batch(&mut self) {
        let mut ledger = self.ledger.lock();
        let number = ledger.history.sent.len();
        let rng = &self.router.rng;
        let count = 1 + i32::try_from(rng.below(3)).unwrap_or(0);
        let value = |record| {
            let mut value = BytesMut::from(&*diary::record_text(number, record));
            value.put_bytes(b'.', usize::try_from(rng.below(RECORD_BYTES_MAX)).unwrap_or(0));
            value.freeze()
        };
        let values: Vec<Bytes> = (0..).zip(0..count).map(|(record, _)| value(record)).collect();
        self.pen.sends(number, values.len());
        let producer = (self.id.unwrap_or(-1), 0, self.next_sequence);
        let batch = encode_batch(&values, producer, self.orders.clock.now_ms());
        self.next_sequence += count;
        self.unanswered.push(ledger.history.send(batch, i64::from(count)));
    }

    /// Sends all that is not acknowledged, and reads the answers.
    async fn exchange(&mut self) -> io::Result<Vec<(usize, i16, Offset)>> {
        let numbered = |number: &usize| Some((*number, self.ledger.lock().batch(*number)?));
        let batches: Vec<(usize, Bytes)> = self.unanswered.iter().filter_map(numbered).collect();
        let client = self.router.connection(Wanted::Leader(&self.place)).await?;
        let mut ids = Vec::with_capacity(batches.len());
        for (number, batch) in batches {
            ids.push((number, client.produce(&self.place, -1, batch).await?));
        }
        let mut answers = Vec::with_capacity(ids.len());
        for (number, id) in ids {
            // What was answered before the connection broke counts as well.
            match client.produced(id).await {
                Ok((code, offset)) => answers.push((number, code, offset)),
                Err(error) if answers.is_empty() => return Err(error),
                Err(_) => {
                    answers.push((number, RETRIED[0], -1));
                    break;
                }
            }
        }
        Ok(answers)
    }

    fn take_answers(&mut self, answers: &[(usize, i16, Offset)]) -> Result<Round, String> {
        let mut round = Round::Done;
        for (number, code, offset) in answers {
            match (judge(*code), &round) {
                (Ok(Round::Done), _) => {
                    let mut ledger = self.ledger.lock();
                    ledger.history.answer(*number, Answer::Kept(*offset))?;
                    let count = ledger.history.sent.get(*number).map_or(0, |sent| sent.count);
                    self.pen.acknowledged(*number, *offset..*offset + count);
                    self.unanswered.retain(|unanswered| unanswered != number);
                }
                (Ok(Round::Again), _) => round = Round::Again,
                // It follows one that was refused.
                (Err(_), Round::Again) if *code == OUT_OF_ORDER => {}
                (Err(_), Round::Done) if *code == OUT_OF_ORDER => {
                    let why = "was acknowledged and is gone";
                    return Err(format!("what came before batch {number} {why}"));
                }
                (Err(why), _) => return Err(format!("batch {number}: {why}")),
            }
        }
        Ok(round)
    }
}

/// Reads one partition again and again.
pub(super) struct Consumer {
    pub(super) place: Place,
    pub(super) ledger: Ledger,
    pub(super) router: Router,
    pub(super) orders: Orders,
    pub(super) pen: Pen,
    pub(super) position: Offset,
}

impl Consumer {
    pub(super) async fn run(mut self) {
        self.pen.assigned(self.position);
        while !self.orders.finish() {
            match self.round().await {
                Ok(Round::Done) => {
                    self.router.pause().await;
                    if self.router.rng.below(100) == 0 {
                        let ahead = u64::try_from(self.position).unwrap_or(0);
                        let back = self.router.rng.below(ahead);
                        self.position = i64::try_from(back).unwrap_or(0);
                        self.pen.assigned(self.position);
                    }
                }
                Ok(Round::Again) => self.router.give_up().await,
                Err(why) => {
                    self.orders.verdict.broken(format!("consumer of {:?}: {why}", self.place));
                    return;
                }
            }
        }
    }

    async fn round(&mut self) -> Result<Round, String> {
        let Ok(client) = self.router.connection(Wanted::Leader(&self.place)).await else {
            return Ok(Round::Again);
        };
        let size_max = 1 + i32::try_from(self.position % 7 * 900).unwrap_or(0);
        self.pen.end(Stage::Invoke, -1);
        let Ok(data) = client.fetch(&self.place, self.position, size_max).await else {
            return Ok(Round::Again);
        };
        if data.error_code == OUT_OF_RANGE {
            return self.skip_deleted(data.log_start_offset);
        }
        if let Round::Again = judge(data.error_code)? {
            return Ok(Round::Again);
        }
        let mut contents = Contents {
            log_start: data.log_start_offset,
            high_watermark: data.high_watermark,
            ..Contents::default()
        };
        contents.add(data.records.unwrap_or_default())?;
        self.pen.end(Stage::Ok, contents.high_watermark);
        self.pen.polled(&contents.batches, self.position)?;
        self.ledger.lock().saw(&contents)?;
        self.position = self.position.max(contents.next_offset());
        Ok(Round::Done)
    }

    /// What is not there was deleted, as it was asked for.
    fn skip_deleted(&mut self, log_start: Offset) -> Result<Round, String> {
        self.ledger.lock().history.may_begin_at(log_start)?;
        if self.position >= log_start {
            return Err(format!("offset {} is out of range from {log_start} on", self.position));
        }
        self.position = log_start;
        self.pen.assigned(log_start);
        Ok(Round::Again)
    }
}

/// All of a partition, when the cluster is at rest.
pub(super) async fn read_all(router: &mut Router, place: &Place) -> io::Result<Contents> {
    let mut contents = Contents::default();
    loop {
        let size_max = 1 + i32::try_from(router.rng.below(FETCH_BYTES_MAX)).unwrap_or(1);
        let client = router.connection(Wanted::Leader(place)).await?;
        let offset = contents.next_offset();
        let data = client.fetch(place, offset, size_max).await?;
        if data.error_code == OUT_OF_RANGE && offset < data.log_start_offset {
            contents = Contents { log_start: data.log_start_offset, ..Contents::default() };
            continue;
        }
        if data.error_code != NONE {
            return Err(io::Error::other(format!("fetch: error {}", data.error_code)));
        }
        contents.log_start = data.log_start_offset;
        contents.high_watermark = data.high_watermark;
        contents.add(data.records.unwrap_or_default()).map_err(io::Error::other)?;
        if contents.next_offset() >= contents.high_watermark {
            return Ok(contents);
        }
        if contents.next_offset() == offset {
            return Err(io::Error::other(format!("nothing at {offset}, below the watermark")));
        }
    }
}

/// Commits ever later offsets of a group, and asks for the last one.
pub(super) struct Committer {
    pub(super) group: String,
    pub(super) place: Place,
    pub(super) router: Router,
    pub(super) orders: Orders,
    pen: Pen,
    acknowledged: Offset,
    sent: Offset,
}

impl Committer {
    pub(super) fn new(group: &str, place: Place, router: Router, orders: Orders, pen: Pen) -> Self {
        let group = group.to_owned();
        // -1 is what is answered where nothing is committed.
        Self { group, place, router, orders, pen, acknowledged: -1, sent: -1 }
    }

    /// Ends when it has asked for the offset after all was done.
    pub(super) async fn run(mut self) {
        loop {
            let is_last = self.orders.finish();
            let round = if is_last || self.router.rng.below(4) == 0 {
                self.verify().await
            } else {
                self.commit().await
            };
            match round {
                Ok(Round::Done) if is_last => return,
                Ok(Round::Done) => {
                    self.router.pause().await;
                }
                Ok(Round::Again) => self.router.give_up().await,
                Err(why) => {
                    self.orders.verdict.broken(format!("group {}: {why}", self.group));
                    return;
                }
            }
        }
    }

    async fn client(&mut self) -> io::Result<&mut Client> {
        self.router.connection(Wanted::Coordinator(&self.group)).await
    }

    async fn commit(&mut self) -> Result<Round, String> {
        let (group, place) = (self.group.clone(), self.place.clone());
        let next = self.sent + 1;
        let pen = self.pen.clone();
        let Ok(client) = self.client().await else { return Ok(Round::Again) };
        pen.commits(Stage::Invoke, &group, next);
        let committed = client.commit_offset(&group, &place, next).await;
        self.sent = next;
        let Ok(code) = committed else { return Ok(Round::Again) };
        let round = judge(code)?;
        if let Round::Done = round {
            self.acknowledged = next;
            pen.commits(Stage::Ok, &group, next);
        }
        Ok(round)
    }

    async fn verify(&mut self) -> Result<Round, String> {
        let (group, place) = (self.group.clone(), self.place.clone());
        let pen = self.pen.clone();
        let Ok(client) = self.client().await else { return Ok(Round::Again) };
        pen.fetches(Stage::Invoke, &group, -1);
        let fetched = client.committed_offset(&group, &place).await;
        let Ok((code, offset)) = fetched else { return Ok(Round::Again) };
        if let Round::Again = judge(code)? {
            return Ok(Round::Again);
        }
        pen.fetches(Stage::Ok, &group, offset);
        let (least, most) = (self.acknowledged, self.sent);
        if !(least..=most).contains(&offset) {
            return Err(format!("it is at {offset}, not within {least}..={most}"));
        }
        // What was read stays.
        self.acknowledged = offset;
        Ok(Round::Done)
    }
}

//! A compacted topic: of each key its latest record is there, on every replica, whatever each of
//! them has cleaned, and what was deleted does not come back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::clock::Clock;
use crate::base::ids::Offset;
use crate::log::batch::Batch;
use crate::log::records::build::{NewRecord, batch};
use crate::log::records::{KeyValue, key_values};
use crate::sim::client::Place;
use crate::sim::cluster::clients::{Orders, Round, judge};
use crate::sim::cluster::node::Node;
use crate::sim::cluster::replicas;
use crate::sim::cluster::router::{Router, Wanted};
use crate::sim::cluster::{RECOVERS, World};

pub(super) const TOPIC: &str = "latest";
const KEYS_COUNT: u64 = 8;
const RECORDS_COUNT_MAX: u64 = 4;
const VALUE_BYTES_MAX: u64 = 200;
const FETCH_BYTES_MAX: u64 = 8_000;
/// So many records may have been sent before one that came first.
const LATE_COUNT_MAX: usize = 40;
/// How often all is read before it is believed that something is wrong: what a reader has got may
/// be cleaned away before it comes to what took its place.
const READS_COUNT: u32 = 3;

/// A record that was sent once; whether it is there is not known before it is acknowledged.
#[derive(Debug)]
struct Sent {
    key: u64,
    is_tombstone: bool,
    offset: Option<Offset>,
}

/// What was sent to the topic, and what it was answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    sent: Arc<Mutex<Vec<Sent>>>,
}

/// By key, the last offset that was acknowledged.
type Floor = BTreeMap<u64, Offset>;

pub(super) fn place() -> Place {
    Place { topic: TOPIC.to_owned(), partition: 0 }
}

fn number(text: &Bytes) -> Option<u64> {
    std::str::from_utf8(text).ok()?.split(' ').next()?.parse().ok()
}

impl Keys {
    fn lock(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn floor(&self) -> Floor {
        let mut floor = Floor::new();
        for (key, offset) in self.lock().iter().filter_map(|sent| Some((sent.key, sent.offset?))) {
            let latest = floor.entry(key).or_insert(offset);
            *latest = offset.max(*latest);
        }
        floor
    }

    /// Whether these records may be all there are. A reader who is slow may have seen what was
    /// deleted behind its back, but not `at_once`.
    fn check(&self, found: &[KeyValue], floor: &Floor, at_once: bool) -> Result<(), String> {
        let sent = self.lock();
        let mut by_offset: BTreeMap<Offset, usize> = BTreeMap::new();
        for (at, one) in sent.iter().enumerate() {
            if let Some(offset) = one.offset
                && let Some(other) = by_offset.insert(offset, at)
            {
                return Err(format!("records {other} and {at} were acknowledged at {offset}"));
            }
        }
        let (mut latest, mut seen) = (Floor::new(), BTreeSet::new());
        let mut next = 0;
        for record in found {
            let offset = record.offset;
            let key = record.key.as_ref().and_then(number).ok_or("a record without a key")?;
            let known = by_offset.get(&offset).copied();
            let of = match &record.value {
                Some(value) => number(value).and_then(|number| usize::try_from(number).ok()),
                None => known.or_else(|| {
                    let may_be = |one: &Sent| one.is_tombstone && one.offset.is_none();
                    sent.iter().position(|one| may_be(one) && one.key == key)
                }),
            };
            let one = of.and_then(|at| sent.get(at));
            let is_it = one.is_some_and(|one| {
                let is_there = one.offset.is_none_or(|there| there == offset);
                let same = one.key == key && one.is_tombstone == record.value.is_none();
                is_there && same && known.is_none_or(|known| Some(known) == of)
            });
            let is_new = record.value.is_none() || seen.insert(of);
            if offset < next || !is_it || !is_new {
                return Err(format!("{record:?} is not what was written there: {one:?}"));
            }
            (next, _) = (offset + 1, latest.insert(key, offset));
        }
        for (key, floor) in floor {
            // What was sent a little before may have come later.
            let sent_at = by_offset.get(floor).copied().unwrap_or(0);
            let deletes = |(at, one): (usize, &Sent)| {
                let may_be_later = at + LATE_COUNT_MAX > sent_at;
                let is_later = one.offset.map_or(may_be_later, |offset| offset >= *floor);
                one.key == *key && one.is_tombstone && is_later
            };
            let is_deleted = sent.iter().enumerate().any(deletes);
            match latest.get(key) {
                Some(offset) if offset >= floor => {}
                None if is_deleted => {}
                Some(_) if is_deleted && !at_once => {}
                other => {
                    let text = format!("key {key} was written at {floor}, its latest is {other:?}");
                    return Err(text);
                }
            }
        }
        Ok(())
    }

    /// How many acknowledged records are not among these.
    fn missing(&self, found: &[KeyValue]) -> usize {
        let there: BTreeSet<Offset> = found.iter().map(|record| record.offset).collect();
        let offsets: Vec<Offset> = self.lock().iter().filter_map(|sent| sent.offset).collect();
        offsets.iter().filter(|offset| !there.contains(offset)).count()
    }

    /// What is wrong with a replica, by the segments on its disk.
    pub(super) fn difference(&self, nodes: &[Node]) -> Option<String> {
        let floor = self.floor();
        for node in nodes {
            for batches in replicas::segments(node, TOPIC).into_values() {
                let checked = records_of(&batches).and_then(|mut found| {
                    found.sort_by_key(|record| record.offset);
                    self.check(&found, &floor, true)
                });
                if let Err(why) = checked {
                    return Some(format!("{TOPIC} on node {}: {why}", node.id));
                }
            }
        }
        None
    }
}

fn records_of(batches: &[Batch]) -> Result<Vec<KeyValue>, String> {
    let mut found = Vec::new();
    for batch in batches {
        found.extend(key_values(&batch.to_bytes()).map_err(|error| error.to_string())?);
    }
    Ok(found)
}

impl World {
    pub(super) fn start_keys(&mut self, (writer, reader): (Router, Router)) {
        let (keys, orders) = (self.clients.keys.clone(), self.orders.clone());
        let writer = Writer { keys: keys.clone(), router: writer, orders: orders.clone() };
        let reader = Reader { keys, router: reader, orders };
        self.spawn(writer.run());
        self.spawn(reader.run());
    }

    /// Of all keys the latest is there; how many records are gone.
    pub(super) fn verify_keys(&mut self) -> Result<usize, String> {
        let (keys, orders) = (self.clients.keys.clone(), self.orders.clone());
        let reader = Reader { keys, router: self.router(200), orders };
        let missing = self.ask("reading the latest of all keys", RECOVERS, reader.verify())??;
        let right = |world: &Self| world.clients.keys.difference(&world.nodes).is_none();
        let within = self.pass_until("the latest of all keys everywhere", RECOVERS, right);
        let why = self.clients.keys.difference(&self.nodes).unwrap_or_default();
        within.map_err(|what| format!("{what}: {why}"))?;
        Ok(missing)
    }
}

/// Writes records of few keys, one batch at a time, each only once.
pub(super) struct Writer {
    pub(super) keys: Keys,
    pub(super) router: Router,
    pub(super) orders: Orders,
}

impl Writer {
    pub(super) async fn run(mut self) {
        while !self.orders.finish() {
            match self.round().await {
                Ok(Round::Done) => self.router.pause().await,
                Ok(Round::Again) => self.router.give_up().await,
                Err(why) => return self.orders.verdict.broken(format!("writer of keys: {why}")),
            }
        }
    }

    async fn round(&mut self) -> Result<Round, String> {
        let place = place();
        let rng = Arc::clone(&self.router.rng);
        let Ok(client) = self.router.connection(Wanted::Leader(&place)).await else {
            return Ok(Round::Again);
        };
        let first = self.keys.lock().len();
        let records: Vec<NewRecord> = (0..=rng.below(RECORDS_COUNT_MAX))
            .map(|_| {
                let (key, is_tombstone) = (rng.below(KEYS_COUNT), rng.below(4) == 0);
                let mut sent = self.keys.lock();
                let mut value = BytesMut::from(&*format!("{} ", sent.len()));
                value.put_bytes(b'.', usize::try_from(rng.below(VALUE_BYTES_MAX)).unwrap_or(0));
                sent.push(Sent { key, is_tombstone, offset: None });
                let value = (!is_tombstone).then(|| value.freeze());
                NewRecord { key: key.to_string().into(), value }
            })
            .collect();
        let batch = batch(&records, self.orders.clock.now_ms()).ok_or("a batch is not made")?;
        let sent = async {
            let id = client.produce(&place, -1, batch.to_bytes()).await?;
            client.produced(id).await
        };
        let Ok((code, base_offset)) = sent.await else { return Ok(Round::Again) };
        let round = judge(code)?;
        if let Round::Done = round {
            let mut sent = self.keys.lock();
            for (one, offset) in sent.iter_mut().skip(first).zip(base_offset..) {
                one.offset = Some(offset);
            }
        }
        Ok(round)
    }
}

/// Reads the topic from its beginning to its end, again and again.
pub(super) struct Reader {
    pub(super) keys: Keys,
    pub(super) router: Router,
    pub(super) orders: Orders,
}

impl Reader {
    pub(super) async fn run(mut self) {
        while !self.orders.finish() {
            let floor = self.keys.floor();
            let Ok(found) = read_all(&mut self.router).await else {
                self.router.give_up().await;
                continue;
            };
            if let Err(why) = self.keys.check(&found, &floor, false) {
                return self.orders.verdict.broken(format!("reader of keys: {why}"));
            }
            self.router.pause().await;
        }
    }

    /// When all is quiet: how many acknowledged records are gone.
    pub(super) async fn verify(mut self) -> Result<usize, String> {
        let (floor, mut reads) = (self.keys.floor(), 0);
        loop {
            match read_all(&mut self.router).await {
                Ok(found) => match self.keys.check(&found, &floor, true) {
                    Ok(()) => return Ok(self.keys.missing(&found)),
                    Err(why) if reads == READS_COUNT => return Err(why),
                    Err(_) => reads += 1,
                },
                Err(error) => tracing::info!(%error, "sim: keys are not read yet"),
            }
            self.router.give_up().await;
        }
    }
}

async fn read_all(router: &mut Router) -> io::Result<Vec<KeyValue>> {
    let place = place();
    let (mut found, mut offset): (Vec<KeyValue>, Offset) = (Vec::new(), 0);
    loop {
        let size_max = 1 + i32::try_from(router.rng.below(FETCH_BYTES_MAX)).unwrap_or(1);
        let client = router.connection(Wanted::Leader(&place)).await?;
        let data = client.fetch(&place, offset, size_max).await?;
        if data.error_code != 0 {
            return Err(io::Error::other(format!("fetch: error {}", data.error_code)));
        }
        let batches: Vec<Batch> =
            replicas::whole_batches(data.records.unwrap_or_default()).collect();
        let Some(last) = batches.last() else { return Ok(found) };
        let read = records_of(&batches).map_err(io::Error::other)?;
        found.extend(read.into_iter().filter(|record| record.offset >= offset));
        offset = last.header().last_offset() + 1;
    }
}

//! Where partitions begin and end, wherever they are led. Leaders on other nodes are asked when a
//! scrape needs it: each node once for all of its partitions, with a deadline.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::base::env::Env;
use crate::base::ids::{NodeId, Offset, TopicId, TopicPartition};
use crate::base::task;
use crate::cluster::service::Handlers;
use crate::partition::Partition;
use crate::partition::registry::Registry;
use crate::peer::{Body, Kind, Lane, Peers};

/// How long leaders have to answer: a scraper does not wait for long.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Partitions in one call.
const ASKED_COUNT_MAX: usize = 10_000;

/// What is asked of a partition's leader: where it begins and ends, and when the first record from
/// each of these offsets on was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub id: TopicPartition,
    pub offsets: Vec<Offset>,
}

/// A leader's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub log_start: Offset,
    pub end: Offset,
    /// By the first offset that counts: the one that was asked for, or the log start above it.
    pub times_ms: HashMap<Offset, i64>,
}

/// A partition, and where it begins and ends.
#[derive(Debug)]
pub(super) struct Place {
    pub log_start: Offset,
    pub end: Offset,
    records: Records,
}

#[derive(Debug)]
enum Records {
    Here(Arc<Partition>),
    /// What its leader has told of their times.
    Elsewhere(HashMap<Offset, i64>),
}

impl Place {
    fn here(partition: &Arc<Partition>) -> Self {
        let offsets = partition.offsets();
        let (log_start, end) = (offsets.log_start, offsets.high_watermark);
        Self { log_start, end, records: Records::Here(Arc::clone(partition)) }
    }

    fn elsewhere(told: Told) -> Self {
        let Told { log_start, end, times_ms } = told;
        Self { log_start, end, records: Records::Elsewhere(times_ms) }
    }

    /// The timestamp in ms of the first record from an offset on. Blocks.
    pub(super) fn timestamp_at(&self, from: Offset) -> Option<i64> {
        let partition = match &self.records {
            Records::Here(partition) => partition,
            Records::Elsewhere(times_ms) => return times_ms.get(&from).copied(),
        };
        let read = partition.timestamp_at(from).unwrap_or_else(|error| {
            tracing::warn!(topic = partition.topic, %error, "lag not read");
            None
        });
        // -1 is a record without a time.
        read.filter(|time_ms| *time_ms >= 0)
    }
}

/// What leaders elsewhere have told at the last scrape that they answered.
#[derive(Debug, Default)]
pub(super) struct Places {
    told: Mutex<HashMap<TopicPartition, Told>>,
}

impl Places {
    /// The places of what is led here and of what others have told now. A leader that has not
    /// answered counts as it did last time: its lag is then too small rather than gone.
    pub(super) fn gather(
        &self,
        partitions: &[Arc<Partition>],
        asked: &[TopicPartition],
        mut answers: HashMap<TopicPartition, Told>,
    ) -> HashMap<TopicPartition, Place> {
        let mut known = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *known);
        let mut places = HashMap::new();
        for id in asked {
            let told = answers.remove(id).or_else(|| before.get(id).cloned());
            if let Some(told) = told {
                known.insert(*id, told.clone());
                places.insert(*id, Place::elsewhere(told));
            }
        }
        let led = partitions.iter().filter(|partition| partition.leader_epoch().is_some());
        places.extend(led.map(|partition| (partition.id, Place::here(partition))));
        places
    }
}

/// Asks leaders on other nodes. Who does not answer in time is left out.
pub(super) async fn ask(
    peers: &Peers,
    questions: &BTreeMap<NodeId, Vec<Question>>,
) -> HashMap<TopicPartition, Told> {
    let calls = questions.iter().flat_map(|(node, questions)| {
        questions.chunks(ASKED_COUNT_MAX).map(|questions| ask_one(peers, *node, questions))
    });
    join_all(calls).await.into_iter().flatten().collect()
}

async fn ask_one(
    peers: &Peers,
    node: NodeId,
    questions: &[Question],
) -> Vec<(TopicPartition, Told)> {
    if !peers.liveness().is_alive(node) {
        return Vec::new();
    }
    let body = vec![put_questions(questions)];
    let told = peers.call(node, Lane::Data, Kind::Watermarks, body, ASK_TIMEOUT).await;
    let told = told.map_err(io::Error::other).and_then(|body| get_answers(questions, body));
    told.unwrap_or_else(|error| {
        tracing::debug!(%node, %error, "a leader did not tell its watermarks");
        Vec::new()
    })
}

fn put_questions(questions: &[Question]) -> Bytes {
    let mut body = BytesMut::new();
    for question in questions {
        body.put_slice(&question.id.topic_id.0);
        body.put_i32(question.id.partition);
        body.put_u32(u32::try_from(question.offsets.len()).unwrap_or(u32::MAX));
        question.offsets.iter().for_each(|offset| body.put_i64(*offset));
    }
    body.freeze()
}

fn get_questions(mut body: Bytes) -> io::Result<Vec<Question>> {
    let mut questions = Vec::new();
    while body.has_remaining() {
        let mut topic_id = [0; 16];
        body.try_copy_to_slice(&mut topic_id).map_err(io::Error::other)?;
        let partition = body.try_get_i32().map_err(io::Error::other)?;
        let id = TopicPartition { topic_id: TopicId(topic_id), partition };
        let mut offsets = Vec::new();
        for _ in 0..body.try_get_u32().map_err(io::Error::other)? {
            offsets.push(body.try_get_i64().map_err(io::Error::other)?);
        }
        questions.push(Question { id, offsets });
    }
    Ok(questions)
}

/// One for each question, in their order; `None` of what is not led there.
fn put_answers(questions: &[Question], told: &[Option<Told>]) -> Bytes {
    let mut body = BytesMut::new();
    for (question, told) in questions.iter().zip(told) {
        let Some(told) = told else {
            body.put_u8(0);
            continue;
        };
        body.put_u8(1);
        body.put_i64(told.log_start);
        body.put_i64(told.end);
        for offset in &question.offsets {
            let time_ms = told.times_ms.get(&told.log_start.max(*offset));
            body.put_i64(time_ms.copied().unwrap_or(-1));
        }
    }
    body.freeze()
}

fn get_answers(questions: &[Question], mut body: Bytes) -> io::Result<Vec<(TopicPartition, Told)>> {
    let mut answers = Vec::new();
    for question in questions {
        if body.try_get_u8().map_err(io::Error::other)? == 0 {
            continue;
        }
        let log_start = body.try_get_i64().map_err(io::Error::other)?;
        let end = body.try_get_i64().map_err(io::Error::other)?;
        let mut times_ms = HashMap::new();
        for offset in &question.offsets {
            let time_ms = body.try_get_i64().map_err(io::Error::other)?;
            if time_ms >= 0 {
                times_ms.insert(log_start.max(*offset), time_ms);
            }
        }
        answers.push((question.id, Told { log_start, end, times_ms }));
    }
    Ok(answers)
}

/// Answers other nodes about what is led here.
pub(in crate::server) fn answer_others(handlers: &Handlers, env: &Env, registry: &Arc<Registry>) {
    let (threads, registry) = (env.threads, Arc::clone(registry));
    handlers.set_for_members(&[Kind::Watermarks], move |_, _, body| {
        let registry = Arc::clone(&registry);
        // Timestamps are read from files.
        async move { task::blocking(threads, move || answer(&registry, body)).await }.boxed()
    });
}

fn answer(registry: &Registry, body: Bytes) -> Result<Body, String> {
    let questions = get_questions(body).map_err(|error| error.to_string())?;
    let told: Vec<Option<Told>> =
        questions.iter().map(|question| tell(registry, question)).collect();
    Ok(vec![put_answers(&questions, &told)])
}

fn tell(registry: &Registry, question: &Question) -> Option<Told> {
    let partition = registry.get(question.id).filter(|found| found.leader_epoch().is_some())?;
    let place = Place::here(&partition);
    let from = question.offsets.iter().map(|offset| place.log_start.max(*offset));
    let unread = from.filter(|from| *from < place.end);
    let times_ms = unread.filter_map(|from| Some((from, place.timestamp_at(from)?))).collect();
    Some(Told { log_start: place.log_start, end: place.end, times_ms })
}

#[cfg(test)]
mod tests;

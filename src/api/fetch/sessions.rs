//! Incremental fetch sessions (KIP-227): the broker remembers what a consumer fetches, so requests
//! and responses hold only what changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::errors::Code;
use crate::api::fetch::frame::{FetchRequest, PartitionData, PartitionFetch, TopicRef};
use crate::base::ids::Offset;
use crate::base::rng::Rng;

/// A session that was not used for so long may give its place to another
/// (`min.incremental.fetch.session.eviction.ms`).
const IDLE_MS_MIN: i64 = 120_000;
/// The request ends its session, or never had one.
const FINAL_EPOCH: i32 = -1;
/// The request is a full one and wants a session.
const INITIAL_EPOCH: i32 = 0;

/// What a request asks for, its session included.
#[derive(Debug)]
pub(super) struct Wanted {
    /// 0: no session.
    pub(super) session_id: i32,
    pub(super) partitions: Vec<(TopicRef, PartitionFetch)>,
    /// Whether only changed partitions are answered.
    pub(super) incremental: bool,
}

/// All sessions of the broker.
#[derive(Debug)]
pub struct FetchSessions {
    slots_max: usize,
    rng: Arc<Rng>,
    sessions: Mutex<HashMap<i32, Session>>,
}

type Key = (TopicRef, i32);

#[derive(Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    used_ms: i64,
    /// In the order of the fetches; a partition that gave records goes to the end.
    order: Vec<Key>,
    partitions: BTreeMap<Key, Cached>,
}

#[derive(Debug)]
struct Cached {
    fetch: PartitionFetch,
    /// What the client was told last; `None` before the first time.
    told: Option<(Offset, Offset)>,
}

impl FetchSessions {
    pub fn new(slots_max: usize, rng: Arc<Rng>) -> Self {
        Self { slots_max, rng, sessions: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Begins, continues or ends the request's session.
    pub(super) fn enter(
        &self,
        request: &FetchRequest,
        by_id: bool,
        now_ms: i64,
    ) -> Result<Wanted, Code> {
        let full = matches!(request.session_epoch, FINAL_EPOCH | INITIAL_EPOCH);
        let mut sessions = self.lock();
        if !full {
            return continue_session(&mut sessions, request, by_id, now_ms);
        }
        // A full request ends the session that it names.
        sessions.remove(&request.session_id);
        let partitions = flatten(request);
        let mut session_id = 0;
        if request.session_epoch == INITIAL_EPOCH && !partitions.is_empty() {
            session_id = self.begin(&mut sessions, &partitions, by_id, now_ms);
        }
        Ok(Wanted { session_id, partitions, incremental: false })
    }

    fn begin(
        &self,
        sessions: &mut HashMap<i32, Session>,
        partitions: &[(TopicRef, PartitionFetch)],
        by_id: bool,
        now_ms: i64,
    ) -> i32 {
        if sessions.len() >= self.slots_max && !evict_idle(sessions, now_ms) {
            return 0;
        }
        let session_id = loop {
            let bits = self.rng.next_u64() & 0x7fff_ffff;
            let id = i32::try_from(bits).unwrap_or(0);
            if id != 0 && !sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: 1,
            by_id,
            used_ms: now_ms,
            order: Vec::new(),
            partitions: BTreeMap::new(),
        };
        partitions.iter().for_each(|(topic, fetch)| session.put(topic.clone(), *fetch));
        sessions.insert(session_id, session);
        session_id
    }

    /// Of the answered partitions those that an incremental answer must hold: with records, with an
    /// error, or changed since the client was told.
    pub(super) fn leave(
        &self,
        wanted: &Wanted,
        answers: Vec<(TopicRef, PartitionData)>,
    ) -> Vec<(TopicRef, PartitionData)> {
        let mut sessions = self.lock();
        let Some(session) = sessions.get_mut(&wanted.session_id) else { return answers };
        let mut kept = Vec::with_capacity(answers.len());
        for (topic, data) in answers {
            let key = (topic, data.index);
            let now = Some((data.high_watermark, data.log_start));
            let has_records = data.records.is_some();
            let changed = match session.partitions.get_mut(&key) {
                None => true,
                Some(cached) => std::mem::replace(&mut cached.told, now) != now,
            };
            let is_elsewhere = data.diverging.is_some() || data.preferred.is_some();
            let told = changed || has_records || data.error != 0 || is_elsewhere;
            if data.error != 0
                && let Some(cached) = session.partitions.get_mut(&key)
            {
                // The end of the error is news.
                cached.told = None;
            }
            if has_records {
                session.move_to_end(&key);
            }
            if told || !wanted.incremental {
                kept.push((key.0, data));
            }
        }
        kept
    }
}

fn flatten(request: &FetchRequest) -> Vec<(TopicRef, PartitionFetch)> {
    let topics = request.topics.iter();
    topics.flat_map(|(topic, all)| all.iter().map(|fetch| (topic.clone(), *fetch))).collect()
}

fn evict_idle(sessions: &mut HashMap<i32, Session>, now_ms: i64) -> bool {
    let oldest = sessions.iter().min_by_key(|(id, session)| (session.used_ms, **id));
    match oldest {
        Some((id, session)) if now_ms - session.used_ms >= IDLE_MS_MIN => {
            let id = *id;
            sessions.remove(&id).is_some()
        }
        _ => false,
    }
}

fn continue_session(
    sessions: &mut HashMap<i32, Session>,
    request: &FetchRequest,
    by_id: bool,
    now_ms: i64,
) -> Result<Wanted, Code> {
    let session_id = request.session_id;
    let session = sessions.get_mut(&session_id).ok_or(Code::FetchSessionIdNotFound)?;
    if session.epoch != request.session_epoch {
        return Err(Code::InvalidFetchSessionEpoch);
    }
    if session.by_id != by_id {
        return Err(Code::FetchSessionTopicIdError);
    }
    session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
    session.used_ms = now_ms;
    for (topic, fetch) in flatten(request) {
        session.put(topic, fetch);
    }
    for (topic, partitions) in &request.forgotten {
        for index in partitions {
            let key = (topic.clone(), *index);
            session.partitions.remove(&key);
            session.order.retain(|known| *known != key);
        }
    }
    if session.partitions.is_empty() {
        sessions.remove(&session_id);
        return Ok(Wanted { session_id: 0, partitions: Vec::new(), incremental: true });
    }
    let in_order = session.order.iter();
    let partitions = in_order
        .filter_map(|key| Some((key.0.clone(), session.partitions.get(key)?.fetch)))
        .collect();
    Ok(Wanted { session_id, partitions, incremental: true })
}

impl Session {
    fn put(&mut self, topic: TopicRef, fetch: PartitionFetch) {
        let key = (topic, fetch.index);
        match self.partitions.get_mut(&key) {
            Some(cached) => cached.fetch = fetch,
            None => {
                self.order.push(key.clone());
                self.partitions.insert(key, Cached { fetch, told: None });
            }
        }
    }

    /// So that partitions take turns at the front when a response is full.
    fn move_to_end(&mut self, key: &Key) {
        if let Some(at) = self.order.iter().position(|known| known == key) {
            let key = self.order.remove(at);
            self.order.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(index: i32, offset: Offset) -> PartitionFetch {
        PartitionFetch { index, leader_epoch: -1, offset, last_fetched_epoch: -1, max_bytes: 100 }
    }

    fn request(session: (i32, i32), partitions: Vec<PartitionFetch>) -> FetchRequest {
        FetchRequest {
            replica_id: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            read_committed: false,
            max_bytes: 1000,
            session_id: session.0,
            session_epoch: session.1,
            topics: vec![(topic(), partitions)],
            forgotten: Vec::new(),
            rack: String::new(),
        }
    }

    fn topic() -> TopicRef {
        TopicRef::Name("t".to_owned())
    }

    fn answer(index: i32, high_watermark: Offset) -> (TopicRef, PartitionData) {
        let data = PartitionData { high_watermark, log_start: 0, ..PartitionData::error(index, 0) };
        (topic(), data)
    }

    fn sessions(slots_max: usize) -> FetchSessions {
        FetchSessions::new(slots_max, Arc::new(Rng::seeded(1)))
    }

    #[test]
    fn only_changes_are_answered() {
        let sessions = sessions(10);
        let full = request((0, 0), vec![fetch(0, 5), fetch(1, 6)]);
        let wanted = sessions.enter(&full, false, 0).expect("a session");
        assert_ne!(wanted.session_id, 0);
        let told = sessions.leave(&wanted, vec![answer(0, 5), answer(1, 6)]);
        assert_eq!(told.len(), 2);

        let next = request((wanted.session_id, 1), vec![]);
        let wanted = sessions.enter(&next, false, 1).expect("the session");
        assert_eq!(wanted.partitions.len(), 2);
        let told = sessions.leave(&wanted, vec![answer(0, 5), answer(1, 7)]);
        assert_eq!(told.iter().map(|(_, data)| data.index).collect::<Vec<_>>(), [1]);

        let mut next = request((wanted.session_id, 2), vec![fetch(2, 0)]);
        next.forgotten = vec![(topic(), vec![0])];
        let wanted = sessions.enter(&next, false, 2).expect("the session");
        let indexes: Vec<i32> = wanted.partitions.iter().map(|(_, fetch)| fetch.index).collect();
        assert_eq!(indexes, [1, 2]);
    }

    #[test]
    fn wrong_sessions_are_refused() {
        let sessions = sessions(10);
        let unknown = sessions.enter(&request((7, 1), vec![]), false, 0);
        assert_eq!(unknown.err(), Some(Code::FetchSessionIdNotFound));
        let full = request((0, 0), vec![fetch(0, 5)]);
        let id = sessions.enter(&full, false, 0).expect("a session").session_id;
        let early = sessions.enter(&request((id, 2), vec![]), false, 0);
        assert_eq!(early.err(), Some(Code::InvalidFetchSessionEpoch));
        let other = sessions.enter(&request((id, 1), vec![]), true, 0);
        assert_eq!(other.err(), Some(Code::FetchSessionTopicIdError));
        let ended = sessions.enter(&request((id, -1), vec![fetch(0, 5)]), false, 0);
        assert_eq!(ended.expect("a full fetch").session_id, 0);
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn only_idle_sessions_give_way() {
        let sessions = sessions(1);
        let full = request((0, 0), vec![fetch(0, 5)]);
        assert_ne!(sessions.enter(&full, false, 0).expect("a session").session_id, 0);
        assert_eq!(sessions.enter(&full, false, 1).expect("no session").session_id, 0);
        let later = sessions.enter(&full, false, IDLE_MS_MIN).expect("a session");
        assert_ne!(later.session_id, 0);
        assert_eq!(sessions.count(), 1);
    }
}

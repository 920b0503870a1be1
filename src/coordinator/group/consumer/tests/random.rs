//! Random lives of a group: members join by one or the other protocol, are lost, come back, miss
//! answers and take their time, topics change, and the coordinator starts over in between.

use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::migration::{classic_join, classic_sync, subscription};
use super::*;
use crate::coordinator::group::consumer::embedded::{Subscription, encode_assignment};
use crate::coordinator::reply::Waiting;

const TOPICS: [&str; 3] = ["t", "u", "v"];
const SEATS_COUNT: usize = 5;

/// A consumer's program, which restarts in place.
#[derive(Debug, Default)]
struct Consumer {
    member_id: String,
    instance_id: Option<String>,
    is_running: bool,
    epoch: i32,
    topics: BTreeSet<usize>,
    by_regex: bool,
    /// What it consumes.
    owned: Partitions,
    /// What it was told to consume, if it has not done so yet.
    assigned: Option<Partitions>,
    /// It says all of itself next.
    says_all: bool,
    classic: Option<Classic>,
}

/// What a consumer of the classic protocol is waiting for. It gives up all that it has before it
/// joins again.
#[derive(Debug, Default)]
struct Classic {
    is_in: bool,
    joining: Option<Waiting<JoinGroupResponse>>,
    syncing: Option<Waiting<SyncGroupResponse>>,
}

impl Consumer {
    fn topic_names(&self) -> Vec<&'static str> {
        self.topics.iter().map(|number| TOPICS[*number]).collect()
    }

    /// It gives up all that it has, to join anew.
    fn rejoin(&mut self) {
        if let Some(classic) = &mut self.classic {
            *classic = Classic::default();
            self.owned.clear();
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// Starts, or subscribes to other topics.
    Subscribe {
        seat: usize,
        topics: BTreeSet<usize>,
        by_regex: bool,
        is_classic: bool,
    },
    Heartbeat {
        seat: usize,
        is_lost: bool,
    },
    /// Consumes what it was told to, and stops consuming the rest.
    Obey {
        seat: usize,
    },
    Leave {
        seat: usize,
    },
    /// The program ends without a word; it may be started again.
    Crash {
        seat: usize,
    },
    /// Somebody uses an epoch that is not the member's.
    Forge {
        seat: usize,
        epoch: i32,
    },
    Partitions {
        topic: usize,
        count: i32,
    },
    RemoveTopic {
        topic: usize,
    },
    Advance {
        ms: i64,
    },
    Reload,
}

fn op() -> impl Strategy<Value = Op> {
    let seat = 0..SEATS_COUNT;
    let topics = prop::collection::btree_set(0..TOPICS.len(), 0..3);
    prop_oneof![
        3 => (seat.clone(), topics, prop::bool::weighted(0.2), any::<bool>()).prop_map(
            |(seat, topics, by_regex, is_classic)| {
                Op::Subscribe { seat, topics, by_regex, is_classic }
            }
        ),
        10 => (seat.clone(), prop::bool::weighted(0.15))
            .prop_map(|(seat, is_lost)| Op::Heartbeat { seat, is_lost }),
        6 => seat.clone().prop_map(|seat| Op::Obey { seat }),
        1 => seat.clone().prop_map(|seat| Op::Leave { seat }),
        1 => seat.clone().prop_map(|seat| Op::Crash { seat }),
        1 => (seat, 1i32..9).prop_map(|(seat, epoch)| Op::Forge { seat, epoch }),
        2 => (0..TOPICS.len(), 1i32..7).prop_map(|(topic, count)| Op::Partitions { topic, count }),
        1 => (0..TOPICS.len()).prop_map(|topic| Op::RemoveTopic { topic }),
        2 => prop_oneof![1i64..2_000, 1i64..20_000, Just(SESSION_TIMEOUT_MS)]
            .prop_map(|ms| Op::Advance { ms }),
        1 => Just(Op::Reload),
    ]
}

struct Life {
    world: World,
    consumers: Vec<Consumer>,
    members_made: usize,
    topics_made: u8,
}

impl Life {
    fn new() -> Self {
        let instances = [None, None, None, Some("i"), Some("j")];
        let consumer = |instance_id: Option<&str>| Consumer {
            instance_id: instance_id.map(str::to_owned),
            ..Consumer::default()
        };
        let consumers = instances.into_iter().map(consumer).collect();
        let world = World::new(&[("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")]);
        Self { world, consumers, members_made: 0, topics_made: 0 }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Subscribe { seat, topics, by_regex, is_classic } => {
                let consumer = &mut self.consumers[*seat];
                (consumer.topics, consumer.by_regex) = (topics.clone(), *by_regex);
                consumer.says_all = true;
                if !consumer.is_running {
                    consumer.is_running = true;
                    consumer.epoch = JOIN_EPOCH;
                    consumer.classic = is_classic.then(Classic::default);
                    consumer.member_id = match is_classic {
                        true => String::new(),
                        false => format!("m{}", self.members_made),
                    };
                    self.members_made += 1;
                } else if consumer.classic.is_some() {
                    consumer.rejoin();
                }
            }
            Op::Heartbeat { seat, is_lost } => self.heartbeat(*seat, *is_lost),
            Op::Obey { seat } => self.obey(*seat),
            Op::Leave { seat } => self.leave(*seat),
            Op::Crash { seat } => self.end(*seat),
            Op::Forge { seat, epoch } => self.forge(*seat, *epoch),
            Op::Partitions { topic, count } => self.partitions(*topic, *count),
            Op::RemoveTopic { topic } => {
                if let Some(found) = self.world.image.topic(TOPICS[*topic]) {
                    let topic_id = found.id;
                    self.world.change(&[MetadataRecord::RemoveTopic { topic_id }]);
                }
            }
            Op::Advance { ms } => {
                self.world.advance(*ms);
                // Whoever was out of touch for so long, or did not revoke in time, knows it, too.
                let group = self.world.groups.groups.get(GROUP);
                for consumer in &mut self.consumers {
                    let id = &consumer.member_id;
                    let is_in = match group {
                        None => false,
                        Some(Group::Consumer(group)) => group.member(id).is_some(),
                        Some(Group::Classic(group)) => {
                            group.members.contains_key(id) && group.generation == consumer.epoch
                        }
                    };
                    if !is_in {
                        consumer.owned.clear();
                        consumer.assigned = None;
                        if consumer
                            .classic
                            .as_ref()
                            .is_some_and(|classic| classic.syncing.is_some())
                        {
                            consumer.rejoin();
                        }
                    }
                }
            }
            Op::Reload => self.world.reload(),
        }
        self.check();
    }

    /// Two consumers never consume the same partition.
    fn check(&self) {
        let mut all = BTreeSet::new();
        for consumer in &self.consumers {
            for (topic, partitions) in &consumer.owned {
                for partition in partitions {
                    assert!(all.insert((*topic, *partition)), "{topic}-{partition} is shared");
                }
            }
        }
    }

    fn end(&mut self, seat: usize) {
        let consumer = &mut self.consumers[seat];
        consumer.is_running = false;
        consumer.classic = None;
        consumer.owned.clear();
        consumer.assigned = None;
    }

    fn partitions(&mut self, topic_number: usize, count: i32) {
        let name = TOPICS[topic_number];
        let topic_id = match self.world.image.topic(name) {
            Some(found) => found.id,
            None => {
                self.topics_made += 1;
                topic(self.topics_made)
            }
        };
        self.world.topic(name, topic_id, count);
    }

    fn request(&self, seat: usize) -> Request {
        let consumer = &self.consumers[seat];
        let mut request = request(&consumer.member_id, consumer.epoch)
            .with_instance_id(consumer.instance_id.as_deref().map(text));
        if consumer.says_all || consumer.epoch == JOIN_EPOCH {
            let names = consumer.topic_names();
            request = request.with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS);
            request = if consumer.by_regex {
                let regex = Some(text(&names.join("|")));
                request.with_subscribed_topic_names(named(&[])).with_subscribed_topic_regex(regex)
            } else {
                let none = Some(text(""));
                request.with_subscribed_topic_names(named(&names)).with_subscribed_topic_regex(none)
            };
        }
        // Until it has obeyed, what it has is between two assignments.
        if consumer.epoch == JOIN_EPOCH || consumer.says_all || consumer.assigned.is_none() {
            request = owning(request, &consumer.owned);
        }
        request
    }

    fn heartbeat(&mut self, seat: usize, is_lost: bool) {
        if !self.consumers[seat].is_running {
            return;
        }
        if self.consumers[seat].classic.is_some() {
            return self.classic_turn(seat, is_lost);
        }
        if self.consumers[seat].epoch == JOIN_EPOCH {
            self.consumers[seat].owned.clear();
        }
        if self.consumers[seat].says_all {
            // It says that it has not obeyed, so what it was told does not hold any more.
            self.consumers[seat].assigned = None;
        }
        let request = self.request(seat);
        let answer = self.world.heartbeat(&request);
        let consumer = &mut self.consumers[seat];
        if is_lost {
            consumer.says_all = true;
            return;
        }
        match answer {
            Ok(answer) => {
                consumer.epoch = answer.member_epoch;
                consumer.says_all = false;
                consumer.assigned = assigned(&answer).or_else(|| consumer.assigned.take());
            }
            Err(Refused { code: Code::UnreleasedInstanceId, .. }) => {
                assert!(consumer.instance_id.is_some() && consumer.epoch == JOIN_EPOCH);
            }
            Err(Refused { code, .. }) => {
                let gone = [
                    Code::FencedMemberEpoch,
                    Code::UnknownMemberId,
                    Code::FencedInstanceId,
                    Code::GroupIdNotFound,
                ];
                assert!(gone.contains(&code), "{code:?}");
                consumer.owned.clear();
                consumer.assigned = None;
                consumer.epoch = JOIN_EPOCH;
            }
        }
    }

    fn obey(&mut self, seat: usize) {
        let consumer = &mut self.consumers[seat];
        if let Some(assigned) = consumer.assigned.take() {
            consumer.owned = assigned;
        }
    }

    fn leave(&mut self, seat: usize) {
        let consumer = &self.consumers[seat];
        if consumer.classic.is_some() {
            let (id, instance_id) = (consumer.member_id.clone(), consumer.instance_id.clone());
            // Static members don't tell.
            if instance_id.is_none() && !id.is_empty() {
                let _ = self.world.leave(&id, None);
            }
        } else if consumer.is_running && consumer.epoch > JOIN_EPOCH {
            let epoch =
                if consumer.instance_id.is_some() { STATIC_LEAVE_EPOCH } else { LEAVE_EPOCH };
            let request = self.request(seat).with_member_epoch(epoch);
            // It may have been removed before.
            let _ = self.world.heartbeat(&request);
        }
        self.end(seat);
    }

    fn forge(&mut self, seat: usize, epoch: i32) {
        let id = self.consumers[seat].member_id.clone();
        let group = self.world.groups.consumer_group(GROUP);
        let Some(member) = group.and_then(|group| group.member(&id)) else { return };
        if epoch != member.epoch() && !member.is_classic() {
            // Not even the epoch before will do without saying what one has.
            let refusal = self.world.refusal(&request(&id, epoch));
            assert_eq!(refusal, Code::FencedMemberEpoch);
        }
    }

    /// What the program does next: ask for an answer, join, or heartbeat.
    fn classic_turn(&mut self, seat: usize, is_lost: bool) {
        let classic = self.consumers[seat].classic.as_mut().unwrap();
        if let Some(mut waiting) = classic.joining.take() {
            match waiting.try_recv() {
                Ok(answer) => self.classic_joined(seat, &answer, is_lost),
                Err(TryRecvError::Empty) => classic.joining = Some(waiting),
                Err(TryRecvError::Closed) => {}
            }
        } else if let Some(mut waiting) = classic.syncing.take() {
            match waiting.try_recv() {
                Ok(answer) => self.classic_synced(seat, answer, is_lost),
                Err(TryRecvError::Empty) => classic.syncing = Some(waiting),
                Err(TryRecvError::Closed) => self.consumers[seat].rejoin(),
            }
        } else if classic.is_in {
            let (id, epoch) = (self.consumers[seat].member_id.clone(), self.consumers[seat].epoch);
            let told = self.world.beat(&id, epoch);
            if !is_lost && let Err(code) = told {
                self.classic_refused(seat, code);
            }
        } else {
            let consumer = &self.consumers[seat];
            assert!(consumer.owned.is_empty());
            let metadata = subscription(0, &consumer.topic_names(), &[]);
            let instance_id = consumer.instance_id.as_deref();
            let waiting =
                self.world.begin_join(&classic_join(&consumer.member_id, instance_id, metadata));
            self.consumers[seat].classic.as_mut().unwrap().joining = Some(waiting);
        }
    }

    fn classic_refused(&mut self, seat: usize, code: Code) {
        let consumer = &mut self.consumers[seat];
        match code {
            Code::RebalanceInProgress | Code::IllegalGeneration => {}
            Code::UnknownMemberId | Code::FencedInstanceId => consumer.member_id.clear(),
            code => panic!("{code:?}"),
        }
        consumer.rejoin();
    }

    fn classic_joined(&mut self, seat: usize, answer: &JoinGroupResponse, is_lost: bool) {
        if is_lost {
            return;
        }
        // A leader that came back under a new id has others agree anew by joining once more.
        if answer.error_code == Code::MemberIdRequired.code() || answer.skip_assignment {
            self.consumers[seat].member_id = answer.member_id.to_string();
            return;
        }
        if let Some(code) = Code::try_from_code(answer.error_code) {
            return self.classic_refused(seat, code);
        }
        let id = answer.member_id.to_string();
        let parts = if *answer.leader == id { self.lead(answer) } else { Vec::new() };
        let waiting = self.world.begin_sync(&classic_sync(&id, answer.generation_id, parts));
        let consumer = &mut self.consumers[seat];
        (consumer.member_id, consumer.epoch) = (id, answer.generation_id);
        let classic = consumer.classic.as_mut().unwrap();
        (classic.is_in, classic.syncing) = (true, Some(waiting));
    }

    /// Assigns each topic to its subscribers in turn.
    fn lead(&self, joined: &JoinGroupResponse) -> Vec<(String, Bytes)> {
        let mut parts: BTreeMap<String, Partitions> = BTreeMap::new();
        for name in TOPICS {
            let Some(topic) = self.world.image.topic(name) else { continue };
            let subscribes = |metadata: &Bytes| {
                let subscription = Subscription::decode(metadata.clone()).unwrap();
                subscription.topics.iter().any(|topic| topic == name)
            };
            let members = joined.members.iter().filter(|member| subscribes(&member.metadata));
            let members: Vec<String> = members.map(|member| member.member_id.to_string()).collect();
            for (index, member) in topic.partitions.keys().zip(members.iter().cycle()) {
                let of = parts.entry(member.clone()).or_default();
                of.entry(topic.id).or_default().insert(*index);
            }
        }
        let image = &self.world.image;
        parts.into_iter().map(|(id, part)| (id, encode_assignment(0, &part, image))).collect()
    }

    fn classic_synced(&mut self, seat: usize, answer: SyncGroupResponse, is_lost: bool) {
        if is_lost {
            return self.consumers[seat].rejoin();
        }
        if let Some(code) = Code::try_from_code(answer.error_code) {
            return self.classic_refused(seat, code);
        }
        if !answer.assignment.is_empty() {
            self.consumers[seat].owned = self.world.told(answer).unwrap();
        }
    }

    /// All go on undisturbed for a while.
    fn settle(&mut self) {
        // A leader of the classic protocol sees by itself when there are more partitions.
        self.consumers.iter_mut().for_each(Consumer::rejoin);
        for _ in 0..10 {
            for _ in 0..10 {
                for seat in 0..SEATS_COUNT {
                    self.heartbeat(seat, false);
                    self.check();
                    self.obey(seat);
                    self.check();
                }
            }
            self.run(&Op::Advance { ms: 9_000 });
        }
    }

    fn check_settled(&self) {
        let running = || self.consumers.iter().filter(|consumer| consumer.is_running);
        if running().next().is_none() {
            let group = self.world.groups.groups.get(GROUP);
            return assert!(group.is_none_or(|group| group.validate_delete().is_ok()));
        }
        let (epoch, member_count) = match self.world.groups.groups.get(GROUP).unwrap() {
            Group::Consumer(group) => {
                assert_eq!(group.state_name(), "Stable");
                (group.epoch, group.member_count())
            }
            Group::Classic(group) => {
                assert_eq!(group.state.name(), "Stable");
                assert!(running().all(|consumer| consumer.classic.is_some()));
                (group.generation, group.members.len())
            }
        };
        assert_eq!(member_count, running().count());
        let mut wanted = BTreeSet::new();
        let mut owned = BTreeSet::new();
        for consumer in running() {
            assert_eq!(consumer.epoch, epoch);
            let topics: BTreeSet<TopicId> = consumer
                .topics
                .iter()
                .filter_map(|number| self.world.image.topic(TOPICS[*number]))
                .map(|topic| {
                    wanted.extend(topic.partitions.keys().map(|index| (topic.id, *index)));
                    topic.id
                })
                .collect();
            for (topic, partitions) in &consumer.owned {
                assert!(topics.contains(topic), "{consumer:?} has {topic}");
                owned.extend(partitions.iter().map(|index| (*topic, *index)));
            }
        }
        assert_eq!(owned, wanted, "every partition is consumed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn partitions_have_one_consumer_and_in_the_end_all_have_one(
        ops in prop::collection::vec(op(), 1..120)
    ) {
        let mut life = Life::new();
        ops.iter().for_each(|op| life.run(op));
        life.settle();
        life.check_settled();
        life.world.reload();
        life.settle();
        life.check_settled();
    }
}

//! The uniform assignor: members get as many partitions as each other, whatever their topics, and
//! keep what they have where that allows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::ids::{PartitionIndex, TopicId};
use crate::coordinator::group::assignor::{Spec, Target};

/// How often all topics are gone over to even out members with different subscriptions. It ends by
/// itself, most often after two rounds: each move makes the sum of the squared loads smaller.
const BALANCE_ROUNDS_COUNT_MAX: usize = 16;

/// A partition. The index comes first, so that topics are handed out side by side: a member gets
/// some of each topic, not all of one.
type Piece = (PartitionIndex, TopicId);

pub(super) fn assign(spec: &Spec<'_>) -> Target {
    let mut subscriptions = spec.members.values().map(|member| &member.topics);
    let Some(first) = subscriptions.next() else { return Target::new() };
    if subscriptions.all(|topics| Arc::ptr_eq(topics, first) || topics == first) {
        same_subscriptions(spec, first)
    } else {
        Balance::new(spec).run()
    }
}

/// The partitions of some topics.
fn pieces<'a>(
    spec: &'a Spec<'_>,
    topics: impl Iterator<Item = &'a TopicId> + 'a,
) -> impl Iterator<Item = Piece> + 'a {
    topics.flat_map(|topic| (0..spec.partition_count(*topic)).map(|index| (index, *topic)))
}

fn same_subscriptions(spec: &Spec<'_>, topics: &BTreeSet<TopicId>) -> Target {
    let mut free: BTreeSet<Piece> = pieces(spec, topics.iter()).collect();
    let quota = free.len() / spec.members.len();
    // So many members get one more.
    let mut extra = free.len() % spec.members.len();
    let mut assigned: BTreeMap<&str, Vec<Piece>> = BTreeMap::new();
    for (id, member) in &spec.members {
        let before = member.previous.into_iter().flatten();
        let before = before.flat_map(|(topic, all)| all.iter().map(|index| (*index, *topic)));
        // A partition is taken by the first who had it; topics that are gone are in nobody's.
        let mut kept: Vec<Piece> = before.filter(|piece| free.contains(piece)).collect();
        kept.sort_unstable();
        let keeps_extra = kept.len() > quota && extra > 0;
        extra -= usize::from(keeps_extra);
        kept.truncate(quota + usize::from(keeps_extra));
        for piece in &kept {
            free.remove(piece);
        }
        assigned.insert(id, kept);
    }
    let mut free = free.into_iter();
    for pieces in assigned.values_mut() {
        let lacks = quota.saturating_sub(pieces.len());
        let takes_extra = extra > 0 && pieces.len() <= quota;
        extra -= usize::from(takes_extra);
        pieces.extend(free.by_ref().take(lacks + usize::from(takes_extra)));
    }
    let by_topic = |pieces: Vec<Piece>| {
        let mut partitions = BTreeMap::<TopicId, BTreeSet<PartitionIndex>>::new();
        for (index, topic) in pieces {
            partitions.entry(topic).or_default().insert(index);
        }
        partitions
    };
    assigned.into_iter().map(|(id, pieces)| (id.to_owned(), by_topic(pieces))).collect()
}

/// A member's number.
type Member = usize;

/// The assignment of members with different subscriptions while it is made.
struct Balance<'a> {
    spec: &'a Spec<'a>,
    /// How many partitions each member has.
    loads: Vec<usize>,
    subscribers: BTreeMap<TopicId, Vec<Member>>,
    owned: BTreeMap<TopicId, BTreeMap<PartitionIndex, Member>>,
}

impl<'a> Balance<'a> {
    fn new(spec: &'a Spec<'a>) -> Self {
        let mut subscribers: BTreeMap<TopicId, Vec<Member>> = BTreeMap::new();
        for (number, member) in spec.members.values().enumerate() {
            for topic in member.topics.iter() {
                subscribers.entry(*topic).or_default().push(number);
            }
        }
        Self { spec, loads: vec![0; spec.members.len()], subscribers, owned: BTreeMap::new() }
    }

    fn run(mut self) -> Target {
        self.keep();
        self.hand_out();
        for _ in 0..BALANCE_ROUNDS_COUNT_MAX {
            let topics: Vec<TopicId> = self.subscribers.keys().copied().collect();
            let moves: usize = topics.into_iter().map(|topic| self.even_out(topic)).sum();
            if moves == 0 {
                break;
            }
        }
        let mut target: Vec<_> =
            self.spec.members.keys().map(|id| ((*id).to_owned(), BTreeMap::new())).collect();
        for (topic, owners) in self.owned {
            for (index, owner) in owners {
                if let Some((_, partitions)) = target.get_mut(owner) {
                    partitions.entry(topic).or_insert_with(BTreeSet::new).insert(index);
                }
            }
        }
        target.into_iter().collect()
    }

    fn load(&self, member: Member) -> usize {
        self.loads.get(member).copied().unwrap_or(0)
    }

    fn give(&mut self, (index, topic): Piece, to: Member) {
        let before = self.owned.entry(topic).or_default().insert(index, to);
        if let Some(load) = before.and_then(|before| self.loads.get_mut(before)) {
            *load -= 1;
        }
        if let Some(load) = self.loads.get_mut(to) {
            *load += 1;
        }
    }

    /// Members keep what they have and still subscribe to.
    fn keep(&mut self) {
        let spec = self.spec;
        for (number, member) in spec.members.values().enumerate() {
            for (topic, indexes) in member.previous.into_iter().flatten() {
                if !member.topics.contains(topic) {
                    continue;
                }
                for index in indexes.range(..spec.partition_count(*topic)) {
                    let owners = self.owned.get(topic);
                    if owners.is_none_or(|owners| !owners.contains_key(index)) {
                        self.give((*index, *topic), number);
                    }
                }
            }
        }
    }

    /// Gives what nobody has to who has least, topics with the fewest subscribers first.
    fn hand_out(&mut self) {
        let mut topics: Vec<TopicId> = self.subscribers.keys().copied().collect();
        topics.sort_by_key(|topic| self.subscribers.get(topic).map_or(0, Vec::len));
        for topic in topics {
            for index in 0..self.spec.partition_count(topic) {
                let owners = self.owned.get(&topic);
                if owners.is_some_and(|owners| owners.contains_key(&index)) {
                    continue;
                }
                if let Some(least) = self.least_loaded(topic) {
                    self.give((index, topic), least);
                }
            }
        }
    }

    fn least_loaded(&self, topic: TopicId) -> Option<Member> {
        let subscribers = self.subscribers.get(&topic)?;
        subscribers.iter().copied().min_by_key(|member| (self.load(*member), *member))
    }

    /// Moves partitions of one topic as long as that evens out two members. The number of moves.
    fn even_out(&mut self, topic: TopicId) -> usize {
        let mut moves = 0;
        loop {
            let owners = self.owned.get(&topic).into_iter().flatten();
            let most = owners.max_by_key(|(index, owner)| (self.load(**owner), **index));
            let (Some((index, most)), Some(least)) = (most, self.least_loaded(topic)) else {
                return moves;
            };
            if self.load(*most) <= self.load(least) + 1 {
                return moves;
            }
            let piece = (*index, topic);
            self.give(piece, least);
            moves += 1;
        }
    }
}

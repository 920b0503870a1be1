//! What members subscribe to: topics by name and by regular expression, and the preferred assignor.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::group::consumer::{ConsumerGroup, Member, regex_of};
use crate::coordinator::group::settings::GroupSettings;
use crate::coordinator::records::MemberValue;
use crate::metadata::image::{Image, Topic};

impl ConsumerGroup {
    /// The topics that an expression stands for; none until it was resolved.
    pub(super) fn resolved(&self, regex: Option<&str>) -> Option<&BTreeSet<String>> {
        self.regexes.get(regex?).map(|resolved| &resolved.topics)
    }

    /// The names of a member's topics. A name may come twice.
    pub(super) fn topics_of<'a>(
        &'a self,
        member: &'a MemberValue,
    ) -> impl Iterator<Item = &'a str> {
        let resolved = self.resolved(regex_of(member)).into_iter().flatten();
        member.topic_names.iter().chain(resolved).map(String::as_str)
    }

    pub(super) fn subscribes(&self, member: &MemberValue, topic: &str) -> bool {
        let resolved = self.resolved(regex_of(member));
        member.topic_names.contains(topic) || resolved.is_some_and(|names| names.contains(topic))
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| self.subscribes(&member.value, topic))
    }

    /// The expressions that members subscribe with.
    pub(super) fn subscribed_regexes(&self) -> BTreeSet<&str> {
        self.members.values().filter_map(Member::regex).collect()
    }

    /// Of the topics that the members subscribe to, as they are now: it differs when the target
    /// has to be computed again. 0 if there are none.
    pub(super) fn compute_metadata_hash(&self, image: &Image) -> i64 {
        let mut hash = Hash::default();
        self.subscribed_topics(image).for_each(|topic| hash.add_topic(topic, image));
        hash.finish()
    }

    /// The topics of all members, as far as they are there.
    fn subscribed_topics<'a>(&'a self, image: &'a Image) -> impl Iterator<Item = &'a Topic> {
        let named = self.members.values().flat_map(|member| &member.value.topic_names);
        let regexes = self.subscribed_regexes().into_iter();
        let matched = regexes.filter_map(|regex| self.resolved(Some(regex))).flatten();
        let names: BTreeSet<&str> = named.chain(matched).map(String::as_str).collect();
        names.into_iter().filter_map(|name| image.topic(name).map(|topic| &**topic))
    }

    /// Whether there are partitions of the members' topics that no member has.
    pub(super) fn lacks_owners(&self, image: &Image) -> bool {
        let lacks = |topic: &Topic| {
            topic.partitions.keys().any(|index| self.owner(topic.id, *index).is_none())
        };
        self.subscribed_topics(image).any(lacks)
    }

    /// The assignor that most members prefer who prefer any.
    pub(super) fn preferred_assignor<'a>(&'a self, settings: &'a GroupSettings) -> &'a str {
        let default = settings.default_assignor();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.value.assignor.as_deref()) {
            // One that the broker does not offer any more.
            if settings.config.group_consumer_assignors.iter().any(|known| known == name) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let elected = votes.into_iter().max_by_key(|(name, count)| (*count, *name == default));
        elected.map_or(default, |(name, _)| name)
    }
}

/// FNV-1a over topics: ids, names, partition counts, and the racks of replicas.
#[derive(Debug)]
struct Hash {
    state: u64,
    is_empty: bool,
}

impl Default for Hash {
    fn default() -> Self {
        Self { state: 0xcbf2_9ce4_8422_2325, is_empty: true }
    }
}

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = (self.state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn add_text(&mut self, text: &str) {
        self.add(text.as_bytes());
        // No text has this byte: it ends one.
        self.add(&[0xff]);
    }

    fn add_topic(&mut self, topic: &Topic, image: &Image) {
        self.is_empty = false;
        self.add(&topic.id.0);
        self.add_text(&topic.name);
        for (index, place) in &topic.partitions {
            self.add(&index.to_be_bytes());
            let brokers = place.replicas.iter().filter_map(|node| image.brokers.get(node));
            let racks: BTreeSet<&str> =
                brokers.filter_map(|broker| broker.rack.as_deref()).collect();
            racks.into_iter().for_each(|rack| self.add_text(rack));
        }
    }

    fn finish(self) -> i64 {
        if self.is_empty { 0 } else { i64::from_be_bytes(self.state.to_be_bytes()) }
    }
}

//! Who gets which partition in a consumer group. Pure: subscriptions, partition counts and the
//! target before go in, the next target comes out.

mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::ids::{PartitionIndex, TopicId};
use crate::coordinator::records::Partitions;

/// The assignors by their names in `group.consumer.assignors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// As many partitions for each member, and as few moves as that allows.
    Uniform,
    /// Of each topic a range of partitions for each member, the same for topics of the same size.
    Range,
}

/// A member as assignors see it.
#[derive(Debug, Clone)]
pub struct Subscriber<'a> {
    pub instance_id: Option<&'a str>,
    /// Those that exist; shared by members with the same subscription.
    pub topics: Arc<BTreeSet<TopicId>>,
    /// Its target so far.
    pub previous: Option<&'a Partitions>,
}

/// What is to be assigned, and to whom.
#[derive(Debug, Clone, Default)]
pub struct Spec<'a> {
    pub members: BTreeMap<&'a str, Subscriber<'a>>,
    /// Of every topic that somebody subscribes to.
    pub partition_counts: BTreeMap<TopicId, PartitionIndex>,
}

/// Partitions by member. Members without any may be missing.
pub type Target = BTreeMap<String, Partitions>;

impl Assignor {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    pub fn assign(self, spec: &Spec<'_>) -> Target {
        match self {
            Self::Uniform => uniform::assign(spec),
            Self::Range => range::assign(spec),
        }
    }
}

impl Spec<'_> {
    fn partition_count(&self, topic: TopicId) -> PartitionIndex {
        self.partition_counts.get(&topic).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;

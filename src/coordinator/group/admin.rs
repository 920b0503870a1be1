//! Groups as tools see them: what is listed, and what metrics tell.

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest};
use kafka_protocol::protocol::StrBytes;

use crate::base::ids::{Offset, PartitionIndex, TopicId};
use crate::coordinator::group::classic::ClassicGroup;
use crate::coordinator::group::{Group, Groups};
use crate::coordinator::records::Record;

/// Which groups are listed. Without a filter: all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// In lower case.
    states: Vec<String>,
    kinds: Vec<String>,
}

/// A group as metrics show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    pub name: String,
    pub member_count: usize,
    /// By name of topic.
    pub topics: Vec<TopicView>,
}

/// The offsets that a group has committed for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    pub name: String,
    pub offsets: Vec<OffsetView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetView {
    pub partition: PartitionIndex,
    pub topic_id: TopicId,
    pub offset: Offset,
}

impl Filter {
    pub fn of(request: &ListGroupsRequest) -> Self {
        let texts = |texts: &[StrBytes]| texts.iter().map(|text| text.to_lowercase()).collect();
        let mut states: Vec<String> = texts(&request.states_filter);
        states.iter_mut().for_each(|state| *state = state.trim().to_owned());
        Self { states, kinds: texts(&request.types_filter) }
    }

    fn has(&self, group: &Group) -> bool {
        let is_in = |texts: &[String], text: &str| {
            texts.is_empty() || texts.iter().any(|one| one.eq_ignore_ascii_case(text))
        };
        is_in(&self.states, group.state_name()) && is_in(&self.kinds, group.kind_name())
    }
}

impl Groups {
    /// The groups that pass the filter.
    pub(crate) fn list(&self, filter: &Filter) -> Vec<ListedGroup> {
        let groups = self.groups.iter().filter(|(_, group)| filter.has(group));
        let listed = groups.map(|(name, group)| {
            ListedGroup::default()
                .with_group_id(GroupId(StrBytes::from_string(name.clone())))
                .with_protocol_type(StrBytes::from_string(group.protocol_type().to_owned()))
                .with_group_state(StrBytes::from_static_str(group.state_name()))
                .with_group_type(StrBytes::from_static_str(group.kind_name()))
        });
        listed.collect()
    }

    /// All groups with their offsets.
    pub fn view(&self) -> Vec<GroupView> {
        let groups = self.groups.iter().map(|(name, group)| {
            let topics = self.offsets.of_group(name).into_iter().flatten();
            let topics = topics.map(|(topic, list)| TopicView {
                name: topic.clone(),
                offsets: list
                    .iter()
                    .map(|committed| OffsetView {
                        partition: committed.partition,
                        topic_id: committed.topic_id,
                        offset: committed.offset,
                    })
                    .collect(),
            });
            GroupView {
                name: name.clone(),
                member_count: group.member_count(),
                topics: topics.collect(),
            }
        });
        groups.collect()
    }
}

impl Group {
    /// A group that only has offsets.
    pub(crate) fn simple() -> Self {
        Self::Classic(ClassicGroup::simple())
    }

    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.state.name(),
            Self::Consumer(group) => group.state_name(),
        }
    }

    /// Empty for a group that only has offsets.
    pub(crate) fn protocol_type(&self) -> &str {
        match self {
            Self::Classic(group) => group.protocol_type.as_deref().unwrap_or_default(),
            Self::Consumer(_) => "consumer",
        }
    }

    pub(crate) fn member_count(&self) -> usize {
        match self {
            Self::Classic(group) => group.members.len(),
            Self::Consumer(group) => group.member_count(),
        }
    }

    /// Whether the group may be forgotten once it has no offsets.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    /// The records that end the group.
    pub(crate) fn tombstones(&self, name: &str) -> Vec<Record> {
        match self {
            Self::Classic(_) => vec![Record::ClassicGroup { group: name.to_owned(), value: None }],
            Self::Consumer(group) => group.tombstones(name),
        }
    }
}

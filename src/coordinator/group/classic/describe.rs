//! What DescribeGroups tells of a group.

use kafka_protocol::messages::GroupId;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::protocol::StrBytes;

use crate::coordinator::group::classic::{ClassicGroup, ClassicMember, ClassicState};
use crate::coordinator::group::text;
use crate::coordinator::group::{Group, Groups};

impl Groups {
    /// How a classic group stands, or Kafka's words for why that cannot be told.
    pub fn describe_classic(&self, name: &str) -> Result<DescribedGroup, String> {
        match self.groups.get(name) {
            Some(Group::Classic(group)) => Ok(group.describe().with_group_id(GroupId(text(name)))),
            Some(Group::Consumer(_)) => Err(format!("Group {name} is not a classic group.")),
            None => Err(format!("Group {name} not found.")),
        }
    }
}

impl ClassicGroup {
    fn describe(&self) -> DescribedGroup {
        // Before the group is stable, nobody knows which protocol counts.
        let is_stable = self.state == ClassicState::Stable;
        let protocol = self.protocol.as_deref().filter(|_| is_stable);
        let members = self.members.values().map(|member| member.describe(protocol));
        DescribedGroup::default()
            .with_group_state(StrBytes::from_static_str(self.state.name()))
            .with_protocol_type(text(self.protocol_type.as_deref().unwrap_or_default()))
            .with_protocol_data(text(protocol.unwrap_or_default()))
            .with_members(members.collect())
    }
}

impl ClassicMember {
    fn describe(&self, protocol: Option<&str>) -> DescribedGroupMember {
        DescribedGroupMember::default()
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance_id.as_deref().map(text))
            .with_client_id(text(&self.client_id))
            .with_client_host(text(&self.client_host))
            .with_member_metadata(protocol.map(|name| self.metadata(name)).unwrap_or_default())
            .with_member_assignment(self.assignment.clone())
    }
}

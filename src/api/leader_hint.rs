//! Who leads instead, beside NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH (KIP-951): clients go
//! there without asking for metadata first.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use crate::api::context::{Caller, Reachable};
use crate::base::ids::{LeaderEpoch, NodeId, PartitionIndex};
use crate::base::primitives::Writer;
use crate::metadata::image::{Image, Topic};

/// A partition's leader as this broker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeaderHint {
    /// `None`: there is none that the client could reach.
    pub(super) node: Option<NodeId>,
    pub(super) epoch: LeaderEpoch,
}

/// Where a hinted leader is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeEndpoint {
    node: NodeId,
    host: String,
    port: u16,
    rack: Option<String>,
}

impl LeaderHint {
    pub(super) fn of(caller: &Caller, image: &Image, topic: &Topic, index: PartitionIndex) -> Self {
        let view = caller.view(image, topic, index);
        Self { node: view.leader.ok(), epoch: view.leader_epoch }
    }

    /// The tagged field's value.
    pub(super) fn bytes(self) -> [u8; 9] {
        let mut bytes = [0; 9];
        let mut out = bytes.as_mut_slice();
        out.put_i32(self.node.map_or(-1, |node| node.0));
        out.put_i32(self.epoch);
        bytes
    }
}

impl From<Reachable<'_>> for NodeEndpoint {
    fn from(broker: Reachable<'_>) -> Self {
        Self {
            node: broker.node,
            host: broker.endpoint.host.clone(),
            port: broker.endpoint.port,
            rack: broker.rack.map(str::to_owned),
        }
    }
}

/// Where the hinted leaders are, each once.
pub(super) fn nodes(
    caller: &Caller,
    image: &Image,
    hints: impl Iterator<Item = LeaderHint>,
) -> Vec<NodeEndpoint> {
    let nodes = hints.filter_map(|hint| {
        let node = hint.node?;
        Some((node, NodeEndpoint::from(caller.endpoint(image, node)?)))
    });
    nodes.collect::<BTreeMap<NodeId, NodeEndpoint>>().into_values().collect()
}

/// The response's last fields: the endpoints, if there are any.
pub(super) fn put_nodes(writer: &mut Writer, nodes: &[NodeEndpoint]) {
    if nodes.is_empty() {
        return writer.no_tagged();
    }
    let mut value = Writer::new(BytesMut::new(), true);
    value.array(nodes.iter(), |value, node| {
        value.out.put_i32(node.node.0);
        value.string(&node.host);
        value.out.put_i32(i32::from(node.port));
        value.nullable_string(node.rack.as_deref());
        value.no_tagged();
    });
    writer.tagged(&[(0, &value.out)]);
}

#[cfg(test)]
pub(in crate::api) mod tests {
    use super::*;

    pub(in crate::api) fn hint() -> LeaderHint {
        LeaderHint { node: Some(NodeId(3)), epoch: 9 }
    }

    pub(in crate::api) fn endpoint() -> NodeEndpoint {
        NodeEndpoint { node: NodeId(3), host: "h".to_owned(), port: 9092, rack: None }
    }
}

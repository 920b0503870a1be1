//! How the nodes stand that keep the metadata, as its leader sees them.

use bytes::{Buf, BufMut, Bytes};

use crate::base::ids::NodeId;

/// The metadata group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumView {
    pub leader: NodeId,
    pub epoch: i32,
    /// The end of what is committed.
    pub high_watermark: i64,
    /// Nodes that vote, the leader among them.
    pub voters: Vec<ReplicaView>,
    /// Nodes that follow and do not vote.
    pub observers: Vec<ReplicaView>,
}

/// One node. -1 stands for "not known".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaView {
    pub node: NodeId,
    /// The end of its log.
    pub log_end_offset: i64,
    /// When the leader heard of it last.
    pub last_fetch_ms: i64,
    /// When it had all that the leader had.
    pub last_caught_up_ms: i64,
}

impl QuorumView {
    /// As nodes tell each other: big-endian, counts before lists.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_i32(self.leader.0);
        out.put_i32(self.epoch);
        out.put_i64(self.high_watermark);
        for replicas in [&self.voters, &self.observers] {
            out.put_u32(u32::try_from(replicas.len()).unwrap_or(u32::MAX));
            for replica in replicas {
                out.put_i32(replica.node.0);
                out.put_i64(replica.log_end_offset);
                out.put_i64(replica.last_fetch_ms);
                out.put_i64(replica.last_caught_up_ms);
            }
        }
        out.into()
    }

    /// The inverse of [`Self::encode`].
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let leader = NodeId(bytes.try_get_i32().ok()?);
        let (epoch, high_watermark) = (bytes.try_get_i32().ok()?, bytes.try_get_i64().ok()?);
        let (voters, observers) = (get_replicas(&mut bytes)?, get_replicas(&mut bytes)?);
        Some(Self { leader, epoch, high_watermark, voters, observers })
    }
}

fn get_replicas(bytes: &mut &[u8]) -> Option<Vec<ReplicaView>> {
    let count = bytes.try_get_u32().ok()?;
    let replica = |_| {
        Some(ReplicaView {
            node: NodeId(bytes.try_get_i32().ok()?),
            log_end_offset: bytes.try_get_i64().ok()?,
            last_fetch_ms: bytes.try_get_i64().ok()?,
            last_caught_up_ms: bytes.try_get_i64().ok()?,
        })
    };
    (0..count).map(replica).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replicas() -> impl Strategy<Value = Vec<ReplicaView>> {
        let replica = any::<(i32, i64, i64, i64)>();
        let replica = replica.prop_map(|(node, end, fetch, caught_up)| ReplicaView {
            node: NodeId(node),
            log_end_offset: end,
            last_fetch_ms: fetch,
            last_caught_up_ms: caught_up,
        });
        prop::collection::vec(replica, 0..5)
    }

    proptest! {
        #[test]
        fn views_round_trip(
            numbers in any::<(i32, i32, i64)>(), voters in replicas(), observers in replicas(),
            garbage in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let (leader, epoch, high_watermark) = numbers;
            let leader = NodeId(leader);
            let view = QuorumView { leader, epoch, high_watermark, voters, observers };
            prop_assert_eq!(QuorumView::decode(&view.encode()), Some(view));
            let _ = QuorumView::decode(&garbage);
        }
    }
}

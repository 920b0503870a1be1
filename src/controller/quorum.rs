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

/// The bytes of one node.
const REPLICA_BYTES: usize = 28;

impl QuorumView {
    /// As nodes tell each other.
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
        let epoch = bytes.try_get_i32().ok()?;
        let high_watermark = bytes.try_get_i64().ok()?;
        let (voters, observers) = (replicas(&mut bytes)?, replicas(&mut bytes)?);
        Some(Self { leader, epoch, high_watermark, voters, observers })
    }
}

fn replicas(bytes: &mut &[u8]) -> Option<Vec<ReplicaView>> {
    let count = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
    if count > bytes.remaining() / REPLICA_BYTES {
        return None;
    }
    let replicas = (0..count).map(|_| {
        Some(ReplicaView {
            node: NodeId(bytes.try_get_i32().ok()?),
            log_end_offset: bytes.try_get_i64().ok()?,
            last_fetch_ms: bytes.try_get_i64().ok()?,
            last_caught_up_ms: bytes.try_get_i64().ok()?,
        })
    });
    replicas.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_comes_back_whole_or_not_at_all() {
        let one = |node| ReplicaView {
            node: NodeId(node),
            log_end_offset: 7,
            last_fetch_ms: -1,
            last_caught_up_ms: 9,
        };
        let voters = vec![one(1), one(2)];
        let leader = NodeId(2);
        let view =
            QuorumView { leader, epoch: 5, high_watermark: 6, voters, observers: vec![one(3)] };
        let bytes = view.encode();
        assert_eq!(QuorumView::decode(&bytes), Some(view));
        for size in 0..bytes.len() {
            assert_eq!(QuorumView::decode(&bytes[..size]), None, "{size}");
        }
    }
}

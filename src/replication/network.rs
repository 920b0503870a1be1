//! The network between replicas. A broker that is alone has no peers: whatever openraft would send
//! is answered as unreachable, which makes it wait between attempts.

use std::future::Future;
use std::io;

use bytes::Bytes;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{RaftNetworkFactory, RaftNetworkV2, RaftTypeConfig};

/// Makes connections to nobody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoPeers;

fn unreachable<C: RaftTypeConfig>() -> Unreachable<C> {
    Unreachable::new(&io::Error::from(io::ErrorKind::NotConnected))
}

impl<C: RaftTypeConfig> RaftNetworkFactory<C> for NoPeers {
    type Network = Self;

    async fn new_client(&mut self, _target: C::NodeId, _node: &C::Node) -> Self {
        Self
    }
}

impl<C: RaftTypeConfig> RaftNetworkV2<C> for NoPeers {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<C>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<C>,
        _snapshot: SnapshotOf<C, Bytes>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        Err(StreamingError::Unreachable(unreachable()))
    }
}

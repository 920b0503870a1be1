//! Finds the part of the broker that answers a call of another node. The parts come one by one as
//! the node starts; calls for one that is not there yet are refused, and the caller tries again.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::base::ids::NodeId;
use crate::peer::{Body, Kind, Service};

type Answer = BoxFuture<'static, Result<Body, String>>;
type Handler = Arc<dyn Fn(Option<NodeId>, Kind, Bytes) -> Answer + Send + Sync>;

/// The handlers by what is asked for.
#[derive(Default)]
pub struct Handlers {
    table: RwLock<BTreeMap<Kind, Handler>>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}

impl Handlers {
    /// From now on these calls are answered by `handler`.
    pub fn set<F>(&self, kinds: &[Kind], handler: F)
    where
        F: Fn(Option<NodeId>, Kind, Bytes) -> Answer + Send + Sync + 'static,
    {
        let handler: Handler = Arc::new(handler);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.extend(kinds.iter().map(|kind| (*kind, Arc::clone(&handler))));
    }

    /// As [`set`](Self::set), for calls that only members of the cluster may make.
    pub fn set_for_members<F>(&self, kinds: &[Kind], handler: F)
    where
        F: Fn(NodeId, Kind, Bytes) -> Answer + Send + Sync + 'static,
    {
        self.set(kinds, move |from, kind, body| match from {
            Some(from) => handler(from, kind, body),
            None => ready(Err("only members of the cluster may call this".to_owned())).boxed(),
        });
    }
}

impl Service for Handlers {
    fn handle(&self, from: Option<NodeId>, kind: Kind, body: Bytes) -> Answer {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        match table.get(&kind) {
            Some(handler) => handler(from, kind, body),
            None => ready(Err("this node is still starting".to_owned())).boxed(),
        }
    }
}

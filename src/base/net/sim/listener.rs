//! Where a simulated host takes connections.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use crate::base::net::sim::{Listening, Shared, SimStream, lock};

/// A bound listener. Connections are refused when it is dropped.
pub struct SimListener {
    shared: Shared,
    address: SocketAddr,
    number: u64,
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl SimListener {
    pub(super) fn new(shared: &Shared, address: SocketAddr, number: u64) -> Self {
        Self { shared: Arc::clone(shared), address, number }
    }

    pub(in crate::base::net) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(in crate::base::net) async fn accept(&self) -> (SimStream, SocketAddr) {
        std::future::poll_fn(|cx| {
            let mut state = lock(&self.shared);
            let Some(listening) = state.listeners.get_mut(&self.address) else {
                return Poll::Pending;
            };
            match listening.queue.pop_front() {
                Some(accepted) => Poll::Ready(accepted),
                None => {
                    listening.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        let is_own = |listening: &Listening| listening.number == self.number;
        let own = state.listeners.get(&self.address).is_some_and(is_own);
        let listening = own.then(|| state.listeners.remove(&self.address));
        drop(state);
        drop(listening);
    }
}

//! Accepts connections: limits their number, survives a shortage of file descriptors, ends with the
//! broker.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::api::context::{Caller, Context};
use crate::base::net::{Listener, Stream};
use crate::base::task::{self, Fault, Stopping};
use crate::metadata::settings::LiveSettings;
use crate::wire::connection::{Connection, ConnectionSetup, End};

/// How long to wait after an accept that failed for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The connections of the broker, counted.
#[derive(Debug)]
pub struct ConnectionCount {
    settings: Arc<LiveSettings>,
    open: Mutex<Open>,
    closed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    count: u32,
    per_ip: HashMap<IpAddr, u32>,
}

/// Gives its place back when it is dropped.
struct Place {
    counts: Arc<ConnectionCount>,
    ip: IpAddr,
}

impl ConnectionCount {
    /// The limits are `max.connections` and `max.connections.per.ip`, as they are at the time.
    pub fn new(settings: Arc<LiveSettings>) -> Arc<Self> {
        Arc::new(Self { settings, open: Mutex::default(), closed: Notify::new() })
    }

    fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let settings = self.settings.current();
        let config = &settings.config;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let from_ip = open.per_ip.get(&ip).copied().unwrap_or(0);
        if open.count >= config.max_connections || from_ip >= config.max_connections_per_ip {
            return None;
        }
        open.count += 1;
        open.per_ip.insert(ip, from_ip + 1);
        Some(Place { counts: Arc::clone(self), ip })
    }

    pub fn count(&self) -> u32 {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

impl ConnectionCount {
    /// Waits until no connection is open. Cancel safe.
    pub async fn emptied(&self) {
        loop {
            let closed = self.closed.notified();
            if self.count() == 0 {
                return;
            }
            closed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.counts.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.count -= 1;
        if let Some(from_ip) = open.per_ip.get_mut(&self.ip) {
            *from_ip -= 1;
            if *from_ip == 0 {
                open.per_ip.remove(&self.ip);
            }
        }
        drop(open);
        self.counts.closed.notify_waiters();
    }
}

/// A listener and what its connections need.
#[derive(Debug)]
pub struct Acceptor {
    pub listener: Listener,
    pub name: Arc<str>,
    pub context: Arc<Context>,
    pub counts: Arc<ConnectionCount>,
    pub setup: ConnectionSetup,
}

impl Acceptor {
    /// Accepts until the broker stops.
    pub fn start(mut self, mut stopping: Stopping) -> task::Handle {
        task::spawn("listener", Fault::Process, async move {
            loop {
                let accepted = tokio::select! {
                    () = stopping.wait() => return,
                    accepted = self.listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, peer)) => self.serve(stream, peer, stopping.clone()),
                    Err(error) => self.accept_failed(&error).await,
                }
            }
        })
    }

    async fn accept_failed(&self, error: &io::Error) {
        // The connection was given up before it was accepted: nothing is wrong here.
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        tracing::warn!(%error, listener = %self.name, "a connection was not accepted");
        tokio::time::sleep(ACCEPT_RETRY).await;
    }

    fn serve(&self, stream: Stream, peer: SocketAddr, stopping: Stopping) {
        let Some(place) = self.counts.enter(peer.ip()) else {
            tracing::warn!(%peer, "refused a connection: max.connections is reached");
            return;
        };
        let (context, listener) = (Arc::clone(&self.context), Arc::clone(&self.name));
        let caller = Caller { context, listener, peer, client_id: None };
        let connection = Connection::new(stream, Arc::new(caller), self.setup.clone());
        task::spawn("connection", Fault::Task, async move {
            let end = connection.run(stopping).await;
            drop(place);
            match end {
                End::Orderly | End::Io(_) => tracing::debug!(%peer, ?end, "connection ended"),
                End::Idle => tracing::info!(%peer, "closed an idle connection"),
                End::Refused(why) => tracing::warn!(%peer, why, "closed a connection"),
            }
        });
    }
}

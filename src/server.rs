//! The composition root: builds every part, starts them in order, stops them in reverse.

mod metrics_endpoint;
mod scrape;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::api::context::Context;
use crate::api::elections::Alone;
use crate::api::fetch::sessions::FetchSessions;
use crate::base::env::Env;
use crate::base::ids::{NodeId, uuid_text};
use crate::base::kv::{KeyValue, KvWriter};
use crate::base::net::{Listener, SocketOptions};
use crate::base::task::{self, Stopper};
use crate::config::{Config, Listener as ListenerConfig, Loaded};
use crate::controller::service::{Controller, Decision};
use crate::controller::topic_name::CONSUMER_OFFSETS;
use crate::coordinator::group::Groups;
use crate::coordinator::group::settings::GroupSettings;
use crate::coordinator::runtime::{Coordinator, Parts};
use crate::log::dir::{Identity, LogDir};
use crate::log::flusher;
use crate::metadata::features;
use crate::metadata::publisher::Publisher;
use crate::metadata::records::{BrokerRecord, Endpoint, Record};
use crate::metrics::flush::FlushMetrics;
use crate::metrics::recorder;
use crate::metrics::requests::RequestMetrics;
use crate::partition::registry::{OpenDir, Registry, Storage};
use crate::replication::metadata_group::MetadataGroup;
use crate::wire::connection::ConnectionSetup;
use crate::wire::frame::RequestBudget;
use crate::wire::listener::{Acceptor, ConnectionCount};

/// The key-value store's folder in the first log dir.
const STORE_DIR: &str = ".ottla";
/// How long connections may take to end when the broker stops.
const CONNECTIONS_END: Duration = Duration::from_millis(500);
/// The id of a node that was not given one.
const FIRST_NODE_ID: NodeId = NodeId(1);

/// A running broker.
#[derive(Debug)]
pub struct Server {
    pub identity: Identity,
    /// The bound listeners, in the order of the configuration.
    pub listeners: Vec<(ListenerConfig, SocketAddr)>,
    pub metrics: Option<SocketAddr>,
    store: Arc<dyn KeyValue>,
    context: Arc<Context>,
    counts: Arc<ConnectionCount>,
    stopper: Stopper,
    tasks: Vec<task::Handle>,
}

impl Server {
    /// Starts a broker; it serves when this returns.
    pub async fn start(env: Env, settings: Loaded) -> io::Result<Self> {
        let config = &settings.config;
        let listeners = bind(&env, config).await?;
        let dirs = open_dirs(&env, config)?;
        let identity = identify(&env, config, &dirs)?;
        let store = dirs.first().map(|dir| dir.path.join(STORE_DIR)).unwrap_or_default();
        let opening = env.clone();
        let kv = task::blocking(env.threads, move || opening.open_store(&store)).await?;
        let kv_writer = KvWriter::start(env.threads, Arc::clone(&kv))?;
        let store = Arc::clone(&kv);

        let publisher = Arc::new(Publisher::default());
        let images = publisher.images();
        let writer = kv_writer.clone();
        let group = MetadataGroup::open(identity.node_id, Arc::clone(&kv), writer, publisher);
        let controller = Controller::new(group.await?, images.clone());
        register(&controller, &identity, config, &listeners).await?;

        let handle = recorder::install().map_err(io::Error::other)?;
        let stores = (Arc::clone(&kv), kv_writer.clone());
        let storage = storage(&env, config, &identity, dirs, stores)?;
        let registry = Registry::new(storage, config.topic_defaults.clone());
        let parts = Parts {
            env: env.clone(),
            images: images.clone(),
            registry: Arc::clone(&registry),
            kv,
            kv_writer,
        };
        let groups = groups(parts, config);
        let stopper = Stopper::default();
        let mut tasks = vec![
            registry.start(images.clone(), stopper.stopping()),
            groups.start(stopper.stopping()),
        ];
        let slots = usize::try_from(config.max_incremental_fetch_session_cache_slots);
        let slots = slots.unwrap_or(usize::MAX);
        let context = Arc::new(Context {
            sessions: FetchSessions::new(slots, Arc::clone(&env.rng)),
            env,
            node: identity.node_id,
            images,
            registry,
            controller,
            groups,
            settings,
            elections: Arc::new(Alone),
        });
        let config = &context.settings.config;
        let counts = ConnectionCount::new(config.max_connections, config.max_connections_per_ip);
        let mut server = Self {
            identity,
            listeners: Vec::new(),
            metrics: None,
            store,
            context,
            counts: Arc::clone(&counts),
            stopper,
            tasks: Vec::new(),
        };
        server.accept(listeners, &mut tasks)?;
        let scrape = scrape::Scrape::new(handle, Arc::clone(&server.context), counts);
        server.metrics = metrics_endpoint::start(scrape, &server.stopper, &mut tasks).await?;
        server.tasks = tasks;
        Ok(server)
    }

    fn accept(
        &mut self,
        listeners: Vec<(ListenerConfig, Listener)>,
        tasks: &mut Vec<task::Handle>,
    ) -> io::Result<()> {
        let config = &self.context.settings.config;
        let apis = crate::api::TABLE.iter().map(|api| (api.key, api.name));
        let setup = ConnectionSetup {
            budget: RequestBudget::new(config.queued_max_request_bytes),
            request_bytes_max: config.socket_request_max_bytes,
            idle: Duration::from_millis(config.connections_max_idle_ms.unsigned_abs()),
            metrics: Arc::new(RequestMetrics::new(apis)),
        };
        for (listener, bound) in listeners {
            self.listeners.push((listener.clone(), bound.local_addr()?));
            let acceptor = Acceptor {
                listener: bound,
                name: listener.name.into(),
                context: Arc::clone(&self.context),
                counts: Arc::clone(&self.counts),
                setup: setup.clone(),
            };
            tasks.push(acceptor.start(self.stopper.stopping()));
        }
        Ok(())
    }

    /// The key-value store, for whoever must outlive the broker.
    pub fn store(&self) -> Arc<dyn KeyValue> {
        Arc::clone(&self.store)
    }

    /// Stops in order: no new requests, then the partitions, then the metadata.
    pub async fn stop(self) -> io::Result<()> {
        self.stopper.stop();
        for task in self.tasks {
            task.await.map_err(io::Error::other)?;
        }
        // A peer that does not read may keep its connection for longer than it is waited for.
        let ended = tokio::time::timeout(CONNECTIONS_END, self.counts.emptied()).await;
        if ended.is_err() {
            tracing::warn!(open = self.counts.count(), "stopping with connections open");
        }
        self.context.registry.shutdown().await?;
        self.context.controller.shutdown().await
    }
}

async fn bind(env: &Env, config: &Config) -> io::Result<Vec<(ListenerConfig, Listener)>> {
    let options = SocketOptions {
        backlog_count: u32::try_from(config.socket_listen_backlog_size).ok(),
        // -1 leaves it to the system.
        send_buffer_bytes: u32::try_from(config.socket_send_buffer_bytes).ok(),
        receive_buffer_bytes: u32::try_from(config.socket_receive_buffer_bytes).ok(),
    };
    let mut bound = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        let socket = env.net.bind(&listener.host, listener.port, options).await;
        let socket = socket.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {listener}: {error}"))
        })?;
        bound.push((listener.clone(), socket));
    }
    Ok(bound)
}

fn open_dirs(env: &Env, config: &Config) -> io::Result<Vec<Arc<LogDir>>> {
    let open = |path: &std::path::PathBuf| {
        LogDir::open(Arc::clone(&env.disk), path).map(Arc::new).map_err(|error| {
            let text = format!("cannot use log dir {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        })
    };
    config.log_dirs.iter().map(open).collect()
}

/// Who this broker is: made at the first start, checked at every later one.
fn identify(env: &Env, config: &Config, dirs: &[Arc<LogDir>]) -> io::Result<Identity> {
    let known = dirs.iter().filter_map(|dir| dir.identity().transpose());
    let known = known.collect::<io::Result<Vec<Identity>>>()?;
    let identity = known.first().cloned().unwrap_or_else(|| Identity {
        cluster_id: uuid_text(&env.rng.uuid()),
        node_id: config.node_id.map_or(FIRST_NODE_ID, NodeId),
    });
    if known.iter().any(|other| *other != identity) {
        return Err(io::Error::other("the log dirs belong to different brokers or clusters"));
    }
    if let Some(configured) = config.node_id.filter(|id| NodeId(*id) != identity.node_id) {
        let own = identity.node_id;
        let text = format!("node.id is {configured}, but the log dirs belong to node {own}");
        return Err(io::Error::other(text));
    }
    for dir in dirs {
        if dir.identity()?.is_none() {
            dir.set_identity(&identity)?;
        }
    }
    Ok(identity)
}

fn storage(
    env: &Env,
    config: &Config,
    identity: &Identity,
    dirs: Vec<Arc<LogDir>>,
    (kv, kv_writer): (Arc<dyn KeyValue>, KvWriter),
) -> io::Result<Storage> {
    let open = |dir: Arc<LogDir>| {
        let writer = flusher::start(env.threads, FlushMetrics::default())?;
        Ok(OpenDir { dir, writer })
    };
    Ok(Storage {
        env: env.clone(),
        node: identity.node_id,
        dirs: dirs.into_iter().map(open).collect::<io::Result<_>>()?,
        kv,
        kv_writer,
        producer_expiration_ms: config.producer_id_expiration_ms,
    })
}

fn groups(parts: Parts, config: &Config) -> Arc<Coordinator<Groups>> {
    let settings = Arc::new(GroupSettings { config: config.clone() });
    let rng = Arc::clone(&parts.env.rng);
    let make = move |_| Groups::new(Arc::clone(&settings), Arc::clone(&rng));
    Coordinator::new(CONSUMER_OFFSETS, parts, make)
}

/// Tells the cluster who and where this broker is.
async fn register(
    controller: &Controller,
    identity: &Identity,
    config: &Config,
    listeners: &[(ListenerConfig, Listener)],
) -> io::Result<()> {
    let endpoints = endpoints(config, listeners)?;
    let rack = config.broker_rack.clone();
    let broker = BrokerRecord { rack, endpoints, ..BrokerRecord::new(identity.node_id) };
    let cluster_id = identity.cluster_id.clone();
    let decided = controller.run(|image| {
        let mut records = Vec::new();
        if image.cluster_id.is_empty() {
            records.push(Record::Cluster { cluster_id: cluster_id.clone() });
            records.extend(features::newest());
        }
        if image.brokers.get(&broker.node).is_none_or(|known| **known != broker) {
            records.push(Record::Broker(broker));
        }
        let own = image.cluster_id.is_empty() || image.cluster_id == cluster_id;
        Decision { records, answer: own }
    });
    match decided.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::Error::other("the metadata belongs to another cluster")),
        Err(error) => Err(io::Error::other(format!("the broker was not registered: {error:?}"))),
    }
}

/// What clients are told: the advertised addresses, with the bound ports for port 0 and the
/// machine's name for an empty host.
fn endpoints(
    config: &Config,
    listeners: &[(ListenerConfig, Listener)],
) -> io::Result<Vec<Endpoint>> {
    let advertised = listeners.iter().map(|(listener, bound)| {
        let told = config.advertised_listeners.iter().find(|a| a.name == listener.name);
        let told = told.unwrap_or(listener);
        let port = if told.port == 0 { bound.local_addr()?.port() } else { told.port };
        let host = if told.host.is_empty() { host_name() } else { told.host.clone() };
        Ok(Endpoint { listener: listener.name.clone(), host, port })
    });
    advertised.collect()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Raises the limit of open files as far as it goes: two per segment, one per connection.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

//! The composition root: builds every part, starts them in order, stops them in reverse.

mod metadata;
mod metrics_endpoint;
mod node;
mod scrape;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::api::context::Context;
use crate::api::fetch::sessions::FetchSessions;
use crate::base::env::Env;
use crate::base::ids::DirectoryId;
use crate::base::kv::{KeyValue, KvWriter};
use crate::base::net::{Listener, SocketOptions};
use crate::base::task::{self, Stopper};
use crate::cluster::service::Handlers;
use crate::config::{Config, Listener as ListenerConfig, Loaded};
use crate::controller::housekeeper::Housekeeper;
use crate::controller::leadership::Leadership;
use crate::controller::service::Controller;
use crate::controller::topic_name::CONSUMER_OFFSETS;
use crate::coordinator::group::Groups as GroupMachine;
use crate::coordinator::group::settings::GroupSettings;
use crate::coordinator::runtime::{Coordinator, Parts};
use crate::log::dir::{Identity, LogDir};
use crate::log::flusher;
use crate::log::health::Health;
use crate::log::partition_log::DamageBell;
use crate::log::room::Room;
use crate::metadata::image::Image;
use crate::metadata::publisher::Images;
use crate::metadata::records::Endpoint;
use crate::metadata::settings::LiveSettings;
use crate::metrics::flush::FlushMetrics;
use crate::metrics::recorder;
use crate::metrics::requests::RequestMetrics;
use crate::metrics::retention::dirs_offline;
use crate::partition::cleaner::{self, Cleaner};
use crate::partition::dirs;
use crate::partition::flushing::Flushing;
use crate::partition::mender::{self, Mender};
use crate::partition::mover::Mover;
use crate::partition::registry::{OpenDir, Registry, Storage};
use crate::partition::repair::Repair;
use crate::partition::retention::Retention;
use crate::partition::scrubber::Scrubber;
use crate::peer::Kind;
use crate::replication::groups::Groups;
use crate::server::metadata::Metadata;
use crate::server::node::{Bound, Listening};
use crate::wire::connection::ConnectionSetup;
use crate::wire::frame::RequestBudget;
use crate::wire::listener::{Acceptor, ConnectionCount};

/// How long connections may take to end when the broker stops.
const CONNECTIONS_END: Duration = Duration::from_millis(500);

/// How long the metadata may take to name those that lead instead of a broker that stops.
const TOLD_ELSEWHERE: Duration = Duration::from_secs(1);

/// A running broker.
#[derive(Debug)]
pub struct Server {
    pub identity: Identity,
    /// The bound listeners, in the order of the configuration.
    pub listeners: Vec<(ListenerConfig, SocketAddr)>,
    /// Where other nodes reach this one.
    pub peer_listener: Option<Endpoint>,
    pub metrics: Option<SocketAddr>,
    store: Arc<dyn KeyValue>,
    context: Arc<Context>,
    counts: Arc<ConnectionCount>,
    stopper: Stopper,
    tasks: Vec<task::Handle>,
    listening: Option<Listening>,
}

impl Server {
    /// Starts a broker; it serves when this returns.
    pub async fn start(env: Env, settings: Loaded) -> io::Result<Self> {
        // Parts that measure take their handles from it when they are made.
        let handle = recorder::install().map_err(io::Error::other)?;
        let config = &settings.config;
        let mut bound = bind(&env, config).await?;
        let (dirs, offline_dirs) = open_dirs(&env, config)?;
        let node = node::enter(&env, config, &dirs, &mut bound).await?;
        let (kv, kv_writer) = open_store(&env, &dirs).await?;
        let store = Arc::clone(&kv);

        let stopper = Stopper::default();
        let stores = (Arc::clone(&kv), kv_writer.clone());
        let metadata = metadata::open(&env, config, &node, stores, stopper.stopping()).await?;
        let Metadata { controller, images, groups, mut tasks } = metadata;

        let stores = (Arc::clone(&kv), kv_writer.clone());
        let storage = storage(&env, &settings, groups.clone(), (dirs, offline_dirs), stores)?;
        let registry = Registry::new(storage);
        let parts = Parts {
            env: env.clone(),
            images: images.clone(),
            registry: Arc::clone(&registry),
            kv,
            kv_writer,
        };
        let coordinator = coordinator(parts);
        let leadership = Leadership::new(
            images.clone(),
            Arc::clone(&registry),
            Arc::clone(&controller),
            config.replica_lag_time_max_ms,
        );
        answer_others(&node.handlers, &env, &registry, &leadership);
        let housekeeper = housekeeper(config, &images, &controller, &leadership);
        tasks.extend([
            registry.start(images.clone(), stopper.stopping()),
            coordinator.start(stopper.stopping()),
            leadership.start(stopper.stopping()),
            housekeeper.start(stopper.stopping()),
        ]);
        tasks.extend(upkeep(&env, config, &registry, &stopper));
        let live = Arc::clone(registry.settings());
        let context = Arc::new(Context {
            sessions: fetch_sessions(&env, config),
            env,
            node: node.identity.node_id,
            images,
            registry,
            controller,
            groups: coordinator,
            settings,
            live: Arc::clone(&live),
            elections: leadership,
        });
        let counts = ConnectionCount::new(live);
        let mut server = Self {
            identity: node.identity,
            listeners: Vec::new(),
            peer_listener: node.card.broker.peer,
            metrics: None,
            store,
            context,
            counts: Arc::clone(&counts),
            stopper,
            tasks: Vec::new(),
            listening: node.listening,
        };
        server.accept(bound.clients, &mut tasks)?;
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

    /// The partitions that this broker serves.
    pub fn registry(&self) -> &Registry {
        &self.context.registry
    }

    /// The key-value store, for whoever must outlive the broker.
    pub fn store(&self) -> Arc<dyn KeyValue> {
        Arc::clone(&self.store)
    }

    /// Resolves when the broker can not go on, with the reason: whoever runs it must end the
    /// process without stopping in order, since what it would write can not be relied upon. Cancel
    /// safe.
    pub async fn failed(&self) -> String {
        self.context.registry.cannot_go_on().await
    }

    /// Stops in order: what is led here is led elsewhere, no new requests, then the partitions,
    /// then the metadata; the other nodes are told last.
    pub async fn stop(self) -> io::Result<()> {
        if self.context.settings.config.controlled_shutdown_enable {
            // Others lead before this node is gone, so that clients find a leader at all times.
            self.context.registry.hand_over().await;
            told_elsewhere(&self.context).await;
            self.context.controller.hand_over().await;
        }
        self.stopper.stop();
        // No task ends before what it has written.
        self.context.registry.wait_for_room_no_more();
        for task in self.tasks {
            task.await.map_err(io::Error::other)?;
        }
        // A peer that does not read may keep its connection for longer than it is waited for.
        let ended = tokio::time::timeout(CONNECTIONS_END, self.counts.emptied()).await;
        if ended.is_err() {
            tracing::warn!(open = self.counts.count(), "stopping with connections open");
        }
        self.context.registry.shutdown().await?;
        self.context.controller.shutdown().await?;
        match self.listening {
            Some(listening) => listening.stop().await,
            None => Ok(()),
        }
    }
}

/// Waits until the metadata names others as leaders of what this node has handed over: a client
/// that is sent here until the end meets a closed port.
async fn told_elsewhere(context: &Context) {
    let mut images = context.images.clone();
    let partitions = context.registry.partitions();
    let is_named = |image: &Image| {
        partitions.iter().filter(|partition| !partition.status().leads).any(|partition| {
            let place = image.partition(partition.id);
            place.is_some_and(|place| place.leader == Some(context.node))
        })
    };
    let told = async { while is_named(&context.image()) && images.changed().await.is_some() {} };
    if tokio::time::timeout(TOLD_ELSEWHERE, told).await.is_err() {
        tracing::debug!("the metadata names this node as a leader to the end");
    }
}

async fn bind(env: &Env, config: &Config) -> io::Result<Bound> {
    let options = SocketOptions {
        backlog_count: u32::try_from(config.socket_listen_backlog_size).ok(),
        // -1 leaves it to the system.
        send_buffer_bytes: u32::try_from(config.socket_send_buffer_bytes).ok(),
        receive_buffer_bytes: u32::try_from(config.socket_receive_buffer_bytes).ok(),
    };
    let mut clients = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        clients.push((listener.clone(), bind_one(env, listener, options).await?));
    }
    let peer = match config.peer_listener() {
        None => None,
        Some(listener) => {
            let options = SocketOptions::default();
            Some((listener.clone(), bind_one(env, listener, options).await?))
        }
    };
    Ok(Bound { clients, peer })
}

async fn bind_one(
    env: &Env,
    listener: &ListenerConfig,
    options: SocketOptions,
) -> io::Result<Listener> {
    let bound = env.net.bind(&listener.host, listener.port, options).await;
    bound.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {listener}: {error}"))
    })
}

/// The log dirs, and those that cannot be used now, whose partitions are offline. The first one has
/// the metadata: without it there is no broker.
fn open_dirs(env: &Env, config: &Config) -> io::Result<(Vec<Arc<LogDir>>, Vec<PathBuf>)> {
    let (mut dirs, mut offline) = (Vec::new(), Vec::new());
    for path in &config.log_dirs {
        match LogDir::open_all(&env.disk, std::slice::from_ref(path)) {
            Ok(opened) => dirs.extend(opened),
            Err(error) if dirs.is_empty() => return Err(error),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => {
                tracing::error!(%error, "a log dir is offline");
                offline.push(path.clone());
            }
        }
    }
    dirs_offline(offline.len());
    if let Some(first) = dirs.first().filter(|dir| dir.is_half_imported()) {
        return Err(io::Error::other(format!(
            "an import into {} was cut short: run `ottla import` again, or empty the log dirs",
            first.path.display()
        )));
    }
    // It has happened when the first one says so.
    dirs.iter().filter(|dir| dir.is_half_imported()).try_for_each(|dir| dir.end_import())?;
    Ok((dirs, offline))
}

/// The data of a node that does not run.
pub async fn offline(env: &Env, config: &Config) -> io::Result<Repair> {
    let (dirs, _) = open_dirs(env, config)?;
    if dirs.first().is_none_or(|dir| !env.disk.exists(&dir.store())) {
        return Err(io::Error::other("there is no data of a broker in the first log dir"));
    }
    let (kv, _) = open_store(env, &dirs).await?;
    Ok(Repair::new(env.clone(), dirs, kv, config))
}

/// The key-value store lies in the first log dir.
async fn open_store(env: &Env, dirs: &[Arc<LogDir>]) -> io::Result<(Arc<dyn KeyValue>, KvWriter)> {
    let path = dirs.first().map(|dir| dir.store()).unwrap_or_default();
    let opening = env.clone();
    let kv = task::blocking(env.threads, move || opening.open_store(&path)).await?;
    let writer = KvWriter::start(env.threads, Arc::clone(&kv))?;
    Ok((kv, writer))
}

/// Has other nodes' questions about partitions answered.
fn answer_others(
    handlers: &Handlers,
    env: &Env,
    registry: &Arc<Registry>,
    leadership: &Arc<Leadership>,
) {
    scrape::answer_others(handlers, env, registry);
    let leadership = Arc::clone(leadership);
    handlers.set_for_members(&[Kind::HandOver], move |_, _, body| {
        let leadership = Arc::clone(&leadership);
        async move { leadership.receive(body).await }.boxed()
    });
    let registry = Arc::clone(registry);
    let full = Arc::clone(&registry);
    handlers.set_for_members(&[Kind::Room], move |_, _, body| {
        std::future::ready(dirs::answer_room(&full, body)).boxed()
    });
    let cleaned = Arc::clone(&registry);
    handlers.set_for_members(&[Kind::HadByAll], move |from, _, body| {
        std::future::ready(cleaner::answer(&cleaned, from, body)).boxed()
    });
    let threads = env.threads;
    handlers.set_for_members(&[Kind::Entry], move |_, _, body| {
        mender::answer(Arc::clone(&registry), threads, body).boxed()
    });
}

fn housekeeper(
    config: &Config,
    images: &Images,
    controller: &Arc<Controller>,
    leadership: &Arc<Leadership>,
) -> Housekeeper {
    Housekeeper {
        config: config.clone(),
        images: images.clone(),
        controller: Arc::clone(controller),
        leadership: Arc::clone(leadership),
    }
}

/// Retention, compaction and moves between log dirs, and what sees to it that the disks keep what
/// they were given.
fn upkeep(
    env: &Env,
    config: &Config,
    registry: &Arc<Registry>,
    stopper: &Stopper,
) -> Vec<task::Handle> {
    let millis = config.log_retention_check_interval_ms.unsigned_abs();
    let check_interval = Duration::from_millis(millis);
    let retention = Retention { env: env.clone(), registry: Arc::clone(registry), check_interval };
    let mender = Mender { registry: Arc::clone(registry), threads: env.threads };
    let mover = Mover { env: env.clone(), registry: Arc::clone(registry) };
    let flushing = Flushing { env: env.clone(), registry: Arc::clone(registry) };
    let mut tasks = vec![
        retention.start(stopper.stopping()),
        mender.start(stopper.stopping()),
        mover.start(stopper.stopping()),
        flushing.start(stopper.stopping()),
    ];
    tasks.extend(registry.watch_dirs(&stopper.stopping()));
    let scrubber = Scrubber { env: env.clone(), registry: Arc::clone(registry) };
    tasks.push(scrubber.start(stopper.stopping()));
    if config.log_cleaner_enable {
        let cleaner = Cleaner::new(env.clone(), Arc::clone(registry));
        tasks.push(cleaner.start(stopper.stopping()));
    }
    tasks
}

fn fetch_sessions(env: &Env, config: &Config) -> FetchSessions {
    let slots = usize::try_from(config.max_incremental_fetch_session_cache_slots);
    FetchSessions::new(slots.unwrap_or(usize::MAX), Arc::clone(&env.rng))
}

fn storage(
    env: &Env,
    settings: &Loaded,
    groups: Groups,
    (dirs, offline_dirs): (Vec<Arc<LogDir>>, Vec<PathBuf>),
    (kv, kv_writer): (Arc<dyn KeyValue>, KvWriter),
) -> io::Result<Storage> {
    let open = |dir: Arc<LogDir>| {
        let health = Health::new(&dir.path);
        health.set_waits(true);
        let writer = flusher::start(env.threads, FlushMetrics::default(), Arc::clone(&health))?;
        let (disk, clock) = (Arc::clone(&env.disk), Arc::clone(&env.clock));
        let reserve_bytes = settings.config.log_dir_reserve_bytes.unsigned_abs();
        let room = Room::new(disk, clock, dir.path.clone(), Arc::clone(&health), reserve_bytes);
        let directory = dir.directory(DirectoryId::random(&env.rng))?;
        Ok(OpenDir { dir, writer, room, health, directory })
    };
    Ok(Storage {
        env: env.clone(),
        node: groups.node(),
        settings: LiveSettings::new(groups.node(), settings.clone()),
        groups,
        dirs: dirs.into_iter().map(open).collect::<io::Result<_>>()?,
        offline_dirs,
        kv,
        kv_writer,
        damage_bell: DamageBell::default(),
    })
}

fn coordinator(parts: Parts) -> Arc<Coordinator<GroupMachine>> {
    let settings = Arc::new(GroupSettings::new(Arc::clone(parts.registry.settings())));
    let rng = Arc::clone(&parts.env.rng);
    let make = move |_| GroupMachine::new(Arc::clone(&settings), Arc::clone(&rng));
    Coordinator::new(CONSUMER_OFFSETS, parts, make)
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

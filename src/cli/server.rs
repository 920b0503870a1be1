//! `ottla server`.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::base::env::Env;
use crate::cli::{Usage, load, say};
use crate::config::Loaded;
use crate::server::{Server, raise_file_limit};

pub(super) fn run(options: &[&str]) -> Result<io::Result<()>, Usage> {
    let file = match options {
        [] => None,
        ["--config", path] => Some(*path),
        ["--config"] => return Err(Usage("--config wants a file".to_owned())),
        [other, ..] => return Err(Usage(format!("unknown option {other}"))),
    };
    Ok(load(file).and_then(serve))
}

fn serve(settings: Loaded) -> io::Result<()> {
    start_log(&settings)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // A node of a cluster may wait for others, for as long as they take.
        let server = tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            started = Server::start(Env::real()?, settings) => started?,
        };
        say(&ready(&server))?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            why = server.failed() => {
                // Not in order: nothing more is to be written. The store stays open, as below.
                std::mem::forget(server.store());
                return Err(io::Error::other(why));
            }
        }
        tracing::info!("stopping");
        // RocksDB is not closed: everything in it is durable, and its closing could meet the
        // destructors of its library on another thread while the process ends.
        std::mem::forget(server.store());
        server.stop().await
    });
    // Blocking work that is left has nothing to finish.
    runtime.shutdown_background();
    served
}

/// The one line on standard output: scripts wait for it and read the bound addresses off it.
fn ready(server: &Server) -> String {
    let listeners = server.listeners.iter().map(|(listener, address)| {
        let host =
            if listener.host.is_empty() { address.ip().to_string() } else { listener.host.clone() };
        format!("{}://{host}:{}", listener.name, address.port())
    });
    let listeners: Vec<String> = listeners.collect();
    let metrics = server.metrics.map(|address| address.to_string()).unwrap_or_default();
    let (node, cluster) = (server.identity.node_id, &server.identity.cluster_id);
    let listeners = listeners.join(",");
    format!("ready listeners={listeners} node.id={node} cluster.id={cluster} metrics={metrics}\n")
}

fn start_log(settings: &Loaded) -> io::Result<()> {
    // openraft tells at INFO of every step of every group, and at ERROR of every orderly stop.
    let directives = format!("{},openraft=off", settings.config.log_level);
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| io::Error::other(format!("log.level {directives}: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .try_init()
        .map_err(io::Error::other)
}

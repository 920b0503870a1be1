//! The metrics endpoint: HTTP/1.1, `GET /metrics` and nothing else, one request a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::base::net::{Listener, SocketOptions, Stream};
use crate::base::task::{self, Fault, Stopper};
use crate::server::scrape::Scrape;

/// A scraper's request is a few hundred bytes.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// How long a scraper may take to say what it wants.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// Scrapes at one time.
const SCRAPES_COUNT_MAX: usize = 8;
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Starts the endpoint, if there is one; its bound address.
pub(super) async fn start(
    scrape: Scrape,
    stopper: &Stopper,
    tasks: &mut Vec<task::Handle>,
) -> io::Result<Option<SocketAddr>> {
    let env = &scrape.context.env;
    let mut stopping = stopper.stopping();
    let upkeep = scrape.clone();
    tasks.push(task::spawn("metrics-upkeep", Fault::Task, async move {
        loop {
            tokio::select! {
                () = stopping.wait() => return,
                () = tokio::time::sleep(UPKEEP_INTERVAL) => upkeep.upkeep(),
            }
        }
    }));
    let Some(address) = scrape.context.settings.config.metrics_listener.clone() else {
        return Ok(None);
    };
    let parsed = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parsed
        .ok_or_else(|| io::Error::other(format!("metrics.listener is not HOST:PORT: {address}")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut listener =
        env.net.bind(host, port, SocketOptions::default()).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen on metrics.listener {address}: {error}"),
            )
        })?;
    let bound = listener.local_addr()?;
    let mut stopping = stopper.stopping();
    tasks.push(task::spawn("metrics", Fault::Task, async move {
        tokio::select! {
            () = stopping.wait() => {}
            () = serve(&mut listener, scrape) => {}
        }
    }));
    Ok(Some(bound))
}

async fn serve(listener: &mut Listener, scrape: Scrape) {
    let places = Arc::new(Semaphore::new(SCRAPES_COUNT_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((mut stream, peer)) => {
                let scrape = scrape.clone();
                task::spawn("scrape", Fault::Task, async move {
                    let answered = answer(&mut stream, &scrape);
                    if let Ok(Err(error)) = tokio::time::timeout(REQUEST_TIME_MAX, answered).await {
                        tracing::debug!(%peer, %error, "scrape ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a scrape was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: &mut Stream, scrape: &Scrape) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        (b"GET", b"/metrics") => ("200 OK", scrape.render().await),
        (b"GET", _) => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

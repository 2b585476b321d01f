//! Starts a router as the command line says, runs it until it is told to end, and ends it in order.
//!
//! Everything that can be refused is refused before the first socket opens.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::serve::ListenerExt;
use common::config::{self, Config, Deployment, is_loopback};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cli::{Cli, DATA};
use crate::cluster::Cluster;
use crate::cluster::catalog::{Catalog, Clock};
use crate::embedded::{self, Embedded, Layout};
use crate::replicator::HttpWire;
use crate::serve::serve;
use crate::shard::http::{HttpTransport, tcp_connector};
use crate::shard::transport::Transport;
use crate::telemetry;

/// Why the router did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is not acceptable.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The command line is not acceptable.
    #[error("{0}")]
    Usage(String),
    /// Nothing can listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The embedded mode's nodes did not start.
    #[error(transparent)]
    Embedded(#[from] embedded::Error),
    /// The system gives no threads.
    #[error("threads: {0}")]
    Threads(io::Error),
    /// The replicator's way to other servers cannot be set up.
    #[error("{0}")]
    Replicator(io::Error),
    /// Signals cannot be received.
    #[error("signals: {0}")]
    Signals(io::Error),
}

/// Runs a router until Ctrl-C or SIGTERM, on threads of its own.
pub fn run(cli: &Cli) -> Result<(), Error> {
    let config = Config::load(cli.cluster.as_deref(), &[])?;
    // Dropped at the very end, outside of the runtime.
    let _telemetry = telemetry::init(&config, "quorate-router", &cli.listen).map_err(Error::Usage)?;
    let deployment = deployment(&config);
    config.check(deployment)?;
    config.check_listen(&cli.listen, true)?;
    let cores = std::thread::available_parallelism().map_err(Error::Threads)?.get();
    let threads = config.process.threads(deployment, cores);
    embedded::on_threads(threads, serve_until_told(cli, config, deployment)).map_err(Error::Threads)?
}

async fn serve_until_told(cli: &Cli, config: Config, deployment: Deployment) -> Result<(), Error> {
    let stop = stop_on_signals()?;
    match deployment {
        Deployment::Embedded => run_embedded(cli, &config, stop).await,
        Deployment::Cluster => run_cluster(cli, config, stop).await,
    }
}

/// A file without nodes and shards only sets up the embedded mode.
fn deployment(config: &Config) -> Deployment {
    if config.node.is_empty() && config.shard.is_empty() { Deployment::Embedded } else { Deployment::Cluster }
}

async fn run_embedded(cli: &Cli, config: &Config, stop: CancellationToken) -> Result<(), Error> {
    let data = cli.data.clone().or_else(|| config.storage.data.clone()).unwrap_or_else(|| PathBuf::from(DATA));
    // First, so that a port in use leaves no folder behind.
    let listener = listen(&cli.listen).await?;
    let layout = Layout::of(&data, cli.shards, cli.replicas)?;
    let embedded = Embedded::start(config, layout, &data, embedded::exit_on_fatal()).await?;
    let place = format!("data is in {} ({} shards x {} replicas)", shown(&data), layout.shards, layout.replicas);
    let served = route(embedded.config.clone(), embedded.transports(), listener, &place, stop).await;
    embedded.shutdown().await;
    served
}

async fn run_cluster(cli: &Cli, config: Config, stop: CancellationToken) -> Result<(), Error> {
    if cli.data.is_some() || cli.shards.is_some() || cli.replicas.is_some() {
        let reason = "--data, --shards and --replicas belong to the embedded mode; this file has [[node]]s";
        return Err(Error::Usage(reason.to_owned()));
    }
    let secret = config.secret()?;
    if secret.is_none() && !is_loopback(&cli.listen) {
        let reason = format!("{} is not a loopback address: listening there needs a secret_file", cli.listen);
        return Err(Error::Usage(reason));
    }
    let connector = tcp_connector();
    let transport = |entry: &config::NodeEntry| {
        let http = HttpTransport::new(entry.id.clone(), &entry.address, secret.as_ref(), connector.clone());
        Arc::new(http) as Arc<dyn Transport>
    };
    let transports = config.node.iter().map(transport).collect();
    let listener = listen(&cli.listen).await?;
    let place = format!("cluster '{}': {} shards on {} nodes", config.name, config.shard.len(), config.node.len());
    route(Arc::new(config), transports, listener, &place, stop).await
}

async fn listen(address: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address: address.to_owned(), source })
}

/// Serves the HTTP API of the cluster at the other end of `transports` until `stop`.
async fn route(
    config: Arc<Config>,
    transports: Vec<Arc<dyn Transport>>,
    listener: TcpListener,
    place: &str,
    stop: CancellationToken,
) -> Result<(), Error> {
    let cluster = Cluster::start(&config, transports, &config.shard);
    let catalog = Catalog::start(cluster.clone(), system_clock());
    let app = App::new(cluster.clone(), catalog, config.clone())?;
    let wire = HttpWire::new(&config.replicator).map_err(Error::Replicator)?;
    let replicator = app.replicator.clone();
    let routes = crate::http::routes(app);
    replicator.start(crate::http::service(&routes), Arc::new(wire));
    greet(&listener, &config, place);
    // An answer is often smaller than a segment; waiting to fill one would add 40 ms.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    });
    serve(listener, routes, &config.limits, stop).await;
    replicator.stop().await;
    cluster.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// What somebody needs who has just started it.
fn greet(listener: &TcpListener, config: &Config, place: &str) {
    let address = listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
    let user = config
        .admin
        .iter()
        .chain(&config.admins)
        .next()
        .map_or_else(String::new, |admin| format!("-u {} ", admin.name));
    println!("Quorate {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    println!("{place}");
    println!("try:  curl {user}-X PUT http://{address}/demo");
    println!("      curl {user}-X PUT http://{address}/demo/hello -d '{{\"world\":true}}'");
}

/// The folder as somebody in another folder can find it.
fn shown(data: &std::path::Path) -> String {
    data.canonicalize().unwrap_or_else(|_| data.to_owned()).display().to_string()
}

fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Cancelled by the first Ctrl-C or SIGTERM. A second one ends the process at once.
fn stop_on_signals() -> Result<CancellationToken, Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    // Ends with the runtime: it waits for the second signal until the very end.
    tokio::spawn(async move {
        for count in 1.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if count > 1 {
                tracing::warn!("ending at once");
                std::process::exit(130);
            }
            tracing::info!("ending");
            told.cancel();
        }
    });
    Ok(stop)
}

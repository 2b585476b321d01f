//! `quorate-shard-node`: one node as a process of its own.

mod cli;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use clap::Parser;
use cli::Task;
use common::config::{Config, Deployment};
use shard_node::check::check;
use shard_node::http::client::HttpPeers;
use shard_node::http::routes;
use shard_node::node::{Node, Setup, exit};
use shard_node::{runtime, telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Requests under way get this long to end after the last shard was handed over.
const GRACE: Duration = Duration::from_secs(2);

/// Batches of documents come and go by the megabyte: the system's allocator gives their pages back to the kernel each
/// time and gets them back one fault at a time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    end_on_panic();
    runtime::small_pages();
    match start(cli::Args::parse().task()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-shard-node: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A panic anywhere leaves something half done; a supervisor starts the process again.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(70);
    }));
}

fn start(task: Task) -> Result<(), Box<dyn Error>> {
    let args = match task {
        Task::Check(url) => return Ok(runtime::run(1, check(&url))??),
        Task::Run(args) => args,
    };
    let config = Config::load(Some(&args.cluster), &[])?;
    config.check(Deployment::Cluster)?;
    // Dropped at the very end, outside of the runtime.
    let _telemetry = telemetry::init(&config, "quorate-shard-node", args.node.as_str())?;
    let cores = std::thread::available_parallelism()?.get();
    runtime::run(config.process.threads(Deployment::Cluster, cores), run(args, config))?
}

async fn run(args: cli::Run, config: Config) -> Result<(), Box<dyn Error>> {
    let configured = config.address_of(&args.node);
    let configured = configured.ok_or_else(|| format!("there is no [[node]] '{}' in the cluster file", args.node))?;
    let listen = args.listen.unwrap_or_else(|| configured.to_owned());
    config.check_listen(&listen, false)?;
    let secret = config.secret()?;
    let data = args.data.or_else(|| config.storage.data.clone()).unwrap_or_else(|| PathBuf::from("quorate-data"));
    // Bound before anything is opened: a port in use must not touch data.
    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("{listen}: {error}"))?;
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays with delays");
        }
    });
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let peers = Arc::new(HttpPeers::tcp(&config, secret.as_ref()));
    let setup = Setup { config: Arc::new(config), node: args.node, data, peers, fatal: exit() };
    let node = Node::start(setup).await?;
    let served = axum::serve(listener, routes(node.clone(), secret));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = served.with_graceful_shutdown(async { _ = stopped.await });
    let mut serving = tokio::spawn(served.into_future());
    tracing::info!(node = %node.id(), %listen, "serving");
    tokio::select! {
        outcome = &mut serving => outcome??,
        _ = term.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
    }
    // Still serving: the others need our answers to take over.
    node.hand_over().await;
    node.shutdown().await;
    _ = stop.send(());
    if tokio::time::timeout(GRACE, serving).await.is_err() {
        tracing::info!("connections that were still open are dropped");
    }
    tracing::info!("stopped");
    Ok(())
}

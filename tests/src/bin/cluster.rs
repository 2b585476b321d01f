//! Starts a cluster of real processes, runs a command against it, and tells what the processes used.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use common::config::{Admin, EngineKind};
use harness::Result;
use harness::cluster::Cluster;
use harness::embedded::Embedded;
use harness::layout::Layout;
use harness::process::Process;

/// Starts a cluster, runs a command with {urls} replaced by its routers' URLs, {pids} by its processes and {folder} by
/// the folder of its files, and prints what each process used.
/// Without a command it runs until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
struct Options {
    /// Nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Shards.
    #[arg(long, default_value_t = 3)]
    shards: usize,
    /// Replicas of each shard.
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Routers.
    #[arg(long, default_value_t = 1)]
    routers: usize,
    /// `fjall`, `sled` or `memory`.
    #[arg(long, default_value = "fjall")]
    engine: String,
    /// Configures an admin called `admin` with this password; without it everybody on this machine is let in.
    #[arg(long, value_name = "PASSWORD")]
    admin: Option<String>,
    /// One process in embedded mode instead of nodes and routers.
    #[arg(long, conflicts_with_all = ["nodes", "routers", "engine"])]
    embedded: bool,
    /// The command, behind `--`.
    #[arg(last = true)]
    command: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<ExitCode> {
    if options.embedded { run_embedded(options).await } else { run_cluster(options).await }
}

async fn run_embedded(options: &Options) -> Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("quorate-").tempdir()?;
    let (shards, replicas) = (options.shards.to_string(), options.replicas.to_string());
    let args = ["--shards", &shards, "--replicas", &replicas];
    let mut embedded = match &options.admin {
        None => Embedded::start(folder.path(), &args).await?,
        Some(password) => Embedded::with_admin(folder.path(), &args, password).await?,
    };
    let url = format!("http://{}", embedded.address());
    eprintln!("embedded: {url}, files in {}", folder.path().display());
    let pids = pids(embedded.process().pid());
    let code = command(options, &url, &pids, folder.path()).await?;
    tell("embedded", embedded.process());
    Ok(code)
}

async fn run_cluster(options: &Options) -> Result<ExitCode> {
    let engine = match options.engine.as_str() {
        "fjall" => EngineKind::Fjall,
        "sled" => EngineKind::Sled,
        "memory" => EngineKind::Memory,
        other => return Err(format!("no engine is called {other}").into()),
    };
    let layout = Layout {
        nodes: options.nodes,
        shards: options.shards,
        replicas: options.replicas,
        routers: options.routers,
        ..Layout::three(options.shards).engine(engine)
    };
    let layout = match options.admin.clone() {
        None => layout,
        password => layout.tuned(move |config| {
            let admin = Admin { name: "admin".to_owned(), password: password.clone(), password_file: None };
            config.admin = Some(admin);
        }),
    };
    let mut cluster = Cluster::start(layout).await?;
    let urls: Vec<String> = cluster.routers().iter().map(|router| router.base().to_owned()).collect();
    let urls = urls.join(",");
    eprintln!("{:?}: {urls}, files in {}", cluster.layout(), cluster.folder().display());
    let pids = pids(cluster.names().iter().filter_map(|name| cluster.process(name).pid()));
    let code = command(options, &urls, &pids, cluster.folder()).await?;
    for name in cluster.names() {
        tell(&name, cluster.process(&name));
    }
    Ok(code)
}

fn pids(pids: impl IntoIterator<Item = u32>) -> String {
    pids.into_iter().map(|pid| pid.to_string()).collect::<Vec<_>>().join(",")
}

/// Runs the command to its end, or waits for Ctrl-C.
async fn command(options: &Options, urls: &str, pids: &str, folder: &Path) -> Result<ExitCode> {
    let Some((program, args)) = options.command.split_first() else {
        tokio::signal::ctrl_c().await?;
        return Ok(ExitCode::SUCCESS);
    };
    let folder = folder.display().to_string();
    let args = args.iter().map(|arg| arg.replace("{urls}", urls).replace("{pids}", pids).replace("{folder}", &folder));
    let status = tokio::process::Command::new(program).args(args).kill_on_drop(true).status().await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(name: &str, process: &Process) {
    let usage = process.usage();
    let mib = usage.rss_peak_bytes as f64 / f64::from(1 << 20);
    println!("{name:<4} peak memory {mib:>6.0} MiB, CPU {:>7.1} s", usage.cpu.as_secs_f64());
}

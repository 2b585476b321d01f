//! Kills the primary of a random shard again and again under load, and tells how long that shard's writes were silent
//! and whether anything was lost. Exits with 1 when a promise was broken.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::config::EngineKind;
use harness::Result;
use harness::cluster::Cluster;
use harness::layout::Layout;
use harness::load::{Load, Options as LoadOptions};
use harness::shards::keys_by_shard;
use harness::silence::{percentile, silence};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const DB: &str = "chaos";
/// Keys of each writer: few enough to read back soon, enough that writes do not meet their own echo.
const KEYS: usize = 20;
/// How long after the kill a silence that belongs to it may begin: a dead primary's last answers are out by then.
const BEGINS_WITHIN: Duration = Duration::from_millis(500);
/// A shard silent for longer than this has lost its quorum.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Kills primaries under load.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Options {
    /// How many primaries to kill.
    #[arg(default_value_t = 30)]
    kills: usize,
    /// Nodes; with fewer than nine, nodes host replicas of several shards.
    #[arg(long, default_value_t = 9)]
    nodes: usize,
    /// Routers.
    #[arg(long, default_value_t = 2)]
    routers: usize,
    /// Writers, spread over the shards.
    #[arg(long, default_value_t = 16)]
    writers: usize,
    /// Pause of each writer between two writes, in milliseconds.
    #[arg(long, default_value_t = 5)]
    pause_ms: u64,
    /// Use sled instead of fjall.
    #[arg(long)]
    sled: bool,
    /// Repeats an earlier run's choices.
    #[arg(long)]
    seed: Option<u64>,
}

/// One kill.
struct Round {
    shard: usize,
    node: String,
    silent: Duration,
    /// Errors that writers of other shards met from the kill to the end of the round.
    errors_elsewhere: usize,
    errors_here: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let engine = if options.sled { EngineKind::Sled } else { EngineKind::Fjall };
    let layout = Layout { nodes: options.nodes, ..Layout::nine().routers(options.routers).engine(engine) };
    println!("{layout:?}, {} writers", options.writers);
    let mut cluster = Cluster::start(layout).await?;
    let load = start_load(&cluster, options).await?;
    load.progress(500, None, SILENCE_MAX).await?;
    let rounds = kill_all(&mut cluster, &load, options, StdRng::seed_from_u64(seed)).await;
    if rounds.is_err() {
        eprintln!("{}", cluster.logs());
    }
    let rounds = rounds?;
    report(&rounds);
    let verdict = load.finish().await?;
    println!("{verdict}");
    if !verdict.is_clean() {
        println!("{verdict:#?}\n{}", cluster.logs());
    }
    Ok(verdict.is_clean())
}

async fn start_load(cluster: &Cluster, options: &Options) -> Result<Load> {
    let shards = cluster.layout().shards;
    let router = cluster.router(1);
    router.create_db(DB).await?;
    let per_shard = options.writers.div_ceil(shards);
    let mut keys = keys_by_shard(&router, DB, "k", shards, per_shard * KEYS).await?;
    let writers = (0..options.writers).map(|writer| {
        let own = &mut keys[writer % shards];
        (writer % shards, own.split_off(own.len() - KEYS))
    });
    let load = LoadOptions {
        db: DB.to_owned(),
        writers: writers.collect(),
        readers: 2,
        pause: Duration::from_millis(options.pause_ms),
        retry: Duration::ZERO,
    };
    Ok(Load::start(cluster.routers(), load))
}

async fn kill_all(cluster: &mut Cluster, load: &Load, options: &Options, mut random: StdRng) -> Result<Vec<Round>> {
    let mut rounds = Vec::new();
    for number in 1..=options.kills {
        cluster.wait_healthy().await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1_000))).await;
        let shard = random.random_range(0..cluster.layout().shards);
        let round = kill_one(cluster, load, shard).await?;
        println!(
            "kill {number:>3}: shard {shard} primary {}, silent {:>5} ms, errors here {}, on other shards {}",
            round.node,
            round.silent.as_millis(),
            round.errors_here,
            round.errors_elsewhere
        );
        rounds.push(round);
    }
    cluster.wait_healthy().await?;
    Ok(rounds)
}

async fn kill_one(cluster: &mut Cluster, load: &Load, shard: usize) -> Result<Round> {
    let node = cluster.primary_of(u32::try_from(shard)?).await?;
    let killed = load.now();
    cluster.kill(&node);
    // Past the moment up to which a silence may begin, then to the end of the silence.
    tokio::time::sleep(BEGINS_WITHIN).await;
    load.progress(20, Some(shard), SILENCE_MAX).await?;
    cluster.restart(&node)?;
    let events = load.writes();
    let acks: Vec<Duration> =
        events.iter().filter(|event| event.group == shard && event.error.is_none()).map(|event| event.at).collect();
    let silent = silence(&acks, killed, BEGINS_WITHIN).ok_or("no writes around the kill")?;
    let errors = events.iter().filter(|event| event.at > killed && event.error.is_some());
    let (here, elsewhere): (Vec<_>, Vec<_>) = errors.partition(|event| event.group == shard);
    if let Some(error) = elsewhere.first().and_then(|event| event.error.as_ref()) {
        println!("  another shard's writer: {error}");
    }
    Ok(Round { shard, node, silent, errors_here: here.len(), errors_elsewhere: elsewhere.len() })
}

fn report(rounds: &[Round]) {
    let mut silences: Vec<Duration> = rounds.iter().map(|round| round.silent).collect();
    silences.sort_unstable();
    let ms = |percent| percentile(&silences, percent).as_millis();
    let (min, max) = (silences.first().copied().unwrap_or_default(), silences.last().copied().unwrap_or_default());
    println!(
        "writes of the killed primary's shard were silent: min {} ms, p50 {} ms, p90 {} ms, p99 {} ms, max {} ms",
        min.as_millis(),
        ms(50),
        ms(90),
        ms(99),
        max.as_millis()
    );
    let shards: std::collections::BTreeSet<usize> = rounds.iter().map(|round| round.shard).collect();
    let elsewhere: usize = rounds.iter().map(|round| round.errors_elsewhere).sum();
    println!("{} kills on {} shards, errors seen by writers of other shards: {elsewhere}", rounds.len(), shards.len());
}

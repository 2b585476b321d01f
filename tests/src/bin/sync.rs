//! Two databases replicate continuously both ways, writers write to both and clients that are offline now and then
//! synchronise with both, while primaries, and routers, are killed. In the end both databases and all clients must hold
//! the same, and everything that was acknowledged. Exits with 1 otherwise.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::config::Config;
use harness::Result;
use harness::cluster::Cluster;
use harness::layout::Layout;
use harness::sync::{Acknowledged, Offline, Stubborn, Writer, differences, documents, lost};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The two databases.
const SIDES: [&str; 2] = ["left", "right"];
/// Longest wait until everything is equal once nobody writes any more.
const SETTLE: Duration = Duration::from_secs(180);

/// Kills primaries while databases and clients synchronise.
#[derive(Debug, Parser)]
#[command(name = "sync")]
struct Options {
    /// How long to write and kill, in seconds.
    #[arg(default_value_t = 120)]
    seconds: u64,
    /// Seconds from one kill to the next.
    #[arg(long, default_value_t = 5)]
    every: u64,
    /// Clusters: the databases are in one, or in two that call each other.
    #[arg(long, default_value_t = 1)]
    clusters: usize,
    /// Nodes of each cluster.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Writers at each database.
    #[arg(long, default_value_t = 2)]
    writers: usize,
    /// Pause of each writer between two writes, in milliseconds.
    #[arg(long, default_value_t = 50)]
    pause_ms: u64,
    /// Documents that everybody writes.
    #[arg(long, default_value_t = 60)]
    documents: usize,
    /// No document gets an attachment; otherwise some do.
    #[arg(long)]
    without_attachments: bool,
    /// Repeats an earlier run's choices.
    #[arg(long)]
    seed: Option<u64>,
}

/// What was seen.
#[derive(Debug, Default)]
struct Counts {
    kills: usize,
    routers_killed: usize,
    edits: usize,
    failed: usize,
    acknowledged: [Acknowledged; 2],
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sync: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut clusters = Vec::new();
    for _ in 0..options.clusters.clamp(1, 2) {
        let layout = Layout { nodes: options.nodes, ..Layout::three(3).routers(2).tuned(open) };
        println!("{layout:?}");
        clusters.push(Cluster::start(layout).await?);
    }
    let ran = on(&mut clusters, options, seed).await;
    if !matches!(ran, Ok(true)) {
        clusters.iter().for_each(|cluster| eprintln!("{}", cluster.logs()));
    }
    ran
}

/// Lets replications call this machine.
fn open(config: &mut Config) {
    config.replicator.allow = vec!["*".to_owned()];
    config.replicator.networks = vec!["127.0.0.0/8".parse().expect("a network")];
    (config.replicator.checkpoint_interval_ms, config.replicator.backoff_max_s) = (1_000, 5);
    config.replicator.takeover_ms = 5_000;
    // This is about what arrives, not about the time a failover takes: a busy machine is to hold no elections in between.
    (config.replication.health_check_interval_ms, config.replication.failover_timeout_ms) = (200, 1_500);
}

async fn on(clusters: &mut [Cluster], options: &Options, seed: u64) -> Result<bool> {
    let mut random = StdRng::seed_from_u64(seed);
    let sides: [Stubborn; 2] = [0, 1].map(|side| {
        let cluster = &clusters[side % clusters.len()];
        Stubborn::new(&cluster.routers(), SIDES[side])
    });
    for (side, db) in SIDES.iter().enumerate() {
        clusters[side % clusters.len()].router(1).create_db(db).await?;
    }
    let attachments = !options.without_attachments;
    println!("attachments: {}", if attachments { "yes" } else { "no" });
    replicate(clusters).await?;

    let (stop, mut writers) = (CancellationToken::new(), JoinSet::new());
    for (number, at) in sides.iter().cycle().take(2 * options.writers).enumerate() {
        let pause = Duration::from_millis(options.pause_ms);
        let seed = random.random();
        let writer = Writer { at: at.clone(), documents: options.documents, pause, attachments, seed };
        let stop = stop.clone();
        writers.spawn(async move { (number % 2, writer.run(stop).await) });
    }
    let mut offline = JoinSet::new();
    for (side, at) in sides.iter().enumerate() {
        let client = Offline::new(&format!("client{side}"), at.clone(), attachments, random.random());
        offline.spawn(online_now_and_then(client, side, options.documents, random.random(), stop.clone()));
    }
    let mut counts = Counts::default();
    let killed = kill(clusters, options, &mut random, &mut counts).await;
    stop.cancel();
    killed?;
    while let Some(ended) = writers.join_next().await {
        let (side, (acknowledged, failed)) = ended?;
        counts.acknowledged[side].extend(acknowledged);
        counts.failed += failed;
    }
    let mut clients = Vec::new();
    while let Some(ended) = offline.join_next().await {
        let (side, client) = ended?;
        clients.push((side, client?));
    }
    for cluster in clusters.iter_mut() {
        cluster.wait_healthy().await?;
    }
    settle(&sides, clients, counts).await
}

/// Both ways, as documents of `_replicator` ask for it.
async fn replicate(clusters: &[Cluster]) -> Result<()> {
    let router = clusters[0].router(1);
    let [left, right] = SIDES;
    let far = match clusters {
        [_, other] => format!("{}/{right}", other.router(1).base()),
        _ => right.to_owned(),
    };
    for (id, source, target) in [("there", left, far.as_str()), ("back", far.as_str(), left)] {
        let wish = json!({ "source": source, "target": target, "continuous": true });
        router.put(&format!("/_replicator/{id}"), wish.to_string()).await?.expect(201)?;
    }
    Ok(())
}

/// Kills a primary, and every third time a router, and starts it again.
async fn kill(clusters: &mut [Cluster], options: &Options, random: &mut StdRng, counts: &mut Counts) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let mut next = Instant::now();
    loop {
        next += Duration::from_secs(options.every);
        if next >= until {
            tokio::time::sleep_until(until).await;
            return Ok(());
        }
        tokio::time::sleep_until(next).await;
        let at = random.random_range(0..clusters.len());
        let cluster = &mut clusters[at];
        cluster.wait_healthy().await?;
        let shard = random.random_range(0..u32::try_from(cluster.layout().shards)?);
        let mut victims = vec![cluster.primary_of(shard).await?];
        if counts.kills % 3 == 2 {
            victims.push(format!("r{}", random.random_range(1..=cluster.layout().routers)));
            counts.routers_killed += 1;
        }
        println!("kill {:>2}: shard {shard} of cluster {at}: {}", counts.kills + 1, victims.join(" and "));
        victims.iter().for_each(|name| cluster.kill(name));
        counts.kills += 1;
        tokio::time::sleep(Duration::from_millis(random.random_range(200..2_000))).await;
        for name in &victims {
            cluster.restart(name)?;
        }
    }
}

/// Edits while offline, synchronises, and again.
async fn online_now_and_then(
    mut client: Offline,
    side: usize,
    documents: usize,
    seed: u64,
    stop: CancellationToken,
) -> (usize, Result<Offline>) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.is_cancelled() {
        for _ in 0..random.random_range(1..8) {
            client.edit(documents);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1_500))).await;
        if let Err(error) = client.sync().await {
            return (side, Err(error));
        }
    }
    (side, Ok(client))
}

/// Waits until everybody has the same, and looks whether that is everything.
async fn settle(sides: &[Stubborn; 2], mut clients: Vec<(usize, Offline)>, mut counts: Counts) -> Result<bool> {
    let begun = Instant::now();
    let (all, found) = loop {
        let mut quiet = true;
        for (_, client) in &mut clients {
            quiet &= !client.sync().await?;
        }
        let all = [documents(&sides[0]).await?, documents(&sides[1]).await?];
        let found = differences((SIDES[0], &all[0]), (SIDES[1], &all[1]));
        if (quiet && found.is_empty()) || begun.elapsed() > SETTLE {
            break (all, found);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let mut wrong = found;
    for (side, client) in &clients {
        let name = format!("client of {}", SIDES[*side]);
        wrong.extend(differences((SIDES[*side], &all[*side]), (&name, &client.documents())));
        counts.acknowledged[*side].extend(client.acknowledged.iter().cloned());
        counts.edits += client.edits;
    }
    for at in sides {
        for acknowledged in &counts.acknowledged {
            wrong.extend(lost(at, acknowledged).await?);
        }
    }
    let leaves = |all: &harness::sync::Documents| all.values().map(std::collections::BTreeMap::len).sum::<usize>();
    let conflicts = leaves(&all[0]) - all[0].len();
    println!("{} kills of primaries, {} of routers with them", counts.kills, counts.routers_killed);
    println!(
        "acknowledged {} and {}, of that edited offline {}; not answered or refused {}",
        counts.acknowledged[0].len(),
        counts.acknowledged[1].len(),
        counts.edits,
        counts.failed
    );
    println!(
        "{} documents with {conflicts} conflicting leaves everywhere after {:.1} s; different or lost: {}",
        all[0].len(),
        begun.elapsed().as_secs_f64(),
        wrong.len()
    );
    wrong.iter().take(50).for_each(|wrong| println!("  {wrong}"));
    Ok(wrong.is_empty())
}

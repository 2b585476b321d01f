//! Primaries die, stop and step down under load; nothing acknowledged is lost, nothing is done twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::ids::{NodeId, ShardId, Term};
use common::state::{Promote, Role};
use harness::Result;
use harness::client::Client;
use harness::cluster::{Cluster, PATIENCE};
use harness::layout::Layout;
use harness::load::{Load, Options, had_no_effect};
use harness::scenario::{kills, scenario};
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

const DB: &str = "facts";

async fn load(cluster: &Cluster) -> Result<Load> {
    cluster.router(1).create_db(DB).await?;
    let load = Load::start(cluster.routers(), Options::simple(DB, 12, 12));
    load.progress(300, None, PATIENCE).await?;
    Ok(load)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_write_survives_the_kill_of_all_nine_nodes() {
    scenario(Layout::nine(), async |cluster| {
        let load = load(cluster).await?;
        let nodes = cluster.layout().node_names();
        for _ in 0..kills(2).min(5) {
            cluster.kill_all(&nodes);
            for node in &nodes {
                cluster.restart(node)?;
            }
            cluster.wait_healthy().await?;
            load.progress(300, None, PATIENCE).await?;
        }
        load.finish().await?.clean().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_each_primary_in_turn_under_load_loses_nothing() {
    scenario(Layout::nine(), async |cluster| {
        let load = load(cluster).await?;
        for kill in 0..kills(6) {
            let primary = cluster.primary_of(u32::try_from(kill % 3)?).await?;
            cluster.kill(&primary);
            load.progress(200, None, PATIENCE).await?;
            cluster.restart(&primary)?;
            cluster.wait_healthy().await?;
        }
        load.finish().await?.clean().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_stopped_for_ten_seconds_gives_no_stale_read_and_loses_no_write() {
    scenario(Layout::three(1).routers(2), async |cluster| {
        let load = load(cluster).await?;
        let old = cluster.primary_of(0).await?;
        cluster.pause(&old);
        let stopped = Instant::now();
        load.progress(200, None, PATIENCE).await?;
        tokio::time::sleep_until(stopped + Duration::from_secs(10)).await;
        cluster.resume(&old);
        load.progress(500, None, PATIENCE).await?;
        cluster.wait_healthy().await?;
        load.finish().await?.clean().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_asked_to_end_hands_over_first_and_ends_cleanly() {
    scenario(Layout::three(3).routers(2), async |cluster| {
        let load = load(cluster).await?;
        let primary = cluster.primary_of(0).await?;
        let process = cluster.process(&primary);
        process.signal(Signal::TERM);
        let ended = process.ended(Duration::from_secs(20)).await?.ok_or("it did not end within 20 s of SIGTERM")?;
        if ended.code() != Some(0) {
            return Err(format!("{primary} ended with {ended}").into());
        }
        load.progress(200, None, PATIENCE).await?;
        cluster.restart(&primary)?;
        cluster.wait_healthy().await?;
        load.finish().await?.clean().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_heals_with_no_router_alive() {
    scenario(Layout::three(1), async |cluster| {
        cluster.kill("r1");
        let old = cluster.primary_of(0).await?;
        cluster.kill(&old);
        cluster
            .wait_until(PATIENCE, |states| {
                let primary = harness::replica::primary_of(ShardId(0), states);
                if primary.is_some() { Ok(()) } else { Err(format!("no primary: {states:#?}")) }
            })
            .await?;
        cluster.restart(&old)?;
        cluster.restart("r1")?;
        cluster.wait_healthy().await
    })
    .await;
}

/// Watches all replicas, and fails when two of them lead in one term.
async fn one_primary_per_term(cluster: &Cluster, seen: &mut BTreeMap<Term, NodeId>, watch: Duration) -> Result<()> {
    let until = Instant::now() + watch;
    while Instant::now() < until {
        for replica in cluster.states().await.into_iter().flat_map(|state| state.replicas) {
            if replica.role == Role::Primary {
                let first = seen.entry(replica.term).or_insert_with(|| replica.node.clone());
                if *first != replica.node {
                    return Err(format!("{first} and {} lead in term {}", replica.node, replica.term).into());
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_promote_at_once_leave_one_primary_per_term() {
    scenario(Layout::three(1).routers(2), async |cluster| {
        let load = load(cluster).await?;
        let mut seen = BTreeMap::new();
        for _ in 0..kills(3) {
            let old = cluster.primary_of(0).await?;
            let term = cluster.node(&old).state().await?.replicas[0].term;
            cluster.pause(&old);
            let others: Vec<_> =
                cluster.layout().node_names().iter().filter(|n| **n != old).map(|n| cluster.node(n)).collect();
            let promote = Promote { shard: ShardId(0), term, planned: false };
            // Both routers' coordinators act at the same time as these two; all may be refused by the lease.
            for _ in 0..10 {
                let asked = futures::future::join_all(others.iter().map(|node| node.promote(&promote))).await;
                asked.into_iter().collect::<Result<Vec<_>>>()?;
                one_primary_per_term(cluster, &mut seen, Duration::from_millis(100)).await?;
            }
            cluster.resume(&old);
            one_primary_per_term(cluster, &mut seen, Duration::from_millis(500)).await?;
            cluster.wait_healthy().await?;
        }
        load.progress(100, None, PATIENCE).await?;
        load.finish().await?.clean().map(drop)
    })
    .await;
}

const INCREMENTS: usize = 1_000;
const COUNTERS: usize = 8;

/// Adds one to a counter; an edit whose outcome is unknown is sent again under its key until it is known.
async fn increment(clients: &[Client], turn: &AtomicUsize, counter: usize, key: &str) -> Result<()> {
    let client = || &clients[turn.fetch_add(1, Ordering::Relaxed) % clients.len()];
    let path = format!("/{DB}/counter-{counter}");
    let until = Instant::now() + Duration::from_secs(120);
    let mut attempt = 0;
    while Instant::now() < until {
        let Some(now) = client().get(&path).await.ok().filter(|reply| reply.status == 200) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let sum = now.json()["sum"].as_u64().ok_or("no sum")?;
        let edit = json!({ "_rev": now.field("_rev"), "sum": sum + 1 }).to_string();
        attempt += 1;
        if settled(&client, &path, &edit, &format!("{key}-{attempt}"), until).await? {
            return Ok(());
        }
    }
    Err(format!("{key}: not done in 120 s").into())
}

/// Whether the edit took effect, once that is known.
async fn settled<'a>(
    client: &impl Fn() -> &'a Client,
    path: &str,
    edit: &str,
    key: &str,
    until: Instant,
) -> Result<bool> {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    let mut unsure = false;
    while Instant::now() < until {
        let answer = client().send(http::Method::PUT, path, &headers, edit.to_owned().into()).await;
        match &answer {
            Ok(reply) if reply.status == 201 => return Ok(true),
            // A conflict is final: had an earlier attempt taken effect, its key would have been recognised.
            Ok(reply) if reply.status == 409 => return Ok(false),
            // An error without effect says so of this attempt only.
            _ if had_no_effect(&answer) && !unsure => return Ok(false),
            _ => unsure = true,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("{key}: outcome not known in time").into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_increments_by_sixteen_clients_through_kills_sum_up_exactly() {
    scenario(Layout::nine(), async |cluster| {
        let client = cluster.router(1);
        client.create_db(DB).await?;
        for counter in 0..COUNTERS {
            client.put(&format!("/{DB}/counter-{counter}"), r#"{"sum":0}"#).await?.expect(201)?;
        }
        let (routers, turn, next) = (cluster.routers(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for number in 0..16 {
            let (routers, turn, next) = (routers.clone(), turn.clone(), next.clone());
            clients.spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= INCREMENTS {
                        return Ok::<(), harness::Error>(());
                    }
                    increment(&routers, &turn, n % COUNTERS, &format!("client{number}-{n}")).await?;
                }
            });
        }
        for kill in 0..kills(4) {
            if next.load(Ordering::Relaxed) >= INCREMENTS {
                break;
            }
            let primary = cluster.primary_of(u32::try_from(kill % 3)?).await?;
            cluster.kill(&primary);
            tokio::time::sleep(Duration::from_millis(700)).await;
            cluster.restart(&primary)?;
            cluster.wait_healthy().await?;
        }
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        let mut sum = 0;
        for counter in 0..COUNTERS {
            let reply = client.get(&format!("/{DB}/counter-{counter}")).await?.expect(200)?;
            sum += reply.json()["sum"].as_u64().ok_or("no sum")?;
        }
        if sum == INCREMENTS as u64 { Ok(()) } else { Err(format!("the sum is {sum}, not {INCREMENTS}").into()) }
    })
    .await;
}

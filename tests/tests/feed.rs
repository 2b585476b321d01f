//! Feeds that go on: read slowly, cut off, resumed through whoever is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use harness::Result;
use harness::client::Client;
use harness::cluster::{Cluster, PATIENCE};
use harness::feed::{Feed, Kind, Row};
use harness::layout::Layout;
use harness::load::{Load, Options};
use harness::scenario::scenario;
use serde_json::{Value, json};
use tokio::time::Instant;

const DB: &str = "facts";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

fn ensure(fact: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if fact { Ok(()) } else { Err(otherwise().into()) }
}

/// The sum of a metric's values, whatever its labels.
async fn metric(client: &Client, name: &str) -> Result<f64> {
    let text = client.get("/_metrics").await?.expect(200)?.text();
    let is_of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    Ok(text.lines().filter(is_of).filter_map(value).sum())
}

/// Readers that never read.
const READERS: usize = 8;
/// Documents, and how large each is.
const DOCS: usize = 600;
const DOC_BYTES: usize = 100_000;
/// What all readers together may take of the router's memory: half of what the feed has for them, and several pages each.
const MEMORY_MAX: f64 = (READERS * DOCS * DOC_BYTES / 2) as f64;

#[tokio::test(flavor = "multi_thread")]
async fn readers_who_never_read_are_bounded_in_memory_cut_off_and_go_on_from_their_last_row() {
    let tuned = Layout::three(1).tuned(|config| config.limits.send_timeout_ms = 1_000);
    scenario(tuned, async |cluster| {
        let client = cluster.router(1);
        client.create_db(DB).await?;
        let pad = "x".repeat(DOC_BYTES);
        for batch in 0..DOCS / 20 {
            let doc = |n: usize| json!({"_id": format!("doc-{:04}", 20 * batch + n), "pad": pad});
            client.bulk(DB, &(0..20).map(doc).collect::<Vec<_>>()).await?;
        }
        // What it takes to send all of it once has been taken before.
        client.get(&format!("/{DB}/_changes?include_docs=true")).await?.expect(200)?;
        let before = metric(&client, "process_resident_memory_bytes").await?;
        let mut feeds = Vec::new();
        for n in 0..READERS {
            let kind = if n % 2 == 0 { Kind::Continuous } else { Kind::EventSource };
            feeds.push(Feed::open(&cluster.address_of("r1"), DB, kind, "0", "&include_docs=true&heartbeat=100").await?);
        }
        let (mut highest, until) = (before, Instant::now() + PATIENCE);
        while metric(&client, "quorate_feed_readers").await? > 0.0 {
            ensure(Instant::now() < until, || "the readers are still there".to_owned())?;
            highest = highest.max(metric(&client, "process_resident_memory_bytes").await?);
            tokio::time::sleep(LOOK).await;
        }
        ensure(highest - before < MEMORY_MAX, || format!("the router grew from {before} to {highest} bytes"))?;
        // The others did not notice.
        client.put(&format!("/{DB}/later"), "{}").await?.expect(201)?;
        let all: BTreeSet<String> = (0..DOCS).map(|n| format!("doc-{n:04}")).chain(["later".to_owned()]).collect();
        for mut feed in feeds {
            let (mut seen, mut token) = (BTreeSet::new(), "0".to_owned());
            while let Some(Row { seq, id, .. }) = feed.next().await? {
                ensure(seen.insert(id.clone()), || format!("{id} came twice"))?;
                token = seq;
            }
            ensure(seen.len() < DOCS, || "it was sent all of it and never cut off".to_owned())?;
            for (id, _) in client.changes(DB, &token).await?.0 {
                ensure(seen.insert(id.clone()), || format!("{id} came again behind {token}"))?;
            }
            ensure(seen == all, || format!("{} of {} came", seen.len(), all.len()))?;
        }
        Ok(())
    })
    .await;
}

/// What a follower has seen.
#[derive(Debug, Default)]
struct Seen {
    /// The newest revision of each document.
    latest: BTreeMap<String, String>,
    token: String,
    number: u64,
    /// Feeds it has read from.
    feeds: usize,
}

impl Seen {
    fn row(&mut self, row: Row) -> Result<()> {
        ensure(row.number() > self.number, || format!("{row:?} came behind {}", self.token))?;
        self.number = row.number();
        self.token = row.seq;
        self.latest.insert(row.id, row.rev);
        Ok(())
    }
}

/// Follows a database's feed through one router and, when that ends, through the other.
async fn follow(routers: [String; 2], kind: Kind, seen: Arc<Mutex<Seen>>, stop: Arc<AtomicBool>) -> Result<()> {
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let token = seen.lock().unwrap_or_else(PoisonError::into_inner).token.clone();
        // Refused, or nobody is there: the other one is asked.
        let Ok(mut feed) = Feed::open(&routers[turn % 2], DB, kind, &token, "&heartbeat=100").await else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        seen.lock().unwrap_or_else(PoisonError::into_inner).feeds += 1;
        while !stop.load(Ordering::Relaxed) {
            let Ok(row) = tokio::time::timeout(LOOK, feed.next()).await else { continue };
            let Some(row) = row? else { break };
            seen.lock().unwrap_or_else(PoisonError::into_inner).row(row)?;
        }
    }
    Ok(())
}

/// What there is now.
async fn newest(client: &Client) -> Result<BTreeMap<String, String>> {
    let all = client.get(&format!("/{DB}/_all_docs")).await?.expect(200)?.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = all["rows"].as_array().ok_or("no rows")?;
    Ok(rows.iter().map(|row| (text(&row["id"]), text(&row["value"]["rev"]))).collect())
}

/// Waits until a follower has seen all there is.
async fn caught_up(client: &Client, seen: &Mutex<Seen>) -> Result<()> {
    let (wanted, until) = (newest(client).await?, Instant::now() + PATIENCE);
    loop {
        let latest = seen.lock().unwrap_or_else(PoisonError::into_inner).latest.clone();
        if latest == wanted {
            return Ok(());
        }
        ensure(Instant::now() < until, || format!("it saw {latest:#?}\nthere is {wanted:#?}"))?;
        tokio::time::sleep(LOOK).await;
    }
}

async fn tried(cluster: &mut Cluster) -> Result<()> {
    cluster.router(1).create_db(DB).await?;
    let routers = [cluster.address_of("r1"), cluster.address_of("r2")];
    let stop = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = [Kind::Continuous, Kind::EventSource]
        .map(|kind| {
            let seen = Arc::new(Mutex::new(Seen { token: "0".to_owned(), ..Seen::default() }));
            let task = tokio::spawn(follow(routers.clone(), kind, seen.clone(), stop.clone()));
            (seen, task)
        })
        .into();
    let load = Load::start(cluster.routers(), Options::simple(DB, 8, 8));
    for round in 0..4 {
        load.progress(100, None, PATIENCE).await?;
        let node = cluster.primary_of(round % 3).await?;
        let router = format!("r{}", round % 2 + 1);
        cluster.kill_all(&[node.clone(), router.clone()]);
        load.progress(50, None, PATIENCE).await?;
        cluster.restart(&node)?;
        cluster.restart(&router)?;
        cluster.wait_healthy().await?;
    }
    // Everything at once, and everybody comes back.
    let names = cluster.names();
    cluster.kill_all(&names);
    for name in &names {
        cluster.restart(name)?;
    }
    cluster.wait_healthy().await?;
    load.progress(100, None, PATIENCE).await?;
    load.finish().await?.clean()?;
    for (seen, _) in &followers {
        caught_up(&cluster.router(1), seen).await?;
    }
    stop.store(true, Ordering::Relaxed);
    for (seen, task) in followers {
        task.await??;
        let feeds = seen.lock().unwrap_or_else(PoisonError::into_inner).feeds;
        ensure(feeds > 1, || "its feed never broke".to_owned())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_feed_over_failovers_restarts_and_routers_neither_rewinds_nor_skips() {
    scenario(Layout::three(3).routers(2), tried).await;
}

//! Minorities, partitions, absences, full and failing disks, wrong folders and wrong files.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::config::EngineKind;
use common::ids::ShardId;
use harness::client::{Client, Reply};
use harness::cluster::{Cluster, PATIENCE};
use harness::layout::Layout;
use harness::load::{Load, Options};
use harness::process::{Process, Spec};
use harness::proxy::Link;
use harness::scenario::scenario;
use harness::{HEAVY, Result, needs};
use serde_json::{Value, json};
use tokio::time::Instant;

const DB: &str = "facts";
/// See `a_minority_answers_503_soon_and_never_2xx`. A minority is asked for longer than that.
const LAG_MAX_MS: u64 = 2_000;
/// Two seconds are promised; the rest is for a busy machine.
const QUICKLY: Duration = Duration::from_secs(4);

fn ensure(fact: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if fact { Ok(()) } else { Err(otherwise().into()) }
}

/// A 503 that names the reason, soon.
async fn unavailable(what: &str, answer: impl Future<Output = Result<Reply, harness::client::Failure>>) -> Result<()> {
    let asked = Instant::now();
    let reply = answer.await?;
    let took = asked.elapsed();
    ensure(reply.status == 503, || format!("{what}: {} {}", reply.status, reply.text()))?;
    let error = reply.field("error");
    ensure(error == "no_quorum" || error == "unknown_outcome", || format!("{what}: {}", reply.text()))?;
    ensure(took < QUICKLY, || format!("{what}: answered after {took:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_answers_503_soon_and_never_2xx() {
    // Short, so that it is over soon: however old what a minority has may be, it is all there is.
    let tuned = Layout::three(1).routers(2).tuned(|config| config.replication.max_replication_lag_ms = LAG_MAX_MS);
    scenario(tuned, async |cluster| {
        let (client, other) = (cluster.router(1), cluster.router(2));
        client.create_db(DB).await?;
        client.put(&format!("/{DB}/here"), r#"{"v":1}"#).await?.expect(201)?;
        for alive in ["n1", "n2", "n3"] {
            let others: Vec<String> = cluster.layout().node_names().into_iter().filter(|node| node != alive).collect();
            // A replica that has just started knows how recent it is with the first sign of life of its primary.
            tokio::time::sleep(Duration::from_millis(500)).await;
            // The first router never heard of this database.
            let unread = format!("unread-by-{alive}");
            other.create_db(&unread).await?;
            other.put(&format!("/{unread}/here"), r#"{"v":2}"#).await?.expect(201)?;
            // What is acknowledged is on two replicas; the third has it with the next signs of life.
            tokio::time::sleep(Duration::from_millis(500)).await;
            cluster.kill_all(&others);
            let eventual = async |db: &str| {
                for path in ["here?", "_all_docs?", "?"] {
                    let stale = client.get(&format!("/{db}/{path}consistency=eventual")).await?;
                    ensure(stale.status == 200, || format!("{path} of {db}, with {alive} alone: {}", stale.text()))?;
                }
                let names = client.get("/_all_dbs?consistency=eventual").await?.expect(200)?.text();
                ensure(names.contains(db), || format!("_all_dbs, with {alive} alone: {names}"))?;
                let read = client.get(&format!("/{db}/here?consistency=eventual")).await?.expect(200)?;
                let lag: u64 = read.header("x-quorate-lag").parse()?;
                Ok::<u64, harness::Error>(lag)
            };
            let early = eventual(&unread).await?;
            eventual(DB).await?;
            for n in 0..4 {
                unavailable("PUT", client.put(&format!("/{DB}/{alive}-{n}"), "{}")).await?;
                unavailable("GET", client.get(&format!("/{DB}/here"))).await?;
            }
            unavailable("_all_docs", client.get(&format!("/{DB}/_all_docs"))).await?;
            unavailable("_changes", client.get(&format!("/{DB}/_changes"))).await?;
            for db in [DB, &unread] {
                let late = eventual(db).await?;
                ensure(late > early.max(LAG_MAX_MS), || format!("{db}: {early} ms behind, and then {late} ms"))?;
            }
            for node in &others {
                cluster.restart(node)?;
            }
            cluster.wait_healthy().await?;
            client.get(&format!("/{DB}/here")).await?.expect(200)?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_cut_off_with_its_router_acknowledges_nothing_and_serves_nothing_stale() {
    scenario(Layout::three(1).routers(2).proxied(), async |cluster| {
        let (inside, outside) = (cluster.router(1), cluster.router(2));
        outside.create_db(DB).await?;
        outside.put(&format!("/{DB}/x"), r#"{"v":1}"#).await?.expect(201)?;
        for link in [Link::Silent, Link::Closed] {
            let old = cluster.primary_of(0).await?;
            let rest: Vec<String> = cluster.layout().node_names().into_iter().filter(|node| *node != old).collect();
            for node in &rest {
                cluster.link(&old, node, link);
                cluster.link("r1", node, link);
            }
            cluster.link("r2", &old, link);
            let before = outside_writes(&outside).await?;
            unavailable("GET", inside.get(&format!("/{DB}/x"))).await?;
            unavailable("PUT", inside.put(&format!("/{DB}/lost"), "{}")).await?;
            for node in &rest {
                cluster.link(&old, node, Link::Open);
                cluster.link("r1", node, Link::Open);
            }
            cluster.link("r2", &old, Link::Open);
            cluster.wait_healthy().await?;
            let now = inside.get(&format!("/{DB}/x")).await?.expect(200)?;
            ensure(now.json()["v"] == before, || format!("wrote {before}, then read {}", now.text()))?;
        }
        Ok(())
    })
    .await;
}

/// Writes `x` until it is acknowledged; what was written.
async fn outside_writes(client: &Client) -> Result<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let read = client.get(&format!("/{DB}/x")).await?;
        if read.status == 200 {
            let mut doc = read.json();
            let next = json!(doc["v"].as_u64().unwrap_or(0) + 1);
            doc["v"] = next.clone();
            if client.put(&format!("/{DB}/x"), doc.to_string()).await?.status == 201 {
                return Ok(next);
            }
        }
        ensure(Instant::now() < until, || format!("the majority takes no writes: {}", read.text()))?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_node_does_not_raise_terms() {
    scenario(Layout::three(1).proxied(), async |cluster| {
        for link in [Link::Silent, Link::Closed] {
            let primary = cluster.primary_of(0).await?;
            let before = cluster.node(&primary).state().await?.replicas[0].term;
            let apart = cluster.layout().node_names().into_iter().find(|node| *node != primary).ok_or("no follower")?;
            cluster.isolate(&apart, link);
            tokio::time::sleep(Duration::from_secs(4)).await;
            let alone = cluster.node(&apart).state().await?.replicas[0].clone();
            ensure(alone.term == before, || format!("{apart} alone went from term {before} to {}", alone.term))?;
            cluster.isolate(&apart, Link::Open);
            cluster.wait_healthy().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            for state in cluster.states().await {
                let term = state.replicas[0].term;
                ensure(term == before, || format!("{link:?}: term {before} became {term} on {}", state.node))?;
            }
            ensure(cluster.primary_of(0).await? == primary, || "the primary changed".to_owned())?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_links_cost_time_and_nothing_else() {
    scenario(Layout::three(1).proxied(), async |cluster| {
        cluster.router(1).create_db(DB).await?;
        let load = Load::start(cluster.routers(), Options::simple(DB, 8, 8));
        let primary = cluster.primary_of(0).await?;
        cluster.isolate(&primary, Link::Slow(Duration::from_millis(40)));
        load.progress(50, None, PATIENCE).await?;
        cluster.isolate(&primary, Link::Open);
        load.progress(50, None, PATIENCE).await?;
        cluster.wait_healthy().await?;
        load.finish().await?.clean().map(drop)
    })
    .await;
}

/// Waits until all replicas of shard 0 hold the same, and says how many documents that is.
async fn all_equal(cluster: &Cluster, db: &str) -> Result<u64> {
    let primary = cluster.node(&cluster.primary_of(0).await?);
    let uid = primary.db_uid(db).await?;
    cluster
        .wait_until(PATIENCE, |states| {
            let applied: Vec<_> = states.iter().flat_map(|s| &s.replicas).map(|r| (&r.node, r.applied)).collect();
            let equal = applied.len() == 3 && applied.iter().all(|(_, index)| *index == applied[0].1);
            if equal { Ok(()) } else { Err(format!("applied {applied:?}")) }
        })
        .await?;
    let expected = primary.content(ShardId(0), uid).await?;
    for node in cluster.layout().node_names() {
        let content = cluster.node(&node).content(ShardId(0), uid).await?;
        ensure(content == expected, || format!("{node} has {content:?}, {} has {expected:?}", primary.name()))?;
    }
    Ok(expected.docs)
}

async fn bulk_many(client: &Client, prefix: &str, docs: usize) -> Result<()> {
    for from in (0..docs).step_by(500) {
        let doc = |n| json!({ "_id": format!("{prefix}-{n:06}"), "n": n, "pad": "y".repeat(200) });
        client.bulk(DB, &(from..docs.min(from + 500)).map(doc).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

async fn absent_replicas_end_equal(engine: EngineKind) {
    // A short log, so that the absent ones need a snapshot.
    let layout = Layout::three(1).engine(engine).tuned(|config| {
        config.storage.segment_bytes = 1 << 20;
        config.storage.log_cache_bytes = 1 << 20;
        config.storage.log_keep_bytes = 1 << 20;
    });
    scenario(layout, async |cluster| {
        let client = cluster.router(1);
        client.create_db(DB).await?;
        bulk_many(&client, "early", 1_000).await?;
        let primary = cluster.primary_of(0).await?;
        let others: Vec<String> = cluster.layout().node_names().into_iter().filter(|node| *node != primary).collect();

        cluster.kill(&others[0]);
        bulk_many(&client, "while-down", 20_000).await?;
        cluster.restart(&others[0])?;
        cluster.wait_healthy().await?;
        ensure(all_equal(cluster, DB).await? == 21_000, || "not 21,000 documents".to_owned())?;

        cluster.kill(&others[1]);
        cluster.wipe(&others[1])?;
        cluster.restart(&others[1])?;
        // Writes go on while the empty one is filled.
        bulk_many(&client, "while-filled", 1_000).await?;
        cluster.wait_healthy_within(2 * PATIENCE).await?;
        ensure(all_equal(cluster, DB).await? == 22_000, || "not 22,000 documents".to_owned())?;

        // The new incarnation is a full member: with it the shard stands the loss of another.
        cluster.kill(&others[0]);
        bulk_many(&client, "after", 100).await?;
        cluster.restart(&others[0])?;
        cluster.wait_healthy().await?;
        ensure(all_equal(cluster, DB).await? == 22_100, || "not 22,100 documents".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_down_for_20_000_writes_and_one_with_an_empty_folder_end_equal_on_fjall() {
    absent_replicas_end_equal(EngineKind::Fjall).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_down_for_20_000_writes_and_one_with_an_empty_folder_end_equal_on_sled() {
    absent_replicas_end_equal(EngineKind::Sled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_may_start_in_any_order() {
    let _alone = HEAVY.lock().await;
    let mut cluster = Cluster::prepare(Layout::three(2).routers(2)).await.expect("prepares");
    for name in ["r1", "n3", "n2", "r2", "n1"] {
        cluster.start_one(name).expect("starts");
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    cluster.wait_healthy().await.expect("becomes healthy");
    cluster.router(1).create_db(DB).await.expect("takes writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_that_start_again_are_enough() {
    scenario(Layout::three(1), async |cluster| {
        for missing in cluster.layout().node_names() {
            cluster.kill_all(&cluster.names());
            for name in cluster.names().iter().filter(|name| **name != missing) {
                cluster.restart(name)?;
            }
            let client = cluster.router(1);
            let until = Instant::now() + PATIENCE;
            while let Err(error) = client.create_db(&format!("{DB}-{missing}")).await {
                ensure(Instant::now() < until, || format!("no writes without {missing}: {error}"))?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            cluster.restart(&missing)?;
            cluster.wait_healthy().await?;
        }
        Ok(())
    })
    .await;
}

/// Starts a process that must refuse, and returns what it said.
async fn refuses(spec: Spec) -> Result<String> {
    let name = spec.name.clone();
    let mut process = Process::start(spec)?;
    let ended = process.ended(Duration::from_secs(20)).await?;
    let log = process.log_tail(10_000);
    let status = ended.ok_or_else(|| format!("{name} runs on:\n{log}"))?;
    ensure(!status.success(), || format!("{name} ended with success:\n{log}"))?;
    ensure(!log.contains("panicked"), || format!("{name} panicked:\n{log}"))?;
    Ok(log)
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_configuration_is_refused_at_start_with_the_key_named() {
    let _alone = HEAVY.lock().await;
    let cluster = Cluster::prepare(Layout::three(1)).await.expect("prepares");
    let good = toml::Value::try_from(cluster.config_of("n1")).expect("a table");
    let cases = [
        ("storage", "engin", json!("fjall"), "engin"),
        ("storage", "engine", json!("rocksdb"), "rocksdb"),
        ("replication", "write_quorum", json!("one"), "quorum"),
        ("replication", "failover_timeout_mss", json!(1), "failover_timeout_mss"),
    ];
    for (section, key, value, named) in cases {
        let mut bad = good.clone();
        bad[section]
            .as_table_mut()
            .expect("a section")
            .insert(key.to_owned(), toml::Value::try_from(&value).expect("a value"));
        for name in ["n1", "r1"] {
            std::fs::write(cluster.file_of(name), toml::to_string(&bad).expect("text")).expect("written");
            let log = refuses(cluster.spec_of(name).expect("a spec")).await.expect("refuses");
            assert!(log.contains(named), "{name} with {section}.{key} does not name {named}:\n{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_data_folder_is_refused() {
    scenario(Layout::three(1), async |cluster| {
        cluster.router(1).create_db(DB).await?;
        cluster.kill_all(&cluster.names());
        // Each node has a folder of its own name under its data folder.
        let (one, two) = (cluster.data_of("n1").join("n1"), cluster.data_of("n2").join("n2"));
        std::fs::rename(&two, cluster.folder().join("aside"))?;
        std::fs::rename(&one, &two)?;
        let log = refuses(cluster.spec_of("n2")?).await?;
        ensure(log.contains("n1"), || format!("it does not name the owner:\n{log}"))?;
        let mut config = cluster.config_of("n3");
        config.name = "another-cluster".to_owned();
        std::fs::write(cluster.file_of("n3"), toml::to_string(&config)?)?;
        let log = refuses(cluster.spec_of("n3")?).await?;
        ensure(log.contains("cluster"), || format!("it does not say that the cluster is another:\n{log}"))
    })
    .await;
}

/// A small file system in memory, gone when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, bytes: u64) -> Result<Self, String> {
        let run = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(at).output();
        match run {
            Ok(output) if output.status.success() => Ok(Self(at.to_owned())),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Fills what is left of it.
    fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.0.join("ballast"))?;
        let block = vec![1u8; 4 << 10];
        while ballast.write_all(&block).is_ok() {}
        Ok(())
    }

    fn make_room(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join("ballast"))?)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the processes that still use it are killed a moment later.
        if let Err(error) = Command::new("umount").arg("-l").arg(&self.0).status() {
            eprintln!("umount {}: {error}", self.0.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_answers_507_reads_go_on_and_room_heals() {
    if needs::skip("a_full_disk_answers_507_reads_go_on_and_room_heals", needs::root()) {
        return;
    }
    let _alone = HEAVY.lock().await;
    let layout = Layout::three(1).tuned(|config| config.storage.segment_bytes = 1 << 20);
    let mut cluster = Cluster::prepare(layout).await.expect("prepares");
    let mut disks = Vec::new();
    for node in cluster.layout().node_names() {
        match Tmpfs::mount(&cluster.data_of(&node), 512 << 20) {
            Ok(disk) => disks.push(disk),
            Err(why) => {
                eprintln!("a_full_disk_answers_507_reads_go_on_and_room_heals skipped: no tmpfs: {why}");
                return;
            }
        }
    }
    for name in cluster.names() {
        cluster.start_one(&name).expect("starts");
    }
    cluster.wait_healthy().await.expect("healthy");
    if let Err(error) = fill_and_heal(&cluster, &disks).await {
        panic!("{error}\n{}", cluster.logs());
    }
    cluster.wait_healthy().await.expect("healthy again");
    // Before the mounts go.
    cluster.kill_all(&cluster.names());
}

async fn fill_and_heal(cluster: &Cluster, disks: &[Tmpfs]) -> Result<()> {
    let client = cluster.router(1);
    client.create_db(DB).await?;
    client.put(&format!("/{DB}/here"), r#"{"v":1}"#).await?.expect(201)?;
    for disk in disks {
        disk.fill()?;
    }
    let body = json!({ "pad": "z".repeat(100_000) }).to_string();
    let mut acknowledged = Vec::new();
    let mut full = None;
    for n in 0..2_000 {
        let reply = client.put(&format!("/{DB}/fill-{n}"), body.clone()).await?;
        match reply.status.as_u16() {
            201 => acknowledged.push(n),
            507 => {
                ensure(reply.field("error") == "insufficient_storage", || reply.text())?;
                full = Some(n);
                break;
            }
            503 => {}
            _ => return Err(format!("a full disk: {} {}", reply.status, reply.text()).into()),
        }
    }
    let refused = full.ok_or("the disk never was full")?;
    client.get(&format!("/{DB}/here")).await?.expect(200)?;
    client.get(&format!("/{DB}/fill-{refused}")).await?.expect(404)?;
    for disk in disks {
        disk.make_room()?;
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let reply = client.put(&format!("/{DB}/after"), "{}").await?;
        if reply.status == 201 {
            break;
        }
        ensure(Instant::now() < until, || format!("there is room, yet: {} {}", reply.status, reply.text()))?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for n in acknowledged {
        client.get(&format!("/{DB}/fill-{n}")).await?.expect(200)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_ends_the_process_with_70_and_the_cluster_goes_on() {
    if needs::skip("a_failed_fsync_ends_the_process_with_70_and_the_cluster_goes_on", needs::strace()) {
        return;
    }
    scenario(Layout::three(1), async |cluster| {
        cluster.router(1).create_db(DB).await?;
        let load = Load::start(cluster.routers(), Options::simple(DB, 8, 8));
        load.progress(100, None, PATIENCE).await?;
        let primary = cluster.primary_of(0).await?;
        let pid = cluster.process(&primary).pid().ok_or("it does not run")?.to_string();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid, "-e", "trace=fdatasync,fsync"]);
        strace.args(["-e", "inject=fdatasync,fsync:error=EIO"]);
        let mut strace = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let ended = cluster.process(&primary).ended(Duration::from_secs(30)).await;
        strace.kill()?;
        strace.wait()?;
        let ended = ended?.ok_or("it runs on after a failed fsync")?;
        ensure(ended.code() == Some(70), || format!("it ended with {ended}"))?;
        load.progress(200, None, PATIENCE).await?;
        cluster.restart(&primary)?;
        cluster.wait_healthy().await?;
        load.finish().await?.clean().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sled_keeps_what_it_acknowledged_through_kills_of_all_nodes() {
    scenario(Layout::three(2).engine(EngineKind::Sled), async |cluster| {
        cluster.router(1).create_db(DB).await?;
        let load = Load::start(cluster.routers(), Options::simple(DB, 8, 8));
        for _ in 0..2 {
            load.progress(300, None, PATIENCE).await?;
            let nodes = cluster.layout().node_names();
            cluster.kill_all(&nodes);
            for node in &nodes {
                cluster.restart(node)?;
            }
            cluster.wait_healthy().await?;
        }
        load.progress(100, None, PATIENCE).await?;
        load.finish().await?.clean().map(drop)
    })
    .await;
}

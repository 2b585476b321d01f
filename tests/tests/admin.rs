//! `quorate-router admin` does to a cluster of processes what an operator asks for.

use std::process::{Output, Stdio};
use std::time::Duration;

use harness::Result;
use harness::binaries::binary;
use harness::cluster::{Cluster, PATIENCE};
use harness::layout::Layout;
use harness::load::{Load, Options};
use harness::scenario::scenario;
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

const DB: &str = "facts";

/// How long clients repeat a request, as drivers do.
const RETRY: Duration = Duration::from_secs(20);

/// Runs one command; its output, whatever its exit code.
async fn admin(args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary("quorate-router")?);
    command.arg("admin").args(args).stdin(Stdio::null()).kill_on_drop(true);
    let late = || format!("admin {args:?} did not end");
    Ok(tokio::time::timeout(2 * PATIENCE, command.output()).await.map_err(|_| late())??)
}

/// The lines of JSON a command printed; an error that tells everything unless it ended with `code`.
async fn answers(args: &[&str], code: i32) -> Result<Vec<Value>> {
    let done = admin(&[args, &["--json"]].concat()).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    if done.status.code() != Some(code) {
        return Err(format!("admin {args:?} ended with {}, not {code}:\n{out}{err}", done.status).into());
    }
    out.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn url(cluster: &Cluster) -> String {
    cluster.router(1).base().to_owned()
}

async fn load(cluster: &Cluster) -> Result<Load> {
    cluster.router(1).create_db(DB).await?;
    let options = Options { retry: RETRY, ..Options::simple(DB, 8, 12) };
    let load = Load::start(cluster.routers(), options);
    load.progress(300, None, PATIENCE).await?;
    Ok(load)
}

/// Nothing was lost, and no client that repeats was told of a failure.
async fn unharmed(load: Load) -> Result<()> {
    let failed: Vec<_> = load.writes().into_iter().chain(load.reads()).filter(|event| event.error.is_some()).collect();
    load.finish().await?.clean()?;
    if failed.is_empty() { Ok(()) } else { Err(format!("requests failed: {failed:#?}").into()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_nine_replicas_and_says_when_a_shard_has_no_primary() {
    scenario(Layout::nine(), async |cluster| {
        let url = url(cluster);
        let rows = answers(&["--url", &url, "status"], 0).await?;
        let rows = rows[0].as_array().ok_or("no array")?;
        let of = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
        if rows.len() != 9 || of("health").iter().any(|health| health != "ok") {
            return Err(format!("{rows:#?}").into());
        }
        let primaries = of("role").iter().filter(|role| *role == "primary").count();
        // The log's segment is there from the start; its disk has some room, or nothing would be healthy.
        let sizes = ["log_bytes", "disk_free_bytes"].iter().all(|name| of(name).iter().all(|n| n.as_u64() > Some(0)));
        if primaries != 3 || !sizes {
            return Err(format!("{rows:#?}").into());
        }
        let words = admin(&["status", "--url", &url, "--shard", "1"]).await?;
        let words = String::from_utf8(words.stdout)?;
        if words.lines().count() != 4 || !words.contains("primary") {
            return Err(words.into());
        }
        let two = cluster.layout().replicas_of(2)[..2].to_vec();
        cluster.kill_all(&two);
        // The third takes itself for the primary for a moment.
        let until = Instant::now() + PATIENCE;
        while answers(&["--url", &url, "status"], 1).await.is_err() {
            if Instant::now() > until {
                return Err("a shard without a majority still has a primary".into());
            }
        }
        answers(&["--url", &url, "status", "--shard", "0"], 0).await?;
        answers(&["--url", "http://127.0.0.1:9", "status"], 2).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_moves_all_primaries_and_no_request_fails() {
    scenario(Layout::three(3).routers(2), async |cluster| {
        let (url, load) = (url(cluster), load(cluster).await?);
        let node = cluster.primary_of(0).await?;
        let told = answers(&["--url", &url, "drain", &node, "--timeout", "60"], 0).await?;
        if !told.iter().any(|line| line["event"] == "moved" && line["shard"] == 0) {
            return Err(format!("shard 0 did not move: {told:#?}").into());
        }
        let leads = async || -> Result<bool> {
            let rows = answers(&["--url", &url, "status"], 0).await?;
            let mine = |row: &&Value| row["node"] == node.as_str() && row["role"] == "primary";
            Ok(rows[0].as_array().into_iter().flatten().any(|row| mine(&row)))
        };
        load.progress(300, None, PATIENCE).await?;
        let until = Instant::now() + PATIENCE;
        // On a machine that stands still for a while it may lead once more as the last resort; it gives that away.
        while leads().await? {
            if Instant::now() > until {
                return Err(format!("{node} leads again").into());
            }
        }
        answers(&["--url", &url, "promote", "--shard", "0", "--node", &node], 2).await?;
        answers(&["--url", &url, "undrain", &node], 0).await?;
        answers(&["--url", &url, "promote", "--shard", "0", "--node", &node, "--timeout", "60"], 0).await?;
        load.progress(100, None, PATIENCE).await?;
        unharmed(load).await?;
        answers(&["--url", &url, "drain", "n77"], 2).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_is_watched_until_it_serves_again() {
    // A log this short is gone before the node is back: it needs a snapshot.
    let layout = Layout::three(2).routers(2).tuned(|config| {
        config.storage.segment_bytes = 1 << 20;
        config.storage.log_keep_bytes = 1 << 20;
    });
    scenario(layout, async |cluster| {
        let (url, load) = (url(cluster), load(cluster).await?);
        answers(&["--url", &url, "replace", "n3"], 0).await?;
        answers(&["--url", &url, "replace", "n3", "--with", "n4"], 2).await?;
        cluster.kill("n3");
        cluster.wipe("n3")?;
        load.progress(1_000, None, PATIENCE).await?;
        let watched = tokio::spawn({
            let url = url.clone();
            async move { answers(&["--url", &url, "replace", "n3", "--timeout", "100"], 0).await }
        });
        cluster.restart("n3")?;
        let told = watched.await??;
        let done = told.last().ok_or("nothing was told")?;
        let number = |name: &str| done[name].as_u64().unwrap_or(0);
        if done["event"] != "done" || number("shards") != 2 || number("bytes_received") == 0 || number("ms") == 0 {
            return Err(format!("{told:#?}").into());
        }
        load.progress(300, None, PATIENCE).await?;
        cluster.wait_healthy().await?;
        unharmed(load).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_checked_and_a_flipped_byte_is_found_with_its_place() {
    scenario(Layout::three(1), async |cluster| {
        let load = load(cluster).await?;
        load.finish().await?.clean()?;
        let data = cluster.data_of("n1").display().to_string();
        answers(&["check", "--data", &data], 2).await?;
        // Asked to end, it flushes its engine: after a kill there may be next to nothing in it.
        let process = cluster.process("n1");
        process.signal(Signal::TERM);
        process.ended(PATIENCE).await?.ok_or("it did not end after SIGTERM")?;
        let sound = answers(&["check", "--data", &data], 0).await?;
        let replica = &sound[0]["replicas"][0];
        let applied = replica["engine"]["applied"].as_u64();
        if sound[0]["sound"] != true || applied < Some(10) || replica["log"]["last"].as_u64() < applied {
            return Err(format!("{sound:#?}").into());
        }
        let last = replica["log"]["last"].as_u64().ok_or("no last entry")?;
        let records = answers(&["dump-wal", "--data", &data, "--shard", "0"], 0).await?;
        let entries: Vec<&Value> = records.iter().filter(|record| record["record"] == "entry").collect();
        let from = entries[entries.len() / 2];
        let index = from["index"].to_string();
        let tail = answers(&["dump-wal", "--data", &data, "--shard", "0", "--from", &index], 0).await?;
        if tail.first() != Some(from) || tail.iter().filter_map(|record| record["index"].as_u64()).max() != Some(last) {
            return Err(format!("from {index}: {tail:#?}").into());
        }
        let (file, at) = (from["file"].as_str().ok_or("no file")?, from["byte"].as_u64().ok_or("no byte")?);
        let flipped = at + from["bytes"].as_u64().ok_or("no size")? / 2;
        let mut bytes = std::fs::read(file)?;
        bytes[usize::try_from(flipped)?] ^= 1;
        std::fs::write(file, bytes)?;
        let damaged = answers(&["check", "--data", &data], 1).await?;
        let findings = damaged[0]["replicas"][0]["findings"].as_array().ok_or("no findings")?;
        let found = |finding: &Value| {
            // The group of records that the byte lies in begins at most some sectors before it.
            let byte = finding["byte"].as_u64().unwrap_or(0);
            finding["damage"] == true && finding["file"] == file && byte <= flipped && byte + (64 << 10) > flipped
        };
        if !findings.iter().any(found) {
            return Err(format!("byte {flipped} of {file}: {findings:#?}").into());
        }
        answers(&["dump-wal", "--data", &data, "--shard", "0"], 1).await?;
        answers(&["check", "--data", "/nowhere"], 2).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_shards_log_is_printed_through_an_authenticating_router() {
    let layout = Layout::three(1).tuned(|config| {
        config.admin = Some(common::config::Admin {
            name: "keeper".to_owned(),
            password: Some("open-sesame".to_owned()),
            password_file: None,
        });
    });
    scenario(layout, async |cluster| {
        let url = url(cluster);
        let file = cluster.folder().join("keeper.password");
        std::fs::write(&file, "open-sesame\n")?;
        let file = file.display().to_string();
        let keeper = ["--url", &url, "--user", "keeper", "--password-file", &file];
        cluster.router(1).basic("keeper", "open-sesame").create_db(DB).await?;
        let entries = answers(&[&keeper[..], &["dump-wal", "--shard", "0"]].concat(), 0).await?;
        if !entries.iter().any(|entry| entry["commands"].as_array().is_some_and(|commands| !commands.is_empty())) {
            return Err(format!("{entries:#?}").into());
        }
        answers(&["--url", &url, "status"], 2).await?;
        std::fs::write(cluster.folder().join("keeper.password"), "close-sesame")?;
        answers(&[&keeper[..], &["status"]].concat(), 2).await.map(drop)
    })
    .await;
}

//! Backups are taken under load and restored into clusters of another shape; damage is found and named.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::binaries::binary;
use harness::client::Client;
use harness::cluster::PATIENCE;
use harness::embedded::Embedded;
use harness::layout::Layout;
use harness::scenario::scenario;
use harness::{HEAVY, Result};
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;

const DB: &str = "facts";
const PARTS: &str = "parts%2Fx";
const WRITERS: usize = 4;

/// Runs `quorate-router admin` with these arguments.
async fn admin(args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary("quorate-router")?);
    let run = command.arg("admin").args(args).kill_on_drop(true).output();
    Ok(tokio::time::timeout(Duration::from_secs(300), run)
        .await
        .map_err(|_| format!("admin {args:?} takes for ever"))??)
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What it printed as JSON, when it succeeded.
async fn done(args: &[&str]) -> Result<Value> {
    let output = admin(&[&["--json"], args].concat()).await?;
    if !output.status.success() {
        return Err(format!("admin {args:?}: {} {}", output.status, told(&output)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What it said, when it failed with exit code 1.
async fn refused(args: &[&str], expected: &str) -> Result<()> {
    refused_with(1, args, expected).await
}

async fn refused_with(exit: i32, args: &[&str], expected: &str) -> Result<()> {
    let output = admin(args).await?;
    match output.status.code() {
        Some(code) if code == exit && told(&output).contains(expected) => Ok(()),
        code => Err(format!("admin {args:?}: {code:?}, without {expected:?}: {}", told(&output)).into()),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Documents of every kind, which nobody changes any more.
async fn seed(client: &Client) -> Result<()> {
    client.create_db(DB).await?;
    client.put(&format!("/{PARTS}?partitioned=true"), "").await?.expect(201)?;
    let docs: Vec<_> = (0..200).map(|n| json!({ "_id": format!("p{}:{n}", n % 7), "n": n })).collect();
    client.bulk(PARTS, &docs).await?;
    client.put(&format!("/{DB}/_security"), r#"{"admins":{"names":["ann"]}}"#).await?.expect(200)?;
    client.put(&format!("/{DB}/_revs_limit"), "20").await?.expect(200)?;
    let path = |ids: &[&str]| json!({ "start": ids.len(), "ids": ids });
    let grafts = json!({ "new_edits": false, "docs": [
        { "_id": "forked", "_revisions": path(&["c", "b", "a"]), "_rev": "3-c", "of": "c" },
        { "_id": "forked", "_revisions": path(&["x", "a"]), "_rev": "2-x", "of": "x" },
        { "_id": "forked", "_revisions": path(&["y", "a"]), "_rev": "2-y", "_deleted": true, "why": "so" },
        { "_id": "gone", "_revisions": path(&["d", "a"]), "_rev": "2-d", "_deleted": true },
        { "_id": "_design/d", "_revisions": path(&["a"]), "_rev": "1-a", "views": {} },
    ]});
    client.post(&format!("/{DB}/_bulk_docs"), grafts.to_string()).await?.expect(201)?;
    let mut rev = client.put(&format!("/{DB}/edited"), r#"{ "n" : 1.0 }"#).await?.expect(201)?.field("rev");
    for n in 2..6 {
        let path = format!("/{DB}/edited?rev={rev}");
        rev = client.put(&path, format!("{{\"n\":{n},\"text\":\"\\u00e9\"}}")).await?.expect(201)?.field("rev");
    }
    let rev = client.put(&format!("/{DB}/deleted"), "{}").await?.expect(201)?.field("rev");
    client.delete(&format!("/{DB}/deleted?rev={rev}")).await?.expect(200)?;
    client.put(&format!("/{DB}/_local/checkpoint"), r#"{"seq":1}"#).await?.expect(201)?;
    // Several chunks, kept by two revisions of one document, and the same bytes in another one.
    let large = |n: u32| Vec::from_iter((0..600_000u32).map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ n as u8));
    let put = async |path: &str, bytes: Vec<u8>| client.put(&format!("/{DB}/{path}"), bytes).await?.expect(201);
    let rev = put("with/large.bin", large(0)).await?.field("rev");
    put(&format!("with/small.txt?rev={rev}"), b"small".to_vec()).await?;
    put("other-with/same.bin", large(0)).await?;
    put("empty-with/empty", Vec::new()).await?;
    // From before the rule: it stays, and is restored, whatever the rule says.
    client.put(&format!("/{DB}/broken"), BROKEN).await?.expect(201)?;
    let rule = json!({ "validate_doc_update": "function (doc) { if (doc.broken) throw({forbidden: 'no'}) }" });
    client.put(&format!("/{DB}/_design/rule"), rule.to_string()).await?.expect(201)?;
    rule_holds(client).await
}

const BROKEN: &str = r#"{"broken":true}"#;

/// On every shard, for what is new.
async fn rule_holds(client: &Client) -> Result<()> {
    for n in 0..20 {
        client.put(&format!("/{DB}/broken-{n}"), BROKEN).await?.expect(403)?;
    }
    Ok(())
}

/// What a client can see of the documents that [`seed`] made.
async fn seen(client: &Client) -> Result<BTreeMap<String, String>> {
    let mut seen = BTreeMap::new();
    let json = [("accept", "application/json")];
    for id in [
        "forked",
        "gone",
        "edited",
        "deleted",
        "_design/d",
        "with",
        "other-with",
        "empty-with",
        "broken",
        "_design/rule",
    ] {
        for query in ["open_revs=all&revs=true&attachments=true", "meta=true&revs=true"] {
            let path = format!("/{DB}/{id}?{query}");
            let reply = client.send(Method::GET, &path, &json, Vec::new().into()).await?;
            seen.insert(path, reply.text());
        }
    }
    for path in ["/_security", "/_revs_limit", "/_purged_infos_limit", "/_local/checkpoint"] {
        let path = format!("/{DB}{path}");
        seen.insert(path.clone(), client.get(&path).await?.expect(200)?.text());
    }
    let parts = format!("/{PARTS}/_all_docs?include_docs=true");
    seen.insert(parts.clone(), client.get(&parts).await?.expect(200)?.json()["rows"].to_string());
    let props = client.get(&format!("/{PARTS}")).await?.expect(200)?.json()["props"].to_string();
    seen.insert(format!("/{PARTS}"), props);
    let old = client.get(&format!("/{DB}/edited?revs_info=true")).await?.expect(200)?.json();
    for info in old["_revs_info"].as_array().ok_or("no _revs_info")? {
        let path = format!("/{DB}/edited?rev={}", info["rev"].as_str().unwrap_or_default());
        seen.insert(path.clone(), client.get(&path).await?.text());
    }
    Ok(seen)
}

fn equal(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Result<()> {
    let differs = one.iter().find(|(path, text)| other.get(*path) != Some(text));
    match differs {
        None if one.len() == other.len() => Ok(()),
        None => Err(format!("{} and {} answers", one.len(), other.len()).into()),
        Some((path, text)) => Err(format!("{path}: {text} and {:?}", other.get(path)).into()),
    }
}

/// The newest revision acknowledged of each document.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

/// Writers that create documents and edit every other one, until told to stop.
struct Writers {
    acknowledged: Acknowledged,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Writers {
    fn start(client: &Client) -> Self {
        let (acknowledged, stop) = (Acknowledged::default(), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            tasks.spawn(write(client.clone(), writer, acknowledged.clone(), stop.clone()));
        }
        Self { acknowledged, stop, tasks }
    }

    fn now(&self) -> BTreeMap<String, String> {
        self.acknowledged.lock().expect("no panic").clone()
    }

    /// Waits until so many documents are acknowledged.
    async fn reach(&self, count: usize) -> Result<BTreeMap<String, String>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.now();
            if now.len() >= count {
                return Ok(now);
            }
            if Instant::now() >= until {
                return Err(format!("{} of {count} documents were acknowledged", now.len()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.now().len()
    }
}

async fn write(client: Client, writer: usize, acknowledged: Acknowledged, stop: Arc<AtomicBool>) {
    for n in 0.. {
        let (id, mut rev) = (format!("w{writer}-{n:06}"), String::new());
        for edit in 0..1 + n % 2 {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let path = if rev.is_empty() { format!("/{DB}/{id}") } else { format!("/{DB}/{id}?rev={rev}") };
            // What failed, or may have been done, is not counted: only what was acknowledged is promised.
            match client.put(&path, json!({ "n": n, "edit": edit }).to_string()).await {
                Ok(reply) if reply.status == 201 => rev = reply.field("rev"),
                _ => break,
            }
            acknowledged.lock().expect("no panic").insert(id.clone(), rev.clone());
        }
    }
}

/// Every document is there, at the revision that was acknowledged or at one that descends from it.
async fn all_there(client: &Client, acknowledged: &BTreeMap<String, String>) -> Result<()> {
    for (id, rev) in acknowledged {
        let doc = client.get(&format!("/{DB}/{id}?revs=true")).await?.expect(200)?.json();
        let start = doc["_revisions"]["start"].as_u64().ok_or("no _revisions")?;
        let hashes = doc["_revisions"]["ids"].as_array().ok_or("no ids")?.iter().filter_map(Value::as_str);
        let mut path = (1..=start).rev().zip(hashes).map(|(generation, hash)| format!("{generation}-{hash}"));
        if !path.any(|known| known == *rev) {
            return Err(format!("{id}: {rev} was acknowledged, {doc} was restored").into());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_backup_began_is_in_it_and_comes_back_on_other_shards() {
    scenario(Layout::three(2), async |cluster| {
        let source = cluster.router(1);
        seed(&source).await?;
        let was = seen(&source).await?;
        let writers = Writers::start(&source);
        let before = writers.reach(300).await?;
        let folder = tempfile::tempdir()?;
        let backup = text(&folder.path().join("backup"));
        let taken = done(&["backup", "--to", &backup, "--url", source.base()]).await?;
        // They never stood still for it.
        writers.reach(writers.now().len() + 20).await?;
        let written = writers.end().await;
        let checked = done(&["verify", "--from", &backup]).await?;
        if checked["total"] != taken["total"] {
            return Err(format!("verify counts {checked}, the backup counted {taken}").into());
        }
        let target = Embedded::start(folder.path(), &["--shards", "5", "--replicas", "1"]).await?;
        let client = target.client();
        let restored = done(&["restore", "--from", &backup, "--url", client.base()]).await?;
        if restored["total"] != taken["total"] {
            return Err(format!("restored {restored}, the backup counted {taken}").into());
        }
        all_there(&client, &before).await?;
        equal(&was, &seen(&client).await?)?;
        rule_holds(&client).await?;
        println!("{} documents before the backup, {written} in the end; {}", before.len(), taken["total"]);
        refused(&["restore", "--from", &backup, "--url", client.base()], "a restore does not touch what is there").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_outlives_the_primary_it_is_taken_from() {
    scenario(Layout::three(1), async |cluster| {
        let source = cluster.router(1);
        seed(&source).await?;
        for batch in 0..10 {
            let id = |n: usize| format!("bulk-{batch}-{n}");
            let docs: Vec<_> = (0..500).map(|n| json!({ "_id": id(n), "text": id(n).repeat(20) })).collect();
            source.bulk(DB, &docs).await?;
        }
        let folder = tempfile::tempdir()?;
        let backup = text(&folder.path().join("backup"));
        let primary = cluster.primary_of(0).await?;
        let url = source.base().to_owned();
        let taking = tokio::spawn({
            let backup = backup.clone();
            async move { done(&["backup", "--to", &backup, "--url", &url]).await.map_err(|error| error.to_string()) }
        });
        cluster.kill(&primary);
        let taken = taking.await??;
        let info = source.get(&format!("/{DB}")).await?.expect(200)?.json();
        let saved = taken["databases"].as_array().ok_or("no databases")?.iter().find(|row| row["name"] == DB);
        let saved = saved.ok_or("the database is not in it")?;
        if (&saved["docs"], &saved["deleted"]) != (&info["doc_count"], &info["doc_del_count"]) {
            return Err(format!("the backup has {saved}, the cluster {info}").into());
        }
        done(&["verify", "--from", &backup]).await.map(drop)
    })
    .await;
}

async fn damage_and_interruption() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Embedded::start(folder.path(), &["--shards", "2", "--replicas", "1"]).await?;
    let client = server.client();
    let url = client.base();
    seed(&client).await?;
    let path = folder.path().join("backup");
    let backup = text(&path);
    let taken = done(&["backup", "--to", &backup, "--url", url]).await?;
    refused(&["backup", "--to", &backup, "--url", url], "is not empty").await?;

    let restore = ["restore", "--from", &backup, "--url", url, "--database", DB, "--as", "again"];
    let file = path.join("shard-1.backup");
    let sound = std::fs::read(&file)?;
    let mut flipped = sound.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    std::fs::write(&file, &flipped)?;
    let place = "shard-1.backup: damaged at byte ";
    refused(&["verify", "--from", &backup], place).await?;
    refused(&restore, place).await?;
    std::fs::write(&file, &sound[..last])?;
    refused(&["verify", "--from", &backup], place).await?;
    refused(&restore, place).await?;
    std::fs::write(&file, &sound)?;
    let (manifest, aside) = (path.join("manifest.json"), folder.path().join("aside"));
    std::fs::rename(&manifest, &aside)?;
    refused(&["verify", "--from", &backup], "incomplete backup").await?;
    refused(&restore, "incomplete backup").await?;
    std::fs::rename(&aside, &manifest)?;
    client.get("/again").await?.expect(404)?;
    done(&restore).await?;
    refused(&restore, "database again exists; a restore does not touch what is there").await?;

    // As an interrupted restore leaves it: marked, and with a document missing.
    let mark = json!({ "backup": taken["backup"] }).to_string();
    client.put("/again/_local/quorate-restore", mark).await?.expect(201)?;
    let rev = client.get("/again/edited").await?.expect(200)?.field("_rev");
    client.post("/again/_purge", json!({ "edited": [rev] }).to_string()).await?.expect(201)?;
    client.get("/again/edited").await?.expect(404)?;
    refused(&restore, "go on with --continue, or delete it").await?;
    let restored = done(&[&restore[..], &["--continue"]].concat()).await?;
    let rows = |report: &Value| report["databases"].as_array().cloned().unwrap_or_default();
    let saved = rows(&taken).into_iter().find(|row| row["name"] == DB).ok_or("not in the backup")?;
    if rows(&restored)[0]["digest"] != saved["digest"] {
        return Err(format!("{restored} is not {saved}").into());
    }
    client.get("/again/_local/quorate-restore").await?.expect(404)?;
    if client.get("/again/edited").await?.expect(200)?.field("_rev") != rev {
        return Err("the document did not come back as it was".into());
    }
    let nameless = ["backup", "--to", &text(&folder.path().join("x")), "--url", url, "--user", "ann"];
    refused_with(2, &nameless, "QUORATE_PASSWORD").await
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_with_its_place_and_an_interrupted_restore_goes_on() {
    let _alone = HEAVY.lock().await;
    damage_and_interruption().await.expect("backup, damage, restore");
}

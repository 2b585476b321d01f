//! Restores a backup: every revision is written again through the shards' logs, and the outcome is read back and
//! compared.
//!
//! Writes may be repeated, so a restore that was interrupted is continued by doing all of it again. Until a database
//! is whole a local document in it says which backup it is being made from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use common::backup::Load;
use common::backup::plan::Plan;
use common::backup::record::Record;
use common::backup::tally::RESTORE_MARK;
use common::ids::{DbName, DbUid};
use common::wire;
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::catalog::{Catalog, Export};
use super::error::Error;
use super::manifest::{Manifest, Part, Saved};
use super::progress::Progress;
use super::server::Server;
use super::stored::Stored;
use super::take::{catalog, export, sum};
use super::verify::verify;

/// Bytes of JSON text and revisions in one batch, the last write excepted.
const BATCH_BYTES: usize = 1 << 20;
/// Writes in one batch.
const BATCH_LEN: usize = 1_000;
/// More than any tree has: nothing of what was saved is forgotten while it is loaded.
const REVS_LIMIT: u32 = u32::MAX;
/// Always there, with settings that cannot be changed.
const STANDING: [&str; 2] = ["_replicator", "_users"];

/// What to restore.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The backup's folder.
    pub(super) from: PathBuf,
    /// This database alone; all, if left out.
    pub(super) database: Option<DbName>,
    /// Under this name.
    pub(super) rename: Option<DbName>,
    /// Whether to go on with what an interrupted restore left.
    pub(super) proceed: bool,
    /// Files read at once.
    pub(super) jobs: usize,
}

/// A database to be made.
struct Target<'m> {
    saved: &'m Saved,
    name: DbName,
}

impl Target<'_> {
    fn path(&self, part: &str) -> String {
        format!("/{}{part}", utf8_percent_encode(self.name.as_str(), NON_ALPHANUMERIC))
    }

    fn is_standing(&self) -> bool {
        STANDING.contains(&self.name.as_str())
    }
}

/// Restores into the cluster behind `server`; the manifest, and the databases' names.
pub(super) async fn restore(
    server: &Server,
    wanted: &Wanted,
    progress: &Progress,
) -> Result<(Manifest, Vec<DbName>), Error> {
    let manifest = checked(wanted.from.clone(), progress.clone()).await?;
    let targets = targets(&manifest, wanted)?;
    check(server, &catalog(server).await?, &manifest, &targets, wanted.proceed).await?;
    for target in &targets {
        prepare(server, target, manifest.backup).await?;
    }
    progress.begin_documents("restoring", manifest.shards.iter().map(|part| part.documents).sum());
    let names: BTreeMap<DbUid, String> =
        targets.iter().map(|target| (target.saved.database.uid, target.name.to_string())).collect();
    let load = |part: &Part| load(server, &wanted.from, &manifest, part.clone(), &names, progress);
    stream::iter(manifest.shards.iter().map(load)).buffer_unordered(wanted.jobs).try_collect::<Vec<()>>().await?;
    for target in &targets {
        settle(server, target).await?;
    }
    compare(server, &targets, wanted.jobs, progress).await?;
    for target in &targets {
        unmark(server, target).await?;
    }
    progress.end();
    let restored = targets.into_iter().map(|target| target.name).collect();
    Ok((manifest, restored))
}

/// Nothing is restored of a backup that is damaged anywhere.
async fn checked(from: PathBuf, progress: Progress) -> Result<Manifest, Error> {
    let verified = tokio::task::spawn_blocking(move || verify(&from, &progress)).await;
    verified.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn targets<'m>(manifest: &'m Manifest, wanted: &Wanted) -> Result<Vec<Target<'m>>, Error> {
    let Some(name) = &wanted.database else {
        // Without documents they are the same everywhere.
        let stands = |saved: &Saved| STANDING.contains(&saved.database.name.as_str());
        let all = manifest.databases.iter().filter(|saved| !stands(saved) || !is_empty(saved));
        return Ok(all.map(|saved| Target { saved, name: saved.database.name.clone() }).collect());
    };
    let saved = manifest.databases.iter().find(|saved| saved.database.name == *name);
    let saved = saved.ok_or_else(|| Error::Usage(format!("there is no database {name} in this backup")))?;
    Ok(vec![Target { saved, name: wanted.rename.as_ref().unwrap_or(name).clone() }])
}

fn is_empty(saved: &Saved) -> bool {
    saved.tally.docs + saved.tally.deleted + saved.tally.locals == 0
}

/// Refuses to touch a database that is there, unless it was left by an interrupted restore and that is to go on.
async fn check(
    server: &Server,
    catalog: &Catalog,
    manifest: &Manifest,
    targets: &[Target<'_>],
    proceed: bool,
) -> Result<(), Error> {
    for target in targets {
        let Some(there) = catalog.databases.iter().find(|database| database.name == target.name) else { continue };
        if target.is_standing() && there.documents == 0 {
            continue;
        }
        let name = &target.name;
        let reason = match (mark(server, target).await? == Some(manifest.backup), proceed) {
            (true, true) => continue,
            (true, false) => format!(
                "database {name} was left by an interrupted restore of this backup: go on with --continue, or delete it"
            ),
            (false, _) => format!("database {name} exists; a restore does not touch what is there"),
        };
        return Err(Error::Usage(reason));
    }
    Ok(())
}

/// The backup that a database is being made from.
async fn mark(server: &Server, target: &Target<'_>) -> Result<Option<Uuid>, Error> {
    let path = target.path(&format!("/{RESTORE_MARK}"));
    match server.json::<Value>(Method::GET, &path, Bytes::new()).await {
        Ok(mark) => Ok(mark["backup"].as_str().and_then(|text| text.parse().ok())),
        Err(Error::Answered { status: http::StatusCode::NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn prepare(server: &Server, target: &Target<'_>, backup: Uuid) -> Result<(), Error> {
    if !target.is_standing() {
        let query = if target.saved.database.partitioned { "?partitioned=true" } else { "" };
        match put(server, &target.path(query), Bytes::new()).await {
            // Made by a first try whose answer was lost, or by the restore that is being continued.
            Err(Error::Answered { status: http::StatusCode::PRECONDITION_FAILED, .. }) => {}
            made => made?,
        }
    }
    put(server, &target.path(&format!("/{RESTORE_MARK}")), json!({ "backup": backup }).to_string()).await?;
    if !target.is_standing() {
        put(server, &target.path("/_revs_limit"), REVS_LIMIT.to_string()).await?;
    }
    Ok(())
}

/// Gives a database the settings it had.
async fn settle(server: &Server, target: &Target<'_>) -> Result<(), Error> {
    if target.is_standing() {
        return Ok(());
    }
    let database = &target.saved.database;
    if let Some(security) = &database.security {
        put(server, &target.path("/_security"), security.get().to_owned()).await?;
    }
    put(server, &target.path("/_purged_infos_limit"), database.purged_infos_limit.to_string()).await?;
    put(server, &target.path("/_revs_limit"), database.revs_limit.to_string()).await
}

async fn unmark(server: &Server, target: &Target<'_>) -> Result<(), Error> {
    match server.json::<Value>(Method::DELETE, &target.path(&format!("/{RESTORE_MARK}")), Bytes::new()).await {
        // A first try whose answer was lost.
        Err(Error::Answered { status: http::StatusCode::NOT_FOUND, .. }) => Ok(()),
        removed => removed.map(drop),
    }
}

async fn put(server: &Server, path: &str, body: impl Into<Bytes>) -> Result<(), Error> {
    server.json::<Value>(Method::PUT, path, body.into()).await.map(drop)
}

/// Writes that go together.
struct Batch<'n> {
    /// The database they are for; `None` while one passes by that is not wanted.
    db: Option<&'n str>,
    loads: Vec<Load>,
    bytes: usize,
}

impl Batch<'_> {
    fn push(&mut self, load: Load) {
        self.bytes += match &load {
            Load::Revision { id, path, json, .. } => id.as_str().len() + 24 * path.len() + json.len(),
            Load::Local { id, json } => id.as_str().len() + json.len(),
            Load::Attached { id, path, json, attachments, .. } => {
                id.as_str().len() + 24 * path.len() + json.len() + 128 * attachments.len()
            }
            Load::Chunk { id, chunk } => id.as_str().len() + chunk.bytes.len(),
        };
        self.loads.push(load);
    }

    fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.loads.len() >= BATCH_LEN
    }

    async fn send(&mut self, server: &Server) -> Result<(), Error> {
        let loads = std::mem::take(&mut self.loads);
        self.bytes = 0;
        let Some(db) = self.db.filter(|_| !loads.is_empty()) else { return Ok(()) };
        let path = format!("/v1/_backup/load?db={}", utf8_percent_encode(db, NON_ALPHANUMERIC));
        server.post(&path, wire::encode(&loads).into()).await
    }
}

/// Writes what one file holds.
async fn load(
    server: &Server,
    from: &Path,
    manifest: &Manifest,
    part: Part,
    names: &BTreeMap<DbUid, String>,
    progress: &Progress,
) -> Result<(), Error> {
    let mut stored = Stored::open(from, manifest, &part)?;
    let (mut plan, mut batch) = (Plan::default(), Batch { db: None, loads: Vec::new(), bytes: 0 });
    while let Some(records) = stored.next()? {
        for record in records {
            match &record {
                Record::Database(uid) => {
                    batch.send(server).await?;
                    batch.db = names.get(uid).map(String::as_str);
                }
                Record::Document(_) => progress.add(1),
                // Of a restore into the database that was saved.
                Record::Local(local) if local.id.as_str() == RESTORE_MARK => continue,
                Record::Body(_) | Record::Local(_) | Record::Attached(_) | Record::Chunk(_) => {}
            }
            let loads = plan.load(record);
            if batch.db.is_some() {
                loads.into_iter().for_each(|load| batch.push(load));
            }
            if batch.is_full() {
                batch.send(server).await?;
            }
        }
    }
    batch.send(server).await
}

/// Reads everything back and compares what it counts, content included, with what was saved.
async fn compare(server: &Server, targets: &[Target<'_>], jobs: usize, progress: &Progress) -> Result<(), Error> {
    let catalog = catalog(server).await?;
    let uid_of = |name: &DbName| {
        let there = catalog.databases.iter().find(|database| database.name == *name);
        there.map(|database| database.uid).ok_or_else(|| Error::Usage(format!("database {name} was deleted meanwhile")))
    };
    let uids = targets.iter().map(|target| uid_of(&target.name)).collect::<Result<Vec<_>, _>>()?;
    let documents = targets.iter().map(|target| target.saved.tally.docs + target.saved.tally.deleted);
    progress.begin_documents("comparing", documents.sum());
    let read = |shard| {
        let ask = Export { backup: Uuid::new_v4(), shard, databases: uids.clone() };
        async move { export(server, &ask, progress, || Ok(()), |_| Ok(())).await }
    };
    let ends: Vec<_> = stream::iter(catalog.shards.clone()).map(read).buffer_unordered(jobs).try_collect().await?;
    let (sums, _) = sum(ends.into_iter().flat_map(|(_, end)| end.databases));
    for (target, uid) in targets.iter().zip(&uids) {
        let restored = sums.get(uid).copied().unwrap_or_default();
        if restored != target.saved.tally {
            let (saved, restored) = (Box::new(target.saved.tally), Box::new(restored));
            return Err(Error::Different { database: target.name.clone(), saved, restored });
        }
    }
    Ok(())
}

//! Takes a backup: asks every shard for its part and keeps each as it comes, checked on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use common::backup::reader::{Piece, Reader};
use common::backup::tally::Tally;
use common::backup::{DatabaseEnd, End, FORMAT, Header};
use common::ids::{DbUid, ShardId};
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use uuid::Uuid;

use super::catalog::{Catalog, Export};
use super::error::Error;
use super::folder::Folder;
use super::manifest::{Manifest, Part, Saved, file_of};
use super::progress::Progress;
use super::server::Server;

/// How often a shard is asked again when its stream broke off: a primary that died, a router that restarted.
const ATTEMPTS: u32 = 20;
/// Between two of them.
const PAUSE: Duration = Duration::from_secs(2);

/// Milliseconds since 1970.
pub(super) type Clock<'a> = &'a dyn Fn() -> u64;

/// Takes a backup of the cluster behind `server` into the new folder `to`, from `jobs` shards at once.
pub(super) async fn take(
    server: &Server,
    to: &Path,
    jobs: usize,
    progress: &Progress,
    clock: Clock<'_>,
) -> Result<Manifest, Error> {
    let folder = Folder::create(to)?;
    let (began_ms, backup) = (clock(), Uuid::new_v4());
    let catalog = catalog(server).await?;
    progress.begin_documents("backing up", catalog.databases.iter().map(|database| database.documents).sum());
    let databases: Vec<DbUid> = catalog.databases.iter().map(|database| database.uid).collect();
    let fetch = |shard: ShardId| {
        let ask = Export { backup, shard, databases: databases.clone() };
        fetch(server, &folder, ask, progress)
    };
    let fetched = stream::iter(catalog.shards.clone()).map(fetch).buffer_unordered(jobs);
    let mut fetched: Vec<(Part, Vec<DatabaseEnd>)> = fetched.try_collect().await?;
    fetched.sort_by_key(|(part, _)| part.shard);
    let (shards, ends): (Vec<Part>, Vec<Vec<DatabaseEnd>>) = fetched.into_iter().unzip();
    let (sums, dropped) = sum(ends.into_iter().flatten());
    let (gone, there): (Vec<_>, Vec<_>) =
        catalog.databases.into_iter().partition(|database| dropped.contains(&database.uid));
    let saved = |database: super::catalog::Database| {
        let tally = sums.get(&database.uid).copied().unwrap_or_default();
        Saved { database, tally }
    };
    let manifest = Manifest {
        format: FORMAT,
        quorate: env!("CARGO_PKG_VERSION").to_owned(),
        backup,
        cluster: catalog.cluster,
        cluster_id: catalog.cluster_id,
        began_ms,
        ended_ms: clock(),
        databases: there.into_iter().map(saved).collect(),
        left_out: gone.into_iter().map(|database| database.name).collect(),
        shards,
    };
    folder.seal(&manifest)?;
    progress.end();
    Ok(manifest)
}

/// The databases and shards behind `server`.
pub(super) async fn catalog(server: &Server) -> Result<Catalog, Error> {
    let catalog: Catalog = server.json(Method::GET, "/v1/_backup/catalog", Bytes::new()).await?;
    if catalog.format != FORMAT {
        let reason = format!(
            "the cluster runs Quorate {} and writes backups of format {}, this program format {FORMAT}",
            catalog.quorate, catalog.format
        );
        return Err(Error::Usage(reason));
    }
    Ok(catalog)
}

/// What shards counted, by database, and the databases that any of them had dropped.
pub(super) fn sum(ends: impl Iterator<Item = DatabaseEnd>) -> (BTreeMap<DbUid, Tally>, BTreeSet<DbUid>) {
    let (mut sums, mut dropped) = (BTreeMap::new(), BTreeSet::new());
    for end in ends {
        match end.dropped {
            true => _ = dropped.insert(end.uid),
            false => sums.entry(end.uid).or_insert_with(Tally::default).add(&end.tally),
        }
    }
    (sums, dropped)
}

/// Reads a shard's part to its end; asked for again, from its beginning, when it breaks off. `restart` is called
/// before each attempt, `keep` with every piece of it.
pub(super) async fn export(
    server: &Server,
    ask: &Export,
    progress: &Progress,
    mut restart: impl FnMut() -> Result<(), Error>,
    mut keep: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(Header, End), Error> {
    let mut attempts = 1;
    loop {
        restart()?;
        let mut reader = Reader::default();
        match attempt(server, ask, progress, &mut reader, &mut keep).await {
            Err(error) if error.may_pass() && attempts < ATTEMPTS => {
                tracing::warn!(shard = %ask.shard, %error, "asking for this shard again");
                progress.take_back(reader.tallies().documents());
                attempts += 1;
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn attempt(
    server: &Server,
    ask: &Export,
    progress: &Progress,
    reader: &mut Reader,
    keep: &mut impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(Header, End), Error> {
    let body = serde_json::to_vec(ask).expect("ids always serialise");
    let mut stream = server.stream("/v1/_backup/export", body.into()).await?;
    let (mut first, mut last) = (None, None);
    while let Some(bytes) = stream.next().await? {
        let before = reader.tallies().documents();
        reader.push(&bytes);
        while let Some(piece) = reader.read().map_err(|damaged| stream.broken(damaged))? {
            match piece {
                Piece::Header(header) => first = Some(header),
                Piece::Records(_) => {}
                Piece::End(end) => last = Some(end),
            }
        }
        progress.add(reader.tallies().documents() - before);
        keep(&bytes)?;
    }
    reader.finish().map_err(|damaged| stream.broken(damaged))?;
    let (Some(header), Some(end)) = (first, last) else { return Err(stream.broken("it has no header or no end")) };
    if (header.backup, header.shard) != (ask.backup, ask.shard) {
        return Err(stream.broken("it is not what was asked for"));
    }
    Ok((header, end))
}

async fn fetch(
    server: &Server,
    folder: &Folder,
    ask: Export,
    progress: &Progress,
) -> Result<(Part, Vec<DatabaseEnd>), Error> {
    let file = file_of(ask.shard);
    let part = std::cell::RefCell::new(folder.begin(&file)?);
    let restart = || {
        *part.borrow_mut() = folder.begin(&file)?;
        Ok(())
    };
    let (header, end) = export(server, &ask, progress, restart, |bytes| part.borrow_mut().write(bytes)).await?;
    let (bytes, sha256) = part.into_inner().finish()?;
    let there = end.databases.iter().map(|database| database.tally);
    let documents = there.map(|tally| tally.docs + tally.deleted).sum();
    let Header { shard, term, index, .. } = header;
    Ok((Part { shard, file, bytes, sha256, term, index, documents }, end.databases))
}

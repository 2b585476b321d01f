//! What backups and restores ask of a router: `/v1/_backup/…`. For the server admin.

use axum::body::Body;
use bytes::Bytes;
use common::attachment::{BlobDigest, Sent, Source};
use common::backup::{ExportRequest, FORMAT, Load};
use common::command::EditKind;
use common::document::{self, ParseLimits};
use common::ids::{ClusterId, DbName, DocId, RequestId, UploadId};
use common::query::Consistency;
use common::wire;
use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderValue, StatusCode};

use super::call::Call;
use super::error::Error;
use super::{Answer, body, render};
use crate::backup::catalog::{Catalog, Database, Export};
use crate::cluster::catalog::DbEntry;
use crate::ops;
use crate::ops::bulk::Item;
use crate::ops::validation::Author;
use crate::ops::write::Change;

/// Largest batch taken: a document of any size that was taken once, and its path.
const LOAD_BYTES_MAX: usize = 128 << 20;
/// What is loaded was let in once, perhaps where documents may be deeper than here.
const DEPTH_MAX: usize = 1 << 16;
/// Databases counted at once.
const COUNTED_AT_ONCE: usize = 16;

/// `GET /v1/_backup/catalog`: the databases with their settings, and the shards.
pub(super) async fn catalog(call: &Call) -> Answer {
    let ops = &call.app.ops;
    let entries = ops.catalog.entries().await?;
    let count = async |entry: DbEntry| {
        let parts = ops.counters(&entry, Consistency::Linearizable).await?;
        let parts = parts.map(|(parts, _)| parts).unwrap_or_default();
        let documents = parts.iter().map(|(_, counters)| counters.docs + counters.deleted).sum();
        let DbEntry { name, uid, partitioned, created_ms, revs_limit, purged_infos_limit, security, .. } = entry;
        Ok::<_, Error>(Database {
            name,
            uid,
            partitioned,
            created_ms,
            revs_limit,
            purged_infos_limit,
            security,
            documents,
        })
    };
    let databases = stream::iter(entries).map(count).buffered(COUNTED_AT_ONCE).try_collect().await?;
    let name = call.app.config.name.clone();
    let catalog = Catalog {
        format: FORMAT,
        quorate: env!("CARGO_PKG_VERSION").to_owned(),
        cluster_id: ClusterId::of(&name),
        cluster: name,
        shards: ops.cluster.map().shards(),
        databases,
    };
    let text = serde_json::to_vec(&catalog).map_err(|_| Error::Internal("the catalog cannot be shown"))?;
    Ok(render::json(StatusCode::OK, text))
}

/// `POST /v1/_backup/export`: a shard's part of a backup, as its primary gives it out.
pub(super) async fn export(call: &Call, body: Body) -> Answer {
    let asked: Export = serde_json::from_slice(&call.read_json(body).await?).map_err(|error| {
        Error::bad(format!("an export is {{\"backup\":uuid,\"shard\":0,\"databases\":[uid]}}: {error}"))
    })?;
    let cluster = &call.app.ops.cluster;
    if !cluster.map().shards().contains(&asked.shard) {
        return Err(Error::bad(format!("there is no shard {}", asked.shard)));
    }
    let request = ExportRequest { backup: asked.backup, databases: asked.databases };
    let blocks = cluster.export(asked.shard, request).await?;
    let blocks = blocks.inspect_err(|refusal| tracing::warn!(%refusal, "a part of a backup broke off"));
    Ok(render::typed(StatusCode::OK, HeaderValue::from_static(wire::BACKUP), Body::from_stream(blocks)))
}

/// `POST /v1/_backup/load?db=`: writes a batch of a restore; all of it, or it may be repeated.
pub(super) async fn load(call: &Call, body: Body) -> Answer {
    let params = call.params();
    let db = DbName::parse(params.get("db").ok_or_else(|| Error::Query("`db` is missing".to_owned()))?)?;
    let batch = body::read(&call.parts.headers, body, LOAD_BYTES_MAX).await?;
    let batch: Vec<Load> = wire::decode(&batch).map_err(|error| Error::bad(format!("no batch: {error}")))?;
    let written = batch.len();
    let mut items = Vec::with_capacity(written);
    for load in batch {
        match load {
            // In order, and before the revisions that name them.
            Load::Chunk { id, chunk } => {
                let upload = upload_of(&id, chunk.blob);
                call.app.ops.load_chunk(&db, &id, upload, chunk.number, chunk.bytes).await?;
            }
            load => items.push(item(load)?),
        }
    }
    for row in call.app.ops.bulk(&db, &Author::Restore, &items).await? {
        row?;
    }
    Ok(render::json(StatusCode::OK, format!("{{\"ok\":true,\"written\":{written}}}").into_bytes()))
}

fn item(load: Load) -> Result<Item, ops::Error> {
    let (id, change) = match load {
        Load::Revision { id, path, deleted, json } => {
            if path.is_empty() || id.is_local() {
                return Err(ops::Error::bad("a revision without a path, or of a local document"));
            }
            (id, Change::Graft { path, deleted, body: checked(json)?, attachments: Vec::new() })
        }
        Load::Attached { id, path, deleted, json, attachments } => {
            if path.is_empty() || id.is_local() || attachments.is_empty() {
                return Err(ops::Error::bad("a revision without a path or attachments, or of a local document"));
            }
            let sent = attachments.into_iter().map(|attachment| {
                let source = Source::Uploaded(upload_of(&id, attachment.content.blob));
                Sent::New { attachment, source }
            });
            let attachments = sent.collect();
            (id, Change::Graft { path, deleted, body: checked(json)?, attachments })
        }
        Load::Chunk { .. } => return Err(ops::Error::bad("bytes that belong to nothing")),
        Load::Local { id, json } => {
            if !id.is_local() {
                return Err(ops::Error::bad("a local document's id starts with _local/"));
            }
            let (kind, body) = (EditKind::Update, checked(json)?);
            (id, Change::Edit { parent: None, kind, body, attachments: Vec::new() })
        }
    };
    Ok(Item { id, request: RequestId(uuid::Uuid::from_u128(rand::random())), change })
}

/// The upload of a blob for one document: the same one when a restore is repeated, which goes on with it.
fn upload_of(id: &DocId, blob: BlobDigest) -> UploadId {
    UploadId(RequestId::from_key(id.as_str(), &blob.to_string()).0)
}

/// A body that went through the door before goes through it unchanged.
fn checked(json: Bytes) -> Result<common::command::Body, ops::Error> {
    let parsed = document::parse(json.clone(), ParseLimits { depth_max: DEPTH_MAX })?;
    if parsed.body.json != json {
        return Err(ops::Error::bad("a body with members that are none of a body's"));
    }
    Ok(parsed.body)
}

#[cfg(test)]
mod tests {
    use common::rev::Rev;

    use super::*;

    fn revision(id: &str, json: &'static str, path: &[&str]) -> Load {
        let path = path.iter().map(|rev| Rev::parse(rev).expect("valid")).collect();
        Load::Revision { id: DocId::parse(id).expect("valid"), path, deleted: false, json: json.as_bytes().into() }
    }

    #[test]
    fn a_batch_goes_through_the_same_door_as_documents() {
        let taken = item(revision("a", "{ \"n\" : 1.0 }", &["2-b", "1-a"])).expect("sound");
        let Change::Graft { body, path, .. } = taken.change else { panic!("a graft") };
        assert_eq!((&body.json[..], path.len()), (&b"{ \"n\" : 1.0 }"[..], 2));
        for (id, json, path) in [
            ("a", "{\"_id\":\"b\"}", &["1-a"][..]),
            ("a", "[]", &["1-a"]),
            ("a", "{", &["1-a"]),
            ("a", "{}", &[]),
            ("_local/a", "{}", &["1-a"]),
        ] {
            assert!(item(revision(id, json, path)).is_err(), "{id} {json}");
        }
        let local = |id| item(Load::Local { id: DocId::parse(id).expect("valid"), json: Bytes::from_static(b"{}") });
        assert!(local("_local/x").is_ok() && local("x").is_err());
    }
}

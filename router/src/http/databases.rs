//! Databases: made, described, removed; their settings.

use axum::body::Body;
use common::ids::{DbName, DocId};
use http::{Method, StatusCode, header};
use serde_json::json;
use serde_json::value::RawValue;

use super::access::{REPLICATOR, USERS};
use super::call::Call;
use super::error::Error;
use super::read::tell_lag;
use super::target::of_compact;
use super::{Answer, render, vet};
use crate::cluster::catalog::Security;
use crate::ops;
use crate::ops::databases::DbInfo;

/// What `_security` says until it is set: nobody but server admins.
const SECURITY_DEFAULT: &str = r#"{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}"#;
/// Databases asked about in one `_dbs_info`, as in CouchDB.
const DBS_INFO_MAX: usize = 100;

/// `PUT /{db}`
pub(super) async fn create(call: &Call, db: DbName) -> Answer {
    let params = call.params();
    let partitioned = match params.get("partitioned") {
        None => false,
        Some(text) => text.parse().map_err(|_| Error::bad("Invalid `partitioned` parameter"))?,
    };
    if partitioned && db.as_str().starts_with('_') {
        return Err(Error::bad("Cannot partition a system database"));
    }
    call.app.ops.catalog.create(&db, partitioned).await?;
    let mut response = render::ok(StatusCode::CREATED);
    if let Some(location) = call.location(&[db.as_str()]) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `DELETE /{db}`
pub(super) async fn delete(call: &Call, db: DbName) -> Answer {
    if call.params().get("rev").is_some() {
        let reason = "You tried to DELETE a database with a ?=rev parameter. \
                      Did you mean to DELETE a document instead?";
        return Err(Error::bad(reason));
    }
    if db.as_str() == REPLICATOR {
        return Err(Error::Forbidden(
            "_replicator is always there. Delete its documents to end their replications.".into(),
        ));
    }
    if db.as_str() == USERS {
        // There is always one: what goes is what is in it.
        call.app.ops.clear(&db).await?;
        vet::written(call, &db);
    } else {
        call.app.ops.catalog.delete(&db).await?;
    }
    Ok(render::ok(StatusCode::OK))
}

/// `GET /{db}`
pub(super) async fn info(call: &Call, db: DbName) -> Answer {
    let consistency = call.consistency(&call.params())?;
    let info = call.app.ops.info(&db, consistency).await?;
    let mut response = render::json(StatusCode::OK, described(call, &info));
    tell_lag(response.headers_mut(), consistency, info.lag_ms);
    Ok(response)
}

/// `GET /_dbs_info` describes all databases, or those that the options of `_all_dbs` choose, `POST` those named in `{"keys":[…]}`.
pub(super) async fn dbs_info(call: &Call, body: Body) -> Answer {
    let consistency = call.consistency(&call.params())?;
    let mut oldest_ms = 0;
    let names = if call.parts.method == Method::POST {
        let keys: serde_json::Value = super::body::parse_json(&call.read_json(body).await?)?;
        let keys = keys.get("keys").cloned().unwrap_or_default();
        serde_json::from_value(keys).map_err(|_| Error::bad("`keys` member must exist and be an array."))?
    } else {
        let (names, lag_ms) = super::server::chosen(call, consistency).await?;
        oldest_ms = lag_ms;
        names.into_iter().map(String::from).collect::<Vec<String>>()
    };
    if call.parts.method == Method::POST && names.len() > DBS_INFO_MAX {
        return Err(Error::bad("`keys` member contains too many databases"));
    }
    let mut rows = Vec::with_capacity(names.len());
    for name in names {
        let found = match DbName::parse(&name) {
            Ok(db) => call.app.ops.info(&db, consistency).await,
            Err(_) => Err(ops::Error::NoDatabase),
        };
        match found {
            Ok(info) => {
                oldest_ms = info.lag_ms.max(oldest_ms);
                rows.push((name, Some(described(call, &info))));
            }
            Err(ops::Error::NoDatabase) => rows.push((name, None)),
            Err(error) => return Err(error.into()),
        }
    }
    let mut text = Vec::new();
    render::array(&mut text, rows, |out, (name, info)| {
        out.extend_from_slice(b"{\"key\":");
        render::string(out, &name);
        match info {
            Some(info) => {
                out.extend_from_slice(b",\"info\":");
                out.extend_from_slice(&info);
                out.push(b'}');
            }
            None => out.extend_from_slice(b",\"error\":\"not_found\"}"),
        }
    });
    let mut response = render::json(StatusCode::OK, text);
    tell_lag(response.headers_mut(), consistency, oldest_ms);
    Ok(response)
}

fn described(call: &Call, info: &DbInfo) -> Vec<u8> {
    let DbInfo { db, counters, update_seq, purge_seq, shards, .. } = info;
    let replicas = call.app.config.shard.first().map_or(1, |shard| shard.replicas.len());
    let quorum = replicas / 2 + 1;
    let props = if db.partitioned { json!({"partitioned": true}) } else { json!({}) };
    // Members in CouchDB's order, which a map would not keep.
    let text = format!(
        "{{\"instance_start_time\":{},\"db_name\":{},\"purge_seq\":{},\"update_seq\":{},\
         \"sizes\":{{\"file\":{bytes},\"external\":{bytes},\"active\":{bytes}}},\"props\":{props},\
         \"doc_del_count\":{},\"doc_count\":{},\"disk_format_version\":8,\"compact_running\":{},\
         \"cluster\":{{\"q\":{shards},\"n\":{replicas},\"w\":{quorum},\"r\":{quorum}}}}}",
        json!(db.instance_start_time),
        json!(db.name.as_str()),
        json!(purge_seq.to_string()),
        json!(update_seq.to_string()),
        counters.deleted,
        counters.docs,
        call.app.compactions.is_running(db.uid),
        bytes = counters.bytes + counters.blob_bytes,
    );
    text.into_bytes()
}

/// `POST /{db}/_ensure_full_commit`: every acknowledged write is durable already.
pub(super) async fn ensure_full_commit(call: &Call, db: DbName) -> Answer {
    super::body::require_json(&call.parts.headers)?;
    let db = call.app.ops.db(&db).await?;
    let body = format!("{{\"ok\":true,\"instance_start_time\":{}}}", json!(db.instance_start_time));
    Ok(render::json(StatusCode::CREATED, body.into_bytes()))
}

/// `POST /{db}/_compact`: bodies of old revisions go, in the background. There is nothing to compact of a design
/// document's views, which are asked for by the same path with a name behind it.
pub(super) async fn compact(call: &Call, name: DbName) -> Answer {
    super::body::require_json(&call.parts.headers)?;
    let db = call.app.ops.db(&name).await?;
    match of_compact(call.parts.uri.path()) {
        None => call.app.compactions.start(&call.app.ops, db),
        Some(ddoc) => {
            let id = DocId::parse(&format!("_design/{ddoc}")).map_err(ops::Error::from)?;
            call.app.ops.source(&name, &id, None).await?;
        }
    }
    Ok(render::ok(StatusCode::ACCEPTED))
}

/// `POST /{db}/_view_cleanup`: indexes that no view needs go.
pub(super) async fn view_cleanup(call: &Call, db: DbName) -> Answer {
    call.app.ops.clean_views(&db).await?;
    Ok(render::ok(StatusCode::ACCEPTED))
}

/// `GET /{db}/_security`
pub(super) async fn security(call: &Call, db: DbName) -> Answer {
    let db = call.app.ops.db(&db).await?;
    let text = db.security.as_ref().map_or(SECURITY_DEFAULT, |security| security.get());
    Ok(render::json(StatusCode::OK, text.as_bytes().to_vec()))
}

/// `PUT /{db}/_security`
pub(super) async fn set_security(call: &Call, db: DbName, body: Body) -> Answer {
    let security: Box<RawValue> = super::body::parse_json(&call.read(body).await?)?;
    vet::settings(&db)?;
    Security::parse(security.get()).map_err(Error::bad)?;
    call.app.ops.catalog.set_security(&db, security).await?;
    Ok(render::ok(StatusCode::OK))
}

/// `GET /{db}/_revs_limit`
pub(super) async fn revs_limit(call: &Call, db: DbName) -> Answer {
    let db = call.app.ops.db(&db).await?;
    Ok(render::json(StatusCode::OK, db.revs_limit.to_string().into_bytes()))
}

/// `PUT /{db}/_revs_limit`
pub(super) async fn set_revs_limit(call: &Call, db: DbName, body: Body) -> Answer {
    let limit: Option<u32> = serde_json::from_slice(&call.read(body).await?).ok();
    let limit = limit.filter(|limit| *limit > 0);
    let limit = limit.ok_or_else(|| Error::bad("`rev_limit` must be a positive integer"))?;
    call.app.ops.catalog.set_revs_limit(&db, limit).await?;
    Ok(render::ok(StatusCode::OK))
}

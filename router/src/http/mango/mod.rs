//! `_find`, `_explain` and `_index`: queries by selector, and what makes them quick.

mod find;

use axum::body::Body;
use bytes::Bytes;
use common::ids::{DbName, DocId};
use common::mango::index::{ALL_DOCS_JSON, Index};
use common::mango::{Error as Refused, Value, ddoc, request};
use common::partition::Partition;
use common::query::Consistency;
use http::StatusCode;

use super::call::Call;
use super::error::{self, Error};
use super::target::IndexPath;
use super::{Answer, render};
use crate::ops;
pub(super) use find::find;

/// `POST /{db}/_explain`
pub(super) async fn explain(call: &Call, db: DbName, partition: Option<&Partition>, body: Body) -> Answer {
    let body = call.read_json(body).await?;
    call.app.ops.db(&db).await?;
    let request = request::Find::of(object(&body)?, partition.map(Partition::as_str))?;
    let text = call.app.ops.explain(&db, &request).await?;
    Ok(render::json(StatusCode::OK, text.into_bytes()))
}

/// `POST /{db}/_index`
pub(super) async fn create(call: &Call, db: DbName, body: Body) -> Answer {
    let body = call.read_json(body).await?;
    let entry = call.app.ops.db(&db).await?;
    let create = request::Create::of(object(&body)?)?;
    if create.partitioned == Some(true) && !entry.partitioned {
        return Err(Error::bad("partitioned option cannot be true in a non-partitioned database."));
    }
    let checked = ddoc::check(&create)?;
    let created = call.app.ops.create_index(&db, &checked, call.limits()).await?;
    let mut text = format!("{{\"result\":\"{}\",\"id\":", if created { "created" } else { "exists" }).into_bytes();
    render::string(&mut text, &checked.ddoc);
    text.extend_from_slice(b",\"name\":");
    render::string(&mut text, &checked.name);
    text.push(b'}');
    Ok(render::json(StatusCode::OK, text))
}

/// `GET /{db}/_index`
pub(super) async fn list(call: &Call, db: DbName) -> Answer {
    let params = call.params();
    let number = |name| params.number(name).map_err(|_| Error::from(Refused::ListRange));
    let (limit, skip) = (number("limit")?, number("skip")?.unwrap_or(0));
    if limit == Some(0) {
        return Err(Refused::ListRange.into());
    }
    let db = call.app.ops.db(&db).await?;
    let known = call.app.ops.indexes_now(&db, Consistency::Linearizable).await?.ok_or(ops::Error::NoDatabase)?;
    let mut text = format!("{{\"total_rows\":{},\"indexes\":", 1 + known.all.len()).into_bytes();
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let all = std::iter::once(ALL_DOCS_JSON.to_owned()).chain(known.all.iter().map(Index::to_json));
    render::array(&mut text, all.skip(skip).take(limit), |out, index| out.extend_from_slice(index.as_bytes()));
    text.push(b'}');
    Ok(render::json(StatusCode::OK, text))
}

/// `DELETE /{db}/_index/{ddoc}/{type}/{name}`
pub(super) async fn delete(call: &Call, db: DbName, path: IndexPath) -> Answer {
    call.app.ops.db(&db).await?;
    if path.kind != "json" {
        return Err(ops::Error::Missing.into());
    }
    call.app.ops.delete_index(&db, &ddoc_id(&path.ddoc)?, Some(&path.name)).await?;
    Ok(render::ok(StatusCode::OK))
}

/// `POST /{db}/_index/_bulk_delete`: design documents, each with all its indexes.
pub(super) async fn bulk_delete(call: &Call, db: DbName, body: Body) -> Answer {
    let body = call.read_json(body).await?;
    call.app.ops.db(&db).await?;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for name in request::bulk_delete(object(&body)?)? {
        let deleted = match ddoc_id(&name) {
            Ok(id) => call.app.ops.delete_index(&db, &id, None).await,
            Err(error) => Err(error),
        };
        match deleted {
            Ok(()) => done.push(name),
            // The others may have been deleted: nobody must take this for the whole answer.
            Err(error @ ops::Error::Refused(_)) => return Err(error.into()),
            Err(error) => failed.push((name, error::of_row(&error).0)),
        }
    }
    let mut text = b"{\"success\":".to_vec();
    render::array(&mut text, done, |out, name| {
        out.extend_from_slice(b"{\"id\":");
        render::string(out, &name);
        out.extend_from_slice(b",\"ok\":true}");
    });
    text.extend_from_slice(b",\"fail\":");
    render::array(&mut text, failed, |out, (name, error)| {
        out.extend_from_slice(b"{\"id\":");
        render::string(out, &name);
        out.extend_from_slice(b",\"error\":");
        render::string(out, error);
        out.push(b'}');
    });
    text.push(b'}');
    Ok(render::json(StatusCode::OK, text))
}

/// The id of a design document, named with or without `_design/`.
fn ddoc_id(name: &str) -> Result<DocId, ops::Error> {
    Ok(if name.starts_with("_design/") { DocId::parse(name) } else { DocId::parse(&format!("_design/{name}")) }?)
}

/// The object that a body is.
fn object(body: &Bytes) -> Result<Value<'_>, Error> {
    match Value::parse(body) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err(Error::bad("Request body must be a JSON object")),
        Err(_) => Err(Error::bad("invalid UTF-8 JSON")),
    }
}

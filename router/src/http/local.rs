//! Local documents: `/{db}/_local/{doc}`.

use axum::body::Body;
use common::document::{self, Parsed};
use common::ids::{DbName, DocId, RequestId};
use common::rev::{Rev, RevHash};
use http::{StatusCode, header};

use super::call::{Call, SHARD};
use super::error::Error;
use super::read::{not_modified, tell_lag};
use super::{Answer, render};
use crate::ops::Receipt;

/// `GET /{db}/_local/{doc}`
pub(super) async fn get(call: &Call, db: DbName, id: DocId) -> Answer {
    let params = call.params();
    let consistency = call.consistency(&params)?;
    let (doc, lag_ms) = call.app.ops.get_local(&db, &id, consistency).await?;
    let rev = Rev { generation: 0, hash: RevHash::new(&doc.counter.to_string()) };
    let body = shown(&id, &rev, Some(&doc.json));
    let etag = render::content_etag(&body);
    if call.knows(&etag) {
        return Ok(not_modified(&etag));
    }
    let mut response = render::json(StatusCode::OK, body);
    response.headers_mut().insert(header::ETAG, etag);
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}

/// `PUT /{db}/_local/{doc}`
pub(super) async fn put(call: &Call, db: DbName, id: DocId, body: Body) -> Answer {
    let params = call.params();
    let mut parsed = document::parse(call.read(body).await?, call.limits())?;
    parsed.rev = call.parent(&params, parsed.rev.take())?;
    let json = (!parsed.deleted).then(|| parsed.body.json.clone());
    let request = call.request_id(&db, id.as_str());
    let receipt = write(call, &db, &id, request, parsed).await?;
    let status = if json.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = written(&id, &receipt, json.as_deref(), status);
    if let Some(location) = call.location(&[db.as_str(), id.as_str()]) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `DELETE /{db}/_local/{doc}`
pub(super) async fn delete(call: &Call, db: DbName, id: DocId) -> Answer {
    let params = call.params();
    let parent = call.parent(&params, None)?;
    let request = call.request_id(&db, id.as_str());
    let receipt = call.app.ops.write_local(&db, &id, request, parent.as_ref(), None).await?;
    Ok(written(&id, &receipt, None, StatusCode::OK))
}

/// A local document as none can be asked for.
pub(super) async fn refuse(call: &Call, db: DbName, reason: &'static str) -> Answer {
    call.app.ops.db(&db).await?;
    Err(Error::bad(reason))
}

/// Writes a parsed document under a local id.
pub(super) async fn write(
    call: &Call,
    db: &DbName,
    id: &DocId,
    request: RequestId,
    parsed: Parsed,
) -> Result<Receipt, Error> {
    if parsed.attachments.is_some() {
        return Err(Error::bad("_local documents do not accept attachments."));
    }
    let json = (!parsed.deleted).then_some(parsed.body.json);
    Ok(call.app.ops.write_local(db, id, request, parsed.rev.as_ref(), json).await?)
}

/// What a write of this text (`None`: a deletion) answers; its ETag is that of the next read.
fn written(id: &DocId, receipt: &Receipt, json: Option<&[u8]>, status: StatusCode) -> http::Response<Body> {
    let mut body = Vec::new();
    render::written(&mut body, id.as_str(), Some(&receipt.rev));
    let mut response = render::json(status, body);
    let headers = response.headers_mut();
    headers.insert(SHARD, receipt.shard.0.into());
    headers.insert(header::ETAG, render::content_etag(&shown(id, &receipt.rev, json)));
    response
}

/// The document as it is read. Its ETag is a digest of this: two versions may have the same revision, since a write
/// without one starts over at 0-1.
fn shown(id: &DocId, rev: &Rev, json: Option<&[u8]>) -> Vec<u8> {
    let text = json.unwrap_or(b"{}");
    let mut body = Vec::with_capacity(text.len() + 96);
    document::render(&mut body, id.as_str(), rev, json.is_none(), &[], text);
    body
}

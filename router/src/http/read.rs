//! `GET` and `HEAD` of one document.

use axum::response::Response;
use common::ids::{DbName, DocId};
use common::query::{Consistency, Revs};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::attachments::related;
use super::attachments::shown::Data;
use super::attachments::splice::Spliced;
use super::call::{Call, LAG};
use super::doc::Shown;
use super::params::Params;
use super::{Answer, open_revs, render};
use crate::cluster::catalog::DbEntry;
use crate::ops;
use crate::ops::get::Wanted;

/// `GET /{db}/{doc}`
pub(super) async fn get(call: &Call, db: DbName, id: DocId) -> Answer {
    let params = call.params();
    if let Some(wanted) = params.get("open_revs") {
        return Box::pin(open_revs::get(call, &params, &db, &id, wanted)).await;
    }
    let mut shown = Shown::of(&params)?;
    let consistency = call.consistency(&params)?;
    let wanted = Wanted { revs: revs(&params)?, tree: shown.needs_tree() };
    let (doc, lag_ms) = call.app.ops.get(&db, &id, &wanted, consistency).await?;
    let doc = doc.ok_or(ops::Error::Missing)?;
    let found = doc.found.first().ok_or(ops::Error::Missing)?;
    if found.deleted && wanted.revs == Revs::Winner && !params.is_true("deleted") {
        return Err(ops::Error::Deleted.into());
    }
    let etag = render::etag(&found.rev);
    if let Some(etag) = etag.as_ref().filter(|etag| shown.is_plain() && call.knows(etag)) {
        return Ok(not_modified(etag));
    }
    let follow = shown.data == Data::Inline && !found.attachments.is_empty() && call.accepts("multipart", "related");
    if follow {
        shown = shown.following();
    }
    let mut body = Spliced::from(Vec::with_capacity(found.json.len() + id.as_str().len() + 96));
    let has_meta = shown.render(&mut body, &id, &doc, found);
    let mut kind = None;
    if follow {
        let related = related::Related::new(render::boundary());
        (body, kind) = related.write(body, &id, &found.attachments, shown.attachments(&doc, &found.rev));
    }
    let mut response = match (kind, body.is_text()) {
        (None, true) => render::json(StatusCode::OK, body.text),
        (kind, _) => {
            let entry = call.app.ops.db_for(&db, consistency).await?;
            spliced(call, &entry, kind, body, consistency)
        }
    };
    if let Some(etag) = etag.filter(|_| !has_meta) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}

/// An answer with the bytes of attachments in it; JSON unless it is of another type.
fn spliced(
    call: &Call,
    db: &DbEntry,
    kind: Option<HeaderValue>,
    mut body: Spliced,
    consistency: Consistency,
) -> Response {
    if kind.is_none() {
        body.text.push(b'\n');
    }
    let length = body.len();
    let body = body.body(&call.app.ops, db, consistency);
    let mut response = match kind {
        None => render::json_stream(body),
        Some(kind) => render::typed(StatusCode::OK, kind, body),
    };
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

/// As CouchDB: `latest` asks for the winner, whatever revision is named besides.
fn revs(params: &Params<'_>) -> Result<Revs, super::error::Error> {
    Ok(match params.rev("rev")? {
        Some(rev) if !params.is_true("latest") => Revs::Exact(rev),
        _ => Revs::Winner,
    })
}

/// The client has it already.
pub(super) fn not_modified(etag: &HeaderValue) -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(header::ETAG, etag.clone());
    response
}

/// Tells how old an eventual answer may be.
pub(super) fn tell_lag(headers: &mut HeaderMap, consistency: Consistency, lag_ms: u64) {
    if consistency == Consistency::Eventual {
        headers.insert(LAG, lag_ms.into());
    }
}

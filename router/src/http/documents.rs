//! Writes of one document: PUT, POST, DELETE, COPY.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use common::command::EditKind;
use common::document::{self, Parsed};
use common::ids::{DbName, DocId, Invalid, RequestId};
use common::query::{Consistency, RevBody};
use common::rev::{Rev, RevHash};
use http::{HeaderName, Method, StatusCode, header};
use percent_encoding::percent_decode_str;

use super::attachments::given;
use super::attachments::parts::{Parts, boundary_of};
use super::call::{Call, SHARD};
use super::error::Error;
use super::params::Params;
use super::{Answer, local, render, vet};
use crate::ops::write::{Change, Write};
use crate::ops::{self, Receipt};

/// Where a copy goes: an id, perhaps with `?rev=`.
const DESTINATION: HeaderName = HeaderName::from_static("destination");

/// `PUT /{db}/{doc}`
pub(super) async fn put(call: &Call, db: DbName, id: DocId, body: Body) -> Answer {
    vet::body(call, &db)?;
    let params = call.params();
    let (text, mut parts) = match boundary_of(&call.parts.headers)? {
        None => (call.read(body).await?, None),
        Some(boundary) => {
            let mut parts = Parts::of(&call.parts.headers, body, &boundary)?;
            (parts.document(call.app.config.limits.body_bytes_max).await?, Some(parts))
        }
    };
    let mut parsed = document::parse(text, call.limits())?;
    let new_edits = params.flag("new_edits", true)?;
    parsed.rev = call.parent(&params, parsed.rev.take())?;
    let mut parsed = vet::document(call, &db, &id, parsed, new_edits).await?;
    let attachments = given::taken(call, &db, &id, &mut parsed, parts.as_mut()).await?;
    let request = call.request_id(&db, id.as_str());
    let change = Change::of(parsed, attachments, new_edits)?;
    let deleted = change.is_deletion();
    let receipt = call.app.ops.write(&db, &id, Write { request, change, author: call.author() }).await?;
    vet::written(call, &db);
    let status = if deleted { StatusCode::OK } else { StatusCode::CREATED };
    Ok(written(call, &params, &db, &id, &receipt, status, true))
}

/// `POST /{db}`: the id is in the document, or made here.
pub(super) async fn post(call: &Call, db: DbName, body: Body) -> Answer {
    let params = call.params();
    let parsed = document::parse(call.read_json(body).await?, call.limits())?;
    let id = match &parsed.id {
        Some(id) => DocId::parse(id)?,
        None => DocId::parse(&call.fresh_id(&db, 0))?,
    };
    let request = call.request_id(&db, id.as_str());
    let receipt = write_parsed(call, &db, &id, request, parsed).await?;
    let mut response = written(call, &params, &db, &id, &receipt, StatusCode::CREATED, true);
    response.headers_mut().remove(header::ETAG);
    Ok(response)
}

async fn write_parsed(
    call: &Call,
    db: &DbName,
    id: &DocId,
    request: RequestId,
    parsed: Parsed,
) -> Result<Receipt, Error> {
    if id.is_local() {
        return local::write(call, db, id, request, parsed).await;
    }
    let mut parsed = vet::document(call, db, id, parsed, true).await?;
    let attachments = given::taken(call, db, id, &mut parsed, None).await?;
    let change = Change::of(parsed, attachments, true)?;
    let receipt = call.app.ops.write(db, id, Write { request, change, author: call.author() }).await?;
    vet::written(call, db);
    Ok(receipt)
}

/// `DELETE /{db}/{doc}`
pub(super) async fn delete(call: &Call, db: DbName, id: DocId) -> Answer {
    let params = call.params();
    let parent = call.parent(&params, None)?;
    // The body of a deletion is empty; parsing it gives its digest too.
    let body = document::parse(Bytes::from_static(b"{}"), call.limits())?.body;
    let request = call.request_id(&db, id.as_str());
    let change = Change::Edit { parent, kind: EditKind::Delete, body, attachments: Vec::new() };
    let receipt = call.app.ops.write(&db, &id, Write { request, change, author: call.author() }).await?;
    vet::written(call, &db);
    Ok(written(call, &params, &db, &id, &receipt, StatusCode::OK, false))
}

/// `COPY /{db}/{doc}` with `Destination: id[?rev=…]`
pub(super) async fn copy(call: &Call, db: DbName, id: DocId) -> Answer {
    let params = call.params();
    let destination =
        call.header(DESTINATION).ok_or_else(|| Error::bad("Destination header is mandatory for COPY."))?;
    let (to, parent) = destination_of(destination)?;
    vet::target(call, &to)?;
    let from = source(call, &db, &id).await?;
    let request = call.request_id(&db, to.as_str());
    let receipt = if to.is_local() {
        call.app.ops.write_local(&db, &to, request, parent.as_ref(), Some(from.json)).await?
    } else {
        let copied = Parsed { rev: parent.clone(), ..document::parse(from.json, call.limits())? };
        let body = vet::document(call, &db, &to, copied, true).await?.body;
        let attachments = given::copied(call, &db, (&id, &to), &from.attachments).await?;
        let change = Change::Edit { parent, kind: EditKind::Update, body, attachments };
        call.app.ops.write(&db, &to, Write { request, change, author: call.author() }).await?
    };
    vet::written(call, &db);
    Ok(written(call, &params, &db, &to, &receipt, StatusCode::CREATED, true))
}

/// What to copy: the winner, or the revision that the query or `If-Match` names.
async fn source(call: &Call, db: &DbName, id: &DocId) -> Result<RevBody, Error> {
    let rev = call.parent(&call.params(), None)?;
    if !id.is_local() {
        return Ok(call.app.ops.source(db, id, rev).await?);
    }
    let (doc, _) = call.app.ops.get_local(db, id, Consistency::Linearizable).await?;
    let current = Rev { generation: 0, hash: RevHash::new(&doc.counter.to_string()) };
    if rev.is_some_and(|rev| rev != current) {
        return Err(ops::Error::Missing.into());
    }
    Ok(RevBody { rev: current, deleted: false, json: doc.json, attachments: Vec::new() })
}

/// An id that no document can have: told to who writes, and missing to who reads.
pub(super) async fn refuse(call: &Call, db: DbName, invalid: Invalid, method: &Method) -> Answer {
    call.app.ops.db(&db).await?;
    match (method.as_str(), &invalid) {
        ("GET" | "DELETE" | "POST", Invalid::DocIdReserved) => Err(ops::Error::Missing.into()),
        _ => Err(invalid.into()),
    }
}

fn destination_of(text: &str) -> Result<(DocId, Option<Rev>), Error> {
    if text.contains("://") {
        return Err(Error::bad("Destination URL must be relative."));
    }
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let id = percent_decode_str(path).decode_utf8_lossy();
    Ok((DocId::parse(&id)?, Params::of_query(Some(query)).rev("rev")?))
}

/// What a write answers. With `batch=ok` the revision is left out, as CouchDB does; the write is as durable as any.
fn written(
    call: &Call,
    params: &Params<'_>,
    db: &DbName,
    id: &DocId,
    receipt: &Receipt,
    status: StatusCode,
    located: bool,
) -> Response<Body> {
    let batched = params.get("batch") == Some("ok");
    let mut body = Vec::with_capacity(id.as_str().len() + 80);
    render::written(&mut body, id.as_str(), (!batched).then_some(&receipt.rev));
    let mut response = render::json(if batched { StatusCode::ACCEPTED } else { status }, body);
    let headers = response.headers_mut();
    headers.insert(SHARD, receipt.shard.0.into());
    if batched {
        return response;
    }
    if let Some(etag) = render::etag(&receipt.rev) {
        headers.insert(header::ETAG, etag);
    }
    if let Some(location) = located.then(|| call.location(&[db.as_str(), id.as_str()])).flatten() {
        headers.insert(header::LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_an_id_perhaps_with_a_revision() {
        let (id, rev) = destination_of("a%2Fb?rev=1-x").expect("valid");
        assert_eq!((id.as_str(), rev), ("a/b", Rev::parse("1-x").ok()));
        assert_eq!(destination_of("b").expect("valid").1, None);
        assert!(destination_of("http://elsewhere/x").is_err());
        assert!(destination_of("_x").is_err());
    }
}

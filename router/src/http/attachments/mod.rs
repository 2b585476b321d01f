//! Attachments: `/{db}/{doc}/{attachment}`, and what documents say of theirs on the way in (`given`, `parts`) and on the
//! way out (`shown`, `splice`).

pub(super) mod given;
pub(super) mod parts;
mod range;
pub(super) mod related;
pub(super) mod shown;
pub(super) mod splice;
mod splitter;

use axum::body::Body;
use axum::response::Response;
use common::attachment::{Attachment, DEFAULT_CONTENT_TYPE, Encoding, Sent};
use common::command::{Body as DocBody, EditKind};
use common::document::{Parsed, check_attachment_name};
use common::ids::{DbName, DocId};
use common::query::{Consistency, RevBody, Revs};
use common::rev::Rev;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::call::{Call, SHARD};
use super::error::Error;
use super::params::Params;
use super::read::{not_modified, tell_lag};
use super::{Answer, body, render, vet};
use crate::ops::download::Blob;
use crate::ops::get::Wanted;
use crate::ops::upload::{Allowance, Label};
use crate::ops::write::{Change, Write};
use crate::ops::{self, Receipt};
use range::Asked;
use splice::Form;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
/// Whatever an attachment is, it may do nothing in the name of this site.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox");

/// `GET /{db}/{doc}/{attachment}`
pub(super) async fn get(call: &Call, db: DbName, id: DocId, name: &str) -> Answer {
    let params = call.params();
    let consistency = call.consistency(&params)?;
    let (found, lag_ms) = revision(call, &params, &db, &id, consistency).await?;
    let attachment = found.attachments.iter().find(|attachment| *attachment.name == *name);
    let attachment = attachment.ok_or(ops::Error::NoAttachment)?;
    let etag = format!("\"{}\"", shown::digest(&attachment.content));
    let etag = HeaderValue::try_from(etag).map_err(|_| Error::Internal("a digest cannot stand in a header"))?;
    if call.knows(&etag) {
        return Ok(not_modified(&etag));
    }
    let entry = call.app.ops.db_for(&db, consistency).await?;
    let shard = call.app.ops.shard_of_doc(&entry, &id);
    let blob = Blob { shard, db: entry.uid, content: attachment.content.clone(), consistency };
    let mut response = served(call, attachment, &blob)?;
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("must-revalidate"));
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    tell_lag(headers, consistency, lag_ms);
    Ok(response)
}

/// The attachment's bytes, or the range of them that was asked for.
fn served(call: &Call, attachment: &Attachment, blob: &Blob) -> Result<Response<Body>, Error> {
    let content = &attachment.content;
    let packed = content.encoding.name();
    let takes = packed.is_none_or(|encoding| takes_encoding(&call.parts.headers, encoding));
    // Packed bytes have no ranges: those of the content begin nowhere among them.
    let asked = match packed {
        None => range::parse(call.header(header::RANGE), content.stored_bytes),
        Some(_) => Asked::All,
    };
    let (status, from, to) = match asked {
        Asked::All => (StatusCode::OK, 0, content.stored_bytes),
        Asked::Part { from, to } => (StatusCode::PARTIAL_CONTENT, from, to),
        Asked::Nothing => return Err(Error::Range(content.stored_bytes)),
    };
    let stored = call.app.ops.bytes_of(blob, from, to);
    let body = Body::from_stream(splice::formed(stored, Form { base64: false, unpack: !takes }));
    let kind = HeaderValue::try_from(&*attachment.content_type);
    let kind = kind.unwrap_or(HeaderValue::from_static(DEFAULT_CONTENT_TYPE));
    let mut response = render::typed(status, kind, body);
    let headers = response.headers_mut();
    let ranges = if packed.is_none() { "bytes" } else { "none" };
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static(ranges));
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {from}-{}/{}", to.saturating_sub(1), content.stored_bytes);
        headers.insert(header::CONTENT_RANGE, value(text)?);
    } else if takes {
        headers.insert(CONTENT_MD5, value(shown::digest(content))?);
    }
    if let Some(encoding) = packed.filter(|_| takes) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    // What is unpacked here has the length that its sender said, if one was said.
    let unpacked = (content.length != content.stored_bytes).then_some(content.length);
    if let Some(length) = if takes { Some(to - from) } else { unpacked } {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(response)
}

fn value(text: String) -> Result<HeaderValue, Error> {
    HeaderValue::try_from(text).map_err(|_| Error::Internal("a number cannot stand in a header"))
}

/// Whether a client takes bytes packed in this way. One that does not say so does not.
fn takes_encoding(headers: &HeaderMap, encoding: &str) -> bool {
    let all = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).any(|one| {
        let (name, parameters) = one.split_once(';').unwrap_or((one, ""));
        let refused = parameters.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0f32));
        !refused && (name.trim().eq_ignore_ascii_case(encoding) || name.trim() == "*")
    })
}

/// The revision whose attachments are asked for: the winner, or the one that is named.
async fn revision(
    call: &Call,
    params: &Params<'_>,
    db: &DbName,
    id: &DocId,
    consistency: Consistency,
) -> Result<(RevBody, u64), Error> {
    let revs = params.rev("rev")?.map_or(Revs::Winner, Revs::Exact);
    let named = revs != Revs::Winner;
    let (doc, lag_ms) = call.app.ops.get(db, id, &Wanted { revs, tree: false }, consistency).await?;
    let found = doc.and_then(|doc| doc.found.into_iter().next()).ok_or(ops::Error::Missing)?;
    if found.deleted && !named { Err(ops::Error::Deleted.into()) } else { Ok((found, lag_ms)) }
}

/// `PUT /{db}/{doc}/{attachment}`
pub(super) async fn put(call: &Call, db: DbName, id: DocId, name: &str, body: Body) -> Answer {
    check_attachment_name(name)?;
    given::allowed(&db, &id)?;
    let params = call.params();
    let parent = call.parent(&params, None)?;
    let encoding = encoding(call)?;
    let old = upon(call, &db, &id, parent.as_ref()).await?;
    let content_type = call.header(header::CONTENT_TYPE).unwrap_or(DEFAULT_CONTENT_TYPE);
    let label = Label { name: name.into(), content_type: content_type.into(), revpos: 0, encoding, length: None };
    let sent = received(call, &db, &id, label, body).await?;
    let kept = old.iter().flat_map(|old| &old.attachments).filter(|other| *other.name != *name);
    let attachments: Vec<Sent> = std::iter::once(sent).chain(kept.map(Attachment::stub)).collect();
    let receipt = write(call, &db, &id, name, parent, old, attachments).await?;
    let mut response = written(&id, &receipt, StatusCode::CREATED);
    if let Some(location) = call.location(&[db.as_str(), id.as_str(), name]) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `DELETE /{db}/{doc}/{attachment}`
pub(super) async fn delete(call: &Call, db: DbName, id: DocId, name: &str) -> Answer {
    check_attachment_name(name)?;
    let params = call.params();
    let parent = call.parent(&params, None)?;
    let old = match &parent {
        Some(_) => upon(call, &db, &id, parent.as_ref()).await?,
        // It will conflict, unless there is nothing to delete.
        None => Some(call.app.ops.source(&db, &id, None).await?),
    };
    let all = old.as_ref().map(|old| &old.attachments[..]).unwrap_or_default();
    if all.iter().all(|other| *other.name != *name) {
        return Err(ops::Error::NoAttachment.into());
    }
    let left = all.iter().filter(|other| *other.name != *name).map(Attachment::stub).collect();
    let receipt = write(call, &db, &id, name, parent, old, left).await?;
    Ok(written(&id, &receipt, StatusCode::OK))
}

/// How the body is packed, which is how it will be kept.
fn encoding(call: &Call) -> Result<Encoding, Error> {
    match call.header(header::CONTENT_ENCODING) {
        None => Ok(Encoding::Identity),
        Some(text) => Encoding::parse(text).ok_or_else(|| Error::ContentEncoding(text.to_owned())),
    }
}

/// The revision that is written upon; `None` for a new document. What would conflict anyway is refused before its
/// bytes are taken, unless the request may have been done before.
async fn upon(call: &Call, db: &DbName, id: &DocId, parent: Option<&Rev>) -> Result<Option<RevBody>, Error> {
    match call.app.ops.source(db, id, parent.cloned()).await {
        Ok(found) if parent.is_some() => Ok(Some(found)),
        Ok(_) if !call.is_named() => Err(ops::Error::Conflict.into()),
        Ok(_) | Err(ops::Error::Missing | ops::Error::Deleted) if parent.is_none() => Ok(None),
        Err(ops::Error::Missing) => Err(Error::MissingRev),
        Ok(_) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Takes the body in.
async fn received(call: &Call, db: &DbName, id: &DocId, label: Label, body: Body) -> Result<Sent, Error> {
    let announced = http_body::Body::size_hint(&body).exact();
    if announced.is_some_and(|bytes| bytes > call.app.config.limits.attachment_bytes_max) {
        return Err(ops::Error::AttachmentTooLarge(label.name).into());
    }
    let mut left = Allowance::default();
    let mut upload = given::begin(call, db, id, label, left).await?;
    let mut body = body;
    while let Some(piece) = body::next(&mut body).await? {
        upload.push(piece).await?;
    }
    let sent = upload.finish(&mut left).await?;
    given::check(&sent, None, call.header(CONTENT_MD5).and_then(shown::digest_of))?;
    Ok(sent)
}

/// Writes the revision that has these attachments and is otherwise the old one.
async fn write(
    call: &Call,
    db: &DbName,
    id: &DocId,
    name: &str,
    parent: Option<Rev>,
    old: Option<RevBody>,
    attachments: Vec<Sent>,
) -> Result<Receipt, Error> {
    let json = old.map_or(bytes::Bytes::from_static(b"{}"), |old| old.json);
    let parsed = Parsed::of(parent, DocBody::of(json));
    let parsed = vet::document(call, db, id, parsed, true).await?;
    let change = Change::Edit { parent: parsed.rev, kind: EditKind::Update, body: parsed.body, attachments };
    let request = call.request_id(db, &format!("{id}/{name}"));
    let receipt = call.app.ops.write(db, id, Write { request, change, author: call.author() }).await?;
    vet::written(call, db);
    Ok(receipt)
}

fn written(id: &DocId, receipt: &Receipt, status: StatusCode) -> Response<Body> {
    let mut body = Vec::new();
    render::written(&mut body, id.as_str(), Some(&receipt.rev));
    let mut response = render::json(status, body);
    response.headers_mut().insert(SHARD, receipt.shard.0.into());
    response
}

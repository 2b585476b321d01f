//! Looks at a document on its way into a database: who may write design documents, and what is a user.
//!
//! The table admits by path; ids in bodies and in `Destination` are seen here. Every document that is written through
//! the API passes here, and in `_users` no password gets past it unhashed.

use axum::response::Response;
use common::document::{self, Parsed};
use common::ids::{DbName, DocId};
use common::query::{Consistency, Revs};
use http::{Method, header};

use super::access::{REPLICATOR, USERS, refuse_unless};
use super::call::Call;
use super::error::Error;
use crate::auth::rules::{Class, Level, decide};
use crate::auth::user_document::{self, Writer};
use crate::ops;
use crate::ops::get::Wanted;
use crate::replicator;

/// The document as it may be stored under `id`.
pub(super) async fn document(
    call: &Call,
    db: &DbName,
    id: &DocId,
    parsed: Parsed,
    new_edits: bool,
) -> Result<Parsed, Error> {
    target(call, id)?;
    if id.is_design() && !parsed.deleted {
        ops::views::design::check(&parsed.body.json).await?;
    }
    if db.as_str() == USERS && !id.is_local() {
        return user(call, db, id, parsed, new_edits).await;
    }
    if db.as_str() == REPLICATOR && !id.is_local() && !parsed.deleted {
        return replication(call, id, parsed);
    }
    Ok(parsed)
}

/// A replication: it must be one, and one that is allowed; whoever writes it owns it.
fn replication(call: &Call, id: &DocId, mut parsed: Parsed) -> Result<Parsed, Error> {
    let json = replicator::check_document(&call.app.replicator, id, &parsed.body.json, &call.user)?;
    parsed.body = document::parse(json.into(), call.limits())?.body;
    Ok(parsed)
}

/// Whether a document with this id may be written where the caller was let in.
pub(super) fn target(call: &Call, id: &DocId) -> Result<(), Error> {
    if id.is_design() { refuse_unless(decide(Class::Design, &Method::PUT, call.level)) } else { Ok(()) }
}

/// After a write to `_users`: what is kept of its users may be old.
pub(super) fn written(call: &Call, db: &DbName) {
    if db.as_str() == USERS {
        call.app.auth.users_changed();
    }
}

/// `PUT /_users/_security`, and that of `_replicator`: nobody sets it, since their documents are everybody's, or hold
/// credentials.
pub(super) fn settings(db: &DbName) -> Result<(), Error> {
    match db.as_str() {
        USERS => Err(Error::Forbidden("You can't edit the security object of the user database.".into())),
        REPLICATOR => Err(Error::Forbidden("You can't edit the security object of the replicator database.".into())),
        _ => Ok(()),
    }
}

/// The same for whatever is not sent as JSON: its password would not be seen.
pub(super) fn body(call: &Call, db: &DbName) -> Result<(), Error> {
    let kind = call.header(header::CONTENT_TYPE).unwrap_or_default().trim_start();
    let multipart = kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"));
    if multipart && db.as_str() == USERS { Err(Error::ContentType) } else { Ok(()) }
}

async fn user(call: &Call, db: &DbName, id: &DocId, mut parsed: Parsed, new_edits: bool) -> Result<Parsed, Error> {
    let admin = call.level == Level::ServerAdmin;
    if !admin && !new_edits {
        return Err(Error::Forbidden("Only _admin may write revisions made elsewhere.".into()));
    }
    // The table lets admins write design documents. It lets those who sign up PUT, and a PUT may be a deletion.
    if parsed.deleted {
        let writer = Writer { name: call.user.name.as_deref(), admin };
        user_document::check_deletion(id.as_str(), writer).map_err(|why| Error::Forbidden(why.into()))?;
    } else if !id.is_design() {
        check(call, db, id, &parsed, admin).await?;
    }
    if let Some(password) = user_document::plain_password(&parsed.body.json).map_err(Error::bad)? {
        let hash = call.app.auth.hash(password).await?;
        let json = user_document::with_hash(&parsed.body.json, hash.as_str());
        parsed.body = document::parse(json.into(), call.limits())?.body;
    }
    Ok(parsed)
}

/// Checks a user's new document against the one it replaces.
async fn check(call: &Call, db: &DbName, id: &DocId, parsed: &Parsed, admin: bool) -> Result<(), Error> {
    let wanted = Wanted { revs: Revs::Winner, tree: false };
    let (old, _) = call.app.ops.get(db, id, &wanted, Consistency::Linearizable).await?;
    let old = old.and_then(|doc| doc.found.into_iter().next()).filter(|winner| !winner.deleted);
    // What is checked must be what is replaced: the shard refuses any other parent.
    if !admin && old.as_ref().is_some_and(|old| parsed.rev.as_ref() != Some(&old.rev)) {
        return Err(ops::Error::Conflict.into());
    }
    let old = old.as_ref().map(|old| &old.json[..]);
    let writer = Writer { name: call.user.name.as_deref(), admin };
    user_document::check(id.as_str(), &parsed.body.json, old, writer).map_err(|why| Error::Forbidden(why.into()))
}

/// Adds the cookie of a session that goes on to an answer, unless it sets one itself.
pub(super) fn renew(mut response: Response, renewal: Option<http::HeaderValue>) -> Response {
    if let Some(cookie) = renewal {
        response.headers_mut().entry(header::SET_COOKIE).or_insert(cookie);
    }
    response
}

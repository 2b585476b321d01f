//! One request under way: what every handler asks of it.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use common::document::ParseLimits;
use common::ids::{DbName, RequestId};
use common::query::Consistency;
use common::rev::Rev;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, header};

use super::error::Error;
use super::params::Params;
use super::{accept, body, render};
use crate::app::App;
use crate::auth::User;
use crate::auth::rules::Level;
use crate::ops::validation::Author;

/// The client's name for an edit, so that a repeated request takes effect once.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Which shard has a written document, so that people and tests can see where it lives.
pub(crate) const SHARD: HeaderName = HeaderName::from_static("x-quorate-shard");
/// How old an eventual answer may be, in milliseconds.
pub(crate) const LAG: HeaderName = HeaderName::from_static("x-quorate-lag");

/// One request, its body apart.
pub(crate) struct Call {
    /// The router's state.
    pub app: Arc<App>,
    /// Method, path and headers.
    pub parts: Parts,
    /// Who is asking.
    pub user: User,
    /// What they are to the database asked about, or to the server.
    pub level: Level,
}

impl Call {
    /// Who is asking, as validation functions are told.
    pub(crate) fn author(&self) -> Author {
        Author::User { name: self.user.name.clone(), roles: self.user.roles.clone() }
    }

    /// The options in the query.
    pub(crate) fn params(&self) -> Params<'_> {
        Params::of_query(self.parts.uri.query())
    }

    /// A header as text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The method, `HEAD` counted as the `GET` it stands for (the server leaves out the body).
    pub(crate) fn method(&self) -> Method {
        if self.parts.method == Method::HEAD { Method::GET } else { self.parts.method.clone() }
    }

    /// Reads the body.
    pub(crate) async fn read(&self, body: Body) -> Result<Bytes, Error> {
        body::read(&self.parts.headers, body, self.app.config.limits.body_bytes_max).await
    }

    /// Reads a body that must be said to be JSON.
    pub(crate) async fn read_json(&self, body: Body) -> Result<Bytes, Error> {
        body::require_json(&self.parts.headers)?;
        self.read(body).await
    }

    /// Limits on documents.
    pub(crate) fn limits(&self) -> ParseLimits {
        ParseLimits { depth_max: self.app.config.limits.json_depth_max }
    }

    /// How fresh an answer is wanted. A read quorum (`r`) above one asks for a linearizable one, as every default
    /// read is.
    pub(crate) fn consistency(&self, params: &Params<'_>) -> Result<Consistency, Error> {
        match params.get("consistency") {
            Some("eventual") => Ok(Consistency::Eventual),
            Some("linearizable") => Ok(Consistency::Linearizable),
            Some(other) => Err(Error::Query(format!("Invalid value for consistency: {other:?}"))),
            None if params.number("r")?.is_some_and(|r| r > 1) => Ok(Consistency::Linearizable),
            None => Ok(self.app.ops.default_consistency),
        }
    }

    /// The name of the edit of one document: the client's, or a new one.
    pub(crate) fn request_id(&self, db: &DbName, id: &str) -> RequestId {
        match self.parts.headers.get(IDEMPOTENCY_KEY) {
            Some(key) => named(db, id, &String::from_utf8_lossy(key.as_bytes())),
            None => RequestId(uuid::Uuid::from_u128(rand::random())),
        }
    }

    /// Whether the client gave its edit a name: it may have been done before.
    pub(crate) fn is_named(&self) -> bool {
        self.parts.headers.contains_key(IDEMPOTENCY_KEY)
    }

    /// The name of the edit of one document among many.
    pub(crate) fn request_id_at(&self, db: &DbName, id: &str, at: usize) -> RequestId {
        match self.parts.headers.get(IDEMPOTENCY_KEY) {
            Some(key) => named(db, id, &format!("{at}:{}", String::from_utf8_lossy(key.as_bytes()))),
            None => RequestId(uuid::Uuid::from_u128(rand::random())),
        }
    }

    /// An id for a document that came without. A repeated request gives the same one, or it would be written twice.
    pub(crate) fn fresh_id(&self, db: &DbName, at: usize) -> String {
        let RequestId(uuid) = self.request_id_at(db, "", at);
        uuid.as_simple().to_string()
    }

    /// The parent revision: from the body, the query (`rev`) or `If-Match`, which must agree.
    pub(crate) fn parent(&self, params: &Params<'_>, in_body: Option<Rev>) -> Result<Option<Rev>, Error> {
        let in_query = params.rev("rev")?;
        let named = match (in_body, in_query) {
            (Some(body), Some(query)) if body != query => {
                return Err(Error::bad("Document rev from request body and query string have different values"));
            }
            (body, query) => body.or(query),
        };
        let Some(etag) = self.header(header::IF_MATCH) else { return Ok(named) };
        let etag = Rev::parse(etag.trim().trim_matches('"'))?;
        match named {
            Some(named) if named != etag => Err(Error::bad("Document rev and etag have different values")),
            _ => Ok(Some(etag)),
        }
    }

    /// Whether the client has this version already.
    pub(crate) fn knows(&self, etag: &HeaderValue) -> bool {
        let Some(known) = self.header(header::IF_NONE_MATCH) else { return false };
        known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == "*" || one.as_bytes() == etag)
    }

    /// Whether the client takes an answer of this type.
    pub(crate) fn accepts(&self, main: &str, sub: &str) -> bool {
        accept::accepts(self.header(header::ACCEPT), main, sub)
    }

    /// Where something is, as this client reaches it.
    pub(crate) fn location(&self, segments: &[&str]) -> Option<HeaderValue> {
        render::location(self.parts.headers.get(header::HOST), segments)
    }
}

fn named(db: &DbName, id: &str, key: &str) -> RequestId {
    RequestId::from_key(&format!("{db}/{id}"), key)
}

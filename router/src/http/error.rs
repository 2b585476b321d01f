//! The single table from what went wrong to what the client is told: status, `error`, `reason`, headers.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::Response;
use common::ids::{Invalid, ShardId};
use common::refusal::Refusal;
use http::{HeaderValue, StatusCode, header};

use super::render::json;
use crate::auth::rules::Verdict;
use crate::auth::{Denied, Foreign};
use crate::cluster::Unready;
use crate::cluster::catalog::CatalogError;
use crate::ops;
use crate::ops::atomic::{BYTES_MAX, EDITS_MAX};
use crate::replicator::{self, Refused};

/// Why a request was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The verb was not done.
    #[error(transparent)]
    Ops(ops::Error),
    /// Wrong credentials, or too many to verify.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Not addressed to this machine, where only this machine is let in.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// The table of who may do what says no.
    #[error("{}", reason_of(*.0))]
    NotAllowed(Verdict),
    /// A name is needed.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// What is asked for is not for this caller, or for nobody.
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// An option that cannot be read.
    #[error("{0}")]
    Query(String),
    /// The target does not take this method.
    #[error("Only {0} allowed")]
    Method(&'static str),
    /// The body's type is not JSON.
    #[error("Content-Type must be application/json")]
    ContentType,
    /// The body is encoded in a way that is not understood here.
    #[error("{0} is not a supported content encoding.")]
    ContentEncoding(String),
    /// The body is too large.
    #[error("the request entity is too large")]
    TooLarge,
    /// An atomic batch is too large.
    #[error("an atomic batch has at most {EDITS_MAX} documents and {BYTES_MAX} bytes")]
    BatchTooLarge,
    /// The path and query are too long.
    #[error("the request URI is too long")]
    UriTooLong,
    /// The revision to be written upon is not there.
    #[error("missing_rev")]
    MissingRev,
    /// What came of an attachment is not what its digest says.
    #[error("Possible message corruption.")]
    Digest,
    /// None of the bytes asked for are there; how many there are.
    #[error("Requested range not satisfiable")]
    Range(u64),
    /// The body did not arrive.
    #[error("the request body did not arrive: {0}")]
    Incomplete(String),
    /// Nothing is there.
    #[error("missing")]
    Nothing,
    /// A design document has no such member.
    #[error("missing json key: {0}")]
    NoKey(String),
    /// Not served (yet).
    #[error("{0}")]
    NotImplemented(&'static str),
    /// Was served once, long ago.
    #[error("Temporary views are not supported in CouchDB")]
    Gone,
    /// There is no full-text search here.
    #[error("Search is not available")]
    Search,
    /// A replica refused to campaign because the cluster has moved on.
    #[error("{0}")]
    Stale(String),
    /// This router cannot serve all shards.
    #[error(transparent)]
    Unready(Unready),
    /// A replication was not begun, or failed.
    #[error(transparent)]
    Replication(#[from] Refused),
    /// A bug of ours.
    #[error("{0}")]
    Internal(&'static str),
}

impl<E: Into<ops::Error>> From<E> for Error {
    fn from(error: E) -> Self {
        Error::Ops(error.into())
    }
}

/// One line of the table.
struct Line {
    status: StatusCode,
    error: &'static str,
    shard: Option<ShardId>,
    /// After how many seconds trying again may help.
    retry_after: Option<u32>,
}

impl Line {
    fn new(status: StatusCode, error: &'static str) -> Self {
        Self { status, error, shard: None, retry_after: None }
    }

    fn of_shard(status: StatusCode, error: &'static str, shard: ShardId) -> Self {
        Self { shard: Some(shard), ..Self::new(status, error) }
    }

    /// One second: an election takes less, and a queue has moved on by then.
    fn soon(self) -> Self {
        Self { retry_after: Some(1), ..self }
    }
}

impl Error {
    /// A request that must be written differently.
    pub(crate) fn bad(reason: impl Into<Cow<'static, str>>) -> Self {
        Error::Ops(ops::Error::bad(reason))
    }

    fn line(&self) -> Line {
        match self {
            Error::Ops(error) => line_of(error),
            Error::Denied(Denied::Wrong | Denied::Token(_)) | Error::Unauthorized(_) => {
                Line::new(StatusCode::UNAUTHORIZED, "unauthorized")
            }
            Error::Denied(Denied::Refused(refusal)) => line_of_refusal(refusal),
            Error::NotAllowed(Verdict::NotMember | Verdict::NotDbAdmin) | Error::Forbidden(_) => {
                Line::new(StatusCode::FORBIDDEN, "forbidden")
            }
            Error::NotAllowed(_) => Line::new(StatusCode::UNAUTHORIZED, "unauthorized"),
            Error::Foreign(Foreign::Missing) => Line::new(StatusCode::BAD_REQUEST, "bad_request"),
            Error::Foreign(Foreign::Named(_)) => Line::new(StatusCode::FORBIDDEN, "forbidden"),
            Error::Denied(Denied::Busy) => Line::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests").soon(),
            Error::Query(_) => Line::new(StatusCode::BAD_REQUEST, "query_parse_error"),
            Error::Method(_) => Line::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Error::ContentType | Error::ContentEncoding(_) => {
                Line::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_content_type")
            }
            Error::TooLarge | Error::BatchTooLarge => Line::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Error::UriTooLong => Line::new(StatusCode::URI_TOO_LONG, "uri_too_long"),
            Error::Incomplete(_) => Line::new(StatusCode::BAD_REQUEST, "bad_request"),
            Error::MissingRev => Line::new(StatusCode::CONFLICT, "not_found"),
            Error::Digest => Line::new(StatusCode::BAD_REQUEST, "content_md5_mismatch"),
            Error::Range(_) => Line::new(StatusCode::RANGE_NOT_SATISFIABLE, "requested_range_not_satisfiable"),
            Error::Nothing | Error::NoKey(_) => Line::new(StatusCode::NOT_FOUND, "not_found"),
            Error::NotImplemented(_) => Line::new(StatusCode::NOT_IMPLEMENTED, "not_implemented"),
            Error::Gone => Line::new(StatusCode::GONE, "gone"),
            Error::Search => Line::new(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"),
            Error::Stale(_) => Line::new(StatusCode::CONFLICT, "stale"),
            Error::Unready(unready) => {
                Line::of_shard(StatusCode::SERVICE_UNAVAILABLE, "not_ready", unready.shard()).soon()
            }
            Error::Replication(refused) => line_of_replication(refused),
            Error::Internal(_) => Line::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_server_error"),
        }
    }

    /// `error` and `reason` for a row among others. Errors with itself if it concerns the request as a whole: what
    /// may be tried again must not look like what was refused.
    pub(crate) fn into_row(self) -> Result<(&'static str, String), Self> {
        let line = self.line();
        // What is not served will not be the next time either.
        let told = line.status.is_client_error() || line.status == StatusCode::NOT_IMPLEMENTED;
        let refused = told && line.retry_after.is_none();
        if refused { Ok((line.error, self.to_string())) } else { Err(self) }
    }

    /// The answer to the client.
    pub(crate) fn into_response(self) -> Response<Body> {
        let line = self.line();
        if line.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(reason = %self, "a request failed");
        }
        let mut body = Vec::with_capacity(128);
        row(&mut body, line.error, &self.to_string(), line.shard);
        let mut response = json(line.status, body);
        let headers = response.headers_mut();
        match self {
            Error::Method(allow) => _ = headers.insert(header::ALLOW, HeaderValue::from_static(allow)),
            Error::Range(len) => {
                let range = HeaderValue::try_from(format!("bytes */{len}"));
                headers.extend(range.ok().map(|range| (header::CONTENT_RANGE, range)));
            }
            _ => {}
        }
        if let Some(seconds) = line.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn line_of(error: &ops::Error) -> Line {
    match error {
        ops::Error::NoDatabase | ops::Error::Missing | ops::Error::Deleted => {
            Line::new(StatusCode::NOT_FOUND, "not_found")
        }
        ops::Error::NoView => Line::new(StatusCode::NOT_FOUND, "not_found"),
        ops::Error::Design(_) => Line::new(StatusCode::BAD_REQUEST, "invalid_design_doc"),
        ops::Error::Compilation(_) => Line::new(StatusCode::BAD_REQUEST, "compilation_error"),
        ops::Error::Function(_) => Line::new(StatusCode::INTERNAL_SERVER_ERROR, "function_failed"),
        ops::Error::DatabaseExists => Line::new(StatusCode::PRECONDITION_FAILED, "file_exists"),
        ops::Error::Conflict => Line::new(StatusCode::CONFLICT, "conflict"),
        ops::Error::Invalid(invalid) => Line::new(StatusCode::BAD_REQUEST, name_of(invalid)),
        ops::Error::Document(error) => Line::new(StatusCode::BAD_REQUEST, error.name()),
        ops::Error::Mango(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
            Line::new(status, error.name())
        }
        ops::Error::Unserved(_) => Line::new(StatusCode::NOT_IMPLEMENTED, "not_implemented"),
        ops::Error::Forbidden(_) => Line::new(StatusCode::FORBIDDEN, "forbidden"),
        ops::Error::Unauthorized(_) => Line::new(StatusCode::UNAUTHORIZED, "unauthorized"),
        ops::Error::Thrown { error, .. } => Line::new(StatusCode::INTERNAL_SERVER_ERROR, error),
        ops::Error::ValidatorsChange => Line::new(StatusCode::SERVICE_UNAVAILABLE, "validators_change").soon(),
        ops::Error::IndexesChange | ops::Error::IndexNotBuilt => {
            Line::new(StatusCode::SERVICE_UNAVAILABLE, "index_not_built").soon()
        }
        ops::Error::NotPartitioned => Line::new(StatusCode::BAD_REQUEST, "query_parse_error"),
        ops::Error::Bad(_) => Line::new(StatusCode::BAD_REQUEST, "bad_request"),
        ops::Error::NoAttachment => Line::new(StatusCode::NOT_FOUND, "not_found"),
        ops::Error::MissingStub { .. } => Line::new(StatusCode::PRECONDITION_FAILED, "missing_stub"),
        ops::Error::AttachmentTooLarge(_) => Line::new(StatusCode::PAYLOAD_TOO_LARGE, "attachment_too_large"),
        ops::Error::UploadLost => Line::new(StatusCode::SERVICE_UNAVAILABLE, "upload_lost").soon(),
        ops::Error::Refused(refusal) => line_of_refusal(refusal),
    }
}

fn line_of_replication(refused: &Refused) -> Line {
    let status = match refused {
        Refused::Bad(_) => StatusCode::BAD_REQUEST,
        Refused::NotAllowed(_) | Refused::NotOwner => StatusCode::FORBIDDEN,
        Refused::NotFound => StatusCode::NOT_FOUND,
        Refused::TooMany => return Line::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests").soon(),
        Refused::NotStarted => return Line::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready").soon(),
        Refused::Catalog(CatalogError::Refused(refusal)) | Refused::Shard(refusal) => return line_of_refusal(refusal),
        // Of the cluster as a whole, not of a database: neither can be.
        Refused::Catalog(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Refused::Failed(error) => return line_of_failure(error),
    };
    let name = match status {
        StatusCode::BAD_REQUEST => "bad_request",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        _ => "internal_server_error",
    };
    Line::new(status, name)
}

/// What a replication that ran ended with: ours is the gateway.
fn line_of_failure(error: &replicator::Error) -> Line {
    let status = match error {
        replicator::Error::NoDatabase(_) => StatusCode::NOT_FOUND,
        replicator::Error::Unauthorized(_) => StatusCode::UNAUTHORIZED,
        replicator::Error::Forbidden(_) => StatusCode::FORBIDDEN,
        replicator::Error::Refused { status: 501, .. } => StatusCode::NOT_IMPLEMENTED,
        replicator::Error::Refused { .. } | replicator::Error::Malformed(..) => StatusCode::BAD_GATEWAY,
        replicator::Error::Unavailable(_) => return Line::new(StatusCode::SERVICE_UNAVAILABLE, error.name()).soon(),
        replicator::Error::Overtaken(_) => StatusCode::CONFLICT,
    };
    Line::new(status, error.name())
}

fn reason_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Login => "Authentication required.",
        Verdict::NotServerAdmin => "You are not a server admin.",
        Verdict::Stranger => "You are not authorized to access this db.",
        Verdict::NotMember => "You are not allowed to access this db.",
        Verdict::Unnamed | Verdict::NotDbAdmin => "You are not a db or server admin.",
        Verdict::Allow | Verdict::Missing => "missing",
    }
}

fn name_of(invalid: &Invalid) -> &'static str {
    match invalid {
        Invalid::DbName(_) => "illegal_database_name",
        Invalid::DocIdEmpty
        | Invalid::DocIdReserved
        | Invalid::DocIdPrefixOnly(_)
        | Invalid::DocIdTooLong
        | Invalid::DocIdNotUtf8
        | Invalid::DocIdNotPartitioned => "illegal_docid",
        Invalid::PartitionEmpty | Invalid::PartitionColon | Invalid::PartitionUnderscore => "illegal_partition",
        Invalid::Rev | Invalid::NodeId(_) => "bad_request",
    }
}

fn line_of_refusal(refusal: &Refusal) -> Line {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    match refusal {
        Refusal::NotPrimary { shard, .. }
        | Refusal::NotHosted { shard }
        | Refusal::NoQuorum { shard }
        | Refusal::TooFarBehind { shard }
        | Refusal::OutOfService { shard, .. } => Line::of_shard(unavailable, "no_quorum", *shard).soon(),
        Refusal::UnknownOutcome { shard } => Line::of_shard(unavailable, "unknown_outcome", *shard),
        Refusal::Overloaded { shard } => {
            Line::of_shard(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", *shard).soon()
        }
        Refusal::DiskFull { shard } => Line::of_shard(StatusCode::INSUFFICIENT_STORAGE, "insufficient_storage", *shard),
        Refusal::BadBatch(_) => Line::new(StatusCode::BAD_REQUEST, "bad_request"),
        Refusal::Function(_) => Line::new(StatusCode::INTERNAL_SERVER_ERROR, "function_failed"),
        Refusal::Unreachable(_) => Line::new(unavailable, "no_quorum").soon(),
    }
}

/// The `error` and `reason` of a verb that was not done, for a row among others.
pub(crate) fn of_row(error: &ops::Error) -> (&'static str, String) {
    (line_of(error).error, error.to_string())
}

/// What an atomic batch is answered of which this edit could not be written.
pub(crate) fn status_of_batch(error: &ops::Error) -> StatusCode {
    match error {
        ops::Error::Forbidden(_) | ops::Error::Unauthorized(_) => StatusCode::FORBIDDEN,
        ops::Error::Thrown { .. } | ops::Error::Function(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::CONFLICT,
    }
}

fn row(out: &mut Vec<u8>, error: &str, reason: &str, shard: Option<ShardId>) {
    out.extend_from_slice(b"{\"error\":");
    super::render::string(out, error);
    out.extend_from_slice(b",\"reason\":");
    super::render::string(out, reason);
    if let Some(shard) = shard {
        out.extend_from_slice(format!(",\"shard\":{shard}").as_bytes());
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn shown(error: impl Into<Error>) -> (u16, String, Vec<String>) {
        let response = error.into().into_response();
        let status = response.status().as_u16();
        let headers = [header::ALLOW, header::RETRY_AFTER].into_iter().filter_map(|name| {
            let value = response.headers().get(&name)?.to_str().ok()?;
            Some(format!("{name}: {value}"))
        });
        let headers = headers.collect();
        let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"), headers)
    }

    #[tokio::test]
    async fn the_table_says_what_couchdb_says() {
        let shard = ShardId(2);
        let none: &[&str] = &[];
        let soon: &[&str] = &["retry-after: 1"];
        let table: [(Error, u16, &str, &[&str]); 14] = [
            (ops::Error::NoDatabase.into(), 404, r#""not_found","reason":"Database does not exist."}"#, none),
            (ops::Error::Missing.into(), 404, r#""not_found","reason":"missing"}"#, none),
            (ops::Error::Deleted.into(), 404, r#""not_found","reason":"deleted"}"#, none),
            (ops::Error::Conflict.into(), 409, r#""conflict","reason":"Document update conflict."}"#, none),
            (
                ops::Error::DatabaseExists.into(),
                412,
                r#""file_exists","reason":"The database could not be created, the file already exists."}"#,
                none,
            ),
            (
                Invalid::DocIdReserved.into(),
                400,
                r#""illegal_docid","reason":"Only reserved document ids may start with underscore."}"#,
                none,
            ),
            (Invalid::Rev.into(), 400, r#""bad_request","reason":"Invalid rev format"}"#, none),
            (Error::Method("POST"), 405, r#""method_not_allowed","reason":"Only POST allowed"}"#, &["allow: POST"]),
            (Error::ContentType, 415, r#""bad_content_type","reason":"Content-Type must be application/json"}"#, none),
            (Error::TooLarge, 413, r#""too_large","reason":"the request entity is too large"}"#, none),
            (
                Refusal::NoQuorum { shard }.into(),
                503,
                r#""no_quorum","reason":"shard 2 has no quorum","shard":2}"#,
                soon,
            ),
            (
                Refusal::UnknownOutcome { shard }.into(),
                503,
                r#""unknown_outcome","reason":"the outcome on shard 2 is not known","shard":2}"#,
                none,
            ),
            (
                Refusal::Overloaded { shard }.into(),
                429,
                r#""too_many_requests","reason":"too many requests wait for shard 2","shard":2}"#,
                soon,
            ),
            (
                Refusal::DiskFull { shard }.into(),
                507,
                r#""insufficient_storage","reason":"the disk under shard 2 is full","shard":2}"#,
                none,
            ),
        ];
        for (error, status, body, headers) in table {
            let (got_status, got_body, got_headers) = shown(error).await;
            assert_eq!((got_status, got_body), (status, format!("{{\"error\":{body}\n")));
            assert_eq!(got_headers, headers);
        }
    }
}

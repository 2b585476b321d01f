//! One end of a running replication: a database that is asked over HTTP, in this process or elsewhere.
//!
//! A question that finds a server that cannot answer now is asked again for a while: a failover takes about a second,
//! and nothing that is asked here does harm when it is done twice.

mod stream;
mod verbs;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::Error;
use super::spec::{Asking, End};
use crate::auth::Acting;
pub(crate) use verbs::{Batch, Changes, Doc, Written};
pub use wire::{HttpWire, Wire};

/// The API of this router, asked without a socket.
pub type Service = Arc<dyn Fn(Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// What needs no encoding in a segment of a path or in a query.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const JSON: &str = "application/json";
/// The first pause; each one after it is twice as long.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Largest answer taken. Documents come in groups, and a group that is larger is asked for in parts.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How much of an answer is worth repeating in an error.
const REASON_BYTES_MAX: usize = 300;

/// One end.
#[derive(Clone)]
pub(crate) struct Peer {
    /// As it may be shown.
    pub shown: String,
    way: Way,
    asking: Asking,
    /// One for each request that may be under way.
    connections: Arc<Semaphore>,
}

#[derive(Clone)]
enum Way {
    Local { service: Service, path: String, acting: Acting },
    Remote { wire: Arc<dyn Wire>, base: String, headers: HeaderMap },
}

/// One question.
#[derive(Debug, Clone)]
struct Ask {
    method: Method,
    /// Behind the database's own path, encoded.
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Bytes>,
    /// What the body is.
    kind: Option<HeaderValue>,
    /// What is wanted.
    accept: &'static str,
    /// How long the server itself may wait before it answers.
    wait: Duration,
    /// Whether it brings documents over.
    brings: bool,
}

/// One answer.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: Bytes,
}

/// Why there is none.
enum Failure {
    /// Nobody answered.
    Unavailable(String),
    /// It may not be called.
    Forbidden(String),
    /// It is larger than may be held.
    TooLarge,
}

impl Ask {
    fn new(method: Method, path: impl Into<String>) -> Self {
        let (query, wait) = (Vec::new(), Duration::ZERO);
        Self { method, path: path.into(), query, body: None, kind: None, accept: JSON, wait, brings: false }
    }

    fn json(self, body: impl Into<Bytes>) -> Self {
        Self { body: Some(body.into()), kind: Some(HeaderValue::from_static(JSON)), ..self }
    }

    /// The same as part of bringing documents over: only so many of these are under way at once.
    fn bringing(self) -> Self {
        Self { brings: true, ..self }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Path and query.
    fn target(&self, base: &str, more: &[(String, String)]) -> String {
        let mut target = format!("{base}{}", self.path);
        let own = self.query.iter().map(|(name, value)| (*name, value.as_str()));
        let more = more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (at, (name, value)) in own.chain(more).enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(&segment(name));
            target.push('=');
            target.push_str(&segment(value));
        }
        target
    }
}

/// A name as it stands in a path or a query.
fn segment(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

impl Peer {
    /// The database at one end, asked in this way, and in somebody's name if it is one of this cluster.
    pub(crate) fn new(end: &End, asking: Asking, acting: &Acting, service: &Service, wire: &Arc<dyn Wire>) -> Self {
        let way = match end {
            End::Local(db) => Way::Local {
                service: service.clone(),
                path: format!("/{}", segment(db.as_str())),
                acting: acting.clone(),
            },
            End::Remote { url, headers, .. } => {
                let base = url.to_string().trim_end_matches('/').to_owned();
                Way::Remote { wire: wire.clone(), base, headers: headers.iter().cloned().collect() }
            }
        };
        Self { shown: end.to_string(), way, asking, connections: Arc::new(Semaphore::new(asking.connections)) }
    }

    /// Asks until there is an answer that does not only tell to come again.
    async fn ask(&self, ask: &Ask, more: &[(String, String)]) -> Result<Result<Reply, TooLarge>, Error> {
        let mut pause = PAUSE;
        for tried in 1.. {
            let why = match self.once(ask, more).await {
                Ok(reply) if !is_passing(reply.status) => return Ok(Ok(reply)),
                Err(Failure::TooLarge) => return Ok(Err(TooLarge)),
                Err(Failure::Forbidden(why)) => return Err(Error::Forbidden(why)),
                Ok(reply) => format!("{} {}", reply.status, reply.reason()),
                Err(Failure::Unavailable(why)) => why,
            };
            if tried > self.asking.retries {
                return Err(Error::Unavailable(format!("{}{}: {why}", self.shown, ask.path)));
            }
            // Pauses are spread so that workers do not come back all at once.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
        unreachable!("the loop ends with an answer or an error")
    }

    /// A place among the requests that bring documents over. The feed and checkpoints need none: those who ask for them are
    /// not looked at while the others work, and a place kept for them would be lost to all.
    async fn connection(&self, ask: &Ask) -> Option<SemaphorePermit<'_>> {
        if ask.brings { self.connections.acquire().await.ok() } else { None }
    }

    async fn once(&self, ask: &Ask, more: &[(String, String)]) -> Result<Reply, Failure> {
        let _connection = self.connection(ask).await;
        let exchange = async {
            let body = ask.body.clone().map_or_else(Body::empty, Body::from);
            let response = self.exchange(ask, more, body).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() { Failure::TooLarge } else { Failure::Unavailable(error.to_string()) }
            })?;
            Ok(Reply { status: head.status, body: body.to_bytes() })
        };
        let late = || Failure::Unavailable("no answer in time".to_owned());
        tokio::time::timeout(self.asking.timeout.saturating_add(ask.wait), exchange)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// One exchange; the answer's body is still to come.
    async fn exchange(&self, ask: &Ask, more: &[(String, String)], body: Body) -> Result<Response<Body>, Failure> {
        match &self.way {
            Way::Local { service, path, acting } => {
                let mut request = request(ask, ask.target(path, more), body);
                request.extensions_mut().insert(acting.clone());
                Ok(service(request).await)
            }
            Way::Remote { wire, base, headers } => {
                let mut request = request(ask, ask.target(base, more), body);
                request.headers_mut().extend(headers.clone());
                wire.send(request).await.map_err(|error| match error.kind() {
                    io::ErrorKind::PermissionDenied => Failure::Forbidden(error.to_string()),
                    _ => Failure::Unavailable(error.to_string()),
                })
            }
        }
    }

    /// What an answer means that is none of those wanted.
    fn refused(&self, what: &str, reply: &Reply) -> Error {
        match reply.status {
            StatusCode::UNAUTHORIZED => Error::Unauthorized(self.shown.clone()),
            StatusCode::FORBIDDEN => Error::Forbidden(format!("{}: {}", self.shown, reply.reason())),
            StatusCode::NOT_FOUND => Error::NoDatabase(self.shown.clone()),
            status => Error::Refused {
                what: format!("{} {what}", self.shown),
                status: status.as_u16(),
                reason: reply.reason(),
            },
        }
    }
}

/// The answer is larger than may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

fn request(ask: &Ask, target: String, body: Body) -> Request<Body> {
    let request = Request::builder().method(ask.method.clone()).uri(target);
    let request = request.header(header::ACCEPT, ask.accept);
    let request = match &ask.kind {
        Some(kind) => request.header(header::CONTENT_TYPE, kind),
        None => request,
    };
    request.body(body).expect("a checked URL with encoded segments behind it")
}

/// Whether the same may be answered otherwise a little later.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504 | 507)
}

impl Reply {
    fn is(&self, statuses: &[u16]) -> bool {
        statuses.contains(&self.status.as_u16())
    }

    /// Of a 404: whether the document is not there, and not the database.
    fn is_gone(&self) -> bool {
        matches!(self.reason().as_str(), "missing" | "deleted")
    }

    /// What it says, in short.
    fn reason(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Told {
            reason: String,
        }
        match serde_json::from_slice::<Told>(&self.body) {
            Ok(told) => told.reason.chars().take(REASON_BYTES_MAX).collect(),
            Err(_) => String::from_utf8_lossy(&self.body[..self.body.len().min(REASON_BYTES_MAX)]).trim().to_owned(),
        }
    }
}

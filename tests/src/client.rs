//! A small HTTP client for tests: JSON in, JSON out, and honest about what became of a request.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::Result;

/// Longest wait for an answer unless told otherwise: well above what the servers allow themselves.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest wait for a connection unless told otherwise: a stopped process accepts nothing once its backlog is full, and
/// that must not take the kernel's minutes.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// No connection: the request has had no effect.
    NotSent(String),
    /// The connection broke, or time ran out: it may have had an effect.
    Unknown(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(why) => write!(f, "not sent: {why}"),
            Self::Unknown(why) => write!(f, "outcome unknown: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A member of the body, as text; empty when it is not there.
    pub fn field(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_default().to_owned()
    }

    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    /// The shard that answered, if it said so.
    pub fn shard(&self) -> Option<u32> {
        self.header("x-quorate-shard").parse().ok()
    }

    /// The reply itself when its status is `expected`, an error that tells everything otherwise.
    pub fn expect(self, expected: u16) -> Result<Self> {
        if self.status.as_u16() == expected {
            return Ok(self);
        }
        Err(format!("expected {expected}, got {} {}", self.status, self.text().chars().take(500).collect::<String>())
            .into())
    }
}

/// A client of one server; cheap to clone, clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
    base: String,
    headers: HeaderMap,
    patience: Duration,
}

impl Client {
    /// A client of the server at `HOST:PORT`.
    pub fn new(address: &str) -> Self {
        Self::connecting_within(address, CONNECT_PATIENCE)
    }

    /// The same, with another longest wait for a connection.
    pub fn connecting_within(address: &str, patience: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(patience));
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            // A request on a connection that turns out to be dead is reported, not repeated: we count effects.
            .retry_canceled_requests(false)
            .build(connector);
        Self { http, base: format!("http://{address}"), headers: HeaderMap::new(), patience: PATIENCE }
    }

    /// The server's URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// With Basic authentication.
    pub fn basic(self, name: &str, password: &str) -> Self {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        self.with(header::AUTHORIZATION, &format!("Basic {credentials}"))
    }

    /// With the cluster secret, for internal ports.
    pub fn bearer(self, secret: &str) -> Self {
        self.with(header::AUTHORIZATION, &format!("Bearer {secret}"))
    }

    /// With a header on every request.
    ///
    /// # Panics
    /// If the value cannot stand in a header.
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
        self
    }

    /// With another longest wait.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sends a request as it is.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply, Failure> {
        let not_sent = |error: &dyn std::error::Error| Failure::NotSent(explain(error));
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| not_sent(&error))?;
        let exchange = async {
            let reply = self.http.request(request).await.map_err(|error| {
                if error.is_connect() { not_sent(&error) } else { Failure::Unknown(explain(&error)) }
            })?;
            let (head, body) = reply.into_parts();
            let body = body.collect().await.map_err(|error| Failure::Unknown(explain(&error)))?.to_bytes();
            Ok(Reply { status: head.status, headers: head.headers, body })
        };
        let late = || Failure::Unknown(format!("no answer within {:?}", self.patience));
        tokio::time::timeout(self.patience, exchange).await.map_err(|_| late())?
    }

    /// Sends JSON text.
    pub async fn json(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Reply, Failure> {
        self.send(method, path, &[("content-type", "application/json")], body.into()).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// PUT of JSON text.
    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Result<Reply, Failure> {
        self.json(Method::PUT, path, body).await
    }

    /// POST of JSON text.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Reply, Failure> {
        self.json(Method::POST, path, body).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Reply, Failure> {
        self.send(Method::DELETE, path, &[], Bytes::new()).await
    }

    /// Creates a database; fine if it is there already.
    pub async fn create_db(&self, db: &str) -> Result<()> {
        let reply = self.put(&format!("/{db}"), "").await?;
        if reply.status == StatusCode::PRECONDITION_FAILED { Ok(()) } else { reply.expect(201).map(drop) }
    }

    /// Writes documents with `_bulk_docs`; all must be accepted.
    pub async fn bulk(&self, db: &str, docs: &[Value]) -> Result<()> {
        let body = serde_json::json!({ "docs": docs }).to_string();
        let reply = self.post(&format!("/{db}/_bulk_docs"), body).await?.expect(201)?;
        match reply.json().as_array() {
            Some(rows) if rows.len() == docs.len() && rows.iter().all(|row| row["ok"] == true) => Ok(()),
            _ => Err(format!("not all documents were accepted: {}", reply.text()).into()),
        }
    }

    /// All changes of a database since a token: ids with their newest revision, and the last token.
    pub async fn changes(&self, db: &str, since: &str) -> Result<(Vec<(String, String)>, String)> {
        let reply = self.get(&format!("/{db}/_changes?since={since}")).await?.expect(200)?.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = reply["results"].as_array().ok_or("no results")?;
        let rows = rows.iter().map(|row| (text(&row["id"]), text(&row["changes"][0]["rev"]))).collect();
        Ok((rows, text(&reply["last_seq"])))
    }
}

fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

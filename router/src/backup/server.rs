//! The server a backup comes from or goes to, over HTTP.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::error::Error;

/// Longest wait for an answer, and for the next piece of a stream.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long something that may pass is tried again: longer than a node takes to come back.
const RETRIES: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// How much of an answer that is no JSON is repeated.
const TEXT_CHARS_MAX: usize = 200;

/// See the module.
pub(super) struct Server {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
}

impl Server {
    /// The server at `url` (`http://HOST:PORT`), asked as this user with this password.
    pub(super) fn new(url: &Uri, credentials: Option<(&str, &str)>) -> Result<Self, Error> {
        let authority = url.authority().filter(|_| url.scheme_str() == Some("http"));
        let authority = authority.ok_or_else(|| Error::Usage(format!("{url} is not http://HOST:PORT")))?;
        let authorization = credentials.map(|(user, password)| {
            let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let mut value = HeaderValue::try_from(format!("Basic {text}")).expect("base64 is fit for a header");
            value.set_sensitive(true);
            value
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { client, base: format!("http://{authority}"), authorization })
    }

    /// Asks for JSON; asks again for a while if that may help.
    pub(super) async fn json<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Error> {
        let kind = "application/json";
        let text = patiently(async || self.whole(method.clone(), path, kind, body.clone()).await).await?;
        let unreadable = |error: serde_json::Error| Error::Unreachable {
            url: format!("{}{path}", self.base),
            reason: format!("an answer that cannot be read: {error}"),
        };
        serde_json::from_slice(&text).map_err(unreadable)
    }

    /// Sends what has an effect only once, however often it is sent; sends it again for a while if that may help.
    pub(super) async fn post(&self, path: &str, body: Bytes) -> Result<(), Error> {
        let kind = "application/octet-stream";
        patiently(async || self.whole(Method::POST, path, kind, body.clone()).await).await.map(drop)
    }

    /// Asks for a stream, once.
    pub(super) async fn stream(&self, path: &str, body: Bytes) -> Result<Stream, Error> {
        let response = self.send(Method::POST, path, "application/json", body).await?;
        Ok(Stream { url: format!("{}{path}", self.base), body: response.into_body() })
    }

    async fn whole(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Bytes, Error> {
        let response = self.send(method, path, kind, body).await?;
        collect(&format!("{}{path}", self.base), response).await
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Response<Incoming>, Error> {
        let url = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method).uri(&url).header(header::CONTENT_TYPE, kind);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|error| Error::Usage(format!("{url}: {error}")))?;
        let lost = |reason: String| Error::Unreachable { url: url.clone(), reason };
        let sent = tokio::time::timeout(PATIENCE, self.client.request(request)).await;
        let response = sent.map_err(|_| lost(format!("no answer within {PATIENCE:?}")))?;
        let response = response.map_err(|error| lost(explain(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = collect(&url, response).await?;
        Err(Error::Answered { url, status, reason: told(status, &text) })
    }
}

/// A stream that is taken piece by piece.
pub(super) struct Stream {
    url: String,
    body: Incoming,
}

impl Stream {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let lost = |reason: String| Error::Unreachable { url: self.url.clone(), reason };
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            match frame.map_err(|_| lost(format!("nothing came for {PATIENCE:?}")))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(explain(&error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The stream is not what it should be; asking for it again may help.
    pub(super) fn broken(&self, reason: impl ToString) -> Error {
        Error::Unreachable { url: self.url.clone(), reason: reason.to_string() }
    }
}

/// Does it again while what went wrong may pass.
pub(super) async fn patiently<T>(mut attempt: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    let until = Instant::now() + RETRIES;
    loop {
        match attempt().await {
            Err(error) if error.may_pass() && Instant::now() < until => {
                tracing::debug!(%error, "trying again");
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn collect(url: &str, response: Response<Incoming>) -> Result<Bytes, Error> {
    let lost = |reason: String| Error::Unreachable { url: url.to_owned(), reason };
    let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await;
    let body = body.map_err(|_| lost(format!("no answer within {PATIENCE:?}")))?;
    Ok(body.map_err(|error| lost(explain(&error)))?.to_bytes())
}

/// CouchDB's `error` and `reason`, or the text itself.
fn told(status: StatusCode, text: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    match (value["error"].as_str(), value["reason"].as_str()) {
        (Some(error), Some(reason)) => format!("{error}: {reason}"),
        _ if text.is_empty() => status.canonical_reason().unwrap_or_default().to_owned(),
        _ => String::from_utf8_lossy(text).trim().chars().take(TEXT_CHARS_MAX).collect(),
    }
}

/// An error with its causes: the outermost alone says only "client error".
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

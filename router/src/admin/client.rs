//! Asks a router over HTTP, as an admin.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

use super::error::Error;
use super::overview::Overview;
use crate::names::Names;
use crate::shard::http::tcp_connector;

/// Longest wait for an answer: a router that waits for its nodes answers well before.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest answer taken at once: a row a replica, of some thousand replicas.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// A router, and who asks it.
pub(crate) struct Router {
    client: Client<HttpConnector<Names>, Full<Bytes>>,
    authority: String,
    credentials: Option<HeaderValue>,
}

impl fmt::Display for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// Parses a router's address.
pub(super) fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let plain = url.scheme_str() == Some("http") && url.path() == "/" && url.query().is_none();
    let authority = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if plain && authority { Ok(url) } else { Err("a router's address is http://HOST:PORT".to_owned()) }
}

impl Router {
    /// The router at `url`, asked with these credentials (name and password) if there are any.
    pub(super) fn new(url: &Uri, credentials: Option<(&str, &str)>) -> Result<Self, Error> {
        let authority = url.authority().map(ToString::to_string).unwrap_or_default();
        let header = |(name, password): (&str, &str)| {
            let text = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
            let mut value = HeaderValue::from_str(&text).map_err(|error| Error::Usage(error.to_string()))?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        let credentials = credentials.map(header).transpose()?;
        let client = Client::builder(TokioExecutor::new()).build(tcp_connector());
        Ok(Self { client, authority, credentials })
    }

    /// All replicas of the cluster.
    pub(super) async fn overview(&self) -> Result<Overview, Error> {
        self.ask(Method::GET, "/v1/_replication/state", None).await
    }

    /// Posts JSON, and takes JSON for an answer.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &serde_json::Value) -> Result<T, Error> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<T, Error> {
        let exchange = async { self.collect(self.send(method, path, body).await?).await };
        let late = |_| self.unreachable(format!("no answer within {PATIENCE:?}"));
        let bytes = tokio::time::timeout(PATIENCE, exchange).await.map_err(late)??;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Foreign { url: self.to_string(), reason: error.to_string() })
    }

    /// An answer to be read as it comes.
    pub(super) async fn stream(&self, path: &str) -> Result<Incoming, Error> {
        let sent = self.send(Method::GET, path, None);
        let late = |_| self.unreachable(format!("no answer within {PATIENCE:?}"));
        Ok(tokio::time::timeout(PATIENCE, sent).await.map_err(late)??.into_body())
    }

    /// What is wrong when an answer breaks off.
    pub(super) fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { url: self.to_string(), reason }
    }

    /// Sends a request; the answer is a success.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder().method(method).uri(format!("{self}{path}"));
        if let Some(credentials) = &self.credentials {
            request = request.header(header::AUTHORIZATION, credentials.clone());
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(Full::new(body)).map_err(|error| self.unreachable(error.to_string()))?;
        let answer = self.client.request(request).await.map_err(|error| self.unreachable(reason(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let reason = said(&self.collect(answer).await?);
        let url = self.to_string();
        Err(match status {
            StatusCode::UNAUTHORIZED => Error::Denied { url, reason },
            _ => Error::Refused { url, status, reason },
        })
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Bytes, Error> {
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok(body.map_err(|error| self.unreachable(error.to_string()))?.to_bytes())
    }
}

/// The reason in a router's error, or the beginning of what is no such error.
fn said(body: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    match json["reason"].as_str() {
        Some(reason) => reason.to_owned(),
        None => String::from_utf8_lossy(&body[..body.len().min(300)]).trim_end().to_owned(),
    }
}

/// An error with its causes: the outermost alone says only "client error".
fn reason(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(url("http://r1:5984").expect("valid"), "http://r1:5984/");
        assert_eq!(url("http://[::1]:5984/").expect("valid"), "http://[::1]:5984/");
        for wrong in ["r1:5984", "https://r1", "http://r1/db", "http://admin:pw@r1", ""] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_reason_of_an_error_is_shown_and_of_anything_else_its_beginning() {
        assert_eq!(said(br#"{"error":"stale","reason":"the term is 4 now"}"#), "the term is 4 now");
        assert_eq!(said(b"<html>\n"), "<html>");
    }
}

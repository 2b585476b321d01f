//! A node behind HTTP/1.1 keep-alive connections.
//!
//! The connector comes from outside, so that a simulation can bring its own network. Probes and campaigns have a
//! client of their own: on HTTP/1.1 that means connections of their own, and no batch ever delays them.

use bytes::Bytes;
use common::backup::ExportRequest;
use common::change::ChangesRequest;
use common::command::Command;
use common::ids::{Index, NodeId, ShardId};
use common::refusal::Refusal;
use common::secret::Secret;
use common::state::{Campaign, Drain, NodeState, Promote};
use common::view::{ViewAnswer, ViewRequest};
use common::wire::{self, ChangesAnswer, ReadAnswer, ReadRequest, WriteAnswer};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use std::time::Duration;

use super::batch::Weight;
use super::transport::{ExportStream, Transport, WalStream};
use crate::names::Names;
use crate::telemetry::{self, request};

/// Longest wait for a TCP connection. Longer lets a vanished machine eat the time of a failover.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Connections kept open to a node beyond those in use. Each shard uses a handful at once.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// How much of a text answer is worth repeating in an error.
const TEXT_BYTES_MAX: usize = 200;

/// One node and how to reach it.
pub struct HttpTransport<C> {
    node: NodeId,
    authority: String,
    secret: Option<HeaderValue>,
    data: Client<C, Full<Bytes>>,
    probes: Client<C, Full<Bytes>>,
}

/// What went wrong with an exchange.
enum Failure {
    /// Nothing was sent.
    NotSent(String),
    /// It may have arrived.
    Lost(String),
    /// The node answered something that is no answer of ours.
    Answered(StatusCode, String),
}

/// A TCP connector fit for batches: no delay for small segments, short connects.
pub fn tcp_connector() -> HttpConnector<Names> {
    let mut connector = HttpConnector::new_with_resolver(Names::system());
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}

impl<C: Connect + Clone + Send + Sync + 'static> HttpTransport<C> {
    /// A node at `address` (`HOST:PORT` of its internal port).
    pub fn new(node: NodeId, address: &str, secret: Option<&Secret>, connector: C) -> Self {
        let client = || {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
                .build(connector.clone())
        };
        let secret = secret.map(Secret::header);
        Self { node, authority: address.to_owned(), secret, data: client(), probes: client() }
    }

    async fn send(
        &self,
        client: &Client<C, Full<Bytes>>,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.authority));
        if let Some(secret) = &self.secret {
            request = request.header(wire::SECRET_HEADER, secret.clone());
        }
        if let Some(ids) = request::current() {
            request = request.header(request::IDS, ids);
        }
        if !body.is_empty() {
            let json = path.ends_with("/promote") || path.ends_with("/drain");
            let kind = if json { "application/json" } else { "application/octet-stream" };
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let mut request = request.body(Full::new(body)).map_err(|error| Failure::NotSent(error.to_string()))?;
        telemetry::pass_on(request.headers_mut());
        client.request(request).await.map_err(|error| failure(&error))
    }

    /// One exchange of wire messages about one shard.
    async fn exchange<T: DeserializeOwned>(
        &self,
        shard: ShardId,
        verb: &str,
        body: Vec<u8>,
    ) -> Result<Result<T, Refusal>, Failure> {
        let path = format!("/v1/shards/{shard}/{verb}");
        let response = self.send(&self.data, Method::POST, &path, body.into()).await?;
        let status = response.status();
        let bytes = collect(response).await?;
        wire::decode(&bytes).map_err(|_| Failure::Answered(status, excerpt(&bytes)))
    }

    /// One exchange of JSON on the probes' connections.
    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Failure> {
        let response = self.send(&self.probes, method, path, body).await?;
        let status = response.status();
        let bytes = collect(response).await?;
        serde_json::from_slice(&bytes).map_err(|_| Failure::Answered(status, excerpt(&bytes)))
    }

    /// An answer that is taken as it comes.
    fn pieces(&self, response: Response<Incoming>) -> BoxStream<'static, Result<Bytes, Refusal>> {
        let node = self.node.clone();
        let pieces = BodyStream::new(response.into_body()).filter_map(move |frame| {
            let node = node.clone();
            async move {
                match frame {
                    Ok(frame) => frame.into_data().ok().map(Ok),
                    Err(_) => Some(Err(Refusal::Unreachable(node))),
                }
            }
        });
        pieces.boxed()
    }

    /// What a failure means for something that may be asked anywhere again.
    fn harmless(&self, shard: Option<ShardId>, failure: Failure) -> Refusal {
        match failure {
            Failure::NotSent(reason) | Failure::Lost(reason) => {
                tracing::debug!(node = %self.node, %reason, "no answer");
                Refusal::Unreachable(self.node.clone())
            }
            Failure::Answered(status, text) => self.foreign(shard, status, &text),
        }
    }

    /// What a failure means for a write: it has happened, or not, unless nothing was sent or the node refused it.
    fn harmful(&self, shard: ShardId, failure: Failure) -> Refusal {
        match failure {
            Failure::Lost(reason) => {
                tracing::debug!(node = %self.node, %shard, %reason, "an answer to a write was lost");
                Refusal::UnknownOutcome { shard }
            }
            Failure::Answered(status, _) if !status.is_client_error() => Refusal::UnknownOutcome { shard },
            other => self.harmless(Some(shard), other),
        }
    }

    fn foreign(&self, shard: Option<ShardId>, status: StatusCode, text: &str) -> Refusal {
        tracing::warn!(node = %self.node, %status, text, "the node answered something unexpected");
        match (status, shard) {
            (StatusCode::PAYLOAD_TOO_LARGE, _) => Refusal::BadBatch("the node takes no batch this large".to_owned()),
            (StatusCode::NOT_FOUND, Some(shard)) => Refusal::NotHosted { shard },
            (_, Some(shard)) => Refusal::OutOfService { shard, reason: format!("node {}: {status} {text}", self.node) },
            (_, None) => Refusal::Unreachable(self.node.clone()),
        }
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Transport for HttpTransport<C> {
    fn node(&self) -> &NodeId {
        &self.node
    }

    fn write<'a>(&'a self, shard: ShardId, commands: &'a [Command]) -> BoxFuture<'a, WriteAnswer> {
        let bytes = commands.iter().map(Weight::bytes).sum();
        let exchange = self.exchange(shard, "write", wire::encode_about(commands, bytes));
        exchange.map(move |answer| answer.unwrap_or_else(|failure| Err(self.harmful(shard, failure)))).boxed()
    }

    fn read<'a>(&'a self, shard: ShardId, request: &'a ReadRequest) -> BoxFuture<'a, ReadAnswer> {
        let exchange = self.exchange(shard, "read", wire::encode(request));
        exchange.map(move |answer| answer.unwrap_or_else(|failure| Err(self.harmless(Some(shard), failure)))).boxed()
    }

    fn changes<'a>(&'a self, shard: ShardId, request: &'a ChangesRequest) -> BoxFuture<'a, ChangesAnswer> {
        let exchange = self.exchange(shard, "changes", wire::encode(request));
        exchange.map(move |answer| answer.unwrap_or_else(|failure| Err(self.harmless(Some(shard), failure)))).boxed()
    }

    fn view<'a>(&'a self, shard: ShardId, request: &'a ViewRequest) -> BoxFuture<'a, ViewAnswer> {
        let exchange = self.exchange(shard, "view", wire::encode(request));
        exchange.map(move |answer| answer.unwrap_or_else(|failure| Err(self.harmless(Some(shard), failure)))).boxed()
    }

    fn state(&self) -> BoxFuture<'_, Result<NodeState, Refusal>> {
        let ask = self.ask(Method::GET, "/v1/_replication/state", Bytes::new());
        ask.map_err(|failure| self.harmless(None, failure)).boxed()
    }

    fn promote<'a>(&'a self, promote: &'a Promote) -> BoxFuture<'a, Result<Campaign, Refusal>> {
        let body = serde_json::to_vec(promote).expect("numbers always serialise");
        let ask = self.ask(Method::POST, "/v1/_replication/promote", body.into());
        ask.map_err(|failure| self.harmless(Some(promote.shard), failure)).boxed()
    }

    fn drain(&self, drain: Drain) -> BoxFuture<'_, Result<NodeState, Refusal>> {
        let body = serde_json::to_vec(&drain).expect("a flag always serialises");
        let ask = self.ask(Method::POST, "/v1/_replication/drain", body.into());
        ask.map_err(|failure| self.harmless(None, failure)).boxed()
    }

    fn wal(&self, shard: ShardId, from: Index, follow: bool) -> BoxFuture<'_, Result<WalStream, Refusal>> {
        async move {
            let path = format!("/v1/_replication/wal?shard={shard}&from={from}&follow={follow}");
            let sent = self.send(&self.data, Method::GET, &path, Bytes::new()).await;
            let response = sent.map_err(|failure| self.harmless(Some(shard), failure))?;
            let status = response.status();
            if !status.is_success() {
                let bytes = collect(response).await.map_err(|failure| self.harmless(Some(shard), failure))?;
                return Err(self.foreign(Some(shard), status, &excerpt(&bytes)));
            }
            Ok(self.pieces(response))
        }
        .boxed()
    }

    fn export<'a>(
        &'a self,
        shard: ShardId,
        request: &'a ExportRequest,
    ) -> BoxFuture<'a, Result<ExportStream, Refusal>> {
        async move {
            let path = format!("/v1/shards/{shard}/export");
            let sent = self.send(&self.data, Method::POST, &path, wire::encode(request).into()).await;
            let response = sent.map_err(|failure| self.harmless(Some(shard), failure))?;
            let status = response.status();
            if status.is_success() {
                return Ok(self.pieces(response));
            }
            let bytes = collect(response).await.map_err(|failure| self.harmless(Some(shard), failure))?;
            match wire::decode::<Result<(), Refusal>>(&bytes) {
                Ok(Err(refusal)) => Err(refusal),
                _ => Err(self.foreign(Some(shard), status, &excerpt(&bytes))),
            }
        }
        .boxed()
    }
}

/// Only a failed connect proves that nothing was sent.
fn failure(error: &Error) -> Failure {
    let reason =
        std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    if error.is_connect() { Failure::NotSent(reason) } else { Failure::Lost(reason) }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = response.into_body().collect().await.map_err(|error| Failure::Lost(error.to_string()))?;
    Ok(body.to_bytes())
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]).into_owned()
}

#[cfg(test)]
mod tests;

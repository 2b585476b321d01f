//! Reaches other nodes over HTTP/1.1 with keep-alive.
//!
//! Two pools of connections: signs of life and votes never wait behind log entries. Pools are shared by all replicas
//! of a node; a request has no time limit of its own, the caller drops it.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use common::config::Config;
use common::ids::NodeId;
use common::secret::Secret;
use common::state::{Campaign, NodeState, Promote};
use common::wire::SECRET_HEADER;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::names::Names;
use crate::transport::{Frames, Lane, PeerError, PeerTransport};

/// Longest answer taken from another node.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// A node that does not take the connection for this long is not there.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// Idle connections are closed after this; heartbeats keep theirs in use.
const IDLE: Duration = Duration::from_secs(60);

/// What is asked, and how its body is written.
struct Route {
    method: Method,
    path: &'static str,
    kind: &'static str,
}

const fn bytes(path: &'static str) -> Route {
    Route { method: Method::POST, path, kind: "application/octet-stream" }
}

const fn json(method: Method, path: &'static str) -> Route {
    Route { method, path, kind: "application/json" }
}

const REPLICATE: Route = bytes("/v1/_replication/replicate");
const VOTE: Route = bytes("/v1/_replication/vote");
const SNAPSHOT: Route = bytes("/v1/_replication/snapshot");
const STATE: Route = json(Method::GET, "/v1/_replication/state");
const PROMOTE: Route = json(Method::POST, "/v1/_replication/promote");

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// See the module. The connector is a parameter, so that a simulation can bring its own.
pub struct HttpPeers<C> {
    addresses: HashMap<NodeId, String>,
    secret: Option<HeaderValue>,
    log: Client<C, Body>,
    pulse: Client<C, Body>,
}

impl HttpPeers<HttpConnector<Names>> {
    /// Over TCP, to the addresses of `config`.
    pub fn tcp(config: &Config, secret: Option<&Secret>) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Names::system());
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        Self::new(config, secret, connector)
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> HttpPeers<C> {
    /// Over `connector`, to the addresses of `config`.
    pub fn new(config: &Config, secret: Option<&Secret>, connector: C) -> Self {
        let pool = || {
            let mut builder = Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector.clone())
        };
        Self {
            addresses: config.node.iter().map(|node| (node.id.clone(), node.address.clone())).collect(),
            secret: secret.map(Secret::header),
            log: pool(),
            pulse: pool(),
        }
    }

    async fn call(&self, to: &NodeId, lane: Lane, route: Route, body: Body) -> Result<Bytes, PeerError> {
        match self.send(to, lane, route, body).await? {
            (StatusCode::OK, answer) => Ok(answer),
            (status, reason) => Err(refused(to, status, &reason)),
        }
    }

    async fn send(&self, to: &NodeId, lane: Lane, route: Route, body: Body) -> Result<(StatusCode, Bytes), PeerError> {
        let Route { method, path, kind } = route;
        let unreachable = |reason: String| PeerError::Unreachable { node: to.clone(), reason };
        let broken = |reason: String| PeerError::Broken { node: to.clone(), reason };
        let address = self.addresses.get(to).ok_or_else(|| unreachable("no address is configured".to_owned()))?;
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        if let Some(secret) = &self.secret {
            request = request.header(SECRET_HEADER, secret.clone());
        }
        let request = request.header(CONTENT_TYPE, kind).body(body);
        let request = request.map_err(|error| unreachable(error.to_string()))?;
        let client = match lane {
            Lane::Log => &self.log,
            Lane::Pulse => &self.pulse,
        };
        let answer = client.request(request).await.map_err(|error| match error.is_connect() {
            true => unreachable(reason(&error)),
            false => broken(reason(&error)),
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| broken(error.to_string()))?.to_bytes()))
    }

    /// An answer in JSON, whatever its status: a refusal to stand for election is one too.
    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        to: &NodeId,
        route: Route,
        body: Bytes,
    ) -> Result<T, PeerError> {
        let (status, answer) = self.send(to, Lane::Pulse, route, whole(body)).await?;
        serde_json::from_slice(&answer).map_err(|error| match status {
            StatusCode::OK => PeerError::Broken { node: to.clone(), reason: error.to_string() },
            _ => refused(to, status, &answer),
        })
    }
}

fn refused(node: &NodeId, status: StatusCode, body: &[u8]) -> PeerError {
    PeerError::Refused { node: node.clone(), reason: format!("{status}: {}", String::from_utf8_lossy(body).trim_end()) }
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// An error with its causes: the outermost alone says only "client error".
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl<C: Connect + Clone + Send + Sync + 'static> PeerTransport for HttpPeers<C> {
    fn replicate<'a>(&'a self, to: &'a NodeId, lane: Lane, message: Bytes) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(self.call(to, lane, REPLICATE, whole(message)))
    }

    fn vote<'a>(&'a self, to: &'a NodeId, message: Bytes) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(self.call(to, Lane::Pulse, VOTE, whole(message)))
    }

    fn snapshot<'a>(&'a self, to: &'a NodeId, frames: Frames) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        let body = StreamBody::new(frames.map(|frame| frame.map(Frame::data))).boxed_unsync();
        Box::pin(self.call(to, Lane::Log, SNAPSHOT, body))
    }

    fn state<'a>(&'a self, to: &'a NodeId) -> BoxFuture<'a, Result<NodeState, PeerError>> {
        Box::pin(self.json(to, STATE, Bytes::new()))
    }

    fn promote<'a>(&'a self, to: &'a NodeId, promote: Promote) -> BoxFuture<'a, Result<Campaign, PeerError>> {
        let body = serde_json::to_vec(&promote).expect("promotes always serialise");
        Box::pin(self.json(to, PROMOTE, body.into()))
    }
}

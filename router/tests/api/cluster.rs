//! A whole cluster behind the HTTP API, in the test's own process, without sockets.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::Next;
use bytes::BytesMut;
use common::command::{Command, Outcome};
use common::config::{Admin, Config, EngineKind, Limits, Storage};
use common::ids::{DbName, DbUid, ShardId};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use router::app::App;
use router::cluster::Cluster;
use router::cluster::catalog::{Catalog, Clock};
use router::embedded::{Embedded, Layout};
use router::http::{routes, service};
use router::replicator::{HttpWire, Replicator};
use router::shard::transport::Transport;
use tower::ServiceExt;

/// The host the requests name.
pub(crate) const HOST: &str = "127.0.0.1:15984";

/// A cluster behind its API.
pub(crate) struct TestCluster {
    embedded: Embedded,
    cluster: Cluster,
    catalog: Catalog,
    app: Router,
    /// The same cluster behind an API with an admin (`admin`, `secret`).
    closed: Router,
    replicator: Replicator,
    _data: tempfile::TempDir,
}

/// One request of a test.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether to ask the API that has an admin.
    pub closed: bool,
    /// How many lines to read of an answer; `None` for the whole.
    pub lines: Option<usize>,
}

/// An answer, body and all.
pub(crate) struct Answered {
    pub response: Response<()>,
    pub body: String,
}

impl TestCluster {
    pub(crate) async fn start(shards: u32, replicas: u32) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let storage = Storage { engine: EngineKind::Memory, segment_bytes: 1 << 20, ..Storage::default() };
        let config = Config { storage, ..Config::default() };
        let layout = Layout::of(data.path(), Some(shards), Some(replicas)).expect("a new folder");
        let fatal = Arc::new(|reason: String| panic!("a replica stopped: {reason}"));
        let embedded = Embedded::start(&config, layout, data.path(), fatal).await.expect("starts");
        let cluster = Cluster::start(&embedded.config, embedded.transports(), &embedded.config.shard);
        let catalog = Catalog::start(cluster.clone(), Arc::new(|| 1_700_000_000_000));
        let open = App::new(cluster.clone(), catalog.clone(), embedded.config.clone()).expect("no admin");
        let replicator = open.replicator.clone();
        let admin = Admin { name: "admin".to_owned(), password: Some("secret".to_owned()), password_file: None };
        let config = Config { admin: Some(admin), ..(*embedded.config).clone() };
        let closed = App::new(cluster.clone(), catalog.clone(), Arc::new(config)).expect("an admin");
        Self { embedded, cluster, catalog, app: routes(open), closed: routes(closed), replicator, _data: data }
    }

    /// A way to each node.
    pub(crate) fn transports(&self) -> Vec<Arc<dyn Transport>> {
        self.embedded.transports()
    }

    /// Writes a command of no verb.
    pub(crate) async fn write(&self, shard: ShardId, command: Command) -> Outcome {
        self.cluster.write(shard, command).await.expect("a definite outcome")
    }

    /// The uid of a database.
    pub(crate) async fn uid(&self, name: &str) -> DbUid {
        self.catalog.db(&DbName::parse(name).expect("a name")).await.expect("it is there").uid
    }

    /// Has the open API run replications; within the cluster, since it allows no others.
    pub(crate) fn replicates(&self) {
        let wire = HttpWire::new(&Default::default()).expect("no file to read");
        self.replicator.start(service(&self.app), Arc::new(wire));
    }

    /// One more router of this cluster, with settings and a clock of its own.
    pub(crate) fn router(&self, change: impl FnOnce(&mut Config), clock: Clock) -> OtherRouter {
        let mut config = (*self.embedded.config).clone();
        change(&mut config);
        let cluster = Cluster::start(&config, self.embedded.transports(), &config.shard);
        let catalog = Catalog::start(cluster.clone(), clock);
        let app = App::new(cluster.clone(), catalog, Arc::new(config)).expect("a sound configuration");
        let (app, replicator) = started(app);
        OtherRouter { cluster, app, replicator }
    }

    /// The way to its shards.
    pub(crate) fn commands(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) async fn ask(&self, ask: &Ask) -> Answered {
        answer(if ask.closed { &self.closed } else { &self.app }, ask).await
    }

    /// The answer, its body as bytes.
    pub(crate) async fn bytes(&self, ask: &Ask) -> (http::response::Parts, bytes::Bytes) {
        let (parts, body) = send(&self.app, ask).await.into_parts();
        (parts, body.collect().await.expect("a whole body").to_bytes())
    }

    pub(crate) async fn end(self) {
        self.cluster.stop().await;
        self.embedded.shutdown().await;
    }
}

/// Takes each request, and may pass it on.
pub(crate) type Gate = Arc<dyn Fn(Request<Body>, Next) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// One more router of a cluster.
#[derive(Clone)]
pub(crate) struct OtherRouter {
    cluster: Cluster,
    app: Router,
    replicator: Replicator,
}

impl OtherRouter {
    pub(crate) async fn ask(&self, ask: &Ask) -> Answered {
        answer(&self.app, ask).await
    }

    /// The answer as it comes.
    pub(crate) async fn stream(&self, ask: &Ask) -> Response<Body> {
        send(&self.app, ask).await
    }

    /// Serves it at a free port until the test ends; the port.
    pub(crate) async fn listen(&self) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (app, limits) = (self.app.clone(), Limits::default());
        tokio::spawn(async move { router::serve::serve(listener, app, &limits, Default::default()).await });
        port
    }

    /// The same behind somebody who may answer in its place.
    pub(crate) async fn listen_behind(&self, gate: Gate) -> u16 {
        let layer = axum::middleware::from_fn(move |request: Request<Body>, next: Next| gate(request, next));
        let behind = Self { app: self.app.clone().layer(layer), ..self.clone() };
        behind.listen().await
    }

    /// Ends it in order: what it replicates goes on elsewhere at once.
    pub(crate) async fn retire(self) {
        self.replicator.stop().await;
        self.cluster.stop().await;
    }

    pub(crate) async fn end(self) {
        self.cluster.stop().await;
    }
}

/// The routes of an application whose replicator runs.
fn started(app: Arc<App>) -> (Router, Replicator) {
    let wire = HttpWire::new(&app.config.replicator).expect("no file to read");
    let replicator = app.replicator.clone();
    let routes = routes(app);
    replicator.start(service(&routes), Arc::new(wire));
    (routes, replicator)
}

async fn answer(app: &Router, ask: &Ask) -> Answered {
    let (parts, mut body) = send(app, ask).await.into_parts();
    let mut text = BytesMut::new();
    let is_enough = |text: &[u8]| ask.lines.is_some_and(|lines| text.iter().filter(|b| **b == b'\n').count() >= lines);
    while !is_enough(&text) {
        let Some(frame) = body.frame().await else { break };
        text.extend_from_slice(&frame.expect("a whole body").into_data().unwrap_or_default());
    }
    let body = text.freeze();
    Answered { response: Response::from_parts(parts, ()), body: String::from_utf8_lossy(&body).into_owned() }
}

async fn send(app: &Router, ask: &Ask) -> Response<Body> {
    let mut request = Request::builder().method(ask.method.as_str()).uri(&ask.path);
    if !ask.headers.iter().any(|(name, _)| name == "host") {
        request = request.header("host", HOST);
    }
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(ask.body.clone())).expect("a valid request");
    app.clone().oneshot(request).await.expect("infallible")
}

impl Ask {
    pub(crate) fn new(method: &str, path: &str, body: &str) -> Self {
        let (method, path, body) = (method.to_owned(), path.to_owned(), body.as_bytes().to_vec());
        let kind = ("content-type".to_owned(), "application/json".to_owned());
        let headers = if method == "POST" { vec![kind] } else { Vec::new() };
        Self { method, path, headers, body, ..Self::default() }
    }
}

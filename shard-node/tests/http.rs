//! Three nodes that reach each other over HTTP on loopback, and what their internal port answers.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use ::common::command::Outcome;
use ::common::config::{Config, EngineKind};
use ::common::ids::Term;
use ::common::refusal::Refusal;
use ::common::secret::Secret;
use ::common::state::{Campaign, NodeState, Promote, Role};
use ::common::wire::{self, WriteAnswer};
use bytes::Bytes;
use common::*;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use shard_node::http::client::HttpPeers;
use shard_node::http::routes;
use shard_node::node::{Node, Setup};
use shard_node::transport::PeerTransport;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

struct Web {
    nodes: Vec<Arc<Node>>,
    config: Config,
    secret: Secret,
    client: Client<HttpConnector, Full<Bytes>>,
    _serving: JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Web {
    async fn start() -> Self {
        let mut config = config(3, EngineKind::Fjall);
        let mut listeners = Vec::new();
        for entry in &mut config.node {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            entry.address = listener.local_addr().unwrap().to_string();
            listeners.push(listener);
        }
        let secret = Secret::new("0123456789abcdef").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut serving = JoinSet::new();
        let mut nodes = Vec::new();
        for (entry, listener) in config.node.iter().zip(listeners) {
            let setup = Setup {
                config: Arc::new(config.clone()),
                node: entry.id.clone(),
                data: dir.path().to_owned(),
                peers: Arc::new(HttpPeers::tcp(&config, Some(&secret))),
                fatal: Arc::new(|reason| panic!("{reason}")),
            };
            let node = Node::start(setup).await.unwrap();
            let app = routes(node.clone(), Some(secret.clone()));
            serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
            nodes.push(node);
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { nodes, config, secret, client, _serving: serving, _dir: dir }
    }

    async fn call(&self, n: usize, method: Method, path: &str, body: Vec<u8>, secret: bool) -> (StatusCode, Bytes) {
        let uri = format!("http://{}{path}", self.config.node[n].address);
        let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        if secret {
            request = request.header("authorization", self.secret.header());
        }
        let answer = self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
    }

    async fn write(&self, n: usize, id: &str) -> (StatusCode, WriteAnswer) {
        let body = wire::encode(&vec![put(id, None, r#"{"a":1}"#)]);
        let (status, body) = self.call(n, Method::POST, "/v1/shards/0/write", body, true).await;
        (status, wire::decode(&body).unwrap())
    }

    /// Writes to whoever takes it; who that was.
    async fn write_anywhere(&self, id: &str) -> usize {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            for n in 0..3 {
                if let (StatusCode::OK, Ok(outcomes)) = self.write(n, id).await
                    && matches!(outcomes[0], Outcome::Written { .. })
                {
                    return n;
                }
            }
            assert!(tokio::time::Instant::now() < deadline, "nobody takes writes");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_replicate_over_http_and_say_so() {
    let web = Web::start().await;
    let primary = web.write_anywhere("a").await;
    let other = (primary + 1) % 3;
    let (status, answer) = web.write(other, "b").await;
    let leads = web.config.node[primary].id.clone();
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(answer, Err(Refusal::NotPrimary { shard: SHARD, primary: Some(leads.clone()) }));

    let (status, body) = web.call(other, Method::GET, "/_replication/state", Vec::new(), true).await;
    assert_eq!(status, StatusCode::OK);
    let state: NodeState = serde_json::from_slice(&body).unwrap();
    assert_eq!(state.replicas[0].voters.len(), 3);

    let (status, body) = web.call(primary, Method::GET, "/v1/_replication/wal?shard=0&from=0", Vec::new(), true).await;
    assert_eq!(status, StatusCode::OK);
    let lines = String::from_utf8(body.to_vec()).unwrap();
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{lines}");
    assert!(lines.contains(r#""op":"edit""#) && lines.contains(r#""voters""#), "{lines}");

    let (status, body) = web.call(primary, Method::GET, "/_metrics", Vec::new(), true).await;
    assert_eq!(status, StatusCode::OK);
    let text = String::from_utf8_lossy(&body);
    for line in [
        format!("quorate_replica_role{{node=\"{leads}\",shard=\"0\",role=\"primary\"}} 1\n"),
        format!("quorate_replica_role{{node=\"{leads}\",shard=\"0\",role=\"learner\"}} 0\n"),
        format!("quorate_elections_won_total{{node=\"{leads}\",shard=\"0\"}} "),
        format!("quorate_log_sync_duration_seconds_count{{node=\"{leads}\",shard=\"0\"}} "),
        "quorate_http_requests_total{route=\"/v1/shards/{shard}/write\",method=\"POST\",status=\"200\"} ".to_owned(),
        "# TYPE quorate_elections_won_total counter\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} in\n{text}");
    }
    let (status, body) = web.call(other, Method::GET, "/_ready", Vec::new(), false).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &br#"{"status":"ready"}"#[..]));
    for node in &web.nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_asked_to_stand_over_http_and_says_what_came_of_it() {
    let web = Web::start().await;
    let primary = web.write_anywhere("a").await;
    let peers = HttpPeers::tcp(&web.config, Some(&web.secret));
    let heir = web.config.node[(primary + 1) % 3].id.clone();
    let state = peers.state(&heir).await.unwrap().replicas.remove(0);
    let ask = |term: Term, planned| peers.promote(&heir, Promote { shard: SHARD, term, planned });
    let stale = Campaign::StaleTerm { term: state.term };
    assert_eq!(ask(Term(99), true).await, Ok(stale));
    assert_eq!(ask(state.term, false).await, Ok(Campaign::NotEligible), "it hears a primary");
    assert_eq!(ask(state.term, true).await, Ok(Campaign::Started));
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut asked = state.term;
    loop {
        let state = peers.state(&heir).await.unwrap().replicas.remove(0);
        if state.role == Role::Primary {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "the lead was not handed over");
        // While the old primary is quiet another replica may win, as no vote can be forbidden; then that one is asked.
        if state.term != asked && state.primary.is_some() && ask(state.term, true).await == Ok(Campaign::Started) {
            asked = state.term;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for node in &web.nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_majority_lives_and_is_not_ready() {
    let web = Web::start().await;
    web.write_anywhere("a").await;
    for node in &web.nodes[1..] {
        node.shutdown().await;
    }
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    let said = loop {
        let (status, body) = web.call(0, Method::GET, "/_ready", Vec::new(), false).await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            break String::from_utf8_lossy(&body).into_owned();
        }
        assert!(tokio::time::Instant::now() < until, "it takes itself for ready");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(said.contains(r#""error":"not_ready""#) && said.contains(r#""shard":0"#), "{said}");
    let (status, _) = web.call(0, Method::GET, "/_up", Vec::new(), false).await;
    assert_eq!(status, StatusCode::OK);
    web.nodes[0].shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_without_the_secret_gets_in_and_bad_messages_are_refused() {
    let web = Web::start().await;
    let (status, _) = web.call(0, Method::GET, "/v1/_replication/state", Vec::new(), false).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, _) = web.call(0, Method::POST, "/v1/shards/0/write", Vec::new(), false).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, _) = web.call(0, Method::GET, "/_up", Vec::new(), false).await;
    assert_eq!(status, StatusCode::OK);
    for path in ["replicate", "vote", "snapshot"] {
        let (status, _) =
            web.call(0, Method::POST, &format!("/v1/_replication/{path}"), b"garbage".to_vec(), true).await;
        assert_eq!(status, StatusCode::CONFLICT, "{path}");
    }
    let (status, body) = web.call(0, Method::POST, "/v1/shards/0/write", b"\x01garbage".to_vec(), true).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(matches!(wire::decode::<WriteAnswer>(&body), Ok(Err(Refusal::BadBatch(_)))));
    let body = wire::encode(&vec![put("x", None, "{}")]);
    let (status, _) = web.call(0, Method::POST, "/v1/shards/9/write", body, true).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for node in &web.nodes {
        node.shutdown().await;
    }
}

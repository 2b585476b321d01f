//! What an operator sees of real processes: metrics, log lines that name their request and keep secrets, readiness,
//! traces.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use common::config::{Admin, LogFormat};
use common::metrics::{ALL, Metric, On};
use harness::client::Client;
use harness::cluster::{Cluster, PATIENCE};
use harness::embedded::Embedded;
use harness::layout::Layout;
use harness::needs::{Missing, skip};
use harness::{HEAVY, Result};
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Asks again until there is an answer.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= until => return Err(format!("{what}: {error}").into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The metrics of a list that a text does not show.
fn missing(text: &str, wanted: impl Fn(&Metric) -> bool) -> Vec<&'static str> {
    let shown = |metric: &&&Metric| {
        let rows = [metric.name.to_owned(), format!("{}_count", metric.name)];
        rows.iter()
            .any(|row| text.lines().any(|line| line.starts_with(row) && line[row.len()..].starts_with(['{', ' '])))
    };
    ALL.iter().filter(|metric| wanted(metric)).filter(|metric| !shown(metric)).map(|metric| metric.name).collect()
}

fn promtool() -> Missing {
    let mut tried = Command::new("promtool");
    tried.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    tried.status().is_err().then_some("promtool is not installed (package prometheus)")
}

/// Lets promtool read an answer of `/_metrics`.
fn linted(text: &str) -> Result<()> {
    let mut tool = Command::new("promtool");
    tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.spawn()?;
    tool.stdin.take().ok_or("a pipe")?.write_all(text.as_bytes())?;
    let done = tool.wait_with_output()?;
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(()) } else { Err(format!("promtool: {said}\n{text}").into()) }
}

async fn metrics(client: &Client) -> Result<String> {
    let reply = client.get("/_metrics").await?.expect(200)?;
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    Ok(reply.text())
}

/// Work of all kinds, so that everything has been counted.
async fn work(client: &Client) -> Result<()> {
    client.create_db("seen").await?;
    for n in 0..20 {
        client.put(&format!("/seen/doc-{n}"), "{}").await?.expect(201)?;
    }
    client.get("/seen/doc-1").await?.expect(200)?;
    client.get("/seen/doc-1?consistency=eventual").await?.expect(200)?;
    client.changes("seen", "0").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_programs_show_the_whole_list_and_promtool_finds_nothing_to_say() {
    let _alone = HEAVY.lock().await;
    let cluster = Cluster::start(Layout::three(1)).await.expect("starts");
    let router = cluster.router(1);
    work(&router).await.expect("works");
    let node = cluster.primary_of(0).await.expect("a primary");
    let node = cluster.node(&node);
    let said =
        [(metrics(&router).await.expect("router"), On::Router), (metrics(node.http()).await.expect("node"), On::Node)];
    for (text, on) in &said {
        let lacks = missing(text, |metric| metric.on == *on || metric.on == On::Both);
        assert!(lacks.is_empty(), "{on:?} does not show {lacks:?}:\n{text}");
        let foreign = |metric: &Metric| metric.on != *on && metric.on != On::Both;
        let others = ALL.iter().filter(|metric| foreign(metric)).count();
        assert_eq!(missing(text, foreign).len(), others, "{on:?} shows what is not its own");
    }
    let open = node.http().send(Method::GET, "/_metrics", &[("accept", "application/openmetrics-text")], Bytes::new());
    let open = open.await.expect("answers");
    assert!(
        open.header("content-type").starts_with("application/openmetrics-text") && open.text().ends_with("# EOF\n")
    );
    if !skip("promtool check metrics", promtool()) {
        said.iter().for_each(|(text, _)| linted(text).expect("conventional"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_mode_shows_the_numbers_of_router_and_nodes() {
    let _alone = HEAVY.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = Embedded::start(folder.path(), &["--shards", "1"]).await.expect("starts");
    work(&embedded.client()).await.expect("works");
    let text = metrics(&embedded.client()).await.expect("metrics");
    let lacks = missing(&text, |_| true);
    assert!(lacks.is_empty(), "it does not show {lacks:?}:\n{text}");
    if !skip("promtool check metrics", promtool()) {
        linted(&text).expect("conventional");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_is_ready_while_every_shard_has_a_primary() {
    let _alone = HEAVY.lock().await;
    let mut cluster = Cluster::start(Layout::three(2)).await.expect("starts");
    let router = cluster.router(1);
    eventually("ready", async || Ok(router.get("/_ready").await?.expect(200)?)).await.expect("ready");
    cluster.kill_all(&["n1".to_owned(), "n2".to_owned()]);
    let refused = eventually("not ready", async || Ok(router.get("/_ready").await?.expect(503)?)).await;
    let refused = refused.expect("not ready");
    assert_eq!(refused.field("error"), "not_ready");
    assert!(refused.field("reason").contains("shard 0") && refused.json()["shard"] == 0, "{}", refused.text());
    router.get("/_up").await.expect("answers").expect(200).expect("it lives");
    for node in ["n1", "n2"] {
        cluster.restart(node).expect("starts");
    }
    eventually("ready again", async || Ok(router.get("/_ready").await?.expect(200)?)).await.expect("ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_request_names_it_and_none_tells_what_nobody_should_know() {
    let _alone = HEAVY.lock().await;
    const MARKER: &str = "body-that-nobody-logs";
    const PASSWORD: &str = "password-that-nobody-logs";
    for format in [LogFormat::Text, LogFormat::Json] {
        let layout = Layout::three(1).tuned(move |config| {
            config.log.filter = "trace".to_owned();
            config.log.format = format;
            let (name, password) = ("admin".to_owned(), Some(PASSWORD.to_owned()));
            config.admin = Some(Admin { name, password, password_file: None });
        });
        let cluster = Cluster::start(layout).await.expect("starts");
        let router = cluster.router(1).basic("admin", PASSWORD);
        router.create_db("seen").await.expect("made");
        let body = format!("{{\"secret\":\"{MARKER}\"}}");
        let headers = [("x-request-id", "asked-4711"), ("content-type", "application/json")];
        let written = router.send(Method::PUT, "/seen/doc", &headers, body.into()).await.expect("answers");
        let written = written.expect(201).expect("written");
        assert_eq!(written.header("x-couch-request-id"), "asked-4711");
        let read = router.get("/seen/doc").await.expect("answers").expect(200).expect("read");
        assert!(read.text().contains(MARKER));
        let made = read.header("x-couch-request-id");
        assert!(made.len() == 10 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made:?}");
        let wrong = cluster.router(1).basic("admin", "guessed-and-not-logged").get("/seen").await.expect("answers");
        wrong.expect(401).expect("not let in");

        let primary = cluster.primary_of(0).await.expect("a primary");
        let log = |name: &str| std::fs::read_to_string(cluster.folder().join(format!("{name}.log"))).expect("a log");
        for name in ["r1", primary.as_str()] {
            for id in ["asked-4711", made.as_str()] {
                let named = match format {
                    LogFormat::Text => format!(" request={id}"),
                    LogFormat::Json => format!("{{\"request\":\"{id}\","),
                };
                let found = eventually(name, async || match log(name).lines().find(|line| line.contains(&named)) {
                    Some(line) => Ok(line.to_owned()),
                    None => Err(format!("no line has {named:?}").into()),
                });
                let line = found.await.expect("a line of the request");
                if format == LogFormat::Json {
                    let line: serde_json::Value = serde_json::from_str(&line).expect("one object a line");
                    assert_eq!(line["request"], id);
                }
            }
        }
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("admin:{PASSWORD}"));
        for name in ["r1", "n1", "n2", "n3"] {
            let log = log(name);
            assert!(log.lines().count() > 10, "{name} logs");
            // A body may also be logged as a list of its bytes.
            let bytes = format!("{:?}", MARKER.as_bytes());
            let secrets = [MARKER, bytes.trim_matches(['[', ']']), PASSWORD, &basic, cluster.secret(), "guessed-and"];
            for secret in secrets {
                let line = log.lines().find(|line| line.contains(secret));
                assert_eq!(line, None, "{name} logs {secret:?}");
            }
        }
    }
}

/// A collector that keeps the spans it is sent, each with the name of the service.
async fn collector(spans: Arc<Mutex<Vec<(String, Span)>>>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let spans = spans.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let spans = spans.clone();
                async move {
                    assert_eq!(request.uri().path(), "/v1/traces");
                    let body = request.into_body().collect().await?.to_bytes();
                    let sent = ExportTraceServiceRequest::decode(body).expect("OTLP in protobuf");
                    keep(&mut spans.lock().expect("no panic"), sent);
                    Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::new())))
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

fn keep(spans: &mut Vec<(String, Span)>, sent: ExportTraceServiceRequest) {
    for resource in sent.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = attribute(&attributes, "service.name");
        spans
            .extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| (service.clone(), span)));
    }
}

fn attribute(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone());
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// Writes that may leave in one batch behind another one before that is found strange.
const BATCHES_SHARED_MAX: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_the_router_becomes_spans_at_the_collector() {
    let _alone = HEAVY.lock().await;
    let spans: Arc<Mutex<Vec<(String, Span)>>> = Arc::default();
    let address = collector(spans.clone()).await.expect("listens");
    let layout = Layout::three(1).tuned(move |config| {
        config.telemetry.otlp_endpoint = Some(format!("http://{address}"));
    });
    let cluster = Cluster::start(layout).await.expect("starts");
    let router = cluster.router(1);
    router.create_db("seen").await.expect("made");
    for n in 1..=BATCHES_SHARED_MAX {
        let id = format!("traced-{n}");
        let headers = [("x-request-id", id.as_str()), ("content-type", "application/json")];
        let put = router.send(Method::PUT, &format!("/seen/{id}"), &headers, "{}".into()).await.expect("answers");
        put.expect(201).expect("written");
        let find = |service: &str, name: &str| {
            let spans = spans.lock().expect("no panic");
            let asked = |span: &Span| attribute(&span.attributes, "quorate.request") == id;
            let found = spans.iter().find(|(of, span)| of == service && span.name == name && asked(span));
            found.map(|(_, span)| span.clone()).ok_or_else(|| format!("no {name:?} of {service} among {}", spans.len()))
        };
        let front = eventually("the router's span", async || Ok(find("quorate-router", "PUT /{db}/{doc}")?)).await;
        let front = front.expect("a span");
        assert_eq!(attribute(&front.attributes, "http.route"), "/{db}/{doc}");
        assert_eq!(attribute(&front.attributes, "http.response.status_code"), "201");
        assert!(front.end_time_unix_nano > front.start_time_unix_nano);
        let name = "POST /v1/shards/{shard}/write";
        let back = eventually("the node's span", async || Ok(find("quorate-shard-node", name)?)).await.expect("a span");
        // A batch is of the trace of its first request, which may be one of the router's own.
        if back.trace_id == front.trace_id {
            assert_eq!(back.parent_span_id, front.span_id);
            return;
        }
    }
    panic!("no write went to the node in the trace of its own request");
}

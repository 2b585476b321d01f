//! Other servers than ours at one end: those without `_bulk_get`, slow ones, busy ones.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::middleware::Next;
use futures::FutureExt;
use http::{Request, Response};

use super::*;
use crate::cluster::Gate;

/// What somebody in front of a server has seen.
#[derive(Default)]
struct Seen {
    paths: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Seen {
    fn count(&self, what: impl Fn(&str) -> bool) -> usize {
        self.paths.lock().expect("no panic").iter().filter(|path| what(path)).count()
    }
}

/// Notes each request, and answers it in the server's place where `answer` does.
fn gate(answer: impl Fn(&str, &Seen) -> Option<Response<Body>> + Send + Sync + 'static) -> (Gate, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let noted = seen.clone();
    let gate = move |request: Request<Body>, next: Next| {
        let path = request.uri().to_string();
        noted.paths.lock().expect("no panic").push(path.clone());
        let (answered, noted) = (answer(&path, &noted), noted.clone());
        async move {
            if let Some(answered) = answered {
                return answered;
            }
            // The feed and checkpoints come on top.
            if !is_of(&path, "_bulk_get") {
                return next.run(request).await;
            }
            noted.most.fetch_max(noted.under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Long enough for others to come in meanwhile, if they may.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let response = next.run(request).await;
            noted.under_way.fetch_sub(1, Ordering::SeqCst);
            response
        }
        .boxed()
    };
    (Arc::new(gate), seen)
}

fn error(status: u16, error: &str, reason: &str) -> Response<Body> {
    let body = json!({ "error": error, "reason": reason }).to_string();
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(body)).expect("valid")
}

fn is_of(path: &str, name: &str) -> bool {
    path.starts_with(&format!("/a/{name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_bulk_get_is_asked_for_one_document_after_the_other() {
    let fixture = Fixture::start().await;
    let one = &fixture.one;
    filled(one, "a", 30).await;
    let attached = json!({ "_attachments": { "f": { "data": BASE64_STANDARD.encode("some bytes") } } });
    done(one, "PUT", "/a/attached", &attached).await;
    for (n, (status, name, reason)) in [
        (404, "not_found", "missing"),
        (405, "method_not_allowed", "Only GET,HEAD allowed"),
        (501, "not_implemented", "not here"),
    ]
    .into_iter()
    .enumerate()
    {
        let (gate, seen) = gate(move |path, _| is_of(path, "_bulk_get").then(|| error(status, name, reason)));
        let port = one.listen_behind(gate).await;
        let target = format!("b{n}");
        let order = json!({ "source": format!("http://127.0.0.1:{port}/a"), "target": target, "create_target": true });
        let report = done(one, "POST", "/_replicate", &order).await;
        let session = &report["history"][0];
        assert_eq!((&session["docs_written"], &session["doc_write_failures"]), (&json!(38), &json!(0)), "{report}");
        assert_eq!(trees(one, "a").await, trees(one, &target).await, "{status}");
        let bytes = one.ask(&Ask::new("GET", &format!("/{target}/attached/f"), "")).await.body;
        assert_eq!(bytes, "some bytes");
        assert!(seen.count(|path| is_of(path, "_bulk_get")) > 0, "it was tried");
        assert_eq!(
            seen.count(|path| path.contains("open_revs=")),
            36,
            "each document once, with all that is missing of it"
        );
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_repeated_as_often_as_a_replication_says() {
    let fixture = Fixture::start().await;
    let one = &fixture.one;
    filled(one, "a", 3).await;
    for (n, failures, ends) in [(0, 2, 200), (1, 3, 500)] {
        let (gate, seen) = gate(move |path, seen| {
            let busy = is_of(path, "_changes") && seen.count(|path| is_of(path, "_changes")) <= failures;
            busy.then(|| error(503, "busy", "come again"))
        });
        let port = one.listen_behind(gate).await;
        let source = format!("http://127.0.0.1:{port}/a");
        let order =
            json!({ "source": source, "target": format!("b{n}"), "create_target": true, "retries_per_request": 2 });
        let (status, answer) = say(one, "POST", "/_replicate", &order).await;
        assert_eq!(status / 100, ends / 100, "{answer}");
        if ends == 500 {
            assert!(answer.to_string().contains("503"), "{answer}");
            assert_eq!(seen.count(|path| is_of(path, "_changes")), 3, "once, and twice more");
        }
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_end_is_waited_for_as_long_as_a_replication_says() {
    let fixture = Fixture::start().await;
    let one = &fixture.one;
    filled(one, "a", 3).await;
    let (gate, seen) = gate(|path, _| {
        let endless =
            || Response::new(Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>()));
        is_of(path, "_changes").then(endless)
    });
    let port = one.listen_behind(gate).await;
    let order = json!({ "source": format!("http://127.0.0.1:{port}/a"), "target": "b", "create_target": true,
        "connection_timeout": 200, "retries_per_request": 1 });
    let (status, answer) = say(one, "POST", "/_replicate", &order).await;
    assert!(status >= 500 && answer.to_string().contains("no answer in time"), "{status} {answer}");
    assert_eq!(seen.count(|path| is_of(path, "_changes")), 2);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_asked_at_once_than_a_replication_says() {
    let fixture = Fixture::start().await;
    let one = &fixture.one;
    filled(one, "a", 300).await;
    for (n, connections) in [1usize, 2].into_iter().enumerate() {
        let (gate, seen) = gate(|_, _| None);
        let port = one.listen_behind(gate).await;
        let order = json!({ "source": format!("http://127.0.0.1:{port}/a"), "target": format!("b{n}"), "create_target": true,
            "http_connections": connections, "worker_processes": 8, "worker_batch_size": 10 });
        let report = done(one, "POST", "/_replicate", &order).await;
        assert_eq!(report["history"][0]["docs_written"], json!(307), "{report}");
        assert!(seen.most.load(Ordering::SeqCst) <= connections, "{:?}", seen.most);
    }
    fixture.end().await;
}

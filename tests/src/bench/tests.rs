//! The load generator against a server that answers as Quorate does and stores nothing.

use std::convert::Infallible;

use bytes::Bytes;
use clap::Parser;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Options, run};

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let json: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let path = head.uri.path();
    let (status, text) = match head.method {
        Method::POST if path.ends_with("/_bulk_docs") => {
            let docs = json.as_ref().and_then(|json| json["docs"].as_array()).map_or(0, Vec::len);
            (if docs > 0 { 201 } else { 400 }, "[]".to_owned())
        }
        Method::POST if path.ends_with("/_bulk_get") => {
            let docs = json.as_ref().and_then(|json| json["docs"].as_array()).map_or(0, Vec::len);
            (200, format!("{{\"results\":[{}]}}", vec![r#"{"docs":[{"ok":{}}]}"#; docs].join(",")))
        }
        Method::POST if path.ends_with("/_index") => (200, r#"{"result":"created"}"#.to_owned()),
        Method::POST if path.ends_with("/_find") => (200, r#"{"docs":[{"_id":"a"}]}"#.to_owned()),
        Method::POST if path == "/v3/kv/put" && json.is_some() => (200, "{}".to_owned()),
        Method::POST if path == "/v3/kv/range" && json.is_some() => (200, r#"{"kvs":[{}]}"#.to_owned()),
        Method::GET if path.ends_with("/_changes") => {
            (200, r#"{"results":[{"seq":"1-x","id":"a","changes":[{"rev":"1-b"}]}],"last_seq":"1-x"}"#.to_owned())
        }
        Method::GET if path.ends_with("/_all_docs") => {
            (200, r#"{"total_rows":1,"offset":0,"rows":[{"id":"a","key":"a","value":{"rev":"1-b"}}]}"#.to_owned())
        }
        Method::GET => (200, r#"{"doc_count":250}"#.to_owned()),
        Method::PUT if path.matches('/').count() == 1 || json.is_some() => (201, "{}".to_owned()),
        _ => (400, "?".to_owned()),
    };
    Ok(Response::builder().status(status).body(Full::from(text)).expect("a response"))
}

async fn measured(kind: &str, ops: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new();
            connections.spawn(connection.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    let args = [
        "bench",
        "--url",
        &url,
        "--kind",
        kind,
        "--connections",
        "1,4",
        "--seconds",
        "0.1",
        "--docs",
        "250",
        "--json",
        "--ops",
        "put,get,bulk,changes,changes_docs,all_docs,bulk_get,find,index_build",
    ];
    let options = Options::parse_from(args);
    let rows = run(&options, |_| {}).await.expect("runs");
    assert_eq!(rows.len(), ops * 2);
    for row in rows {
        assert!(row.errors == 0 && row.requests > 0 && row.per_second > 0.0 && row.p50_us <= row.max_us, "{row:?}");
    }
}

#[tokio::test]
async fn every_operation_of_every_kind_is_measured() {
    measured("quorate", 9).await;
    measured("couchdb", 9).await;
    measured("etcd", 2).await;
}

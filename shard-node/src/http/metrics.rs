//! `GET /_metrics`: the numbers of this node for Prometheus, and the count of every request here.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use common::metrics::{Format, Sheet};
use tokio::time::Instant;
use tracing::Instrument;

use crate::node::Node;
use crate::telemetry::{self, request};
use crate::{js, process};

pub(super) async fn metrics(State(node): State<Arc<Node>>, headers: HeaderMap) -> Response {
    let mut sheet = Sheet::default();
    node.measure(&mut sheet);
    node.requests().measure(&mut sheet);
    process::measure(&mut sheet);
    js::measure(&mut sheet);
    let format = Format::accepted(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    ([(CONTENT_TYPE, format.content_type())], sheet.text(format)).into_response()
}

/// Counts a request by its route's pattern, and does its work under the ids of the requests it is sent for.
pub(super) async fn around(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let _under_way = node.requests().begin();
    let route = route(request.uri().path());
    let method = request.method().clone();
    let ids = request::ids_of(request.headers());
    let span = telemetry::request_span(route, &method, request.headers(), ids.as_ref());
    let work = next.run(request).instrument(span.clone());
    request::within_any(ids, async {
        let response = work.await;
        let took = began.elapsed();
        node.requests().answered(route, &method, response.status(), took);
        telemetry::answered(&span, route, &method, response.status(), took);
        response
    })
    .await
}

/// The pattern of a path, as a constant: no request makes a new one. An alias counts as what it stands for.
fn route(path: &str) -> &'static str {
    if let Some((_, verb)) = path.strip_prefix("/v1/shards/").and_then(|rest| rest.split_once('/')) {
        return match verb {
            "write" => "/v1/shards/{shard}/write",
            "read" => "/v1/shards/{shard}/read",
            "changes" => "/v1/shards/{shard}/changes",
            _ => "other",
        };
    }
    match path.strip_prefix("/v1").unwrap_or(path) {
        "/_replication/state" => "/v1/_replication/state",
        "/_replication/replicate" => "/v1/_replication/replicate",
        "/_replication/vote" => "/v1/_replication/vote",
        "/_replication/snapshot" => "/v1/_replication/snapshot",
        "/_replication/promote" => "/v1/_replication/promote",
        "/_replication/wal" => "/v1/_replication/wal",
        "/_metrics" => "/_metrics",
        "/_up" => "/_up",
        "/_ready" => "/_ready",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_as_its_pattern() {
        assert_eq!(route("/v1/shards/12/write"), "/v1/shards/{shard}/write");
        assert_eq!(route("/_replication/vote"), route("/v1/_replication/vote"));
        assert_eq!(route("/v1/shards/1/else"), "other");
    }
}

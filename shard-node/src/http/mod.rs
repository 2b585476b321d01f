//! The node's internal port: what other nodes and routers ask over HTTP.
//!
//! Routes are built without side effects and run on any listener. All but `/_up` and `/_ready` need the cluster
//! secret if there is one. `/_replication/…` is an alias of `/v1/_replication/…`.

pub mod client;
mod data;
mod export;
mod health;
mod metrics;
mod replication;
mod wal;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use common::secret::Secret;
use common::wire::SECRET_HEADER;

use crate::node::Node;

/// Largest message taken: a replication message of one oversized entry, or a router's batch.
const BODY_BYTES_MAX: usize = 128 << 20;

/// All routes of `node`. Without a secret everybody who reaches the port may do everything; then only a loopback
/// listener is acceptable, which is for the caller to see to.
pub fn routes(node: Arc<Node>, secret: Option<Secret>) -> Router {
    let replication = Router::new()
        .route("/state", get(replication::state))
        .route("/replicate", post(replication::replicate))
        .route("/vote", post(replication::vote))
        .route("/snapshot", post(replication::snapshot))
        .route("/promote", post(replication::promote))
        .route("/drain", post(replication::drain))
        .route("/wal", get(wal::wal));
    Router::new()
        .nest("/v1/_replication", replication.clone())
        .nest("/_replication", replication)
        .route("/v1/shards/{shard}/write", post(data::write))
        .route("/v1/shards/{shard}/read", post(data::read))
        .route("/v1/shards/{shard}/changes", post(data::changes))
        .route("/v1/shards/{shard}/view", post(data::view))
        .route("/v1/shards/{shard}/export", post(export::export))
        .route("/_metrics", get(metrics::metrics))
        .layer(middleware::from_fn_with_state(secret.map(Arc::new), check_secret))
        .route("/_up", get(health::up))
        .route("/_ready", get(health::ready))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        // Inside routes, where the pattern of the path is known.
        .route_layer(middleware::from_fn_with_state(node.clone(), metrics::around))
        .with_state(node)
}

async fn check_secret(State(secret): State<Option<Arc<Secret>>>, request: Request, next: Next) -> Response {
    let admitted = secret.is_none_or(|secret| secret.admits(request.headers().get(SECRET_HEADER)));
    if admitted {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, "the cluster secret is needed\n").into_response()
    }
}

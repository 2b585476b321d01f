//! `GET /_up`: this process lives. `GET /_ready`: all replicas here follow a primary, or lead with a majority.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::node::Node;
use crate::ready::Unready;

/// A core that stops by itself ends the process, so one that answers lives.
pub(super) async fn up() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

pub(super) async fn ready(State(node): State<Arc<Node>>) -> Response {
    match node.ready() {
        Ok(()) => Json(json!({"status": "ready"})).into_response(),
        Err(Unready { shard, reason }) => {
            let body = json!({"error": "not_ready", "reason": format!("shard {shard}: {reason}"), "shard": shard});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

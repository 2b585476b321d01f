//! What routers ask: writes, reads, changes and views of one shard, in postcard behind a version byte.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use common::ids::ShardId;
use common::refusal::Refusal;
use common::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::node::Node;

pub(super) async fn write(State(node): State<Arc<Node>>, Path(shard): Path<ShardId>, body: Bytes) -> Response {
    respond(match decode(&body) {
        Ok(commands) => node.write(shard, commands).await,
        Err(refusal) => Err(refusal),
    })
}

pub(super) async fn read(State(node): State<Arc<Node>>, Path(shard): Path<ShardId>, body: Bytes) -> Response {
    respond(match decode(&body) {
        Ok(request) => node.read(shard, request).await,
        Err(refusal) => Err(refusal),
    })
}

pub(super) async fn changes(State(node): State<Arc<Node>>, Path(shard): Path<ShardId>, body: Bytes) -> Response {
    respond(match decode(&body) {
        Ok(request) => node.changes(shard, request).await,
        Err(refusal) => Err(refusal),
    })
}

pub(super) async fn view(State(node): State<Arc<Node>>, Path(shard): Path<ShardId>, body: Bytes) -> Response {
    respond(match decode(&body) {
        Ok(request) => node.view(shard, request).await,
        Err(refusal) => Err(refusal),
    })
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    wire::decode(body).map_err(|error| Refusal::BadBatch(error.to_string()))
}

pub(super) fn respond<T: Serialize>(answer: Result<T, Refusal>) -> Response {
    let status = answer.as_ref().err().map_or(StatusCode::OK, status);
    (status, wire::encode(&answer)).into_response()
}

/// The status that goes with a refusal.
fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NotPrimary { .. } => StatusCode::MISDIRECTED_REQUEST,
        Refusal::NotHosted { .. } => StatusCode::NOT_FOUND,
        Refusal::NoQuorum { .. }
        | Refusal::UnknownOutcome { .. }
        | Refusal::OutOfService { .. }
        | Refusal::TooFarBehind { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::DiskFull { .. } => StatusCode::INSUFFICIENT_STORAGE,
        Refusal::BadBatch(_) => StatusCode::BAD_REQUEST,
        Refusal::Function(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Refusal::Unreachable(_) => StatusCode::BAD_GATEWAY,
    }
}

//! What replicas, monitors and admins ask: state, log entries, votes, snapshots, elections, draining.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use common::state::{Campaign, Drain, NodeState, Promote};
use futures::{StreamExt, TryStreamExt};

use crate::node::{Node, Undelivered};

pub(super) async fn state(State(node): State<Arc<Node>>) -> Json<NodeState> {
    Json(node.state())
}

pub(super) async fn replicate(State(node): State<Arc<Node>>, message: Bytes) -> Response {
    answer(node.on_replicate(message).await)
}

pub(super) async fn vote(State(node): State<Arc<Node>>, message: Bytes) -> Response {
    answer(node.on_vote(message).await)
}

pub(super) async fn snapshot(State(node): State<Arc<Node>>, body: Body) -> Response {
    let frames = body.into_data_stream().map_err(std::io::Error::other).boxed();
    answer(node.on_snapshot(frames).await)
}

pub(super) async fn promote(State(node): State<Arc<Node>>, Json(promote): Json<Promote>) -> Response {
    let campaign = node.campaign(promote).await;
    let status = match campaign {
        Campaign::Started | Campaign::AlreadyPrimary => StatusCode::OK,
        Campaign::StaleTerm { .. } | Campaign::NotEligible => StatusCode::CONFLICT,
    };
    (status, Json(campaign)).into_response()
}

pub(super) async fn drain(State(node): State<Arc<Node>>, Json(asked): Json<Drain>) -> Json<NodeState> {
    Json(node.drain(asked.drain))
}

fn answer(outcome: Result<Bytes, Undelivered>) -> Response {
    match outcome {
        Ok(answer) => answer.into_response(),
        // Whatever it is, the sender cannot repair it by sending the same again.
        Err(reason) => (StatusCode::CONFLICT, format!("{reason}\n")).into_response(),
    }
}

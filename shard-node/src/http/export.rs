//! `POST /v1/shards/{shard}/export`: the shard's part of a backup.
//!
//! The body is an [`ExportRequest`]; the answer is the stream as it is to be kept. A stream that breaks off has no
//! last block. A refusal is one of the wire, with the status that goes with it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use common::backup::ExportRequest;
use common::ids::ShardId;
use common::wire;

use super::data;
use crate::node::Node;

pub(super) async fn export(State(node): State<Arc<Node>>, Path(shard): Path<ShardId>, body: Bytes) -> Response {
    let exported = match data::decode::<ExportRequest>(&body) {
        Ok(request) => node.export(shard, request).await,
        Err(refusal) => Err(refusal),
    };
    match exported {
        Ok(blocks) => ([(CONTENT_TYPE, wire::BACKUP)], Body::from_stream(blocks)).into_response(),
        Err(refusal) => data::respond::<()>(Err(refusal)),
    }
}

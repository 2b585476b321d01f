//! `GET /v1/_replication/wal?shard=&from=&limit=&follow=`: committed log entries, one JSON object a line.
//!
//! With `follow=true` the answer goes on as entries are committed. A purged beginning is left out; the header
//! `x-quorate-first` says where the log begins.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use common::ids::{Index, ShardId};
use common::refusal::Refusal;
use serde::Deserialize;

use crate::dump::WalPage;
use crate::node::Node;

/// Entries of one page.
const PAGE_ENTRIES: usize = 256;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    shard: ShardId,
    #[serde(default)]
    from: Index,
    limit: Option<usize>,
    #[serde(default)]
    follow: bool,
}

/// Where a stream of entries stands.
struct Tail {
    node: Arc<Node>,
    wanted: Wanted,
    left: usize,
    first_page: Option<WalPage>,
}

pub(super) async fn wal(State(node): State<Arc<Node>>, Query(wanted): Query<Wanted>) -> Response {
    let left = wanted.limit.unwrap_or(usize::MAX);
    let page = match node.wal(wanted.shard, wanted.from, left.min(PAGE_ENTRIES)).await {
        Ok(page) => page,
        Err(refusal @ Refusal::NotHosted { .. }) => {
            return (StatusCode::NOT_FOUND, format!("{refusal}\n")).into_response();
        }
        Err(refusal) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{refusal}\n")).into_response(),
    };
    let headers =
        [(CONTENT_TYPE.as_str(), "application/x-ndjson".to_owned()), ("x-quorate-first", page.first.to_string())];
    let tail = Tail { node, wanted, left, first_page: Some(page) };
    let lines = futures::stream::try_unfold(tail, |tail| async move {
        Ok::<_, std::io::Error>(tail.next().await?.map(|(tail, lines)| (lines, tail)))
    });
    (headers, Body::from_stream(lines)).into_response()
}

impl Tail {
    async fn next(mut self) -> std::io::Result<Option<(Self, Vec<u8>)>> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            let page = match self.first_page.take() {
                Some(page) => page,
                None => {
                    let page = self.node.wal(self.wanted.shard, self.wanted.from, self.left.min(PAGE_ENTRIES)).await;
                    page.map_err(std::io::Error::other)?
                }
            };
            if let Some(last) = page.entries.last() {
                self.wanted.from = Index(last.index.0 + 1);
                self.left -= page.entries.len();
                let mut lines = Vec::new();
                for entry in &page.entries {
                    serde_json::to_writer(&mut lines, entry)?;
                    lines.push(b'\n');
                }
                return Ok(Some((self, lines)));
            }
            if !self.wanted.follow || !self.node.committed_past(self.wanted.shard, self.wanted.from).await {
                return Ok(None);
            }
        }
    }
}
